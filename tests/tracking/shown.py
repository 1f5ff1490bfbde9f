"""A finished study as a view, planted; and what MLflow shows of one."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from harness.identity import digest, file_digest
from harness.records import (
    ArmEffect,
    Comparison,
    Decision,
    Decisions,
    MetricComparison,
    RunView,
    StudyView,
    TaskScore,
    TrustCheck,
    VariantView,
)
from harness.store.integrity import RECORD, content
from harness.store.record import Record, StoredFile

STUDY_KEY = "5ca1ab1e5ca1ab1e"
MEANS = {"baseline": 0.30, "verified": 0.41, "sums-160": 0.46}
SOURCES = {"baseline": {"scraped": 160}, "verified": {"scraped": 79}, "sums-160": {"sums": 160}}
TESTS = {"baseline": "", "verified": "verify(scraped)", "sums-160": "sums"}
VERDICTS = {"verify(scraped)": "ADOPT", "sums": "GROW"}


def rows_digest(variant: str, seed: int) -> str:
    return digest([variant, seed])


def scores(value: float) -> list[TaskScore]:
    metrics = {"exact_match": value, "gold_logprob_per_token": value - 1}
    stderr = {"exact_match": 0.04, "gold_logprob_per_token": 0.1}
    return [TaskScore(task="sums", items=96, metrics=metrics, stderr=stderr, majority=0.03, primary="exact_match")]


def arm(variant: str, effect: float) -> ArmEffect:
    return ArmEffect(
        variant=variant, effect=effect, se=0.02, ci=(effect - 0.04, effect + 0.04), df=9.0, p=0.0001,
        p_adjusted=0.0002, seeds=2, items=48, mean=MEANS[variant], effect_clean=effect, items_clean=47,
        effect_confirmation=effect - 0.01, ci_confirmation=(effect - 0.06, effect + 0.05),
        items_confirmation=48,
    )  # fmt: skip


def items(folder: Path) -> None:
    """Four items in two slices and one in none; the slice ``one, two`` has a name that MLflow does not take."""
    slices = ["carry", "carry", "carry", "one, two", None]
    values = {"exact_match": [1.0, 0.0, 1.0, 1.0, 0.0], "gold_logprob_per_token": [-0.1, -1.0, -0.2, -0.3, -2.0]}
    fixed = {"item_id": list("abcde"), "task": ["sums"] * 5, "half": ["selection"] * 5, "slice": slices}
    pl.DataFrame(fixed | values).write_parquet(folder / "items.parquet")


def folder_of(store: Path, kind: str, name: str) -> Path:
    folder = store / kind / name
    folder.mkdir(parents=True)
    return folder


def seal(folder: Path, created: str) -> None:
    """Write the record of what is in an artifact's folder."""
    there = sorted(path for path in folder.iterdir() if path.name != RECORD)
    files = {path.name: StoredFile(sha256=file_digest(path), bytes=path.stat().st_size) for path in there}
    record = Record(kind=folder.parent.name, version=1, key=folder.name[-16:], name=folder.name, spec={}, inputs={},
                    digest="d", files=files, created=created)  # fmt: skip
    (folder / RECORD).write_bytes(content(record))


def make_run(folder: Path, variant: str, seed: int) -> RunView:
    """A finished run with the folders the store would hold."""
    key = digest(["run", variant, seed])[:16]
    folders = {kind: folder / kind / f"{variant}-{seed}-{key}" for kind in ("adapter", "result", "variant")}
    for path in folders.values():
        path.mkdir(parents=True)
    (folders["adapter"] / "adapter_model.safetensors").write_bytes(b"weights")
    items(folders["result"])
    pl.DataFrame({"row_id": ["r"], "reason": ["wrong answer"]}).write_parquet(folders["variant"] / "drops.parquet")
    pl.DataFrame({"prompt": ["private"]}).write_parquet(folders["variant"] / "rows.parquet")
    for minute, path in enumerate(folders.values()):
        seal(path, f"2026-03-01T10:{10 * seed + minute:02d}:00+00:00")
    curve = [
        {
            "step": float(step),
            "loss": 3 / step,
            "learning_rate": 7e-4,
            "grad_norm": 1.0,
            "tokens_per_second": 99.0,
        }
        for step in range(1, 6)
    ]
    return RunView(
        variant=variant,
        seed=seed,
        key=key,
        state="done",
        training={"steps": 5, "tokens": 5400, "seconds": 27.5, "final_loss": 0.6, "peak_memory": 900 + seed,
                  "system": [{"second": 1.0, "cpu_utilization_percentage": 50.0 + n} for n in range(3)]},
        evaluation={"seconds": 8.5, "tokens": 900, "shared_context": True},
        curve=curve,
        scores=scores(MEANS[variant] + 0.01 * (seed - 1.5)),
        rows_digest=rows_digest(variant, seed),
        rows=sum(SOURCES[variant].values()),
        tokens=2700,
        sources=SOURCES[variant],
        folders={kind: str(path) for kind, path in folders.items()},
        provenance={"commit": "c0ffee" * 6, "python": "3.11", "device": "cpu"},
    )  # fmt: skip


def make_view(store: Path) -> StudyView:
    arms = [arm("verified", 0.11), arm("sums-160", 0.16)]
    variants = [
        VariantView(
            name=name,
            key=digest(["variant", name])[:16],
            tests=TESTS[name],
            rows=sum(sources.values()),
            tokens=2700,
            sources=sources,
            operations=["verify"] if name == "verified" else [],
            digests={seed: rows_digest(name, seed) for seed in (1, 2)},
            variant={"mix": sources},
        )
        for name, sources in SOURCES.items()
    ]
    decisions = [
        Decision(
            subject=subject, kind="source" if subject == "sums" else "treatment", verdict=verdict,  # type: ignore[arg-type]
            effect=0.1, ci=(0.06, 0.14), p_adjusted=0.0002, confirmation=0.09, contrast="x - baseline",
            reason="half the rows | better <b>model</b>",
        )
        for subject, verdict in VERDICTS.items()
    ]  # fmt: skip
    base = folder_of(store, "result", "base-sums-0")
    items(base)
    seal(base, "2026-03-01T10:05:00+00:00")
    pool = folder_of(store, "pool", "scraped-0")
    pl.DataFrame({"row_id": ["r"], "span": ["1 + 1"]}).write_parquet(pool / "overlaps.parquet")
    pl.DataFrame({"prompt": ["private"]}).write_parquet(pool / "rows.parquet")
    seal(pool, "2026-03-01T10:00:00+00:00")
    return StudyView(
        study="quickstart",
        key=STUDY_KEY,
        created="2026-03-01T10:00:00+00:00",
        question="Verify it, or pay for clean rows?",
        hypothesis="Verifying beats the raw pool.",
        resolved={
            "study": "quickstart",
            "model": "smollm2-135m-instruct",
            "match": "steps",
            "sources": {
                "scraped": {"hub": "owner/scraped", "revision": "a" * 40, "license": "mit", "origin": "public"},
                "sums": {"generator": "reasoning-gym", "task": "chain_sum", "seed": 2, "origin": "annotation"},
            },
            "suite": {"suite": "sums", "tasks": {"sums": {"task": "arc_easy"}}},
            "track": {"adapters": "reference"},
            "recipe": {"learning_rate": 7e-4, "lora": {"r": 16, "targets": "all-linear"}, "epochs": None},
            "decide": {"metric": "sums/exact_match", "smallest_effect": 0.05, "alpha": 0.05},
        },
        suite="sums",
        suite_digest=digest("suite"),
        suite_folder=str(store / "suite" / "sums"),
        suite_items=96,
        folders={"base": str(base), "pools/scraped": str(pool)},
        variants=variants,
        runs=[make_run(store, name, seed) for name in SOURCES for seed in (1, 2)],
        base=scores(0.0),
        comparison=Comparison(
            study="quickstart", baseline="baseline", metric="sums/exact_match", match="steps", arms=arms,
            noise={"seed_share": 0.61, "item_share": 0.39}, base_model=0.0, baseline_mean=0.3, majority=0.03,
            others=[
                MetricComparison(
                    metric="sums/gold_logprob_per_token", baseline_mean=-0.7, exploratory=True, arms=arms
                )
            ],
        ),
        decisions=Decisions(
            study="quickstart", metric="sums/exact_match", rule={"alpha": 0.05}, rule_digest="d",
            trusted=True, trust=[TrustCheck(check="runs", ok=True, text="6 of 6 runs")], decisions=decisions,
            next="Grow next: sums",
        ),
    )  # fmt: skip


def client_of(uri: str) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=uri)


def all_runs(uri: str, where: str = "", **more: Any) -> list[Any]:
    client = client_of(uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(ids, where, **more))


def by_key(uri: str) -> dict[str, Any]:
    runs = all_runs(uri)
    found = {run.data.tags["harness.key"]: run for run in runs}
    assert len(found) == len(runs)
    return found


def snapshot(uri: str, contents: bool = True) -> dict[str, Any]:
    """Everything a user can see of every run, by key and with parents by key, without MLflow's own ids.

    Artifacts by the digest of what they hold, unless their contents are of no interest.
    """
    client, runs = client_of(uri), by_key(uri)
    keys = {run.info.run_id: key for key, run in runs.items()}
    seen = {}
    for key, run in runs.items():
        tags = dict(run.data.tags)
        parent = tags.pop("mlflow.parentRunId", None)
        history = {
            name: [(p.value, p.step, p.timestamp) for p in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        inputs = [item.to_dictionary() for item in run.inputs.dataset_inputs]
        seen[key] = {
            "name": run.info.run_name, "status": run.info.status, "parent": keys.get(parent),
            "times": (run.info.start_time, run.info.end_time), "params": run.data.params, "metrics": history,
            "tags": tags, "inputs": sorted(inputs, key=lambda item: item["dataset"]["name"]),
            "artifacts": artifacts(client, run.info.run_id) if contents else None,
        }  # fmt: skip
    return seen


def artifacts(client: Any, run_id: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        there = Path(client.download_artifacts(run_id, "", folder)) if client.list_artifacts(run_id) else Path(folder)
        return {
            path.relative_to(there).as_posix(): file_digest(path) for path in sorted(there.rglob("*")) if path.is_file()
        }


def shown(run: dict[str, Any]) -> dict[str, Any]:
    """What MLflow shows as a run's metrics: the newest value of each, not when it was written."""
    latest = {name: max(points, key=lambda p: (p[1], p[2]))[0] for name, points in run["metrics"].items()}
    return {**run, "metrics": latest}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def assert_same(one: dict[str, Any], other: dict[str, Any], without: str = "") -> None:
    """Two snapshots are the same, compared field by field."""
    assert one.keys() == other.keys()
    for key, run in one.items():
        for name in run.keys() - {without}:
            assert run[name] == other[key][name], (key, name)
