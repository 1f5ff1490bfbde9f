import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from statsmodels.stats.power import NormalIndPower, TTestPower

from harness.statistics import power
from harness.statistics.estimate import estimate


def paired_minimum_effect(sd: float, items: int, sides: int = 2) -> float:
    """The detectable mean of paired differences with this SD, by the normal approximation.

    This and ``paired_items`` are the planning formulas of Miller (2024), "Adding Error Bars to Evals", section 5, at
    a level of .05 and a power of .8: items alone, one run per arm.
    """
    return normal_factor(sides) * sd / math.sqrt(items)


def paired_items(sd: float, effect: float, sides: int = 2) -> int:
    return math.ceil((normal_factor(sides) * sd / effect) ** 2)


def normal_factor(sides: int) -> float:
    return float(special.ndtri(1 - 0.05 / sides) + special.ndtri(0.8))


def test_published_sample_sizes_come_out() -> None:
    """Miller (2024), "Adding Error Bars to Evals": 969 items; and two figures for one-sided paired tests."""
    assert paired_items(math.sqrt(1 / 9), 0.03) == 969
    assert paired_minimum_effect(0.3, 1000, sides=1) == pytest.approx(0.023589, abs=5e-7)
    assert paired_items(0.3, 0.01, sides=1) == 5565
    assert power.design_effect(5, 0.2) == pytest.approx(1.8)
    assert power.design_effect(1, 0.9) == 1


def test_minimum_effect_agrees_with_the_noncentral_t() -> None:
    """Two arms have no noise to pool, and no items that matter: it is the paired t test's, as statsmodels has it."""
    found = power.minimum_effect(0.07, 0.0, seeds=6, items=10_000, arms=2)
    scale = math.sqrt(2 * 0.07**2 / 6)
    assert stats.nct.sf(stats.t.ppf(0.975, 5), 5, found / scale) == pytest.approx(0.8, abs=1e-5)
    theirs = TTestPower().solve_power(nobs=6, alpha=0.05, power=0.8)
    assert found / (math.sqrt(2) * 0.07) == pytest.approx(theirs, rel=1e-3)


def test_planning_formulas_agree_with_the_solvers_of_statsmodels() -> None:
    for sides, kind in ((1, "larger"), (2, "two-sided")):
        size = NormalIndPower().solve_power(0.01 / 0.3, alpha=0.05, power=0.8, ratio=0, alternative=kind)
        assert paired_items(0.3, 0.01, sides=sides) == math.ceil(size)
        least = NormalIndPower().solve_power(nobs1=1000, alpha=0.05, power=0.8, ratio=0, alternative=kind)
        assert paired_minimum_effect(0.3, 1000, sides=sides) == pytest.approx(0.3 * least, rel=1e-4)


def test_clusters_inflate_a_variance_by_the_design_effect() -> None:
    rng = np.random.default_rng(3)
    shared, own = rng.normal(0, math.sqrt(0.3), (4000, 40, 1)), rng.normal(0, math.sqrt(0.7), (4000, 40, 5))
    means = (shared + own).mean(axis=(1, 2))
    assert np.var(means) * 200 == pytest.approx(power.design_effect(5, 0.3), rel=0.06)


def test_with_endless_seeds_it_is_the_normal_formula_for_items() -> None:
    found = power.minimum_effect(0.01, 0.3, seeds=1_000_000, items=100_000, arms=6)
    assert found == pytest.approx(paired_minimum_effect(0.3, 100_000), rel=1e-2)


@pytest.mark.parametrize(
    ("arms", "seeds", "items", "alpha"),
    [(6, 3, 96, 0.05), (6, 2, 100, 0.05), (12, 5, 100, 0.01), (3, 3, 100, 0.05), (2, 5, 100, 0.05), (2, 3, 100, 0.01)],
)
def test_the_promised_power_is_the_power_of_the_contrast(arms: int, seeds: int, items: int, alpha: float) -> None:
    """An effect of the promised size is found four times in five by ``contrast`` itself."""
    rng = np.random.default_rng(2)
    effect = power.minimum_effect(0.07, 0.2, seeds, items, arms, alpha, residual_sd=0.4)
    values = rng.normal(0, 0.07, (800, arms, seeds, 1)) + rng.normal(0, 0.2 / math.sqrt(2), (800, arms, 1, items))
    values = values + rng.normal(0, 0.4 / math.sqrt(2), (800, arms, seeds, items))
    values[:, 1] += effect
    found = estimate(values, [1], 0, None, range(arms))
    assert np.mean(found.p() < alpha) == pytest.approx(0.8, abs=0.06)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 0.3), st.floats(0.0, 0.1), st.floats(0.01, 0.5), st.floats(0.0, 0.5))
def test_needed_numbers_are_the_fewest_that_do(effect: float, seed_sd: float, item_sd: float, rest: float) -> None:
    def least(seeds: int, items: int) -> float:
        return power.minimum_effect(seed_sd, item_sd, seeds, items, arms=5, residual_sd=rest)

    seeds = power.seeds_needed(effect, seed_sd, item_sd, items=96, arms=5, residual_sd=rest)
    if seeds is None:
        assert least(power.MOST_SEEDS, 96) > effect
    else:
        assert least(seeds, 96) <= effect < least(seeds - 1, 96)
    items = power.items_needed(effect, seed_sd, item_sd, seeds=3, arms=5, residual_sd=rest)
    if items is None:
        assert least(3, power.MOST_ITEMS) > effect
    else:
        assert least(3, items) <= effect < least(3, items - 1)


def test_what_cannot_be_seen_is_said() -> None:
    assert power.minimum_effect(0.05, 0.3, seeds=1, items=100, arms=5) == math.inf
    assert power.minimum_effect(0.05, 0.3, seeds=3, items=1, arms=5) == math.inf
    assert power.minimum_effect(0.0, 0.0, seeds=3, items=100, arms=5) == 0.0
    assert power.seeds_needed(0.01, 0.05, 0.3, items=50, arms=5) is None
    assert power.items_needed(0.01, 0.05, 0.3, seeds=3, arms=5) is None
