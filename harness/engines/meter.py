"""What a training takes beside time: energy where the device tells it, and on request how busy the machine was.

Energy of the CPU is RAPL's (Linux, ``/sys/class/powercap``, readable by root only on most systems), that of an NVIDIA
GPU is NVML's counter (package ``nvidia-ml-py``). Where neither can be read nothing is reported: no number is made up
from a data sheet.
"""

from __future__ import annotations

import contextlib
import re
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

POWERCAP = Path("/sys/class/powercap")
SAMPLE_SECONDS = 10.0  # between two samples of system metrics, as MLflow has it
LOOK_SECONDS = 60.0  # RAPL's counters start again from 0 after 262 kJ, 10 minutes at 400 W: look more often


@dataclass
class Meter:
    """Measures while its block runs.

    Attributes:
        sample_seconds: Seconds between samples of system metrics; None: none are taken.
        powercap: Where the kernel shows RAPL's counters.
    """

    sample_seconds: float | None = None
    powercap: Path = POWERCAP
    _samples: list[dict[str, float]] = field(default_factory=list)

    def __enter__(self) -> Meter:
        self._packages = _packages(self.powercap)
        self._gpu = _Gpu.used()
        self._process = psutil.Process()
        self._started, self._own, self._busy = time.perf_counter(), self._own_seconds(), _busy_seconds()
        self._gpu_joules = self._gpu.joules() if self._gpu else None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        if self.sample_seconds is not None:
            psutil.cpu_percent()  # both are shares since the call before
            self._process.cpu_percent()
        if self.sample_seconds is not None or self._packages:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._look()
        self._seconds = time.perf_counter() - self._started
        self._own, self._busy = self._own_seconds() - self._own, _busy_seconds() - self._busy
        if self._gpu is not None and self._gpu_joules is not None:
            after = self._gpu.joules()
            self._gpu_joules = None if after is None else after - self._gpu_joules

    def figures(self) -> dict[str, Any]:
        """Return what was measured, for a record.

        ``energy_cpu_joules`` is the share of the packages' energy (``energy_package_joules``) that goes with this
        process's share of the machine's CPU time, so that the runs of several workers add up to no more than was
        used. ``energy_gpu_joules`` is all that the GPU took. ``energy_joules`` is the sum of what is known,
        ``energy_seconds`` how long was measured: a run that went on from a checkpoint took longer. ``system`` is a
        list of samples, each with the second it was taken at and MLflow's names of system metrics.
        """
        found: dict[str, Any] = {}
        if self._packages:
            joules = sum(package.joules for package in self._packages)
            share = min(1.0, self._own / self._busy) if self._busy > 0 else 1.0
            found |= {"energy_package_joules": round(joules, 3), "energy_cpu_joules": round(joules * share, 3)}
        if self._gpu_joules is not None:
            found["energy_gpu_joules"] = round(self._gpu_joules, 3)
        if found:
            known = found.get("energy_cpu_joules", 0.0) + found.get("energy_gpu_joules", 0.0)
            found |= {"energy_joules": round(known, 3), "energy_seconds": round(self._seconds, 3)}
        if self.sample_seconds is not None:
            found["system"] = self._samples
        return found

    # ------------------------------------------------------------------------------------------------- measuring

    def _watch(self) -> None:
        period = min(self.sample_seconds or LOOK_SECONDS, LOOK_SECONDS)
        while not self._ended.wait(period):
            self._look()

    def _look(self) -> None:
        try:
            for package in self._packages:
                package.look()
        except (OSError, ValueError):  # it tells no more: half a figure is none, and no reason to stop a training
            self._packages = []
        if self.sample_seconds is not None:
            self._samples.append(self._sample())

    def _sample(self) -> dict[str, float]:
        memory = psutil.virtual_memory()
        found = {
            "second": time.perf_counter() - self._started,
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "process_cpu_utilization_percentage": self._process.cpu_percent(),
            "process_memory_usage_megabytes": self._process.memory_info().rss / 1e6,
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": memory.percent,
        }
        return {name: round(value, 3) for name, value in (found | (self._gpu.sample() if self._gpu else {})).items()}

    def _own_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def _busy_seconds() -> float:
    """Return the seconds that all cores together have worked since the machine started."""
    times = psutil.cpu_times()
    # On Linux, time of guests is in `user` already.
    return float(times.user + times.system + sum(getattr(times, name, 0.0) for name in ("nice", "irq", "softirq")))


# --------------------------------------------------------------------------------------------------------------- CPU


@dataclass
class _Package:
    """One processor's counter of microjoules, which starts again from 0 at ``limit``."""

    counter: Path
    limit: int
    last: int
    joules: float = 0.0

    def look(self) -> None:
        now = int(self.counter.read_text())
        self.joules += ((now - self.last) % (self.limit + 1)) / 1e6
        self.last = now


def _packages(powercap: Path) -> list[_Package]:
    """Return the processors whose energy can be read; parts of a processor (cores, memory) are in its own counter."""
    found = []
    for folder in sorted(powercap.glob("intel-rapl:*")) if powercap.is_dir() else ():
        counter = folder / "energy_uj"
        with contextlib.suppress(OSError, ValueError):  # not for this user, or not on this machine
            if (folder / "name").read_text().startswith("package"):
                limit = int((folder / "max_energy_range_uj").read_text())
                found.append(_Package(counter, limit, int(counter.read_text())))
    return found


# --------------------------------------------------------------------------------------------------------------- GPU


@dataclass
class _Gpu:
    """The GPU that this process trains on, as NVML sees it."""

    nvml: Any
    handle: Any

    @classmethod
    def used(cls) -> _Gpu | None:
        """Return the GPU where CUDA is in use in this process and NVML can be asked; nothing else imports torch."""
        torch = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
            return None
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
            return cls(pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
        except pynvml.NVMLError:
            return None

    def joules(self) -> float | None:
        """Return the energy since the driver was loaded; None where the GPU does not tell (before Volta, MIG)."""
        try:
            return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) / 1e3
        except self.nvml.NVMLError:
            return None

    def sample(self) -> dict[str, float]:
        """Return load, memory and power, as far as the GPU tells them."""
        asked: dict[str, Callable[[], float]] = {
            "gpu_0_utilization_percentage": lambda: self.nvml.nvmlDeviceGetUtilizationRates(self.handle).gpu,
            "gpu_0_memory_usage_megabytes": lambda: self.nvml.nvmlDeviceGetMemoryInfo(self.handle).used / 1e6,
            "gpu_0_power_usage_watts": lambda: self.nvml.nvmlDeviceGetPowerUsage(self.handle) / 1e3,
        }
        found = {}
        for name, ask in asked.items():
            with contextlib.suppress(self.nvml.NVMLError):
                found[name] = float(ask())
        return found


def peak_memory() -> int:
    """Return the process's peak resident memory in bytes.

    Linux carries ``ru_maxrss`` over from the process that started this one, so its own high-water mark is read there.
    """
    try:
        mark = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        mark = None
    if mark:
        return int(mark[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
