"""The effect that a study of a given size can detect, and the size that detects a given effect."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import special

from harness.statistics.estimate import ALONE, CAREFUL, LEAST_CLUSTERS, TWINNED, TWO_ARMS, Floats, own_weight
from harness.statistics.scores import Noise

MOST_SEEDS = 1_000
PRACTICAL_SEEDS = 50  # more are not proposed to anybody
PRACTICAL_ITEMS = 20  # times the items that there are; likewise
TWIN_RUNS = 1.5  # runs per seed whose noise is in a contrast where an A/A arm shares the baseline's part; else 2
MOST_ITEMS = 1_000_000


def minimum_effect(
    seed_sd: float,
    item_sd: float,
    seeds: int,
    items: int,
    arms: int,
    alpha: float = 0.05,
    power: float = 0.8,
    residual_sd: float = 0.0,
    cluster_size: float = 1.0,
    noise: Noise = "careful",
    twin: bool = False,
) -> float:
    """Return the smallest true effect that a two-sided test of one contrast finds with probability ``power``.

    ``V = 2 seed_sd^2 / S + residual_sd^2 / (S I) + item_sd^2 / I`` and degrees of freedom as in
    ``paired.contrast`` when no arm is noisier than the others, averaged over how noisy arms look by chance. The
    effect follows from the noncentral t (without its other tail, which is negligible at this power).

    Args:
        seed_sd: SD of a run's mean over seeds, within an arm, that does not shrink with more items.
        item_sd: SD over items of an item's effect on the difference of two arms at every seed.
        seeds: Seeds per arm.
        items: Items.
        arms: Arms whose seed noise is pooled, baseline and controls included.
        alpha: Two-sided level of the one contrast (divide by the number of comparisons to correct for all).
        power: Probability of finding the effect.
        residual_sd: SD of an item's effect on the difference at a single seed.
        cluster_size: Items per cluster. The SDs of items are those whose square over the number of items is the
            variance: when clusters make items alike, they are larger by the root of ``design_effect``.
        noise: How seed noise is judged (``estimate.estimate``).
        twin: Whether an A/A arm's runs count as runs of the baseline, when balanced.

    Returns:
        The effect in the metric's units; infinity with one seed, one item, one arm or less than 1.5 clusters, where no
        verdict is possible.
    """
    clusters = items / cluster_size
    if seeds < 2 or items < 2 or arms < 2 or clusters < LEAST_CLUSTERS:
        return math.inf
    runs = TWIN_RUNS if twin and noise == "balanced" and arms > 2 else 2.0
    v_seed = runs * seed_sd**2 / seeds + runs / 2 * residual_sd**2 / (seeds * items)
    v_item = item_sd**2 / items
    variance = v_seed + v_item
    if variance == 0:
        return 0.0
    pooled_df, own_df, item_df = (arms - 1) * (seeds - 1), seeds - 1, clusters - 1
    own, own_per_df, pooled = _parts(arms, seeds, noise, runs < 2)
    used = v_seed * (own + pooled) + v_item
    df = used / (v_seed * (own_per_df / own_df + pooled / pooled_df) + v_item / item_df)
    if arms == 2:
        alone = 1 / ((v_seed / variance) ** TWO_ARMS / own_df + v_item / variance / item_df)
        df = np.full(1, 1.0 if seeds == 2 else alone)
    df = np.minimum(df, item_df)
    critical = special.stdtrit(df, 1 - alpha / 2) * np.sqrt(used / variance)
    true_df = variance**2 / (v_seed**2 / pooled_df + v_item**2 / item_df)

    def found(size: float) -> float:
        return float(np.mean(_above(true_df, size, critical)))

    low, high = 0.0, 1.0
    while found(high) < power:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if found(middle) < power else (low, middle)
    return high * math.sqrt(variance)


def _above(df: float, size: float, critical: Floats) -> Floats:
    """Return how often a noncentral t exceeds ``critical``.

    From 200 degrees of freedom on, the normal approximation of Johnson and Welch (1940) is used: it is right to 1e-6
    there, and many times as fast.
    """
    if df < 200:
        return np.asarray(1 - special.nctdtr(df, size, critical))
    return np.asarray(special.ndtr((size - critical * (1 - 1 / (4 * df))) / np.sqrt(1 + critical**2 / (2 * df))))


@cache
def _parts(arms: int, seeds: int, noise: Noise, twin: bool) -> tuple[Floats, Floats, Floats]:
    """Return the own part of a contrast's seed noise, the same over multiples of ``S-1``, and the pooled part.

    They are shares of the noise of a contrast of equally noisy arms. There is one entry for each of 64 equally likely
    studies: the middles of 8 slices of the F distribution of ``estimate.seed_noise``, for either side of the contrast.
    """
    if arms == 2:
        return np.zeros(1), np.zeros(1), np.ones(1)
    odds = CAREFUL if noise == "careful" else TWINNED if twin else ALONE
    ratio = special.fdtri(seeds - 1, (arms - 2) * (seeds - 1), (np.arange(8) + 0.5) / 8)
    weight = own_weight(ratio, arms, seeds, odds)
    square = (arms - 1) * ratio / (ratio + arms - 2)  # the arm's mean square, relative to that of all arms together
    own = weight * np.maximum((square - 1 / arms) * arms / (arms - 1), 1.0)
    if not twin:
        both = np.add.outer(own, own).ravel() / 2
        return both, both, 1 - np.add.outer(weight, weight).ravel() / 2
    # The pair of baseline and A/A arm has twice the degrees of freedom, so its weight is that of more seeds.
    shared = own_weight(ratio, arms, 2 * seeds - 1, odds)
    pair = shared * np.maximum(1 + (square - 1) / np.sqrt(2), 1.0)
    mine, theirs = 1 / TWIN_RUNS, 1 - 1 / TWIN_RUNS
    own_part = np.add.outer(mine * own, theirs * pair).ravel()
    per_df = np.add.outer(mine * own, theirs * pair / 2).ravel()
    return own_part, per_df, 1 - np.add.outer(mine * weight, theirs * shared).ravel()


def seeds_needed(
    effect: float,
    seed_sd: float,
    item_sd: float,
    items: int,
    arms: int,
    alpha: float = 0.05,
    power: float = 0.8,
    residual_sd: float = 0.0,
    cluster_size: float = 1.0,
    noise: Noise = "careful",
    twin: bool = False,
) -> int | None:
    """Return the fewest seeds per arm that find ``effect``; None when 1,000 do not suffice."""

    def enough(seeds: int) -> bool:
        return (
            minimum_effect(seed_sd, item_sd, seeds, items, arms, alpha, power, residual_sd, cluster_size, noise, twin)
            <= effect
        )

    return _fewest(enough, MOST_SEEDS)


def items_needed(
    effect: float,
    seed_sd: float,
    item_sd: float,
    seeds: int,
    arms: int,
    alpha: float = 0.05,
    power: float = 0.8,
    residual_sd: float = 0.0,
    cluster_size: float = 1.0,
    noise: Noise = "careful",
    twin: bool = False,
) -> int | None:
    """Return the fewest items that find ``effect``; None when a million do not suffice."""

    def enough(items: int) -> bool:
        return (
            minimum_effect(seed_sd, item_sd, seeds, items, arms, alpha, power, residual_sd, cluster_size, noise, twin)
            <= effect
        )

    return _fewest(enough, MOST_ITEMS)


def _fewest(enough: Callable[[int], bool], most: int) -> int | None:
    """Return the smallest number from 2 to ``most`` that is enough; ``enough`` must be monotonic."""
    if not enough(most):
        return None
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def design_effect(cluster_size: float, correlation: float) -> float:
    """Return the factor by which clusters of items inflate a variance: ``1 + (m - 1) rho`` (Kish 1965)."""
    return 1 + (cluster_size - 1) * correlation
