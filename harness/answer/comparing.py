"""Makes the evidence for decisions, and the comparison of every arm with the baseline, from stored results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from harness import decisions
from harness.answer import registered
from harness.answer.view import Run, items_of, metrics, scores_of, task_scores
from harness.errors import RequestError, StepError, did_you_mean
from harness.records import Comparison, MetricComparison
from harness.statistics.paired import compared_with, noise
from harness.statistics.scores import Scores
from harness.store import Artifact
from harness.study.plan import Plan, PlannedRun


def evidence_of(
    plan: Plan, usable: list[Run], base: Artifact | None, due: Sequence[PlannedRun] | None = None
) -> decisions.Evidence:
    """Return the evidence for decisions.

    Args:
        plan: The study.
        usable: Runs that have a result.
        base: The untrained model's result.
        due: Runs that the looks so far need; default: all but those that no look needs.

    Raises:
        RequestError: Results do not have the declared metric.
        StepError: An item lacks it.
    """
    metric = plan.study.decide.metric
    known = metrics(usable[0].items, plan.study.decide.metric)
    if metric not in known:
        raise RequestError(f'decide.metric: results have no "{metric}".{did_you_mean(metric, known)}')
    _check_whole(usable, metric)
    selection = scores_of(plan, usable, metric, "selection")
    task = next((score for score in task_scores(base) if score.task == metric.split("/")[0]), None)
    done = {(run.planned.variant, run.planned.seed) for run in usable}
    needed = [run for run in plan.runs if run.state != "not needed"]
    due = needed if due is None else due
    training, scoring = _seconds(usable)
    return decisions.Evidence(
        selection=selection,
        confirmation=scores_of(plan, usable, metric, "confirmation"),
        clean=None if selection is None else _clean(plan, selection),
        slices=_slices(usable[0], metric) if selection is not None else (),
        tasks=_primary_tables(plan, usable),
        metrics=_tables(plan, usable, [one for one in known if one.split("/")[0] == metric.split("/")[0]]),
        rows={v.name: v.sources for v in plan.variants},
        tokens={v.name: v.tokens for v in plan.variants if v.tokens is not None},
        supply={name: pool.data["rows"] for name, pool in plan.pools.items()},
        runs=len(needed),
        planned=len(plan.runs),
        due=len(due),
        failed=tuple(f"{r.variant}/seed {r.seed} ({r.state})" for r in due if (r.variant, r.seed) not in done),
        problems=tuple(_problems(plan, usable)),
        changed_rule=registered.changed(plan, usable),
        majority=task.majority if task else None,
        chance=_chance(plan, metric),
        base_mean=task.metrics.get(metric.split("/")[1]) if task else None,
        seconds_per_run=training + scoring,
        seconds_per_item=scoring / plan.suite.data["items"],
        workers=max(
            (int(run.result.record.provenance.get("workers", 1)) for run in usable if run.result is not None), default=1
        ),
    )


def _seconds(runs: Sequence[Run]) -> tuple[float, float]:
    """Return how long a training, and an evaluation, takes in the mean."""
    shares = [
        (run.adapter.record.data["seconds"], run.result.record.data["seconds"])
        for run in runs
        if run.adapter is not None and run.result is not None
    ]
    training, scoring = (sum(part) / len(shares) for part in zip(*shares, strict=True))
    return training, scoring


def _clean(plan: Plan, scores: Scores) -> npt.NDArray[np.bool_]:
    """Return one boolean per item: true when no training row of any pool overlaps it."""
    touched = {item for pool in plan.pools.values() for item in pool.data["items_touched"]}
    return np.array([item not in touched for item in scores.items])


def _check_whole(usable: list[Run], metric: str) -> None:
    """Refuse a declared metric that some items lack: without the arm or these items the gap would be hidden."""
    task, name = metric.split("/")
    for run in usable:
        items = run.items.filter(run.items["task"] == task)
        bad = items.height - items[name].is_finite().sum() if name in items.columns else items.height
        if bad:
            place = f"{run.planned.variant}/seed {run.planned.seed}"
            raise StepError(
                f"{place}: {bad} of {items.height} items of {task} have no number for {name}; "
                "decide.metric must be one that every item has"
            )


def _problems(plan: Plan, usable: list[Run]) -> list[str]:
    """Return how arms differ beside the data: in package versions or kind of device, of training or of evaluation.

    Recipe, model and suite cannot differ: they are in the runs' keys. A waiver names the rule (``packages`` or
    ``device``) that it lifts.
    """
    waived = {rule.split(":")[0].strip() for rule in plan.study.waive}
    found = []
    for rule in ("packages", "device"):
        if rule in waived:
            continue
        seen: dict[str, set[str]] = {}
        for run in usable:
            for artifact in (run.adapter, run.result):
                if artifact is None:
                    continue
                value = artifact.record.provenance.get(rule, "")
                flat = value if isinstance(value, dict) else {rule: str(value).split(":")[0]}
                for name, text in flat.items():
                    seen.setdefault(name, set()).add(str(text))
        for name, values in seen.items():
            if len(values) > 1:
                found.append(
                    f"runs differ in {name} ({' and '.join(sorted(values))}); waive it with waive: ['{rule}: why']"
                )
    return found


def _slices(run: Run, metric: str) -> tuple[str | None, ...]:
    """Return the slice of every item that decides; empty when no item has a slice."""
    names = items_of(run.items, metric.split("/")[0], "selection")["slice"]
    return tuple(None if name is None else str(name) for name in names) if names.null_count() < len(names) else ()


def _primary_tables(plan: Plan, usable: list[Run]) -> dict[str, Scores]:
    """Return each task's scores on its primary metric, without tasks that lack a score for some item."""
    primary = {score.task: f"{score.task}/{score.primary}" for score in task_scores(usable[0].result)}
    task = plan.study.decide.metric.split("/")[0]
    return _tables(plan, usable, (primary | {task: plan.study.decide.metric}).values())


def _tables(plan: Plan, usable: list[Run], metrics: Iterable[str]) -> dict[str, Scores]:
    """Return the scores of metrics on the items that decide, without those that an item lacks."""
    tables = {metric: scores_of(plan, usable, metric, "selection") for metric in metrics}
    return {metric: table for metric, table in tables.items() if table is not None}


def _chance(plan: Plan, metric: str) -> float | None:
    """Return the expected accuracy of guessing among an item's options; None when items have no options."""
    task, name = metric.split("/")
    if not name.startswith("acc"):
        return None
    items = plan.suite.table("items")
    chosen = items.filter((items["task"] == task) & (items["half"] == "selection"))
    options = chosen["choices"].list.len().to_numpy()
    return float(np.mean(1 / options)) if len(options) and options.min() >= 2 else None


def compare(plan: Plan, usable: list[Run], base: Artifact | None, evidence: decisions.Evidence) -> Comparison | None:
    """Return every arm against the baseline, on the declared metric and on exploratory ones; None without arms."""
    if evidence.selection is None:
        return None
    study = plan.study
    found, others = [], []
    for metric in metrics(usable[0].items, study.decide.metric):
        if metric == study.decide.metric:
            continue
        table = scores_of(plan, usable, metric, "selection")
        same = table is not None and np.array_equal(table.values, evidence.selection.values)
        if table is not None and not same:  # lm-eval's acc of a loglikelihood task equals exact match
            again = scores_of(plan, usable, metric, "confirmation")
            clean = _clean(plan, table)
            found.append((metric, table, replace(evidence, selection=table, confirmation=again, clean=clean)))
    families = decisions.explore([decisions.compare(study, each) for _, _, each in found])
    for (metric, table, _), arms in zip(found, families, strict=True):
        mean, untrained, majority = _references(table, metric, base)
        others.append(
            MetricComparison(
                metric=metric, baseline_mean=mean, base_model=untrained, majority=majority, exploratory=True, arms=arms
            )
        )
    mean, untrained, majority = _references(evidence.selection, study.decide.metric, base)
    return Comparison(
        study=study.study,
        baseline="baseline",
        metric=study.decide.metric,
        match=study.match,
        waivers=list(study.waive),
        noise=noise(evidence.selection, "baseline"),
        base_model=untrained,
        baseline_mean=mean,
        aa_weight=compared_with(evidence.selection, "baseline")[1],
        majority=majority,
        arms=decisions.compare(study, evidence),
        others=others,
    )


def _references(table: Scores, metric: str, base: Artifact | None) -> tuple[float, float | None, float | None]:
    """Return reference scores for effects: the baseline's mean, the untrained model's, the majority answer's.

    The last two are means over all items of the task.
    """
    task, name = metric.split("/")
    score = next((s for s in task_scores(base) if s.task == task), None)
    untrained = score.metrics.get(name) if score else None
    majority = score.majority if score and score.primary == name else None
    return compared_with(table, "baseline")[0], untrained, majority
