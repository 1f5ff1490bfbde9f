"""System metrics of a training: samples on request, and nothing of a GPU that tells nothing."""

from __future__ import annotations

import sys
import threading
import time
from types import SimpleNamespace

import pytest

from harness.engines.meter import Meter


def work(seconds: float = 0.05) -> None:
    started = time.process_time()
    while time.process_time() - started < seconds:
        sum(range(1000))


def test_nothing_is_sampled_where_nobody_asked() -> None:
    threads = threading.active_count()
    with Meter() as measured:
        assert threading.active_count() == threads
    assert measured.figures() == {}


def test_system_metrics_are_sampled_on_request() -> None:
    threads = threading.active_count()
    with Meter(0.05) as measured:
        work(0.3)
    samples = measured.figures()["system"]
    assert threading.active_count() == threads
    assert len(samples) >= 3
    seconds = [sample["second"] for sample in samples]
    assert seconds == sorted(seconds)
    for sample in samples:
        assert 0 < sample["system_memory_usage_percentage"] < 100
        assert sample["process_memory_usage_megabytes"] > 10
    assert max(sample["process_cpu_utilization_percentage"] for sample in samples) > 0


def test_a_training_that_fails_ends_the_sampling_too() -> None:
    threads = threading.active_count()
    with pytest.raises(ValueError, match="of the training"), Meter(60.0) as measured:
        raise ValueError("of the training")
    assert threading.active_count() == threads
    assert len(measured.samples) == 1


class NoGpu(Exception):
    pass


def nvml(tells: bool = True) -> SimpleNamespace:
    def power(handle: str) -> int:
        assert handle == "handle of GPU-1234"
        if not tells:
            raise NoGpu
        return 350_000

    return SimpleNamespace(
        NVMLError=NoGpu,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: f"handle of {uuid}",
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=87),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=4 * 10**9),
        nvmlDeviceGetPowerUsage=power,
    )


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that trains on a GPU."""
    device = SimpleNamespace(
        is_available=lambda: True, is_initialized=lambda: True, current_device=lambda: 0,
        get_device_properties=lambda index: SimpleNamespace(uuid="1234"),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=device))


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("tells", [True, False])
def test_a_gpu_tells_load_memory_and_power_as_far_as_it_can(monkeypatch: pytest.MonkeyPatch, tells: bool) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(tells))
    with Meter(60.0) as measured:
        work(0.01)
    (last,) = measured.samples
    assert last["gpu_0_utilization_percentage"] == 87
    assert last["gpu_0_memory_usage_megabytes"] == 4000
    assert last.get("gpu_0_power_usage_watts") == (350 if tells else None)


@pytest.mark.usefixtures("cuda")
def test_without_nvml_a_gpu_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # not installed
    with Meter(60.0) as measured:
        work(0.01)
    (last,) = measured.samples
    assert not any(name.startswith("gpu") for name in last)
