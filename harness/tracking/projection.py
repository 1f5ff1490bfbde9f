"""What MLflow shall show of a study: one plain entry per run. Pure, and without MLflow."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from harness.identity import digest
from harness.records import ITEM_COLUMNS, ROW_COLUMNS, ArmEffect, RunView, StudyView, TaskScore, VariantView
from harness.tracking.notes import base_note, run_note, study_note, variant_note

# Of a variant only these are copied: its rows may be private.
LEDGERS = ("drops.parquet", "overlaps.parquet", "card.json")
TEXT_LIMIT = 5000  # characters of a tag or a param: the lowest limit among the MLflow versions we allow
PLACE_TAGS = ("harness.adapter", "mlflow.parentRunId")  # where things are, not what they are
Level = Literal["study", "variant", "seed", "base"]
Status = Literal["FINISHED", "FAILED", "RUNNING"]


@dataclass
class Dataset:
    """A dataset input of a run. It stays the same dataset when its folder moves."""

    name: str
    digest: str
    context: Literal["training", "evaluation"]
    columns: dict[str, str]
    profile: dict[str, Any]
    folder: str


@dataclass
class Entry:
    """One MLflow run as it should be. Times are in milliseconds since 1970."""

    key: str
    name: str
    level: Level
    parent: str | None
    status: Status
    times: tuple[int, int]
    params: dict[str, Any] = field(default_factory=dict)
    curve: list[tuple[str, float, int, int]] = field(default_factory=list)  # name, value, step, time
    metrics: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)
    datasets: list[Dataset] = field(default_factory=list)
    documents: dict[str, Any] = field(default_factory=dict)  # artifact path -> JSON value
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # artifact path -> rows
    files: dict[str, Path] = field(default_factory=dict)  # artifact path -> file in the store

    def __post_init__(self) -> None:
        """Bring names and values into the form MLflow stores; what is empty or unknown is left out."""
        self.params = {_name(k): text for k, v in self.params.items() if (text := _text(v))}
        self.metrics = {_name(k): float(v) for k, v in self.metrics.items() if v is not None}
        self.tags = {k: text for k, v in self.tags.items() if (text := _text(v))}

    def fixed(self) -> str:
        """Return a digest of what MLflow cannot change once it is written: params, curve, inputs."""
        inputs = [(d.name, d.digest, d.context, d.profile) for d in self.datasets]
        return _digest([self.params, [point[:3] for point in self.curve], inputs])

    def content(self) -> str:
        """Return a digest of everything shown, except where it lies."""
        tags = {key: value for key, value in self.tags.items() if key not in PLACE_TAGS}
        files = [(path, file.parent.name, file.stat().st_size) for path, file in sorted(self.files.items())]
        shown = [self.name, self.status, self.metrics, tags, self.documents, self.tables, files]
        return _digest([self.fixed(), *shown])


def project(view: StudyView) -> list[Entry]:
    """Return the runs MLflow shall show, parents before children; runs still to do have none."""
    runs = [run for run in view.runs if run.state != "to do"]
    times = _run_times(runs)
    span = _span(times.values())
    entries = [_study(view, span)]
    if view.base:
        entries.append(_base(view, span))
    for variant in view.variants:
        own = [run for run in view.runs if run.variant == variant.name]
        known = [times[run.variant, run.seed] for run in own if (run.variant, run.seed) in times]
        entries.append(_variant(view, variant, own, _span(known) if known else span))
        entries += [_seed(view, variant, run, times[run.variant, run.seed]) for run in own if run in runs]
    return entries


# ---------------------------------------------------------------------------------------------------- levels


def _study(view: StudyView, span: tuple[int, int]) -> Entry:
    comparison, decisions = view.comparison, view.decisions
    states = [run.state for run in view.runs]
    metrics: dict[str, Any] = {"runs": len(states)}
    metrics |= {"runs_done": states.count("done"), "runs_failed": states.count("failed")}
    documents: dict[str, Any] = {"study.json": view.resolved}
    tables = {}
    verdicts = ""
    if comparison is not None:
        summary = {"baseline_mean": comparison.baseline_mean, "base_model": comparison.base_model}
        metrics |= {**summary, "majority": comparison.majority, **comparison.noise}
        documents["comparison.json"] = comparison.model_dump(mode="json")
        blocks = [(comparison.metric, comparison.arms), *((o.metric, o.arms) for o in comparison.others)]
        tables["tables/comparison.json"] = [
            {"metric": metric, **arm.model_dump(mode="json")} for metric, arms in blocks for arm in arms
        ]
    if decisions is not None:
        documents["decisions.json"] = decisions.model_dump(mode="json")
        tables["tables/decisions.json"] = [d.model_dump(mode="json") for d in decisions.decisions]
        tables["tables/trust.json"] = [check.model_dump(mode="json") for check in decisions.trust]
        verdicts = "; ".join(f"{d.subject}: {d.verdict}" for d in decisions.decisions)
        verdicts = "WITHHELD" if decisions.withheld else verdicts
    decide = {f"decide.{name}": value for name, value in _flat(view.resolved.get("decide", {})).items()}
    return Entry(
        key=view.key, name=view.study, level="study", parent=None, status=_status(view.runs), times=span,
        params={**_setting(view), **decide, "variants": [variant.name for variant in view.variants],
                "seeds": _seeds(view.runs)},
        metrics=metrics, documents=documents, tables=tables,
        tags={**_tags(view, "study", view.key), **_git(view.runs), "harness.verdict": verdicts,
              "mlflow.note.content": study_note(view)},
    )  # fmt: skip


def _base(view: StudyView, span: tuple[int, int]) -> Entry:
    key = f"{view.key}/base"
    return Entry(
        key=key, name="base model", level="base", parent=view.key, status="FINISHED", times=span,
        params={"model": view.resolved.get("model"), "suite": view.suite},
        metrics=_score_metrics(view.base), datasets=[_suite(view)],
        tags={**_tags(view, "base", key), "mlflow.note.content": base_note(view)},
    )  # fmt: skip


def _variant(view: StudyView, variant: VariantView, runs: list[RunView], span: tuple[int, int]) -> Entry:
    key = f"{view.key}/{variant.name}"
    done = [_score_metrics(run.scores, stderr=False) for run in runs if run.state == "done"]
    metrics: dict[str, Any] = {"rows": variant.rows, "tokens": variant.tokens, "seeds": len(done)}
    for name in dict.fromkeys(name for scores in done for name in scores):
        values = [scores[name] for scores in done if name in scores]
        metrics[name] = fmean(values)
        if len(values) > 1:
            metrics[f"{name}_seed_se"] = stdev(values) / len(values) ** 0.5
    if view.comparison is not None:
        for arm in view.comparison.arms:
            metrics |= _effect_metrics(arm, "") if arm.variant == variant.name else {}
        for other in view.comparison.others:
            for arm in other.arms:
                metrics |= _effect_metrics(arm, f"{other.metric}_") if arm.variant == variant.name else {}
    decision = None
    if view.decisions is not None and variant.tests and not variant.control:
        decision = next((d for d in view.decisions.decisions if d.subject == variant.tests), None)
    verdict: str = decision.verdict if decision else ""
    if view.decisions is not None and view.decisions.withheld and decision:
        verdict = "WITHHELD"
    return Entry(
        key=key, name=variant.name, level="variant", parent=view.key, status=_status(runs), times=span,
        params={**_setting(view), **_data(variant), "seeds": _seeds(runs)}, metrics=metrics,
        documents={"variant.json": variant.model_dump(mode="json")},
        tags={**_tags(view, "variant", key), **_git(runs), "harness.variant_key": variant.key,
              "harness.tests": variant.tests, "harness.control": variant.control, "harness.verdict": verdict,
              "mlflow.note.content": variant_note(view, variant, decision)},
    )  # fmt: skip


def _seed(view: StudyView, variant: VariantView, run: RunView, times: tuple[int, int]) -> Entry:
    key = f"{view.key}/{variant.name}/{run.seed}"
    sources = dict(variant.sources)
    if len(sources) == 1:  # rows per source are means over seeds; of a single source this seed's count is known
        sources = dict.fromkeys(sources, run.rows)
    training = _flat(run.training)
    begin, end = times
    seconds = min(float(training.get("seconds") or 0), (end - begin) / 1000)
    curve, last = [], len(run.curve)
    for number, point in enumerate(run.curve, 1):
        moment = begin + int(1000 * seconds * number / last)
        curve += [(_name(k), float(v), int(point["step"]), moment) for k, v in point.items() if k != "step"]
    drawn = {name for name, *_ in curve}
    numbers = {k: v for k, v in training.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    scalars = {k: v for k, v in numbers.items() if _name(k) not in drawn}
    datasets = [_suite(view)] if run.scores else []
    if run.rows_digest:
        profile = {"rows": run.rows, "tokens": numbers.get("tokens"), "sources": sources, "seed": run.seed}
        folder = run.folders.get("variant", "")
        datasets.append(Dataset(variant.name, run.rows_digest, "training", ROW_COLUMNS, profile, folder))
    return Entry(
        key=key, name=f"{variant.name} seed {run.seed}", level="seed", parent=f"{view.key}/{variant.name}",
        status=_status([run]), times=times, curve=curve, datasets=datasets,
        params={**_setting(view), **_data(variant), **{f"rows.{name}": n for name, n in sources.items()},
                "rows": run.rows or None, "tokens": numbers.get("tokens", variant.tokens), "seed": run.seed,
                "device": training.get("device")},
        metrics={**scalars, "rows": run.rows or None, **_score_metrics(run.scores)},
        documents={"provenance.json": run.provenance, "training.json": run.training},
        files=_files(run),
        tags={**_tags(view, "seed", key), **_git([run]),
              "harness.run_key": run.key, "harness.state": run.state, "harness.control": variant.control,
              "harness.rows_digest": run.rows_digest, "harness.adapter": run.folders.get("adapter"),
              "harness.failure": run.failure,
              "mlflow.note.content": run_note(view, variant, run)},
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------- parts


def _tags(view: StudyView, level: Level, key: str) -> dict[str, Any]:
    trust = "" if view.decisions is None else "ok" if view.decisions.trusted else "failed"
    return {"harness.study_key": view.key, "harness.level": level, "harness.key": key, "harness.trust": trust}


def _setting(view: StudyView) -> dict[str, Any]:
    """Return what all arms share: model, suite, match and the recipe's fields."""
    recipe = {f"recipe.{name}": value for name, value in _flat(view.resolved.get("recipe", {})).items()}
    named = {"model": view.resolved.get("model"), "suite": view.suite, "match": view.resolved.get("match")}
    return {**named, **recipe}


def _data(variant: VariantView) -> dict[str, Any]:
    rows = {f"rows.{source}": rows for source, rows in variant.sources.items()}
    operations = variant.operations or "none"
    size = {"rows": variant.rows, "tokens": variant.tokens, **rows}
    return {"variant": variant.name, "operations": operations, **size}


def _score_metrics(scores: Iterable[TaskScore], stderr: bool = True) -> dict[str, float]:
    found: dict[str, float] = {}
    for score in scores:
        found |= {f"{score.task}/{name}": value for name, value in score.metrics.items()}
        if stderr:
            found |= {f"{score.task}/{name}_stderr": value for name, value in score.stderr.items()}
            found |= {f"{score.task}/majority": score.majority} if score.majority is not None else {}
    return found


def _effect_metrics(arm: ArmEffect, prefix: str) -> dict[str, float | None]:
    values = {
        "effect": arm.effect, "effect_se": arm.se, "effect_low": arm.ci[0], "effect_high": arm.ci[1],
        "p": arm.p, "p_adjusted": arm.p_adjusted, "effect_clean": arm.effect_clean, "items": arm.items,
        "confirmation": arm.effect_confirmation,
        "confirmation_low": arm.ci_confirmation[0], "confirmation_high": arm.ci_confirmation[1],
    }  # fmt: skip
    return {f"{prefix}{name}": value for name, value in values.items()}


def _suite(view: StudyView) -> Dataset:
    profile = {"items": view.suite_items}
    return Dataset(view.suite, view.suite_digest, "evaluation", ITEM_COLUMNS, profile, view.suite_folder)


def _files(run: RunView) -> dict[str, Path]:
    """Return per-item results and data ledgers; the adapter stays in the store and is named in a tag."""
    found: dict[str, Path] = {}
    if "result" in run.folders:
        found |= {f"results/{path.name}": path for path in Path(run.folders["result"]).glob("*.parquet")}
    if "variant" in run.folders:
        ledgers = (Path(run.folders["variant"]) / name for name in LEDGERS)
        found |= {f"data/{path.name}": path for path in ledgers if path.is_file()}
    return found


def _git(runs: Iterable[RunView]) -> dict[str, Any]:
    """Return MLflow's tag for the git commit, where the runs agree on one."""
    names = ("git_commit", "git.commit", "commit")
    known = [_flat(run.provenance) for run in runs]
    commits = {str(flat[name]) for flat in known for name in names if flat.get(name)}
    return {"mlflow.source.git.commit": commits.pop()} if len(commits) == 1 else {}


def _status(runs: Iterable[RunView]) -> Status:
    states = {run.state for run in runs}
    return "FAILED" if "failed" in states else "FINISHED" if states == {"done"} else "RUNNING"


def _seeds(runs: Iterable[RunView]) -> list[int]:
    return sorted({run.seed for run in runs})


# ----------------------------------------------------------------------------------------------------- times


def _run_times(runs: Iterable[RunView]) -> dict[tuple[str, int], tuple[int, int]]:
    """Return begin and end of each run from its records, so that a rebuilt MLflow shows the same.

    A run that failed left no record: it gets the time of the last one that did.
    """
    found = {}
    for run in runs:
        trained, evaluated = _created(run.folders.get("adapter")), _created(run.folders.get("result"))
        if first := trained or evaluated:
            seconds = float(_flat(run.training).get("seconds") or 0)
            found[run.variant, run.seed] = (first - int(1000 * seconds), max(evaluated or first, first))
    last = max((end for _, end in found.values()), default=int(time.time() * 1000))
    return {(run.variant, run.seed): found.get((run.variant, run.seed), (last, last)) for run in runs}


def _created(folder: str | None) -> int | None:
    """Return when a record in the store was written."""
    path = Path(folder) / "record.json" if folder else None
    if path is None or not path.is_file():
        return None
    text = json.loads(path.read_text()).get("created")
    return int(datetime.fromisoformat(text).timestamp() * 1000) if text else None


def _span(times: Iterable[tuple[int, int]]) -> tuple[int, int]:
    known = list(times) or [(int(time.time() * 1000),) * 2]
    return min(begin for begin, _ in known), max(end for _, end in known)


# ------------------------------------------------------------------------------------------------------ forms


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted names."""
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat |= _flat(item, f"{prefix}{name}.") if isinstance(item, Mapping) else {f"{prefix}{name}": item}
    return flat


def _name(name: str) -> str:
    """Return a name MLflow accepts: letters, digits and ``_ - . / :`` and space."""
    return re.sub(r"[^\w\-./ :]", "_", name, flags=re.ASCII)[:250]


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        text = value or ""
    elif isinstance(value, list | tuple):
        text = ", ".join(_text(item) for item in value)
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"


def _digest(value: Any) -> str:
    # A diverged loss is NaN, which has no canonical JSON: spell the value first.
    return digest(json.dumps(value, sort_keys=True, default=str))
