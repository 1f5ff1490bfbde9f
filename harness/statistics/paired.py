"""Differences between arms, paired by seed and item, with the noise of both.

Every run scores every item and every arm has every seed, so both are crossed with the arms. A run's mean varies
with its seed (draw of rows, order, initialisation); an effect also depends on which items happen to be in the
suite. Two or three seeds of one arm say little about its own seed noise, so seed noise is pooled over all arms, as
far as an arm does not look noisier than the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from harness.statistics.estimate import (
    LEAST_CLUSTERS,
    OUTLIER,
    Estimate,
    cluster_deviations,
    cluster_sums,
    effective_count,
    estimate,
    item_variance,
    rounding,
    seed_noise,
)
from harness.statistics.scores import Scores
from harness.statistics.sequential import fractions_of, levels_at, sequential_p

MOSTLY_OWN = 0.9  # a note is added when an arm's own seed noise weighs more


@dataclass(frozen=True)
class Look:
    """A contrast at one look, as if it were the only one.

    Attributes:
        seeds: Number of seeds.
        effect: Mean difference.
        se: Standard error.
        df: Degrees of freedom.
        p: Two-sided p value of no effect.
    """

    seeds: int
    effect: float
    se: float
    df: float
    p: float


@dataclass(frozen=True)
class Contrast:
    """The effect of one arm minus another, in the metric's units.

    Attributes:
        effect: Mean difference over seeds and items.
        se: Standard error; None when it cannot be estimated (one item, or one cluster of items).
        ci_low: Lower end of the t interval.
        ci_high: Upper end of the t interval.
        df: Degrees of freedom of the t distribution of interval and p value.
        p: Two-sided p value of no effect; None when it must not decide.
        v_seed: Squared standard error due to seeds, residual item noise included.
        v_item: Squared standard error due to the choice of items.
        v_residual: The part of ``v_seed`` that more items would reduce too.
        seeds: Number of seeds.
        items: Number of items.
        note: What the reader must know about this interval; empty for an ordinary one.
        clusters: Number of clusters of items; an independent item is one cluster.
        twin: Weight of the A/A arm's runs in what the arm is compared with.
        effective: Number of equal clusters with as much information.
        looks: All looks so far, where the study is looked at more than once: p value and interval are then valid at
            each of them.
        fractions: Information of all planned looks, as shares of the last one's.
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
    clusters: int = 0
    effective: float = 0.0
    twin: float = 0.0
    looks: tuple[Look, ...] = ()
    fractions: tuple[float, ...] = ()


def contrast(scores: Scores, a: str, b: str, alpha: float = 0.05, pool: tuple[str, ...] | None = None) -> Contrast:
    """Estimate the effect of arm ``a`` minus arm ``b``, with the noise of seeds and items.

    With cell means ``c[arm, seed]`` of the A pooled arms and differences ``d[seed, item]`` of the two:

    - ``w[arm]`` is the variance of a run's mean over seeds: ``(1 - q) MS_res(c) + q own``, with the residual mean
      square of the arm x seed table (a seed's effect on all arms alike cancels), df ``(A-1)(S-1)``; the arm's
      own mean square, not below the pooled one, df ``S-1``; and ``q``, the posterior probability that this arm is
      noisier than the others (``estimate.seed_noise``). An arm that is clearly noisier leaves the pool.
    - ``V_seed = (w[a] + w[b]) / S``. It contains the effect of items on single runs, ``MS_res(d) / (S I)``, and is
      never below it: a table of few cells can vary little by chance.
    - ``V_item = (MS_item(d) - MS_res(d)) / (S I)``, not below 0: the effect of an item on the difference, the same at
      every seed. With clusters, sums over a cluster replace items (``estimate.cluster_deviations``, the jackknife
      over clusters; equal to the above without clusters); df is their effective number less 1, so that one cluster
      of 60 items and 40 of one item count for 2.7, not for 41. Below an effective number of 1.5 there is no
      interval. V is never below ``MS_item / (S I)``, and its df never above the clusters' df: few clusters are
      judged as few.
    - ``V = V_seed + V_item``, t interval. ``1 / df`` is the mean of ``1 / df`` of the parts (pooled, own, items),
      weighted by their share of V. Satterthwaite (1946) squares the shares; a part with one or two degrees of
      freedom that is small by chance then gives V many, and the test is wrong in 6-10% of null studies. With two
      arms, whose seed noise has ``S-1`` degrees of freedom, the seeds' share is raised to the power 3/4, for the
      same reason; with two arms and two seeds df is 1 whatever the share.

    A suite of right-or-wrong items cannot resolve less than one item, so there the standard error is never below
    1 / (effective number of items or clusters): all right against all wrong is not certainty. The same floor, times the
    range of the scores, holds for other scores when nothing varies at all.

    Arms that ended early are compared on the seeds that both have. In a study with stages, p value and interval are
    those of a sequence of looks (``sequential``): they are valid at each look.

    Args:
        scores: All arms of the study.
        a: The arm whose effect is estimated.
        b: The arm that ``a`` is compared with.
        alpha: The interval covers ``1 - alpha``.
        pool: Arms whose seed noise is compared and pooled (``a`` and ``b`` always are); default: all of them. Arms
            with the same scores are the same runs, and count once.

    Raises:
        ValueError: When an arm does not exist or the two are the same.
    """
    if a == b:
        raise ValueError(f'arm "{a}" cannot be compared with itself')
    return staged(scores, (a, b), alpha, lambda table: once(table, a, b, alpha, pool))


def staged(scores: Scores, arms: Sequence[str], alpha: float, estimated: Callable[[Scores], Contrast]) -> Contrast:
    """Return a contrast at the last look, with an interval and a p value that are valid at each look.

    Args:
        scores: All arms of the study.
        arms: The arms of the contrast.
        alpha: The interval covers ``1 - alpha`` at all looks together.
        estimated: Returns the contrast in a complete table.
    """
    whole, stages = scores.together(*arms), scores.stages
    seen = [seeds for seeds in stages if seeds <= len(whole.seeds)]
    if len(stages) < 2 or not seen:
        return estimated(whole)
    found = [estimated(scores.first(seeds)) for seeds in seen]
    first, last = found[0], found[-1]
    looks = [
        Look(one.seeds, one.effect, one.se, one.df, one.p)
        for one in found
        if one.se is not None and one.df is not None and one.p is not None
    ]
    if len(looks) < len(found) or last.se is None:
        return last
    fractions = fractions_of(stages, first.v_seed, first.v_item)
    level = levels_at(fractions, alpha)[len(found) - 1]
    half = float(special.stdtrit(last.df, 1 - level / 2)) * last.se
    return replace(
        last, ci_low=last.effect - half, ci_high=last.effect + half,
        p=sequential_p([one.p for one in looks], fractions), looks=tuple(looks), fractions=fractions,
    )  # fmt: skip


def once(scores: Scores, a: str, b: str, alpha: float = 0.05, pool: tuple[str, ...] | None = None) -> Contrast:
    """Estimate a contrast from a complete table as ``contrast`` does, as if this were the only look."""
    if scores.twins is not None and a == scores.twins[0] and b != scores.twins[1]:
        return _negative(once(scores, b, a, alpha, pool))
    values, first, second = scores.values, scores.arm(a), scores.arm(b)
    seeds, items = values.shape[1:]
    member = scores.members()
    clusters, effective = scores.clusters, effective_count(items, member)
    if effective < LEAST_CLUSTERS:
        effect = float(values[first].mean() - values[second].mean())
        what = "one item" if items == 1 else "one cluster of items" if clusters == 1 else "hardly more than one cluster"
        said = f"{what}: no interval"
        return Contrast(effect, None, None, None, None, None, 0.0, 0.0, 0.0, seeds, items, said, clusters, effective)

    names = _distinct(scores, tuple(dict.fromkeys((a, b, *(scores.arms if pool is None else pool)))))
    twin = None
    if scores.twins is not None and b == scores.twins[0] and a != scores.twins[1] and scores.twins[1] in names:
        twin = scores.arm(scores.twins[1])
    pooled = [scores.arm(name) for name in names]
    looks = max(1, len(scores.stages))
    found = estimate(values[None], [first], second, member, pooled, twin, scores.noise, looks, scores.parts)
    effect, half = found.effect.item(), found.half_width(alpha).item()
    return Contrast(
        effect=effect,
        se=found.se.item(),
        ci_low=effect - half,
        ci_high=effect + half,
        df=found.df.item(),
        p=None if seeds == 1 else found.p().item(),
        v_seed=found.v_seed.item(),
        v_item=found.v_item.item(),
        v_residual=found.v_residual.item(),
        seeds=seeds,
        items=items,
        note=_note(scores, (a, b), names, found),
        clusters=clusters,
        effective=effective,
        twin=found.twin.item(),
    )


def compared_with(scores: Scores, baseline: str) -> tuple[float, float]:
    """Return the mean score that arms are compared with, and the weight of the A/A arm's runs in it."""
    scores = scores.together()
    others = [arm for arm in scores.arms if arm not in (baseline, *(scores.twins or ()))]
    if not others:
        return scores.mean(baseline), 0.0
    found = contrast(scores, others[0], baseline)
    return scores.mean(others[0]) - found.effect, found.twin


def _negative(found: Contrast) -> Contrast:
    """Return the contrast of the same two arms the other way round."""
    low, high = (None if end is None else -end for end in (found.ci_high, found.ci_low))
    return replace(found, effect=-found.effect, ci_low=low, ci_high=high)


def _distinct(scores: Scores, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names without arms, after the first two, whose scores repeat an earlier arm's (an idle filter)."""
    kept: list[str] = []
    seen: set[str] = set()
    for name in names:
        same = scores.repeats[name]
        if len(kept) < 2 or same not in seen:
            kept.append(name)
        seen.add(same)
    return tuple(kept)


def _note(scores: Scores, pair: tuple[str, str], pooled: tuple[str, ...], found: Estimate) -> str:
    """Return what the reader must know about an interval; empty for an ordinary one."""
    noise, seeds = found.noise, len(scores.seeds)
    said = []
    if noise is None:
        said.append("item noise only")
    elif seeds == 2 and len(pooled) == 2:
        said.append("two arms and two seeds: 1 degree of freedom")
    else:
        said += [
            f"{name} varies {_times(noise.ratio[0, index])} as much from seed to seed as the other arms: "
            f"judged by its own {seeds} runs"
            for name in pair
            if noise.weight[0, index := pooled.index(name)] > MOSTLY_OWN
        ]
    if found.floored.item():
        least = "item" if scores.members() is None else "cluster of items"
        said.append(f"the scores hardly vary: one {least} more or less is taken for the noise")
    return "; ".join(said)


def _times(ratio: float) -> str:
    """Return in words how many times as large a standard deviation is, from the ratio of variances."""
    return f"{ratio**0.5:.1f} times" if ratio < 100 else "more than 10 times"


def equivalence(estimate: Contrast, threshold: float) -> float:
    """Return the p value of two one-sided tests (Schuirmann 1987) that the effect lies within +-threshold.

    It is 1 when the contrast must not decide (one seed, one item).
    """
    if estimate.p is None or estimate.se is None or estimate.df is None:
        return 1.0
    if estimate.looks:
        above, below = (
            [float(special.stdtr(look.df, (sign * look.effect - threshold) / look.se)) for look in estimate.looks]
            for sign in (1, -1)
        )
        return max(sequential_p(tail, estimate.fractions, sides=1) for tail in (above, below))
    return float(special.stdtr(estimate.df, (abs(estimate.effect) - threshold) / estimate.se))


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjust p values for the family-wise error rate (Holm 1979).

    None (a comparison without a p value) stays None but counts: the family is every planned comparison.
    """
    order = sorted((value, index) for index, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, index) in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * value))
        adjusted[index] = highest
    return adjusted


def benjamini_hochberg(p: Sequence[float | None]) -> list[float | None]:
    """Adjust p values for the false discovery rate (Benjamini and Hochberg 1995); None counts and stays None."""
    order = sorted(((value, index) for index, value in enumerate(p) if value is not None), reverse=True)
    adjusted: list[float | None] = [None] * len(p)
    lowest = 1.0
    for rank, (value, index) in zip(range(len(order), 0, -1), order, strict=True):
        lowest = min(lowest, value * len(p) / rank)
        adjusted[index] = lowest
    return adjusted


def seed_noise_differs(scores: Scores, alpha: float = OUTLIER) -> list[str]:
    """Return the arms that vary more from seed to seed than the others, at family-wise level ``alpha``.

    The test is the exact F test of ``estimate.seed_noise`` (Russell and Bradley 1958), with Holm over arms. The noise
    of the others is not taken below the noise that their items alone cause: a few runs with equal means do not prove
    low noise. At the default level the noisiest arm is returned when it also leaves the pool of ``contrast``. With
    fewer than three arms or two seeds the list is empty.
    """
    scores = scores.together()
    arms, seeds, items = scores.values.shape
    if arms < 3 or seeds < 2:
        return []
    cells, member = scores.values.mean(axis=2), scores.members()
    sums = cluster_deviations(scores.values - cells[..., None], member)
    calm = item_variance(sums, items)[1].mean() * seeds if sums.shape[2] > 1 else 0.0
    p = seed_noise(cells[None], calm, rounding(scores.values[None])).p[0].tolist()
    return [name for name, value in zip(scores.arms, holm(p), strict=True) if value is not None and value < alpha]


def noise(scores: Scores, baseline: str) -> dict[str, float | None]:
    """Split the noise of the contrasts with the baseline, mean over arms, in the terms that ``power`` takes.

    Returns:
        ``seed_sd``: SD over seeds of a run's mean on endless items; ``item_sd``: SD over items of an item's effect on
        a difference at every seed; ``residual_sd``: SD of its effect at a single seed; ``seed_share``: the share of
        the variance that remains with endless items; ``item_share``: the rest. With one seed only ``item_sd`` is
        known; when no contrast has an interval, all are None. With clusters also ``clusters``, their number, and
        ``correlation``, how alike items of a cluster are.
    """
    scores = replace(
        scores.together(), twins=None, noise="careful", stages=()
    )  # of ordinary differences, whatever the rule
    found = [contrast(scores, arm, baseline) for arm in scores.arms if arm != baseline]
    usable = [one for one in found if one.se is not None]
    split: dict[str, float | None] = dict.fromkeys(("seed_share", "item_share", "seed_sd", "item_sd", "residual_sd"))
    if not usable:
        return split
    if scores.members() is not None:
        split |= {"clusters": float(scores.clusters), "correlation": correlation(scores, baseline)}
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


def correlation(scores: Scores, baseline: str) -> float | None:
    """Return the intraclass correlation of the arms' differences to the baseline: how alike items of a cluster are.

    The estimator is that of one-way analysis of variance, ``(MSB - MSW) / (MSB + (n0 - 1) MSW)`` with
    ``n0 = (I - sum(n^2) / I) / (G - 1)`` for clusters of n items (Donner 1986), mean squares summed over arms;
    differences are means over seeds. A cluster's effect on all arms alike cancels. Not below 0; None when no cluster
    holds two items, or when there is only one cluster.
    """
    scores = scores.together()
    member, items, clusters = scores.members(), len(scores.items), scores.clusters
    if member is None or clusters < 2:
        return None
    mean = scores.values.mean(axis=1)
    others = [scores.arm(name) for name in scores.arms if name != baseline]
    difference = mean[others] - mean[scores.arm(baseline)]
    sizes = np.bincount(member)
    centre = cluster_sums(difference, member) / sizes
    between = float((sizes * (centre - difference.mean(axis=1, keepdims=True)) ** 2).sum()) / (clusters - 1)
    within = float(((difference - centre[:, member]) ** 2).sum()) / (items - clusters)
    typical = (items - float(np.square(sizes).sum()) / items) / (clusters - 1)
    whole = between + (typical - 1) * within
    return max(0.0, (between - within) / whole) if whole > 0 else 0.0
