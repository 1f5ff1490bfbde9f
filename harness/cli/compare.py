"""``harness compare``: every arm against the baseline, with intervals."""

from __future__ import annotations

import sys

from harness.cli.arguments import DEFAULT_STORE, AsJson, StoreFolder, StudyFile, open_plan, print_json


def compare(study: StudyFile, store: StoreFolder = DEFAULT_STORE, json: AsJson = False) -> None:
    """Compare each arm with the baseline: paired effects, two-level intervals, clean items, confirmation half.

    Exit code 1 when runs are missing: what is there is compared, and what is missing is named.
    """
    from harness import answer
    from harness.errors import StepError
    from harness.records import Comparison, MetricComparison

    made = open_plan(study, store)
    view = answer.view(made)
    comparison = view.comparison
    if comparison is None:
        raise StepError(f"nothing to compare yet: {answer.progress(made)}. Run: harness run {study}")
    if json:
        print_json(comparison.model_dump(mode="json"))
    else:
        from harness.cli import tables

        out = tables.console()
        metrics: list[Comparison | MetricComparison] = [comparison, *comparison.others]
        for metric in metrics:
            exploratory = " · exploratory" if metric is not comparison else " · the study's declared metric"
            base = f"baseline {metric.baseline_mean:.3f}" if metric.baseline_mean is not None else ""
            untrained = f", untrained model {metric.base_model:.3f}" if metric.base_model is not None else ""
            majority = f", majority answer {metric.majority:.3f}" if metric.majority is not None else ""
            out.print(f"[bold]{tables.markup(metric.metric)}[/bold]{exploratory} · {base}{untrained}{majority}")
            rows = [
                [
                    arm.variant + (" (control)" if arm.control else ""),
                    "-" if arm.mean is None else f"{arm.mean:.3f}",
                    f"{tables.signed(arm.effect)} {tables.interval(arm.ci)}".strip(),
                    tables.probability(arm.p),
                    tables.probability(arm.p_adjusted),
                    tables.signed(arm.effect_clean),
                    tables.signed(arm.effect_confirmation),
                    arm.note,
                ]
                for arm in metric.arms
            ]
            columns = [
                ("Arm", "left"), ("Mean", "right"), ("Effect vs baseline", "left"), ("p", "right"),
                ("p adjusted", "right"), ("On clean items", "right"), ("Confirmation", "right"), ("", "left"),
            ]  # fmt: skip
            out.print(tables.table(columns, rows))
            out.print()
        for waiver in comparison.waivers:
            out.print(f"Waived: {tables.markup(waiver)}")
    if not answer.complete(made):
        print(answer.progress(made), file=sys.stderr)
        sys.exit(1)
