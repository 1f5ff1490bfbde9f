"""Prints every arm against the baseline as tables, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import formats
from harness.terminal import tables

if TYPE_CHECKING:
    from rich.console import Console

    from harness.records import ArmEffect, Comparison, MetricComparison


def show(comparison: Comparison, out: Console, slices: bool = False) -> None:
    """Print the declared metric, the exploratory metrics, the slices if ``slices`` is true, and waivers."""
    same = [metric.metric for metric in comparison.others if all(arm.effect in (0, None) for arm in metric.arms)]
    metrics: list[Comparison | MetricComparison] = [comparison]
    metrics += [metric for metric in comparison.others if metric.metric not in same]
    for metric in metrics:
        exploratory = " · exploratory" if metric is not comparison else " · the study's declared metric"
        beside = formats.BESIDE if comparison.aa_weight else ""
        base = f"baseline {metric.baseline_mean:.3f}{beside}" if metric.baseline_mean is not None else ""
        untrained = f", untrained model {metric.base_model:.3f}" if metric.base_model is not None else ""
        majority = f", majority answer {metric.majority:.3f}" if metric.majority is not None else ""
        out.print(f"[bold]{tables.markup(metric.metric)}[/bold]{exploratory} · {base}{untrained}{majority}")
        first = next((arm for arm in metric.arms if arm.effect is not None), None)
        sizes = (first.items, first.items_clean, first.items_confirmation) if first else (0, 0, 0)
        headings = [f"{what} ({size:,})" for what, size in zip(("Effect", "Clean", "Confirmation"), sizes, strict=True)]
        columns = [
            ("Arm", "left"), ("Mean", "right"), (headings[0], "left"), ("p", "right"), ("p adjusted", "right"),
            (headings[1], "left"), (headings[2], "left"), ("", "left"),
        ]  # fmt: skip
        out.print(tables.table(columns, [_row(arm) for arm in metric.arms]))
        for arm in metric.arms:
            for flag in arm.flags:
                out.print(tables.markup(f"! {arm.variant}: {flag}"))
        out.print()
        if metric is comparison and slices:
            tables.show_slices(out, comparison.slices)
            if not comparison.slices:
                out.print("The suite has no slices: name the field that holds them in suite.tasks.<task>.slice.\n")
    if same:
        out.print(tables.markup(f"No arm differs from the baseline in {', '.join(same)}."))
    if len(metrics) > 1:
        out.print("p adjusted: Holm on the declared metric, Benjamini-Hochberg on the others. In brackets: items.")
    for waiver in comparison.waivers:
        out.print(f"Waived: {tables.markup(waiver)}")


def _row(arm: ArmEffect) -> list[str]:
    return [
        arm.variant + (" (control)" if arm.control else ""),
        "-" if arm.mean is None else f"{arm.mean:.3f}",
        formats.effect(arm.effect, arm.ci),
        formats.probability(arm.p),
        formats.probability(arm.p_adjusted),
        formats.effect(arm.effect_clean, arm.ci_clean),
        formats.effect(arm.effect_confirmation, arm.ci_confirmation),
        arm.note,
    ]
