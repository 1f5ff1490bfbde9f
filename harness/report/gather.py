"""Gathers the data of a report from the store."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from harness import answer
from harness.records import RunView, StudyView
from harness.report import cards, examples, provenance, reliability
from harness.report.model import Failed, PoolReport, Progress, Report, VariantReport
from harness.store import artifact_in
from harness.study.plan import Plan

if TYPE_CHECKING:
    import polars as pl

MATCH = {
    "steps": "every arm trains the same number of steps",
    "rows": "arms are refilled to the same number of rows",
    "tokens": "arms are refilled to the same number of tokens",
    "additive": "an arm with fewer rows trains for fewer steps",
}


def gather(plan: Plan, view: StudyView) -> Report:
    """Return the data of a study's report.

    It does not depend on when or where it is made: the same store gives the same report.

    Args:
        plan: The study, its data published.
        view: The same study as ``answer.view`` shows it.
    """
    study, metric = plan.study, plan.study.decide.metric
    scores = item_scores(view, metric)
    means = {name: {seed: _mean(frame) for seed, frame in runs.items()} for name, runs in scores.items()}
    touched = {item for pool in plan.pools.values() for item in pool.data["items_touched"]}
    shown, left_out = examples.pick(plan, view, scores, touched)
    return Report(
        study=view.study,
        question=view.question,
        hypothesis=view.hypothesis,
        outcome=study.outcome,
        model=plan.model.name,
        recipe=_recipe(plan),
        suite=view.suite,
        suite_items=view.suite_items,
        metric=metric,
        smallest_effect=study.decide.smallest_effect,
        alpha=study.decide.alpha,
        match=f"{study.match}: {MATCH[study.match]}",
        seeds=list(study.seed_list()),
        waivers=list(study.waive),
        bounded=all(0 <= mean <= 1 for runs in means.values() for mean in runs.values()),
        progress=_progress(plan, view),
        base=view.base,
        comparison=view.comparison,
        decisions=view.decisions,
        variants=_variants(plan, view, means),
        examples=shown,
        examples_left_out=left_out,
        pools=[
            PoolReport(source=name, rows=pool.data["rows"], contamination=cards.pool_contamination(plan, pool))
            for name, pool in plan.pools.items()
        ],
        items_touched=len(touched),
        reliability=reliability.nearest(view),
        savings=reliability.savings(view),
        reproduce=provenance.reproduce(plan, view),
    )


def item_scores(view: StudyView, metric: str) -> dict[str, dict[int, pl.DataFrame]]:
    """Return variant -> seed -> the metric on the items that decide, in columns ``item_id`` and ``score``."""
    import polars as pl

    task, name = metric.split("/")
    found: dict[str, dict[int, pl.DataFrame]] = {variant.name: {} for variant in view.variants}
    for run in view.runs:
        if "result" in run.folders:
            file = artifact_in(run.folders["result"]).file("items.parquet")
            frame = pl.read_parquet(file, columns=["item_id", "task", "half", name], glob=False)
            decides = frame.filter((frame["task"] == task) & (frame["half"] == "selection"))
            found[run.variant][run.seed] = decides.select("item_id", pl.col(name).cast(pl.Float64).alias("score"))
    return found


def _mean(frame: pl.DataFrame) -> float:
    mean = frame["score"].mean()
    assert isinstance(mean, float)
    return mean


def _progress(plan: Plan, view: StudyView) -> Progress:
    failed = [run for run in view.runs if run.state == "failed"]
    return Progress(
        runs=len(view.runs),
        states=dict(sorted(Counter(run.state for run in view.runs).items())),
        text=answer.progress(plan),
        failed=[Failed(run=_run(run), message=run.failure or "no reason was kept") for run in failed],
    )


def _run(run: RunView) -> str:
    return f"{run.variant}/seed {run.seed}"


def _recipe(plan: Plan) -> str:
    """Return in one line how arms are trained."""
    recipe = plan.study.recipe
    budget = f"{recipe.steps} steps" if recipe.steps else f"{recipe.epochs:g} epochs"
    return (
        f"LoRA r {recipe.lora.r}, {recipe.objective}, {budget} of {recipe.batch} rows, "
        f"learning rate {recipe.learning_rate:g} ({recipe.schedule})"
    )


def _variants(plan: Plan, view: StudyView, means: dict[str, dict[int, float]]) -> list[VariantReport]:
    found = []
    measured = 0
    prices = {name: source.cost_per_row for name, source in plan.study.sources.items()}
    for planned, shown in zip(plan.variants, view.variants, strict=True):
        seeds = means[planned.name]
        paid = [rows * (prices[name] or 0.0) for name, rows in planned.sources.items()]
        rows = next(iter(planned.outputs.values())).data["rows"]
        fits = measured + rows <= cards.MEASURED
        measured += rows if fits else 0
        found.append(
            VariantReport(
                name=planned.name,
                tests=planned.tests,
                control=planned.control,
                rows=shown.rows,
                rows_differ=len({output.data["rows"] for output in planned.outputs.values()}) > 1,
                tokens=shown.tokens,
                sources=shown.sources,
                operations=shown.operations,
                seeds=seeds,
                mean=sum(seeds.values()) / len(seeds) if seeds else None,
                cost=sum(paid) if any(paid) else None,
                card=cards.variant_card(plan, planned) if fits else None,
                no_card="" if fits else f"not measured here (more than {cards.MEASURED:,} rows in all)",
            )
        )
    return found
