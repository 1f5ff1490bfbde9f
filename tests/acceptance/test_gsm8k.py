"""A study on real data and a real model, end to end by the command line, with local paths."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import polars as pl
import pytest
import yaml

from harness.records import ITEM_COLUMNS
from harness.store import Artifact, Store
from tests.command import Called, harness
from tests.evaluation.test_evaluation_acceptance import LIMIT, TASKS, stock_command

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(2400)]
ROWS, SEEDS = 16, (1, 2)


def study(model: Path, data: Path) -> dict[str, object]:
    """School mathematics as it is published, against the same problems in another format."""
    math = data / "math"
    return {
        "study": "gsm8k-formats",
        "question": "Does the format of the worked solutions matter?",
        "model": str(model),
        "recipe": {"lora": {"r": 8, "alpha": 16}, "learning_rate": 2e-4, "batch": 4, "steps": 4, "max_length": 256},
        "suite": {
            "suite": "science",
            "tasks": {
                name: {"task": task, "path": str(data / "suites" / name), "limit": LIMIT, "metric": "acc"}
                for name, task in TASKS.items()
            },
        },
        "sources": {
            "original": {"path": str(math / "gsm8k_train.jsonl"), "rows": 400, "license": "MIT"},
            "alpaca": {"path": str(math / "gsm8k_train_alpaca_format.jsonl"), "rows": 200},
            # Made from the suites' own documents: decontamination must take nearly all of it.
            "leaky": {"path": str(data / "t0" / "leaky" / "sciq_Multiple_Choice_Closed_Book_.jsonl")},
        },
        "baseline": {"mix": {"original": ROWS}},
        "arms": {"alpaca": {"tests": "alpaca", "mix": {"alpaca": ROWS}}},
        "controls": [],
        "seeds": list(SEEDS),
        "decide": {"metric": "sciq/acc", "smallest_effect": 0.05},
        "waive": ["controls: four runs are enough to show that it works"],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, smollm2: Path, acceptance_data: Path) -> Path:
    folder = tmp_path_factory.mktemp("gsm8k")
    (folder / "study.yaml").write_text(yaml.safe_dump(study(smollm2, acceptance_data)))
    return folder


@pytest.fixture(scope="module")
def finished(folder: Path) -> Called:
    done = harness("run", "study.yaml", cwd=folder, timeout=1500)
    assert done.code == 0, done.err
    return done


def results(folder: Path) -> dict[str, Artifact]:
    return {artifact.record.name: artifact for artifact in Store(folder / ".harness").artifacts("result")}


def test_runs_from_sources_to_decisions(folder: Path, finished: Called) -> None:
    assert "TRUST" in finished.out
    assert "waived in writing: controls" in finished.out
    assert "alpaca" in finished.out
    assert "Traceback" not in finished.err
    decided = harness("decide", "study.yaml", "--json", cwd=folder).json
    assert {d["subject"] for d in decided["decisions"]} >= {"alpaca"}
    assert all(d["reason"] for d in decided["decisions"])
    compared = harness("compare", "study.yaml", "--json", cwd=folder).json
    (arm,) = compared["arms"]
    assert (arm["variant"], arm["seeds"]) == ("alpaca", len(SEEDS))
    low, high = arm["ci"]
    assert low <= arm["effect"] <= high
    metrics = {other["metric"] for other in compared["others"]}
    assert {"sciq/acc_norm", "sciq/margin", "commonsense_qa/acc"} <= metrics


def test_every_run_left_a_whole_result(folder: Path, finished: Called) -> None:
    names = {f"gsm8k-formats-{variant}-seed{seed}" for variant in ("baseline", "alpaca") for seed in SEEDS}
    found = results(folder)
    assert set(found) == names | {"base-science"}
    for name, artifact in found.items():
        items = pl.read_parquet(artifact.folder / "items.parquet")
        assert items.height == LIMIT * len(TASKS), name
        assert items["gold_logprob"].is_finite().all()
    # Training changes the model, and no two runs are the same.
    means = {pl.read_parquet(a.folder / "items.parquet")["gold_logprob"].mean() for a in found.values()}
    assert len(means) == len(found)
    assert harness("store", "verify", cwd=folder).code == 0


def test_decontamination_is_reported(folder: Path, finished: Called) -> None:
    plan = harness("plan", "study.yaml", "--json", cwd=folder).json
    assert plan["decontamination"]["rows"] == 600
    assert set(plan["decontamination"]["by_source"]) == {"original", "alpaca"}
    assert "rows overlap" in plan["decontamination"]["text"] or "overlaps the suite" in plan["decontamination"]["text"]
    assert {run["state"] for run in plan["runs"]} == {"done"}
    assert "no variant draws from leaky" in harness("plan", "study.yaml", cwd=folder).out


def test_rows_made_from_the_suite_are_removed(folder: Path, finished: Called) -> None:
    text = yaml.safe_load((folder / "study.yaml").read_text())
    text["arms"]["leaky"] = {"tests": "leaky", "mix": {"leaky": "all"}}
    (folder / "leaky.yaml").write_text(yaml.safe_dump(text))
    found = harness("plan", "leaky.yaml", "--json", cwd=folder).json["decontamination"]
    rows = len((Path(text["sources"]["leaky"]["path"])).read_text().splitlines())
    # Of the 193 documents of the suite the first LIMIT are items here; each was made into one row at least.
    assert 0.9 * LIMIT <= found["by_source"]["leaky"] <= rows
    assert found["items_touched"] >= 0.9 * LIMIT


def test_the_base_model_scores_as_the_stock_command_says(
    folder: Path, finished: Called, smollm2: Path, acceptance_data: Path, tmp_path: Path
) -> None:
    items = pl.read_parquet(results(folder)["base-science"].folder / "items.parquet")
    pinned = Store(folder / ".harness").artifacts("suite")[0].folder / "items.parquet"
    assert set(pl.read_parquet(pinned).columns) == set(ITEM_COLUMNS)
    for name, samples in stock_command(smollm2, acceptance_data, tmp_path).items():
        own = items.filter(pl.col("task") == name)
        gold = [float(sample["resps"][sample["doc"]["label"]][0][0]) for sample in samples]
        assert own["gold_logprob"].to_list() == pytest.approx(gold, abs=1e-3)


def test_mlflow_holds_the_study(folder: Path, finished: Called) -> None:
    with sqlite3.connect(folder / ".harness" / "mlflow.db") as database:
        names = [name for (name,) in database.execute("select name from experiments")]
        runs = database.execute("select count(*) from runs where lifecycle_stage = 'active'").fetchone()[0]
    database.close()
    assert "gsm8k-formats" in names
    assert runs == 1 + 2 + 2 * len(SEEDS) + 1  # the study, its variants, their runs, the base model
