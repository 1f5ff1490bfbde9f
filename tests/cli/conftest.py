"""Fixtures of the command line: a finished study, and calls in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main
from tests import planted
from tests.command import Called


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine may ask for colours or for another width."""
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "COLUMNS", "TTY_COMPATIBLE", "PY_COLORS", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """The folder of a finished study with planted scores."""
    study = planted.folder_with(tmp_path_factory.mktemp("finished"), tiny)
    planted.plant(study)
    return study.parent


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], finished: Path) -> Any:
    """Calls ``harness`` in this process; in the folder of the finished study unless told otherwise."""

    def call(*arguments: str | Path, cwd: Path = finished) -> Called:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Called(int(ended.value.code or 0), out, err)

    return call
