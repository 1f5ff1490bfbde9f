"""Progress of runs: a live table in a terminal, else one plain line per finished run."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from harness.formats import duration
from harness.terminal.tables import markup, table

if TYPE_CHECKING:
    from harness.engines.jobs import Event, Job

TRAINING_SHARE = 0.8  # share of a run's time, while no run has finished
COLUMNS = (
    ("Slot", "left"), ("Run", "left"), ("Stage", "left"), ("Step", "right"), ("Loss", "right"), ("Tokens/s", "right"),
)  # fmt: skip


@dataclass
class _Row:
    """The state of a slot; ``part`` is the share of its job that is done."""

    label: str
    stage: str = ""
    where: str = ""
    loss: str = ""
    rate: float | None = None
    part: float = 0.0


class Progress:
    """Shows the events of workers.

    Args:
        total: Number of jobs to do.
        cached: Number of runs that were finished before.
        slots: Number of workers.
    """

    def __init__(self, total: int, cached: int, slots: int) -> None:
        self.total, self.cached, self.slots = total, cached, slots
        self.finished = 0
        self.failed = 0
        self._rows: dict[int, _Row] = {}
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

    def tell(self, text: str) -> None:
        """Print a line above the live table."""
        if self._live is not None:
            self._console.print(markup(text))
        else:
            print(text, file=sys.stderr, flush=True)

    def add(self, jobs: int) -> None:
        """Count further jobs to do."""
        self.total += jobs
        self._bar.update(self._task, total=self.total)

    def stop(self) -> None:
        """Remove the live table from the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def hear(self, slot: int, job: Job, event: Event) -> None:
        """Handle one event of a worker."""
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
        elif event.event == "note":
            self._say(f"{job.label}: {event.message}")
        else:
            self._take(slot, job, event)
        if self._live is not None:
            self._bar.update(self._task, completed=self.finished + self.failed, left=self.summary())
            self._live.update(self._picture())

    def _take(self, slot: int, job: Job, event: Event) -> None:
        row = self._rows.get(slot)
        if row is None or row.label != job.label:
            row = self._rows[slot] = _Row(job.label)
        row.stage = event.stage or ("training" if event.event == "step" else "evaluating")
        row.where = f"{event.done}/{event.total}" if event.total else ""
        done = event.done / event.total if event.total else 0.0
        if event.event == "step":
            row.loss = f"{event.loss:.3f}" if event.loss is not None else ""
            row.rate = event.rate
            row.part = TRAINING_SHARE * done
        elif event.event == "items":
            row.rate = None
            row.part = done if job.job == "base" else TRAINING_SHARE + (1 - TRAINING_SHARE) * done

    def _say(self, text: str) -> None:
        number = self.finished + self.failed
        if self._live is not None:
            self._console.print(markup(text))
        else:
            print(f"[{number}/{self.total}] {text} · {self._left()}", file=sys.stderr, flush=True)

    def summary(self) -> str:
        """Return the text beside the bar: runs failed and done before, tokens per second of all slots, time left."""
        rates = [row.rate for row in self._rows.values() if row.rate is not None]
        parts = [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.cached} done before"] if self.cached else []
        parts += [f"{sum(rates):,.0f} tokens/s"] if rates else []
        return " · ".join([*parts, *([left] if (left := self._left()) else [])])

    def _left(self) -> str:
        """Return in words the time left, at the mean time of the jobs done; jobs in progress count by their share."""
        number = self.finished + self.failed
        if number == self.total:
            return "all done"
        done = number + sum(row.part for row in self._rows.values())
        if done < 0.1:
            return ""
        elapsed = time.monotonic() - self._started
        return f"about {duration(elapsed / done * (self.total - done))} left"

    def _picture(self) -> Group:
        rows = []
        for slot in range(self.slots):
            row = self._rows.get(slot, _Row("-"))
            rate = f"{row.rate:,.0f}" if row.rate is not None else ""
            rows.append((str(slot + 1), row.label, row.stage, row.where, row.loss, rate))
        return Group(table(list(COLUMNS), rows), self._bar)
