"""Processes that are started for the user: with this very harness, and without code that lies in the current folder.

``python -m`` and the servers that are built on it look for modules in the current folder first: a ``queue.py`` or a
folder ``datasets`` beside somebody's data would be run by a study that holds no code at all.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HOME = str(Path(__file__).parents[1])  # where the package was found


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of Python's search path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of a process: this one's, a safe search path (for its own children too), settings."""
    return {**os.environ, "PYTHONUTF8": "1", "PYTHONSAFEPATH": "1", "PYTHONPATH": search_path(), **settings}


def search_path() -> str:
    """Return ``PYTHONPATH`` for a process that must find this very package.

    An empty entry means the current folder, by accident (``PYTHONPATH=$PYTHONPATH:/more``): it is left out.
    """
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    installed = HOME.endswith("-packages")
    return os.pathsep.join(entries if installed or HOME in entries else [HOME, *entries])
