"""A finished study without training: scores planted into the store, so that the right answer is known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from harness.loading import load_study
from harness.store import Artifact, Step, Store
from harness.study.plan import Plan, commit, make_plan, publish
from tests.conftest import TINY_STUDY

PACKAGES = {"torch": "2.13.0", "trl": "1.16.0"}
SECONDS, SPEED = 2.0, 50.0
EFFECTS = {"baseline": 0.0, "verified": 0.2, "sums-16": 0.4, "sums-8": 0.0, "random-subset": 0.0, "aa": 0.0}
Score = Callable[[str, int, int], np.ndarray]  # variant, seed, items -> a score per item


def scores(variant: str, seed: int, items: int) -> np.ndarray:
    """Items of very different difficulty, little seed noise, and the variant's effect."""
    level = 0.1 + 0.3 * (np.arange(items) % 3) / 2
    noise = 0.02 * np.sin(np.arange(items) * (seed + 7) + len(variant) * 5)
    return level + EFFECTS[variant] + noise


def folder_with(folder: Path, tiny: Path, text: str = TINY_STUDY) -> Path:
    """Write the study and the model it names; return the study file."""
    (folder / "study.yaml").write_text(text)
    if not (folder / "model").exists():
        shutil.copytree(tiny, folder / "model")
    return folder / "study.yaml"


def plan(study: Path, store: Store | None = None) -> Plan:
    """Plan a study whose suite is generated, and publish its data, as ``harness plan`` does."""

    def never(suite: object, target: Path) -> list[dict[str, Any]]:
        raise AssertionError("generated tasks need no lm-eval")

    made = make_plan(load_study(study), store or Store(study.parent / ".harness"), never)
    publish(made)
    return made


def plant(study: Path, score: Score = scores) -> Plan:
    """Publish a study's data, its record, and an adapter and a result for every run and the base model."""
    made = plan(study)
    commit(made)
    for run in made.runs:
        adapter(made.store, run.adapter)
        name, digest = run.adapter.name, f"weights of {run.adapter.key}"
        step = made.result(name, digest)
        result(made, step, score(run.variant, run.seed, made.suite.data["items"]))
    result(made, made.base, np.zeros(made.suite.data["items"]))
    return plan(study)


def adapter(store: Store, step: Step, **provenance: Any) -> None:
    """Store an adapter without weights, as the record of a training that took ``SECONDS``."""
    curve = [{"step": 1, "loss": 2.0, "learning_rate": 0.1, "grad_norm": 1.0, "tokens_per_second": SPEED}]
    with store.attempt(step) as attempt:
        attempt.digest = f"weights of {step.key}"
        attempt.data = {
            "steps": 4, "tokens": 100, "seconds": SECONDS, "tokens_per_second": SPEED, "final_loss": 2.0,
            "peak_memory": 10**9, "curve": curve,
        }  # fmt: skip
        attempt.provenance = {"packages": PACKAGES, "device": "cpu"} | provenance


def result(made: Plan, step: Step, values: np.ndarray, metric: str = "exact_match", **provenance: Any) -> None:
    """Store one score per item of the suite; the log-likelihood beside it is the score minus one."""
    items = made.suite.table("items").select("item_id", "task", "subtask", "slice", "group", "half")
    items = items.with_columns(pl.Series(metric, values), pl.Series("gold_logprob_per_token", values - 1))
    mean = {metric: float(np.nanmean(values)), "gold_logprob_per_token": float(np.nanmean(values - 1))}
    with made.store.attempt(step) as attempt:
        items.write_parquet(attempt.folder / "items.parquet")
        attempt.digest = step.key
        attempt.data = {
            "scores": [
                {"task": "sums", "items": len(values), "metrics": mean, "majority": 0.05, "primary": "exact_match"}
            ],
            "seconds": SECONDS,
            "tokens": 100,
        }
        attempt.provenance = {"packages": PACKAGES, "device": "cpu"} | provenance


def rewrite(store: Store, artifact: Artifact, table: pl.DataFrame) -> None:
    """Put other items into a result, as if they had been its own from the start."""
    record = artifact.record
    shutil.rmtree(artifact.folder)
    with store.attempt(Step(record.kind, record.name, record.key, record.version, record.spec, record.inputs)) as again:
        table.write_parquet(again.folder / "items.parquet")
        again.digest, again.data, again.provenance = record.digest, record.data, record.provenance


def forget(made: Plan, variant: str, seed: int, kind: str = "adapter") -> None:
    """Take a run's adapter or result out of the store."""
    run = next(run for run in made.runs if (run.variant, run.seed) == (variant, seed))
    step = run.adapter
    if kind == "result":
        step = made.result(step.name, f"weights of {step.key}")
    found = made.store.find(kind, step.key)
    assert found is not None
    shutil.rmtree(found.folder)
