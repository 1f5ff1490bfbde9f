"""Differences between arms, paired by seed and item, with the noise of both.

An item is scored by every run and a seed is shared by every arm, so both are crossed with the arms. A run's
mean moves with its seed (draw of rows, order, initialisation), an effect also depends on which items happen
to be in the suite. Two or three seeds of one arm say next to nothing about its own seed noise, so that noise
is pooled over all arms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from harness.statistics.scores import Floats, Scores

TINY = 1e-12  # variances below this share of the squared range of the scores are rounding, not noise


@dataclass(frozen=True)
class Contrast:
    """The effect of one arm minus another, in the metric's units.

    Attributes:
        effect: Mean difference over seeds and items.
        se: Standard error; None when nothing can be said (one item, or one cluster of items).
        ci_low: Lower end of the t interval.
        ci_high: Upper end of the t interval.
        df: Degrees of freedom (Satterthwaite).
        p: Two-sided p value of no effect; None when no verdict may come from it.
        v_seed: Squared standard error due to seeds, residual item noise included.
        v_item: Squared standard error due to the choice of items.
        v_residual: The part of ``v_seed`` that more items would shrink too.
        seeds: Number of seeds.
        items: Number of items.
        note: What the reader must know about this interval; empty when it is an ordinary one.
    """

    effect: float
    se: float | None
    ci_low: float | None
    ci_high: float | None
    df: float | None
    p: float | None
    v_seed: float
    v_item: float
    v_residual: float
    seeds: int
    items: int
    note: str = ""


def contrast(scores: Scores, a: str, b: str, alpha: float = 0.05, pool: tuple[str, ...] | None = None) -> Contrast:
    """Estimate arm ``a`` minus arm ``b`` with the noise of seeds and items.

    With cell means ``c[arm, seed]`` of the A pooled arms and differences ``d[seed, item]`` of the two:

    - ``V_seed = 2 MS_res(c) / S``, the residual mean square of the arm x seed table, df ``(A-1)(S-1)``. What
      a seed does to all arms alike drops out; what an item does to single runs, ``MS_res(d) / (S I)``, is
      already in it, so it is never below that: a table of few cells can come out smooth by luck.
    - ``V_item = (MS_item(d) - MS_res(d)) / (S I)``, not below 0: what an item does to the difference at every
      seed. With groups, sums over a group take the place of items (the cluster-robust form; the same without
      groups).
    - ``V = V_seed + V_item``, degrees of freedom by Satterthwaite (1946), t interval. With two arms and two
      seeds the one residual is too little to estimate those degrees from: there it is 1, as for the seeds
      alone.

    One item more or less is the finest thing a suite of right-or-wrong items can tell, so there the standard
    error is never below 1 / (number of items or groups): all right against all wrong is not certainty. The
    same floor, times the range of the scores, holds for other scores when nothing varies at all.

    Args:
        scores: All arms of the study.
        a: The arm whose effect is wanted.
        b: The arm it is compared with.
        alpha: The interval covers ``1 - alpha``.
        pool: Arms whose seed noise is pooled (``a`` and ``b`` always are); default: all of them.

    Raises:
        ValueError: When an arm does not exist or the two are the same.
    """
    if a == b:
        raise ValueError(f'arm "{a}" cannot be compared with itself')
    difference = scores.values[scores.arm(a)] - scores.values[scores.arm(b)]
    seeds, items = difference.shape
    effect = float(difference.mean())
    total, residual, groups = _item_variance(difference, scores.groups)
    if groups < 2:
        what = "one item" if items == 1 else "one cluster of items"
        return Contrast(effect, None, None, None, None, None, 0.0, 0.0, 0.0, seeds, items, f"{what}: no interval")

    names = scores.arms if pool is None else tuple(dict.fromkeys((a, b, *pool)))
    cells = scores.values[[scores.arm(name) for name in names]].mean(axis=2)
    if seeds == 1:
        v_seed, seed_df, v_item = 0.0, 1.0, total
        item_spread = total**2 / (groups - 1)
        note = "item noise only"
    else:
        seed_df = float((len(names) - 1) * (seeds - 1))
        v_seed = max(2 * _residual_square(cells) / seeds, residual)
        v_item = max(total - residual, 0.0)
        item_spread = (total**2 + residual**2 / (seeds - 1)) / (groups - 1) if v_item > 0 else 0.0
        note = "two arms and two seeds: 1 degree of freedom" if seed_df == 1 else ""
    floor = _floor(scores.values, v_seed + v_item) / groups**2
    if v_seed + v_item < floor:
        v_item = floor - v_seed
        item_spread = v_item**2 / (groups - 1)
    variance = v_seed + v_item
    df = variance**2 / (v_seed**2 / seed_df + item_spread)
    if seeds > 1 and seed_df == 1:
        df = 1.0
    se = float(np.sqrt(variance))
    half = float(special.stdtrit(df, 1 - alpha / 2)) * se
    p = None if seeds == 1 else float(min(1.0, 2 * special.stdtr(df, -abs(effect) / se)))
    return Contrast(
        effect, se, effect - half, effect + half, float(df), p, float(v_seed), float(v_item),
        float(residual), seeds, items, note,
    )  # fmt: skip


def _residual_square(table: Floats) -> float:
    """Return the residual mean square of a two-way table without replicates; 0 for a single row or column."""
    rows, columns = table.shape
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean()
    return float((rest**2).sum() / max((rows - 1) * (columns - 1), 1))


def _item_variance(difference: Floats, groups: tuple[str, ...] | None) -> tuple[float, float, int]:
    """Return MS_item / (S I), MS_res / (S I) of ``difference[seed, item]``, by cluster, and the number of
    clusters."""
    seeds, items = difference.shape
    sums = difference - difference.mean(axis=1, keepdims=True)
    if groups is not None:
        names, member = np.unique(np.asarray(groups), return_inverse=True)
        sums = np.stack([np.bincount(member, weights=row, minlength=len(names)) for row in sums])
    count = sums.shape[1]
    if count < 2:
        return 0.0, 0.0, count
    scale = count / (count - 1) / items**2
    steady = sums.mean(axis=0)
    total = scale * float((steady**2).sum())
    residual = scale * float(((sums - steady) ** 2).sum()) / ((seeds - 1) * seeds) if seeds > 1 else 0.0
    return total, residual, count


def _floor(values: Floats, variance: float) -> float:
    """Return the squared change of one item's score that stands for the least noise there can be."""
    spread = float(np.ptp(values)) or 1.0
    two_values = bool(np.all((values == values.min()) | (values == values.max())))
    return spread**2 if two_values or variance < TINY * spread**2 else 0.0


def equivalence(estimate: Contrast, threshold: float) -> float:
    """Return the p value of two one-sided tests (Schuirmann 1987) that the effect lies within +-threshold.

    It is 1 where no verdict may come from the contrast (one seed, one item).
    """
    if estimate.p is None or estimate.se is None or estimate.df is None:
        return 1.0
    return float(special.stdtr(estimate.df, (abs(estimate.effect) - threshold) / estimate.se))


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjust p values for the family-wise error rate (Holm 1979).

    None (a comparison that gave no p value) stays None but counts: the family is what was planned, not what
    finished.
    """
    order = sorted((value, index) for index, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, index) in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * value))
        adjusted[index] = highest
    return adjusted


def benjamini_hochberg(p: Sequence[float | None]) -> list[float | None]:
    """Adjust p values for the false discovery rate (Benjamini and Hochberg 1995); None counts and stays
    None."""
    order = sorted(((value, index) for index, value in enumerate(p) if value is not None), reverse=True)
    adjusted: list[float | None] = [None] * len(p)
    lowest = 1.0
    for rank, (value, index) in zip(range(len(order), 0, -1), order, strict=True):
        lowest = min(lowest, value * len(p) / rank)
        adjusted[index] = lowest
    return adjusted


def seed_noise_differs(scores: Scores, alpha: float = 0.01) -> list[str]:
    """Return the arms that vary more from seed to seed than the others do, at family-wise level ``alpha``.

    Each arm's deviation from the mean of the others is set against the residual mean square of the others:
    under equal normal noise the ratio is exactly F with ``S-1`` and ``(A-2)(S-1)`` degrees of freedom
    (Russell and Bradley 1958). Holm over arms. The noise of the others is never taken for less than their
    items alone make of it, so that equal means of a few runs are no proof of calm. With fewer than three arms
    or two seeds there is nothing to compare, and the list is empty.
    """
    cells = scores.values.mean(axis=2)
    arms, seeds = cells.shape
    if arms < 3 or seeds < 2:
        return []
    rounding = TINY * ((float(np.ptp(scores.values)) or 1.0) ** 2)
    calm = np.array([_residual_square(table) for table in scores.values]) / len(scores.items)
    p: list[float | None] = []
    for index in range(arms):
        others = np.delete(cells, index, axis=0)
        own = float(np.var(cells[index] - others.mean(axis=0), ddof=1)) * (arms - 1) / arms
        least = max(float(np.delete(calm, index).mean()), rounding)
        ratio = own / max(_residual_square(others), least) if own > rounding else 0.0
        p.append(float(special.fdtrc(seeds - 1, (arms - 2) * (seeds - 1), ratio)))
    return [name for name, value in zip(scores.arms, holm(p), strict=True) if value is not None and value < alpha]


def noise(scores: Scores, baseline: str) -> dict[str, float | None]:
    """Split the noise of the contrasts with the baseline, mean over arms, in the terms that ``power`` takes.

    Returns:
        ``seed_sd``: SD over seeds of a run's mean on endless items; ``item_sd``: SD over items of what an
        item does to a difference at every seed; ``residual_sd``: SD of what it does at a single seed;
        ``seed_share``: the share of the variance that stays with endless items; ``item_share``: the rest.
        With one seed only ``item_sd`` is known; where no contrast has an interval, nothing is (None).
    """
    found = [contrast(scores, arm, baseline) for arm in scores.arms if arm != baseline]
    usable = [one for one in found if one.se is not None]
    split: dict[str, float | None] = dict.fromkeys(("seed_share", "item_share", "seed_sd", "item_sd", "residual_sd"))
    if not usable:
        return split
    seeds, items = usable[0].seeds, usable[0].items
    v_item = float(np.mean([one.v_item for one in usable]))
    split["item_sd"] = float(np.sqrt(v_item * items))
    if seeds == 1:
        return split
    v_residual = float(np.mean([one.v_residual for one in usable]))
    lasting = max(float(np.mean([one.v_seed for one in usable])) - v_residual, 0.0)
    share = lasting / (lasting + v_residual + v_item)
    split |= {"seed_share": share, "item_share": 1 - share, "seed_sd": float(np.sqrt(lasting * seeds / 2))}
    split["residual_sd"] = float(np.sqrt(v_residual * seeds * items))
    return split
