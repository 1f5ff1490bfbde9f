"""What is under way is said on a terminal, and only there."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.terminal.working import working
from tests.command import argv, environment


def read(main: int, into: list[bytes]) -> None:
    try:
        while piece := os.read(main, 1 << 16):
            into.append(piece)
    except OSError:  # Linux's word for the end of a terminal
        pass


@pytest.mark.slow
def test_a_terminal_is_told_what_is_under_way_and_json_stays_clean(study_folder: Path) -> None:
    main, other = pty.openpty()
    heard: list[bytes] = []
    listening = threading.Thread(target=read, args=(main, heard))
    listening.start()
    done = subprocess.run(
        argv("plan", "study.yaml", "--json"), cwd=study_folder, stdout=subprocess.PIPE, stderr=other, check=True,
        env=environment(TERM="xterm"),
    )  # fmt: skip
    os.close(other)
    listening.join()
    os.close(main)
    said = b"".join(heard).decode()
    assert "Resolving the study" in said
    assert "Writing" in said
    assert json.loads(done.stdout)["study"] == "tiny"


def test_names_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with working("Reading [red]\x1b[2Jmine"):
        pass
    said = capsys.readouterr().err
    assert "[red]" in said
    assert "\x1b[2J" not in said


def test_without_a_terminal_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with working("Reading") as show:
        show("Comparing")
    assert capsys.readouterr() == ("", "")
