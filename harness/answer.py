"""From what a study left in the store to its comparison and decisions. Reads results, stores nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness import decisions
from harness.errors import RequestError, StepError, did_you_mean
from harness.plan import Plan, PlannedRun
from harness.records import (
    Comparison,
    MetricComparison,
    RunView,
    StudyView,
    TaskScore,
    VariantView,
)
from harness.statistics.paired import noise
from harness.statistics.scores import Scores
from harness.steps import result_step
from harness.store import Artifact

if TYPE_CHECKING:
    import polars as pl

EXPLORATORY = ("acc", "acc_norm", "exact_match", "gold_logprob_per_token", "gold_logprob_per_byte", "margin")


@dataclass(frozen=True)
class _Run:
    """A run with what the store holds of it."""

    planned: PlannedRun
    adapter: Artifact | None
    result: Artifact | None

    @cached_property
    def items(self) -> pl.DataFrame:
        import polars as pl

        assert self.result is not None
        return pl.read_parquet(self.result.checked("items.parquet") / "items.parquet")


def complete(plan: Plan) -> bool:
    """Return whether every run of the study is done."""
    return all(run.state == "done" for run in plan.runs)


def progress(plan: Plan) -> str:
    """Say in words how far the study is."""
    states = Counter(run.state for run in plan.runs)
    rest = ", ".join(f"{states[state]} {state}" for state in ("trained", "failed", "to do") if states[state])
    return f"{states['done']} of {len(plan.runs)} runs are done" + (f" ({rest})" if rest else "")


def view(plan: Plan, judged: bool = True) -> StudyView:
    """Return everything about a study that tables, MLflow and reports are made from.

    Without any result, or unless it shall be judged, the comparison and the decisions are None.

    Raises:
        RequestError: When the declared metric is none that the suite's results have.
        StepError: When an item of a result has no number for it.
    """
    runs = [_load(plan, planned) for planned in plan.runs]
    base = plan.store.find("result", plan.base.key)
    comparison, decided = None, None
    usable = [run for run in runs if run.result is not None]
    if usable and judged:
        evidence = _evidence(plan, usable, base)
        decided = decisions.decide(plan.study, evidence)
        comparison = _comparison(plan, usable, base, evidence)
        if comparison is not None:
            comparison.slices = decided.slices
    study = plan.store.find("study", plan.study_step.key)
    tokens = {o.step.key: int(o.data["tokens"]) for o in plan.outputs if o.step.kind == "tokens"}
    return StudyView(
        study=plan.study.study,
        key=plan.study_step.key,
        created=study.record.created if study else "",
        question=plan.study.question,
        hypothesis=plan.study.hypothesis,
        resolved=plan.study.identity(),
        suite=plan.study.suite.suite,
        suite_digest=plan.suite.digest,
        suite_folder=str(plan.suite.stored.folder) if plan.suite.stored else "",  # not planned yet
        suite_items=plan.suite.data["items"],
        folders=_folders(plan, base),
        variants=_variants(plan),
        runs=[_run_view(plan, run, tokens) for run in runs],
        base=_scores(base),
        comparison=comparison,
        decisions=decided,
    )


def measured_noise(plan: Plan) -> dict[str, float | None]:
    """Return the seed and item noise of a finished study's contrasts."""
    runs = [_load(plan, planned) for planned in plan.runs]
    scores = _table(plan, runs, plan.study.decide.metric, "selection")
    return noise(scores, "baseline") if scores is not None else {}


# ------------------------------------------------------------------------------------------------------- reading


def _load(plan: Plan, planned: PlannedRun) -> _Run:
    adapter = plan.store.find("adapter", planned.adapter.key)
    if adapter is None:
        return _Run(planned, None, None)
    step = result_step(planned.adapter.name, plan.suite.digest, plan.model.digest, adapter.record.digest)
    return _Run(planned, _without_curve(adapter), plan.store.find("result", step.key))


def _without_curve(adapter: Artifact) -> Artifact:
    """Return an adapter without its training curve, most of its record: thousands of runs are held at a time."""
    data = {name: value for name, value in adapter.record.data.items() if name != "curve"}
    return replace(adapter, record=adapter.record.model_copy(update={"data": data}))


def _table(plan: Plan, runs: list[_Run], metric: str, half: str) -> Scores | None:
    """Return scores of one metric on one half, of the variants in the plan's order."""
    frames: dict[str, dict[int, pl.DataFrame]] = {variant.name: {} for variant in plan.variants}
    for run in runs:
        if run.result is not None:
            frames[run.planned.variant][run.planned.seed] = run.items
    return score_table(frames, metric, half)


def score_table(frames: Mapping[str, Mapping[int, pl.DataFrame]], metric: str, half: str) -> Scores | None:
    """Return scores of one metric on one half, of the arms with every seed of the baseline.

    Args:
        frames: Variant -> seed -> items of a result.
        metric: ``task/metric``.
        half: ``selection`` or ``confirmation``.

    Returns:
        The scores; None without a pair of arms, without items, or where an item has no number.

    Raises:
        RequestError: When runs do not have the same items.
    """
    task, name = metric.split("/")
    seeds = sorted(frames.get("baseline", {}))
    arms = [arm for arm, by_seed in frames.items() if set(seeds) <= set(by_seed)]
    if not seeds or len(arms) < 2:
        return None
    first = _items(frames["baseline"][seeds[0]], task, half)
    if name not in first.columns or first[name].null_count() == first.height:
        return None
    items = first["item_id"].to_list()
    columns = [[_column(frames[arm][seed], arm, seed, (task, half, name), items) for seed in seeds] for arm in arms]
    values = np.array(columns)
    if not np.isfinite(values).all():
        return None
    groups = tuple(str(g) for g in first["group"]) if first["group"].null_count() == 0 else None
    return Scores(values, tuple(arms), tuple(str(seed) for seed in seeds), tuple(items), groups)


def _items(frame: pl.DataFrame, task: str, half: str) -> pl.DataFrame:
    return frame.filter((frame["task"] == task) & (frame["half"] == half))


def _column(frame: pl.DataFrame, arm: str, seed: int, part: tuple[str, str, str], items: list[str]) -> list[float]:
    task, half, name = part
    chosen = _items(frame, task, half)
    if chosen["item_id"].to_list() != items:
        raise RequestError(f"{arm}/seed {seed}: its items are not the baseline's")
    return [float("nan") if value is None else float(value) for value in chosen[name]]


def _metrics(runs: list[_Run], declared: str) -> list[str]:
    """Return all task/metric pairs that results have and people compare, the declared one included."""
    frame = runs[0].items
    found = []
    for task in frame["task"].unique(maintain_order=True):
        part = frame.filter(frame["task"] == task)
        wanted = dict.fromkeys((*EXPLORATORY, declared.split("/")[1]))
        found += [f"{task}/{m}" for m in wanted if m in part.columns and part[m].null_count() < part.height]
    return found


def _scores(result: Artifact | None) -> list[TaskScore]:
    return [TaskScore.model_validate(score) for score in result.record.data["scores"]] if result else []


# ---------------------------------------------------------------------------------------------------- comparing


def _evidence(plan: Plan, usable: list[_Run], base: Artifact | None) -> decisions.Evidence:
    metric = plan.study.decide.metric
    known = _metrics(usable, plan.study.decide.metric)
    if metric not in known:
        raise RequestError(f'decide.metric: results have no "{metric}".{did_you_mean(metric, known)}')
    _check_whole(usable, metric)
    selection = _table(plan, usable, metric, "selection")
    task = next((score for score in _scores(base) if score.task == metric.split("/")[0]), None)
    done = {(run.planned.variant, run.planned.seed) for run in usable}
    seconds = [
        run.adapter.record.data["seconds"] + run.result.record.data["seconds"]
        for run in usable
        if run.adapter is not None and run.result is not None
    ]
    return decisions.Evidence(
        selection=selection,
        confirmation=_table(plan, usable, metric, "confirmation"),
        clean=None if selection is None else _clean(plan, selection),
        slices=_slices(usable[0], metric) if selection is not None else (),
        tasks=_task_scores(plan, usable),
        rows={v.name: v.sources for v in plan.variants},
        tokens={v.name: v.tokens for v in plan.variants if v.tokens is not None},
        supply={name: pool.data["rows"] for name, pool in plan.pools.items()},
        runs=len(plan.runs),
        failed=tuple(f"{r.variant}/seed {r.seed} ({r.state})" for r in plan.runs if (r.variant, r.seed) not in done),
        problems=tuple(_problems(plan, usable)),
        majority=task.majority if task else None,
        chance=_chance(plan, metric),
        base_mean=task.metrics.get(metric.split("/")[1]) if task else None,
        seconds_per_run=sum(seconds) / len(seconds),
    )


def _clean(plan: Plan, scores: Scores) -> npt.NDArray[np.bool_]:
    """Return, per item, whether no training row of any pool overlaps it."""
    touched = {item for pool in plan.pools.values() for item in pool.data["items_touched"]}
    return np.array([item not in touched for item in scores.items])


def _check_whole(usable: list[_Run], metric: str) -> None:
    """Refuse a declared metric that some items lack: leaving out the arm or the items would hide it."""
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


def _problems(plan: Plan, usable: list[_Run]) -> list[str]:
    """Return what arms differ in beside the data: package versions and kind of device, of training and of evaluation.

    Recipe, model and suite cannot differ: they are in the keys that the runs were found by. A waiver names the rule
    (``packages`` or ``device``) that it lifts.
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


def _slices(run: _Run, metric: str) -> tuple[str | None, ...]:
    """Return the slice of every item that decides; nothing when none has one."""
    names = _items(run.items, metric.split("/")[0], "selection")["slice"]
    return tuple(None if name is None else str(name) for name in names) if names.null_count() < len(names) else ()


def _task_scores(plan: Plan, usable: list[_Run]) -> dict[str, Scores]:
    """Return each task's scores on its primary metric, where every item has them."""
    primary = {score.task: f"{score.task}/{score.primary}" for score in _scores(usable[0].result)}
    task = plan.study.decide.metric.split("/")[0]
    metrics = (primary | {task: plan.study.decide.metric}).values()
    tables = {metric: _table(plan, usable, metric, "selection") for metric in metrics}
    return {metric: table for metric, table in tables.items() if table is not None}


def _chance(plan: Plan, metric: str) -> float | None:
    """Return the expected accuracy of guessing among an item's options; None where items have none."""
    task, name = metric.split("/")
    if not name.startswith("acc"):
        return None
    items = plan.suite.table("items")
    chosen = items.filter((items["task"] == task) & (items["half"] == "selection"))
    options = chosen["choices"].list.len().to_numpy()
    return float(np.mean(1 / options)) if len(options) and options.min() >= 2 else None


def _comparison(
    plan: Plan, usable: list[_Run], base: Artifact | None, evidence: decisions.Evidence
) -> Comparison | None:
    if evidence.selection is None:
        return None
    study = plan.study
    found, others = [], []
    for metric in _metrics(usable, study.decide.metric):
        if metric == study.decide.metric:
            continue
        table = _table(plan, usable, metric, "selection")
        same = table is not None and np.array_equal(table.values, evidence.selection.values)
        if table is not None and not same:  # lm-eval's acc of a loglikelihood task is exact match by another name
            again = _table(plan, usable, metric, "confirmation")
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
        majority=majority,
        arms=decisions.compare(study, evidence),
        others=others,
    )


def _references(table: Scores, metric: str, base: Artifact | None) -> tuple[float, float | None, float | None]:
    """Return what effects are read against: the baseline's mean, the untrained model, the majority answer.

    The untrained model and the majority answer are over all items of the task.
    """
    task, name = metric.split("/")
    score = next((s for s in _scores(base) if s.task == task), None)
    untrained = score.metrics.get(name) if score else None
    majority = score.majority if score and score.primary == name else None
    return table.mean("baseline"), untrained, majority


# ------------------------------------------------------------------------------------------------------- viewing


def _folders(plan: Plan, base: Artifact | None) -> dict[str, str]:
    found = {"base": base} if base else {}
    for output in plan.outputs:
        if output.step.kind in ("source", "pool") and output.stored is not None:
            found[f"{output.step.kind}s/{output.step.name}"] = output.stored
    return {name: str(artifact.folder) for name, artifact in found.items()}


def _variants(plan: Plan) -> list[VariantView]:
    from harness.data.operations import label

    return [
        VariantView(
            name=v.name,
            key=v.key,
            tests=v.tests,
            control=v.control,
            rows=round(v.rows),
            tokens=None if v.tokens is None else round(v.tokens),
            sources={name: round(n) for name, n in v.sources.items()},
            operations=[label(operation) for operation in v.spec.operations],
            digests={seed: output.data["content_digest"] for seed, output in v.outputs.items()},
            variant=v.spec.identity(),
        )
        for v in plan.variants
    ]


def _run_view(plan: Plan, run: _Run, tokens: dict[str, int]) -> RunView:
    planned = run.planned
    folders = {}
    for name, artifact in (
        ("adapter", run.adapter),
        ("result", run.result),
        ("variant", planned.rows.stored),
    ):
        if artifact is not None:
            folders[name] = str(artifact.folder)
    training = dict(run.adapter.record.data) if run.adapter else {}
    failure = plan.store.failure(planned.key) if planned.state == "failed" else None
    evaluation = {k: v for k, v in run.result.record.data.items() if k != "scores"} if run.result else {}
    return RunView(
        variant=planned.variant,
        seed=planned.seed,
        key=planned.key,
        state=planned.state,
        training=training,
        evaluation=evaluation,
        scores=_scores(run.result),
        rows_digest=planned.rows.data["content_digest"],
        rows=planned.rows.data["rows"],
        tokens=tokens.get(planned.tokens.key),
        sources=planned.rows.data["sources"],
        folders=folders,
        provenance=_provenance(run),
        failure=f"{failure.stage}: {failure.message}" if failure else "",
        failed=failure.created if failure else "",
    )


def _provenance(run: _Run) -> dict[str, Any]:
    return dict(run.adapter.record.provenance) | {"created": run.adapter.record.created} if run.adapter else {}
