"""Signals that stop a study: Ctrl-C, a scheduler's SIGTERM, a closed terminal. The first one stops in good order.

Signals belong to the process, so their state is module-level.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, ParamSpec, TextIO

P = ParamSpec("P")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Heard:
    """The first signal that arrived, and the function to call at a signal instead of ending at once."""

    signal: int | None = None
    gentle: Callable[[], None] | None = None


def interruptible(go_on: Callable[..., str]) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a verb end at a signal with one sentence that says how to resume, and with the signal's exit code.

    The exit code is 130 for Ctrl-C, 143 for SIGTERM, 129 for a closed terminal. Signals that were ignored at the start
    (``nohup``, ``&``) stay ignored.

    Args:
        go_on: Takes the verb's arguments and returns the command that resumes.
    """

    def decorate(verb: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(verb)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
            streams = (sys.stdout, sys.stderr)
            sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)
            with heard():
                try:
                    verb(*args, **kwargs)
                except (KeyboardInterrupt, Exception) as error:
                    if not isinstance(error, KeyboardInterrupt) and not signalled():
                        raise
                    # A library that calls Python back may swallow the interrupt, and fail at what it did not get.
                    kept = str(error) if isinstance(error, KeyboardInterrupt) else ""
                    kept = kept or "All that was finished is kept"
                    print(f"Stopped. {kept}. Go on: {go_on(*args, **kwargs)}", file=sys.stderr, flush=True)
                    sys.exit(128 + (_Heard.signal or signal.SIGINT))
                finally:
                    sys.stdout.flush()
                    sys.stdout, sys.stderr = streams

        return wrapped

    return decorate


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Handle signals while the block runs, as ``gently`` needs it; inside another such block the outer one goes on.

    Signals that are ignored (``nohup``, ``&``) stay ignored. Outside the main thread no signal can be handled.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or _hear in (signal.getsignal(number) for number in SIGNALS):
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _Heard.signal = None
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _hear)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def gently(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first signal while the block runs; the block may then take a while. A second one ends it.

    Raises:
        KeyboardInterrupt: At the second signal, or at the end of the block when one signal arrived.
    """
    _Heard.gentle = stop
    try:
        yield
    finally:
        _Heard.gentle = None
    if _Heard.signal is not None:
        raise KeyboardInterrupt


def signalled() -> bool:
    """Return whether a signal arrived since ``heard`` began."""
    return _Heard.signal is not None


def _hear(number: int, frame: FrameType | None) -> None:
    first, _Heard.signal = _Heard.signal is None, _Heard.signal or number
    if not first or _Heard.gentle is None:
        raise KeyboardInterrupt
    with contextlib.suppress(OSError):  # not print: the signal may have interrupted a print
        os.write(2, b"\nStopping: nothing new is started, runs in progress leave a checkpoint. Again: at once.\n")
    _Heard.gentle()


class _Terminal(io.FileIO):
    """A terminal. Writing to a closed terminal is no error, the text is lost: SIGHUP arrives a moment later."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return memoryview(data).nbytes


def _lasting(stream: TextIO) -> TextIO:
    """Return a stream to the same place that can be written to after its terminal has closed."""
    if not stream.isatty():
        return stream
    stream.flush()
    raw = _Terminal(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=True)
