"""Pools made through Ray Data on a cluster are those made in memory."""

from __future__ import annotations

import json
import re
from functools import partial
from operator import truediv
from pathlib import Path
from typing import Any

import pytest

from harness.data.pools import LocalPools
from harness.data.variants import DrawRequest
from harness.engines.config import RayConfig
from harness.errors import RequestError, StepError
from harness.spec import Decontaminate, Source, Variant
from harness.store import Store
from tests.data.partitions.test_pools import STORY, SUITE, Made, same

ROWS = 3000
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.data\..*"),  # it sets its own deprecated settings
]


def files(folder: Path) -> None:
    folder.mkdir()
    for number in range(3):
        rows = [
            {"prompt": STORY if n % 500 == 7 else f"What is {n % 700} + {number}?", "completion": f"{n % 700 + number}"}
            for n in range(ROWS // 3)
        ]
        (folder / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def told() -> list[str]:
    """How far the pools say that they are."""
    return []


@pytest.fixture
def pools(cluster: Any, tmp_path: Path, told: list[str]) -> Any:
    from harness.engines.ray import RayEngine

    engine = RayEngine(RayConfig(address=cluster.address, data="ray"), tmp_path / "logs", "abc")
    return engine.pools(Store(tmp_path / "store"), told.append)


@pytest.mark.parametrize("near", [False, True], ids=["exact", "near"])
def test_ray_data_makes_what_memory_makes(pools: Any, tmp_path: Path, told: list[str], near: bool) -> None:
    files(tmp_path / "data")
    chain: list[Any] = ["clean", {"dedupe": {}}, {"filter": {"max_words": 40}}, {"sample": {"fraction": 0.9}}]
    if near:
        chain[1] = {"dedupe": {"method": "near", "threshold": 0.8}}
    source = Source.model_validate({"path": "data", "operations": chain})
    local = LocalPools()
    read = local.read("s", source, tmp_path, None, None), pools.read("s", source, tmp_path, None, None)
    same(*read)
    assert read[0].data["dropped"] > ROWS // 3
    assert any(re.fullmatch(r"(\d+) of \1 parts done on the cluster", text) for text in told)
    if near:
        return
    rule = Decontaminate()
    clean = tuple(p.decontaminated(Made(r), SUITE, rule) for p, r in zip((local, pools), read, strict=True))
    same(*clean)
    for match in ("steps", "rows"):
        variant = Variant.model_validate({"mix": {"s": 100}, "operations": ["clean", {"dedupe": {"method": "near"}}]})
        asked = DrawRequest(variant, seed=3, match=match, folder=tmp_path)
        one, two = (p.variant(asked, {"s": Made(c)}) for p, c in zip((local, pools), clean, strict=True))
        assert two.rows.equals(one.rows)
        assert two.drops.equals(one.drops)
    scratch = pools.scratch
    assert scratch.is_dir()
    pools.close()
    assert not scratch.exists()


def test_what_is_wrong_is_said_as_in_memory(pools: Any, tmp_path: Path) -> None:
    files(tmp_path / "data")
    for chain in (
        [{"filter": {"min_words": 99}}],
        [{"dedupe": {"field": "text"}}],
        [{"filter": {"score": "quality", "min_score": 1}}],
    ):
        source = Source.model_validate({"path": "data", "operations": chain})
        said = []
        for make in (LocalPools(), pools):
            with pytest.raises(RequestError) as error:
                make.read("s", source, tmp_path, None, None)
            said.append(str(error.value))
        assert said[1] == said[0]


def test_work_that_breaks_is_a_failed_step(pools: Any) -> None:
    with pytest.raises(StepError, match=r"the cluster could not build the data: .*ZeroDivisionError"):
        pools.machines.map(partial(truediv, 1), [0])
