"""Learning curves against known ones: their slopes, what they predict, and how often the interval holds it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from harness.statistics.curves import EXPONENTS, fit

SIZES = np.array([20.0, 40.0, 80.0, 160.0])
TRUTHS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "levels off fast": lambda n: 0.6 - 200 * n**-2.0,
    "levels off": lambda n: 0.6 - 8 / n,
    "levels off slowly": lambda n: 0.7 - 2.0 * n**-0.5,
    "logarithm": lambda n: 0.1 * np.log(n),
    "flat": lambda n: 0 * n + 0.5,
}


def spread(sd: float, rungs: int = len(SIZES)) -> np.ndarray:
    """Variances of differences of rungs with independent noise of this SD."""
    return 2 * sd**2 * (1 - np.eye(rungs))


@pytest.mark.parametrize("c", [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
def test_a_curve_without_noise_is_found_exactly(c: float) -> None:
    means = 0.3 + 0.05 * (np.log(SIZES / 160) if c == 0 else (1 - (SIZES / 160) ** -c) / c)
    curve = fit(SIZES, means, spread(1e-6), df=12)
    assert curve.exponent == pytest.approx(c)
    assert curve.slope().value == pytest.approx(0.05 / 160, rel=1e-3)
    shape = np.log(2) if c == 0 else (1 - 2.0**-c) / c
    assert curve.gain(160, 320).value == pytest.approx(0.05 * shape, rel=1e-3)
    for size, mean in zip(SIZES, means, strict=True):
        assert curve.at(size).value == pytest.approx(mean, abs=1e-5)


def test_with_the_exponent_known_it_is_generalized_least_squares() -> None:
    """At every exponent slope and variance are those of a weighted fit, with a covariance of shared noise."""
    rng = np.random.default_rng(1)
    root = rng.normal(0, 0.02, (4, 4))
    covariance = root @ root.T + 0.02**2 * np.eye(4)
    means = TRUTHS["levels off"](SIZES) + rng.normal(0, 0.02, 4)
    variances = np.diag(covariance)
    curve = fit(SIZES, means, variances[:, None] + variances[None, :] - 2 * covariance, df=10)
    for index in (0, 20, 40, 80):
        c = EXPONENTS[index]
        shape = np.log(SIZES / 160) if abs(c) < 1e-9 else (1 - (SIZES / 160) ** -c) / c
        design = np.column_stack([np.ones(4), shape])
        inverse = np.linalg.inv(covariance)
        expected = np.linalg.inv(design.T @ inverse @ design)
        assert curve.slopes[index] == pytest.approx((expected @ design.T @ inverse @ means)[1], rel=1e-6)
        assert curve.variances[index] == pytest.approx(expected[1, 1], rel=1e-6)


def test_the_most_likely_exponent_is_that_of_a_nonlinear_fit() -> None:
    means = TRUTHS["levels off slowly"](SIZES) + np.array([0.01, -0.01, 0.008, -0.004])

    def power_law(n: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return a - b * n**-c

    (_, _, c), _ = optimize.curve_fit(power_law, SIZES, means, p0=[0.7, 2.0, 0.5])
    assert fit(SIZES, means, spread(0.02), df=1000).exponent == pytest.approx(c, abs=0.03)


@pytest.mark.parametrize("truth", TRUTHS)
def test_intervals_hold_the_truth(truth: str) -> None:
    """2,000 ladders with 12 degrees of freedom: slope at the end, and the gain of doubling."""
    rng = np.random.default_rng(7)
    known = TRUTHS[truth]
    step = 160 * 1e-4
    slope = float((known(np.array(160 + step)) - known(np.array(160.0))) / step)
    gain = float(known(np.array(320.0)) - known(np.array(160.0)))
    held = np.zeros(2)
    ladders = 2000
    for _ in range(ladders):
        means = known(SIZES) + rng.normal(0, 0.02, 4) + rng.normal(0, 0.05)  # items as hard for one rung as another
        curve = fit(SIZES, means, spread(0.02 * (rng.chisquare(12) / 12) ** 0.5), df=12)
        found = (curve.slope(), curve.gain(160, 320))
        held += [one.low <= true <= one.high for one, true in zip(found, (slope, gain), strict=True)]
    assert (held / ladders >= 0.92).all(), held / ladders


@given(st.floats(-1, 1), st.floats(0.1, 10), st.integers(0, 10_000))
def test_level_and_scale_of_the_scores_do_not_matter(level: float, scale: float, draw: int) -> None:
    rng = np.random.default_rng(draw)
    means = rng.normal(0.4, 0.1, 4)
    here = fit(SIZES, means, spread(0.03), df=8).gain(160, 320)
    there = fit(SIZES, level + scale * means, spread(0.03 * scale), df=8).gain(160, 320)
    assert there.value == pytest.approx(scale * here.value, rel=1e-6, abs=1e-9)
    assert there.high - there.low == pytest.approx(scale * (here.high - here.low), rel=1e-6)


def test_a_curve_ends_at_twice_the_data_and_begins_at_the_smallest_rung() -> None:
    curve = fit(SIZES, TRUTHS["levels off"](SIZES), spread(0.02), df=12)
    assert curve.at(320).low < curve.at(320).high
    for beyond in (19.0, 321.0):
        with pytest.raises(ValueError, match="fitted on 20 to 160 rows and ends at 320"):
            curve.at(beyond)


def test_less_data_is_less_sure() -> None:
    means = TRUTHS["logarithm"](SIZES)
    widths = [
        (one.high - one.low)
        for one in (
            fit(SIZES, means, spread(0.02), df=12).gain(160, 320),
            fit(SIZES[1:], means[1:], spread(0.02, 3), df=12).gain(160, 320),
            fit(SIZES[1:], means[1:], spread(0.02, 3), df=2).gain(160, 320),
        )
    ]
    assert widths == sorted(widths)


@pytest.mark.parametrize(
    ("sizes", "means", "noise", "words"),
    [
        ([40, 160], [0.1, 0.2], spread(0.1, 2), "needs 3 rungs of different size; there are 2"),
        ([0, 40, 160], [0.1, 0.2, 0.3], spread(0.1, 3), "must rise, and begin above 0"),
        ([40, 40, 160], [0.1, 0.2, 0.3], spread(0.1, 3), "must rise"),
        ([40, 80, 160], [0.1, 0.2], spread(0.1, 3), "3 sizes, but means of shape"),
        ([40, 80, 160], [0.1, 0.2, 0.3], np.zeros((3, 3)), "no noise"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    sizes: list[float], means: list[float], noise: np.ndarray, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        fit(np.array(sizes), np.array(means), noise, df=5)


def test_variances_that_do_not_agree_with_each_other_give_an_interval_all_the_same() -> None:
    """Each pair is estimated on its own: the covariance they imply need not be one."""
    odd = np.array([[0, 1, 0.1], [1, 0, 0.1], [0.1, 0.1, 0]]) * 1e-3
    found = fit(np.array([40.0, 80.0, 160.0]), np.array([0.3, 0.35, 0.4]), odd, df=6).gain(160, 320)
    assert np.isfinite([found.low, found.high]).all()
    assert found.low < found.value < found.high
