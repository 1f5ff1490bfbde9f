"""Code of the user's own: whatever it does, it neither ends a command as if all were well nor speaks for it."""

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
# Where code lies that is not the user's: Python's own, what is installed, and the harness.
INSTALLED = tuple(
    f"{folder}{os.sep}" for folder in {str(PACKAGE), *(sysconfig.get_paths()[name] for name in ("stdlib", "purelib"))}
)


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Run a block of the user's own code apart from the command: for as long as it runs, in this thread.

    What it prints, and what programs that it starts print, goes to standard error: standard output is the command's
    (``--json``). ``os._exit``, which would end the process with nothing said, raises ``SystemExit`` instead.
    """
    owner, leave = (os.getpid(), threading.get_ident()), os._exit

    def end(code: int) -> NoReturn:
        if (os.getpid(), threading.get_ident()) != owner:  # a child that was forked, or the harness's own threads
            leave(code)
        raise SystemExit(code)

    with contextlib.redirect_stdout(sys.stderr), _descriptor_apart(), patch.object(os, "_exit", end):
        yield


@contextlib.contextmanager
def _descriptor_apart() -> Iterator[None]:
    """Let the file descriptor of standard output lead to standard error."""
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
    """Return what an error says, on one line; an end that the code chose in words of its own."""
    if isinstance(error, SystemExit):
        return f"it ends the program (sys.exit({'' if error.code is None else repr(error.code)}))"
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:  # the user's own class of errors, too, may do anything
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def line_in(error: BaseException, file: Path, shown: str = "") -> str:
    """Return ``file:line`` of the innermost frame that is in a file; its name where none is.

    Args:
        error: What was raised.
        file: The file, absolute.
        shown: What to call it; as it is by default.
    """
    shown = shown or str(file)
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f"{shown}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f"{shown}:{lines[-1]}" if lines else shown


def own_line(error: BaseException) -> str:
    """Return the innermost line that is in a task's own code, ``tasks.<task>: <file>:<line>``, or in a model's.

    Wherever the stored copy of the task's folder lies. Empty where there is no such frame.
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
