"""Terminals that know few letters, languages that are not UTF-8, a current folder that is gone, a held worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import argv, environment, harness
from tests.conftest import TINY_STUDY

ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN = {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.slow
@pytest.mark.parametrize("surroundings", [ASCII, LATIN, BARE])
def test_letters_that_the_terminal_lacks_are_spelled(study_folder: Path, surroundings: dict[str, str]) -> None:
    text = TINY_STUDY.replace("Half the answers are wrong.", "Größe 数 · half are wrong…")
    (study_folder / "größe.yaml").write_text(text, encoding="utf-8")
    for command in (
        "plan größe.yaml", "run größe.yaml --no-track --workers 2", "decide größe.yaml", "compare größe.yaml",
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
