"""Seed noise that is judged balanced: the A/A arm's runs count as runs of the baseline, and errors stay in bounds."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.statistics.estimate import Estimate, Floats, common_noise, estimate, parts
from harness.statistics.paired import compared_with, contrast
from harness.statistics.scores import Scores

ARMS, ITEMS = 6, 60
SEED_SD, ITEM_SD, REST_SD = 0.05, 0.1, 0.3


def studies(rng: np.random.Generator, count: int, seeds: int, noisy: dict[int, float], common: float = 0.5) -> Floats:
    """Null studies: arm 0 is the baseline, arm 1 the A/A arm, whose seeds are others."""
    sd = np.full((ARMS, 1), SEED_SD)
    for arm, times in noisy.items():
        sd[arm] *= times
    shared = np.repeat(rng.normal(0, common * SEED_SD, (count, 1, seeds)), ARMS, axis=1)
    shared[:, 1] = rng.normal(0, common * SEED_SD, (count, seeds))
    run = shared + rng.normal(0, 1, (count, ARMS, seeds)) * sd
    suits = rng.normal(0, ITEM_SD, (count, ARMS, 1, ITEMS))
    suits[:, 1] = suits[:, 0]
    return run[..., None] + suits + rng.normal(0, REST_SD, (count, ARMS, seeds, ITEMS))


def judged(values: Floats, noise: str) -> Estimate:
    return estimate(values, range(2, ARMS), 0, None, range(ARMS), 1, noise)  # type: ignore[arg-type]


def found(estimate: Estimate, effect: float = 0.0) -> float:
    """Share of studies with a Bonferroni-adjusted p below .05, every effect moved by ``effect``."""
    p = estimate.p(estimate.effect + effect)
    return float((p.min(axis=1) * p.shape[1] < 0.05).mean())


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(
    ("noisy", "most"),
    [
        ({}, 0.05),
        ({5: 2.0}, 0.05),
        ({0: 2.0, 1: 2.0}, 0.05),
        ({5: 3.0}, 0.075),
        ({0: 3.0, 1: 3.0}, 0.075),
        ({5: 7.0}, 0.12),
    ],
    ids=["equal", "arm 2x", "baseline 2x", "arm 3x", "baseline 3x", "arm 7x"],
)
def test_false_findings_stay_in_bounds(seeds: int, noisy: dict[int, float], most: float) -> None:
    values = studies(np.random.default_rng(seeds), 1500, seeds, noisy)
    assert found(judged(values, "balanced")) <= most + 3 * (most * (1 - most) / 1500) ** 0.5


@pytest.mark.parametrize(("seeds", "least", "times"), [(2, 0.35, 3.0), (3, 0.7, 1.2)])
def test_it_finds_what_the_careful_rule_misses(seeds: int, least: float, times: float) -> None:
    values = studies(np.random.default_rng(seeds), 1500, seeds, {})
    se = (2 * SEED_SD**2 / seeds + 2 * REST_SD**2 / (seeds * ITEMS) + 2 * ITEM_SD**2 / ITEMS) ** 0.5
    balanced, careful = (
        float((one.p(one.effect + 4 * se)[:, 0] * (ARMS - 2) < 0.05).mean())
        for one in (judged(values, "balanced"), judged(values, "careful"))
    )
    assert balanced >= least
    assert balanced >= times * careful


@pytest.mark.parametrize("noise", ["balanced", "careful"])
@given(seed=st.integers(0, 2**32 - 1), seeds=st.integers(2, 5), times=st.floats(1, 8))
@settings(max_examples=20, deadline=None)
def test_a_study_that_is_looked_at_often_believes_sooner_in_a_noisier_arm(
    noise: Literal["balanced", "careful"], seed: int, seeds: int, times: float
) -> None:
    """Each look has its own chance to take noise for an effect."""
    values = studies(np.random.default_rng(seed), 20, seeds, {5: times})
    once, often = (estimate(values, range(2, ARMS), 0, None, range(ARMS), None, noise, looks).noise for looks in (1, 4))
    assert once is not None
    assert often is not None
    assert np.all(often.weight >= once.weight)
    assert np.any(often.weight > once.weight)


def test_where_seeds_move_all_arms_alike_the_twin_is_left_out() -> None:
    values = studies(np.random.default_rng(1), 400, 5, {}, common=8.0)
    _, share = common_noise(values, parts(values, None), [0, 2, 3, 4, 5])
    used = judged(values, "balanced").twin[:, 0]
    assert np.all((used == 0) == (share >= 0.5))
    assert np.mean(used == 0) > 0.9
    alone = estimate(values, range(2, ARMS), 0, None, [0, 2, 3, 4, 5], None, "balanced")
    left = used == 0
    assert judged(values, "balanced").effect[left] == pytest.approx(alone.effect[left])
    assert judged(values, "balanced").se[left] == pytest.approx(alone.se[left])
    assert found(judged(values, "balanced")) <= 0.08


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 4))
def test_one_study_is_judged_as_it_is_among_many(seed: int, seeds: int) -> None:
    values = studies(np.random.default_rng(seed), 3, seeds, {4: 4.0}, common=seed % 3)
    many = judged(values, "balanced")
    names = ("base", "aa", "b", "c", "d", "e")
    for study in range(3):
        scores = Scores(
            values[study], names, tuple(map(str, range(seeds))), tuple(map(str, range(ITEMS))), None, ("base", "aa"),
            "balanced",
        )  # fmt: skip
        for at, name in enumerate(names[2:]):
            one, back = contrast(scores, name, "base"), contrast(scores, "base", name)
            assert (one.effect, one.se, one.df, one.twin) == pytest.approx(
                tuple(part[study, at] for part in (many.effect, many.se, many.df, many.twin))
            )
            assert (back.effect, back.ci_low, back.ci_high) == pytest.approx((-one.effect, -one.ci_high, -one.ci_low))
            mean, weight = compared_with(scores, "base")
            assert mean == pytest.approx((1 - weight) * scores.mean("base") + weight * scores.mean("aa"))
            assert one.effect == pytest.approx(scores.mean(name) - mean)
        check = contrast(scores, "aa", "base")
        assert check.effect == pytest.approx(scores.mean("aa") - scores.mean("base"))
