"""Calls the command line the way a user does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# Seconds after which what has not come or ended hangs. Speed is never measured so: a busy machine may take long.
HANGS = 240


@dataclass(frozen=True)
class Called:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a child: our package importable, no hub, coverage on when it is on here."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **extra}


def argv(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "harness", *map(str, arguments)]


def harness(*arguments: str | Path, cwd: Path, timeout: float = 600, **extra: str) -> Called:
    """Run ``harness ...`` in a process of its own."""
    done = subprocess.run(
        argv(*arguments),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(**extra),
        check=False,
    )
    return Called(done.returncode, done.stdout, done.stderr)
