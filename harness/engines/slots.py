"""Slots of this machine: how many workers run at once, with how many threads, on what device."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import processes
from harness.engines.gpus import VISIBLE, cpu_only, gpus, listed
from harness.errors import RequestError, StepError
from harness.store.atomic import write_json

CONTAINER = Path("/sys/fs/cgroup")
WORKER_GIB = 3  # memory a worker may need on a CPU: the base model, an optimizer step, libraries
BUSY = 0.1  # share of its time for which a probe waits for a core where other programs are at work
GAIN = 1.05  # another layout must be this much faster than one-thread workers: a probe of seconds is noisy


@dataclass(frozen=True)
class Slots:
    """How many runs can go on at once, and on what device.

    Attributes:
        workers: Worker processes.
        threads: Threads of each worker, on a CPU.
        device: ``cpu`` or ``cuda``.
    """

    workers: int
    threads: int
    device: str


def find_slots(workers: int | None = None, device: str | None = None) -> Slots:
    """Return slots: one worker per GPU, else the layout measured on this machine, else one-thread workers.

    Args:
        workers: The user's choice of the number of workers. More workers than GPUs share them.
        device: The user's choice of the device.

    Raises:
        RequestError: The device is ``cuda``, and torch has no GPU here; or ``nvidia-smi`` does not answer.
    """
    cards = [] if device == "cpu" else gpus()
    built = cpu_only()
    if device == "cuda" and (built or not cards):
        why = f"torch {built} is built without CUDA" if built else _none_seen()
        raise RequestError(f"--device cuda: {why}")
    if cards and not built:
        count = workers or len(cards)
        return Slots(count, max(1, cores() // count), "cuda")
    if workers is None and (known := _known()):
        return known
    count = workers or layouts()[0][0]
    return Slots(count, max(1, cores() // count), "cpu")


def _none_seen() -> str:
    wanted = os.environ.get(VISIBLE)
    if wanted is not None and listed():
        return f'{VISIBLE} is "{wanted}", which names no GPU of this machine'
    return "no GPU is seen here (nvidia-smi lists none)"


def layouts() -> list[tuple[int, int]]:
    """Return the possible (workers, threads) on a CPU; the first has the most workers that memory allows."""
    most = max(1, min(cores(), int(memory()) // WORKER_GIB))
    counts = sorted({most, *(most // 2**halving for halving in range(1, 8))} - {0}, reverse=True)
    return [(count, max(1, cores() // count)) for count in counts]


def is_known() -> bool:
    """Return whether no measurement is needed: this machine was measured before, or only one layout is possible."""
    return len(layouts()) == 1 or _known() is not None


def fastest() -> Slots | None:
    """Measure which layout trains the most tokens per second, store it and return it. Takes seconds.

    While other programs use the processor nothing can be learned: None is returned, and nothing is stored.

    The function starts one process per worker of the largest layout; each trains a few layers of the default model's
    shape. For each layout as many of them as it has workers train at once, with its number of threads. The layout says
    how runs are carried out, not what they compute: it is in the user's cache folder, not in a store, and in no key.

    Raises:
        StepError: When a process of the probe does not answer.
    """
    found = layouts()
    command, settings = processes.python("harness.engines.probe"), processes.environment()
    pipe = subprocess.PIPE
    children = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=settings)
        for _ in range(found[0][0])
    ]
    try:
        for child in children:
            _answer(child)  # "ready"
        rates, waited = {}, []
        for workers, threads in found:
            for child in children[:workers]:
                assert child.stdin is not None
                child.stdin.write(f"{threads}\n")
                child.stdin.flush()
            answers = [_answer(child).split() for child in children[:workers]]
            rates[workers, threads] = sum(float(rate) for rate, _ in answers)
            waited += [float(share) for _, share in answers]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    if max(waited) > BUSY:
        return None
    best = max(found, key=lambda layout: rates[layout])
    chosen = best if rates[best] > GAIN * rates[found[0]] else found[0]
    slots = Slots(*chosen, "cpu")
    measured = [{"workers": w, "threads": t, "tokens_per_second": round(rates[w, t], 1)} for w, t in found]
    entry = {"slots": asdict(slots), "measured": measured}
    with contextlib.suppress(OSError):  # a home that cannot be written to: the next command measures again
        _cache().parent.mkdir(parents=True, exist_ok=True)
        write_json(_cache(), {**_read(), _machine(): entry})
    return slots


def _answer(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise StepError(
            f"the probe of this machine's speed ended with exit code {child.wait()}; choose --workers yourself"
        )
    return line


def measured() -> list[str]:
    """Return what was measured of this machine, each layout in words; nothing where nothing was."""
    entry = _read().get(_machine(), {})
    return [f"{m['workers']} x {m['threads']}: {m['tokens_per_second']:,.0f}" for m in entry.get("measured", [])]


def _known() -> Slots | None:
    entry = _read().get(_machine())
    return Slots(**entry["slots"]) if entry else None


def _read() -> dict[str, dict[str, Any]]:
    """Return the stored measurements by machine; empty when the file cannot be read."""
    try:
        found: dict[str, dict[str, Any]] = json.loads(_cache().read_text())
    except (OSError, ValueError):
        return {}
    return found


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ablation-harness" / "slots.json"


def _machine() -> str:
    """Return the name under which this machine's measurement is stored; machines of equal hardware share it."""
    return f"{processor()} x {cores()}, {int(memory())} GiB"


def processor() -> str:
    """Return the kind of CPU."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = (
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        )
        model = next(names, model)
    return model


def cores() -> int:
    """Return the cores this process may use: those it is bound to, at most its container's share of them."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = _limit("cpu.max").split()
    return min(bound, max(1, int(share[0]) // int(share[1]))) if len(share) == 2 and share[0].isdigit() else bound


def memory() -> float:
    """Return the memory in GiB: the machine's, at most its container's share of it."""
    total, most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _limit("memory.max")
    return (min(total, int(most)) if most.isdigit() else total) / 2**30


def _limit(name: str) -> str:
    """Return a limit of this process's container, as the kernel writes it; nothing where there is none."""
    try:
        return (CONTAINER / name).read_text().strip()
    except OSError:
        return ""
