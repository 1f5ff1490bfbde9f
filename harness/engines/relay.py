"""A worker whose events are fetched by calls, where no pipe can carry them; a thread carries out its jobs."""

from __future__ import annotations

import io
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO, cast

from harness.engines.jobs import Event, Job
from harness.engines.worker import LOST_CODE, Worker

PAUSE = 0.5  # seconds for which events are collected before they are returned: limits the calls of a thousand workers


class _Lines(io.TextIOBase):
    """A text stream whose lines go into a queue."""

    def __init__(self, lines: queue.SimpleQueue[str]) -> None:
        self._lines = lines

    def write(self, text: str) -> int:
        self._lines.put(text)
        return len(text)


class Relay:
    """Passes jobs to a worker in one long-lived thread (libraries keep state by thread) and returns its events.

    Args:
        make: Makes the worker; its argument is the stream that the worker writes events to.
    """

    def __init__(self, make: Callable[[TextIO], Worker]) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._worker = make(cast("TextIO", _Lines(self._lines)))
        threading.Thread(target=self._serve, daemon=True).start()

    def work(self, job: Job | None, place: dict[str, Any]) -> list[str]:
        """Take a job, if there is one, and return the events since the last call; wait for at least one.

        Args:
            job: The next job, or None for more events of the current one.
            place: Where the job runs, and which attempt it is: goes into the provenance of its artifacts.

        Returns:
            Events, one JSON object each; the last is ``done`` or ``failed`` when the job has ended.
        """
        if job is not None:
            self._worker.place = place
            self._jobs.put(job)
        lines = [self._lines.get()]
        until = time.monotonic() + PAUSE
        while Event.model_validate_json(lines[-1]).event not in ("done", "failed"):
            try:
                lines.append(self._lines.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                break
        return lines

    def stop(self) -> None:
        """Return when this process can end without loss: training first writes a checkpoint after its current step."""
        self._worker.stopping.set()
        self._worker.keeping.acquire()  # never released: no result is begun from here on

    def _serve(self) -> None:
        while True:
            job = self._jobs.get()
            if self._worker.lost:  # the event of the job that lost the device has been fetched
                os._exit(LOST_CODE)
            try:
                self._worker.do(job)
            except BaseException:  # such as SystemExit: it ends the process, like any worker's process
                os._exit(1)
