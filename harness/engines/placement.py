"""Which job goes where: a comparison is paired by seed, so the runs of a seed (a block) stay on equal hardware."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.engines.config import WorkerConfig
from harness.engines.jobs import Job

HARDWARE = "hardware"  # a node's label that names its hardware; without it, the kind of GPU or CPU is the name


@dataclass(frozen=True)
class Node:
    """A machine.

    Attributes:
        name: Its host name or address.
        hardware: The kind of GPU, or of CPU: machines of one kind round alike.
        slots: Workers it has room for.
    """

    name: str
    hardware: str
    slots: int


@dataclass(frozen=True)
class Packed:
    """What one slot will do, and for how long."""

    node: str
    hardware: str
    jobs: tuple[str, ...]
    seconds: float


class Blocks:
    """Jobs still to be done, in order; a block stays on the kind of hardware that it began on.

    A new block goes to the hardware of the first worker that asks for a job, so a faster kind takes more blocks. Jobs
    without a block go anywhere. A job whose ``hardware`` is set belongs to a block begun earlier on that hardware.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._anywhere = deque(job for job in jobs if not job.block)
        self._open: dict[str, deque[Job]] = {}  # blocks that are on no hardware yet
        self._home: dict[str, str] = {}  # block -> hardware
        self._bound: dict[str, deque[Job]] = {}  # hardware -> jobs of its blocks
        self.moved: dict[str, list[str]] = {}  # block -> hardware it was on before; only blocks that moved
        for job in jobs:
            if job.block and job.hardware:
                self._home.setdefault(job.block, job.hardware)
        for job in jobs:
            if job.block in self._home:
                self._bound.setdefault(self._home[job.block], deque()).append(job)
            elif job.block:
                self._open.setdefault(job.block, deque()).append(job)

    def __len__(self) -> int:
        return len(self._anywhere) + sum(map(len, self._open.values())) + sum(map(len, self._bound.values()))

    def take(self, hardware: str) -> Job | None:
        """Return the next job for a worker on this hardware; None when all remaining jobs belong on other hardware."""
        if self._anywhere:
            return self._anywhere.popleft()
        bound = self._bound.setdefault(hardware, deque())
        if not bound and self._open:
            block = next(iter(self._open))
            self._home[block] = hardware
            bound.extend(self._open.pop(block))
        return bound.popleft() if bound else None

    def clear(self) -> list[Job]:
        """Remove all remaining jobs, and return them."""
        left = [*self._anywhere]
        for jobs in (*self._bound.values(), *self._open.values()):
            left += jobs
        self._anywhere, self._open, self._bound = deque(), {}, {}
        return left

    def put_back(self, job: Job) -> None:
        """Take back a job that must be done again; it becomes the next of its block."""
        if job.block in self._home:
            self._bound.setdefault(self._home[job.block], deque()).appendleft(job)
        else:
            self._anywhere.appendleft(job)

    def move(self, there: set[str]) -> dict[str, str]:
        """Free the blocks whose hardware is not among ``there``; return each with the hardware it was on.

        The runs of such a block are then not all on equal hardware; the records of its later runs say so.
        """
        found: dict[str, str] = {}
        freed: dict[str, deque[Job]] = {}
        for hardware in [name for name, jobs in self._bound.items() if jobs and name not in there]:
            for job in self._bound.pop(hardware):
                found[job.block] = hardware
                freed.setdefault(job.block, deque()).append(job)
        for block, hardware in found.items():
            del self._home[block]
            self.moved.setdefault(block, []).append(hardware)
        self._open = freed | self._open
        return found


def pack(jobs: Sequence[Job], seconds: Mapping[str, float], nodes: Sequence[Node], workers: int) -> list[Packed]:
    """Return what each slot would do if every job took as long as expected, on hardware of equal speed.

    Args:
        jobs: The jobs to do.
        seconds: How long each takes, by the job's id.
        nodes: The machines. When they have room for fewer workers than wanted, the rest are on machines to be added.
        workers: Slots to fill, over all machines.
    """
    seats = [(node.name, node.hardware) for turn in range(workers) for node in nodes if turn < node.slots][:workers]
    # A machine that an autoscaler has yet to add is taken to be like the first.
    hardware = nodes[0].hardware if nodes else ""
    seats += [("a node to come", hardware)] * (workers - len(seats))
    left = Blocks(jobs)
    left.move({kind for _, kind in seats})
    taken: list[list[str]] = [[] for _ in seats]
    busy = [0.0] * len(seats)
    turns = [(0.0, slot) for slot in range(len(seats))]
    while turns:
        now, slot = heapq.heappop(turns)
        job = left.take(seats[slot][1])
        if job is not None:
            taken[slot].append(job.id)
            busy[slot] = now + seconds[job.id]
            heapq.heappush(turns, (busy[slot], slot))
    return [Packed(*seats[slot], tuple(taken[slot]), busy[slot]) for slot in range(len(seats))]


# --------------------------------------------------------------- a node as Ray describes it: "Resources" and "Labels"


def labelled(node: Mapping[str, Any], device: str) -> str | None:
    """Return the hardware that a node's labels name, or None."""
    labels: Mapping[str, str] = node["Labels"]
    return labels.get(HARDWARE) or (labels.get("ray.io/accelerator-type") if device == "cuda" else None)


def room(node: Mapping[str, Any], needs: WorkerConfig) -> int:
    """Return how many workers a node has room for when it does nothing else."""
    if any(node["Labels"].get(name) != value for name, value in needs.labels.items()):
        return 0
    return fits(node["Resources"], needs)


def fits(resources: Mapping[str, float], needs: WorkerConfig) -> int:
    """Return how many workers the resources are enough for."""
    counts = [
        math.floor(resources.get(name, 0.0) / amount + 1e-9) for name, amount in needs.amounts().items() if amount
    ]
    if 0 < needs.gpus < 1:
        # A worker's share is of one GPU, so 0.6 lets one worker onto each.
        counts.append(int(resources.get("GPU", 0.0)) * math.floor(1 / needs.gpus + 1e-9))
    return min(counts)


def largest(nodes: Sequence[Mapping[str, Any]]) -> str:
    """Return in words the resources of the largest node."""
    every = [node["Resources"] for node in nodes]
    resources: Mapping[str, float] = max(every, key=lambda one: (one.get("GPU", 0), one.get("CPU", 0)), default={})
    parts = [f"{resources.get('CPU', 0):g} CPU", f"{resources.get('GPU', 0):g} GPU"]
    parts += [f"{resources.get('memory', 0) / 2**30:.1f} GiB"]
    others = sorted(set(resources) - {"CPU", "GPU", "memory", "object_store_memory"})
    return ", ".join(parts + [f"{resources[name]:g} {name}" for name in others if not name.startswith("node:")])
