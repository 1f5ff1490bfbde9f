"""The Ray engine: the same jobs and the same worker, on the machines of a Ray cluster.

Workers are actors that hold the base model. The driver hands each one job at a time and asks for its events; everything
else goes through the store, which all machines must see: as one folder, or in an object store. Nothing is put into
Ray's own object store. Actors are not detached: they end with the driver, however that ends.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from harness import processes
from harness.engines.config import RayConfig
from harness.engines.jobs import Event, Job
from harness.engines.local import ALLOCATOR, REPRODUCIBLE, Listener, settings
from harness.engines.placement import Node, fits, labelled, largest, room
from harness.engines.ray.actor import Actor
from harness.engines.ray.cluster import connect, node_name
from harness.engines.ray.sweep import Sweep
from harness.engines.slots import Slots, processor
from harness.engines.worker import Worker
from harness.errors import RequestError, StepError
from harness.store import WORK
from harness.store.atomic import attempt_name

if TYPE_CHECKING:
    from harness.data.partitions import PartitionedPools
    from harness.data.pools import Pools
    from harness.engines.ray.data import RayData
    from harness.store import Store

# Environment variables of the driver that workers on other machines get too. Tokens and keys are not among them: Ray
# shows a job's settings, so nodes must have their own.
PASSED = (
    *ALLOCATOR, *REPRODUCIBLE, "HF_HOME", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE",
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE",
    "GOOGLE_CLOUD_PROJECT",
)  # fmt: skip


class RayEngine:
    """Runs jobs on actors of a Ray cluster.

    Args:
        config: Address of the cluster, what a worker takes, environment, retries.
        logs: Folder for what workers and their libraries print, seen by all machines (unless ``url`` is given).
        commit: Git commit that goes into every record's provenance.
        make: Makes the worker; its argument is the stream that the worker writes events to.
        url: URL of the store when it is an object store; every machine then has its own folder of logs.

    Raises:
        RequestError: When there is no such cluster, or no room in it for a worker.
    """

    def __init__(
        self,
        config: RayConfig,
        logs: Path,
        commit: str = "",
        make: Callable[[TextIO], Worker] = Worker,
        url: str = "",
    ) -> None:
        self.config, self.logs, self.commit, self.make, self.url = config, logs, commit, make, url
        self.stopping = False
        self._partitioned: tuple[RayData, PartitionedPools] | None = None
        self.address = connect(config)
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
        """The machines that have room for workers. A look at the hardware of each takes a second or two."""
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
                name=node_name(node, alone=names[node["NodeManagerHostname"]] == 1),
                hardware=labelled(node, self.slots.device) or found[node["NodeID"]],
                slots=slots,
            )
            for node, slots in rooms
        ]

    @property
    def free(self) -> int:
        """How many workers the cluster has room for now, beside its other work."""
        return min(self.slots.workers, fits(ray.available_resources(), self.config.worker))

    def choose_slots(self, jobs: Sequence[Job], tell: Callable[[str], None]) -> None:
        """Leave the slots as they are: the cluster's resources and the engine file say how many there are."""

    def run(
        self, jobs: Sequence[Job], listen: Listener, more: Callable[[], Sequence[Job]] = tuple
    ) -> list[tuple[Job, Event]]:
        """Run all jobs; return the failed ones, each with its last event (see ``harness.engines.Engine``).

        A run whose worker or node is lost is tried again; a run that raises an error is not.
        """
        sweep = Sweep(self, jobs, listen, more)
        try:
            return sweep.go()
        finally:
            sweep.stop()

    def stop(self) -> None:
        """Make ``run`` start nothing new, let runs in progress leave a checkpoint, and raise KeyboardInterrupt."""
        self.stopping = True

    def call(self, job: Job) -> dict[str, Any]:
        """Run one job in a worker of its own and return its result.

        Raises:
            StepError: With the worker's message when the job failed.
        """
        results: list[Event] = []
        failed = self.run([job], lambda _, __, event: results.append(event))
        if failed:
            raise StepError(failed[0][1].message)
        return next(event.data for event in results if event.event == "done")

    def pools(self, store: Store, tell: Callable[[str], None] = lambda text: None) -> Pools:
        """Return the object that makes pools: in this process's memory, or in parts by Ray Data, in the store's
        ``work``.

        It calls ``tell`` with the number of parts that are done.

        Raises:
            RequestError: The parts would have to be in an object store.
        """
        from harness.data.pools import LocalPools

        if self.config.data == "local":
            return LocalPools()
        if self.url:
            raise RequestError(
                "--engine: data: ray needs a store in a folder that all nodes share, for parts of sources; "
                f"{self.url} is none. Leave out `data`, or give another --store"
            )
        from harness.data.partitions import PartitionedPools
        from harness.engines.ray.data import RayData

        if self._partitioned is None:  # kept: it removes its folder when it is deleted
            scratch = store.root / WORK / "parts" / attempt_name()
            # Without the allocator's settings for training: with them a process never returns memory.
            environment = {name: value for name, value in self.environment().items() if name not in ALLOCATOR}
            data = RayData(scratch, environment)
            self._partitioned = data, PartitionedPools(data, scratch)
        data, pools = self._partitioned
        data.tell = tell
        return pools

    def place(self, slot: int, token: str) -> Any:
        """Ask Ray for a worker; return its handle at once."""
        needs = self.config.worker
        log = self.logs / f"worker-{slot}.log"
        if not self.url:
            self.logs.mkdir(parents=True, exist_ok=True)
            with log.open("a") as stream:
                stream.write(f"worker {slot} of {socket.gethostname()}, {token}\n")
        actor = ray.remote(Actor).options(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            memory=None if needs.memory_gib is None else int(needs.memory_gib * 2**30),
            resources=needs.resources or None,
            label_selector=needs.labels or None,
            runtime_env={"env_vars": self.environment()},
            scheduling_strategy="SPREAD",
            max_concurrency=2,  # so that `stop` can be called during `work`
            max_restarts=0,  # a lost worker is replaced by the driver, which keeps the reason
        )
        return actor.remote(self.make, log.name if self.url else str(log), token, self.slots.device, self.url)

    def environment(self) -> dict[str, str]:
        """Return the environment that Ray gives to a worker's process before it starts."""
        passed = {name: os.environ[name] for name in PASSED if name in os.environ}
        own = {name: value for name, value in os.environ.items() if name.startswith("HARNESS_")}
        if not processes.HOME.endswith("-packages"):  # run from a checkout: workers need it too
            passed["PYTHONPATH"] = processes.search_path()
        return {
            **ALLOCATOR,
            **REPRODUCIBLE,
            **passed,
            **own,
            **settings(self.slots, self.commit),
            **self.config.env,
        }
