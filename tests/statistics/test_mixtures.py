"""Weights to scores: planted effects, errors that other code computes too, and losses of real mixtures."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from harness.statistics.mixtures import mixture_effects


def drawn(count: int, sources: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(sources, 1.5), count)


# --------------------------------------------------------------------------------------------------------- planted


@given(st.integers(0, 100), st.sampled_from([0.01, 0.1, 1.0, np.inf]))
@settings(max_examples=25, deadline=None)
def test_effects_of_any_bend_are_found(seed: int, bend: float) -> None:
    rng = np.random.default_rng(seed)
    weights, new, effects = drawn(60, seed=seed), drawn(200, seed=seed + 1000), rng.normal(0, 1, 4)

    def truth(w: np.ndarray) -> np.ndarray:
        return (w if np.isinf(bend) else np.log1p(w / bend)) @ effects

    spread = truth(weights).std()
    model = mixture_effects(weights, truth(weights) + rng.normal(0, 0.01 * spread, 60))
    assert (
        np.sqrt(((model.predict(new) - truth(new) - (model.predict(new) - truth(new)).mean()) ** 2).mean())
        < 0.1 * spread
    )
    assert 0.005 * spread < model.error < 0.03 * spread


def test_noise_alone_predicts_nothing() -> None:
    ratios = []
    for seed in range(60):
        scores = np.random.default_rng(seed + 500).normal(0, 1, 30)
        model = mixture_effects(drawn(30, seed=seed), scores)
        assert model.error <= model.spread
        ratios.append(model.error / model.spread)
    assert np.median(ratios) > 0.9


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_error_is_that_of_leaving_each_mixture_out(seed: int) -> None:
    """Refitted without each mixture in turn by plain normal equations, at the bend and penalty that were chosen."""
    weights = drawn(12, sources=3, seed=seed)
    scores = np.log1p(weights / 0.05) @ np.array([1.0, -0.5, 0.2]) + np.random.default_rng(seed).normal(0, 0.1, 12)
    model = mixture_effects(weights, scores)
    bent = weights if np.isinf(model.bend) else np.log1p(weights / model.bend)
    scale = bent.std(axis=0)  # standardized once: leaving out changes the fit, not the units
    errors = []
    for out in range(12) if np.isfinite(model.penalty) else []:
        keep = np.arange(12) != out
        design = np.column_stack([np.ones(11), (bent[keep] - bent.mean(axis=0)) / scale])
        ridge = np.diag([0.0, 1, 1, 1]) * model.penalty * 12
        beta = np.linalg.solve(design.T @ design + ridge, design.T @ scores[keep])
        errors.append(scores[out] - np.r_[1, (bent[out] - bent.mean(axis=0)) / scale] @ beta)
    assert model.error == pytest.approx(np.sqrt(np.mean(np.square(errors))) if errors else model.spread, rel=1e-6)


@given(st.integers(0, 1000), st.sampled_from([0.01, 0.1, np.inf]))
@settings(max_examples=25, deadline=None)
def test_the_best_mixture_lies_within_the_tried_range_and_beats_all_in_it(seed: int, bend: float) -> None:
    weights, effects = drawn(40, seed=seed), np.random.default_rng(seed).normal(0, 1, 4)
    scores = (weights if np.isinf(bend) else np.log1p(weights / bend)) @ effects
    model = mixture_effects(weights, scores + np.random.default_rng(seed).normal(0, 0.01 * scores.std(), 40))
    best = model.best()
    assert best.sum() == pytest.approx(1)
    low, high = weights.min(axis=0), weights.max(axis=0)
    assert (best >= low - 1e-6).all()
    assert (best <= high + 1e-6).all()
    others = drawn(20_000, seed=seed + 1)
    inside = others[((others >= low) & (others <= high)).all(axis=1)]
    assert model.predict(best[None])[0] >= model.predict(np.vstack([inside, weights])).max() - 1e-6


# ------------------------------------------------------------------------------------------------------ degenerate


def test_equal_scores_have_no_effects() -> None:
    model = mixture_effects(drawn(6), np.full(6, 0.3))
    assert not model.effects.any()
    assert (model.error, model.spread) == (0.0, 0.0)
    assert model.predict(drawn(3)) == pytest.approx(0.3)
    assert model.best() in model.tried


def test_a_source_that_never_changes_has_no_effect() -> None:
    weights = np.column_stack([np.full(20, 1.0), drawn(20, sources=3)])
    model = mixture_effects(weights, weights[:, 1])
    assert model.effects[0] == 0
    assert model.effects[1] > 0
    assert np.isfinite(model.predict(weights)).all()


def test_weights_are_scaled_to_one() -> None:
    weights, scores = drawn(20), drawn(20)[:, 0]
    one, other = mixture_effects(weights, scores), mixture_effects(weights * 160, scores)
    assert other.effects == pytest.approx(one.effects)
    assert other.predict(weights * 3) == pytest.approx(one.predict(weights))


@pytest.mark.parametrize(
    ("weights", "scores", "said"),
    [
        (drawn(3), np.arange(3.0), "3 mixtures say too little about their weights; it takes 4 or more"),
        (drawn(5), np.arange(4.0), "5 mixtures need as many scores"),
        (drawn(5), np.array([1.0, 2, np.nan, 3, 4]), "a score is not a finite number"),
        (-drawn(5), np.arange(5.0), "finite numbers of 0 or more"),
        (np.zeros((5, 2)), np.arange(5.0), "not all 0"),
        (np.zeros(5), np.arange(5.0), "expected mixtures x sources"),
    ],
)
def test_what_is_no_table_of_mixtures_is_refused(weights: np.ndarray, scores: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        mixture_effects(weights, scores)


# ------------------------------------------------------------------------------------------------------- real data


def table(file: Path) -> tuple[list[str], np.ndarray]:
    header, *rows = csv.reader(file.read_text().splitlines())
    return header[1:], np.array(rows, dtype=float)[:, 1:]


@pytest.mark.acceptance
def test_losses_of_unseen_mixtures_are_ranked(acceptance_data: Path) -> None:
    """RegMix: 512 mixtures of 17 domains, losses on 13; ranks of 256 others, per target.

    To beat: a straight line in the weights, as the paper's linear regression, and the weight of its own domain.
    """
    folder = acceptance_data / "regmix"
    domains, tried = table(folder / "train_mixture_1m.csv")
    targets, losses = table(folder / "train_pile_loss_1m.csv")
    _, unseen = table(folder / "test_mixture_1m.csv")
    _, truth = table(folder / "test_pile_loss_1m.csv")
    ours, straight, own, errors = [], [], [], []
    for index, target in enumerate(targets):
        model = mixture_effects(tried, -losses[:, index])
        predicted = model.predict(unseen)
        ours.append(spearmanr(predicted, -truth[:, index]).statistic)
        design = np.column_stack([np.ones(len(tried)), tried])
        line = np.linalg.lstsq(design, -losses[:, index], rcond=None)[0]
        straight.append(spearmanr(np.column_stack([np.ones(len(unseen)), unseen]) @ line, -truth[:, index]).statistic)
        name = target.removeprefix("metric/").removesuffix("_val_loss")
        own.append(spearmanr(unseen[:, domains.index(f"train_{name}")], -truth[:, index]).statistic)
        outside = float(np.sqrt(((predicted + truth[:, index]) ** 2).mean()))
        errors.append(model.error / outside)
    print(f"rank correlation {np.mean(ours):.3f} (lowest {min(ours):.3f}); straight line {np.mean(straight):.3f}, "
          f"own weight {np.mean(own):.3f}; error {np.mean(errors):.2f} of the one outside")  # fmt: skip
    assert np.mean(errors) == pytest.approx(1, abs=0.2), "leaving one out tells the error on unseen mixtures"
    assert np.mean(ours) > max(np.mean(straight), np.mean(own)) + 0.03
    assert all(mine > line for mine, line in zip(ours, straight, strict=True))
    assert min(ours) > 0.9


@pytest.mark.acceptance
def test_few_mixtures_suffice_to_rank(acceptance_data: Path) -> None:
    """The size of a study: 32 of the mixtures, and the mean of their losses."""
    folder = acceptance_data / "regmix"
    tried, losses = table(folder / "train_mixture_1m.csv")[1], table(folder / "train_pile_loss_1m.csv")[1].mean(axis=1)
    unseen, truth = table(folder / "test_mixture_1m.csv")[1], table(folder / "test_pile_loss_1m.csv")[1].mean(axis=1)
    ranks = []
    for seed in range(10):
        some = np.random.default_rng(seed).permutation(len(tried))[:32]
        model = mixture_effects(tried[some], -losses[some])
        assert model.predict(model.best()[None])[0] >= model.predict(tried[some]).max()
        ranks.append(spearmanr(model.predict(unseen), -truth).statistic)
    print(f"rank correlation from 32 mixtures, mean of 10 draws: {np.mean(ranks):.3f}, lowest {min(ranks):.3f}")
    assert np.mean(ranks) > 0.6
