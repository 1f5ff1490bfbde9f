"""Items on which an arm gained and lost against the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

import numpy as np

from harness.escaping import excerpt
from harness.records import StudyView
from harness.report.model import ArmExamples, ItemExample
from harness.study.plan import Plan

if TYPE_CHECKING:
    import polars as pl

SHOWN = 4  # items per arm and direction
ARMS = 8  # arms with examples: those with the largest effects
CHARACTERS = 280  # of a question or an answer


def pick(
    plan: Plan, view: StudyView, scores: Mapping[str, Mapping[int, pl.DataFrame]], touched: Set[str]
) -> tuple[list[ArmExamples], int]:
    """Return examples of the arms with the largest effects, in the study's order, and how many arms are left out.

    Args:
        plan: The study.
        view: The study as the store shows it.
        scores: Variant -> seed -> ``item_id`` and ``score`` of the items that decide.
        touched: Items that a row of a pool overlapped.
    """
    arms = [arm for arm in (view.comparison.arms if view.comparison else []) if not arm.control]
    judged = [arm for arm in arms if arm.effect is not None]
    largest = sorted(judged, key=lambda arm: (-abs(arm.effect or 0.0), arm.variant))[:ARMS]
    chosen = [arm.variant for arm in judged if arm in largest]
    items = plan.suite.table("items").select("item_id", "question", "answer", "slice")
    found = [_arm(name, scores["baseline"], scores[name], items, touched) for name in chosen]
    return found, len(judged) - len(chosen)


def _arm(
    name: str, baseline: Mapping[int, pl.DataFrame], arm: Mapping[int, pl.DataFrame], items: pl.DataFrame,
    touched: Set[str],
) -> ArmExamples:  # fmt: skip
    """Compare an arm with the baseline item by item, by means over the seeds that both have."""
    import polars as pl

    seeds = [seed for seed in baseline if seed in arm]
    base, mine = (np.mean([side[seed]["score"].to_numpy() for seed in seeds], axis=0) for side in (baseline, arm))
    first = next(iter(baseline.values()))
    # Means of the same scores in another order may differ in the last bit: that does not count as a difference.
    both = first.select(
        "item_id", pl.Series("baseline", base), pl.Series("arm", mine), pl.Series("difference", (mine - base).round(9))
    ).join(items, on="item_id", maintain_order="left")
    gained, lost = both.filter(pl.col("difference") > 0), both.filter(pl.col("difference") < 0)
    return ArmExamples(
        variant=name,
        seeds=len(seeds),
        items=both.height,
        gained=gained.height,
        lost=lost.height,
        gains=_examples(gained.sort("difference", "item_id", descending=[True, False]), touched),
        losses=_examples(lost.sort("difference", "item_id"), touched),
    )


def _examples(ranked: pl.DataFrame, touched: Set[str]) -> list[ItemExample]:
    return [
        ItemExample(
            item_id=row["item_id"],
            question=excerpt(row["question"], CHARACTERS),
            answer=excerpt(row["answer"], CHARACTERS),
            slice=row["slice"],
            baseline=row["baseline"],
            arm=row["arm"],
            touched=row["item_id"] in touched,
        )
        for row in ranked.head(SHOWN).iter_rows(named=True)
    ]
