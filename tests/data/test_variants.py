import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.rows import SCHEMA, content_digest, frame
from harness.data.variants import build, random_subset, samples
from harness.errors import RequestError
from harness.spec import Variant


def pool(source: str, size: int, wrong: int = 0) -> pl.DataFrame:
    verifier = json.dumps({"scorer": "numeric", "answer": "1"})
    return frame(
        [
            {
                "source": source, "prompt": f"{source}{index}", "completion": "2" if index < wrong else "1",
                "verifier": verifier,
            }
            for index in range(size)
        ]
    )  # fmt: skip


POOLS = {"a": pool("a", 60, wrong=30), "b": pool("b", 40)}


def variant(mix: dict[str, Any], *operations: Any, **more: Any) -> Variant:
    return Variant.model_validate({"mix": mix, "operations": operations, **more})


def prompts(mix: dict[str, Any], *operations: Any, seed: int = 1, match: str = "steps", **more: Any) -> list[str]:
    return build(variant(mix, *operations, **more), POOLS, seed=seed, match=match).rows["prompt"].to_list()


def in_common(one: list[str], other: list[str]) -> list[str]:
    return [prompt for prompt in one if prompt in set(other)]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 9))
def test_draws_are_nested_and_shared_rows_come_in_the_same_order(few: int, many: int, seed: int) -> None:
    few, many = sorted((few, many))
    small = prompts({"a": few}, seed=seed)
    large = prompts({"b": 5, "a": many}, seed=seed)
    if few == 60:  # taken whole: the seed does not matter
        return
    assert len(set(small)) == few
    assert set(small) <= set(large)
    assert in_common(small, large) == in_common(large, small)


def test_seeds_draw_different_rows() -> None:
    assert set(prompts({"a": 20}, seed=1)) != set(prompts({"a": 20}, seed=2))
    assert prompts({"a": 20}, seed=1) == prompts({"a": 20}, seed=1)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 1000))
def test_a_variant_without_a_draw_is_the_same_for_every_seed(seed: int) -> None:
    for whole in (
        variant({"a": "all", "b": 40}),
        variant({"a": "all"}, "verify"),
        variant({"a": 60}, "dedupe"),
    ):
        assert not samples(whole, POOLS)
        digests = {content_digest(build(whole, POOLS, seed=s, match="steps").rows) for s in (0, seed)}
        assert len(digests) == 1


def test_samples_says_whether_the_seed_matters() -> None:
    assert samples(variant({"a": 10}), POOLS)
    assert samples(variant({"a": "all", "b": 39}), POOLS)
    assert samples(variant({"a": "all"}, {"sample": {"fraction": 0.5}}), POOLS)
    assert not samples(variant({"b": 40}), POOLS)


def test_operations_shrink_the_draw_and_fill_the_ledger() -> None:
    drawn = prompts({"a": 20})
    built = build(variant({"a": 20}, "verify"), POOLS, seed=1, match="steps")
    assert built.rows["prompt"].to_list() == [prompt for prompt in drawn if int(prompt[1:]) >= 30]
    assert built.rows.height + built.drops.height == 20
    assert built.rows.schema == SCHEMA
    assert set(built.drops["operation"]) == {"verify"}


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(0, 5))
def test_matching_rows_refills_what_operations_drop(size: int, seed: int) -> None:
    built = build(variant({"a": size, "b": 10}, "verify"), POOLS, seed=seed, match="rows")
    right = set(built.rows.filter(source="a")["prompt"])
    assert built.rows.height == size + 10
    assert all(int(prompt[1:]) >= 30 for prompt in right)
    # Of the a-rows ranked above the last one taken, each is in the set or in the ledger: that many are a plain draw.
    plain = build(variant({"a": size + built.drops.height}), POOLS, seed=seed, match="steps").rows
    gone = set(built.drops["row_id"])
    if size + built.drops.height < 60:
        assert set(plain["row_id"]) == gone | set(built.rows.filter(source="a")["row_id"])


def test_matching_rows_without_operations_is_the_plain_draw() -> None:
    assert prompts({"a": 7, "b": 9}, match="rows") == prompts({"a": 7, "b": 9})


def test_weights() -> None:
    drawn = prompts({"a": 0.75, "b": 0.25}, rows=40)
    assert [sum(p.startswith(name) for p in drawn) for name in "ab"] == [30, 10]
    assert len(prompts({"a": 0.999, "b": 0.001}, rows=10, match="rows")) == 10


def test_copies_of_a_row_are_drawn_apart() -> None:
    pools = {"c": frame([{"source": "c", "text": "same"}] * 6 + [{"source": "c", "text": "other"}] * 6)}
    drawn = build(variant({"c": 5}), pools, seed=3, match="steps").rows
    assert drawn.height == 5
    assert drawn["text"].n_unique() == 2


@pytest.mark.parametrize(
    ("mix", "operations", "match", "message"),
    [
        ({"a": 61}, (), "steps", "mix.a: 61 rows are asked for, a has 60"),
        (
            {"a": 31},
            ("verify",),
            "rows",
            "mix.a: 31 rows are asked for, 30 of a are left after the operations",
        ),
        (
            {"a": 20, "b": 5},
            ({"filter": {"min_words": 9}},),
            "steps",
            r"a \+ b: 0 of 25 rows are left after filter",
        ),
        ({"a": 5}, ({"sample": {"rows": 6}},), "steps", "only 5 rows to sample from"),
        ({"empty": "all"}, (), "steps", "empty: the pool has no rows"),
    ],
)
def test_what_cannot_be_built_is_named(mix: dict[str, Any], operations: Any, match: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build(variant(mix, *operations), {**POOLS, "empty": frame([])}, seed=1, match=match)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 20), st.integers(0, 5))
def test_a_random_subset_keeps_the_order_and_is_nested(keep: int, seed: int) -> None:
    rows = build(variant({"a": 20}), POOLS, seed=seed, match="steps").rows
    built, more = random_subset(rows, keep, seed), random_subset(rows, 20, seed)
    order = rows["row_id"].to_list()
    kept = built.rows["row_id"].to_list()
    assert len(kept) == keep
    assert built.drops.height == 20 - keep
    assert kept == [row_id for row_id in order if row_id in set(kept)]
    assert more.rows.equals(rows)


def test_a_random_subset_of_more_rows_than_there_are() -> None:
    with pytest.raises(RequestError, match="61 rows are to be kept of 60"):
        random_subset(POOLS["a"], 61, 1)
