"""Runs the user's own code: it can neither end a command with exit code 0 nor write to the command's output."""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

PACKAGE = Path(__file__).parent
# Folders of code that is not the user's: Python's own, installed packages, the harness.
INSTALLED = tuple(
    f"{folder}{os.sep}" for folder in {str(PACKAGE), *(sysconfig.get_paths()[name] for name in ("stdlib", "purelib"))}
)


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Keep the user's own code apart from the command while the block runs, in this thread.

    The output of the code, and of programs that it starts, goes to standard error: standard output is the command's
    (``--json``). ``os._exit``, which would end the process without a message, raises ``SystemExit`` instead.
    """
    owner, leave = (os.getpid(), threading.get_ident()), os._exit

    def end(code: int) -> NoReturn:
        if (os.getpid(), threading.get_ident()) != owner:  # a forked child, or one of the harness's own threads
            leave(code)
        raise SystemExit(code)

    with contextlib.redirect_stdout(sys.stderr), _descriptor_apart(), patch.object(os, "_exit", end):
        yield


@contextlib.contextmanager
def _descriptor_apart() -> Iterator[None]:
    """Redirect the file descriptor of standard output to standard error."""
    streams = [stream for stream in (sys.__stdout__, sys.__stderr__) if stream is not None]
    for stream in streams:
        stream.flush()
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of them is closed
        yield
        return
    try:
        yield
    finally:
        for stream in streams:
            with contextlib.suppress(ValueError):  # the block closed it
                stream.flush()
        os.dup2(kept, 1)
        os.close(kept)


def said(error: BaseException) -> str:
    """Return an error's class and message; for ``SystemExit``, a sentence that says so."""
    if isinstance(error, SystemExit):
        return f"it ends the program (sys.exit({'' if error.code is None else repr(error.code)}))"
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:  # the error's class may be the user's own code too
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def line_in(error: BaseException, file: Path, shown: str = "") -> str:
    """Return ``file:line`` of the innermost frame in a file; the file's name when no frame is in it.

    Args:
        error: The error.
        file: The file, absolute.
        shown: The file's name in the answer; default: ``file``.
    """
    shown = shown or str(file)
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f"{shown}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f"{shown}:{lines[-1]}" if lines else shown


def own_line(error: BaseException) -> str:
    """Return the innermost line that is in a task's own code, ``tasks.<task>: <file>:<line>``, or in a model's.

    The stored copy of the task's folder may be anywhere. Empty when there is no such frame.
    """
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    own = [(name, line) for name, line in places if name.endswith(".py") and not name.startswith(INSTALLED)]
    if not own:
        return ""
    parts = Path(own[-1][0]).parts
    at = next((at for at in range(len(parts) - 2, 0, -1) if parts[at - 1] == "tasks"), None)
    if at is None:
        return f"{own[-1][0]}:{own[-1][1]}" if "transformers_modules" in parts else ""
    return f"tasks.{parts[at]}: {'/'.join(parts[at + 1 :])}:{own[-1][1]}"
