"""The dataset inputs of MLflow runs: training sets and the suite, with the origin of their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.records import ITEM_COLUMNS, ROW_COLUMNS, RunView, StudyView, VariantView
from harness.store import located
from harness.tracking.entry import Dataset

HUB = "https://huggingface.co/datasets"


def training_sets(view: StudyView, variant: VariantView, runs: Sequence[RunView]) -> list[Dataset]:
    """Return the training sets of runs of a variant: one, or one per seed when every seed draws its own."""
    found: dict[str, Dataset] = {}
    for run in runs:
        if not run.rows_digest:
            continue
        if run.rows_digest not in found:
            sources = {name: {"rows": rows, **_origin(view, name)} for name, rows in run.sources.items()}
            profile = {"num_rows": run.rows, "num_tokens": run.tokens, "sources": sources}
            folder = location(run.folders.get("variant"))
            found[run.rows_digest] = Dataset(variant.name, run.rows_digest, "training", ROW_COLUMNS, profile, folder)
        found[run.rows_digest].seeds.append(run.seed)
    return list(found.values())


def suite(view: StudyView) -> Dataset:
    """Return the held-out suite."""
    tasks = view.resolved.get("suite", {}).get("tasks", {})
    profile = {"num_rows": view.suite_items, "tasks": {name: task_place(task) for name, task in tasks.items()}}
    return Dataset(view.suite, view.suite_digest, "evaluation", ITEM_COLUMNS, profile, location(view.suite_folder))


def location(folder: str | None) -> str:
    """Return where an artifact is kept; empty when there is none."""
    return located(Path(folder).parent.parent).location_of(Path(folder)) if folder else ""


def source_place(source: Mapping[str, Any]) -> str:
    """Return where a source's rows come from: a link to the Hub's page, files, or a generator."""
    if source.get("hub"):
        return f"{HUB}/{source['hub']}/tree/{source.get('revision')}"
    if source.get("generator"):
        return f"{source['generator']}: {source.get('task')}, seed {source.get('seed')}"
    paths = source.get("path") or ()
    return ", ".join([paths] if isinstance(paths, str) else paths)


def task_place(task: Mapping[str, Any]) -> str:
    """Return where a task's items come from: lm-eval by name, a folder, or a generator."""
    if task.get("generator"):
        return f"{task['generator']}: {task.get('task')}, seed {task.get('seed')}"
    return f"{task.get('path')}: {task.get('task')}" if task.get("path") else f"lm-eval: {task.get('task')}"


def _origin(view: StudyView, name: str) -> dict[str, Any]:
    source = view.resolved.get("sources", {}).get(name, {})
    known = {"from": source_place(source), "license": source.get("license"), "origin": source.get("origin")}
    return {field: value for field, value in known.items() if value}
