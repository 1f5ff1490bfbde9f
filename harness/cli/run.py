"""``harness run``: everything from sources to verdicts, resuming after any interruption."""

from __future__ import annotations

import sys
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
    print_json,
    shown_store,
)
from harness.formats import plural
from harness.terminal.stopping import interruptible

if TYPE_CHECKING:
    from pathlib import Path

    from harness.session.answer import Answer


def command(study: Path, store: str, on: str = "local", address: str | None = None, **_: Any) -> str:
    """Return the command that resumes a study."""
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
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            min=1,
            help="time to spend; then verdicts are made from what is done (a first look may take a fifth longer)",
        ),
    ] = None,
) -> None:
    """Build, train, evaluate, compare and decide. Finished runs are never repeated; run it again to resume.

    Exit code 0: all runs finished and verdicts computed, or the minutes are over.

    1: something failed; the rest is done and kept.

    2: the study or its input is wrong; nothing was started.

    130, 143: interrupted; runs in progress have written a checkpoint. A second Ctrl-C does not wait for that.
    """
    from harness.session import open_study

    opened = open_study(study, store=store, engine=on, workers=workers, device=device, address=address)
    found = opened.run(track=track, system_metrics=system_metrics, minutes=minutes)
    work = found.work
    assert work is not None
    if work.failed:
        report_failures(found, command(study, store, on, address))
    if json:
        failed = [{"run": job.label, "stage": event.stage, "message": event.message} for job, event in work.failed]
        print_json(
            {
                "study": found.view.study,
                "failed": failed,
                "seconds": round(work.seconds, 2),
                "left": found.left,
                "decisions": found.view.decisions.model_dump(mode="json") if found.view.decisions else None,
                "tracking": work.tracking,
            }
        )
    else:
        from harness.terminal import tables, verdicts

        verdicts.show(found.view, tables.console())
        if found.left and not work.failed:
            yet = "" if found.view.decisions else "No verdicts yet. "
            most = "at most " if opened.study.stages else ""
            go_on = command(study, store, on, address)
            note(f"\n{yet}{most.capitalize()}{plural(found.left, 'run')} left. Go on: {go_on}")
        runs, steps, took = len(found.view.runs), work.steps, work.seconds
        note(f"\n{runs} runs, {steps} steps of work done now, {took:.0f} s. {work.tracking}")
        again = shown_store(store)
        note(f"Next: harness report {study}{again} · harness compare {study}{again} · harness ui{again}")
    if work.failed or not work.logged:
        sys.exit(1)


def report_failures(found: Answer, go_on: str) -> None:
    """Print which runs failed, and how to resume."""
    from harness.engines.local import NOT_STARTED

    assert found.work is not None
    failed = found.work.failed
    for job, event in failed:
        if event.stage != NOT_STARTED:
            note(f"{job.label} failed while {event.stage} ({event.message}).")
    left = [event.message for _, event in failed if event.stage == NOT_STARTED]
    if left:
        note(f"{len(left)} more were not started ({left[0]}).")
    done = sum(run.state == "done" for run in found.view.runs)
    if done + sum(job.job == "run" for job, _ in failed) == len(found.view.runs):
        note(f"The other {done} runs are done. Continue: {go_on}")
    else:
        note(f"{plural(done, 'run')} done. Continue: {go_on}")
