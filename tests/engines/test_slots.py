"""How many workers: what is measured, remembered and chosen."""

import json
import os
from pathlib import Path

import pytest

from harness.engines import slots
from harness.engines.slots import Slots, fastest, find_slots, is_known, layouts


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_layouts_fill_the_cores_and_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "cores", lambda: 16)
    monkeypatch.setattr(slots, "_memory_gib", lambda: 128)
    assert layouts() == [(16, 1), (8, 2), (4, 4), (2, 8), (1, 16)]
    monkeypatch.setattr(slots, "_memory_gib", lambda: 14)
    assert layouts() == [(4, 4), (2, 8), (1, 16)]
    monkeypatch.setattr(slots, "_memory_gib", lambda: 2)
    assert layouts() == [(1, 16)]
    assert is_known()  # nothing to choose from


def test_a_measurement_is_real_remembered_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "layouts", lambda: [(2, 1), (1, 2)])
    assert not is_known()
    chosen = fastest()
    (entry,) = json.loads((tmp_path / "ablation-harness" / "slots.json").read_text()).values()
    rates = {(one["workers"], one["threads"]): one["tokens_per_second"] for one in entry["measured"]}
    assert min(rates.values()) > 100
    best = (1, 2) if rates[1, 2] > slots.GAIN * rates[2, 1] else (2, 1)
    assert chosen == Slots(*best, "cpu") == find_slots(device="cpu")
    assert is_known()
    assert find_slots(5, "cpu").workers == 5  # the user's word counts


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
