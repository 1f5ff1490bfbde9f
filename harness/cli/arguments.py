"""Arguments and options that verbs share, and how a study is opened."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.working import working

if TYPE_CHECKING:
    from harness.engines import Engine
    from harness.loading import Loaded
    from harness.models import Model
    from harness.plan import Plan
    from harness.store import Store

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="study file (.yaml, or .py with a function study())")]
StorePlace = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="HARNESS_STORE",
        help="folder (or s3://bucket/...) that keeps everything that was made",
        show_default=True,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="worker processes (default: one per core or GPU)")
]
Device = Annotated[str | None, typer.Option("--device", help="cpu or cuda (default: cuda when there is one)")]
EngineName = Annotated[
    str, typer.Option("--engine", help="local, ray, or an engine file (.yaml) such as those in configs/engines")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="of a Ray cluster: host:port, ray://host:port, auto, or local (one on this machine)"
    ),
]

DEFAULT_STORE = ".harness"
# What is done to make an artifact of a kind, as people are told while it is.
BUILDING = {
    "suite": "Making suite", "source": "Reading source", "pool": "Decontaminating", "variant": "Drawing variant",
    "tokens": "Encoding",
}  # fmt: skip


def open_store(place: str) -> Store:
    """Return the store in a folder, or in an object store; nothing is created."""
    from harness import outside
    from harness.errors import RequestError, StepError
    from harness.object_store import located

    if "://" in place:
        try:
            found = located(place)
            found.reach()
        except (RequestError, StepError) as error:
            raise RequestError(f"--store: {error}") from error
        return found
    folder = Path(place)
    if trouble := outside.problem(folder):
        raise RequestError(f"--store: {folder} {trouble}")
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise RequestError(f"--store: {there} is a file, expected a folder")
    return located(folder.resolve())


def open_engine(
    store: Store,
    workers: int | None = None,
    device: str | None = None,
    engine: str = "local",
    address: str | None = None,
) -> Engine:
    """Return the engine that carries out a store's jobs; one on Ray is connected to its cluster."""
    from harness.engines.config import LocalConfig, load_engine
    from harness.engines.local import Engine
    from harness.engines.slots import find_slots
    from harness.engines.worker import git_commit
    from harness.errors import RequestError, did_you_mean

    if device not in (None, "cpu", "cuda"):
        raise RequestError(f'--device: "{device}" is no device.{did_you_mean(device or "", ("cpu", "cuda"))}')
    config = load_engine(engine)
    chosen = {name: value for name, value in (("workers", workers), ("device", device)) if value is not None}
    logs = store.root / "logs"
    if isinstance(config, LocalConfig):
        if address is not None:
            raise RequestError("--address: the local engine has none; did you mean --engine ray?")
        config = config.model_copy(update=chosen)
        return Engine(find_slots(config.workers, config.device), logs, git_commit())
    try:
        from harness.engines.ray import RayEngine
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise RequestError("--engine: Ray is not installed; pip install 'ablation-harness[ray]'") from error
    chosen |= {"address": address} if address is not None else {}
    url = "" if store.location == str(store.root) else store.location
    with working("Connecting to Ray"):
        made = RayEngine(config.model_copy(update=chosen), logs, git_commit(), url=url)
    note(f"Ray at {made.address}: {made.slots.workers} slots ({made.config.worker.shown()} each), {made.free} free now")
    return made


def open_plan(study: Path, place: str, engine: Engine | None = None) -> Plan:
    """Load a study and resolve it against a store.

    What needs torch (reading a suite of lm-eval tasks that the store does not hold yet, perplexities that a filter
    asks for) is done by a worker process: this one never imports it.
    """
    import tempfile

    from harness import models
    from harness.build import reads_model
    from harness.engines.jobs import Job, model_fields
    from harness.engines.local import Engine
    from harness.engines.slots import find_slots
    from harness.errors import RequestError, StepError
    from harness.loading import load_study
    from harness.plan import make_plan
    from harness.spec import Suite
    from harness.store import Step
    from harness.tokens import Encoded

    loaded = load_study(study)
    store = open_store(place)
    at = "Resolving the study"

    def ask(job: Job) -> dict[str, Any]:
        # Not the store's logs: nothing is written there before the whole study turns out to be sound.
        # And on this machine, whatever the engine: what is asked for is handed over in folders of its own.
        with tempfile.TemporaryDirectory(prefix="harness-logs-") as logs:
            slots = engine.slots if isinstance(engine, Engine) else find_slots()
            return Engine(slots, Path(logs), engine.commit if engine else "").call(job)

    def materialize(suite: Suite, target: Path) -> list[dict[str, Any]]:
        note(f"Reading the tasks of suite {suite.suite} (once per suite)")
        job = Job(
            job="suite", id="suite", label=f"suite {suite.suite}", store=store.location,
            suite=suite.identity(), folder=str(target),
        )  # fmt: skip
        try:
            file = Path(ask(job)["file"])
        except StepError as error:  # a suite that cannot be read is a wrong request: nothing was started
            raise RequestError(str(error)) from error
        items: list[dict[str, Any]] = json.loads(file.read_text())
        file.unlink()
        return items

    def perplexities(model: models.Model, sequences: list[Encoded]) -> list[float]:
        note(f"Measuring the perplexity of {len(sequences):,} rows (once per row)")
        with tempfile.TemporaryDirectory(prefix="harness-perplexity-") as scratch:
            (Path(scratch) / "sequences.json").write_text(json.dumps([[s.input_ids, s.labels] for s in sequences]))
            ask(
                Job(
                    job="perplexity", id="perplexity", label="perplexity", store=store.location,
                    model=model_fields(model), folder=scratch,
                )
            )  # fmt: skip
            values: list[float] = json.loads((Path(scratch) / "perplexities.json").read_text())
        return values

    def building(step: Step) -> None:
        nonlocal at
        at = f"{BUILDING.get(step.kind, 'Making ' + step.kind)} {step.name}"
        show(at)

    def part(text: str) -> None:
        show(f"{at}: {text}")

    with working(at) as show, placing(loaded):
        trusted = loaded.study.trust_remote_code
        model = models.resolve(loaded.study.model, loaded.model_folder, store, trust_remote_code=trusted)
        if model.folder is None and reads_model(loaded.study):
            note(f"Preparing {model.name}: the study counts in its tokens, or in its perplexity (once)")
            ask(Job(job="model", id="model", label=model.name, store=store.location, model=model_fields(model)))
        pools = engine.pools(store, part) if engine else None
        return make_plan(loaded, store, materialize, perplexities, pools, building)


@contextlib.contextmanager
def placing(loaded: Loaded) -> Iterator[None]:
    """Put the line of the study before a message: whoever found it knows the field, here it is known where that is."""
    from harness.errors import RequestError

    try:
        yield
    except RequestError as error:
        raise RequestError(loaded.placed(str(error))) from error


def write_data(made: Plan) -> None:
    """Write the data that a plan built to the store."""
    from harness.plan import publish

    with working("Writing to the store") as show:
        publish(made, lambda step: show(f"Writing {step.kind} {step.name} to the store"))


def with_model(made: Plan, study: Path, place: str, engine: Engine) -> Plan:
    """Make the base model ready and resolve the study again: from then on its tokens can be counted."""
    from harness.engines.jobs import Job, model_fields

    if made.model.folder is not None:
        return made
    note(f"Preparing {made.model.name} (once, about half a minute)")
    write_data(made)
    fields = model_fields(made.model)
    with working(f"Preparing {made.model.name}"):
        engine.call(Job(job="model", id="model", label=made.model.name, store=made.store.location, model=fields))
    return open_plan(study, place, engine)


def prepared(model: Model, store: Store) -> Model:
    """Make an installed model ready, as the first run would, and return it as it is then."""
    from harness import models
    from harness.engines.jobs import Job, model_fields

    note(f"Preparing {model.name} (once, about half a minute)")
    fields = model_fields(model)
    open_engine(store).call(Job(job="model", id="model", label=model.name, store=store.location, model=fields))
    return models.resolve(model.name, store.root, store)


def print_json(value: Any) -> None:
    """Print one JSON document to standard output; what JSON has no number for (infinity, NaN) is null."""
    ascii_only = "utf" not in (sys.stdout.encoding or "utf").lower()
    try:
        text = json.dumps(value, indent=1, ensure_ascii=ascii_only, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=1, ensure_ascii=ascii_only, allow_nan=False)
    sys.stdout.write(f"{text}\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def note(text: str) -> None:
    """Tell the person what is going on, on standard error, so that ``--json`` stays clean."""
    print(text, file=sys.stderr, flush=True)


def shown_store(place: str) -> str:
    """Return the ``--store`` option to repeat in a suggested command, when the default would not do."""
    usual = "://" not in place and Path(place).resolve() == Path(DEFAULT_STORE).resolve()
    return "" if usual or os.environ.get("HARNESS_STORE") else f" --store {shlex.quote(place)}"
