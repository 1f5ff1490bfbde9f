"""Resolves a study against its store. A worker process does what needs torch: this process never imports it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.terminal.working import note, working

if TYPE_CHECKING:
    from harness import models
    from harness.engines import Engine
    from harness.engines.jobs import Job
    from harness.loading import Loaded
    from harness.spec import Suite
    from harness.store import Step, Store
    from harness.study.plan import Plan
    from harness.tokens import Encoded

# Kind of artifact -> the work that makes it, in words for people.
BUILDING = {
    "suite": "Making suite", "source": "Reading source", "pool": "Decontaminating", "variant": "Drawing variant",
    "tokens": "Encoding",
}  # fmt: skip


def resolve(loaded: Loaded, store: Store, engine: Engine | None) -> Plan:
    """Resolve a study: its variants, and which runs are done. Nothing is written but a model that data depend on.

    Args:
        loaded: The study.
        store: The store.
        engine: The engine, when one is open; without one, data are made in this process.

    Raises:
        RequestError: Anything about the study, its data or its suite is wrong.
    """
    from harness import models
    from harness.engines.jobs import ModelJob, PerplexityJob, SuiteJob
    from harness.errors import RequestError, StepError
    from harness.study.build import reads_model
    from harness.study.plan import make_plan

    at = "Resolving the study"

    def materialize(suite: Suite, target: Path) -> list[dict[str, Any]]:
        note(f"Reading the tasks of suite {suite.suite} (once per suite)")
        label = f"suite {suite.suite}"
        job = SuiteJob(id="suite", label=label, store=store.location, suite=suite, folder=target)
        try:
            file = Path(_ask(engine, job)["file"])
        except StepError as error:  # a suite that cannot be read is a wrong request: nothing was started
            raise RequestError(str(error)) from error
        items: list[dict[str, Any]] = json.loads(file.read_text())
        file.unlink()
        return items

    def perplexities(model: models.Model, sequences: list[Encoded]) -> list[float]:
        note(f"Measuring the perplexity of {len(sequences):,} rows (once per row)")
        with tempfile.TemporaryDirectory(prefix="harness-perplexity-") as scratch:
            (Path(scratch) / "sequences.json").write_text(json.dumps([[s.input_ids, s.labels] for s in sequences]))
            job = PerplexityJob(
                id="perplexity", label="perplexity", store=store.location, model=model, folder=Path(scratch)
            )
            _ask(engine, job)
            values: list[float] = json.loads((Path(scratch) / "perplexities.json").read_text())
        return values

    def building(step: Step) -> None:
        nonlocal at
        at = f"{BUILDING.get(step.kind, 'Making ' + step.kind)} {step.name}"
        show(at)

    def part(text: str) -> None:
        show(f"{at}: {text}")

    with working(at) as show, loaded.placing():
        trusted = loaded.study.trust_remote_code
        model = models.resolve(loaded.study.model, loaded.model_folder, store, trust_remote_code=trusted)
        if model.folder is None and reads_model(loaded.study):
            note(f"Preparing {model.name} (once): the study needs its tokens or its perplexity")
            _ask(engine, ModelJob(id="model", label=model.name, store=store.location, model=model))
        pools = engine.pools(store, part) if engine else None
        return make_plan(loaded, store, materialize, perplexities, pools, building)


def _ask(engine: Engine | None, job: Job) -> dict[str, Any]:
    """Run a job in a worker on this machine, whatever the engine, since its files are in folders of this machine.

    Its logs are not in the store: nothing is written there before the whole study has been found valid.
    """
    from harness.engines.local import LocalEngine
    from harness.engines.slots import find_slots

    slots = engine.slots if isinstance(engine, LocalEngine) else find_slots()
    with tempfile.TemporaryDirectory(prefix="harness-logs-") as logs:
        return LocalEngine(slots, Path(logs), engine.commit if engine else "").call(job)
