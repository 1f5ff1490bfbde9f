"""``harness compare``: every arm against the baseline, with intervals."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, StudyFile, open_plan, print_json
from harness.cli.schemas import json_schema
from harness.cli.working import working

if TYPE_CHECKING:
    from harness.records import ArmEffect, Comparison, MetricComparison


def compare(
    study: StudyFile,
    store: StorePlace = DEFAULT_STORE,
    slices: Annotated[bool, typer.Option("--slices", help="also by slice of the suite, weakest first")] = False,
    json: AsJson = False,
    json_schema: Annotated[bool, json_schema("Comparison")] = False,
) -> None:
    """Compare each arm with the baseline: paired effects, two-level intervals, clean items, confirmation half.

    Exit code 1 when runs are missing: what is there is compared, and what is missing is named.
    """
    from harness import answer
    from harness.errors import StepError

    made = open_plan(study, store)
    with working("Comparing"):
        view = answer.view(made)
    if view.comparison is None:
        raise StepError(f"nothing to compare yet: {answer.progress(made)}. Run: harness run {study}")
    if json:
        print_json(view.comparison.model_dump(mode="json"))
    else:
        show(view.comparison, slices)
    if not answer.complete(made):
        print(answer.progress(made), file=sys.stderr)
        sys.exit(1)


def show(comparison: Comparison, slices: bool) -> None:
    """Print the declared metric, the exploratory ones, perhaps the slices, and what is waived."""
    from harness.cli import tables

    out = tables.console()
    same = [metric.metric for metric in comparison.others if all(arm.effect in (0, None) for arm in metric.arms)]
    metrics: list[Comparison | MetricComparison] = [comparison]
    metrics += [metric for metric in comparison.others if metric.metric not in same]
    for metric in metrics:
        exploratory = " · exploratory" if metric is not comparison else " · the study's declared metric"
        base = f"baseline {metric.baseline_mean:.3f}" if metric.baseline_mean is not None else ""
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
    from harness.cli import tables

    return [
        arm.variant + (" (control)" if arm.control else ""),
        "-" if arm.mean is None else f"{arm.mean:.3f}",
        f"{tables.signed(arm.effect)} {tables.interval(arm.ci)}".strip(),
        tables.probability(arm.p),
        tables.probability(arm.p_adjusted),
        f"{tables.signed(arm.effect_clean)} {tables.interval(arm.ci_clean)}".strip(),
        f"{tables.signed(arm.effect_confirmation)} {tables.interval(arm.ci_confirmation)}".strip(),
        arm.note,
    ]
