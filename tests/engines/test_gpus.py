"""Which GPUs workers get, by what the driver lists and the environment says. No GPU is needed: the driver is played."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.cli import doctor
from harness.engines import gpus as module
from harness.engines import slots
from harness.engines.gpus import VISIBLE, gpus
from harness.engines.local import LocalEngine, _end
from harness.engines.slots import Slots, find_slots
from harness.errors import RequestError
from harness.session import Choice, open_engine
from harness.store import Store
from tests.jobs import cheap

TWO = "GPU 0: NVIDIA H100 (UUID: GPU-aaa1)\nGPU 1: NVIDIA H100 (UUID: GPU-bbb2)\n"
DIVIDED = (
    "GPU 0: NVIDIA A100 (UUID: GPU-aaa1)\n  MIG 3g.20gb     Device  0: (UUID: MIG-1)\n"
    "  MIG 3g.20gb     Device  1: (UUID: MIG-2)\nGPU 1: NVIDIA A100 (UUID: GPU-bbb2)\n"
)
Driver = Callable[[str], None]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Play a driver that lists these cards, under a torch that can use them."""

    def play(listing: str) -> None:
        tool = tmp_path / "bin" / "nvidia-smi"
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}END\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")

    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr(slots, "cpu_only", str)
    return play


@pytest.mark.parametrize(
    ("listing", "visible", "found"),
    [
        (TWO, None, ["GPU-aaa1", "GPU-bbb2"]),
        (TWO, "0", ["0"]),
        (TWO, "1,0", ["1", "0"]),
        (TWO, " 1 , 0 ", ["1", "0"]),
        (TWO, "1,1", ["1"]),
        (TWO, "GPU-bbb2", ["GPU-bbb2"]),
        (TWO, "GPU-b", ["GPU-b"]),
        (TWO, "", []),
        (TWO, "-1", []),
        (TWO, "0,-1,1", ["0"]),
        (TWO, "0,7,1", ["0"]),
        (TWO, "GPU-ccc3", []),
        (TWO, "NoDevFiles", []),
        (DIVIDED, None, ["MIG-1", "MIG-2", "GPU-bbb2"]),
        (DIVIDED, "MIG-2", ["MIG-2"]),
        ("", None, []),
        ("", "0", []),
        ("No devices were found\n", None, []),
    ],
)
def test_gpus_are_those_that_cuda_shows(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, listing: str, visible: str | None, found: list[str]
) -> None:
    driver(listing)
    if visible is not None:
        monkeypatch.setenv(VISIBLE, visible)
    assert gpus() == found
    if found:
        assert (find_slots().workers, find_slots().device) == (len(found), "cuda")
        assert find_slots(3).workers == 3
        assert find_slots(device="cpu").device == "cpu"
    else:
        assert find_slots(1).device == "cpu"
        with pytest.raises(RequestError, match=VISIBLE if listing.startswith("GPU") else "no GPU is seen here"):
            find_slots(device="cuda")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(entries=st.lists(st.sampled_from(["0", "1", "2", "-1", "", "GPU-aaa1", "GPU-x", "a", "01"]), max_size=4))
def test_whatever_the_variable_says_each_worker_gets_one_of_its_entries(driver: Driver, entries: list[str]) -> None:
    driver(TWO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VISIBLE, ",".join(entries))
        found = gpus()
    assert found == list(dict.fromkeys(entries))[: len(found)]
    assert set(found) <= {"0", "1", "01", "GPU-aaa1"}
    assert len(found) == len(set(entries)) or set(entries) - {"0", "1", "01", "GPU-aaa1"}


def test_without_nvidia_smi_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpus() == []


def test_a_driver_that_hangs_is_reported(driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver("")
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    with pytest.raises(RequestError, match=r"does not answer .* --device cpu goes on"):
        find_slots()
    assert find_slots(1, "cpu").device == "cpu"


def test_a_torch_without_cuda_says_so_and_uses_the_cpu(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    driver(TWO)
    for user in (slots, module):
        monkeypatch.setattr(user, "cpu_only", lambda: "2.13.0+cpu")
    engine = open_engine(Store(tmp_path / "store"), Choice(workers=1))
    assert engine.slots.device == "cpu"
    assert "torch 2.13.0+cpu is built without CUDA" in capsys.readouterr().err
    with pytest.raises(RequestError, match=r"--device cuda: torch 2.13.0\+cpu is built without CUDA"):
        open_engine(Store(tmp_path / "store"), Choice(device="cuda"))
    assert any(check.name == "device" and not check.ok for check in doctor._device(engine.slots))


@pytest.mark.parametrize(
    ("visible", "shown"), [(None, ["GPU-aaa1", "GPU-bbb2"]), ("1,0", ["1", "0"]), ("1", ["1", "1"])]
)
def test_each_worker_sees_one_gpu(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, shown: list[str]
) -> None:
    """As under Slurm, which sets the variable to all GPUs of a job."""
    driver(TWO)
    if visible is not None:
        monkeypatch.setenv(VISIBLE, visible)
    assert [seen(LocalEngine(Slots(2, 1, "cuda"), tmp_path), slot) for slot in range(2)] == shown


def test_a_worker_on_a_cpu_sees_none(driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(TWO)
    monkeypatch.setenv(VISIBLE, "0,1")
    assert seen(LocalEngine(Slots(2, 1, "cpu"), tmp_path), 0) == ""


def seen(engine: LocalEngine, slot: int) -> str:
    """Return what a worker of a slot has as ``CUDA_VISIBLE_DEVICES``."""
    process = engine._start(slot)
    try:
        pid = process.child.pid
        engine._send(process, cheap(engine.logs, "job").model_dump_json() + "\n")
        while engine._events.get()[1] is None:
            pass
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    finally:
        process.child.kill()
        _end(process)
    return next(entry.decode().partition("=")[2] for entry in entries if entry.startswith(VISIBLE.encode()))
