"""Earlier studies in the store with a plan's model, suite and metric: what is known before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from harness.study.steps import run_key

if TYPE_CHECKING:
    import polars as pl

    from harness.store import Artifact
    from harness.study.plan import Plan

Items = dict[str, dict[int, "pl.DataFrame"]]  # variant -> seed -> items of a result


@dataclass(frozen=True)
class Earlier:
    """An earlier study.

    Attributes:
        name: Its name.
        created: When it was registered.
        runs: Variant -> seed -> function that reads the items of a finished run.
    """

    name: str
    created: str
    runs: dict[str, dict[int, Callable[[], pl.DataFrame]]]

    def items(self) -> Items:
        """Read the items of all finished runs."""
        return {variant: {seed: read() for seed, read in by_seed.items()} for variant, by_seed in self.runs.items()}


def studies(plan: Plan) -> Iterator[Earlier]:
    """Yield the other studies in the store with this one's model, suite and metric."""
    runs = _finished_runs(plan)
    for study in plan.store.artifacts("study"):
        metric = study.record.spec["decide"]["metric"]
        if study.record.key == plan.study_step.key or metric != plan.study.decide.metric:
            continue
        found: dict[str, dict[int, Callable[[], pl.DataFrame]]] = {}
        for role, key in study.record.inputs.items():
            if role.startswith("runs/") and key in runs:
                _, variant, seed = role.split("/")
                found.setdefault(variant, {})[int(seed)] = runs[key]
        yield Earlier(study.record.spec["study"], study.record.created, found)


def metric_advice(plan: Plan) -> str:
    """Return in words which metric told the arms of the newest earlier study apart better; empty when none did.

    It is advice only: the declared metric decides.
    """
    from harness import answer
    from harness.decisions.tasks import metric_noise, sharper

    declared, alpha = plan.study.decide.metric, plan.study.decide.alpha
    # An earlier form of this study, with fewer seeds perhaps, holds this one's own results.
    others = (one for one in studies(plan) if one.runs and one.name != plan.study.study)
    newest = max(others, key=lambda one: one.created, default=None)
    if newest is None or answer.complete(plan):
        return ""
    items = newest.items()
    some = next(iter(next(iter(items.values())).values()))
    names = [name for name in answer.metrics(some, declared) if name.split("/")[0] == declared.split("/")[0]]
    tables = {name: answer.score_table(items, name, "selection") for name in names}
    known = {name: scores for name, scores in tables.items() if scores is not None}
    told = sharper(metric_noise(known, declared, alpha)).removesuffix(": a metric to declare in the next study.")
    return f"in {newest.name}, {told}" if told else ""


def items_of(result: Artifact) -> pl.DataFrame:
    """Read the items of a result."""
    import polars as pl

    return pl.read_parquet(result.checked("items.parquet") / "items.parquet", glob=False)


def _finished_runs(plan: Plan) -> dict[str, Callable[[], pl.DataFrame]]:
    """Return run key -> function that reads the items, for every finished run of this model on this suite.

    The keys are those in study records, made from the adapter's key and the suite; no artifact has them.
    """
    found: dict[str, Callable[[], pl.DataFrame]] = {}
    by_adapter = {
        artifact.record.inputs["adapter"]: artifact
        for artifact in plan.store.artifacts("result")
        if artifact.record.inputs["suite"] == plan.suite.digest and artifact.record.inputs["model"] == plan.model.digest
    }
    for adapter in plan.store.artifacts("adapter"):
        result = by_adapter.get(adapter.record.digest)
        if result is not None:
            found[run_key(adapter.record.key, plan.suite.digest)] = partial(items_of, result)
    return found
