"""Designs become arms: sizes, names, nesting, balance, and one sentence with a place where they cannot."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.designs import arms, expand
from harness.errors import RequestError
from harness.spec import NAME, FilterFactorial, Study, Variant
from harness.spec.designs.base import apportion
from tests import planted
from tests.conftest import TINY_STUDY

COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10_000), min_size=2, max_size=6)
FACTORS = {name: {"filter": {"max_words": words}} for words, name in enumerate("pqrstuv", start=5)}


def study(*designs: object, **changes: Any) -> Study:
    fields: dict[str, Any] = {
        "study": "s",
        "question": "?",
        "model": "m",
        "recipe": {"epochs": 1} if changes.get("match", "steps") != "steps" else {"steps": 3},
        "suite": {"suite": "t", "tasks": {"a": {"task": "a"}}},
        "sources": {name: {"path": f"{name}.jsonl"} for name in "abcdefgh"},
        "baseline": {"mix": {"a": 100, "b": 50, "c": 10}},
        "designs": list(designs),
        "decide": {"metric": "a/acc", "smallest_effect": 0.1},
    }
    return Study.model_validate(fields | changes)


def made(*designs: object, **changes: Any) -> dict[str, dict[str, int | None]]:
    """Expand, and return what each arm holds of each source."""
    return {name: arm.counts() if arm.mix else {} for name, arm in expand(study(*designs, **changes)).arms.items()}


def refused(*designs: object, **changes: Any) -> str:
    with pytest.raises(RequestError) as caught:
        expand(study(*designs, **changes))
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------- all designs


@st.composite
def designs(draw: st.DrawFn) -> dict[str, Any]:
    some = st.lists(st.sampled_from("abcdefz"), min_size=1, max_size=3) | st.none()
    rows = st.integers(1, 300)
    sizes = st.one_of(
        st.fixed_dictionaries({"rows": st.lists(rows, min_size=1, max_size=4, unique=True)}),
        st.fixed_dictionaries({"fractions": st.lists(st.floats(0.01, 3), min_size=1, max_size=4, unique=True)}),
    )
    kind = draw(
        st.sampled_from(
            ["leave_one_out", "add_one_in", "size_ladder", "filter_factorial", "mixture_dirichlet", "mixture_search"]
        )
    )
    if kind == "leave_one_out":
        return {kind: {"sources": draw(some)}}
    if kind == "add_one_in":
        return {kind: {"sources": draw(some), "rows": draw(rows), "replace": draw(st.booleans())}}
    if kind == "size_ladder":
        source = draw(st.sampled_from("abcdz") | st.none())
        return {kind: {"source": source, "alone": source is not None and draw(st.booleans()), **draw(sizes)}}
    if kind == "filter_factorial":
        names = draw(st.lists(st.sampled_from(list(FACTORS)), min_size=2, max_size=5, unique=True))
        return {kind: {"factors": {n: FACTORS[n] for n in names}, "fraction": draw(st.sampled_from(["full", "half"]))}}
    prior = draw(st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 1), min_size=1) | st.none())
    if kind == "mixture_search":
        return {
            kind: {"draws": draw(st.integers(1, 4)), "rows": draw(rows), "prior": prior,
                   "seed": draw(st.integers(0, 9)),
                   "concentrations": draw(st.lists(st.sampled_from([1e-3, 0.01, 5.0, 500.0]), min_size=1, max_size=3))}
        }  # fmt: skip
    return {
        kind: {"draws": draw(st.integers(1, 6)), "rows": draw(rows), "prior": prior, "seed": draw(st.integers(0, 9)),
               "concentration": draw(st.sampled_from([1e-300, 1e-3, 0.5, 5.0, 1e9, 1e300]))}
    }  # fmt: skip


@st.composite
def baselines(draw: st.DrawFn) -> dict[str, Any]:
    mix = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 100) | st.just("all"), min_size=1)
    weighted = st.dictionaries(st.sampled_from("abcd"), st.floats(1e-6, 1), min_size=1)
    if draw(st.booleans()):
        return {"mix": draw(mix), "operations": draw(st.sampled_from([[], ["dedupe"]])), "max_repeats": 3}
    return {"mix": draw(weighted), draw(st.sampled_from(["rows", "tokens"])): draw(st.integers(1, 200))}


@given(
    st.lists(designs(), min_size=1, max_size=3),
    baselines(),
    st.sampled_from(["steps", "rows", "tokens", "additive"]),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_a_design_is_expanded_for_good_or_refused_with_its_place(
    chosen: list[dict[str, Any]], baseline: dict[str, Any], match: str, written: bool
) -> None:
    mine = {"mine": {"mix": baseline["mix"] | {"h": 5}}} if "operations" in baseline and match != "tokens" else {}
    try:
        whole = study(*chosen, baseline=baseline, match=match, arms=mine if written else {})
    except ValueError:
        return  # the study is wrong whatever its designs
    try:
        expanded = expand(whole)
    except RequestError:
        assert re.fullmatch(r"designs\[\d\][.:].+", refused(*chosen, baseline=baseline, match=match, arms=whole.arms))
        return
    assert Study.model_validate_json(json.dumps(expanded.identity())) == expanded
    assert expand(whole) == expanded == expand(expanded)
    assert list(expanded.arms)[: len(whole.arms)] == list(whole.arms)
    assert expanded.designs == whole.designs
    new = {name: arm for name, arm in expanded.arms.items() if name not in whole.arms}
    assert new
    for name, arm in new.items():
        assert NAME.match(name)
        assert arm.tests
        assert Variant.model_validate(arm.identity()) == arm
        if arm.mix is not None:
            assert arm.operations[: len(whole.baseline.operations)] == whole.baseline.operations
            assert (arm.in_tokens, arm.max_repeats) == (whole.baseline.in_tokens, whole.baseline.max_repeats)
            same = arm.counts() == {n: c for n, c in whole.baseline.counts().items() if c != 0}
            assert not (same and arm.operations == whole.baseline.operations)
    contents = [arm.model_dump_json() for arm in expanded.arms.values()]
    assert len(set(contents)) == len(contents), "the same arm twice"


def test_a_rung_of_one_row_is_a_rung_and_one_of_none_or_of_as_many_is_refused() -> None:
    ladder = {"source": "c", "fractions": [0.1, 0.5]}  # of 10 rows
    assert {arm["c"] for arm in made({"size_ladder": ladder}).values()} == {1, 5}
    for fractions, said in (
        ([0.04, 0.5], "0.04 of 10 comes to 0, none"),
        ([0.1, 0.12], "comes to 1, as many as 10pct"),
    ):
        assert said in refused({"size_ladder": {"source": "c", "fractions": fractions}})


def test_designs_stand_beside_written_arms_and_one_another() -> None:
    whole = expand(
        study("leave_one_out", {"add_one_in": {"rows": 40}}, {"size_ladder": {"source": "d", "rows": [40, 80]}},
              {"size_ladder": {"fractions": [0.25, 1.0]}}, arms={"mine": {"mix": {"h": 9}}})
    )  # fmt: skip
    assert list(whole.arms) == [
        "mine", "without-a", "without-b", "without-c", "plus-d-40", "plus-e-40", "plus-f-40", "plus-g-40", "plus-h-40",
        "d-80", "ladder-25pct",
    ]  # fmt: skip
    assert [arm.tests for arm in whole.arms.values()] == [None, *"abc", *"defgh", "d", "size"]
    assert "d-40" not in arms(whole, 2), "plus-d-40 is the same arm"


def test_an_arm_written_under_the_name_of_a_design_must_be_the_same() -> None:
    said = refused("leave_one_out", arms={"without-a": {"mix": {"b": 3}}})
    assert (
        said == 'designs[0]: it makes an arm "without-a", and the study has another arm of that name; rename that one'
    )
    same = expand(study("leave_one_out")).arms["without-a"]
    assert list(expand(study("leave_one_out", arms={"without-a": same})).arms) == [
        "without-a",
        "without-b",
        "without-c",
    ]


def test_arms_keep_all_else_of_the_baseline() -> None:
    baseline = {"mix": {"a": 100, "b": 50}, "operations": ["dedupe"], "max_repeats": 4}
    for arm in expand(study("leave_one_out", {"add_one_in": {"rows": 9}}, baseline=baseline)).arms.values():
        assert arm.model_copy(update={"mix": None, "tests": None}) == Variant.model_validate(baseline | {"mix": None})


# ---------------------------------------------------------------------------------------------------------- sizes


@given(COUNTS, st.sampled_from(["steps", "rows", "additive"]))
def test_leaving_a_source_out_refills_or_shrinks(counts: dict[str, int], match: str) -> None:
    for name, held in made("leave_one_out", baseline={"mix": counts}, match=match).items():
        source = name.removeprefix("without-")
        rest = {other: count for other, count in counts.items() if other != source}
        assert source not in held
        if match == "additive":
            assert held == rest
            continue
        assert sum(held.values()) == sum(counts.values())
        for one, other in itertools.permutations(rest, 2):  # nobody's claim to the last row was better
            assert (2 * held.get(one, 0) - 1) * rest[other] <= (2 * held.get(other, 0) + 1) * rest[one]


def test_whole_pools_are_left_out_and_cannot_be_refilled() -> None:
    whole = {"mix": {"a": "all", "b": 50}}
    for match in ("steps", "additive"):
        expanded = expand(study("leave_one_out", baseline=whole, match=match))
        assert {name: arm.mix for name, arm in expanded.arms.items()} == {
            "without-a": {"b": 50}, "without-b": {"a": "all"},
        }  # fmt: skip
    assert refused("leave_one_out", baseline=whole, match="rows").startswith("designs[0]: baseline.mix.a is `all`, so")


def test_tokens_are_kept_as_tokens() -> None:
    baseline = {"mix": {"a": 0.5, "b": 0.25, "c": 0.25}, "tokens": 1000}
    expanded = expand(study("leave_one_out", {"size_ladder": {"fractions": [0.1]}}, baseline=baseline, match="tokens"))
    assert all(arm.in_tokens for arm in expanded.arms.values())
    assert [sum(arm.counts().values()) for arm in expanded.arms.values()] == [1000, 1000, 1000, 100]
    for design in (
        {"add_one_in": {"rows": 9}},
        {"size_ladder": {"rows": [9]}},
        {"mixture_dirichlet": {"draws": 2, "rows": 9}},
    ):
        assert refused(design, baseline=baseline, match="tokens").startswith(
            "designs[0].rows: the baseline counts tokens, and arms counted in rows are not its match"
        )


@given(COUNTS, st.integers(1, 100))
def test_adding_a_source_beside_or_instead(counts: dict[str, int], rows: int) -> None:
    baseline = {"mix": counts}
    beside = made({"add_one_in": {"sources": ["g", "h"], "rows": rows}}, baseline=baseline)
    assert beside == {f"plus-{n}-{rows}": {**counts, n: rows} for n in "gh"}
    if rows >= sum(counts.values()):
        assert "fewer can be replaced" in refused({"add_one_in": {"rows": rows, "replace": True}}, baseline=baseline)
        return
    instead = made({"add_one_in": {"sources": ["g"], "rows": rows, "replace": True}}, baseline=baseline)
    (held,) = instead.values()
    assert list(instead) == [f"swap-g-{rows}"]
    assert held["g"] == rows
    assert sum(held.values()) == sum(counts.values())
    assert all(held.get(name, 0) <= count for name, count in counts.items())


@given(COUNTS, st.lists(st.integers(1, 30_000), min_size=1, max_size=6, unique=True))
def test_a_ladder_is_sorted_and_nested_source_by_source(counts: dict[str, int], rows: list[int]) -> None:
    whole = sum(counts.values())
    if rows == [whole]:
        assert "baseline itself" in refused({"size_ladder": {"rows": rows}}, baseline={"mix": counts})
        return
    ladder = made({"size_ladder": {"rows": rows}}, baseline={"mix": counts})
    assert list(ladder) == [f"ladder-{size}" for size in sorted(rows) if size != whole]
    rungs = sorted([*ladder.values(), counts], key=lambda held: sum(held.values()))
    assert [sum(held.values()) for held in rungs] == sorted({*rows, whole})
    for smaller, larger in itertools.pairwise(rungs):
        assert all(smaller.get(name, 0) <= larger.get(name, 0) for name in counts)


def test_ladders_of_one_source() -> None:
    ladder = {"size_ladder": {"source": "a", "rows": [400, 20, 100]}}
    assert made(ladder) == {"a-20": {"a": 20, "b": 50, "c": 10}, "a-400": {"a": 400, "b": 50, "c": 10}}
    shares = {"size_ladder": {"source": "b", "fractions": [0.125, 2.0], "alone": True}}
    assert made(shares) == {"only-b-12.5pct": {"b": 6}, "only-b-200pct": {"b": 100}}
    assert made({"size_ladder": {"source": "d", "rows": [5]}}) == {"d-5": {"a": 100, "b": 50, "c": 10, "d": 5}}


def test_a_ladder_over_whole_pools_is_sampled() -> None:
    expanded = expand(
        study({"size_ladder": {"fractions": [0.5, 0.1, 1.0]}}, baseline={"mix": {"a": "all"}, "operations": ["dedupe"]})
    )
    assert {name: [o.op for o in arm.operations] for name, arm in expanded.arms.items()} == {
        "ladder-10pct": ["dedupe", "sample"], "ladder-50pct": ["dedupe", "sample"],
    }  # fmt: skip
    assert [arm.operations[-1].fraction for arm in expanded.arms.values()] == [0.1, 0.5]  # type: ignore[union-attr]
    assert all(arm.mix == {"a": "all"} for arm in expanded.arms.values())


@given(
    st.dictionaries(st.text("abcdefghijkl", min_size=1, max_size=2), st.integers(0, 400), min_size=1),
    st.integers(0, 300),
)
def test_apportionment_is_the_textbook_one(counts: dict[str, int], total: int) -> None:
    """Sainte-Lague as the book has it: each row in turn to the largest count / (2 rows + 1)."""
    if not any(counts.values()):
        return
    seats = dict.fromkeys(counts, 0)
    for _ in range(total):
        claims = {name: Fraction(count, 2 * seats[name] + 1) for name, count in counts.items()}
        seats[min(claims, key=lambda name: (-claims[name], name))] += 1
    assert apportion(counts, total) == {name: rows for name, rows in seats.items() if rows}


# ------------------------------------------------------------------------------------------------------ factorials


@pytest.mark.parametrize("fraction", ["full", "half"])
@pytest.mark.parametrize("number", [3, 4, 5, 6, 7])
def test_factorials_are_balanced_and_orthogonal(number: int, fraction: str) -> None:
    names = list(FACTORS)[:number]
    design = FilterFactorial.model_validate({"factors": {n: FACTORS[n] for n in names}, "fraction": fraction})
    chosen = design.combinations()
    assert len(chosen) == 2 ** (number - (fraction == "half"))
    assert next(iter(chosen.items())) == ("baseline", ())
    columns = np.array([[1 if name in on else -1 for on in chosen.values()] for name in names])
    assert len(set(map(tuple, columns.T))) == len(chosen)
    assert not columns.sum(axis=1).any()
    assert np.array_equal(columns @ columns.T, len(chosen) * np.eye(number))
    words = design.aliases()
    assert list(words) == names
    for index, name in enumerate(names):
        for size in range(2, number):
            for others in itertools.combinations([i for i in range(number) if i != index], size):
                product = columns[list(others)].prod(axis=0)
                mixed_up = abs(int(columns[index] @ product)) == len(chosen)
                assert mixed_up == (fraction == "half" and size == number - 1)
        said = words[name]
        assert bool(said) == (fraction == "half")
        assert not said or all(
            other in said.removeprefix("half fraction: cannot be told from what") for other in names if other != name
        )


def test_factors_add_their_operations_in_order() -> None:
    design = {"filter_factorial": {"factors": {"verify": "verify", "tidy": ["clean", "dedupe"]}}}
    expanded = expand(study(design, baseline={"mix": {"a": 9}, "operations": ["pii"]}))
    assert {name: (arm.tests, [o.op for o in arm.operations], arm.mix) for name, arm in expanded.arms.items()} == {
        "filters-verify": ("verify", ["verify"], None),
        "filters-tidy": ("tidy", ["clean", "dedupe"], None),
        "filters-verify.tidy": ("verify + tidy", ["verify", "clean", "dedupe"], None),
    }


# -------------------------------------------------------------------------------------------------------- mixtures


def weights(**changes: Any) -> np.ndarray:
    design = {"draws": 512, "rows": 100_000, "prior": {"a": 0.5, "b": 0.3, "c": 0.2}, "concentration": 20.0} | changes
    held = made({"mixture_dirichlet": design}, baseline={"mix": {"h": 9}})
    return np.array([[held[name].get(source, 0) for source in "abc"] for name in held]) / design["rows"]


def test_mixtures_have_the_mean_and_variance_of_their_dirichlet() -> None:
    prior = np.array([0.5, 0.3, 0.2])
    drawn = weights()
    assert np.array_equal(drawn[0], prior)
    assert len(drawn) == 513
    assert drawn.sum(axis=1) == pytest.approx(1, abs=1e-12)
    variance = prior * (1 - prior) / 21
    assert np.abs(drawn[1:].mean(axis=0) - prior) == pytest.approx(0, abs=4 * np.sqrt(variance.max() / 512))
    assert drawn[1:].var(axis=0) == pytest.approx(variance, rel=0.25)
    near = weights(concentration=20_000.0)
    assert np.abs(near - prior).max() < 0.02


def test_mixtures_are_drawn_once_and_for_all() -> None:
    design: dict[str, Any] = {"draws": 4, "rows": 30}
    four = made({"mixture_dirichlet": design})
    eight = made({"mixture_dirichlet": design | {"draws": 8}})
    assert list(eight) == ["mix-prior", *(f"mix-0{n}" for n in range(1, 9))]
    assert {name: eight[name] for name in four} == four
    assert made({"mixture_dirichlet": design | {"seed": 1}}) != four
    assert [sum(held.values()) for held in eight.values()] == [30] * 9
    assert len({json.dumps(held, sort_keys=True) for held in eight.values()}) == 9


def test_a_prior_that_is_the_baseline_is_not_run_twice() -> None:
    design = {"mixture_dirichlet": {"draws": 1, "rows": 160, "prior": {"a": 10, "b": 5, "c": 1}}}
    assert list(made(design)) == ["mix-01"]
    assert list(made(design, baseline={"mix": {"a": 100, "b": 50}})) == ["mix-prior", "mix-01"]


SEARCHED: dict[str, Any] = {"draws": 12, "rows": 400, "prior": {"a": 1, "b": 1, "c": 1}}


def searched(**changes: Any) -> np.ndarray:
    held = made({"mixture_search": SEARCHED | changes}, baseline={"mix": {"h": 9}})
    return np.array([[mix.get(source, 0) for source in "abc"] for mix in held.values()])


def test_searched_mixtures_tell_more_than_random_ones() -> None:
    """The variance of the least known effect, with a straight line in the weights that the design was not made for."""
    rows = searched()
    assert rows[0].tolist() == [134, 133, 133]
    assert (rows.sum(axis=1) == 400).all()
    assert len({tuple(row) for row in rows.tolist()}) == 13
    assert searched().tolist() == rows.tolist()
    assert searched(seed=1).tolist() != rows.tolist()

    def least_known(shares: np.ndarray) -> float:
        return float(np.linalg.inv(shares.T @ shares + 1e-6 * np.eye(3)).diagonal().max())

    random = [
        weights(draws=12, rows=400, prior={"a": 1, "b": 1, "c": 1}, concentration=5.0, seed=seed) for seed in range(20)
    ]
    assert least_known(rows / 400) < 0.8 * np.median([least_known(one) for one in random])


def test_no_mixture_takes_more_than_a_source_has() -> None:
    sources = {"a": {"path": "a", "rows": 30}, "b": {"path": "b"}, "c": {"path": "c", "rows": 300}}
    for repeats in (1, 3):
        base = {"mix": {"b": 5}, "max_repeats": repeats}
        held = made({"mixture_search": {"draws": 9, "rows": 400}}, baseline=base, sources=sources)
        assert [sum(mix.values()) for mix in held.values()] == [400] * 10
        assert max(mix.get("a", 0) for mix in held.values()) == 30 * repeats
        assert max(mix.get("c", 0) for mix in held.values()) <= 300 * repeats
    exact = {"a": {"path": "a", "rows": 10}, "b": {"path": "b", "rows": 20}}
    said = refused({"mixture_search": {"draws": 2, "rows": 30}}, baseline={"mix": {"a": 5}}, sources=exact)
    assert ".draws: 2 different mixtures are asked for, and these rows give 0" in said


# -------------------------------------------------------------------------------------------------------- refusals


WHOLE = {"baseline": {"mix": {"a": "all"}}}
LONG = {"sources": {"a": {"path": "a"}, "x" * 63: {"path": "b"}}, "baseline": {"mix": {"a": 9}}}
TAKEN = {"sources": {"random-subset": {"path": "b"}}, "baseline": {"mix": {"random-subset": 7}}}
SIZED = {"sources": {"size": {"path": "a"}}, "baseline": {"mix": {"size": 99}}}
SMALL = {
    "sources": {name: {"path": name, "rows": 6} for name in "ab"}, "baseline": {"mix": {"a": 9}, "max_repeats": 2},
}  # fmt: skip
PAIR = {"q": "verify", "p": "dedupe"}


@pytest.mark.parametrize(
    ("design", "fields", "changes", "said"),
    [
        ("leave_one_out", {"sources": ["a", "zz"]}, {}, '.sources[1]: no source is named "zz". Valid here: a, b, c.'),
        ("leave_one_out", {"sources": ["d"]}, {}, ".sources[0]: the baseline has no rows of d. Valid here: a, b, c."),
        ("leave_one_out", {}, WHOLE, ": the baseline has one source, and nothing is left without it"),
        ("add_one_in", {"rows": 3, "sources": ["a"]}, {}, ".sources[0]: the baseline already has rows of a. Valid"),
        ("add_one_in", {"rows": 3}, {"baseline": {"mix": dict.fromkeys("abcdefgh", 9)}}, ": the baseline has every"),
        ("add_one_in", {"rows": 160, "replace": True}, {}, ".rows: the baseline has 160 rows; fewer can be replaced"),
        ("add_one_in", {"rows": 1, "replace": True}, WHOLE, ": baseline.mix.a is `all`, so the size to keep"),
        ("size_ladder", {"rows": [3], "source": "z"}, {}, '.source: no source is named "z". Valid here: a, b, c'),
        ("size_ladder", {"fractions": [0.5], "source": "d"}, {}, ".fractions: the baseline has no rows of d; give"),
        ("size_ladder", {"fractions": [0.01], "source": "c"}, {}, ".fractions: 0.01 of 10 comes to 0, none"),
        ("size_ladder", {"fractions": [0.5, 0.501]}, {}, ".fractions: 0.501 of 160 comes to 80, as many as 50pct"),
        ("size_ladder", {"fractions": [1.0]}, {}, ": the only rung is the baseline itself"),
        ("size_ladder", {"fractions": [1.0]}, WHOLE, ": the only rung is the baseline itself"),
        ("size_ladder", {"fractions": [0.5, 1.5]}, WHOLE, ": the baseline takes all rows of a source, so its ladder"),
        ("size_ladder", {"rows": [9]}, WHOLE, ": the baseline takes all rows of a source, so its ladder"),
        ("size_ladder", {"fractions": [0.5], "source": "a"}, WHOLE, ".fractions: the baseline takes all rows of a"),
        ("size_ladder", {"rows": [9]}, SIZED, ': a ladder of all sources tests "size", and a source has that name'),
        ("size_ladder", {"rows": [9], "source": "x" * 63}, LONG, f": an arm that it makes: '{'x' * 63}-9' is not a"),
        ("size_ladder", {"rows": [9], "source": "random-subset"}, TAKEN, ': arms.random-subset-9: "random-subset-9"'),
        ("filter_factorial", {"factors": {"a": "verify", "p": "dedupe"}}, {}, '.factors.a: a source is named "a"'),
        ("filter_factorial", {"factors": {"size": "verify", "p": "dedupe"}}, {}, ".factors.size: another subject is"),
        ("filter_factorial", {"factors": {"q": "verify", "p": []}}, {}, ".factors.p: it has no operation, so on"),
        ("filter_factorial", {"factors": {"q": "clean", "p": ["clean"]}}, {}, '.factors.p: it does the same as'),
        ("filter_factorial", {"factors": {"q q": "verify", "p": "dedupe"}}, {}, ".factors.q q: 'q q' is not a name"),
        ("filter_factorial", {"factors": PAIR, "fraction": "half"}, {}, ".fraction: half of two factors cannot tell"),
        ("mixture_dirichlet", {"prior": {"a": 1, "zz": 1}}, {}, '.prior.zz: no source is named "zz". Valid here: a, b'),
        ("mixture_dirichlet", {"prior": {"a": 1, "b": 0}}, {}, ".prior.b: a weight is more than 0; leave the source"),
        ("mixture_dirichlet", {"prior": {"a": 1}}, {}, ": a mixture needs two sources or more; there is a only"),
        ("mixture_dirichlet", {"prior": {"a": 1e-300, "b": 1e300}}, {}, ".draws: 20 different mixtures are asked for, "
         "and these rows and this concentration give 0; lower draws, or take more rows"),
        ("mixture_dirichlet", {"prior": {"a": 1, "b": 1}}, {}, ".draws: 20 different mixtures are asked for, and these "
         "rows and this concentration give 9;"),
        ("mixture_search", {"prior": {"a": 1, "zz": 1}}, {}, '.prior.zz: no source is named "zz". Valid here: a, b'),
        ("mixture_search", {"prior": {"a": 1}}, {}, ": a mixture needs two sources or more; there is a only"),
        ("mixture_search", {"concentrations": [5, 1e9]}, {}, ".concentrations[1]: 1e+09 is not between 0.01 and 500"),
        ("mixture_search", {"prior": {"a": 1, "b": 1}}, {}, ".draws: 20 different mixtures are asked for, and these "
         "rows give 9; lower draws"),
        ("mixture_search", {"rows": 30}, SMALL, ".rows: 30 rows are asked for, and the sources have 24"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_place(
    design: str, fields: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    usual = {"draws": 20, "rows": 9} if design.startswith("mixture_") else {}
    assert refused({design: usual | fields}, **changes).startswith(f"designs[0]{said}")


def test_a_factor_is_one_question() -> None:
    pair = {"filter_factorial": {"factors": {"q": "verify", "p": "dedupe"}}}
    other = {"filter_factorial": {"factors": {"q": "clean", "r": "pii"}}}
    assert refused("leave_one_out", pair, other).startswith('designs[2].factors.q: an earlier design has a factor "q"')


# ------------------------------------------------------------------------------------------------------ rows drawn


def test_rungs_are_nested_row_by_row_and_arms_share_their_draws(tmp_path: Path, tiny: Path) -> None:
    designs = """\
designs:
  - size_ladder: {fractions: [0.25, 0.5]}
  - size_ladder: {source: sums, rows: [4, 12]}
  - leave_one_out
"""
    text = TINY_STUDY.replace("{mix: {scraped: 16}}", "{mix: {scraped: 16, sums: 8}}") + designs
    plan = planted.plan(planted.folder_with(tmp_path, tiny, text))
    rows = {
        (variant.name, seed): Counter(output.table("rows").select("source", "row_id").iter_rows())
        for variant in plan.variants
        for seed, output in variant.outputs.items()
    }
    for seed in (1, 2):
        quarter, half, whole = (rows[name, seed] for name in ("ladder-25pct", "ladder-50pct", "baseline"))
        assert quarter < half < whole
        assert (quarter.total(), half.total(), whole.total()) == (6, 12, 24)
        assert rows["sums-4", seed] < whole < rows["sums-12", seed]
        kept = Counter({row: times for row, times in whole.items() if row[0] == "sums"})
        assert kept < rows["without-scraped", seed]
        assert rows["without-scraped", seed].total() == rows["without-sums", seed].total() == 24
    assert rows["ladder-25pct", 1] != rows["ladder-25pct", 2]
