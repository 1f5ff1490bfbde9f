import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.data import variants
from harness.data.rows import SCHEMA, Built, content_digest, frame
from harness.data.variants import DrawRequest, random_subset, samples
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
HEIGHTS = {"a": 60, "b": 40}


def variant(mix: dict[str, Any], *operations: Any, **more: Any) -> Variant:
    return Variant.model_validate({"mix": mix, "operations": operations, **more})


def build(asked: Variant, pools: dict[str, pl.DataFrame], **more: Any) -> Built:
    """Draw a training set; the rest of what is asked for by name."""
    return variants.build(DrawRequest(asked, **more), pools)


def length(rows: pl.DataFrame) -> list[int]:
    """Tokens of a row: between 1 and 13, by its number."""
    return [int(prompt[1:]) * 7 % 13 + 1 for prompt in rows["prompt"]]


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
        assert not samples(whole, HEIGHTS)
        digests = {content_digest(build(whole, POOLS, seed=s, match="steps").rows) for s in (0, seed)}
        assert len(digests) == 1


def test_samples_says_whether_the_seed_matters() -> None:
    assert samples(variant({"a": 10}), HEIGHTS)
    assert samples(variant({"a": "all", "b": 39}), HEIGHTS)
    assert samples(variant({"a": "all"}, {"sample": {"fraction": 0.5}}), HEIGHTS)
    assert not samples(variant({"b": 40}), HEIGHTS)


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
        ({"a": 61}, (), "steps", r"mix.a: 61 rows are asked for, a has 60 \(max_repeats: 2 would be enough\)"),
        (
            {"a": 31},
            ("verify",),
            "rows",
            r"mix.a: 31 rows are asked for, 30 of a are left after the operations \(max_repeats: 2 would",
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


# ------------------------------------------------------------------------------------------------------- mixtures


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.floats(0.001, 1), min_size=1, max_size=2),
    st.integers(1, 100),
    st.integers(0, 3),
    st.sampled_from(["steps", "rows"]),
)
def test_mixtures_hit_their_weights_to_one_row(weights: list[float], total: int, seed: int, match: str) -> None:
    named = dict(zip("ab", weights, strict=False))
    built = build(variant(named, rows=total, max_repeats=10), POOLS, seed=seed, match=match)
    assert built.rows.height == total
    for name, weight in named.items():
        assert abs(built.rows.filter(source=name).height - total * weight / sum(weights)) < 1


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 700), st.integers(1, 500), st.integers(0, 3), st.sampled_from(["steps", "tokens"]))
@example(30, 1, 0, "steps")
def test_mixtures_in_tokens_hit_their_count_within_one_row(few: int, many: int, seed: int, match: str) -> None:
    mix = {"a": few, "b": many}
    built = build(variant(mix, unit="tokens", max_repeats=9), POOLS, seed=seed, match=match, tokens=length)
    for name, count in mix.items():
        counts = length(built.rows.filter(source=name))
        assert counts
        # Half of the row at the border, which may be the first that was not taken.
        assert abs(sum(counts) - count) <= max(length(POOLS[name])) / 2 or len(counts) == 1


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 1), st.integers(30, 600), st.integers(0, 3))
def test_weights_of_a_total_of_tokens(weight: float, total: int, seed: int) -> None:
    mix = variant({"a": weight, "b": 1 - weight / 2}, tokens=total, max_repeats=9)
    built = build(mix, POOLS, seed=seed, match="steps", tokens=length)
    for name, count in mix.counts().items():
        assert abs(sum(length(built.rows.filter(source=name))) - (count or 0)) <= 13


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 150), min_size=2, max_size=2),
    st.integers(0, 3),
    st.sampled_from([("rows", "steps", ()), ("rows", "rows", ("verify",)), ("tokens", "steps", ())]),
)
def test_larger_draws_hold_the_smaller_ones_copies_included(
    sizes: list[int], seed: int, how: tuple[str, str, tuple[str, ...]]
) -> None:
    unit, match, chain = how
    few, many = (
        build(
            variant({"a": size, "b": 3}, *chain, unit=unit, max_repeats=9), POOLS, seed=seed, match=match, tokens=length
        ).rows.filter(source="a")
        for size in sorted(sizes)
    )
    if not samples(variant({"a": sizes[0], "b": 3}, *chain, unit=unit, max_repeats=9), HEIGHTS):
        return
    small, large = Counter(few["prompt"]), Counter(many["prompt"])
    assert small <= large
    alike = [prompt for prompt in small if small[prompt] == large[prompt]]  # and those come in the same order
    assert in_common(many["prompt"].to_list(), alike) == in_common(few["prompt"].to_list(), alike)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 240), st.integers(0, 3))
def test_a_small_source_is_repeated_in_whole_passes(size: int, seed: int) -> None:
    rows = build(variant({"b": size}, max_repeats=6), POOLS, seed=seed, match="steps").rows
    times = Counter(rows["prompt"])
    assert rows.height == size
    assert len(times) == min(size, 40)
    assert max(times.values()) - min(times.values()) <= 1
    assert max(times.values()) == -(-size // 40)


def test_operations_do_not_take_copies_for_duplicates() -> None:
    mix = variant({"a": 120, "b": 100}, "verify", "dedupe", max_repeats=3)
    built = build(mix, POOLS, seed=1, match="steps")
    assert Counter(built.rows["source"]) == {"a": 60, "b": 100}
    assert max(Counter(built.rows.filter(source="b")["prompt"]).values()) == 3
    assert built.rows.height + built.drops.height == 220
    assert set(built.drops["operation"]) == {"verify"}


def test_a_sample_counts_copies() -> None:
    built = build(variant({"b": 80}, {"sample": {"rows": 30}}, max_repeats=2), POOLS, seed=1, match="steps")
    assert (built.rows.height, built.drops.height) == (30, 50)
    assert len(set(built.rows["prompt"])) < 30


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 90), st.integers(0, 3), st.sampled_from(["steps", "rows"]))
def test_the_ledger_of_a_variant_adds_up(size: int, seed: int, match: str) -> None:
    chain = ("verify", {"filter": {"exclude": "7"}}, {"sample": {"fraction": 0.9}})
    built = build(variant({"a": size, "b": "all"}, *chain, max_repeats=9), POOLS, seed=seed, match=match)
    if match == "steps":
        assert built.rows.height + built.drops.height == size + 40
    else:
        assert built.rows.filter(source="a").height == size
    assert set(built.drops["operation"]) <= {"verify", "filter(exclude=7)", "sample(fraction=0.9)"}
    kept = Counter(built.rows["row_id"])
    if match == "rows":
        assert not set(built.drops["row_id"]) & set(kept)


@settings(deadline=None, max_examples=40)
@given(st.integers(5, 60), st.integers(5, 60), st.integers(5, 40), st.integers(0, 3))
def test_rows_of_two_arms_come_in_the_same_order_whatever_else_is_done(
    one: int, other: int, more: int, seed: int
) -> None:
    plain = build(variant({"a": one, "b": more}), POOLS, seed=seed, match="steps").rows["prompt"].to_list()
    mix = variant({"b": 3, "a": other}, {"filter": {"exclude": "3"}}, "dedupe")
    changed = build(mix, POOLS, seed=seed, match="steps").rows["prompt"].to_list()
    if samples(variant({"a": one, "b": more}), HEIGHTS) == samples(mix, HEIGHTS):
        assert in_common(plain, changed) == in_common(changed, plain)


def test_only_the_rows_needed_are_counted() -> None:
    asked: list[int] = []

    def counted(rows: pl.DataFrame) -> list[int]:
        assert rows.schema == SCHEMA
        asked.append(rows.height)
        return [10] * rows.height

    large = {"c": pool("c", 5000)}
    assert build(variant({"c": 200}, unit="tokens"), large, seed=1, match="steps", tokens=counted).rows.height == 20
    assert sum(asked) == 256
    assert build(variant({"c": 9990}, unit="tokens"), large, seed=1, match="steps", tokens=counted).rows.height == 999


def test_operations_get_what_they_ask_for(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def odd(row): return int(row['prompt'][1:]) % 2 == 1")
    chain = ({"filter": {"max_tokens": 6}}, {"filter": {"min_perplexity": 2}}, {"filter": {"function": "mine:odd"}})
    built = build(
        variant({"a": 60}, *chain), POOLS, seed=1, match="steps", folder=tmp_path, tokens=length,
        perplexity=lambda rows: [1.0 + int(prompt[1:]) for prompt in rows["prompt"]],
    )  # fmt: skip
    wanted = {f"a{n}" for n in range(60) if n * 7 % 13 + 1 <= 6 and n >= 1 and n % 2}
    assert set(built.rows["prompt"]) == wanted


def test_matching_tokens_refills_what_operations_drop() -> None:
    built = build(variant({"a": 150}, "verify", unit="tokens"), POOLS, seed=2, match="tokens", tokens=length)
    assert abs(sum(length(built.rows)) - 150) <= 6
    assert all(int(prompt[1:]) >= 30 for prompt in built.rows["prompt"])
    assert built.drops.height


@pytest.mark.parametrize(
    ("mix", "more", "match", "message"),
    [
        ({"a": 130}, {"max_repeats": 2}, "steps", r"mix.a: 130 rows .*, a has 60 \(max_repeats: 3 would be enough\)"),
        ({"a": 6060}, {}, "steps", r"a has 60 \(not even max_repeats: 100 would be enough\)"),
        ({"a": 5000}, {"unit": "tokens"}, "steps", r"mix.a: 5,000 tokens .*, a has 412 \(max_repeats: 13 would"),
        (
            {"a": 400},
            {"unit": "tokens", "operations": ["verify"]},
            "tokens",
            r"mix.a: 400 tokens are asked for, 210 of a are left after the operations \(max_repeats: 2 would",
        ),
    ],
)
def test_too_little_says_how_often_it_would_have_to_be_repeated(
    mix: dict[str, Any], more: dict[str, Any], match: str, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        build(Variant.model_validate({"mix": mix, **more}), POOLS, seed=1, match=match, tokens=length)


def test_repeats_that_are_said_to_be_enough_are_enough() -> None:
    for count in (61, 119, 120, 121, 600):
        with pytest.raises(RequestError) as caught:
            build(variant({"a": count}), POOLS, seed=1, match="steps")
        needed = int(str(caught.value).split("max_repeats: ")[1].split()[0])
        assert build(variant({"a": count}, max_repeats=needed), POOLS, seed=1, match="steps").rows.height == count
        if needed > 2:
            with pytest.raises(RequestError):
                build(variant({"a": count}, max_repeats=needed - 1), POOLS, seed=1, match="steps")


def test_tokens_need_the_model() -> None:
    with pytest.raises(
        RequestError, match=r"mix.a: 50 tokens are asked for, and the model that counts them is not ready"
    ):
        build(variant({"a": 50}, unit="tokens"), POOLS, seed=1, match="steps")


def test_all_operations_gone_through_leave_a_source_empty() -> None:
    with pytest.raises(RequestError, match=r"mix.c: 3 rows are asked for, 0 of c are left after the operations"):
        build(variant({"a": 5, "c": 3}, "verify"), POOLS | {"c": pool("c", 5, wrong=5)}, seed=1, match="rows")


def test_samples_where_sources_are_repeated_or_counted_in_tokens() -> None:
    assert not samples(variant({"b": 80}, max_repeats=2), HEIGHTS)
    assert samples(variant({"b": 81}, max_repeats=3), HEIGHTS)
    assert samples(variant({"b": 80}, "verify", max_repeats=2), HEIGHTS)
    assert samples(variant({"b": 300}, unit="tokens"), HEIGHTS)
    assert not samples(variant({"b": "all"}, unit="tokens"), HEIGHTS)
