"""Compares arms with the baseline on each slice: exploratory; the slice where the model is weakest comes first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.records import Slice, SliceArm
from harness.statistics.paired import benjamini_hochberg, compared_with, contrast
from harness.statistics.scores import Scores


def slices(
    scores: Scores | None, names: Sequence[str | None], arms: Sequence[str], baseline: str, alpha: float
) -> list[Slice]:
    """Compare arms with the baseline on every slice.

    Slices are ordered by the mean of the variant that is best on all items, lowest first: there more data could
    help most. P values are adjusted over all slices and arms by Benjamini-Hochberg; no verdict is made from them.

    Args:
        scores: All arms on the items that decide.
        names: The slice of each item; None for items without a slice.
        arms: The arms to compare, with or without the baseline; controls do not show where a model is weak.
        baseline: The arm the others are compared with.
        alpha: Intervals cover ``1 - alpha``.
    """
    found = sorted({name for name in names if name is not None})
    if scores is None or baseline not in scores.arms or len(found) < 2:
        return []
    others = [name for name in arms if name != baseline and name in scores.arms]
    best = max((baseline, *others), key=scores.mean)
    labels = np.array([name if name is not None else "" for name in names])
    parts = {name: scores.pick((labels == name) & np.array([each is not None for each in names])) for name in found}
    estimates = {(name, arm): contrast(part, arm, baseline, alpha) for name, part in parts.items() for arm in others}
    adjusted = dict(zip(estimates, benjamini_hochberg([one.p for one in estimates.values()]), strict=True))
    rows = []
    for name, part in parts.items():
        compared = []
        for arm in others:
            one = estimates[name, arm]
            ci = (one.ci_low, one.ci_high)
            p_adjusted = adjusted[name, arm]
            compared.append(
                SliceArm(
                    variant=arm, mean=part.mean(arm), effect=one.effect, ci=ci, p=one.p, p_adjusted=p_adjusted,
                    note=one.note,
                )
            )  # fmt: skip
        rows.append(
            Slice(
                slice=name, items=len(part.items), baseline_mean=compared_with(part, baseline)[0], best=best,
                best_mean=part.mean(best), arms=compared,
            )
        )  # fmt: skip
    return sorted(rows, key=lambda row: (row.best_mean, row.slice))


def weakest(found: Sequence[Slice], metric: str) -> str:
    """Return one sentence that names the slice where the best arm is worst; empty without slices."""
    if not found:
        return ""
    first, name = found[0], metric.split("/")[-1].replace("_", " ")
    return f"Weakest slice of {first.best}: {first.slice} ({name} {first.best_mean:.2f}, {first.items} items)."
