"""Load of the machine during training, when requested, and the peak memory of a process."""

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

SAMPLE_SECONDS = 10.0  # between two samples: MLflow's default


@dataclass
class Meter:
    """Takes samples of the machine while its block runs.

    Attributes:
        seconds: Time between two samples; None takes no samples.
        samples: Figures by MLflow's names of system metrics, with the ``second`` of each sample.
    """

    seconds: float | None = None
    samples: list[dict[str, float]] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Meter:
        if self.seconds is not None:
            self._thread = threading.Thread(target=self._watch, args=(self.seconds,), daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def figures(self) -> dict[str, Any]:
        """Return the figures for a record."""
        return {} if self.seconds is None else {"system": self.samples}

    def _watch(self, seconds: float) -> None:
        started, process, gpu = time.perf_counter(), psutil.Process(), _Gpu.used()
        psutil.cpu_percent()  # both return the share since the previous call
        process.cpu_percent()
        ended = False
        while not ended:
            ended = self._ended.wait(seconds)  # a last sample is taken when the block is left
            memory = psutil.virtual_memory()
            found = {
                "second": time.perf_counter() - started,
                "cpu_utilization_percentage": psutil.cpu_percent(),
                "process_cpu_utilization_percentage": process.cpu_percent(),
                "process_memory_usage_megabytes": process.memory_info().rss / 1e6,
                "system_memory_usage_megabytes": memory.used / 1e6,
                "system_memory_usage_percentage": memory.percent,
            }
            found |= gpu.sample() if gpu else {}
            self.samples.append({name: round(value, 3) for name, value in found.items()})


@dataclass
class _Gpu:
    """The GPU that this process trains on, as NVML (package ``nvidia-ml-py``) sees it."""

    nvml: Any
    handle: Any

    @classmethod
    def used(cls) -> _Gpu | None:
        """Return this process's GPU; None unless it uses CUDA and NVML answers. Does not import torch."""
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

    def sample(self) -> dict[str, float]:
        """Return load, memory and power, as far as the GPU reports them."""
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

    On Linux ``ru_maxrss`` includes the peak of the process that started this one, so ``VmHWM`` is read instead.
    """
    try:
        mark = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        mark = None
    if mark:
        return int(mark[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
