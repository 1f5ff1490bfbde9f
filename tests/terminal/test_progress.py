"""Progress while runs go on."""

from __future__ import annotations

import pytest

from harness.engines.jobs import Event
from harness.terminal.progress import Progress
from tests.jobs import run_job

JOBS = [run_job(f"run-{i}", f"verified/seed {i}") for i in range(3)]
EVENTS = [
    Event(event="stage", id="run-0", stage="training"),
    Event(event="step", id="run-0", done=3, total=40, loss=1.5),
    Event(event="items", id="run-0", done=96, total=192),
    Event(event="done", id="run-0"),
]


def test_progress_without_a_terminal_is_a_line_per_run(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(total=3, cached=7, slots=2) as progress:
        for event in EVENTS:
            progress.hear(0, JOBS[0], event)
        progress.hear(1, JOBS[1], Event(event="failed", id="run-1", stage="training", message="out of memory"))
        progress.hear(0, JOBS[2], Event(event="done", id="run-2"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "7 done before, 3 to do"
    assert lines[1].startswith("[1/3] verified/seed 0: done in 0 s · about ")
    assert lines[2].startswith("[2/3] verified/seed 1: FAILED while training: out of memory · about ")
    assert lines[3] == "[3/3] verified/seed 2: done in 0 s · all done"
    assert (progress.finished, progress.failed) == (2, 1)


def test_progress_in_a_terminal_is_a_live_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with Progress(total=3, cached=0, slots=2) as progress:
        for event in EVENTS[:2]:
            progress.hear(0, JOBS[0], event)
    shown = capsys.readouterr().err
    for words in ("Slot", "verified/seed 0", "training", "3/40", "1.500", "0/3"):
        assert words in shown
    with Progress(total=3, cached=0, slots=2) as progress:
        evil = Event(event="failed", id="run-1", stage="training", message="[red]no\x1b[5m")
        progress.hear(1, JOBS[1], evil)
    shown = capsys.readouterr().err
    assert "FAILED while training: [red]no\\x1b[5m" in shown
