"""What a budget buys, against trying everything and against the textbook; and the interval of a sum of gains."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from harness.statistics.allocation import Offer, allocate, together
from harness.statistics.curves import estimate, fit, with_rungs
from harness.statistics.scores import Floats

SIZES = np.array([50.0, 100.0, 200.0, 400.0])


def listed(gains: list[float], price: float) -> Offer:
    """An offer whose gains are given row by row."""
    table = np.array([0.0, *gains])
    return Offer(lambda rows: table[np.asarray(rows).astype(int)], price, len(gains))


def logarithm(slope: float, top: float, price: float, most: int) -> Offer:
    return Offer(lambda rows: slope * np.log1p(np.asarray(rows) / top), price, most)


def cost(offers: list[Offer], counts: list[int]) -> float:
    return sum(one.price * rows for one, rows in zip(offers, counts, strict=True))


def gained(offers: list[Offer], counts: list[int]) -> float:
    return sum(float(one.gain(np.array([float(rows)]))[0]) for one, rows in zip(offers, counts, strict=True))


OFFERS = st.lists(
    st.builds(
        listed, st.lists(st.floats(-1, 1, allow_subnormal=False), max_size=6), st.sampled_from([0, 0.08, 0.5, 1, 2, 3])
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@given(OFFERS, st.sampled_from([0.04, 0.5, 1, 3, 7, 7.5, 12, 100]))
def test_nothing_else_that_can_be_paid_for_gains_more(offers: list[Offer], budget: float) -> None:
    """Gains of any shape: rows that only pay together, rows that harm, rows that are free."""
    counts = allocate(offers, budget)
    assert all(0 <= rows <= one.most for one, rows in zip(offers, counts, strict=True))
    assert cost(offers, counts) <= budget + 1e-9
    every = itertools.product(*(range(one.most + 1) for one in offers))
    best = max(gained(offers, list(each)) for each in every if cost(offers, list(each)) <= budget + 1e-9)
    assert gained(offers, counts) == pytest.approx(best, abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 0.1), st.integers(20, 900), st.floats(0.013, 0.9)), min_size=2, max_size=6))
def test_of_logarithms_it_buys_what_the_textbook_does(curves: list[tuple[float, int, float]]) -> None:
    """Where the last unit of money gains equally much everywhere (solved here by bisection on that gain)."""
    offers = [logarithm(slope, top, price, top) for slope, top, price in curves]
    budget = 0.4 * sum(one.price * one.most for one in offers)

    def rows(least: float) -> Floats:
        return np.array([min(max(slope / (price * least) - top, 0), top) for slope, top, price in curves])

    def rest(log_least: float) -> float:
        return float(rows(np.exp(log_least)) @ [price for _, _, price in curves]) - budget

    known = float(np.exp(optimize.brentq(rest, -60, 5))) if rest(-60) > 0 else np.exp(-60)
    best = sum(slope * np.log1p(n / top) for (slope, top, _), n in zip(curves, rows(known), strict=True))
    counts = allocate(offers, budget)
    assert cost(offers, counts) <= budget * (1 + 1e-9)
    assert gained(offers, counts) >= best * 0.98 - 1e-4  # whole rows, and parts of the budget


def test_prices_and_budgets_of_any_size_give_the_same_answer() -> None:
    offers = [logarithm(0.1, 100, 0.1, 100), logarithm(0.05, 300, 0.02, 300)]
    dear = [logarithm(0.1, 100, 1e7, 100), logarithm(0.05, 300, 2e6, 300)]
    assert allocate(offers, 9) == allocate(dear, 9e8)
    assert allocate(offers, 1e12) == [100, 300]
    assert allocate(offers, 1e-9) == [0, 0]
    assert allocate([], 5) == []


def test_a_hundredth_is_no_rounding_error() -> None:
    """Ten rows at 0.1 cost 1, though ten times 0.1 is a little more for a computer."""
    one = listed([0.01 * rows for rows in range(1, 31)], 0.1)
    assert [allocate([one], budget) for budget in (0.3, 0.7, 1.0)] == [[3], [7], [10]]


# --- gains together


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(1e-6, 1), st.integers(1, 50)), min_size=1, max_size=6))
def test_gains_of_independent_ladders_add_and_so_do_their_variances(parts: list[tuple[float, float, int]]) -> None:
    found = together([(estimate(value, variance, df, 0.1), df) for value, variance, df in parts], 0.0, 0.1)
    whole = sum(variance for _, variance, _ in parts)
    df = whole / sum(variance / df for _, variance, df in parts)
    assert found.value == pytest.approx(sum(value for value, _, _ in parts), abs=1e-9)
    low, high = stats.t.interval(0.9, df, found.value, whole**0.5)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_what_errs_together_is_less_sure_and_never_surer() -> None:
    parts = [(estimate(0.1, 0.01, 8, 0.1), 8.0), (estimate(0.2, 0.04, 8, 0.1), 8.0)]
    alone, shared, against = (together(parts, covariance, 0.1) for covariance in (0.0, 0.01, -0.02))
    assert shared.high - shared.low == pytest.approx((alone.high - alone.low) * (0.07 / 0.05) ** 0.5)
    assert against == alone
    nothing = together([], 0.0, 0.1)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


# --- what is asked of a curve


@given(st.integers(0, 10_000), st.integers(1, 400))
def test_a_curve_answers_for_many_numbers_of_rows_as_for_one(draw: int, rows: int) -> None:
    means = np.random.default_rng(draw).normal(0.4, 0.1, 4)
    curve = fit(SIZES, means, 2 * 0.02**2 * (1 - np.eye(4)), df=9)
    expected = curve.gain(400, 400 + rows).value
    assert curve.gains(np.array([0.0, float(rows)])) == pytest.approx([0.0, expected], abs=1e-12)
    assert curve.reliance(rows) @ means == pytest.approx(expected, abs=1e-12)
    assert curve.reliance(rows).sum() == pytest.approx(0, abs=1e-12)  # what moves all rungs alike moves no gain


def test_no_gain_is_promised_beyond_twice_the_largest_rung() -> None:
    curve = fit(SIZES, 0.1 * np.log(SIZES), 2 * 0.02**2 * (1 - np.eye(4)), df=9)
    for ask in (lambda: curve.gains(np.array([0.0, 401.0])), lambda: curve.reliance(401)):
        with pytest.raises(ValueError, match="ends at 800"):
            ask()


def test_further_rungs_narrow_the_interval_about_as_foretold() -> None:
    """Of 300 ladders with noise, the mean half width with the rungs really added is within a fifth of the foretold."""
    rng = np.random.default_rng(3)
    more = np.array([570.0, 800.0])
    every = np.concatenate([SIZES, more])
    truth = 0.02 * np.log(every)
    now, foretold, real = [], [], []
    for _ in range(300):
        means = truth + rng.normal(0, 0.01, 6)
        spread = 2 * 0.01**2 * (1 - np.eye(6))
        curve = fit(SIZES, means[:4], spread[:4, :4], df=12)
        then, added = with_rungs(curve, spread[:4, :4], [800, 570]), fit(every, means, spread, df=12)
        for kept, one in ((now, curve), (foretold, then), (real, added)):
            gain = one.gain(400, 800)
            kept.append((gain.high - gain.low) / 2)
    assert np.mean(foretold) < 0.8 * np.mean(now)
    assert np.mean(foretold) == pytest.approx(np.mean(real), rel=0.2)
