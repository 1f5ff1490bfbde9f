"""``harness run``: everything from sources to verdicts, resuming after any interruption."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.arguments import (
    DEFAULT_STORE,
    AsJson,
    Device,
    StoreFolder,
    StudyFile,
    Workers,
    note,
    open_engine,
    open_plan,
    open_store,
    print_json,
    shown_store,
    with_model,
)

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engines.jobs import Event, Job
    from harness.plan import Plan


def run(
    study: StudyFile,
    store: StoreFolder = DEFAULT_STORE,
    json: AsJson = False,
    workers: Workers = None,
    device: Device = None,
    track: Annotated[bool, typer.Option("--track/--no-track", help="log to MLflow when done")] = True,
) -> None:
    """Build, train, evaluate, compare and decide. Finished runs are never repeated; run it again to go on.

    Exit code 0: all runs finished and verdicts computed.

    1: something failed; the rest is done and kept.

    2: the study or its input is wrong; nothing was started.
    """
    from harness import answer
    from harness.engines.jobs import base_job, run_job
    from harness.errors import HarnessError
    from harness.plan import commit, publish

    started = time.perf_counter()
    engine = open_engine(open_store(store), workers, device)
    made = with_model(open_plan(study, store, engine), study, store, engine)
    publish(made)
    commit(made)

    todo = [run_job(made, planned) for planned in made.runs if planned.state != "done"]
    if made.store.find("result", made.base.key) is None:
        todo.insert(0, base_job(made))
    failed = []
    if todo:
        from harness.cli.live import Progress

        cached = len(made.runs) + 1 - len(todo)
        with Progress(total=len(todo), cached=cached, slots=engine.slots.workers) as progress:
            try:
                failed = engine.run(todo, progress.hear)
            except KeyboardInterrupt:
                progress.stop()
                note(
                    f"Stopped. {progress.finished} runs of this call are done and kept. Go on: {command(study, store)}"
                )
                raise
    if failed:
        report_failures(made, failed, study, store)
        made = open_plan(study, store, engine)
    else:
        made = open_plan(study, store, engine) if todo else made

    view = answer.view(made)
    tracked = "not logged to MLflow (--no-track)"
    broken = False
    if track:
        from harness import tracking

        try:
            report = tracking.sync(view, made.store.root)
            tracked = f"MLflow: {report.experiment} at {report.uri}"
        except HarnessError as error:
            tracked, broken = str(error), True
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
        note(f"Next: harness compare {study}{again} · harness decide {study} --json{again} · harness ui{again}")
    if failed or broken:
        sys.exit(1)


def report_failures(made: Plan, failed: list[tuple[Job, Event]], study: Path, store: Path) -> None:
    """Say which runs failed and how to go on."""
    for job, event in failed:
        note(f"{job.label} failed while {event.stage} ({event.message}).")
    done = len(made.runs) - sum(job.job == "run" for job, _ in failed)
    note(f"The other {done} runs are done. Continue: {command(study, store)}")


def command(study: Path, store: Path) -> str:
    """Return the command that goes on with a study."""
    return f"harness run {study}{shown_store(store)}"
