"""Does the work of a study, look after look where it has stages, and shows progress until the deadline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from harness.formats import duration
from harness.terminal.working import note

if TYPE_CHECKING:
    from harness.engines import Engine
    from harness.engines.jobs import Event, Job
    from harness.session.deadline import Deadline
    from harness.study.plan import Plan

SLOTS_SHOWN = 16  # slots of a cluster that are shown: more do not fit a terminal

Failed = list[tuple["Job", "Event"]]


class Done(NamedTuple):
    """What ``carry_out`` did.

    Attributes:
        steps: Number of jobs that ended.
        failed: The failed ones, each with its last event.
    """

    steps: int
    failed: Failed


def carry_out(
    engine: Engine, made: Plan, deadline: Deadline, *, track: bool = True, system_metrics: bool = False
) -> Done:
    """Do what is left of a study until it is done or the time is over.

    An engine that was told to stop is not used again.

    Args:
        engine: The engine that does the work.
        made: The study; its data and its record are in the store.
        deadline: When to stop.
        track: Whether to log to MLflow while runs go on.
        system_metrics: Whether to record CPU, GPU and memory use during training.

    Raises:
        KeyboardInterrupt: The user stopped it; finished runs are kept.
    """
    from harness.engines.jobs import COMMON, BaseJob, jobs_to_do
    from harness.session.tracker import Tracker
    from harness.study.plan import refreshed
    from harness.terminal.progress import Progress
    from harness.terminal.stopping import gently, signalled

    failed: Failed = []
    todo, looks = _next(made, failed, jobs_to_do(made, system_metrics=system_metrics), note)
    if not todo:
        return Done(0, [])
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
            if not made.study.stages or any(isinstance(job, BaseJob) or COMMON in gone.data for job, gone in failed):
                return []
            deadline.go_on()
            now = refreshed(made)
            jobs, _ = _next(now, failed, jobs_to_do(now, system_metrics=system_metrics), progress.tell)
            if jobs and (takes := _seconds(engine, now, jobs)) > deadline.left:
                progress.tell(f"The next look takes about {duration(takes)}; {duration(deadline.left)} are left")
                return []
            progress.add(len(jobs))
            return jobs

        first = bool(made.study.stages) and looks == 0
        try:
            with (
                Tracker(made, enabled=track) as tracker,
                gently(engine.stop),
                deadline.stopping(engine.stop, first=first),
            ):
                failed = engine.run(todo, hear, more)
            return Done(progress.total, failed)
        except KeyboardInterrupt:
            if deadline.over and not signalled():
                return Done(progress.finished, failed)
            kept = f"{progress.finished} of {progress.total} steps of this call are done and kept"
            raise KeyboardInterrupt(kept) from None


def _next(made: Plan, failed: Failed, todo: Sequence[Job], tell: Callable[[str], None]) -> tuple[list[Job], int]:
    """Return the jobs that come next, and the looks so far; in a study with stages, the jobs of the next look."""
    from harness import answer
    from harness.engines.jobs import RunJob
    from harness.forecast.power import measured, planned_power
    from harness.terminal import stages

    if not made.study.stages:
        return list(todo), 0
    gone = {job.id for job, _ in failed}
    lost = {run.variant for run in made.runs if run.key in gone}
    course = answer.course_of(made, lost=lost)
    needed = {run.key for run in answer.wanted(made, course)} - gone
    found: list[Job] = [job for job in todo if job.id in needed]
    looks = 0 if course is None else course.looks
    if course is not None and looks:
        tell(stages.said(made.study, course))
    if course is not None and looks == 1 and course.needed:
        tell(stages.promised(planned_power(made, measured(made))))
    return found + [job for job in todo if not isinstance(job, RunJob) and job.id not in gone and found], looks


def _seconds(engine: Engine, made: Plan, todo: Sequence[Job]) -> float:
    """Return how long jobs take on an engine that has started."""
    from harness.engines.placement import pack
    from harness.forecast.cost import expected_seconds

    seconds = expected_seconds(made, engine.slots.device)
    slots = pack(todo, seconds, engine.nodes, engine.slots.workers)
    return max(slot.seconds for slot in slots)
