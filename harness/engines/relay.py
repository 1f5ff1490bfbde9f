"""A worker that is asked for what it reports, where no pipe can carry it: jobs are carried out in a thread."""

from __future__ import annotations

import io
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO, cast

from harness.engines.jobs import Event, Job
from harness.engines.worker import Worker

PAUSE = 0.5  # seconds in which progress is gathered before it is handed over: bounds what a thousand workers say


class _Lines(io.TextIOBase):
    """A text stream whose lines go into a queue."""

    def __init__(self, lines: queue.SimpleQueue[str]) -> None:
        self._lines = lines

    def write(self, text: str) -> int:
        self._lines.put(text)
        return len(text)


class Relay:
    """Hands jobs to a worker in one long-lived thread (libraries keep state by thread) and its events back.

    Args:
        make: Makes the worker, given the stream it reports to.
    """

    def __init__(self, make: Callable[[TextIO], Worker]) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._worker = make(cast("TextIO", _Lines(self._lines)))
        threading.Thread(target=self._serve, daemon=True).start()

    def work(self, job: Job | None, place: dict[str, Any]) -> list[str]:
        """Take a job, if one is given, and return what was reported since, waiting for something to be reported.

        Args:
            job: The next thing to do, or None to hear more of the last one.
            place: Where and how often it is tried: goes into the provenance of what it makes.

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
        """Return once nothing is lost by ending this process: training is asked for a checkpoint after its step."""
        self._worker.stopping.set()
        self._worker.keeping.acquire()  # not given back: nothing is begun from here on

    def _serve(self) -> None:
        while True:
            try:
                self._worker.do(self._jobs.get())
            except BaseException:  # such as SystemExit: as if this were a process of its own, which then ends
                os._exit(1)
