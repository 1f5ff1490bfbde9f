"""Commands and environments of child processes: they import this very harness, and no code from the current folder.

``python -m`` and the servers that are built on it look for modules in the current folder first: without this module, a
study without any code would run a ``queue.py`` or a folder ``datasets`` that happens to be beside the data.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HOME = str(Path(__file__).parents[1])  # the folder that holds the package


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module found on Python's search path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(**settings: str) -> dict[str, str]:
    """Return a child's environment: this process's, with a safe search path (for its children too) and ``settings``."""
    return {**os.environ, "PYTHONUTF8": "1", "PYTHONSAFEPATH": "1", "PYTHONPATH": search_path(), **settings}


def search_path() -> str:
    """Return ``PYTHONPATH`` for a process that must find this very package.

    Empty entries are left out: they mean the current folder, usually by accident (``PYTHONPATH=$PYTHONPATH:/more``).
    """
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    installed = HOME.endswith("-packages")
    return os.pathsep.join(entries if installed or HOME in entries else [HOME, *entries])
