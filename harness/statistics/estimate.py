"""The estimator behind ``paired.contrast``, as array code over many studies at once.

One study is a table ``[arms, seeds, items]``. All arrays here have a leading axis of studies, so that the same code
judges a study and is simulated to find its error rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

Noise = Literal["balanced", "careful"]
Floats = npt.NDArray[np.float64]

RATIOS = (2.0, 4.0, 8.0)  # how many times as noisy an arm may be, if it differs from the others
CAREFUL, ALONE, TWINNED = 1.0, 0.5, 0.2  # odds that an arm is noisier: careful; balanced without and with a twin
# At least these odds in a study that is looked at several times: each look may take noise for an effect.
LOOKED: dict[Noise, float] = {"balanced": 0.7, "careful": 2.0}
PAIRED = 0.5  # share of a run's seed noise that all arms have in common, above which the twin is left out
OUTLIER = 0.1  # family-wise level at which the noisiest arm leaves the pool, and is flagged
TWO_ARMS = 0.75  # exponent of the seeds' share of the variance when there are only two arms
LEAST_CLUSTERS = 1.5  # effective clusters, below which the spread between clusters cannot be estimated
TINY = 1e-12  # variances below this share of the squared range of the scores are rounding, not noise


@dataclass(frozen=True)
class SeedNoise:
    """Variance of one run's mean over seeds, arm by arm.

    Attributes:
        pooled: ``[studies]``, the variance the arms share.
        pooled_df: ``[studies]``, its degrees of freedom.
        own: ``[studies, arms]``, an arm's own variance, not below the pooled one.
        own_df: ``[arms]``, its degrees of freedom.
        weight: ``[studies, arms]``, weight of an arm's own variance, 0 to 1.
        ratio: ``[studies, arms]``, an arm's variance divided by that of the others.
        p: ``[studies, arms]``, p value of equal noise against a noisier arm, before correction over arms.
    """

    pooled: Floats
    pooled_df: Floats
    own: Floats
    own_df: Floats
    weight: Floats
    ratio: Floats
    p: Floats


@dataclass(frozen=True)
class Estimate:
    """Contrasts ``[studies, contrasts]``; names as in ``paired.Contrast``.

    Attributes:
        effect: Mean difference.
        se: Standard error.
        df: Degrees of freedom.
        v_seed: Squared standard error due to seeds, residual item noise included.
        v_item: Squared standard error due to the choice of items.
        v_residual: The part of ``v_seed`` that more items would reduce too.
        twin: Weight of the twin's runs in what the arms are compared with, 0 to 1/2.
        floored: Whether the scores vary so little that the standard error is at its floor.
        noise: Seed noise of the pooled arms; None with one seed.
    """

    effect: Floats
    se: Floats
    df: Floats
    v_seed: Floats
    v_item: Floats
    v_residual: Floats
    twin: Floats
    floored: npt.NDArray[np.bool_]
    noise: SeedNoise | None

    def half_width(self, alpha: float = 0.05) -> Floats:
        """Return half the width of the ``1 - alpha`` interval."""
        return np.asarray(special.stdtrit(self.df, 1 - alpha / 2) * self.se)

    def p(self, effect: Floats | float | None = None) -> Floats:
        """Return two-sided p values of the effects, or of ``effect`` with these standard errors."""
        shift = self.effect if effect is None else effect
        return np.asarray(np.minimum(1.0, 2 * special.stdtr(self.df, -np.abs(shift) / self.se)))

    def p_equivalence(self, threshold: float, effect: Floats | None = None) -> Floats:
        """Return p values of two one-sided tests (Schuirmann 1987) that effects lie within +-``threshold``."""
        shift = self.effect if effect is None else effect
        return np.asarray(special.stdtr(self.df, (np.abs(shift) - threshold) / self.se))


@dataclass(frozen=True)
class Parts:
    """What estimates of one table share: computed once for all its contrasts.

    Attributes:
        cells: ``[studies, arms, seeds]``, means of runs.
        sums: ``[studies, arms, seeds, clusters]``, cluster sums of deviations from them.
        calm: ``[studies, arms]``, the variance of a mean over seeds due to items that differ from seed to seed.
    """

    cells: Floats
    sums: Floats
    calm: Floats


def parts(values: Floats, member: npt.NDArray[np.intp] | None) -> Parts:
    """Return the parts of a table.

    Args:
        values: ``[studies, arms, seeds, items]``.
        member: Cluster number of each item, 0 upwards; None when items are independent.
    """
    cells = values.mean(axis=3)
    sums = cluster_deviations(values - cells[..., None], member)
    return Parts(cells, sums, item_variance(sums, values.shape[3])[1])


def estimate(
    values: Floats,
    plus: Sequence[int],
    minus: int,
    member: npt.NDArray[np.intp] | None,
    pool: Sequence[int],
    twin: int | None = None,
    noise: Noise = "careful",
    looks: int = 1,
    known: Parts | None = None,
) -> Estimate:
    """Estimate arms ``plus`` minus arm ``minus`` (formulas: ``paired.contrast``).

    Args:
        values: ``[studies, arms, seeds, items]``, with two or more items or clusters.
        plus: Positions of the arms whose effects are estimated.
        minus: Position of the arm that they are compared with.
        member: Cluster number of each item, 0 upwards; None when items are independent.
        pool: Positions of the arms whose seed noise is compared and pooled; holds ``plus`` and ``minus``.
        twin: Position of an arm with the data of ``minus`` and other seeds (A/A). Balanced, its runs count as runs of
            ``minus``, as far as seeds do not move all arms alike.
        noise: ``careful`` believes sooner that an arm is noisier than the others, for less power where none is.
        looks: How often the study is looked at in all.
        known: The parts of the table, where they are known already.
    """
    known = known or parts(values, member)
    least = LOOKED[noise] if looks > 1 else 0.0
    if noise == "careful":
        return _estimate(values, known, plus, minus, member, pool, max(CAREFUL, least))
    alone = _estimate(values, known, plus, minus, member, [arm for arm in pool if arm != twin], max(ALONE, least))
    if twin is None or values.shape[2] == 1:
        return alone
    common, share = common_noise(values, known, [arm for arm in pool if arm != twin])
    together = _estimate(values, known, plus, minus, member, pool, max(TWINNED, least), (twin, common, (1 - share) / 2))
    if np.all(share < PAIRED):
        return together
    return _either(share < PAIRED, together, alone)


def _estimate(
    values: Floats,
    known: Parts,
    plus: Sequence[int],
    minus: int,
    member: npt.NDArray[np.intp] | None,
    pool: Sequence[int],
    odds: float,
    twin: tuple[int, Floats, Floats] | None = None,
) -> Estimate:
    """Estimate with given odds; ``twin``: its position, the noise it does not share, and its weight, per study."""
    seeds, items = values.shape[2:]
    cells, sums = known.cells, known.sums
    count = effective_count(items, member)
    against, against_sums = cells[:, [minus]], sums[:, [minus]]
    if twin is not None:
        at, common, share = twin[0], twin[1][:, None], twin[2][:, None]
        against = against + share[..., None] * (cells[:, [at]] - against)
        against_sums = against_sums + share[..., None, None] * (sums[:, [at]] - against_sums)
    effect = (cells[:, plus] - against).mean(axis=2)
    total, residual = item_variance(sums[:, plus] - against_sums, items)

    found = None
    if seeds == 1:
        v_seed, v_item, seed_df = np.zeros_like(effect), total, np.ones((len(values), 1))
        own = own_per_df = np.zeros_like(effect)
    else:
        arms = list(pool)
        calm = known.calm[:, arms].mean(axis=1) * seeds
        pair = None if twin is None else (arms.index(minus), arms.index(twin[0]))
        found = seed_noise(cells[:, arms], calm, rounding(values), odds, pair)
        mine, theirs = [arms.index(arm) for arm in plus], arms.index(minus)
        own_part, pooled_part = found.weight * found.own / seeds, (1 - found.weight) * found.pooled[:, None] / seeds
        times = np.ones((len(values), 1)) if twin is None else (1 - share) ** 2 + share**2
        apart = np.zeros((len(values), 1)) if twin is None else share**2 * common / seeds
        own = own_part[:, mine] + times * own_part[:, [theirs]] + apart
        own_per_df = own_part[:, mine] / found.own_df[mine] + times * own_part[:, [theirs]] / found.own_df[theirs]
        own_per_df = own_per_df + apart / (seeds - 1)
        v_seed = own + pooled_part[:, mine] + times * pooled_part[:, [theirs]]
        seed_df = found.pooled_df[:, None]
        v_seed, v_item = np.maximum(v_seed, residual), np.maximum(total - residual, 0.0)
    floor = least_variance(values, v_seed + v_item) / count**2
    floored = v_seed + v_item < floor
    v_item = np.where(floored, floor - v_seed, v_item)
    variance = v_seed + v_item
    spread = own_per_df + (v_seed - own) / seed_df + v_item / (count - 1)
    if len(pool) == 2:
        spread = variance * (v_seed / variance) ** TWO_ARMS / seed_df + v_item / (count - 1)
    df = np.ones_like(variance) if len(pool) == seeds == 2 else variance / spread
    df = np.minimum(df, count - 1)  # a small spread of few clusters, by chance, must not get the df of the seeds
    weight = np.zeros_like(effect) if twin is None else np.broadcast_to(share, effect.shape)
    return Estimate(effect, np.sqrt(variance), df, v_seed, v_item, residual, weight, floored, found)


def _either(first: npt.NDArray[np.bool_], one: Estimate, other: Estimate) -> Estimate:
    """Return for each study the one estimate or the other."""
    named = {
        field.name: np.where(first[:, None], getattr(one, field.name), getattr(other, field.name))
        for field in fields(Estimate)
        if field.name != "noise"
    }
    return Estimate(**named, noise=one.noise)


def common_noise(values: Floats, known: Parts, arms: Sequence[int]) -> tuple[Floats, Floats]:
    """Return the variance of what a seed does to all arms alike, and its share of a run's seed noise, per study.

    From the mean squares of the arm x seed table: ``(MS_seed - MS_res) / A``, not below 0.
    """
    seeds = values.shape[2]
    cells = known.cells[:, list(arms)]
    rest = cells - cells.mean(axis=2, keepdims=True)
    moved = rest.mean(axis=1)
    count = len(arms)
    residual = np.square(rest - moved[:, None]).sum(axis=(1, 2)) / max((count - 1) * (seeds - 1), 1)
    calm = known.calm[:, list(arms)].mean(axis=1) * seeds
    residual = np.maximum(residual, np.maximum(calm, rounding(values)))
    common = np.maximum(np.square(moved).sum(axis=1) / (seeds - 1) - residual / count, 0.0)
    return common, common / (common + residual)


def cluster_sums(table: Floats, member: npt.NDArray[np.intp] | None) -> Floats:
    """Return ``table[..., items]`` summed within clusters; unchanged when ``member`` is None."""
    if member is None:
        return table
    order = np.argsort(member, kind="stable")
    starts = np.flatnonzero(np.diff(member[order], prepend=-1))
    return np.asarray(np.add.reduceat(table[..., order], starts, axis=-1))


def cluster_deviations(table: Floats, member: npt.NDArray[np.intp] | None) -> Floats:
    """Return cluster sums of deviations from the mean, as ``item_variance`` takes them.

    A large cluster pulls the mean to itself and so deviates too little. Without it, the mean of I items changes by its
    sum over ``I - n``: with ``(1 - 1/G) / (1 - n/I)`` times each sum, the variance is that of the jackknife that
    leaves out clusters (CV3 of MacKinnon, Nielsen and Webb 2023). Clusters of equal size are unchanged.
    """
    sums = cluster_sums(table, member)
    if member is None or sums.shape[-1] == 1:
        return sums
    sizes = np.bincount(member)
    return np.asarray(sums * ((1 - 1 / len(sizes)) / (1 - sizes / sizes.sum())))


def effective_count(items: int, member: npt.NDArray[np.intp] | None) -> float:
    """Return the number of equal clusters with as much information: ``I^2 / sum(n^2)`` (Kish 1965)."""
    return float(items) if member is None else items**2 / float(np.square(np.bincount(member)).sum())


def item_variance(sums: Floats, items: int) -> tuple[Floats, Floats]:
    """Return MS_item / (S I) and MS_res / (S I) of tables ``[..., seeds, items or cluster deviations]``.

    They are deviations from the mean of all items. The second is 0 with one seed.
    """
    seeds, count = sums.shape[-2:]
    scale = count / (count - 1) / items**2
    steady = sums.mean(axis=-2)
    squares = np.einsum("...i,...i->...", steady, steady)
    if seeds == 1:
        return scale * squares, np.zeros_like(squares)
    rest = sums - steady[..., None, :]
    return scale * squares, scale * np.einsum("...si,...si->...", rest, rest) / ((seeds - 1) * seeds)


def seed_noise(
    cells: Floats,
    calm: Floats | float,
    least: Floats | float,
    odds: float = CAREFUL,
    pair: tuple[int, int] | None = None,
) -> SeedNoise:
    """Compare the seed noise of arms, and return the weight of each arm's own variance.

    An arm enters as its difference from the mean of the others, so that a seed's effect on all arms alike cancels.
    Under equal normal noise, ``F``, the mean square of this difference over the residual mean square of the
    others, is F distributed with ``S-1`` and ``(A-2)(S-1)`` degrees of freedom (Russell and Bradley 1958);
    with ``r`` times the noise it is ``k = (r^2 (A-1) + 1) / A`` times as large. The weight of the arm's own
    variance is the posterior probability of ``r`` in ``RATIOS``, all equally likely, against ``r = 1``, at the given
    odds. Two arms cannot be compared in this way; both are judged by their difference.

    Args:
        cells: ``[studies, arms, seeds]``, means of runs, two seeds or more.
        calm: ``[studies]``, the variance of such a mean due to items alone: the others' variance is not taken below it.
        least: ``[studies]``, variances below this are rounding.
        odds: That an arm is noisier, against equally noisy.
        pair: Positions of two arms that are equally noisy whatever the others are: they have the same data.
    """
    arms, seeds = cells.shape[1:]
    rest = cells - cells.mean(axis=2, keepdims=True)
    rest -= rest.mean(axis=1, keepdims=True)
    square = np.einsum("nas,nas->na", rest, rest) * arms / (arms - 1)
    df = float((arms - 1) * (seeds - 1))
    everything = np.einsum("nas,nas->n", rest, rest)
    pooled, pooled_df = everything / df, np.full(len(cells), df)
    if arms == 2:
        same = np.repeat(pooled[:, None], 2, axis=1)
        own_df = np.full(2, float(seeds - 1))
        return SeedNoise(pooled, pooled_df, same, own_df, np.zeros_like(same), np.ones_like(same), np.ones_like(same))

    df_own, df_others = float(seeds - 1), float((arms - 2) * (seeds - 1))
    others = np.maximum(everything[:, None] - square, 0.0) / df_others
    least = np.broadcast_to(least, pooled.shape)[:, None]
    lowest = np.maximum(np.broadcast_to(calm, pooled.shape)[:, None], least)
    ratio = np.where(square / df_own > least, square / df_own / np.maximum(others, lowest), 0.0)
    p = special.fdtrc(df_own, df_others, ratio)

    studies, noisiest = np.arange(len(cells)), ratio.argmax(axis=1)
    left_out = p[studies, noisiest] * arms < OUTLIER
    pooled = np.where(left_out, others[studies, noisiest], pooled)
    pooled_df = np.where(left_out, df_others, df)
    own = np.maximum((square / df_own - pooled[:, None] / arms) * arms / (arms - 1), pooled[:, None])
    weight, own_df = own_weight(ratio, arms, seeds, odds), np.full(arms, df_own)
    if pair is not None:
        both = list(pair)
        mine, weighed = _noise_of_pair(cells, both, pooled, lowest[:, 0], odds)
        own[:, both], weight[:, both], own_df[both] = mine[:, None], weighed[:, None], 2 * df_own
    return SeedNoise(pooled, pooled_df, own, own_df, weight, ratio, p)


def _noise_of_pair(
    cells: Floats, pair: Sequence[int], pooled: Floats, lowest: Floats, odds: float
) -> tuple[Floats, Floats]:
    """Return the variance that two arms share, not below the pooled one, and its weight, as ``seed_noise`` does.

    Three sums of squares are independent: of the difference of the two (``r^2`` times the others' variance, ``S-1``
    degrees of freedom), of their mean against that of the others (``r^2 / 2 + 1 / (A-2)`` times, ``S-1``), and of the
    others (``(A-3)(S-1)``). The likelihood of ``r`` has their common scale integrated out.
    """
    arms, seeds = cells.shape[1:]
    rest = cells - cells.mean(axis=2, keepdims=True)
    others = np.delete(rest, pair, axis=1)
    middle = others.mean(axis=1)
    apart = np.square(rest[:, pair[0]] - rest[:, pair[1]]).sum(axis=1) / 2
    beside = np.square(rest[:, pair].mean(axis=1) - middle).sum(axis=1)
    df, df_others = seeds - 1.0, (arms - 3.0) * (seeds - 1)
    among = np.maximum(np.square(others - middle[:, None]).sum(axis=(1, 2)), lowest * max(df_others, TINY))
    squared = np.square((1.0, *RATIOS))
    mean = squared / 2 + 1 / (arms - 2)
    scale = apart[:, None] / squared + beside[:, None] / mean + among[:, None]
    scale = np.maximum(scale, TINY * lowest[:, None])
    likelihood = -0.5 * df * np.log(squared * mean) - 0.5 * (2 * df + df_others) * np.log(scale)
    noisier = special.logsumexp(likelihood[:, 1:], axis=1) - np.log(len(RATIOS)) + np.log(odds)
    weight = np.asarray(special.expit(noisier - likelihood[:, 0]))
    own = (apart + 2 * np.maximum(beside - df * pooled / (arms - 2), 0.0)) / (2 * df)
    return np.maximum(own, pooled), weight


def own_weight(ratio: Floats, arms: int, seeds: int, odds: float = CAREFUL) -> Floats:
    """Return the posterior probability that an arm with this variance ratio is noisier (see ``seed_noise``)."""
    df_own, df_others = seeds - 1, (arms - 2) * (seeds - 1)
    larger = (np.square(RATIOS) * (arms - 1) + 1) / arms
    x = df_own * ratio[..., None] / df_others
    likelihood = 0.5 * (df_own + df_others) * (np.log1p(x) - np.log1p(x / larger)) - 0.5 * df_own * np.log(larger)
    return np.asarray(special.expit(special.logsumexp(likelihood, axis=-1) - np.log(len(RATIOS)) + np.log(odds)))


def rounding(values: Floats) -> Floats:
    """Return the variance below which differences within a study ``[studies, ...]`` are rounding."""
    spread = np.ptp(values.reshape(len(values), -1), axis=1)
    return np.asarray(TINY * np.where(spread > 0, spread, 1.0) ** 2)


def least_variance(values: Floats, variance: Floats) -> Floats:
    """Return the squared change of one item's score that sets the floor of the noise.

    It is the squared range of the scores when they have only two values (right or wrong) or ``variance`` is rounding;
    else 0. The range of scores that are all equal is taken to be 1.
    """
    flat = values.reshape(len(values), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    spread = np.where(high > low, high - low, 1.0)[:, None]
    two_values = np.array([bool(np.all((row == a) | (row == b))) for row, a, b in zip(flat, low, high, strict=True)])
    return np.where(two_values[:, None] | (variance < TINY * spread**2), spread**2, 0.0)
