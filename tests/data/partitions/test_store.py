"""A study whose data are made in parts: the same keys and digests, in a store that others can read and check."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.data.partitions import PartitionedPools, parts
from harness.engines.config import load_engine
from harness.errors import RequestError, StepError
from harness.loading import load_study
from harness.store import Store
from harness.store.atomic import attempt_name
from harness.store.maintenance import verify
from harness.study.plan import Plan, make_plan, publish
from tests.data.partitions.here import Here
from tests.store.test_local import flip

CHAIN = "operations: [{dedupe: {}}, {filter: {max_words: 9}}], "


def never(suite: object, target: Path) -> list[dict[str, Any]]:
    raise AssertionError("generated tasks need no lm-eval")


def planned(folder: Path, name: str, *, parted: bool) -> Plan:
    """Plan the folder's study on a store of its own."""
    store = Store(folder / name)
    pools = PartitionedPools(Here(), store.root / "work" / "parts" / attempt_name()) if parted else None
    made = make_plan(load_study(folder / "study.yaml"), store, never, pools=pools)
    publish(made)
    return made


def keys(made: Plan) -> dict[str, tuple[str, str, Any]]:
    return {f"{o.step.kind}/{o.step.name}": (o.step.key, o.digest, o.data) for o in made.outputs}


@pytest.fixture
def study(study_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(parts, "ROWS", 16)
    file = study_folder / "study.yaml"
    before, source, after = file.read_text().rpartition("  sums: {")
    file.write_text(before + source + CHAIN + after)
    return study_folder


@pytest.mark.parametrize("match", ["steps", "rows"])
def test_both_ways_are_one_study(study: Path, match: str) -> None:
    file = study / "study.yaml"
    text = file.read_text().replace("match: steps", f"match: {match}")
    file.write_text(text.replace("steps: 4", "epochs: 1") if match == "rows" else text)
    local, parted = planned(study, "one", parted=False), planned(study, "two", parted=True)
    assert keys(parted) == keys(local)
    assert [run.key for run in parted.runs] == [run.key for run in local.runs]
    for one, two in zip(local.outputs, parted.outputs, strict=True):
        for name in {"rows", "drops", "overlaps"} & set(one.tables):
            assert two.table(name).equals(one.table(name)), (one.step.kind, name)
    assert parted.store.find("source", parted.outputs[1].step.key) is not None
    pool = parted.pools["sums"]
    assert pool.stored is not None
    assert len(list((pool.stored.folder / "rows").iterdir())) == 4
    assert (pool.stored.folder / "drops.parquet").is_file()
    assert verify(parted.store) == []
    assert not list((study / "two" / "work" / "parts").rglob("rows-*"))
    # Either finds what the other made, and draws from it what it would have drawn from its own.
    for other, by_parts in (("two", False), ("one", True)):
        for kind in ("variant", "tokens"):
            shutil.rmtree(study / other / kind)
        again = planned(study, other, parted=by_parts)
        assert keys(again) == keys(local)
        assert all(output.step.kind in ("variant", "tokens") or output.parts == {} for output in again.outputs)


def test_a_damaged_part_is_found_and_not_used(study: Path) -> None:
    made = planned(study, "store", parted=True)
    pool = made.pools["sums"]
    assert pool.stored is not None
    part = pool.stored.folder / "rows" / "000001.parquet"
    flip(part, part.stat().st_size // 2, 1)
    assert [problem.text for problem in verify(made.store)] == ["rows/000001.parquet was changed (its SHA-256 differs)"]
    shutil.rmtree(study / "store" / "variant")
    for by_parts in (True, False):
        with pytest.raises(StepError, match="damaged"):
            planned(study, "store", parted=by_parts)


def test_what_is_not_done_in_parts_is_refused_by_name(study: Path) -> None:
    file = study / "study.yaml"
    whole = file.read_text()
    for chain, words in {
        "dedupe: {method: semantic}": r"dedupe\(method=semantic\) needs a model and all rows",
        "filter: {max_perplexity: 9}": r"filter\(max_perplexity=9.0\) needs a model and all rows",
    }.items():
        file.write_text(whole.replace("{dedupe: {}}", f"{{{chain}}}"))
        with pytest.raises(RequestError, match=f"sources.sums: {words} in one place"):
            planned(study, "refused", parted=True)
    assert [path.name for path in (study / "refused").iterdir()] == ["work"]


def test_the_engine_file_says_where_data_are_made(tmp_path: Path) -> None:
    file = tmp_path / "engine.yaml"
    file.write_text("engine: ray\ndata: ray\n")
    assert load_engine(str(file)).data == "ray"  # type: ignore[union-attr]
    file.write_text("engine: ray\ndata: spark\n")
    with pytest.raises(RequestError, match=r"engine.yaml:2: data"):
        load_engine(str(file))
