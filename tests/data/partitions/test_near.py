"""Near repeats that meet on many machines are those that meet on one, crowds of one template included."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data.duplicates import near
from harness.data.partitions import PartitionedPools, parts
from harness.data.partitions import near as parted_near
from harness.data.pools import Pool
from harness.spec import Source
from tests.data.partitions.here import Here
from tests.data.partitions.test_pools import both, same, written

SLOW = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = [
    "the", "red", "fox", "of", "an", "old", "king", "sees", "two", "apples", "and", "a", "boat", "near", "every",
    "house", "at", "noon",
]  # fmt: skip


@pytest.fixture
def parted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PartitionedPools:
    monkeypatch.setattr(parts, "ROWS", 7)
    monkeypatch.setattr(parted_near, "BUCKET", 200)
    monkeypatch.setattr(parted_near, "WORDS", 50)
    return PartitionedPools(Here(), tmp_path / "work" / "scratch")


def rows(seed: int, count: int, templates: int, edits: float) -> list[dict[str, Any]]:
    """Rows of a few templates, some of whose words are others; some rows come twice."""
    rng = random.Random(seed)
    frames = [[rng.choice(WORDS) for _ in range(rng.randint(3, 14))] for _ in range(templates)]
    made: list[dict[str, Any]] = []
    for _ in range(count):
        if made and rng.random() < 0.1:
            made.append(rng.choice(made))
            continue
        words = [rng.choice(WORDS) if rng.random() < edits else word for word in rng.choice(frames)]
        made.append({"prompt": " ".join(words).capitalize(), "completion": str(rng.randint(0, 3))})
    return made


@SLOW
@given(
    st.integers(0, 10**6), st.integers(1, 90), st.integers(1, 12), st.sampled_from([0.0, 0.1, 0.3]),
    st.sampled_from([0.4, 0.6, 0.8]), st.sampled_from([(64, 2, 32), (5, 2, 3), (2, 1, 1)]), st.booleans(),
    st.sampled_from([None, "prompt"]),
)  # fmt: skip
def test_near_repeats(
    parted: PartitionedPools, tmp_path: Path, seed: int, count: int, templates: int, edits: float, threshold: float,
    crowd: tuple[int, int, int], sampled: bool, field: str | None,
) -> None:  # fmt: skip
    folder = written(tmp_path / "data", [rows(seed, count, templates, edits), rows(seed + 1, count // 2, 2, edits)])
    rule = {"dedupe": {"method": "near", "threshold": threshold, **({"field": field} if field else {})}}
    chain: list[Any] = [*([{"sample": {"fraction": 0.9}}] if sampled else []), rule]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(("CROWD", "NEIGHBOURS", "DIVISIONS"), crowd, strict=True):
            patch.setattr(near, name, value)
        local, other = both(parted, Source.model_validate({"path": "data", "operations": chain}), folder.parent)
    assert isinstance(local, Pool)
    same(local, other)


def test_a_crowd_is_looked_at_again_without_those_that_went(
    parted: PartitionedPools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of rows of one template, no two alike: the real sizes of crowds, and more than one round."""
    rng = random.Random(5)
    frame = [rng.choice(WORDS) for _ in range(30)]
    made = []
    for number in range(300):
        words = [*frame]
        for place in rng.sample(range(30), rng.randint(1, 6)):
            words[place] = f"w{number}x{place}"
        made.append({"prompt": " ".join(words), "completion": "yes"})
    rounds: list[int] = []
    one = parted_near._round

    def counted(*given: Any) -> Any:
        rounds.append(given[-1])
        return one(*given)

    monkeypatch.setattr(parted_near, "_round", counted)
    folder = written(tmp_path / "data", [made])
    chain = [{"dedupe": {"method": "near", "threshold": 0.75}}]
    local, other = both(parted, Source.model_validate({"path": "data", "operations": chain}), folder.parent)
    assert isinstance(local, Pool)
    same(local, other)
    assert len(rounds) > 1
    assert rounds == sorted(rounds, reverse=True)
    assert 0 < local.data["dropped"] < 300
