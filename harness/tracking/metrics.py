"""The metrics of a run (scores by task and slice, cost) and of a variant (means over seeds, effects)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from harness.records import ArmEffect, Comparison, RunView, TaskScore
from harness.store import artifact_in
from harness.tracking.entry import STDERR, flat, named, of_slice, of_stderr

# Field of a record -> name of the metric, which must be clear among all other metrics.
TRAINING = {"seconds": "training_seconds", "tokens": "tokens_trained", "peak_memory": "peak_memory_bytes"}
EVALUATION = {"seconds": "evaluation_seconds", "tokens": "evaluation_tokens"}
BESIDE = (STDERR, "/majority")  # numbers about a score that are not averaged over seeds


def run_metrics(run: RunView, declared: str) -> dict[str, float]:
    """Return the metrics of a run: scores by task and slice, size, cost.

    MLflow shows them in this order, and plots the first: the declared metric.

    Args:
        run: The run.
        declared: The study's metric, ``task/metric``: reported by slice beside the primary one of each task.
    """
    size: dict[str, Any] = {"rows": run.rows or None, "tokens": run.tokens}
    drawn = {name for point in curve_of(run) for name in point}
    found = score_metrics(run.scores) | slice_metrics(run.folders.get("result"), run.scores, declared)
    found |= {name: value for name, value in size.items() if value is not None}
    found |= {TRAINING.get(k, k): v for k, v in _numbers(run.training).items() if named(k) not in drawn}
    found |= {EVALUATION[k]: v for k, v in _numbers(run.evaluation).items() if k in EVALUATION}
    return {name: found[name] for name in sorted(found, key=lambda name: not name.startswith(declared))}


def curve_of(run: RunView) -> list[dict[str, float]]:
    """Return the training curve of a run."""
    adapter = run.folders.get("adapter")
    return run.curve or (artifact_in(adapter).curve if adapter else [])


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    known = flat(record)
    return {k: v for k, v in known.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def score_metrics(scores: Iterable[TaskScore]) -> dict[str, float]:
    """Return the scores of every task as ``task/metric``, standard errors as ``task/metric_stderr``."""
    found: dict[str, float] = {}
    for score in scores:
        found |= {f"{score.task}/{name}": value for name, value in score.metrics.items()}
        found |= {f"{score.task}/{name}_stderr": value for name, value in score.stderr.items()}
        found |= {f"{score.task}/majority": score.majority} if score.majority is not None else {}
    return found


def slice_metrics(folder: str | None, scores: Sequence[TaskScore], declared: str) -> dict[str, float]:
    """Return scores by slice as ``task/metric:slice``, over all items of the slice, and their standard errors.

    Only each task's primary metric and the declared one are included, to keep a run's page readable.
    """
    if folder is None or not scores:
        return {}
    import polars as pl

    items = pl.read_parquet(artifact_in(folder).file("items.parquet"), glob=False)
    declared_task, _, declared_metric = declared.partition("/")
    found: dict[str, float] = {}
    for score in scores:
        wanted = {score.primary: None} | ({declared_metric: None} if declared_task == score.task else {})
        own = items.filter((pl.col("task") == score.task) & pl.col("slice").is_not_null())
        for metric in (name for name in wanted if name in own.columns):
            known = own.filter(pl.col(metric).is_not_null()).group_by("slice").agg(
                mean=pl.col(metric).mean(), stderr=pl.col(metric).std() / pl.len().sqrt()
            )  # fmt: skip
            for name, mean, stderr in known.sort("slice").iter_rows():
                label = of_slice(f"{score.task}/{metric}", str(name))
                found[label] = mean
                found |= {} if stderr is None else {of_stderr(label): stderr}
    return found


def over_seeds(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean over seeds of every metric, and for scores (on all items) their spread.

    ``_seed_sd`` is the standard deviation between seeds, ``_seed_se`` the standard error of the mean over seeds.
    """
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for run in runs for name in run if not name.endswith(BESIDE)):
        values = [run[name] for run in runs if name in run]
        found[name] = fmean(values)
        if "/" in name and ":" not in name and len(values) > 1:
            found[f"{name}_seed_sd"] = stdev(values)
            found[f"{name}_seed_se"] = stdev(values) / len(values) ** 0.5
    return found


def effects(comparison: Comparison, variant: str) -> dict[str, float | None]:
    """Return a variant's effects: of the declared metric as ``effect...``, of others as ``task/metric_effect...``."""
    found: dict[str, float | None] = {}
    for arm in comparison.arms:
        if arm.variant == variant:
            found |= _effect(arm, "effect") | {
                "effect_p": arm.p, "effect_clean": arm.effect_clean, "effect_items": arm.items,
                "effect_confirmation": arm.effect_confirmation,
                "effect_confirmation_low": arm.ci_confirmation[0],
                "effect_confirmation_high": arm.ci_confirmation[1],
            }  # fmt: skip
    for other in comparison.others:
        for arm in other.arms:
            found |= _effect(arm, f"{other.metric}_effect") if arm.variant == variant else {}
    return found


def _effect(arm: ArmEffect, name: str) -> dict[str, float | None]:
    return {
        name: arm.effect, f"{name}_se": arm.se, f"{name}_low": arm.ci[0], f"{name}_high": arm.ci[1],
        f"{name}_p_adjusted": arm.p_adjusted,
    }  # fmt: skip
