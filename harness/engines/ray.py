"""The Ray engine: the same jobs and the same worker, on the machines of a Ray cluster. Ray is imported here
and in ``ray_data`` only.

Workers are actors that hold the base model. The driver hands each one job at a time and asks for its events; everything
else goes through the store, which all machines must see as one folder. Nothing is put into Ray's object store. Actors
are not detached: they end with the driver, however that ends.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import harness
from harness.engines.config import RayConfig
from harness.engines.jobs import FULL, Event, Job, keep_failure
from harness.engines.local import ALLOCATOR, REPRODUCIBLE, Listener, not_started
from harness.engines.placement import HARDWARE, Blocks, Node, fits, labelled, largest, room
from harness.engines.relay import Relay
from harness.engines.slots import Slots, cores, processor
from harness.engines.worker import Worker
from harness.errors import RequestError, StepError
from harness.store import WORK, attempt_name

if TYPE_CHECKING:
    from harness.data.pools import Pools
    from harness.store import Store

# Bytes, of a cluster started here. Events are too small to be put there; of data, some blocks at a time are.
OBJECT_STORE = {"local": 100 * 2**20, "ray": 512 * 2**20}
TAIL = 2**16  # bytes at the end of a log in which a worker looks for the driver's word
TICK = 1.0  # seconds in which a call of `stop` is noticed
GRACE = 60.0  # seconds that runs get to leave a checkpoint
REACH = 10.0  # seconds in which a cluster's address has to answer
STARTS = 5  # workers that may be lost in a row before one has come up
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
# Of the driver's environment, what workers elsewhere need too. Tokens stay where they are: Ray shows a job's settings.
PASSED = (*ALLOCATOR, *REPRODUCIBLE, "HF_HOME", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")


class RayEngine:
    """Runs jobs on actors of a Ray cluster.

    Args:
        config: Address of the cluster, what a worker takes, environment, retries.
        logs: Folder for what workers and their libraries print, seen by all machines.
        commit: Git commit that goes into every record's provenance.
        make: What carries out the jobs, given the stream it reports to.

    Raises:
        RequestError: When there is no such cluster, or no room in it for a worker.
    """

    def __init__(
        self, config: RayConfig, logs: Path, commit: str = "", make: Callable[[TextIO], Worker] = Worker
    ) -> None:
        self.config, self.logs, self.commit, self.make = config, logs, commit, make
        self.stopping = False
        self._pools: Pools | None = None
        self.address = _connect(config)
        self._rooms = [(node, room(node, config.worker)) for node in ray.nodes() if node["Alive"]]
        rooms = sum(slots for _, slots in self._rooms)
        if not rooms and config.workers is None:
            raise RequestError(
                f"--engine: no node of the cluster at {self.address} has room for a worker ({config.worker.shown()}); "
                f"largest node: {largest([node for node, _ in self._rooms])}. Ask for less in `worker`, or set "
                "`workers` where an autoscaler adds nodes"
            )
        self.slots = Slots(config.workers or rooms, max(1, int(config.worker.cpus)), config.device_class)

    @property
    def nodes(self) -> list[Node]:
        """The machines that have room for workers. Asks each for its hardware, which takes a second or two."""
        rooms = [(node, slots) for node, slots in self._rooms if slots]
        asked: dict[str, Any] = {}
        ask = ray.remote(num_cpus=0, runtime_env={"env_vars": self.environment()})(processor)
        for node, _ in rooms:
            if labelled(node, self.slots.device) is None:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                asked[node["NodeID"]] = ask.options(scheduling_strategy=there).remote()
        found = dict(zip(asked, ray.get(list(asked.values())), strict=True))
        names = Counter(node["NodeManagerHostname"] for node, _ in rooms)
        return [
            Node(
                name=_name(node, alone=names[node["NodeManagerHostname"]] == 1),
                hardware=labelled(node, self.slots.device) or found[node["NodeID"]],
                slots=slots,
            )
            for node, slots in rooms
        ]

    @property
    def free(self) -> int:
        """How many workers would find room now, beside what else the cluster does."""
        return min(self.slots.workers, fits(ray.available_resources(), self.config.worker))

    def run(self, jobs: Sequence[Job], listen: Listener) -> list[tuple[Job, Event]]:
        """Run all jobs and return those that failed, with why (see ``harness.engines.Engine``).

        A run whose worker or node is lost is tried again; one that fails by itself is not.
        """
        sweep = _Sweep(self, jobs, listen)
        try:
            return sweep.go()
        finally:
            sweep.stop()

    def stop(self) -> None:
        """Make ``run`` start nothing new, let runs in progress leave a checkpoint, and raise KeyboardInterrupt."""
        self.stopping = True

    def call(self, job: Job) -> dict[str, Any]:
        """Run one job in a worker of its own and return what it gave.

        Raises:
            StepError: With the worker's message when the job failed.
        """
        results: list[Event] = []
        failed = self.run([job], lambda _, __, event: results.append(event))
        if failed:
            raise StepError(failed[0][1].message)
        return next(event.data for event in results if event.event == "done")

    def pools(self, store: Store) -> Pools:
        """Return what makes pools: in this process's memory, or in parts by Ray Data, in the store's ``work``."""
        from harness.data.pools import LocalPools

        if self.config.data == "local":
            return LocalPools()
        if self._pools is None:  # kept: it removes its folder when it goes
            from harness.data.spread import SpreadPools
            from harness.engines.ray_data import RayData

            scratch = store.root / WORK / "parts" / attempt_name()
            # Without the allocator's settings for training, by which a process keeps all memory it ever had.
            environment = {name: value for name, value in self.environment().items() if name not in ALLOCATOR}
            self._pools = SpreadPools(RayData(scratch, environment), scratch)
        return self._pools

    def place(self, slot: int, token: str) -> Any:
        """Ask Ray for a worker; return its handle at once."""
        needs = self.config.worker
        log = self.logs / f"worker-{slot}.log"
        self.logs.mkdir(parents=True, exist_ok=True)
        with log.open("a") as stream:
            stream.write(f"worker {slot} of {socket.gethostname()}, {token}\n")
        actor = ray.remote(_Actor).options(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            memory=None if needs.memory_gib is None else int(needs.memory_gib * 2**30),
            resources=needs.resources or None,
            label_selector=needs.labels or None,
            runtime_env={"env_vars": self.environment()},
            scheduling_strategy="SPREAD",
            max_concurrency=2,  # so that `stop` is heard during `work`
            max_restarts=0,  # a lost worker is replaced by the driver, which keeps the reason
        )
        return actor.remote(self.make, str(log), token, self.slots.device)

    def environment(self) -> dict[str, str]:
        """Return the environment that Ray gives to a worker's process before it starts."""
        threads = str(self.slots.threads)
        passed = {name: os.environ[name] for name in PASSED if name in os.environ}
        own = {name: value for name, value in os.environ.items() if name.startswith("HARNESS_")}
        root = str(Path(harness.__file__).parents[1])
        if not root.endswith("-packages"):  # run from a checkout: workers need it too
            passed["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
        return {
            **ALLOCATOR,
            **REPRODUCIBLE,
            **passed,
            **own,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "POLARS_MAX_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            "HARNESS_DEVICE": self.slots.device,
            "HARNESS_COMMIT": self.commit,
            "PYTHONUNBUFFERED": "1",
            **self.config.env,
        }


# ---------------------------------------------------------------------------------------------------- the driver


@dataclass
class _Seat:
    slot: int
    actor: Any
    hardware: str | None = None  # None until the worker is up
    where: dict[str, str] = field(default_factory=dict)
    job: Job | None = None
    stage: str = ""


class _Sweep:
    """One call of ``run``: who is at what, what is waited for, what was lost."""

    def __init__(self, engine: RayEngine, jobs: Sequence[Job], listen: Listener) -> None:
        self.engine, self.listen = engine, listen
        self.blocks = Blocks(jobs)
        self.wanted = min(engine.slots.workers, len(jobs))
        self.token = uuid.uuid4().hex
        self.seats: list[_Seat] = []
        self.answers: dict[Any, _Seat] = {}  # what is waited for
        self.lost: dict[str, list[str]] = {}  # job -> why it had to be tried again
        self.failed: list[tuple[Job, Event]] = []
        self.false_starts = 0
        self.joined = time.monotonic()  # when a worker was last asked for, or came up

    def go(self) -> list[tuple[Job, Event]]:
        for slot in range(self.wanted):
            self._start(slot)
        while True:
            if self.engine.stopping:
                self._leave()
            self._hand_out()
            if not self.answers:
                return self.failed
            # One answer ends the waiting; whatever else has come by then is taken along.
            ready, _ = ray.wait(list(self.answers), num_returns=1, timeout=TICK)
            if ready and len(self.answers) > 1:
                ready, _ = ray.wait(list(self.answers), num_returns=len(self.answers), timeout=0)
            for reference in ready:
                self._answer(self.answers.pop(reference), reference)
            self._check_start()

    def stop(self) -> None:
        for seat in self.seats:
            ray.kill(seat.actor)

    def _leave(self) -> None:
        """Let runs in progress leave a checkpoint, as long as that takes no longer than a few steps."""
        busy = [seat.actor.stop.remote() for seat in self.seats if seat.job is not None]
        if busy:
            ray.wait(busy, num_returns=len(busy), timeout=GRACE)
        raise KeyboardInterrupt

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
        if not len(self.blocks) and not any(seat.job for seat in self.seats):
            self.answers.clear()  # workers that have yet to come up are not needed any more

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
        if FULL in event.data:  # the others would train, and fail where this one did
            self.failed += [(other, not_started(other, event)) for other in self.blocks.clear()]

    def _gone(self, seat: _Seat, error: RayError) -> None:
        """A worker is lost: try its job again, as often as is allowed, on another."""
        self.seats.remove(seat)
        ray.kill(seat.actor)  # where it only could not be reached, it must not go on beside its successor
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
                with contextlib.suppress(OSError):  # a full disk; it is reported all the same
                    keep_failure(job, event)
                self.listen(seat.slot, job, event)
        if len(self.blocks):
            self._start(seat.slot)

    def _check_start(self) -> None:
        """Give up when no worker has come up for as long as the user is ready to wait."""
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
    """Return a job as it is put to another machine, whose cache of Hub models is its own."""
    if job.model.get("kind") != "hub":
        return job
    return job.model_copy(update={"model": job.model | {"folder": ""}})


def _reason(error: RayError) -> str:
    """Return in one line why a worker was lost."""
    if isinstance(error, RayActorError) and error.preempted:
        return "its node was preempted"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("The actor ") and " because " in line]
    return (said or lines or [type(error).__name__])[-1 if said else 0]


# ---------------------------------------------------------------------------------------------------- the worker


class _Actor:
    """A worker that keeps the base model: the driver gives it jobs and asks for what it reports."""

    def __init__(self, make: Callable[[TextIO], Worker], log: str, token: str, device: str) -> None:
        self._log, self._token, self._device = Path(log), token, device
        self._relay = Relay(make)

    def hello(self) -> dict[str, str]:
        """Say where this is. What libraries print goes to the store's logs from now on.

        Raises:
            StepError: When this machine does not see the driver's store.
        """
        if not self._log.is_file() or self._token.encode() not in self._log.read_bytes()[-TAIL:]:
            raise StepError(
                f"{socket.gethostname()} does not see {self._log.parent} as the driver does: "
                "the store must be in a folder that all nodes share"
            )
        with self._log.open("a") as stream:
            for descriptor in (1, 2):
                os.dup2(stream.fileno(), descriptor)
        context = ray.get_runtime_context()
        hardware = context.get_node_labels().get(HARDWARE)
        if hardware is None and self._device == "cuda":
            import torch

            hardware = torch.cuda.get_device_name()
        return {
            "node": socket.gethostname(),
            "node_id": context.get_node_id()[:8],
            "hardware": hardware or processor(),
        }

    def work(self, job: str | None, place: dict[str, Any]) -> list[str]:
        """Take a job, if one is given, and return what was reported since."""
        return self._relay.work(Job.model_validate_json(job) if job else None, place)

    def stop(self) -> None:
        """Come to an end that loses nothing: training leaves a checkpoint, what is being published is published."""
        self._relay.stop()


# --------------------------------------------------------------------------------------------------- the cluster


def _connect(config: RayConfig) -> str:
    """Connect this process to a cluster, starting one here where none is meant; return its address."""
    wanted, named = config.address or "auto", config.address is not None or "RAY_ADDRESS" in os.environ
    started = ""
    if not ray.is_initialized():
        with _own_signals():
            try:
                if wanted != "local":
                    _reach(os.environ.get("RAY_ADDRESS", "auto") if wanted == "auto" else wanted)
                    ray.init(address=wanted, **QUIET)
            except (OSError, ImportError, RuntimeError, ValueError) as error:
                if named or not isinstance(error, ConnectionError):
                    reason = str(error).strip().split("\n")[0] + _token_hint()
                    raise RequestError(f"--address: {wanted}: no Ray cluster can be reached ({reason})") from error
            if not ray.is_initialized():
                _start_here(config)
                started = " (started here)"
    return wanted if "://" in wanted else f"{ray.get_runtime_context().gcs_address}{started}"


def _token_hint() -> str:
    """Name the cause that Ray keeps to itself: its nodes ask for a token, which it does not send to a given address."""
    if "RAY_AUTH_MODE" in os.environ or not (Path.home() / ".ray" / "auth_token").is_file():
        return ""
    return "; if it was started on a machine with ~/.ray/auth_token, as this one is, set RAY_AUTH_MODE=token"


def _reach(address: str) -> None:
    """Knock at an address: Ray itself would go on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH).close()


def _start_here(config: RayConfig) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cpus = max(cores(), math.ceil((config.workers or 0) * config.worker.cpus))
    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            object_store_memory=OBJECT_STORE[config.data],
            include_dashboard=False,
            **QUIET,
        )
    except Exception as error:  # Ray raises nothing more special when a machine is too busy for it to start in 30 s
        reason = str(error).strip().split("\n")[0]
        raise StepError(f"Ray could not be started on this machine: {reason}") from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's answer to SIGTERM: Ray puts its own in place."""
    kept = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, kept)


def _name(node: dict[str, Any], *, alone: bool) -> str:
    host = str(node["NodeManagerHostname"])
    return host if alone else f"{host}/{node['NodeID'][:8]}"
