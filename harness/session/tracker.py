"""Writes to MLflow during a run, in the background, so that a slow or absent server delays no run."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from harness.terminal.working import note

if TYPE_CHECKING:
    from harness.study.plan import Plan

PERIOD = 30.0  # least seconds between two updates
SHARE = 0.1  # the most of the time that updates may take
PATIENCE = 1.0  # seconds that an interrupted run waits for an update in progress; a later sync completes it


class Tracker:
    """Writes finished runs to MLflow while other runs go on. ``Answer.logged`` writes the verdicts at the end.

    Args:
        made: The study.
        enabled: Whether to write at all.
        period: Least seconds between two updates.
        share: Share of the time that updates may take: an update of a large study takes long.
    """

    def __init__(self, made: Plan, enabled: bool = True, period: float = PERIOD, share: float = SHARE) -> None:
        self._made, self._period, self._share = made, period, share
        self._news, self._closing = threading.Event(), threading.Event()
        # A daemon thread: the end of the process does not wait for a server that hangs.
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
        """Note that a run has finished."""
        self._news.set()

    def _follow(self) -> None:
        """Write after each finished run; report the first failure only. The next update tries again."""
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
        """Bring MLflow up to date with the store; return the error in words, or an empty string."""
        from harness import answer, tracking
        from harness.errors import HarnessError
        from harness.study.plan import refreshed

        try:
            tracking.sync(answer.view(refreshed(self._made), judged=False), self._made.store.root)
        except HarnessError as error:
            return str(error)
        return ""
