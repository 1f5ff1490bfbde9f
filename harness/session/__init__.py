"""A study opened to be worked with: planned, run, judged, told. Every verb and the Python API go through it.

A session holds the study, its store and its engine, each opened once. The study's file is read when the session is
opened and never again: what is judged after training is what was registered before it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.session.opening import DEFAULT_STORE, Choice, open_engine, open_store, prepared, shown_store
from harness.terminal.working import note, working

if TYPE_CHECKING:
    from harness import models
    from harness.engines import Engine
    from harness.engines.jobs import Event, Job
    from harness.loading import Loaded
    from harness.session.answer import Answer
    from harness.session.planned import Planned
    from harness.spec import Study, Suite
    from harness.store import Step
    from harness.study.plan import Plan
    from harness.tokens import Encoded

__all__ = ["DEFAULT_STORE", "Choice", "Session", "open_engine", "open_store", "open_study", "prepared", "shown_store"]

# What is done to make an artifact of a kind, as people are told while it is.
BUILDING = {
    "suite": "Making suite", "source": "Reading source", "pool": "Decontaminating", "variant": "Drawing variant",
    "tokens": "Encoding",
}  # fmt: skip
SLOTS_SHOWN = 16  # of a cluster: more do not fit a terminal


def open_study(
    study: str | Path | Study,
    *,
    store: str | Path = DEFAULT_STORE,
    engine: str = "local",
    workers: int | None = None,
    device: str | None = None,
    address: str | None = None,
    folder: str | Path = ".",
) -> Session:
    """Open a study: read it once, and reach its store. Nothing is trained, written or downloaded yet.

    Args:
        study: A study file (``.yaml``, or ``.py`` with a function ``study()``), or a ``harness.Study`` built in Python.
        store: The folder, or ``s3://bucket/...``, that keeps everything that is made.
        engine: ``local``, ``ray``, or an engine file such as those in ``configs/engines``.
        workers: Worker processes; default: as the machine has room for.
        device: ``cpu`` or ``cuda``; default: CUDA where there is one.
        address: Of a Ray cluster.
        folder: What relative paths start from in a study built in Python.

    Raises:
        RequestError: The study or the store is wrong, in one sentence with file, line and field.
    """
    from harness.loading import built, load_study
    from harness.spec import Study

    loaded = built(study, Path(folder)) if isinstance(study, Study) else load_study(Path(study))
    return Session(loaded, str(store), Choice(engine, workers, device, address))


class Session:
    """A study with its store and its engine, opened once.

    Attributes:
        loaded: The study, with where each of its fields is written.
        store: Where everything is kept.
        place: The store as the user named it.
        choice: Which engine is opened when one is needed.
    """

    def __init__(self, loaded: Loaded, place: str = DEFAULT_STORE, choice: Choice = Choice()) -> None:  # noqa: B008
        self.loaded, self.place, self.choice = loaded, place, choice
        self.store = open_store(place)
        self._engine: Engine | None = None
        self._plan: Plan | None = None

    def __repr__(self) -> str:
        return f"<study {self.study.study} ({self.loaded.file}), store {self.place}>"

    @property
    def study(self) -> Study:
        """The study, with the arms of its designs."""
        return self.loaded.study

    @property
    def engine(self) -> Engine:
        """What carries out the work; opened when it is first asked for."""
        self._engine = self._engine or open_engine(self.store, self.choice)
        return self._engine

    def command(self, verb: str) -> str:
        """Return the command line that does something with this study, such as ``harness run study.yaml``.

        Args:
            verb: What it does.
        """
        return f"harness {verb} {self.loaded.file}{shown_store(self.place)}"

    # ------------------------------------------------------------------------------------------------------- plan

    def resolved(self) -> Plan:
        """Resolve the study against the store: its variants, and which runs are done. Nothing is written.

        Raises:
            RequestError: Anything about the study, its data or its suite is wrong.
        """
        from harness.study.plan import refreshed

        self._plan = self._resolve() if self._plan is None else refreshed(self._plan)
        return self._plan

    def plan(self) -> Planned:
        """Build the datasets and say what will happen: variants, rows, tokens, power and cost. Nothing is trained.

        Returns:
            What is planned; it shows itself in a notebook, and prints as ``harness plan`` does.

        Raises:
            RequestError: Anything about the study, its data or its suite is wrong.
        """
        from harness import forecast
        from harness.session.planned import Planned, packing

        engine = self.engine
        made = self.resolved()
        if made.model.kind == "embedded":  # a model of the Hub is not downloaded for a plan: its tokens stay uncounted
            made = self._with_model()
        self.write()
        expected = forecast.forecast(made, engine.slots.workers, engine.slots.device)
        return Planned(made, expected, engine.slots, engine.nodes, packing(made, engine))

    def write(self) -> None:
        """Write the data that was built to the store."""
        from harness.study.plan import publish

        made = self._plan or self.resolved()
        with working("Writing to the store") as show:
            publish(made, lambda step: show(f"Writing {step.kind} {step.name} to the store"))

    def _with_model(self) -> Plan:
        """Make the base model ready and resolve the study again: from then on its tokens can be counted."""
        made = self._plan or self.resolved()
        if made.model.folder is None:
            self.write()
            with working(f"Preparing {made.model.name}"):
                prepared(made.model, self.store, self.engine)
            self._plan = made = self._resolve()
        return made

    def _resolve(self) -> Plan:
        """Resolve the study against the store.

        What needs torch (reading a suite of lm-eval tasks that the store does not hold yet, perplexities that a filter
        asks for) is done by a worker process: this one never imports it.
        """
        from harness import models
        from harness.engines.jobs import ModelJob, PerplexityJob, SuiteJob
        from harness.errors import RequestError, StepError
        from harness.study.build import reads_model
        from harness.study.plan import make_plan

        loaded, store = self.loaded, self.store
        engine = self._engine  # where none was needed so far, data are made in memory
        at = "Resolving the study"

        def materialize(suite: Suite, target: Path) -> list[dict[str, Any]]:
            note(f"Reading the tasks of suite {suite.suite} (once per suite)")
            label = f"suite {suite.suite}"
            job = SuiteJob(id="suite", label=label, store=store.location, suite=suite, folder=target)
            try:
                file = Path(self._ask(job)["file"])
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
                self._ask(job)
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
                note(f"Preparing {model.name}: the study counts in its tokens, or in its perplexity (once)")
                self._ask(ModelJob(id="model", label=model.name, store=store.location, model=model))
            pools = engine.pools(store, part) if engine else None
            return make_plan(loaded, store, materialize, perplexities, pools, building)

    def _ask(self, job: Job) -> dict[str, Any]:
        """Let a worker on this machine do a job, whatever the engine: it hands over in folders of this machine.

        Its logs are not the store's: nothing is written there before the whole study turns out to be sound.
        """
        from harness.engines.local import LocalEngine
        from harness.engines.slots import find_slots

        engine = self._engine
        slots = engine.slots if isinstance(engine, LocalEngine) else find_slots()
        with tempfile.TemporaryDirectory(prefix="harness-logs-") as logs:
            return LocalEngine(slots, Path(logs), engine.commit if engine else "").call(job)

    # -------------------------------------------------------------------------------------------------------- run

    def run(self, *, track: bool = True, system_metrics: bool = False) -> Answer:
        """Build, train, evaluate, compare and decide. Finished runs are never repeated; call it again to go on.

        The first Ctrl-C lets runs in progress leave a checkpoint; the second ends them at once.

        Args:
            track: Whether to log to MLflow, finished runs at once.
            system_metrics: Whether to record CPU, GPU and memory use while training.

        Returns:
            The answer. A run that failed is named in ``work.failed``, and does not stop the others.

        Raises:
            RequestError: The study or its input is wrong; nothing was started.
            KeyboardInterrupt: It was stopped; what was finished is kept.
        """
        from harness.engines.jobs import jobs_to_do
        from harness.session.answer import Work
        from harness.study.plan import commit
        from harness.terminal.stopping import heard

        started = time.perf_counter()
        self.store.probe()
        self.store.clear_dead()
        engine = self.engine
        self.resolved()
        made = self._with_model()
        self.write()
        commit(made)
        todo = jobs_to_do(made, system_metrics=system_metrics)
        failed: list[tuple[Job, Event]] = []
        if todo:
            with heard():
                failed = self._carry_out(engine, made, todo, track)
        found = self.answer()  # the file is not read again: what is judged is what was registered
        logged, tracking = (True, "not logged to MLflow (--no-track)") if not track else found.logged()
        found.work = Work(len(todo), failed, tracking, logged, time.perf_counter() - started)
        return found

    def _carry_out(self, engine: Engine, made: Plan, todo: Sequence[Job], track: bool) -> list[tuple[Job, Event]]:
        """Let the engine do the jobs, and show how far it is; return those that failed, with why."""
        from harness.session.tracker import Tracker
        from harness.terminal.progress import Progress
        from harness.terminal.stopping import gently

        engine.choose_slots(todo, note)
        cached = len(made.runs) + 1 - len(todo)
        with Progress(total=len(todo), cached=cached, slots=min(engine.slots.workers, SLOTS_SHOWN)) as progress:

            def hear(slot: int, job: Job, event: Event) -> None:
                progress.hear(slot, job, event)
                if event.event in ("done", "failed"):
                    tracker.hear()

            try:
                with Tracker(made, enabled=track) as tracker, gently(engine.stop):
                    return engine.run(todo, hear)
            except KeyboardInterrupt:
                kept = f"{progress.finished} of {len(todo)} steps of this call are done and kept"
                raise KeyboardInterrupt(kept) from None

    # ----------------------------------------------------------------------------------------------------- answer

    def answer(self) -> Answer:
        """Compare and decide with what the store holds now. Nothing is trained.

        Returns:
            The answer; while runs are missing it says so.

        Raises:
            RequestError: Anything about the study, its data or its suite is wrong.
        """
        from harness.answer import view
        from harness.session.answer import Answer

        made = self.resolved()
        with working("Comparing"):
            return Answer(self, made, view(made))
