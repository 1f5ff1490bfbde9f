"""Being asked to stop: Ctrl-C, a scheduler's SIGTERM, a terminal that closes. The first time it is done in good order.

Signals belong to the process, so what is known of them is kept here, once.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import ParamSpec

P = ParamSpec("P")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Heard:
    """The first signal that came, and what to do at it instead of ending at once."""

    signal: int | None = None
    gentle: Callable[[], None] | None = None
    terminals: tuple[int, ...] = ()


def interruptible(go_on: Callable[..., str]) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a verb end at a signal with one sentence that says how to go on, and the exit code shells know it by.

    130 for Ctrl-C, 143 for SIGTERM, 129 for a terminal that closed. Signals that were ignored when the verb began
    (``nohup``, ``&``) stay ignored.

    Args:
        go_on: Takes the verb's arguments and returns the command to type.
    """

    def decorate(verb: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(verb)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
            before = {number: signal.getsignal(number) for number in SIGNALS}
            _Heard.signal, _Heard.terminals = None, tuple(stream for stream in (1, 2) if os.isatty(stream))
            for number, handler in before.items():
                if handler is not signal.SIG_IGN:
                    signal.signal(number, _hear)
            try:
                verb(*args, **kwargs)
            except KeyboardInterrupt as error:
                kept = str(error) or "All that was finished is kept"
                print(f"Stopped. {kept}. Go on: {go_on(*args, **kwargs)}", file=sys.stderr, flush=True)
                sys.exit(128 + (_Heard.signal or signal.SIGINT))
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

        return wrapped

    return decorate


@contextlib.contextmanager
def gently(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first signal while the block runs, which then may take a while; the second ends it at once.

    Raises:
        KeyboardInterrupt: At the end of the block, too, when a signal came and the block ended all the same.
    """
    _Heard.gentle = stop
    try:
        yield
    finally:
        _Heard.gentle = None
    if _Heard.signal is not None:
        raise KeyboardInterrupt


def _hear(number: int, frame: FrameType | None) -> None:
    first, _Heard.signal = _Heard.signal is None, _Heard.signal or number
    if number == signal.SIGHUP:
        _forget_terminals()
    if not first or _Heard.gentle is None:
        raise KeyboardInterrupt
    with contextlib.suppress(OSError):  # not print: the signal may have come in the middle of one
        os.write(2, b"\nStopping: nothing new is started, runs in progress leave a checkpoint. Again: at once.\n")
    _Heard.gentle()


def _forget_terminals() -> None:
    """Send what is still said nowhere: writing to a terminal that is gone would be an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in _Heard.terminals:
        os.dup2(nowhere, stream)
    os.close(nowhere)
