"""Reads a study's runs from the store, and makes tables of their scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import RequestError
from harness.records import TaskScore
from harness.statistics.scores import Noise, Scores
from harness.store import Artifact, Step
from harness.study.plan import Plan, PlannedRun

if TYPE_CHECKING:
    import polars as pl

EXPLORATORY = ("acc", "acc_norm", "exact_match", "gold_logprob_per_token", "gold_logprob_per_byte", "margin")


class Alike:
    """Holds equal values of many runs once: thousands of results repeat their items and their packages."""

    def __init__(self) -> None:
        self._columns: dict[str, pl.Series] = {}
        self._provenance: dict[str, Any] = {}

    def items(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with its columns replaced by equal ones of earlier frames."""
        return type(frame)([self._column(column) for column in frame])

    def _column(self, column: pl.Series) -> pl.Series:
        known = self._columns.setdefault(column.name, column)
        return known if known.equals(column, check_dtypes=True) else column

    def provenance(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return the provenance with its parts replaced by equal ones of earlier runs."""
        self._provenance = self._provenance or value
        return {name: known if (known := self._provenance.get(name)) == part else part for name, part in value.items()}


@dataclass(frozen=True)
class Run:
    """A run and its artifacts in the store."""

    planned: PlannedRun
    adapter: Artifact | None
    result: Artifact | None
    alike: Alike

    @cached_property
    def items(self) -> pl.DataFrame:
        """The items of the run's result (``records.ITEM_COLUMNS`` and metrics)."""
        import polars as pl

        assert self.result is not None
        return self.alike.items(pl.read_parquet(self.result.checked("items.parquet") / "items.parquet", glob=False))


def read(plan: Plan) -> list[Run]:
    """Return all runs of a plan with their artifacts in the store."""
    alike = Alike()
    return [_load(plan, planned, alike) for planned in plan.runs]


def _load(plan: Plan, planned: PlannedRun, alike: Alike) -> Run:
    adapter = plan.store.find("adapter", planned.adapter.key)
    if adapter is None:
        return Run(planned, None, None, alike)
    step = plan.result(planned.adapter.name, adapter.record.digest)
    result = plan.store.find("result", step.key)
    light = _light(adapter, planned.adapter, alike)
    return Run(planned, light, result and _light(result, step, alike), alike)


def _light(artifact: Artifact, step: Step, alike: Alike) -> Artifact:
    """Return an artifact without its step's fields and its training curve, which are most of its record."""
    record = artifact.record
    data = {name: value for name, value in record.data.items() if name != "curve"}
    known = {"spec": step.spec, "inputs": step.inputs, "data": data, "provenance": alike.provenance(record.provenance)}
    return replace(artifact, record=record.model_copy(update=known))


def scores_of(plan: Plan, runs: list[Run], metric: str, half: str) -> Scores | None:
    """Return the scores of one metric on one half, with the variants in the plan's order."""
    frames: dict[str, dict[int, pl.DataFrame]] = {variant.name: {} for variant in plan.variants}
    for run in runs:
        if run.result is not None:
            frames[run.planned.variant][run.planned.seed] = run.items
    study = plan.study
    return score_table(frames, metric, half, study.decide.noise, study.seed_list(), study.stages)


def score_table(
    frames: Mapping[str, Mapping[int, pl.DataFrame]],
    metric: str,
    half: str,
    noise: Noise = "careful",
    order: Sequence[int] = (),
    stages: tuple[int, ...] = (),
) -> Scores | None:
    """Return the scores of one metric on one half, of the arms that have every seed of the baseline.

    Where most arms lack the baseline's last seeds, as when a run was stopped in the middle of a seed, these are left
    out instead. In a study with stages, arms may have fewer seeds, those of the first stage at least.

    Args:
        frames: Variant -> seed -> items of a result.
        metric: ``task/metric``.
        half: ``selection`` or ``confirmation``.
        noise: How seed noise is judged.
        order: The seeds in the order in which stages take them; not used without stages.
        stages: Numbers of seeds at which the study is looked at.

    Returns:
        The scores; None with fewer than two arms, without items, or when an item has no score.

    Raises:
        RequestError: When runs do not have the same items.
    """
    task, name = metric.split("/")
    seeds = sorted(frames.get("baseline", {}))
    if stages:
        seeds = list(order[: first_runs(frames.get("baseline", {}), order)])
        runs = {arm: first_runs(by_seed, seeds) for arm, by_seed in frames.items()}
        runs = {arm: count for arm, count in runs.items() if count >= stages[0]}
    else:
        seeds = _shared(frames, seeds)
        runs = {arm: len(seeds) for arm, by_seed in frames.items() if set(seeds) <= set(by_seed)}
    arms = list(runs)
    if not seeds or len(arms) < 2 or "baseline" not in arms:
        return None
    first = items_of(frames["baseline"][seeds[0]], task, half)
    if name not in first.columns or first[name].null_count() == first.height:
        return None
    items = first["item_id"].to_list()
    none = [float("nan")] * len(items)
    columns = [
        [
            _column(frames[arm][seed], arm, seed, (task, half, name), items) if at < runs[arm] else none
            for at, seed in enumerate(seeds)
        ]
        for arm in arms
    ]
    values = np.array(columns)
    if not all(np.isfinite(values[at, : runs[arm]]).all() for at, arm in enumerate(arms)):
        return None
    named = tuple(None if group is None else str(group) for group in first["group"])
    groups = named if any(group is not None for group in named) else None
    twins = ("baseline", "aa") if "aa" in arms else None
    counts = None if set(runs.values()) == {len(seeds)} else tuple(runs.values())
    named_seeds = tuple(str(seed) for seed in seeds)
    return Scores(values, tuple(arms), named_seeds, tuple(items), groups, twins, noise, counts, stages)


def _shared(frames: Mapping[str, Mapping[int, pl.DataFrame]], seeds: list[int]) -> list[int]:
    """Return the most of these seeds, counted from the first, that more than half of the arms have."""
    arms = [set(by_seed) for by_seed in frames.values() if by_seed]
    enough = (
        count for count in range(len(seeds), 0, -1) if 2 * sum(set(seeds[:count]) <= arm for arm in arms) > len(arms)
    )
    return seeds[: next(enough, len(seeds))]


def first_runs(found: Collection[int], order: Sequence[int]) -> int:
    """Return how many seeds are there, counted in their order up to the first that is not."""
    return next((at for at, seed in enumerate(order) if seed not in found), len(order))


def items_of(frame: pl.DataFrame, task: str, half: str) -> pl.DataFrame:
    """Return the items of a task in one half."""
    return frame.filter((frame["task"] == task) & (frame["half"] == half))


def _column(frame: pl.DataFrame, arm: str, seed: int, part: tuple[str, str, str], items: list[str]) -> list[float]:
    task, half, name = part
    chosen = items_of(frame, task, half)
    if chosen["item_id"].to_list() != items:
        raise RequestError(f"{arm}/seed {seed}: its items are not the baseline's")
    return [float("nan") if value is None else float(value) for value in chosen[name]]


def metrics(frame: pl.DataFrame, declared: str) -> list[str]:
    """Return the ``task/metric`` names that people compare, with the declared one.

    Args:
        frame: The items of a result.
        declared: The metric that decides.
    """
    found = []
    for task in frame["task"].unique(maintain_order=True):
        part = frame.filter(frame["task"] == task)
        wanted = dict.fromkeys((*EXPLORATORY, declared.split("/")[1]))
        found += [f"{task}/{m}" for m in wanted if m in part.columns and part[m].null_count() < part.height]
    return found


def task_scores(result: Artifact | None) -> list[TaskScore]:
    """Return the aggregates of a result; empty without a result."""
    return [TaskScore.model_validate(score) for score in result.record.data["scores"]] if result else []
