"""The time that a run may take: work in progress stops in good order when it is over."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator

GRACE = 0.2  # of the time: what a first look may take longer


class Deadline:
    """The moment at which a run stops.

    Args:
        minutes: Minutes from now; None for no deadline.

    Attributes:
        over: Whether work was stopped because the time was over.
    """

    def __init__(self, minutes: float | None) -> None:
        seconds = math.inf if minutes is None else 60 * minutes
        self._end = time.monotonic() + seconds
        self._grace = GRACE * seconds
        self.over = False
        self._timer: threading.Timer | None = None
        self._stop: Callable[[], None] = lambda: None

    @property
    def left(self) -> float:
        """Seconds that are left; infinite without a deadline."""
        return max(0.0, self._end - time.monotonic())

    @contextlib.contextmanager
    def stopping(self, stop: Callable[[], None], *, first: bool = False) -> Iterator[None]:
        """Call ``stop`` when the time is over, unless the block has ended by then.

        Args:
            stop: Called in another thread, once at most.
            first: Whether the block begins with a study's first look, without which there is no answer at all: it may
                take a fifth longer, until ``go_on``.
        """
        self._stop = stop
        self._wait(self.left + (self._grace if first else 0.0))
        try:
            yield
        finally:
            self._cancel()

    def go_on(self) -> None:
        """Note that the first look is over: what follows ends with the time."""
        self._cancel()
        self._wait(self.left)

    def _wait(self, seconds: float) -> None:
        if math.isinf(seconds):
            return
        self._timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self._end_now)
        self._timer.daemon = True
        self._timer.start()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()

    def _end_now(self) -> None:
        self.over = True
        self._stop()
