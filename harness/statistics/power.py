"""What a study of a given size can see, and the size it takes to see a given effect."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import special

MOST_SEEDS = 1_000
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
) -> float:
    """Return the smallest true effect that a two-sided test of one contrast finds with probability ``power``.

    ``V = 2 seed_sd^2 / S + residual_sd^2 / (S I) + item_sd^2 / I`` and Satterthwaite degrees of freedom, as
    in ``paired.contrast``; the effect is the noncentral t's (its other tail is left out: at this power it is
    nothing).

    Args:
        seed_sd: SD of a run's mean over seeds, within an arm, that does not shrink with more items.
        item_sd: SD over items of what an item does to the difference of two arms at every seed.
        seeds: Seeds per arm.
        items: Items, or independent groups of items.
        arms: Arms whose seed noise is pooled, baseline and controls included.
        alpha: Two-sided level of the one contrast (divide by the number of comparisons to be safe for all).
        power: Probability of finding it.
        residual_sd: SD of what an item does to the difference at a single seed.

    Returns:
        The effect in the metric's units; infinity with one seed, one item or one arm, where no verdict is
        possible.
    """
    if seeds < 2 or items < 2 or arms < 2:
        return math.inf
    v_seed = 2 * seed_sd**2 / seeds + residual_sd**2 / (seeds * items)
    v_item = item_sd**2 / items
    variance = v_seed + v_item
    if variance == 0:
        return 0.0
    df = variance**2 / (v_seed**2 / ((arms - 1) * (seeds - 1)) + v_item**2 / (items - 1))
    critical = float(special.stdtrit(df, 1 - alpha / 2))
    return _noncentrality(df, critical, power) * math.sqrt(variance)


def _noncentrality(df: float, critical: float, power: float) -> float:
    """Return the noncentrality at which a noncentral t exceeds ``critical`` with probability ``power``."""
    low, high = 0.0, 1.0
    while 1 - special.nctdtr(df, high, critical) < power:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if 1 - special.nctdtr(df, middle, critical) < power:
            low = middle
        else:
            high = middle
    return high


def seeds_needed(
    effect: float,
    seed_sd: float,
    item_sd: float,
    items: int,
    arms: int,
    alpha: float = 0.05,
    power: float = 0.8,
    residual_sd: float = 0.0,
) -> int | None:
    """Return the fewest seeds per arm with which ``effect`` is found; None when 1,000 do not suffice."""

    def enough(seeds: int) -> bool:
        return minimum_effect(seed_sd, item_sd, seeds, items, arms, alpha, power, residual_sd) <= effect

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
) -> int | None:
    """Return the fewest items with which ``effect`` is found; None when a million do not suffice."""

    def enough(items: int) -> bool:
        return minimum_effect(seed_sd, item_sd, seeds, items, arms, alpha, power, residual_sd) <= effect

    return _fewest(enough, MOST_ITEMS)


def _fewest(enough: Callable[[int], bool], most: int) -> int | None:
    """Return the smallest number from 2 to ``most`` that is enough; enough must stay true once it is."""
    if not enough(most):
        return None
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def paired_minimum_effect(sd: float, items: int, alpha: float = 0.05, power: float = 0.8, sides: int = 2) -> float:
    """Return the detectable mean of ``items`` paired differences with this SD, by the normal approximation.

    This and ``paired_items`` are the planning formulas of Miller (2024), "Adding Error Bars to Evals",
    section 5: items alone, one run per arm. They serve suites judged without training noise.
    """
    return _normal_factor(alpha, power, sides) * sd / math.sqrt(items)


def paired_items(sd: float, effect: float, alpha: float = 0.05, power: float = 0.8, sides: int = 2) -> int:
    """Return the paired items it takes to find ``effect``, by the normal approximation (see above)."""
    return math.ceil((_normal_factor(alpha, power, sides) * sd / effect) ** 2)


def _normal_factor(alpha: float, power: float, sides: int) -> float:
    return float(special.ndtri(1 - alpha / sides) + special.ndtri(power))


def design_effect(cluster_size: float, correlation: float) -> float:
    """Return by how much clusters of items inflate a variance: ``1 + (m - 1) rho`` (Kish 1965)."""
    return 1 + (cluster_size - 1) * correlation
