"""Where runs can go at once on this machine: how many workers, with how many threads, on what device."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import processes
from harness.errors import StepError
from harness.store.atomic import write_json

WORKER_GIB = 3  # memory a worker may need on a CPU: the base model, an optimizer step, libraries
GAIN = 1.05  # another layout must be this much faster than one-thread workers: a probe of seconds is noisy


@dataclass(frozen=True)
class Slots:
    """Where runs can go at once.

    Attributes:
        workers: Worker processes.
        threads: Threads of each on a CPU.
        device: ``cpu`` or ``cuda``.
    """

    workers: int
    threads: int
    device: str


def find_slots(workers: int | None = None, device: str | None = None) -> Slots:
    """Choose slots: one worker per GPU, else what was measured on this machine, else one-thread workers.

    Args:
        workers: The user's choice of the number of workers. More workers than GPUs share them.
        device: The user's choice of the device.
    """
    cards = 0 if device == "cpu" else gpus()
    if cards:
        count = workers or cards
        return Slots(count, max(1, cores() // count), "cuda")
    if workers is None and (known := _known()):
        return known
    count = workers or layouts()[0][0]
    return Slots(count, max(1, cores() // count), "cpu")


def layouts() -> list[tuple[int, int]]:
    """Return the (workers, threads) to choose from on a CPU, the one with most workers that memory allows first."""
    most = max(1, min(cores(), _memory_gib() // WORKER_GIB))
    counts = sorted({most, *(most // 2**halving for halving in range(1, 8))} - {0}, reverse=True)
    return [(count, max(1, cores() // count)) for count in counts]


def is_known() -> bool:
    """Return whether there is nothing to measure: it was done on this machine, or there is one layout only."""
    return len(layouts()) == 1 or _known() is not None


def fastest() -> Slots:
    """Measure which layout trains most, remember it for this machine and return it. Takes seconds.

    As many processes as the largest layout has workers train a few layers of the default model's shape; for each
    layout the first of them do so at once, with its number of threads. This is about how runs are carried out, so it
    is kept in the user's cache folder, not in a store, and is in no key.

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
            _answer(child)  # it is ready
        rates = {}
        for workers, threads in found:
            for child in children[:workers]:
                assert child.stdin is not None
                child.stdin.write(f"{threads}\n")
                child.stdin.flush()
            rates[workers, threads] = sum(float(_answer(child)) for child in children[:workers])
    finally:
        for child in children:
            child.kill()
            child.communicate()
    best = max(found, key=lambda layout: rates[layout])
    chosen = best if rates[best] > GAIN * rates[found[0]] else found[0]
    slots = Slots(*chosen, "cpu")
    measured = [{"workers": w, "threads": t, "tokens_per_second": round(rates[w, t], 1)} for w, t in found]
    entry = {"slots": asdict(slots), "measured": measured}
    with contextlib.suppress(OSError):  # a home that cannot be written to: it is measured again next time
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


def _known() -> Slots | None:
    entry = _read().get(_machine())
    return Slots(**entry["slots"]) if entry else None


def _read() -> dict[str, dict[str, Any]]:
    """Return what was measured so far, by machine; a file that cannot be read is measured anew."""
    try:
        found: dict[str, dict[str, Any]] = json.loads(_cache().read_text())
    except (OSError, ValueError):
        return {}
    return found


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ablation-harness" / "slots.json"


def _machine() -> str:
    """Return what a measurement is good for: machines that look alike share one."""
    return f"{processor()} x {cores()}, {_memory_gib()} GiB"


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


def gpus() -> int:
    """Return the number of CUDA devices that the driver shows."""
    if shutil.which("nvidia-smi") is None:
        return 0
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


def cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gib() -> int:
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
