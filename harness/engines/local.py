"""The local engine: worker processes on this machine, one per slot, fed from the plan."""

from __future__ import annotations

import contextlib
import platform
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness import processes
from harness.engines.forkserver import UNSAFE, Forked, ForkServer
from harness.engines.gpus import VISIBLE, gpus
from harness.engines.jobs import COMMON, LOST, STOP, UNKEPT, Event, Job, SuiteJob, keep_failure
from harness.engines.placement import Node
from harness.engines.slots import Slots, fastest, is_known, processor
from harness.errors import StepError

if TYPE_CHECKING:
    from harness.data.pools import Pools
    from harness.store import Store

ATTEMPTS = 2  # a worker that dies (killed, out of memory) is replaced, and its run tried once more
MEASURE_FROM = 4  # jobs: fewer do not earn back a measurement of the machine
NOT_STARTED = "waiting"  # the stage of runs that were not begun because they would fail as another one did
Listener = Callable[[int, Job, Event], None]
Failed = list[tuple[Job, Event]]

# Large tensors come and go every step: without these two settings glibc returns their pages to the kernel each time,
# and a third of the CPU time goes into page faults (measured: 30% -> 5-10%).
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "34359738368"}
# The same sums in the same order whatever the number of threads: a run's adapter must not depend on how many workers
# shared the machine (without it, small matrices come out different with one thread and with two).
REPRODUCIBLE = {"MKL_CBWR": "AUTO,STRICT"}


@dataclass
class _Process:
    slot: int
    child: subprocess.Popen[str] | Forked
    job: Job | None = None
    stage: str = ""
    ready: bool = False
    reader: threading.Thread | None = None


@dataclass
class LocalEngine:
    """Runs jobs on worker processes.

    Attributes:
        slots: How many workers, and how they are set up.
        logs: Folder for what workers and their libraries print.
        commit: Git commit that goes into every record's provenance.
        chosen: Whether the user chose how many workers; if not, ``choose_slots`` does.
    """

    slots: Slots
    logs: Path
    commit: str = ""
    chosen: bool = True
    _forks: bool = field(init=False)
    _server: ForkServer | None = None
    _events: queue.SimpleQueue[tuple[_Process | None, Event | None]] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        # Elsewhere libraries start threads that do not survive a fork.
        self._forks = sys.platform == "linux" and self.slots.device == "cpu"

    def pools(self, store: Store, tell: Callable[[str], None] = lambda text: None) -> Pools:
        """Return the object that makes pools in memory; ``store`` and ``tell`` are not used."""
        from harness.data.pools import LocalPools

        return LocalPools()

    @property
    def nodes(self) -> list[Node]:
        """This machine, and how many workers it has room for."""
        return [Node(platform.node(), processor(), self.slots.workers)]

    def choose_slots(self, jobs: Sequence[Job], tell: Callable[[str], None]) -> None:
        """Measure, once per machine, which layout of workers and threads is fastest, unless the user chose one."""
        if self.chosen or self.slots.device != "cpu" or len(jobs) < MEASURE_FROM or is_known():
            return
        tell("Measuring how many workers suit this machine (once, some seconds)")
        if (found := fastest()) is None:
            tell("Other programs use the processor: it is measured another time")
        self.slots = found or self.slots

    def run(self, jobs: Sequence[Job], listen: Listener, more: Callable[[], Sequence[Job]] = tuple) -> Failed:
        """Run all jobs; return the failed ones, each with its last event. A failure does not stop other jobs.

        Raises:
            StepError: When a worker cannot even start.
            KeyboardInterrupt: After the workers have ended; finished runs are kept.
        """
        try:
            return self._run(jobs, listen, more)
        finally:
            if self._server is not None:
                self._server.close()
                self._server = None

    def _run(self, jobs: Sequence[Job], listen: Listener, more: Callable[[], Sequence[Job]] = tuple) -> Failed:
        waiting = deque((job, 1) for job in jobs)
        tries: dict[str, int] = {}
        failed: Failed = []
        alive: list[_Process] = []
        idle: list[_Process] = []
        stopping, closing, stillborn = False, False, 0
        try:
            self._staff(alive, len(jobs))
            while alive:
                process, event = self._events.get()
                if process is None:  # ``stop``
                    stopping = True
                    waiting.clear()
                    if self._server is not None and not self._server.ready:
                        self._server.close()  # nobody waits for its imports
                    for one in alive:
                        self._send(one, STOP)
                        one.child.send_signal(signal.SIGCONT)  # a suspended process (Ctrl-Z) handles no signal
                    continue
                if event is None:
                    alive.remove(process)
                    idle = [one for one in idle if one is not process]
                    code = _end(process)
                    if stopping:
                        continue
                    if not process.ready and isinstance(process.child, Forked) and code == UNSAFE:
                        self._forks = False
                        alive.append(self._start(process.slot))
                        continue
                    if not process.ready:
                        stillborn += 1
                        if code >= 0 or stillborn > ATTEMPTS:
                            raise StepError(f"a worker cannot start: {self._last_words(process.slot, code)}")
                    if process.job is not None:
                        job, stage = process.job, process.stage
                        if tries[job.id] < ATTEMPTS:
                            waiting.appendleft((job, tries[job.id] + 1))
                        else:
                            gone = Event(event="failed", id=job.id, stage=stage, message=_death(code))
                            with contextlib.suppress(*UNKEPT):  # a full disk; the failure is reported anyway
                                keep_failure(job, gone)
                            failed.append((job, gone))
                            listen(process.slot, job, gone)
                    if waiting:
                        alive.append(self._start(process.slot))
                        continue
                else:
                    process.ready = True
                    if event.event in ("stage", "step", "items") and process.job is not None:
                        process.stage = event.stage or process.stage
                        listen(process.slot, process.job, event)
                        continue
                    if event.event in ("done", "failed") and process.job is not None:
                        job, process.job = process.job, None
                        if event.event == "failed":
                            failed.append((job, event))
                        listen(process.slot, job, event)
                        if COMMON in event.data:  # the others would train, and fail where this one did
                            failed += [(job, not_started(job, event)) for job, _ in waiting]
                            waiting.clear()
                        if LOST in event.data:
                            continue  # it ends
                    idle.append(process)
                if not waiting and not stopping and not closing and len(idle) == len(alive):
                    waiting.extend((job, 1) for job in more())
                    self._staff(alive, len(waiting))
                    closing = not waiting
                    for one in idle if closing else []:
                        if one.child.stdin is not None:
                            with contextlib.suppress(BrokenPipeError):
                                one.child.stdin.close()  # the worker then ends, or has ended
                while waiting and idle:
                    process = idle.pop(0)
                    job, number = waiting.popleft()
                    tries[job.id] = number
                    process.job, process.stage = job, "starting"
                    self._send(process, job.model_dump_json() + "\n")
        finally:
            for process in alive:
                process.child.kill()
                _end(process)
        if stopping:
            raise KeyboardInterrupt
        return failed

    def _staff(self, alive: list[_Process], jobs: int) -> None:
        """Start workers until there are as many as slots, or as jobs."""
        taken = {process.slot for process in alive}
        for slot in range(min(self.slots.workers, jobs)):
            if slot not in taken:
                alive.append(self._start(slot))

    def stop(self) -> None:
        """Make ``run`` start nothing new, let runs in progress leave a checkpoint, and raise KeyboardInterrupt."""
        self._events.put((None, None))

    def call(self, job: Job) -> dict[str, Any]:
        """Run one job in a worker of its own and return its result.

        Raises:
            StepError: With the worker's message when the job failed.
        """
        results: list[Event] = []
        one = LocalEngine(Slots(1, self.slots.threads * self.slots.workers, self.slots.device), self.logs, self.commit)
        one._server = self._server
        # The items of a suite need little of what the server imports.
        one._forks &= self._server is not None or not isinstance(job, SuiteJob)
        try:
            failed = one._run([job], lambda _, __, event: results.append(event))
        finally:
            self._server = one._server  # for further workers
        if failed:
            raise StepError(failed[0][1].message)
        return next(event.data for event in results if event.event == "done")

    def _last_words(self, slot: int, code: int) -> str:
        """Return what killed a worker, else the last line of its log."""
        if code < 0:
            return _death(code)
        lines = (self.logs / f"worker-{slot}.log").read_text(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} (whole log: {self.logs / f'worker-{slot}.log'})"

    def _send(self, process: _Process, line: str) -> None:
        assert process.child.stdin is not None
        # A worker that has just died cannot be written to: its end is reported by the reader.
        with contextlib.suppress(BrokenPipeError):
            if not process.child.stdin.closed:  # else it is ending already
                process.child.stdin.write(line)
                process.child.stdin.flush()

    def _start(self, slot: int) -> _Process:
        environment = {**ALLOCATOR, **REPRODUCIBLE, **processes.environment(**settings(self.slots, self.commit))}
        cards = gpus() if self.slots.device == "cuda" else []
        environment[VISIBLE] = cards[slot % len(cards)] if cards else ""  # without a GPU no library looks for one
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"worker-{slot}.log").open("a") as log:
            child = self._forked(environment, log) if self._forks else _new(environment, log)
        process = _Process(slot, child)
        process.reader = threading.Thread(target=self._read, args=(process, child.stdout), daemon=True)
        process.reader.start()
        return process

    def _forked(self, environment: dict[str, str], log: IO[str]) -> Forked:
        if self._server is not None:
            with contextlib.suppress(ConnectionError):  # it was killed
                return self._server.start(environment, log)
        self._server = ForkServer(environment, log)
        return self._server.start(environment, log)

    def _read(self, process: _Process, stream: IO[str]) -> None:
        for line in stream:
            # Anything else was printed before the worker took its output over, or cut off when it was killed.
            if line.startswith("{") and line.endswith("\n"):
                self._events.put((process, Event.model_validate_json(line)))
        self._events.put((process, None))


def _new(environment: dict[str, str], log: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        processes.python("harness.engines.worker"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        encoding="utf-8",
        errors="replace",  # a worker that is killed may leave half a character
        env=environment,
        start_new_session=True,  # Ctrl-C is for the driver, which then ends its workers
    )


def settings(slots: Slots, commit: str) -> dict[str, str]:
    """Return the part of a worker's environment that tells it how to run."""
    threads = str(slots.threads)
    return {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "POLARS_MAX_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "HARNESS_DEVICE": slots.device,
        "HARNESS_WORKERS": str(slots.workers),
        "HARNESS_COMMIT": commit,
        "PYTHONUNBUFFERED": "1",
    }


def not_started(job: Job, why: Event) -> Event:
    """Return the event of a job that is not begun because it would fail as another one did."""
    return Event(event="failed", id=job.id, stage=NOT_STARTED, message=why.message)


def _end(process: _Process) -> int:
    """Wait until a worker has ended, and close its pipes; return its exit code."""
    code = process.child.wait()
    if process.reader is not None:
        process.reader.join()
    for pipe in (process.child.stdin, process.child.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # a job that it no longer took
                pipe.close()
    return code


def _death(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the worker was killed (out of memory?)"
    if code < 0:
        return f"the worker died of {signal.Signals(-code).name}"
    return f"the worker ended with exit code {code}; see the logs folder of the store"
