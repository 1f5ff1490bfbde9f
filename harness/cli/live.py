"""Progress while runs go on: one live table in a terminal, one plain line per finished run without one."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from harness.cli.tables import duration, markup, table

if TYPE_CHECKING:
    from harness.engines.jobs import Event, Job


class Progress:
    """Hears what workers report and shows it.

    Args:
        total: Jobs to do.
        cached: Runs that were finished before.
        slots: Workers.
    """

    def __init__(self, total: int, cached: int, slots: int) -> None:
        self.total, self.cached, self.slots = total, cached, slots
        self.finished = 0
        self.failed = 0
        self._rows: dict[int, tuple[str, str, str, str]] = {}
        self._begun: dict[str, float] = {}
        self._started = time.monotonic()
        self._console = Console(stderr=True, highlight=False, emoji=False)
        self._live: Live | None = None
        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"), console=self._console,
        )  # fmt: skip
        self._task = self._bar.add_task("runs", total=total, left="")

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(self._picture(), console=self._console, refresh_per_second=4)
            self._live.start()
        elif self.cached:
            print(f"{self.cached} done before, {self.total} to do", file=sys.stderr, flush=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the live table off the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def hear(self, slot: int, job: Job, event: Event) -> None:
        """Take in one event of a worker."""
        now = time.monotonic()
        self._begun.setdefault(job.id, now)
        took = duration(now - self._begun[job.id])
        if event.event == "done":
            self.finished += 1
            self._rows.pop(slot, None)
            self._say(f"{job.label}: done in {took}")
        elif event.event == "failed":
            self.failed += 1
            self._rows.pop(slot, None)
            self._say(f"{job.label}: FAILED while {event.stage}: {event.message}")
        else:
            where = f"{event.done}/{event.total}" if event.total else ""
            loss = f"{event.loss:.3f}" if event.loss is not None else ""
            stage = event.stage or ("training" if event.event == "step" else "evaluating")
            self._rows[slot] = (job.label, stage, where, loss)
        if self._live is not None:
            self._bar.update(self._task, completed=self.finished + self.failed, left=self._left())
            self._live.update(self._picture())

    def _say(self, text: str) -> None:
        number = self.finished + self.failed
        if self._live is not None:
            self._console.print(markup(text))
        else:
            print(f"[{number}/{self.total}] {text} · {self._left()}", file=sys.stderr, flush=True)

    def _left(self) -> str:
        number = self.finished + self.failed
        if not number:
            return ""
        rate = (time.monotonic() - self._started) / number
        return f"about {duration(rate * (self.total - number))} left" if number < self.total else "all done"

    def _picture(self) -> Group:
        rows = [(str(slot + 1), *self._rows.get(slot, ("-", "", "", ""))) for slot in range(self.slots)]
        columns = [("Slot", "left"), ("Run", "left"), ("Stage", "left"), ("Step", "right"), ("Loss", "right")]
        return Group(table(columns, rows), self._bar)
