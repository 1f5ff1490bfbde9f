"""The decision rule on one contrast, and what would settle an open one. Numbers only; ``reasons`` has the words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from harness.statistics.paired import Contrast, equivalence, holm
from harness.statistics.power import PRACTICAL_ITEMS, PRACTICAL_SEEDS, TWIN_RUNS, items_needed, seeds_needed
from harness.statistics.scores import Noise

Outcome = Literal["better", "same", "worse", "unclear"]


def outcome(
    estimate: Contrast | None, p_adjusted: float | None, p_same: float | None, threshold: float, alpha: float
) -> Outcome:
    """Apply the rule to a contrast: at least the threshold and not noise, or shown to lie within the threshold.

    Args:
        estimate: The contrast; None when it could not be measured.
        p_adjusted: Its p value after Holm; None (one seed, one item) never gives an outcome.
        p_same: Its equivalence p value after Holm.
        threshold: The smallest effect that matters.
        alpha: The family-wise level.
    """
    if estimate is None or estimate.p is None or p_adjusted is None:
        return "unclear"
    if abs(estimate.effect) >= threshold and p_adjusted < alpha:
        return "better" if estimate.effect > 0 else "worse"
    return "same" if p_same is not None and p_same < alpha else "unclear"


def outcomes(
    estimates: Sequence[Contrast | None], threshold: float, alpha: float
) -> tuple[list[Outcome], list[float | None], list[float | None]]:
    """Apply the rule to a family of contrasts.

    Returns:
        The outcomes; the p values of no effect and those of equivalence, both after Holm over the family.
    """
    effects = holm([one.p if one else None for one in estimates])
    same = holm([equivalence(one, threshold) if one and one.p is not None else None for one in estimates])
    found = [outcome(one, p, q, threshold, alpha) for one, p, q in zip(estimates, effects, same, strict=True)]
    return found, effects, same


def flips(
    whole: Outcome, every: Contrast | None, part: Outcome, some: Contrast | None, threshold: float
) -> Literal["", "sign", "verdict", "size"]:
    """Return how a part of the items (the clean ones, the confirmation half) contradicts all of them.

    Fewer items make every interval wider: a part that merely fails to show an effect does not contradict it.

    Returns:
        ``sign``: the effect has the other sign, and one of the two effects matters. ``verdict``: the part shows another
        outcome. ``size``: an effect that all items show is below the threshold in the part, or an effect that all items
        show to be small is not. Empty: they agree, or one was not measured.
    """
    if every is None or some is None:
        return ""
    if every.effect * some.effect < 0 and max(abs(every.effect), abs(some.effect)) >= threshold:
        return "sign"
    if part not in ("unclear", whole):
        return "verdict"
    small = abs(some.effect) < threshold
    if (whole in ("better", "worse") and small) or (whole == "same" and not small):
        return "size"
    return ""


def settling(
    estimate: Contrast, threshold: float, alpha: float, arms: int, share: float = 1.0, noise: Noise = "careful"
) -> tuple[int | None, int | None]:
    """Return how many more seeds, or items, would settle a contrast, from its own noise.

    The target is the precision at which an effect as large as the measured one, or the smallest that matters
    if that is larger, is found four times in five; without an effect, equivalence is then shown about as often. When
    a study is that precise already, its effect is near the threshold: then the target is the distance between the
    two.

    Args:
        estimate: The contrast.
        threshold: The smallest effect that matters.
        alpha: Level of this one contrast (the family's, divided by its size).
        arms: Arms whose seed noise is pooled.
        share: Share of new items that the contrast would get (the rest is kept for confirmation).
        noise: How seed noise is judged.

    Returns:
        More seeds, more items; None when no practical number settles it.
    """
    size, seeds, items = abs(estimate.effect), estimate.seeds, estimate.items
    lasting = max(estimate.v_seed - estimate.v_residual, 0.0)
    twin = estimate.twin > 0
    runs = TWIN_RUNS if twin else 2.0  # runs per seed whose noise is in the contrast
    seed_sd, item_sd = math.sqrt(lasting * seeds / runs), math.sqrt(estimate.v_item * items)
    residual_sd = math.sqrt(estimate.v_residual * seeds * items * 2 / runs)
    size_of = items / estimate.effective

    def given(needed: Callable[..., int | None]) -> Callable[..., int | None]:
        return partial(
            needed, seed_sd=seed_sd, item_sd=item_sd, arms=arms, alpha=alpha, residual_sd=residual_sd,
            cluster_size=size_of, noise=noise, twin=twin,
        )  # fmt: skip

    for target in (max(size, threshold), abs(size - threshold)):
        if target == 0:
            break
        by_seeds, by_items = given(seeds_needed)(target, items=items), given(items_needed)(target, seeds=seeds)
        if by_seeds is not None and by_seeds <= seeds:
            continue
        more_seeds = by_seeds - seeds if by_seeds and by_seeds <= PRACTICAL_SEEDS else None
        enough = by_items is not None and items < by_items <= PRACTICAL_ITEMS * items
        more_items = math.ceil((by_items - items) / share) if by_items is not None and enough else None
        if more_seeds or more_items:
            return more_seeds, more_items
    return None, None
