"""How many workers: what is measured, remembered and chosen."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import processes
from harness.engines import slots
from harness.engines.slots import Slots, fastest, find_slots, is_known, layouts


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_layouts_fill_the_cores_and_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "cores", lambda: 16)
    monkeypatch.setattr(slots, "memory", lambda: 128)
    assert layouts() == [(16, 1), (8, 2), (4, 4), (2, 8), (1, 16)]
    monkeypatch.setattr(slots, "memory", lambda: 14)
    assert layouts() == [(4, 4), (2, 8), (1, 16)]
    monkeypatch.setattr(slots, "memory", lambda: 2)
    assert layouts() == [(1, 16)]
    assert is_known()  # nothing to choose from


@pytest.mark.alone
def test_a_measurement_is_real_remembered_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "layouts", lambda: [(2, 1), (1, 2)])
    assert not is_known()
    assert slots.measured() == []
    chosen = fastest()
    (entry,) = json.loads((tmp_path / "ablation-harness" / "slots.json").read_text()).values()
    rates = {(one["workers"], one["threads"]): one["tokens_per_second"] for one in entry["measured"]}
    assert min(rates.values()) > 100
    best = (1, 2) if rates[1, 2] > slots.GAIN * rates[2, 1] else (2, 1)
    assert chosen == Slots(*best, "cpu") == find_slots(device="cpu")
    assert is_known()
    assert find_slots(5, "cpu").workers == 5  # the user's word counts
    assert slots.measured() == [f"{w} x {t}: {rate:,.0f}" for (w, t), rate in rates.items()]


def test_what_was_measured_on_another_machine_or_is_damaged_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "layouts", lambda: [(2, 1), (1, 2)])
    cache = tmp_path / "ablation-harness" / "slots.json"
    cache.parent.mkdir()
    cache.write_text(json.dumps({"another": {"slots": {"workers": 1, "threads": 64, "device": "cpu"}, "measured": []}}))
    assert not is_known()
    cache.write_text("{")
    assert find_slots(device="cpu") == Slots(2, max(1, len(os.sched_getaffinity(0)) // 2), "cpu")


def test_from_a_busy_moment_nothing_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "layouts", lambda: [(2, 1), (1, 2)])
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * slots.cores())]
    try:
        assert fastest() is None
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert not is_known()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rates", "waits", "chosen"),
    [
        ((100.0, 104.0), (0.0, 0.09), (2, 1)),  # two workers of 100; the other layout is not better by 5%
        ((100.0, 220.0), (0.0, 0.0), (1, 2)),
        ((100.0, 220.0), (0.5, 0.0), None),
        ((100.0, 220.0), (0.0, 0.11), None),
    ],
)
def test_the_faster_layout_is_chosen_on_a_machine_with_nothing_else_to_do(
    monkeypatch: pytest.MonkeyPatch,
    rates: tuple[float, float],
    waits: tuple[float, float],
    chosen: tuple[int, int] | None,
) -> None:
    """A probe that is played: rate and wait for one thread, and for two."""
    code = f"""print("ready", flush=True)
for line in open(0):
    print({rates!r}[int(line) - 1], {waits!r}[int(line) - 1], flush=True)"""
    monkeypatch.setattr(slots, "layouts", lambda: [(2, 1), (1, 2)])
    monkeypatch.setattr(processes, "python", lambda module: [sys.executable, "-c", code])
    assert fastest() == (Slots(*chosen, "cpu") if chosen else None)
    assert is_known() == bool(chosen)


@pytest.mark.parametrize(
    ("cpu", "memory", "cores", "gib"),
    [
        ("max 100000", "max", 16, 128),
        ("400000 100000", "17179869184", 4, 16),
        ("150000 100000", str(2**62), 1, 128),
        ("50000 100000", "max", 1, 128),
        ("6400000 100000", "max", 16, 128),
        ("", "", 16, 128),
        (None, None, 16, 128),
    ],
)
def test_a_container_has_its_share_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu: str | None, memory: str | None, cores: int, gib: int
) -> None:
    for name, value in (("cpu.max", cpu), ("memory.max", memory)):
        if value is not None:
            (tmp_path / name).write_text(f"{value}\n")
    monkeypatch.setattr(slots, "CONTAINER", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr(os, "sysconf", lambda name: 2**12 if name == "SC_PAGE_SIZE" else 2**25)
    assert (slots.cores(), slots.memory()) == (cores, gib)
