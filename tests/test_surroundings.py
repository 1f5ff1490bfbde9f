"""Terminals that know few letters, languages that are not UTF-8, a current folder that is gone, a held worker."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import processes
from harness.engines.jobs import Event, Job
from harness.engines.local import LocalEngine
from harness.engines.slots import Slots
from harness.errors import storage_problem
from tests.command import argv, environment, harness
from tests.conftest import SMALL_STUDY, Ran
from tests.jobs import run_job

ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.slow
@pytest.mark.parametrize("surroundings", [ASCII, BARE])
def test_letters_that_the_terminal_lacks_are_spelled(study_folder: Path, surroundings: dict[str, str]) -> None:
    text = SMALL_STUDY.replace("Half the answers are wrong.", "Größe 数 · half are wrong…")
    (study_folder / "größe.yaml").write_text(text, encoding="utf-8")
    for command in (
        "plan größe.yaml", "run größe.yaml --no-track --workers 1", "decide größe.yaml", "compare größe.yaml",
        "report größe.yaml", "status größe.yaml", "store ls", "store verify", "doctor",
    ):  # fmt: skip
        done = harness(*command.split(), cwd=study_folder, **surroundings)
        assert done.code == 0, (command, done.err)
        assert "unexpected" not in done.err
    shown = harness("plan", "größe.yaml", "--json", cwd=study_folder, **surroundings)
    assert shown.json["question"].startswith("Größe 数 · half are wrong…")
    wrong = harness("plan", "größer.yaml", cwd=study_folder, **surroundings)
    assert (wrong.code, "no such study file" in wrong.err) == (2, True)


@pytest.mark.parametrize("command", ["plan study.yaml", "status study.yaml --json", "store ls", "init rows.jsonl"])
def test_a_current_folder_that_is_gone_is_one_sentence(tmp_path: Path, command: str) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os, sys; os.rmdir({str(gone)!r}); os.execv(sys.executable, {argv(*command.split())!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=gone, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "the current folder is not there any more: go to one that is (cd), and run again\n"
    assert not os.path.exists(gone)  # noqa: PTH110 (a path that cannot be asked for in another way)


# ------------------------------------------------------------------------------------------------------- full disks


def test_a_full_disk_of_temporary_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = {str(tmp_path): 4096}
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=room.get(folder, 1 << 40)))
    bare = OSError(errno.ENOSPC, "No space left on device")
    assert storage_problem(bare) == "the disk is full"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert storage_problem(bare) == f"the disk is full: {tmp_path} (temporary files; TMPDIR names another folder)"
    assert storage_problem(OSError(errno.ENOSPC, "No space", "/store/x")) == "the disk is full: /store/x"
    none = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
    assert storage_problem(none).startswith(f"no folder for temporary files can be written ({tmp_path}: ")


@pytest.mark.slow
def test_verdicts_are_told_where_mlflow_finds_no_room(ran: Ran, tmp_path: Path) -> None:
    """Its artifacts go through temporary files."""
    store = Path(shutil.copytree(ran.store, tmp_path / "store"))
    with contextlib.closing(sqlite3.connect(store / "mlflow.db")) as database, database:
        database.execute("UPDATE tags SET value = 'all:x fixed:x artifacts:x' WHERE key = 'harness.digest'")
    code = f"""if True:
        import errno, tempfile
        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")
        tempfile.TemporaryDirectory = full
        import sys
        sys.argv = ["harness", "run", "study.yaml", "--json", "--store", {str(store)!r}]
        from harness.__main__ import main
        main()
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=ran.folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert told["decisions"] is not None
    assert "the disk is full" in told["tracking"]
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------------------------------------------- held workers

HELD = """
import sys
print('{"event": "ready"}', flush=True)
for line in sys.stdin:
    if line == "stop\\n":
        break
    print('{"event": "stage", "stage": "training"}', flush=True)
"""


def test_a_worker_that_is_held_does_not_hold_up_who_asks_it_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "python", lambda module: [sys.executable, "-c", HELD])
    engine = LocalEngine(Slots(1, 1, "cpu"), tmp_path)
    engine._forks = False  # a process of its own, as where workers are no forks
    held: list[int] = []
    start = engine._start

    def begun(slot: int) -> Any:
        process = start(slot)
        held.append(process.child.pid)
        return process

    def hear(slot: int, job: Job, event: Event) -> None:
        os.kill(held[0], signal.SIGSTOP)
        engine.stop()

    monkeypatch.setattr(engine, "_start", begun)
    with pytest.raises(KeyboardInterrupt):
        engine.run([run_job("a", store=tmp_path)], hear)
    with pytest.raises(ProcessLookupError):
        os.kill(held[0], 0)
