"""An open study, which can be planned, run, judged and reported. Every verb and the Python API use it.

A session holds the study, its store and its engine, each opened once. The study's file is read when the session is
opened and never again: the rule that judges after training is the rule that was registered before it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.formats import duration
from harness.session.opening import DEFAULT_STORE, Choice, open_engine, open_store, prepared, shown_store
from harness.terminal.working import note, working

if TYPE_CHECKING:
    from harness import models
    from harness.engines import Engine
    from harness.engines.jobs import Event, Job
    from harness.loading import Loaded
    from harness.records import Allocation, Confirmation, Decisions, Unit
    from harness.session.answer import Answer
    from harness.session.deadline import Deadline
    from harness.session.planned import Planned
    from harness.spec import Study, Suite
    from harness.store import Step
    from harness.study.plan import Plan
    from harness.tokens import Encoded

__all__ = ["DEFAULT_STORE", "Choice", "Session", "open_engine", "open_store", "open_study", "prepared", "shown_store"]

# Kind of artifact -> the work that makes it, in words for people.
BUILDING = {
    "suite": "Making suite", "source": "Reading source", "pool": "Decontaminating", "variant": "Drawing variant",
    "tokens": "Encoding",
}  # fmt: skip
SLOTS_SHOWN = 16  # slots of a cluster that are shown: more do not fit a terminal


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
    """Open a study: read it once, and check that its store can be reached. Nothing is trained, written or downloaded.

    Args:
        study: A study file (``.yaml``, or ``.py`` with a function ``study()``), or a ``harness.Study`` built in Python.
        store: The folder, or ``s3://bucket/...``, for everything that is made.
        engine: ``local``, ``ray``, or an engine file such as those in ``configs/engines``.
        workers: Number of worker processes; default: as many as the machine has room for.
        device: ``cpu`` or ``cuda``; default: CUDA when there is a GPU.
        address: Address of a Ray cluster.
        folder: Folder that relative paths start from, in a study built in Python.

    Raises:
        RequestError: The study or the store is wrong; the message is one sentence with file, line and field.
    """
    from harness.loading import built, load_study
    from harness.spec import Study

    loaded = built(study, Path(folder)) if isinstance(study, Study) else load_study(Path(study))
    return Session(loaded, str(store), Choice(engine, workers, device, address))


class Session:
    """A study with its store and its engine, opened once.

    Attributes:
        loaded: The study, and the line of each of its fields.
        store: The store.
        place: The store as the user named it.
        choice: The engine to open when one is needed.
    """

    def __init__(self, loaded: Loaded, place: str = DEFAULT_STORE, choice: Choice = Choice()) -> None:  # noqa: B008
        self.loaded, self.place, self.choice = loaded, place, choice
        self.store = open_store(place)
        self._engine: Engine | None = None
        self._plan: Plan | None = None
        self._looks = 0  # of a study with stages, so far

    def __repr__(self) -> str:
        return f"<study {self.study.study} ({self.loaded.file}), store {self.place}>"

    @property
    def study(self) -> Study:
        """The study, including the arms of its designs."""
        return self.loaded.study

    @property
    def engine(self) -> Engine:
        """The engine that carries out the work; opened on first use."""
        self._engine = self._engine or open_engine(self.store, self.choice)
        return self._engine

    def command(self, verb: str) -> str:
        """Return the command line of a verb for this study, such as ``harness run study.yaml``.

        Args:
            verb: The verb, such as ``run``.
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

    def staged(self) -> Plan:
        """Resolve the study as ``resolved`` does; in a study with stages, runs that no look needs are marked.

        Raises:
            RequestError: Anything about the study, its data or its suite is wrong.
        """
        from harness.answer import course_of, marked

        made = self.resolved()
        return marked(made, course_of(made))

    def plan(self) -> Planned:
        """Build the datasets and return the plan: variants, rows, tokens, power and cost. Nothing is trained.

        Returns:
            The plan; it is a table in a notebook, and prints as ``harness plan`` does.

        Raises:
            RequestError: Anything about the study, its data or its suite is wrong.
        """
        from harness import forecast
        from harness.answer import course_of, marked
        from harness.session.planned import Planned, packing

        engine = self.engine
        made = self.resolved()
        if (
            made.model.kind == "embedded"
        ):  # a model of the Hub is not downloaded for a plan: tokens are then not counted
            made = self._with_model()
        self.write()
        made = marked(made, course_of(made))
        expected = forecast.forecast(made, engine.slots.workers, engine.slots.device)
        return Planned(made, expected, engine.slots, engine.nodes, packing(made, engine))

    def write(self) -> None:
        """Write the data that was built to the store."""
        from harness.study.plan import publish

        made = self._plan or self.resolved()
        with working("Writing to the store") as show:
            publish(made, lambda step: show(f"Writing {step.kind} {step.name} to the store"))

    def _with_model(self) -> Plan:
        """Make the base model ready and resolve the study again, now with counts of tokens."""
        made = self._plan or self.resolved()
        if made.model.folder is None:
            self.write()
            with working(f"Preparing {made.model.name}"):
                prepared(made.model, self.store, self.engine)
            self._plan = made = self._resolve()
        return made

    def _resolve(self) -> Plan:
        """Resolve the study against the store.

        A worker process does the work that needs torch (reading a suite of lm-eval tasks that the store does not hold
        yet, perplexities for a filter): this process never imports it.
        """
        from harness import models
        from harness.engines.jobs import ModelJob, PerplexityJob, SuiteJob
        from harness.errors import RequestError, StepError
        from harness.study.build import reads_model
        from harness.study.plan import make_plan

        loaded, store = self.loaded, self.store
        engine = self._engine  # None when no engine was opened: data are then made in memory
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
                note(f"Preparing {model.name} (once): the study needs its tokens or its perplexity")
                self._ask(ModelJob(id="model", label=model.name, store=store.location, model=model))
            pools = engine.pools(store, part) if engine else None
            return make_plan(loaded, store, materialize, perplexities, pools, building)

    def _ask(self, job: Job) -> dict[str, Any]:
        """Run a job in a worker on this machine, whatever the engine, since its files are in folders of this machine.

        Its logs are not in the store: nothing is written there before the whole study has been found valid.
        """
        from harness.engines.local import LocalEngine
        from harness.engines.slots import find_slots

        engine = self._engine
        slots = engine.slots if isinstance(engine, LocalEngine) else find_slots()
        with tempfile.TemporaryDirectory(prefix="harness-logs-") as logs:
            return LocalEngine(slots, Path(logs), engine.commit if engine else "").call(job)

    # -------------------------------------------------------------------------------------------------------- run

    def run(self, *, track: bool = True, system_metrics: bool = False, minutes: float | None = None) -> Answer:
        """Build, train, evaluate, compare and decide. Finished runs are never repeated; call ``run`` again to resume.

        At the first Ctrl-C, runs in progress write a checkpoint and end; a second one ends them at once.

        Args:
            track: Whether to log to MLflow; each run is logged when it is finished.
            system_metrics: Whether to record CPU, GPU and memory use during training.
            minutes: Time to spend. When it is over, runs in progress write a checkpoint and end, and verdicts are made
                from what is done. In a study with stages, the first look may take a fifth longer, and a later one is
                not begun when it would take longer.

        Returns:
            The answer. A run that failed is in ``work.failed``, and does not stop the others.

        Raises:
            RequestError: The study or its input is wrong; nothing was started.
            KeyboardInterrupt: The user stopped it; finished runs are kept.
        """
        from harness.session.answer import Work
        from harness.session.deadline import Deadline
        from harness.study.plan import commit
        from harness.terminal.stopping import heard

        started, deadline = time.perf_counter(), Deadline(minutes)
        self.store.probe()
        self.store.clear_dead()
        engine = self.engine
        self.resolved()
        made = self._with_model()
        self.write()
        commit(made)
        with heard():
            steps, failed = self._carry_out(engine, made, deadline, track, system_metrics)
        found = self.answer()  # the file is not read again: the registered rule judges
        logged, tracking = (True, "not logged to MLflow (--no-track)") if not track else found.logged()
        found.work = Work(steps, failed, tracking, logged, time.perf_counter() - started)
        return found

    def _seconds(self, engine: Engine, made: Plan, todo: Sequence[Job]) -> float:
        """Return how long jobs take on an engine that has started."""
        from harness.engines.placement import pack
        from harness.forecast.cost import expected_seconds

        seconds = expected_seconds(made, engine.slots.device)
        slots = pack(todo, seconds, engine.nodes, engine.slots.workers)
        return max(slot.seconds for slot in slots)

    def _next(
        self, made: Plan, failed: Sequence[tuple[Job, Event]], todo: Sequence[Job], tell: Callable[[str], None] = note
    ) -> list[Job]:
        """Return the jobs that come next: all of them, or those that the next look of a study with stages needs."""
        from harness import answer
        from harness.engines.jobs import RunJob
        from harness.forecast.power import measured, planned_power
        from harness.terminal import stages

        if not made.study.stages:
            return list(todo)
        gone = {job.id for job, _ in failed}
        lost = {run.variant for run in made.runs if run.key in gone}
        course = answer.course_of(made, lost=lost)
        needed = {run.key for run in answer.wanted(made, course)} - gone
        found: list[Job] = [job for job in todo if job.id in needed]
        self._looks = 0 if course is None else course.looks
        if course is not None and course.looks:
            tell(stages.said(made.study, course))
        if course is not None and course.looks == 1 and course.needed:
            tell(stages.promised(planned_power(made, measured(made))))
        return found + [job for job in todo if not isinstance(job, RunJob) and job.id not in gone and found]

    def _carry_out(
        self, engine: Engine, made: Plan, deadline: Deadline, track: bool, system_metrics: bool
    ) -> tuple[int, list[tuple[Job, Event]]]:
        """Do what is left of a study, look after look, and show progress, until the deadline.

        Returns:
            The number of jobs that ended, and the failed ones, each with its last event.
        """
        from harness.engines.jobs import COMMON, BaseJob, jobs_to_do
        from harness.session.tracker import Tracker
        from harness.study.plan import refreshed
        from harness.terminal.progress import Progress
        from harness.terminal.stopping import gently, signalled

        failed: list[tuple[Job, Event]] = []
        todo = self._next(made, failed, jobs_to_do(made, system_metrics=system_metrics))
        if not todo:
            return 0, []
        engine.choose_slots(todo, note)
        cached = sum(run.state == "done" for run in made.runs)
        cached += made.store.find("result", made.base.key) is not None
        with Progress(total=len(todo), cached=cached, slots=min(engine.slots.workers, SLOTS_SHOWN)) as progress:

            def hear(slot: int, job: Job, event: Event) -> None:
                progress.hear(slot, job, event)
                if event.event == "failed":
                    failed.append((job, event))
                if event.event in ("done", "failed"):
                    tracker.hear()

            def more() -> list[Job]:
                if not made.study.stages or any(
                    isinstance(job, BaseJob) or COMMON in gone.data for job, gone in failed
                ):
                    return []
                deadline.go_on()
                now = refreshed(made)
                jobs = self._next(now, failed, jobs_to_do(now, system_metrics=system_metrics), progress.tell)
                if jobs and (takes := self._seconds(engine, now, jobs)) > deadline.left:
                    progress.tell(f"The next look takes about {duration(takes)}; {duration(deadline.left)} are left")
                    return []
                progress.add(len(jobs))
                return jobs

            first = bool(made.study.stages) and self._looks == 0
            try:
                with (
                    Tracker(made, enabled=track) as tracker,
                    gently(engine.stop),
                    deadline.stopping(engine.stop, first=first),
                ):
                    failed = engine.run(todo, hear, more)
                if deadline.over:  # in the very moment in which all was done
                    self._engine = None
                return progress.total, failed
            except KeyboardInterrupt:
                self._engine = None  # it was told to stop
                if deadline.over and not signalled():
                    return progress.finished, failed
                kept = f"{progress.finished} of {progress.total} steps of this call are done and kept"
                raise KeyboardInterrupt(kept) from None

    # ----------------------------------------------------------------------------------------------------- answer

    def answer(self) -> Answer:
        """Compare and decide with the results that the store holds now. Nothing is trained.

        Returns:
            The answer; it says so when runs are missing.

        Raises:
            RequestError: Anything about the study, its data or its suite is wrong.
        """
        from harness.answer import view
        from harness.session.answer import Answer

        with working("Comparing"):
            made = self.staged()
            return Answer(self, made, view(made))

    def grow(self, budget: float, *, unit: Unit = "money", supply: Mapping[str, int] | None = None) -> Allocation:
        """Say what to buy with a budget, with the results that the store holds now. Nothing is trained.

        By the learning curves of the sources' ladders, the rows are chosen whose expected gain is largest; the gains of
        sources are taken to add. Where the curves cannot tell, the rungs that would tell are named.

        Args:
            budget: The budget.
            unit: What it counts: ``money`` (at the sources' ``cost_per_row``), ``rows`` or ``tokens``.
            supply: Source -> rows that can be had; default: the rows that its pool has left.

        Returns:
            The allocation as a record, as ``harness grow --json`` prints it.

        Raises:
            RequestError: Anything about the study, its data or its suite is wrong; the budget is no number above 0, or
                a source lacks the price that it needs.
            StepError: No run is done yet.
        """
        from harness import decisions
        from harness.answer import allocation, progress
        from harness.errors import StepError

        with self.loaded.placing():
            decisions.check(self.study, budget, unit, supply)
        with working("Comparing"):
            made = self.staged()
            found = allocation(made, budget, unit, supply)
        if found is None:
            raise StepError(f"nothing to decide yet: {progress(made)}. Run: {self.command('run')}")
        return found

    def decided(self) -> Decisions | None:
        """Return the decisions where they are due: after a look in a study with stages, else when every run is done.

        Raises:
            RequestError: Anything about the study, its data or its suite is wrong.
            StepError: A result is damaged, or an item has no score on the declared metric.
        """
        from harness.answer import decided

        with working("Comparing"):
            return decided(self.resolved())

    def confirm(self, out: str | Path | None = None, *, seeds: int | None = None, force: bool = False) -> Confirmation:
        """Write the study that tests the mixture which the trained ones propose. Nothing is trained.

        The proposal becomes an ordinary arm against the same baseline, with seeds that this study has not used.

        Args:
            out: The file to write, in the folder of the study; default: ``STUDY-confirm.yaml``.
            seeds: The most seeds, default 5; the new study has stages, and ends where a look settles it.
            force: Replace the file if it is there.

        Returns:
            What was written as a record, as ``harness mixtures confirm --json`` prints it.

        Raises:
            RequestError: Anything about the study is wrong; it has no design of mixtures; the file cannot be written.
            StepError: Fewer than four mixtures are trained, their weights tell next to nothing about their scores, or a
                failed control withholds the verdicts.
        """
        from harness.answer import complete, predicted, progress
        from harness.errors import RequestError, StepError
        from harness.session.answer import write
        from harness.session.confirming import checked, confirmation, fresh, target, text

        file = target(self.loaded, None if out is None else Path(out), force=force)
        new = fresh(self.study, seeds)
        if not any(one.mixtures(self.study, {}) for one in self.study.designs):
            raise RequestError(f"{self.loaded.file}: no design of mixtures (mixture_search, mixture_dirichlet)")
        with working("Comparing"):
            made = self.staged()
            found, withheld = predicted(made)
        more = "" if complete(made) else f"; {progress(made)}. Run: {self.command('run')}"
        if withheld:
            raise StepError(f"{withheld}. Nothing was written{more}")
        if found is None:
            few = "a proposal takes four mixtures or more"
            raise StepError(f"nothing to confirm yet: {few}{more or '; raise draws'}")
        if found.doubt:
            raise StepError(f"INCONCLUSIVE: {found.doubt}. Nothing was written{more}")
        record = confirmation(self.study, file, found, *new)
        written = text(self.loaded, record)
        checked(file, written)
        write(file, written, "--out: ")
        return record.model_copy(update={"complete": complete(made), "progress": progress(made)})
