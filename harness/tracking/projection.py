"""Makes the MLflow entries of a study, one per run. Does not import MLflow; reads the store's small files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.records import Decision, RunView, StudyView, VariantView
from harness.store import artifact_in
from harness.tracking.datasets import location, suite, training_sets
from harness.tracking.entry import Entry, Level, Status, flat, named
from harness.tracking.metrics import curve_of, effects, over_seeds, run_metrics, score_metrics
from harness.tracking.notes import base_note, run_note, study_note, variant_note

# Data that are copied to MLflow: ledgers and cards only, since rows may be private.
UNBEGUN = ("to do", "not needed")  # states of runs that MLflow does not get
LEDGERS = ("drops.parquet", "overlaps.parquet")
RunMetrics = dict[tuple[str, int], dict[str, float]]
Times = dict[tuple[str, int], tuple[int, int]]
Files = dict[str, tuple[Path, int]]  # path in MLflow -> file in the store, bytes


def projected(view: StudyView) -> int:
    """Return the number of MLflow runs of a study."""
    return 1 + bool(view.base) + len(view.variants) + sum(run.state not in UNBEGUN for run in view.runs)


def project(view: StudyView, report: str = "", cards: dict[str, dict[str, str]] | None = None) -> Iterator[Entry]:
    """Yield the entries of a study, parents before children; runs that are still to do have none.

    Entries are made one at a time: they are large, and there may be thousands.

    Args:
        view: The study, read from the store.
        report: HTML that goes to the study's run.
        cards: Data cards of variants, by file name.
    """
    runs = [run for run in view.runs if run.state not in UNBEGUN]
    times = _run_times(runs)
    span = _span(view, times.values())
    declared = str(view.resolved.get("decide", {}).get("metric", ""))
    numbers = {(run.variant, run.seed): run_metrics(run, declared) for run in runs}
    yield _study(view, span, report)
    if view.base:
        yield _base(view)
    for variant in view.variants:
        own = [run for run in view.runs if run.variant == variant.name]
        known = [times[run.variant, run.seed] for run in own if (run.variant, run.seed) in times]
        shown = (cards or {}).get(variant.name, {})
        yield _variant(view, variant, own, _span(view, known), numbers, shown)
        for run in own:
            if run.state not in UNBEGUN:
                yield _seed(view, variant, run, times[run.variant, run.seed], numbers[run.variant, run.seed])


# ---------------------------------------------------------------------------------------------------- levels


def _study(view: StudyView, span: tuple[int, int], report: str) -> Entry:
    comparison, decisions = view.comparison, view.decisions
    states = [run.state for run in view.runs]
    metrics: dict[str, Any] = {}
    documents: dict[str, Any] = {"study.json": view.resolved}
    tables = {}
    verdicts = ""
    if _judged(view, view.runs):
        metrics = {"runs": len(states), "runs_done": states.count("done"), "runs_failed": states.count("failed")}
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
    decide = {f"decide.{name}": value for name, value in flat(view.resolved.get("decide", {})).items()}
    return Entry(
        key=view.key, name=view.study, level="study", parent=None, status=_status(view.runs), times=span,
        params={**_setting(view), **decide, "variants": [variant.name for variant in view.variants],
                "sources": list(view.resolved.get("sources", {})), "seeds": _seeds(view.runs)},
        metrics=metrics, documents=documents, tables=tables, texts={"report.html": report} if report else {},
        files=_pool_ledgers(view), datasets=[suite(view)],
        tags={**_tags(view, "study", view.key), **_git(view.runs), "harness.verdict": verdicts,
              "mlflow.note.content": study_note(view)},
    )  # fmt: skip


def _base(view: StudyView) -> Entry:
    key, folder = f"{view.key}/base", view.folders.get("base", "")
    moment = _created(folder) or _moment(view.created) or _now()
    return Entry(
        key=key, name="base model", level="base", parent=view.key, status="FINISHED", times=(moment, moment),
        params={"model": view.resolved.get("model"), "suite": view.suite},
        metrics=score_metrics(view.base), datasets=[suite(view)], files=_result_files(folder),
        tags={**_tags(view, "base", key), "mlflow.note.content": base_note(view)},
    )  # fmt: skip


def _variant(
    view: StudyView, variant: VariantView, runs: list[RunView], span: tuple[int, int], numbers: RunMetrics,
    cards: dict[str, str],
) -> Entry:  # fmt: skip
    key = f"{view.key}/{variant.name}"
    # MLflow shows metrics in this order, and plots the first: the effect.
    metrics: dict[str, Any] = effects(view.comparison, variant.name) if view.comparison is not None else {}
    if _judged(view, runs):
        done = [numbers[run.variant, run.seed] for run in runs if run.state == "done"]
        metrics |= over_seeds(done) | {"rows": variant.rows, "tokens": variant.tokens, "seeds": len(done)}
    decision = _decision(view, variant)
    verdict: str = decision.verdict if decision else ""
    if view.decisions is not None and view.decisions.withheld and decision:
        verdict = "WITHHELD"
    return Entry(
        key=key, name=variant.name, level="variant", parent=view.key, status=_status(runs), times=span,
        params={**_data(variant, variant.rows, variant.tokens, variant.sources), "seeds": _seeds(runs),
                **_setting(view)},
        metrics=metrics, datasets=training_sets(view, variant, runs),
        documents={"variant.json": variant.model_dump(mode="json")},
        texts={f"data/{name}": text for name, text in cards.items()},
        tags={**_tags(view, "variant", key), **_git(runs), "harness.variant_key": variant.key,
              "harness.tests": variant.tests, "harness.control": variant.control, "harness.verdict": verdict,
              "mlflow.note.content": variant_note(view, variant, decision)},
    )  # fmt: skip


def _seed(
    view: StudyView, variant: VariantView, run: RunView, times: tuple[int, int], numbers: dict[str, float]
) -> Entry:
    key = f"{view.key}/{variant.name}/{run.seed}"
    begin, end = times
    seconds = min(float(run.training.get("seconds") or 0), (end - begin) / 1000)
    points = curve_of(run)
    curve: list[tuple[str, float, int, int]] = []
    last = len(points)
    for number, point in enumerate(points, 1):
        moment = begin + int(1000 * seconds * number / last)
        curve += [(named(k), float(v), int(point["step"]), moment) for k, v in point.items() if k != "step"]
    for step, sample in enumerate(run.training.get("system") or ()):
        moment = begin + int(1000 * sample["second"])
        curve += [(named(f"system/{k}"), float(v), step, moment) for k, v in sample.items() if k != "second"]
    facts = {"training": run.training, "evaluation": run.evaluation, "provenance": run.provenance}
    return Entry(
        key=key, name=f"{variant.name} seed {run.seed}", level="seed", parent=f"{view.key}/{variant.name}",
        status=_status([run]), times=times, curve=curve, metrics=dict(numbers),
        datasets=[*training_sets(view, variant, [run]), *([suite(view)] if run.scores else [])],
        params={**_data(variant, run.rows, run.tokens, run.sources), "seed": run.seed,
                "device": run.provenance.get("device"), **_setting(view)},
        documents={"run.json": facts}, files=_run_files(view, run),
        tags={**_tags(view, "seed", key), **_git([run]),
              "harness.run_key": run.key, "harness.state": run.state, "harness.control": variant.control,
              "harness.rows_digest": run.rows_digest, "harness.adapter": location(run.folders.get("adapter")) or None,
              "harness.failure": run.failure,
              "mlflow.note.content": run_note(view, variant, run)},
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------- parts


def _judged(view: StudyView, runs: Iterable[RunView]) -> bool:
    """Return whether metrics over runs are shown: not while any of these runs is unfinished or may be tried again.

    So nobody can stop a study at a lucky moment, and MLflow's history of a metric has one value, live or rebuilt.
    """
    return view.comparison is not None or _status(runs) == "FINISHED"


def _decision(view: StudyView, variant: VariantView) -> Decision | None:
    if view.decisions is None or not variant.tests or variant.control:
        return None
    return next((d for d in view.decisions.decisions if d.subject == variant.tests), None)


def _tags(view: StudyView, level: Level, key: str) -> dict[str, Any]:
    tags: dict[str, Any] = {"harness.study_key": view.key, "harness.level": level, "harness.key": key}
    if view.decisions is not None and level in ("study", "variant"):  # the tags of a run do not depend on decisions
        tags["harness.trust"] = "ok" if view.decisions.trusted else "failed"
        tags["harness.trust_failed"] = "; ".join(check.check for check in view.decisions.trust if not check.ok)
    return tags


def _setting(view: StudyView) -> dict[str, Any]:
    """Return the settings of all arms: model, suite, match and the recipe's fields."""
    recipe = {f"recipe.{name}": value for name, value in flat(view.resolved.get("recipe", {})).items()}
    named = {"model": view.resolved.get("model"), "suite": view.suite, "match": view.resolved.get("match")}
    return {**named, **recipe}


def _data(variant: VariantView, rows: int, tokens: int | None, sources: dict[str, int]) -> dict[str, Any]:
    """Return the composition of a training set: sources, their rows and weights (shares of the rows), operations."""
    total = sum(sources.values()) or 1
    parts: dict[str, Any] = {f"rows.{name}": count for name, count in sources.items()}
    parts |= {f"weight.{name}": round(count / total, 4) for name, count in sources.items()}
    operations = variant.operations or "none"
    size = {"rows": rows or None, "tokens": tokens, "sources": list(sources), **parts}
    return {"variant": variant.name, "operations": operations, **size}


def _pool_ledgers(view: StudyView) -> Files:
    """Return each source's ledgers: dropped rows, and rows that overlap the suite with the matching words."""
    found: Files = {}
    for place, folder in view.folders.items():
        kind, _, source = place.partition("/")
        prefix = {"sources": "reading_", "pools": ""}.get(kind)
        if prefix is not None:
            found |= _under(f"data/{source}/{prefix}", folder, LEDGERS)
    return found


def _run_files(view: StudyView, run: RunView) -> Files:
    """Return per-item results, the variant's dropped rows, and the adapter if the study requests a copy."""
    found = _result_files(run.folders.get("result"))
    if "variant" in run.folders:
        found |= _under("data/", run.folders["variant"], LEDGERS)
    if "adapter" in run.folders and view.resolved.get("track", {}).get("adapters") == "copy":
        found |= _under("adapter/", run.folders["adapter"])
    return found


def _result_files(folder: str | None) -> Files:
    return _under("results/", folder) if folder else {}


def _under(prefix: str, folder: str, names: tuple[str, ...] | None = None) -> Files:
    """Return path in MLflow -> file, for the files of an artifact or some of them."""
    wanted = {path: size for path, size in artifact_in(folder).files.items() if names is None or path.name in names}
    return {f"{prefix}{path.name}": (path, size) for path, size in wanted.items()}


def _git(runs: Iterable[RunView]) -> dict[str, Any]:
    """Return MLflow's tag for the git commit; empty when runs have different commits."""
    commits = {str(run.provenance["commit"]) for run in runs if run.provenance.get("commit")}
    return {"mlflow.source.git.commit": commits.pop()} if len(commits) == 1 else {}


def _status(runs: Iterable[RunView]) -> Status:
    """Return the status of an MLflow run; while any of its runs is unfinished, it is not finished."""
    states = {run.state for run in runs}
    return "RUNNING" if states & {"to do", "trained"} else "FAILED" if "failed" in states else "FINISHED"


def _seeds(runs: Iterable[RunView]) -> list[int]:
    return sorted({run.seed for run in runs})


# ----------------------------------------------------------------------------------------------------- times


def _run_times(runs: Iterable[RunView]) -> Times:
    """Return begin and end of each run from its records, so that a rebuilt MLflow shows the same times."""
    found = {}
    for run in runs:
        trained, evaluated = _created(run.folders.get("adapter")), _created(run.folders.get("result"))
        last = evaluated or _moment(run.failed) or trained or _now()
        first = trained or evaluated or last
        begin = first - int(1000 * float(run.training.get("seconds") or 0))
        found[run.variant, run.seed] = (begin, max(last, first))
    return found


def _created(folder: str | None) -> int | None:
    """Return when a record in the store was written."""
    path = Path(folder) / "record.json" if folder else None
    return _moment(json.loads(path.read_text()).get("created")) if path is not None and path.is_file() else None


def _moment(text: str | None) -> int | None:
    return int(datetime.fromisoformat(text).timestamp() * 1000) if text else None


def _span(view: StudyView, times: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Return the span from the registration of the study, which is constant, to the end of the runs."""
    known = list(times)
    begin = _moment(view.created) or min((begin for begin, _ in known), default=_now())
    return begin, max((end for _, end in known), default=begin)


def _now() -> int:
    return int(time.time() * 1000)
