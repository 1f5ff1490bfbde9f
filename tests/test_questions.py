"""The questions that designs ask: which arms stand against which, and that planted effects come out of them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.decisions import Question, decide, questions
from harness.decisions.evidence import Evidence, contrast_of
from harness.decisions.mixtures import predicted_mixtures
from harness.designs import expand
from harness.spec import Study
from harness.statistics.scores import Scores
from tests.test_designs import FACTORS, study

Ends = dict[str, tuple[tuple[str, ...], tuple[str, ...]]]


def asked(*designs: object, **changes: Any) -> dict[str, Question]:
    whole = expand(study(*designs, **changes))
    found = questions(whole, {})
    assert len({one.subject for one in found}) == len(found)
    for one in found:
        assert {*one.plus, *one.minus, *one.others} <= {"baseline", *whole.arms}
        assert len(one.plus) == len(one.minus)
        assert (one.kind == "source") == (one.subject in whole.sources)
    return {one.subject: one for one in found}


def ends(found: dict[str, Question]) -> Ends:
    return {subject: (one.plus, one.minus) for subject, one in found.items()}


def planted(means: dict[str, float], seed: int = 0, seeds: int = 3, items: int = 60) -> Scores:
    """Scores whose arm means are exactly these: noise is centred."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.01, (len(means), seeds, items))
    noise -= noise.mean(axis=(1, 2), keepdims=True)
    values = np.array(list(means.values()))[:, None, None] + noise
    return Scores(values, tuple(means), tuple(map(str, range(seeds))), tuple(map(str, range(items))))


# -------------------------------------------------------------------------------------------------------- sources


def test_leaving_out_asks_for_the_source_and_adding_in_too() -> None:
    found = asked("leave_one_out", {"add_one_in": {"rows": 40}}, {"add_one_in": {"rows": 40, "replace": True}})
    assert ends(found) == {
        **{name: (("baseline",), (f"without-{name}",)) for name in "abc"},
        **{name: ((f"plus-{name}-40",), ("baseline",)) for name in "defgh"},
    }
    assert found["d"].others == ("swap-d-40",)


@pytest.mark.parametrize("match", ["steps", "rows", "additive"])
def test_leaving_out_and_scoring_better_speaks_against_the_source(match: str) -> None:
    whole = expand(study("leave_one_out", match=match, controls=[]))
    means = {"baseline": 0.5, "without-a": 0.7, "without-b": 0.3, "without-c": 0.5}
    found = decide(whole, Evidence(selection=planted(means), confirmation=planted(means, seed=1)))
    assert {one.subject: one.verdict for one in found.decisions} == {"a": "CUT", "b": "GROW", "c": "HOLD"}
    assert [one.effect for one in found.decisions] == pytest.approx([-0.2, 0.2, 0.0])


def test_a_ladder_is_asked_by_its_ends_and_keeps_all_rungs() -> None:
    found = asked({"size_ladder": {"source": "a", "rows": [400, 20, 50]}})["a"]
    assert (found.plus, found.minus) == (("a-400",), ("a-20",))
    assert list(found.rungs.items()) == [("a-20", 20.0), ("a-50", 50.0), ("baseline", 100.0), ("a-400", 400.0)]
    assert found.others == ("a-50",)


def test_only_arms_that_differ_in_nothing_else_are_rungs() -> None:
    both = asked({"size_ladder": {"source": "a", "rows": [20, 50]}}, "leave_one_out")["a"]
    assert list(both.rungs) == ["a-20", "a-50", "baseline"], "without-a was refilled with other rows"
    assert both.others == ("a-50", "without-a")
    shrunk = asked({"size_ladder": {"source": "a", "rows": [20, 50]}}, "leave_one_out", match="additive")["a"]
    assert list(shrunk.rungs) == ["without-a", "a-20", "a-50", "baseline"]
    alone = asked({"size_ladder": {"source": "a", "rows": [20, 50], "alone": True}})["a"]
    assert list(alone.rungs) == ["only-a-20", "only-a-50"]
    filtered = {"mine": {"tests": "a", "mix": {"a": 20, "b": 50, "c": 10}, "operations": ["verify"]}}
    assert "mine" not in asked({"size_ladder": {"source": "a", "rows": [50]}}, arms=filtered)["a"].rungs


def test_the_longest_ladder_decides() -> None:
    alone = {"size_ladder": {"source": "a", "rows": [20], "alone": True}}
    beside = {"size_ladder": {"source": "a", "rows": [20, 50]}}
    assert list(asked(alone, beside)["a"].rungs) == ["a-20", "a-50", "baseline"]


def test_a_baseline_that_holds_a_row_is_a_rung_and_one_that_holds_none_is_not() -> None:
    for held in ({"a": 1}, {}):
        found = asked({"size_ladder": {"source": "a", "rows": [20, 50]}}, baseline={"mix": {**held, "c": 10}})["a"]
        assert list(found.rungs) == [*(["baseline"] if held else []), "a-20", "a-50"]


def test_rows_as_built_make_the_rungs() -> None:
    whole = expand(study({"size_ladder": {"fractions": [0.5, 0.25]}}, baseline={"mix": {"a": "all", "b": "all"}}))
    built = {"baseline": {"a": 90.0, "b": 7.0}, "ladder-50pct": {"a": 45.0, "b": 3.7}, "ladder-25pct": {"a": 24.0}}
    (one,) = questions(whole, built)
    assert (one.subject, one.kind) == ("size", "treatment")
    assert one.rungs == {"ladder-25pct": 24.0, "ladder-50pct": 49.0, "baseline": 97.0}
    assert (one.plus, one.minus) == (("baseline",), ("ladder-25pct",))
    (unknown,) = questions(whole, {})
    assert (unknown.plus, unknown.minus) == (("ladder-25pct",), ("baseline",)), "sizes are not known yet"


@given(st.integers(1, 200), st.integers(0, 200), st.sampled_from([-1, 1]), st.integers(-1, 1), st.booleans())
def test_a_source_is_asked_about_where_another_takes_its_place_row_for_row(
    rows: int, held: int, sign: int, off: int, left: bool
) -> None:
    """``a`` makes way for ``d``, of which the baseline may hold some; ``left``: some of ``a`` stays."""
    new = max(1, rows + sign * held + off)
    before = {"a": rows + left, "c": 10, **({"d": held} if held else {})}
    after = {"c": 10, "d": new, **({"a": 1} if left else {})}
    found = asked(baseline={"mix": before}, arms={"x": {"tests": "t", "mix": after}})
    if new - held == rows and not left:
        assert (found["a"].plus, found["a"].minus, found["a"].instead) == (("baseline",), ("x",), "d")
    else:
        assert "a" not in found


def test_nothing_takes_the_place_of_a_pool_of_unknown_size() -> None:
    whole = {"a": "all", "c": 10}
    for after in ({"c": 10, "d": "all"}, {"c": 10, "d": 100}):
        assert "a" not in asked(baseline={"mix": whole}, arms={"x": {"tests": "t", "mix": after}})
    known = {name: {"path": f"{name}.jsonl", "rows": 30} for name in "acd"}
    found = asked(sources=known, baseline={"mix": whole}, arms={"x": {"tests": "t", "mix": {"c": 10, "d": "all"}}})
    assert found["a"].instead == "d"


def test_nothing_takes_the_place_where_operations_change_too_or_two_sources_do() -> None:
    for arm in (
        {"mix": {"c": 10, "d": 20}, "operations": ["verify"]},
        {"mix": {"c": 10, "d": 10, "e": 10}},
        {"mix": {"c": 5, "d": 20}},
        {"mix": {"d": 20}},
        {"mix": {"c": 10, "d": 20, "e": 1}},
    ):
        for few in (10, 1):
            changed = {
                "tests": "t",
                **arm,
                "mix": {s: few if s == "c" and n == 10 else n for s, n in arm["mix"].items()},
            }
            assert "a" not in asked(baseline={"mix": {"a": 20, "c": few}}, arms={"x": changed})


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=5, unique=True))
def test_size_is_the_largest_against_the_smallest(rows: list[int]) -> None:
    if rows == [160]:
        return
    one = asked({"size_ladder": {"rows": rows}})["size"]
    assert list(one.rungs.values()) == sorted({*rows, 160})
    assert (*one.minus, *one.plus) == (next(iter(one.rungs)), list(one.rungs)[-1])


# ------------------------------------------------------------------------------------------- factors and mixtures


def factorial(names: str, fraction: str) -> Study:
    design = {"filter_factorial": {"factors": {name: FACTORS[name] for name in names}, "fraction": fraction}}
    return expand(study(design, arms={"mine": {"mix": {"h": 9}}}))


@pytest.mark.parametrize("fraction", ["full", "half"])
@pytest.mark.parametrize("names", ["pqr", "pqrs", "pqrst"])
@given(data=st.data())
def test_main_effects_come_out_as_planted(names: str, fraction: str, data: st.DataObject) -> None:
    """Effects of single factors, and of pairs, are planted; a half of three factors mixes one with a pair."""
    effect = st.floats(-0.3, 0.3)
    single = {name: data.draw(effect) for name in names}
    paired = {pair: data.draw(effect) for pair in itertools.combinations(names, 2)}
    whole = factorial(names, fraction)
    level: dict[str, float] = {"mine": 0.9}
    for name in ("baseline", *whole.arms):
        if name != "mine":
            on = {factor: 1 if factor in name.removeprefix("filters-").split(".") else -1 for factor in names}
            pairs = sum(each * on[one] * on[other] / 2 for (one, other), each in paired.items())
            level[name] = sum(each * on[factor] / 2 for factor, each in single.items()) + pairs
    scores = planted(level)
    mine, *found = sorted(questions(whole, {}), key=lambda one: one.subject != "h")
    assert (mine.plus, mine.minus) == (("mine",), ("baseline",))
    assert [one.subject for one in found] == list(names)
    for one in found:
        others = tuple(name for name in names if name != one.subject)
        mixed_up = -paired[others] if (names, fraction) == ("pqr", "half") else 0.0  # type: ignore[index]
        measured = contrast_of(scores, one.plus, one.minus, 0.05)
        assert measured is not None
        assert measured.effect == pytest.approx(single[one.subject] + mixed_up, abs=1e-9)
        assert {*one.plus, *one.minus} == {"baseline", *(name for name in whole.arms if name != "mine")}
        assert bool(one.note) == (fraction == "half")


def test_written_arms_may_share_the_subject_of_a_factor() -> None:
    design = {"filter_factorial": {"factors": {"verify": "verify", "short": {"filter": {"max_words": 9}}}}}
    found = asked(design, arms={"mine": {"tests": "verify", "mix": {"a": 160}, "operations": ["verify"]}})
    assert list(found) == ["verify", "short"]
    assert found["verify"].others == ("mine",)
    assert found["verify"].plus == ("filters-verify", "filters-verify.short")
    assert found["verify"].minus == ("baseline", "filters-short")


def test_every_mixture_is_a_treatment_of_its_own() -> None:
    found = asked({"mixture_dirichlet": {"draws": 2, "rows": 160}})
    assert ends(found) == {name: ((name,), ("baseline",)) for name in ("mix-prior", "mix-01", "mix-02")}


# ------------------------------------------------------------------------------------------------ the best mixture

DRAWN = {"mixture_dirichlet": {"draws": 24, "rows": 400, "prior": {"a": 1, "b": 1, "c": 1}}}


def mixed(
    effects: dict[str, float], baseline: dict[str, int], noise: float = 0.0, design: dict[str, Any] = DRAWN
) -> tuple[Study, Scores]:
    """A study of mixtures, and scores that follow from what they hold of each source."""
    whole = expand(study(design, baseline={"mix": baseline}))
    variants = {"baseline": whole.baseline, **whole.arms}
    shares = {n: {s: (c or 0) / sum(v.counts().values()) for s, c in v.counts().items()} for n, v in variants.items()}  # type: ignore[arg-type]
    draw = np.random.default_rng(0)
    level = {n: sum(effects.get(s, 0) * x for s, x in mix.items()) + draw.normal(0, noise) for n, mix in shares.items()}
    return whole, planted(level)


def test_the_best_mixture_is_predicted_from_planted_effects() -> None:
    whole, scores = mixed({"a": 0.6, "b": 0.3, "c": 0.1}, {"h": 9})
    (one,) = predicted_mixtures(whole, {}, scores)
    held = np.array([[arm.counts().get(source, 0) for source in "abc"] for arm in whole.arms.values()]) / 400
    # Nearly as much of the best as was ever tried: the mean of the best predicted mixtures.
    assert held[:, 0].max() - 0.05 < one.weights["a"] <= held[:, 0].max() + 1e-9
    assert one.interval[0] < one.score < one.interval[1]
    assert one.score == pytest.approx(
        0.6 * one.weights["a"] + 0.3 * one.weights["b"] + 0.1 * one.weights["c"], abs=0.01
    )
    assert one.error < 0.05 * one.spread
    assert one.mixtures == 25
    assert one.best_tried_score == max(scores.mean(name) for name in whole.arms)
    assert one.text.startswith("best predicted mixture: ")
    assert "exploratory" in one.text


def test_a_search_proposes_the_planted_mixture_next() -> None:
    """Sixteen mixtures chosen among many: more of the best source is proposed than the prior has."""
    design = {"mixture_search": {"draws": 15, "rows": 400, "prior": {"a": 1, "b": 1, "c": 1}}}
    whole, scores = mixed({"a": 0.6, "b": 0.3, "c": 0.1}, {"h": 9}, noise=0.01, design=design)
    (one,) = predicted_mixtures(whole, {}, scores)
    assert one.mixtures == 16
    assert one.weights["a"] > 0.6
    assert one.text.startswith("best predicted mixture: ")


def test_a_proposal_asks_for_rows_that_operations_will_drop() -> None:
    """Half of what is asked of `a` is dropped: twice as much is asked for, and never more than was asked before."""
    whole, scores = mixed({"a": 0.5, "b": 0.45, "c": 0.1}, {"h": 9})
    kept = {"a": 0.5, "b": 1.0, "c": 1.0, "h": 1.0}
    rows = {
        name: {source: kept[source] * (count or 0) for source, count in arm.counts().items()}
        for name, arm in whole.arms.items()
    }
    (one,) = predicted_mixtures(whole, rows, scores)
    left = {source: kept[source] * count for source, count in one.mix.items()}
    total = sum(left.values())
    assert sum(one.mix.values()) == 400
    for source, share in one.weights.items():
        assert left.get(source, 0) / total == pytest.approx(share, abs=0.02)
    (plain,) = predicted_mixtures(whole, {}, scores)
    assert sum(plain.mix.values()) == 400
    most = {source: max(arm.counts().get(source) or 0 for arm in whole.arms.values()) for source in "abc"}
    for found in (one, plain):
        assert all(count <= most[source] for source, count in found.mix.items())


def test_a_baseline_that_is_the_prior_counts_as_a_mixture() -> None:
    even = {"a": 134, "b": 133, "c": 133}
    whole, scores = mixed({"a": 0.6, "b": 0.3}, even)
    assert "mix-prior" not in whole.arms
    assert predicted_mixtures(whole, {}, scores)[0].mixtures == 25


def test_mixtures_of_noise_predict_nothing_and_few_are_not_asked() -> None:
    whole, scores = mixed({}, {"h": 9}, noise=0.1)
    (one,) = predicted_mixtures(whole, {}, scores)
    assert one.text == "the weights of the 25 mixtures tell next to nothing about their scores"
    some = [scores.arms.index(name) for name in ("baseline", "mix-prior", "mix-01", "mix-02")]
    few = Scores(scores.values[some], tuple(scores.arms[i] for i in some), scores.seeds, scores.items)
    assert predicted_mixtures(whole, {}, few) == []
    assert predicted_mixtures(whole, {}, None) == []


def test_rows_as_built_are_the_weights() -> None:
    whole, scores = mixed({"a": 0.6, "b": 0.3}, {"h": 9})
    built = {name: {"a": 1.0, "b": float(index)} for index, name in enumerate(whole.arms)}
    (one,) = predicted_mixtures(whole, built, scores)
    assert set(one.weights) == {"a", "b"}
