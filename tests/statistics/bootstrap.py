"""A hierarchical bootstrap of a contrast, which the t interval is checked against."""

from __future__ import annotations

import numpy as np

from harness.statistics.estimate import cluster_sums
from harness.statistics.scores import Scores


def bootstrap_interval(
    scores: Scores, a: str, b: str, alpha: float = 0.05, draws: int = 4000, seed: int = 0
) -> tuple[float, float]:
    """Return a percentile interval of arm ``a`` minus arm ``b``, seeds and items drawn again with replacement.

    Seeds are drawn, items (or whole groups of items) are drawn, and the mean of the differences in the chosen
    rows and columns is taken (the two-way "pigeonhole" bootstrap; Owen 2007). It knows nothing of other arms,
    and resampling S seeds shows only ``(S-1)/S`` of their variance: with two or three seeds the interval is far
    too narrow, with ten or more it should agree with ``paired.contrast``.

    Args:
        scores: All arms of the study.
        a: The arm whose effect is wanted.
        b: The arm it is compared with.
        alpha: The interval covers ``1 - alpha``.
        draws: Number of resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: When an arm does not exist.
    """
    rng = np.random.default_rng(seed)
    difference = scores.values[scores.arm(a)] - scores.values[scores.arm(b)]
    member = scores.members()
    sums = cluster_sums(difference, member)
    sizes = np.ones(sums.shape[1]) if member is None else np.bincount(member).astype(np.float64)
    runs, columns = sums.shape
    by_seed = rng.multinomial(runs, np.full(runs, 1 / runs), size=draws) / runs
    by_item = rng.multinomial(columns, np.full(columns, 1 / columns), size=draws)
    effects = np.einsum("ds,sc,dc->d", by_seed, sums, by_item, optimize=True) / (by_item @ sizes)
    low, high = np.quantile(effects, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)
