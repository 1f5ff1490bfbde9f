"""Energy and system metrics of a training: what the device tells, and nothing where it tells nothing."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.engines import meter
from harness.engines.meter import Meter

LIMIT = 262_143_328_850  # microjoules at which this kind of counter starts again


def package(powercap: Path, number: int, microjoules: int, name: str | None = None) -> Path:
    folder = powercap / f"intel-rapl:{number}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name or f'package-{number}'}\n")
    (folder / "max_energy_range_uj").write_text(f"{LIMIT}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def work(seconds: float = 0.05) -> None:
    started = time.process_time()
    while time.process_time() - started < seconds:
        sum(range(1000))


def test_packages_are_summed_and_a_share_is_this_processs(tmp_path: Path) -> None:
    first, second = package(tmp_path, 0, 1_000_000), package(tmp_path, 1, LIMIT - 500_000)
    package(tmp_path, 2, 10**9, "psys")  # the whole board: the packages are in it
    with Meter(powercap=tmp_path) as measured:
        work()
        first.write_text("31000000\n")
        second.write_text("499999\n")  # started again from 0 on the way
    figures = measured.figures()
    assert figures["energy_package_joules"] == pytest.approx(31.0, abs=1e-3)
    assert 0 < figures["energy_cpu_joules"] <= figures["energy_package_joules"]
    assert figures["energy_joules"] == figures["energy_cpu_joules"]
    assert figures["energy_seconds"] > 0.04
    assert "system" not in figures


def test_a_long_training_does_not_miss_a_lap_of_the_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = package(tmp_path, 0, 0)
    monkeypatch.setattr(meter, "LOOK_SECONDS", 0.01)
    with Meter(powercap=tmp_path) as measured:
        for lap in range(1, 7):
            temporary = tmp_path / "next"
            temporary.write_text(f"{(lap * LIMIT // 2) % (LIMIT + 1)}\n")
            temporary.rename(counter)
            while measured._packages[0].last != int(counter.read_text()):
                time.sleep(0.01)
    assert measured.figures()["energy_package_joules"] == pytest.approx(3 * LIMIT / 1e6, rel=1e-6)


def test_nothing_is_made_up(tmp_path: Path) -> None:
    for powercap in (tmp_path / "none", tmp_path):
        with Meter(powercap=powercap) as measured:
            work(0.01)
        assert measured.figures() == {}
    gone = package(tmp_path, 0, 5)
    with Meter(powercap=tmp_path) as measured:
        gone.unlink()  # it told something, and then no more: half a figure is none
    assert measured.figures() == {}


def test_system_metrics_are_sampled_on_request(tmp_path: Path) -> None:
    threads = threading.active_count()
    with Meter(0.05, powercap=tmp_path) as measured:
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


class NoGpu(Exception):
    pass


def nvml(millijoules: list[int], tells_energy: bool = True) -> SimpleNamespace:
    def energy(handle: str) -> int:
        assert handle == "handle of GPU-1234"
        if not tells_energy:
            raise NoGpu
        return millijoules.pop(0)

    return SimpleNamespace(
        NVMLError=NoGpu,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: f"handle of {uuid}",
        nvmlDeviceGetTotalEnergyConsumption=energy,
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=87),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=4 * 10**9),
        nvmlDeviceGetPowerUsage=lambda handle: 350_000,
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
def test_a_gpu_tells_its_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml([5_000, 12_500]))
    with Meter(60.0, powercap=tmp_path) as measured:
        work(0.01)
    figures = measured.figures()
    assert figures["energy_gpu_joules"] == figures["energy_joules"] == 7.5
    (last,) = figures["system"]
    assert last["gpu_0_utilization_percentage"] == 87
    assert last["gpu_0_memory_usage_megabytes"] == 4000
    assert last["gpu_0_power_usage_watts"] == 350


@pytest.mark.usefixtures("cuda")
def test_a_gpu_that_does_not_tell_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml([], tells_energy=False))
    with Meter(powercap=tmp_path) as measured:
        work(0.01)
    assert measured.figures() == {}
    monkeypatch.setitem(sys.modules, "pynvml", None)  # not installed
    with Meter(powercap=tmp_path) as measured:
        work(0.01)
    assert measured.figures() == {}
