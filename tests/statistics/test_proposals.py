"""The model of mixtures that predicts best, its intervals, and the mixture it proposes."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import check_grad
from scipy.stats import spearmanr

from harness.statistics import gaussian
from harness.statistics.mixtures import mixture_effects
from harness.statistics.proposals import fit_mixtures, within


def drawn(count: int, sources: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(sources, 1.0), count)


def pairs(weights: np.ndarray) -> np.ndarray:
    """Sources that help only together: no sum of curves, one for each source, says so."""
    return 4 * (weights[:, 0] * weights[:, 1] + weights[:, 2] * weights[:, 3])


# --------------------------------------------------------------------------------------------------------- planted


@given(st.integers(0, 1000))
@example(1000)  # both pairs are about as good, and half of each is bad
@settings(max_examples=4, deadline=None)
def test_sources_that_help_only_together_are_found(seed: int) -> None:
    weights, new = drawn(60, seed=seed), drawn(200, seed=seed + 5000)
    fit = fit_mixtures(weights, pairs(weights) + np.random.default_rng(seed).normal(0, 0.01, 60))
    lines = mixture_effects(weights, pairs(weights))
    assert fit.doubt == ""
    assert fit.model == "Gaussian process"
    assert spearmanr(fit.predict(new), pairs(new)).statistic > 0.95
    assert fit.error < 0.5 * lines.error
    assert pairs(fit.proposal()[None])[0] > pairs(weights).max() - 0.1


@given(st.integers(0, 1000), st.integers(2, 6), st.integers(4, 30), st.floats(0, 2))
@settings(max_examples=10, deadline=None)
def test_a_proposal_is_a_mixture_within_the_tried_range(seed: int, sources: int, count: int, noise: float) -> None:
    weights = drawn(count, sources, seed)
    generator = np.random.default_rng(seed)
    scores = weights @ generator.normal(0, 1, sources) + noise * generator.normal(0, 1, count)
    proposed = fit_mixtures(weights, scores).proposal()
    assert proposed.sum() == pytest.approx(1)
    assert (proposed >= weights.min(axis=0) - 1e-9).all()
    assert (proposed <= weights.max(axis=0) + 1e-9).all()


def test_a_useless_candidate_has_no_part_in_the_mean() -> None:
    """Lines say nothing here; the mean of both keeps the ranks of the process, and has twice its error."""
    for seed in (104, 7):
        weights = drawn(60, seed=seed)
        fit = fit_mixtures(weights, pairs(weights) + np.random.default_rng(seed).normal(0, 0.01, 60))
        assert fit.model == "Gaussian process"


def test_noise_pulls_the_proposal_to_the_prior() -> None:
    weights, generator = drawn(40), np.random.default_rng(1)
    prior, clean = np.full(4, 0.25), weights @ np.array([1.0, 0, 0, 0])
    sure = fit_mixtures(weights, clean).proposal(prior)
    unsure = fit_mixtures(weights, clean + generator.normal(0, 1.5 * clean.std(), 40)).proposal(prior)
    assert sure[0] > weights[:, 0].max() - 0.05
    assert np.abs(unsure - prior).sum() < 0.5 * np.abs(sure - prior).sum()


@pytest.mark.parametrize(("count", "sources"), [(16, 4), (16, 16), (40, 5)])
def test_intervals_cover_as_they_say_and_noise_alone_says_nothing(count: int, sources: int) -> None:
    covered, ruled = [], 0
    for seed in range(8):
        generator = np.random.default_rng(seed)
        weights, new = drawn(count, sources, seed), drawn(200, sources, seed + 1000)
        effects = generator.normal(0, 1, sources)
        noise = 0.3 * (weights @ effects).std()
        fit = fit_mixtures(weights, weights @ effects + generator.normal(0, noise, count))
        low, high = fit.interval(new)
        scores = new @ effects + generator.normal(0, noise, 200)
        covered.append(((low <= scores) & (scores <= high)).mean())
        ruled += not fit_mixtures(weights, generator.normal(0, 1, count)).doubt
    assert 0.83 < np.mean(covered) < 0.97
    assert ruled <= 2  # of 8


def test_left_out_predictions_know_nothing_of_the_score() -> None:
    """A mixture's own score, moved far away, does not move its left-out prediction by ridge or process upwards."""
    weights = drawn(24)
    scores = weights @ np.array([1.0, 0.5, 0.2, 0.0])
    moved = scores.copy()
    moved[3] += 50
    fit = fit_mixtures(weights, moved)
    assert abs(fit.left_out[3] - scores[3]) < 25
    assert fit.error > 5


def test_a_noisier_score_counts_less() -> None:
    weights = drawn(30)
    scores = weights @ np.array([1.0, 0.5, 0.2, 0.0])
    wrong = scores + np.where(np.arange(30) < 6, 3.0, 0.0)
    noise = np.where(np.arange(30) < 6, 30.0, 1.0)
    new = drawn(100, seed=9)
    truth = new @ np.array([1.0, 0.5, 0.2, 0.0])
    blind, told = fit_mixtures(weights, wrong), fit_mixtures(weights, wrong, noise)
    assert np.abs(told.predict(new) - truth).mean() < np.abs(blind.predict(new) - truth).mean()


# ------------------------------------------------------------------------------------------------------ degenerate


def test_equal_scores_say_nothing() -> None:
    fit = fit_mixtures(drawn(8), np.full(8, 0.3))
    assert fit.doubt == "the weights of the 8 mixtures tell next to nothing about their scores"
    assert fit.predict(drawn(3)) == pytest.approx(0.3)
    assert fit.proposal().sum() == pytest.approx(1)


def test_fewer_mixtures_than_sources_say_nothing() -> None:
    weights = drawn(8, 12)
    said = fit_mixtures(weights, weights[:, 0]).doubt
    assert said == "8 mixtures are too few to tell 12 sources apart; it takes as many as sources, or more"


def test_the_same_mixture_twice_is_left_out_together() -> None:
    """Each mixture twice, scores of noise that twins share: a twin that stays in would predict it."""
    weights = np.repeat(drawn(15), 2, axis=0)
    fit = fit_mixtures(weights, np.repeat(np.random.default_rng(0).normal(0, 1, 15), 2))
    assert fit.rank < 0.5
    assert fit_mixtures(np.repeat(drawn(1), 5, axis=0), np.arange(5.0)).doubt


@given(st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
@settings(max_examples=5, deadline=None)
def test_the_unit_of_scores_does_not_matter(factor: float, shift: float) -> None:
    weights = drawn(20)
    scores = weights @ np.array([1.0, 0.5, 0.2, 0.0])
    one, other = fit_mixtures(weights, scores), fit_mixtures(weights, scores * factor + shift * factor)
    assert other.rank == pytest.approx(one.rank, abs=0.02)


@pytest.mark.parametrize("noise", [np.zeros(5), np.ones(4), np.full(5, np.nan)])
def test_a_noise_that_is_none_is_refused(noise: np.ndarray) -> None:
    with pytest.raises(ValueError, match="the noise of a score is a finite number above 0"):
        fit_mixtures(drawn(5), np.arange(5.0), noise)


# ------------------------------------------------------------------------------------------------ Gaussian process


def test_the_process_is_exact_linear_algebra() -> None:
    """Against conditioning of a joint normal law, written out."""
    inputs, scores = np.random.default_rng(0).normal(size=(12, 2)), np.random.default_rng(1).normal(size=12)
    scales = gaussian.learned(inputs, scores)
    mean, sd = gaussian.process(inputs, scores, scales).predict(inputs[:1] + 0.1)
    lines, bump, narrow, noise = (
        np.exp(scales.logs[:2]),
        *np.exp(scales.logs[2:3]),
        np.exp(scales.logs[3:5]),
        np.exp(scales.logs[5]),
    )

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((lines * a * b).sum() + bump * np.exp(-0.5 * (narrow * (a - b) ** 2).sum()) + 1)

    rows = [*inputs, inputs[0] + 0.1]
    joint = np.array([[k(a, b) for b in rows] for a in rows]) + (noise + gaussian.JITTER) * np.eye(13)
    gain = np.linalg.solve(joint[:12, :12], joint[:12, 12])
    target = (scores - scores.mean()) / scores.std()
    assert mean[0] == pytest.approx(scores.mean() + scores.std() * gain @ target, rel=1e-6)
    assert sd[0] == pytest.approx(scores.std() * np.sqrt(joint[12, 12] - gain @ joint[:12, 12]), rel=1e-3)


@given(st.integers(0, 1000), st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_leaving_rows_out_is_conditioning_on_the_others(seed: int, most: int) -> None:
    generator = np.random.default_rng(seed)
    inputs, scores = generator.normal(size=(12, 2)), generator.normal(size=12)
    whole = gaussian.process(inputs, scores, gaussian.Scales(np.log([0.5, 0.3, 0.4, 1.0, 0.2, 0.1]), 0.0))
    out = generator.permutation(12) < most
    mean, sd = whole.left_out(out, scores)
    rest = gaussian.process(inputs[~out], scores[~out], whole.scales)
    moved = replace(rest, mean=whole.mean, unit=whole.unit)  # standardized as the whole
    moved = replace(moved, pull=rest.inverse @ ((scores[~out] - whole.mean) / whole.unit))
    expected, spread = moved.predict(inputs[out])
    assert mean == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert sd == pytest.approx(spread, rel=1e-4)


def test_the_scales_are_those_of_the_least_misfit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slope that the search follows is the slope of what it minimizes."""
    import scipy.optimize

    seen = []

    def checked(function, start, **options):  # type: ignore[no-untyped-def]
        away = start + np.random.default_rng(0).normal(0, 0.3, len(start))
        seen.append(check_grad(lambda x: function(x)[0], lambda x: function(x)[1], away))
        return minimize(function, start, **options)

    minimize = scipy.optimize.minimize
    monkeypatch.setattr(scipy.optimize, "minimize", checked)
    inputs = np.random.default_rng(2).normal(size=(15, 3))
    gaussian.learned(inputs, inputs[:, 0] + np.sin(2 * inputs[:, 1]), np.linspace(1, 3, 15))
    assert len(seen) == 1
    assert seen[0] < 1e-4


# -------------------------------------------------------------------------------------------------------- the range


@given(arrays.arrays(float, (6, 3), elements=st.floats(0, 1)), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_mixtures_are_moved_into_a_range(mixtures: np.ndarray, seed: int) -> None:
    tried = drawn(5, 3, seed)
    low, high = tried.min(axis=0), tried.max(axis=0)
    moved = within(mixtures, low, high)
    assert moved.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert (moved >= low - 1e-9).all()
    assert (moved <= high + 1e-9).all()


# ------------------------------------------------------------------------------------------------------- real data


def table(file: Path) -> np.ndarray:
    _, *rows = csv.reader(file.read_text().splitlines())
    return np.array(rows, dtype=float)[:, 1:]


@pytest.mark.acceptance
@pytest.mark.parametrize(("runs", "at_least"), [(16, 0.684), (32, 0.89), (64, 0.942)])
def test_losses_of_unseen_mixtures_are_ranked_from_few(acceptance_data: Path, runs: int, at_least: float) -> None:
    """RegMix (17 domains, 13 losses): mean rank correlation on 256 other mixtures, and coverage of the intervals."""
    folder = acceptance_data / "regmix"
    tried, losses = table(folder / "train_mixture_1m.csv"), table(folder / "train_pile_loss_1m.csv")
    unseen, truth = table(folder / "test_mixture_1m.csv"), table(folder / "test_pile_loss_1m.csv")
    ranks, today, covered = [], [], []
    for draw in range(2):
        some = np.random.default_rng(draw).permutation(len(tried))[:runs]
        for target in range(losses.shape[1]):
            fit = fit_mixtures(tried[some], -losses[some, target])
            low, high = fit.interval(unseen)
            covered.append(((low <= -truth[:, target]) & (-truth[:, target] <= high)).mean())
            ranks.append(spearmanr(fit.predict(unseen), -truth[:, target]).statistic)
            lines = mixture_effects(tried[some], -losses[some, target])
            today.append(spearmanr(lines.predict(unseen), -truth[:, target]).statistic)
    print(f"{runs}: {np.mean(ranks):.3f}, ridge regression {np.mean(today):.3f}, covered {np.mean(covered):.1%}")
    assert np.mean(ranks) > max(at_least, float(np.mean(today)))
    assert 0.85 < np.mean(covered) < 0.96
