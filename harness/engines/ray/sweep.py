"""One call of ``RayEngine.run``: which worker does which job, which answers are awaited, which workers are lost."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from harness.engines.config import RayConfig
from harness.engines.jobs import COMMON, UNKEPT, Event, Job, SuiteJob, keep_failure
from harness.engines.local import Listener, not_started
from harness.engines.placement import Blocks
from harness.engines.slots import Slots
from harness.errors import StepError

TICK = 1.0  # seconds in which a call of `stop` is noticed
GRACE = 60.0  # seconds that runs get to leave a checkpoint
STARTS = 5  # workers that may be lost in a row before one has started


@dataclass
class _Seat:
    slot: int
    actor: Any
    hardware: str | None = None  # None until the worker is up
    where: dict[str, str] = field(default_factory=dict)
    job: Job | None = None
    stage: str = ""


class Cluster(Protocol):
    """The part of an engine that a sweep uses.

    Attributes:
        config: How often and how long to try.
        slots: How many workers to ask for.
        logs: Folder of the workers' logs.
        address: The cluster's address, as people see it.
        stopping: Set when no further job may start.
    """

    config: RayConfig
    slots: Slots
    logs: Path
    address: str
    stopping: bool

    @property
    def free(self) -> int:
        """How many workers the cluster has room for now."""

    def place(self, slot: int, token: str) -> Any:
        """Request a worker; return its handle at once."""


class Sweep:
    """One call of ``run``: which worker does which job, which answers are awaited, which workers are lost."""

    def __init__(
        self,
        engine: Cluster,
        jobs: Sequence[Job],
        listen: Listener,
        more: Callable[[], Sequence[Job]] = tuple,
    ) -> None:
        self.engine, self.listen, self.more = engine, listen, more
        self.blocks = Blocks(jobs)
        self.jobs = len(jobs)
        self.token = uuid.uuid4().hex
        self.seats: list[_Seat] = []
        self.answers: dict[Any, _Seat] = {}  # awaited answer -> the worker's seat
        self.lost: dict[str, list[str]] = {}  # job -> why it had to be tried again
        self.failed: list[tuple[Job, Event]] = []
        self.false_starts = 0
        self.joined = time.monotonic()  # when a worker was last requested, or started

    def go(self) -> list[tuple[Job, Event]]:
        """Run all jobs; return the failed ones, each with its last event."""
        self._staff()
        while True:
            if self.engine.stopping:
                self._leave()
            if self._ended() and (jobs := self.more()):
                self.blocks, self.jobs = Blocks(jobs), len(jobs)
                self._staff()
            self._hand_out()
            if not self.answers:
                return self.failed
            # One answer ends the wait; all others that have arrived by then are handled too.
            ready, _ = ray.wait(list(self.answers), num_returns=1, timeout=TICK)
            if ready and len(self.answers) > 1:
                ready, _ = ray.wait(list(self.answers), num_returns=len(self.answers), timeout=0)
            for reference in ready:
                self._answer(self.answers.pop(reference), reference)
            self._check_start()

    def stop(self) -> None:
        """End all workers."""
        for seat in self.seats:
            ray.kill(seat.actor)

    def _leave(self) -> None:
        """Wait until runs in progress have written a checkpoint, ``GRACE`` seconds at most."""
        busy = [seat.actor.stop.remote() for seat in self.seats if seat.job is not None]
        if busy:
            ray.wait(busy, num_returns=len(busy), timeout=GRACE)
        raise KeyboardInterrupt

    def _ended(self) -> bool:
        """Return whether all jobs so far have ended."""
        return not len(self.blocks) and not any(seat.job for seat in self.seats)

    def _staff(self) -> None:
        """Request workers until there are as many as slots, or as jobs."""
        taken = {seat.slot for seat in self.seats}
        for slot in range(min(self.engine.slots.workers, self.jobs)):
            if slot not in taken:
                self._start(slot)

    def _start(self, slot: int) -> None:
        self.joined = time.monotonic()
        seat = _Seat(slot, self.engine.place(slot, self.token))
        self.seats.append(seat)
        self.answers[seat.actor.hello.remote()] = seat

    def _hand_out(self) -> None:
        """Give every idle worker a job, as far as there is one for its hardware."""
        idle = [seat for seat in self.seats if seat.hardware is not None and seat.job is None]
        self._feed(idle)
        coming = any(seat.hardware is None for seat in self.seats) and self._waited() < self.engine.config.patience
        if len(self.blocks) and idle and not coming:
            there = {seat.hardware for seat in self.seats if seat.hardware is not None}
            if self.blocks.move(there):
                self._feed([seat for seat in idle if seat.job is None])  # their records say that the block was moved
        if self._ended():
            self.answers.clear()  # workers that have not started yet are no longer needed

    def _feed(self, idle: list[_Seat]) -> None:
        for seat in idle:
            assert seat.hardware is not None
            seat.job = self.blocks.take(seat.hardware)
            if seat.job is not None:
                place: dict[str, Any] = {"engine": "ray", **seat.where, "hardware": seat.hardware}
                place["block"] = seat.job.block
                lost, moved = self.lost.get(seat.job.id), self.blocks.moved.get(seat.job.block)
                place |= {"tried_again_after": lost} if lost else {}
                place |= {"block_was_on": moved} if moved else {}
                self.answers[seat.actor.work.remote(_elsewhere(seat.job).model_dump_json(), place)] = seat

    def _answer(self, seat: _Seat, reference: Any) -> None:
        try:
            answer = ray.get(reference)
        except RayTaskError as error:  # raised by our own code in the worker: trying again would not help
            raise StepError(f"worker {seat.slot} failed: {error.cause} (log: {self._log(seat)})") from error
        except RayError as error:
            self._gone(seat, error)
            return
        if seat.hardware is None:
            seat.hardware = answer.pop("hardware")
            seat.where = answer
            self.joined, self.false_starts = time.monotonic(), 0
            return
        for line in answer:
            self._event(seat, Event.model_validate_json(line))
        if seat.job is not None:
            self.answers[seat.actor.work.remote(None, {})] = seat

    def _event(self, seat: _Seat, event: Event) -> None:
        job = seat.job
        assert job is not None
        seat.stage = event.stage or seat.stage
        if event.event in ("done", "failed"):
            seat.job = None
        if event.event == "failed":
            self.failed.append((job, event))
        self.listen(seat.slot, job, event)
        if COMMON in event.data:  # the others would train, and fail where this one did
            self.failed += [(other, not_started(other, event)) for other in self.blocks.clear()]

    def _gone(self, seat: _Seat, error: RayError) -> None:
        """Handle the loss of a worker: try its job again on another one, as often as the engine file allows."""
        self.seats.remove(seat)
        ray.kill(seat.actor)  # an actor that only cannot be reached must not run on beside its successor
        reason = _reason(error)
        if seat.hardware is None:
            self.false_starts += 1
            if self.false_starts >= STARTS or getattr(error, "actor_init_failed", False):
                raise StepError(f"a worker cannot start: {reason} (log: {self._log(seat)})") from error
        if (job := seat.job) is not None:
            reasons = self.lost.setdefault(job.id, [])
            reasons.append(f"{seat.where['node']}: {reason}")
            if len(reasons) <= self.engine.config.retries:
                self.blocks.put_back(job)
                self.listen(seat.slot, job, Event(event="note", id=job.id, message=f"{reason}; tried again"))
            else:
                times = f", {len(reasons)} times" if len(reasons) > 1 else ""
                event = Event(
                    event="failed", id=job.id, stage=seat.stage, message=f"{reason}{times}", detail="\n".join(reasons)
                )
                self.failed.append((job, event))
                with contextlib.suppress(*UNKEPT):  # a full disk; the failure is reported anyway
                    keep_failure(job, event)
                self.listen(seat.slot, job, event)
        if len(self.blocks):
            self._start(seat.slot)

    def _check_start(self) -> None:
        """Give up when no worker has started within the time that the engine file allows."""
        if all(seat.hardware is None for seat in self.seats) and self._waited() > self.engine.config.patience:
            raise StepError(
                f"no worker has started within {self.engine.config.patience:.0f} s at {self.engine.address}: "
                f"each needs {self.engine.config.worker.shown()}; {self.engine.free} would find room now"
            )

    def _waited(self) -> float:
        return time.monotonic() - self.joined

    def _log(self, seat: _Seat) -> Path:
        return self.engine.logs / f"worker-{seat.slot}.log"


def _elsewhere(job: Job) -> Job:
    """Return a job as another machine gets it: that machine has its own cache of Hub models."""
    if isinstance(job, SuiteJob) or job.model.kind != "hub":
        return job
    return job.model_copy(update={"model": replace(job.model, folder=None)})


def _reason(error: RayError) -> str:
    """Return in one line why a worker was lost."""
    if isinstance(error, RayActorError) and error.preempted:
        return "its node was preempted"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("The actor ") and " because " in line]
    return (said or lines or [type(error).__name__])[-1 if said else 0]
