"""An open study, which can be planned, run, judged and reported. Every verb and the Python API use it.

A session holds the study, its store and its engine, each opened once. The study's file is read when the session is
opened and never again: the rule that judges after training is the rule that was registered before it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.session.opening import DEFAULT_STORE, Choice, open_engine, open_store, prepared, shown_store
from harness.terminal.working import working

if TYPE_CHECKING:
    from harness.engines import Engine
    from harness.loading import Loaded
    from harness.records import Allocation, Confirmation, Decisions, Unit
    from harness.session.answer import Answer
    from harness.session.planned import Planned
    from harness.spec import Study
    from harness.study.plan import Plan

__all__ = ["DEFAULT_STORE", "Choice", "Session", "open_engine", "open_store", "open_study", "prepared", "shown_store"]


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
        from harness.session.resolving import resolve

        return resolve(self.loaded, self.store, self._engine)

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
        from harness.session.looking import carry_out
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
        try:
            with heard():
                done = carry_out(engine, made, deadline, track=track, system_metrics=system_metrics)
        except KeyboardInterrupt:
            self._engine = None  # it was told to stop
            raise
        if deadline.over:  # even in the very moment in which all was done
            self._engine = None
        found = self.answer()  # the file is not read again: the registered rule judges
        logged, tracking = (True, "not logged to MLflow (--no-track)") if not track else found.logged()
        found.work = Work(done.steps, done.failed, tracking, logged, time.perf_counter() - started)
        return found

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
        from harness.session.confirming import confirm

        return confirm(self.loaded, self.staged, self.command("run"), out, seeds=seeds, force=force)
