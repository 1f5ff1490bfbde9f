"""``harness run``: everything from sources to verdicts, resuming after any interruption."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.arguments import (
    DEFAULT_STORE,
    Address,
    AsJson,
    Device,
    EngineName,
    StorePlace,
    StudyFile,
    Workers,
    note,
    open_engine,
    open_plan,
    open_store,
    print_json,
    shown_store,
    with_model,
    write_data,
)
from harness.cli.stopping import gently, interruptible
from harness.cli.working import working

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engines import Engine
    from harness.engines.jobs import Event, Job
    from harness.plan import Plan

PROBE_FROM = 4  # jobs to do: fewer do not earn back a measurement of the machine
SLOTS_SHOWN = 16  # of a cluster: more do not fit a terminal


def command(study: Path, store: str, on: str = "local", address: str | None = None, **_: Any) -> str:
    """Return the command that goes on with a study."""
    where = (f" --engine {on}" if on != "local" else "") + (f" --address {address}" if address else "")
    return f"harness run {study}{where}{shown_store(store)}"


@interruptible(command)
def run(
    study: StudyFile,
    store: StorePlace = DEFAULT_STORE,
    json: AsJson = False,
    workers: Workers = None,
    device: Device = None,
    on: EngineName = "local",
    address: Address = None,
    track: Annotated[bool, typer.Option("--track/--no-track", help="log to MLflow, finished runs at once")] = True,
    system_metrics: Annotated[
        bool, typer.Option("--system-metrics", help="also record CPU, GPU and memory use while training")
    ] = False,
) -> None:
    """Build, train, evaluate, compare and decide. Finished runs are never repeated; run it again to go on.

    Exit code 0: all runs finished and verdicts computed.

    1: something failed; the rest is done and kept.

    2: the study or its input is wrong; nothing was started.

    130, 143: interrupted; runs in progress have left a checkpoint. A second Ctrl-C does not wait for that.
    """
    from harness import answer
    from harness.engines.jobs import jobs_to_do
    from harness.errors import HarnessError, storage_problem
    from harness.plan import commit, refreshed

    started = time.perf_counter()
    opened = open_store(store)
    opened.probe()
    opened.clear_dead()
    engine = open_engine(opened, workers, device, on, address)
    made = with_model(open_plan(study, store, engine), study, store, engine)
    write_data(made)
    commit(made)

    todo = [job.model_copy(update={"system_metrics": system_metrics}) for job in jobs_to_do(made)]
    failed = []
    if todo:
        from harness.cli.live import Progress
        from harness.cli.tracker import Tracker

        if on == "local" and workers is None and len(todo) >= PROBE_FROM and engine.slots.device == "cpu":
            choose_slots(engine)

        cached = len(made.runs) + 1 - len(todo)
        with Progress(total=len(todo), cached=cached, slots=min(engine.slots.workers, SLOTS_SHOWN)) as progress:

            def hear(slot: int, job: Job, event: Event) -> None:
                progress.hear(slot, job, event)
                if event.event in ("done", "failed"):
                    tracker.hear()

            try:
                with Tracker(made, enabled=track) as tracker, gently(engine.stop):
                    failed = engine.run(todo, hear)
            except KeyboardInterrupt:
                kept = f"{progress.finished} of {len(todo)} steps of this call are done and kept"
                raise KeyboardInterrupt(kept) from None
    if failed:
        report_failures(made, failed, command(study, store, on, address))
    made = refreshed(made)  # the file is not read again: what is judged is what was registered

    with working("Comparing"):
        view = answer.view(made)
    tracked = "not logged to MLflow (--no-track)"
    broken = False
    if track:
        from harness.cli.sync import write

        try:
            report = write(made, view, study, store)
            tracked = f"MLflow: {report.experiment} at {report.uri}"
        except Exception as error:  # whatever it is, the verdicts are there, and are told
            tracked, broken = str(error), True
            if not isinstance(error, HarnessError):
                tracked = f"not logged to MLflow: {storage_problem(error) or f'{type(error).__name__}: {error}'}"
    if json:
        print_json(
            {
                "study": made.study.study,
                "failed": [{"run": job.label, "stage": event.stage, "message": event.message} for job, event in failed],
                "seconds": round(time.perf_counter() - started, 2),
                "decisions": view.decisions.model_dump(mode="json") if view.decisions else None,
                "tracking": tracked,
            }
        )
    else:
        from harness.cli.decide import show

        show(view)
        took = time.perf_counter() - started
        note(f"\n{len(made.runs)} runs, {len(todo)} steps of work done now, {took:.0f} s. {tracked}")
        again = shown_store(store)
        note(f"Next: harness report {study}{again} · harness compare {study}{again} · harness ui{again}")
    if failed or broken:
        sys.exit(1)


def choose_slots(engine: Engine) -> None:
    """Measure once per machine which layout of workers and threads trains most."""
    from harness.engines.slots import is_measured, measure

    if not is_measured():
        note("Measuring how many workers suit this machine (once, some seconds)")
        engine.slots = measure()


def report_failures(made: Plan, failed: list[tuple[Job, Event]], go_on: str) -> None:
    """Say which runs failed and how to go on."""
    from harness.engines.local import NOT_STARTED

    for job, event in failed:
        if event.stage != NOT_STARTED:
            note(f"{job.label} failed while {event.stage} ({event.message}).")
    left = [event.message for _, event in failed if event.stage == NOT_STARTED]
    if left:
        note(f"{len(left)} more were not started ({left[0]}).")
    done = len(made.runs) - sum(job.job == "run" for job, _ in failed)
    note(f"The other {done} runs are done. Continue: {go_on}")
