"""What to buy with a budget: by planted curves, within prices and supplies, and what is said where nothing is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.decisions import Evidence, buy, check, decide, questions
from harness.decisions.rungs import first_rungs, more_rungs
from harness.errors import RequestError
from harness.loading import load_study
from harness.records import Allocation, Share, Unclear
from harness.spec import Study
from harness.statistics.curves import FARTHEST, LEAST_RUNGS
from harness.statistics.scores import Scores
from tests.test_decisions import POOL, QUICKSTART, scores

PRICED = {**POOL, "rows": 5000, "cost_per_row": 0.1}
SIZES = {"forum": (50, 100, 200), "wiki": (40, 80, 160)}
LADDERS = [{"size_ladder": {"source": name, "rows": list(rows)}} for name, rows in SIZES.items()]
# What doubling the largest rung gains: 0.25 log 2 for one, nothing for the other.
STEEP = {"forum": 0.25, "wiki": 0.0}


def expanded(**changes: Any) -> Study:
    """A study whose baseline holds the largest rung of both ladders, with its designs expanded."""
    usual: dict[str, Any] = {
        "sources": {"forum": PRICED, "wiki": PRICED}, "baseline": {"mix": {"forum": 200, "wiki": 160}}, "arms": {},
        "designs": LADDERS, "controls": ["aa"],
    }  # fmt: skip
    made = Study.model_validate(QUICKSTART | usual | changes)
    arms = {name: arm for at, design in enumerate(made.designs) for name, arm in design.arms(made, at)}
    return made.model_copy(update={"arms": made.arms | arms})


def known(made: Study, steep: dict[str, float] = STEEP, **changes: Any) -> Evidence:
    """Evidence of curves ``steep log(rows)``, planted in every variant of a study."""
    variants = {"baseline": made.baseline, **made.arms, "aa": made.baseline}
    rows = {
        name: {source: float(count or 0) for source, count in (one if one.mix else made.baseline).counts().items()}
        for name, one in variants.items()
    }
    effects = {
        name: 0.2 + sum(steep.get(source, 0.0) * np.log(count / 200) for source, count in held.items())
        for name, held in rows.items()
    }
    usual: dict[str, Any] = {
        "selection": scores(effects), "confirmation": scores(effects, draw=1), "rows": rows,
        "tokens": {name: 20.0 * sum(held.values()) for name, held in rows.items()},
        "supply": {"forum": 5000.0, "wiki": 5000.0}, "runs": 18, "majority": 0.05, "base_mean": 0.0,
    }  # fmt: skip
    return Evidence(**(usual | changes))


def bought(made: Study, evidence: Evidence, budget: float, *asked: Any, **options: Any) -> Allocation:
    return buy(made, evidence, decide(made, evidence), budget, *asked, **options)


def shares(found: Allocation) -> dict[str, Share]:
    return {one.source: one for one in found.shares}


def unclear(found: Allocation) -> dict[str, Unclear]:
    return {one.source: one for one in found.unclear}


# --- the allocation


def test_the_source_that_gains_gets_the_money_and_the_gain_is_the_planted_one() -> None:
    made = expanded()
    found = bought(made, known(made), 20.0)
    forum, wiki = shares(found)["forum"], shares(found)["wiki"]
    assert (forum.rows, forum.most, forum.price, forum.spent) == (200, 200, 0.1, pytest.approx(20))
    assert forum.gain == pytest.approx(0.25 * math.log(2), rel=0.25)
    assert forum.ci[0] < 0.25 * math.log(2) < forum.ci[1]
    assert forum.ci[0] > 0
    assert not forum.may_be_nothing
    assert (wiki.rows, wiki.spent, wiki.gain) == (0, 0, 0)
    assert (found.spent, found.left, found.unit, found.level) == (pytest.approx(20), pytest.approx(0), "money", 0.95)
    assert (found.gain, found.ci) == (pytest.approx(forum.gain), pytest.approx(forum.ci))
    assert forum.note == "twice its largest rung; the curve ends there"
    assert "taken to add" in found.notes[0]


def test_no_more_is_bought_than_curves_and_pools_hold_and_the_rest_is_left() -> None:
    made = expanded()
    found = bought(made, known(made, {"forum": 0.1, "wiki": 0.08}, supply={"forum": 230.0, "wiki": 160.0}), 500.0)
    forum, wiki = shares(found)["forum"], shares(found)["wiki"]
    assert (forum.rows, forum.most, forum.supply_left, forum.note) == (30, 30, 30, "all that can be had")
    assert (wiki.rows, wiki.most, wiki.supply_left) == (0, 0, 0)
    assert wiki.note == "its pool is used up; if more rows can be had, say how many: --supply wiki=1000"
    assert (found.spent, found.left) == (pytest.approx(3), pytest.approx(497))


def test_rows_that_can_be_had_elsewhere_count_when_they_are_named() -> None:
    made = expanded()
    evidence = known(made, {"forum": 0.1, "wiki": 0.08}, supply={"forum": 230.0, "wiki": 160.0})
    found = shares(bought(made, evidence, 500.0, supply={"wiki": 70, "forum": 0}))
    assert (found["wiki"].rows, found["wiki"].supply_left) == (70, 70)
    assert (found["forum"].rows, found["forum"].note) == (0, "none can be had")
    assert shares(bought(made, evidence, 500.0, supply={"wiki": 9999}))["wiki"].rows == 160  # twice the largest rung


@pytest.mark.parametrize(("unit", "price"), [("money", 0.1), ("rows", 1.0), ("tokens", 20.0)])
def test_a_budget_is_counted_in_its_unit(unit: Any, price: float) -> None:
    made = expanded()
    found = bought(made, known(made), 50 * price, unit)
    assert shares(found)["forum"].rows == 50
    assert (found.spent, shares(found)["forum"].price) == (pytest.approx(50 * price), pytest.approx(price))


def test_cheap_rows_are_bought_before_dear_ones() -> None:
    sources = {"forum": {**PRICED, "cost_per_row": 1.0}, "wiki": {**PRICED, "cost_per_row": 0.01}}
    made = expanded(sources=sources)
    found = shares(bought(made, known(made, {"forum": 0.1, "wiki": 0.05}), 1.6))
    assert (found["wiki"].rows, found["forum"].rows) == (160, 0)
    free = expanded(sources={"forum": {**PRICED, "cost_per_row": 0.0}, "wiki": PRICED})
    found = shares(bought(free, known(free, {"forum": 0.1, "wiki": 0.1}), 4.0))
    assert (found["forum"].rows, found["forum"].spent, found["wiki"].rows) == (200, 0, 40)


def test_what_harms_is_not_bought_and_what_may_be_nothing_is_marked() -> None:
    made = expanded()
    harmful = bought(made, known(made, {"forum": -0.1, "wiki": -0.05}), 30.0)
    assert [(one.rows, one.note) for one in harmful.shares] == [(0, "no gain is expected")] * 2
    assert (harmful.gain, harmful.ci, harmful.left) == (0, (0, 0), 30)
    noisy = bought(made, _noisy(made), 30.0)
    marked = [one for one in noisy.shares if one.rows]
    assert marked
    assert all(one.may_be_nothing == (one.ci[0] <= 0) for one in marked)
    assert any(one.may_be_nothing for one in marked)


def _noisy(made: Study) -> Evidence:
    plain = known(made, {"forum": 0.01, "wiki": 0.01})
    assert plain.selection is not None
    values = plain.selection.values + np.random.default_rng(4).normal(0, 0.03, (*plain.selection.values.shape[:2], 1))
    table = Scores(values, plain.selection.arms, plain.selection.seeds, plain.selection.items)
    return Evidence(**{**vars(plain), "selection": table})


def test_ladders_that_share_the_baseline_err_together() -> None:
    """Both gains rest on the baseline's mean, so their sum is less sure than two ladders of their own would be."""
    made = expanded()
    found = bought(made, known(made, {"forum": 0.1, "wiki": 0.1}), 36.0)
    one, other = shares(found)["forum"], shares(found)["wiki"]
    halves = [(each.ci[1] - each.ci[0]) / 2 for each in (one, other)]
    assert found.gain == pytest.approx(one.gain + other.gain)
    assert found.ci[0] is not None
    assert found.ci[1] is not None
    half = (found.ci[1] - found.ci[0]) / 2
    assert math.hypot(*halves) < half <= sum(halves)


def test_nothing_is_bought_when_a_control_failed() -> None:
    made = expanded()
    evidence = known(made)
    assert evidence.selection is not None
    values = evidence.selection.values.copy()
    values[evidence.selection.arm("aa")] += 0.2
    table = Scores(values, evidence.selection.arms, evidence.selection.seeds, evidence.selection.items)
    found = bought(made, Evidence(**{**vars(evidence), "selection": table}), 20.0)
    assert "A/A" in found.withheld
    assert (found.gain, found.spent, {one.rows for one in found.shares}) == (None, 0, {0})


# --- what is refused


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((math.nan, "money"), "budget: nan is not a number above 0"),
        ((math.inf, "rows"), "budget: inf is not a number above 0"),
        ((-3.0, "rows"), "budget: -3 is not a number above 0"),
        ((1.0, "row"), 'unit: "row" is none of money, rows, tokens. Did you mean "rows"?'),
        ((1.0, "rows", {"foum": 5}), 'supply: no source is named "foum". Did you mean "forum"?'),
        ((1.0, "rows", {"forum": -5}), "supply: forum=-5 is not a number of rows"),
    ],
)
def test_what_cannot_be_bought_is_refused(asked: Any, words: str) -> None:
    with pytest.raises(RequestError) as raised:
        check(expanded(), *asked)
    assert str(raised.value) == words


def test_money_needs_the_price_of_every_source_with_a_ladder() -> None:
    free = {name: value for name, value in PRICED.items() if name != "cost_per_row"}
    made = expanded(sources={"forum": PRICED, "wiki": free, "never": free})
    with pytest.raises(RequestError, match=r"^sources\.wiki\.cost_per_row: missing"):
        check(made, 10.0, "money")
    check(made, 10.0, "rows")


def test_tokens_that_are_not_counted_are_not_bought() -> None:
    made = expanded()
    with pytest.raises(RequestError, match="unit: the tokens of forum are not counted"):
        bought(made, known(made, tokens={}), 10.0, "tokens")


# --- what the results cannot tell


def test_a_source_whose_gain_may_be_nothing_gets_rungs_that_would_tell_more() -> None:
    made = expanded()
    found = unclear(bought(made, known(made), 20.0))
    assert set(found) == {"wiki"}
    wiki = found["wiki"]
    assert wiki.rows == [230, 320]
    assert "more rows may gain nothing: " in wiki.reason
    assert "points" in wiki.reason
    assert wiki.half_width is not None
    assert wiki.half_width_then is not None
    assert wiki.half_width_then < 0.8 * wiki.half_width


def test_a_source_that_was_never_tried_gets_a_first_ladder() -> None:
    made = expanded(sources={"forum": PRICED, "wiki": PRICED, "blog": PRICED, "mail": PRICED},
                    baseline={"mix": {"forum": 200, "wiki": 160, "mail": 100}})  # fmt: skip
    supply = {"forum": 5000.0, "wiki": 5000.0, "blog": 90.0, "mail": 110.0}
    found = unclear(bought(made, known(made, supply=supply), 20.0))
    assert found["blog"].reason == found["mail"].reason == "it was never tried at two sizes"
    assert found["blog"].rows == [22, 45, 90]  # all of its pool
    assert found["mail"].rows == [25, 50]  # with the baseline's 100, three sizes
    assert found["mail"].half_width is None


def test_two_sizes_and_one_seed_tell_nothing() -> None:
    made = expanded(designs=[{"size_ladder": {"source": "forum", "rows": [100, 200]}}, LADDERS[1]])
    found = bought(made, known(made, {"forum": 0.1, "wiki": 0.1}), 20.0)
    assert set(shares(found)) == {"wiki"}
    assert unclear(found)["forum"].reason == "a learning curve needs 3 sizes above 0 rows; there are 2"
    assert unclear(found)["forum"].rows == [280, 400]
    made = expanded()
    plain = known(made)
    assert plain.selection is not None
    single = Scores(plain.selection.values[:, :1], plain.selection.arms, ("0",), plain.selection.items)
    found = bought(made, Evidence(**{**vars(plain), "selection": single}), 20.0)
    assert found.shares == []
    assert {one.reason for one in found.unclear} == {"one seed: the noise of training is unknown; needs at least 2"}
    assert {one.fragment for one in found.unclear} == {""}


def test_missing_runs_are_said() -> None:
    made = expanded()
    plain = known(made)
    assert plain.selection is not None
    kept = [at for at, name in enumerate(plain.selection.arms) if not name.startswith("wiki")]
    some = Scores(
        plain.selection.values[kept], tuple(plain.selection.arms[at] for at in kept), plain.selection.seeds,
        plain.selection.items,
    )  # fmt: skip
    found = bought(made, Evidence(**{**vars(plain), "selection": some}), 20.0)
    assert set(shares(found)) == {"forum"}
    assert unclear(found)["wiki"].reason == "runs of its largest rung, or of all others, lack"


# --- the rungs that would tell


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=6, unique=True), st.none() | st.integers(0, 20_000))
def test_rungs_are_new_and_within_pool_and_curve(sizes: list[int], left: int | None) -> None:
    found = more_rungs(sizes, left)
    top = max(sizes)
    assert found == sorted(set(found))
    assert not set(found) & set(sizes)
    assert all(1 <= size <= min(FARTHEST * top, math.inf if left is None else top + left) for size in found)
    if top > 20:
        assert len({*sizes, *found}) >= max(LEAST_RUNGS, len(sizes) + 1)


@given(st.floats(0, 1e6))
def test_a_first_ladder_ends_with_the_rows_there_are(rows: float) -> None:
    found = first_rungs(rows)
    assert found == sorted(set(found))
    assert found[-1:] == [round(rows)][: round(rows)]


def written(folder: Path, made: dict[str, Any]) -> Study:
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(made, sort_keys=False))
    return load_study(file).study


LADDERS_OF_ALL_KINDS: dict[str, dict[str, Any]] = {
    "with the baseline": {"designs": LADDERS},
    "alone": {"designs": [{"size_ladder": one["size_ladder"] | {"alone": True}} for one in LADDERS]},
    "with another baseline": {
        "arms": {f"w{n}": {"tests": "wiki", "mix": {"forum": 50, "wiki": n}} for n in SIZES["wiki"]},
        "designs": LADDERS[:1],
    },
    "with operations": {
        "arms": {
            f"w{n}": {"tests": "wiki", "mix": {"forum": 50, "wiki": n}, "operations": [{"filter": {"max_words": 40}}]}
            for n in SIZES["wiki"]
        },
        "designs": LADDERS[:1],
    },
    "none, of a source": {"designs": LADDERS[:1]},
    "none at all": {"arms": {"verified": {"operations": ["verify"]}}},
    "names that YAML reads otherwise": {
        "sources": {"forum": PRICED, "wiki": PRICED, "no": PRICED, "1e3": PRICED}, "designs": LADDERS,
        "baseline": {"mix": {"forum": 200, "wiki": 160, "no": 30, "1e3": 20}},
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", LADDERS_OF_ALL_KINDS)
def test_pasted_rungs_lengthen_the_ladder_that_is_there(kind: str, tmp_path: Path) -> None:
    usual = QUICKSTART | {
        "sources": {"forum": PRICED, "wiki": PRICED}, "baseline": {"mix": {"forum": 200, "wiki": 160}}, "arms": {},
        "controls": ["aa"],
    }  # fmt: skip
    whole = usual | LADDERS_OF_ALL_KINDS[kind]
    made = written(tmp_path, whole)
    found = bought(made, known(made, {"forum": 0.0, "wiki": 0.0}), 20.0)
    assert found.unclear
    assert all(one.fragment for one in found.unclear)
    pasted = yaml.safe_load(found.fragment)
    larger = dict(whole)
    for field, more in pasted.items():
        there = whole.get(field) or type(more)()
        larger[field] = [*there, *more] if isinstance(more, list) else {**there, **more}
    again = written(tmp_path, larger)
    rungs = {one.subject: set(one.rungs.values()) for one in questions(again, {})}
    before = {one.subject: set(one.rungs.values()) for one in questions(made, {})}
    for one in found.unclear:
        assert set(one.rows) <= rungs[one.source]
        assert before.get(one.source, set()) <= rungs[one.source]
        assert len(rungs[one.source] - {0.0}) >= LEAST_RUNGS


def test_a_baseline_that_counts_tokens_gets_its_rungs_as_fractions(tmp_path: Path) -> None:
    whole = QUICKSTART | {
        "sources": {"forum": PRICED}, "baseline": {"mix": {"forum": 4000}, "unit": "tokens"}, "arms": {},
        "controls": ["aa"], "designs": [{"size_ladder": {"source": "forum", "fractions": [0.25, 0.5]}}],
    }  # fmt: skip
    made = written(tmp_path, whole)
    rows = {"baseline": {"forum": 200.0}, "forum-25pct": {"forum": 50.0}, "forum-50pct": {"forum": 100.0}}
    flat = dict.fromkeys(rows, 0.0)
    found = bought(made, Evidence(scores(flat), rows=rows, supply={"forum": 5000.0}), 50.0, "rows")
    (one,) = found.unclear
    assert one.rows == [280, 400]
    assert one.fragment == "  - size_ladder: {source: forum, fractions: [1.4, 2.0]}"
    again = written(tmp_path, whole | {"designs": [*whole["designs"], *yaml.safe_load(found.fragment)["designs"]]})
    assert {"forum-140pct", "forum-200pct"} <= set(again.arms)


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["forum", "wiki"]), st.floats(-0.2, 0.2), min_size=2),
    st.floats(0.01, 1e5),
    st.sampled_from(["money", "rows", "tokens"]),
    st.fixed_dictionaries({"forum": st.integers(200, 700), "wiki": st.integers(160, 700)}),
)
def test_whatever_the_curves_are_budget_and_supply_are_kept(
    steep: dict[str, float], budget: float, unit: Any, supply: dict[str, int]
) -> None:
    made = expanded()
    evidence = known(made, steep, supply=supply)
    found = bought(made, evidence, budget, unit)
    assert found.spent <= budget * (1 + 1e-9)
    assert found.spent + found.left == pytest.approx(budget)
    for one in found.shares:
        assert 0 <= one.rows <= min(supply[one.source] - one.rows_now, one.rows_now)
        assert one.ci[0] <= one.gain <= one.ci[1]
        assert one.gain >= 0  # nothing is bought that is expected to harm
    assert Allocation.model_validate(found.model_dump(mode="json")) == found
