"""MLflow while a study goes on: written in the background, so that no server, slow or away, holds runs up."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from harness.terminal.working import note

if TYPE_CHECKING:
    from harness.study.plan import Plan

PERIOD = 30.0  # seconds between two looks at what has finished, at least
SHARE = 0.1  # of the time, at most, goes into looking
PATIENCE = 1.0  # seconds that an interrupted run waits for what is being written; a later sync mends the rest


class Tracker:
    """Shows finished runs in MLflow while others go on. Verdicts come at the end: see ``harness.cli.sync.write``.

    Args:
        made: The study.
        enabled: Whether to write at all.
        period: Seconds between two looks, at least.
        share: Of the time that looking may take: it takes as long as the study is large.
    """

    def __init__(self, made: Plan, enabled: bool = True, period: float = PERIOD, share: float = SHARE) -> None:
        self._made, self._period, self._share = made, period, share
        self._news, self._closing = threading.Event(), threading.Event()
        # A daemon: a process that is told to end does not wait for a server that hangs.
        self._thread = threading.Thread(target=self._follow, name="tracker", daemon=True) if enabled else None

    def __enter__(self) -> Tracker:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join(None if error is None else PATIENCE)

    def hear(self) -> None:
        """Take note that something has finished."""
        self._news.set()

    def _follow(self) -> None:
        """Write whenever there is news, and say once when that does not work: it is tried again with the next."""
        said = False
        while self._news.wait() and not self._closing.is_set():
            self._news.clear()
            began = time.monotonic()
            problem = self._write()
            if problem and not said:
                note(f"{problem}. Runs go on, and it is tried again.")
                said = True
            self._closing.wait(max(self._period, (time.monotonic() - began) * (1 / self._share - 1)))

    def _write(self) -> str:
        """Bring MLflow up to date with the store; return what went wrong, in words."""
        from harness import answer, tracking
        from harness.errors import HarnessError
        from harness.study.plan import refreshed

        try:
            tracking.sync(answer.view(refreshed(self._made), judged=False), self._made.store.root)
        except HarnessError as error:
            return str(error)
        return ""
