from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RequestError, StepError
from harness.identity import digest
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
from harness.tracking import SyncReport, default_uri, public_uri, sync, ui_command

# MLflow uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

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


def make_run(folder: Path, variant: str, seed: int) -> RunView:
    """A finished run with the folders the store would hold."""
    key = digest(["run", variant, seed])[:16]
    folders = {kind: folder / kind / f"{variant}-{seed}-{key}" for kind in ("adapter", "result", "variant")}
    for minute, (kind, path) in enumerate(folders.items()):
        path.mkdir(parents=True)
        created = f"2026-03-01T10:{10 * seed + minute:02d}:00+00:00"
        (path / "record.json").write_text(json.dumps({"kind": kind, "created": created}))
    pl.DataFrame({"item_id": ["a", "b"], "exact_match": [1.0, 0.0]}).write_parquet(
        folders["result"] / "results.parquet"
    )
    pl.DataFrame({"row_id": ["r"], "reason": ["wrong answer"]}).write_parquet(folders["variant"] / "drops.parquet")
    pl.DataFrame({"prompt": ["private"]}).write_parquet(folders["variant"] / "rows.parquet")
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
        training={"loss": 0.6, "tokens": 2700, "seconds": 27.5, "device": "cpu"},
        curve=curve,
        scores=scores(MEANS[variant] + 0.01 * (seed - 1.5)),
        rows_digest=rows_digest(variant, seed),
        rows=sum(SOURCES[variant].values()),
        folders={kind: str(path) for kind, path in folders.items()},
        provenance={"git_commit": "c0ffee" * 6, "python": "3.11"},
    )


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
    return StudyView(
        study="quickstart",
        key=STUDY_KEY,
        question="Verify it, or pay for clean rows?",
        hypothesis="Verifying beats the raw pool.",
        resolved={
            "study": "quickstart",
            "model": "smollm2-135m-instruct",
            "match": "steps",
            "recipe": {"learning_rate": 7e-4, "lora": {"r": 16, "targets": "all-linear"}, "epochs": None},
            "decide": {"metric": "sums/exact_match", "smallest_effect": 0.05, "alpha": 0.05},
        },
        suite="sums",
        suite_digest=digest("suite"),
        suite_folder=str(store / "suite" / "sums"),
        suite_items=96,
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


@pytest.fixture(autouse=True)
def _no_server_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with MLflow's tables: making them takes seconds."""
    import mlflow

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path.read_bytes()


@pytest.fixture
def store(tmp_path: Path, empty_database: bytes) -> Path:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "mlflow.db").write_bytes(empty_database)
    return tmp_path / "store"


@pytest.fixture
def empty_uri(tmp_path: Path, empty_database: bytes) -> str:
    """An MLflow without any run, such as after deleting the store's."""
    (tmp_path / "empty.db").write_bytes(empty_database)
    return f"sqlite:///{tmp_path}/empty.db"


@pytest.fixture
def view(store: Path) -> StudyView:
    return make_view(store)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_database: bytes) -> tuple[SyncReport, str]:
    """A study shown once, for tests that only look: the report and the URI."""
    store = tmp_path_factory.mktemp("finished")
    (store / "mlflow.db").write_bytes(empty_database)
    return sync(make_view(store), store, f"sqlite:///{store}/mlflow.db"), f"sqlite:///{store}/mlflow.db"


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


def snapshot(uri: str) -> dict[str, Any]:
    """Everything a user can see of every run, by key and with parents by key, without MLflow's own ids."""
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
            "artifacts": artifacts(client, run.info.run_id),
        }  # fmt: skip
    return seen


def artifacts(client: Any, run_id: str, path: str | None = None) -> list[str]:
    found = []
    for item in client.list_artifacts(run_id, path):
        found += artifacts(client, run_id, item.path) if item.is_dir else [item.path]
    return sorted(found)


# ---------------------------------------------------------------------------------------- what is shown


def test_shows_study_variants_and_seeds_nested(view: StudyView, store: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = sync(view, store, on_progress=lambda done, total: seen.append((done, total)))
    assert (report.created, report.updated, report.unchanged) == (11, 0, 0)
    assert report.experiment == "quickstart"
    assert seen == [(n, 11) for n in range(1, 12)]
    runs = snapshot(default_uri(store))
    parents = {key: run["parent"] for key, run in runs.items()}
    expected: dict[str, str | None] = {STUDY_KEY: None, f"{STUDY_KEY}/base": STUDY_KEY}
    for name in SOURCES:
        expected[f"{STUDY_KEY}/{name}"] = STUDY_KEY
        expected |= {f"{STUDY_KEY}/{name}/{seed}": f"{STUDY_KEY}/{name}" for seed in (1, 2)}
    assert parents == expected
    assert {run["status"] for run in runs.values()} == {"FINISHED"}
    # 10:20 is when the adapter of seed 2 was recorded, after 27.5 s of training; its result came at 10:21.
    begin, end = runs[f"{STUDY_KEY}/verified/2"]["times"]
    assert end - begin == 60_000 + 27_500
    assert begin == 1_772_360_400_000 - 27_500


def test_seed_run_has_params_curve_scores_and_inputs(finished: tuple[SyncReport, str]) -> None:
    _, uri = finished
    run = snapshot(uri)[f"{STUDY_KEY}/verified/2"]
    wanted = {
        "variant": "verified", "seed": "2", "rows": "79", "rows.scraped": "79", "tokens": "2700",
        "operations": "verify", "recipe.learning_rate": "0.0007", "recipe.lora.r": "16", "match": "steps",
        "model": "smollm2-135m-instruct", "device": "cpu", "suite": "sums",
    }  # fmt: skip
    assert wanted.items() <= run["params"].items()
    assert "recipe.epochs" not in run["params"]
    assert [(value, step) for value, step, _ in run["metrics"]["loss"]] == [(3 / n, n) for n in range(1, 6)]
    for name in ("learning_rate", "grad_norm", "tokens_per_second"):
        assert len(run["metrics"][name]) == 5
    assert run["metrics"]["sums/exact_match"][0][0] == pytest.approx(0.415)
    assert run["metrics"]["sums/exact_match_stderr"][0][0] == 0.04
    assert run["metrics"]["seconds"][0][0] == 27.5
    assert run["tags"]["harness.rows_digest"] == rows_digest("verified", 2)
    assert run["tags"]["mlflow.source.git.commit"] == "c0ffee" * 6
    assert "/adapter/verified-2-" in run["tags"]["harness.adapter"]
    contexts = {item["dataset"]["name"]: item["tags"]["mlflow.data.context"] for item in run["inputs"]}
    assert contexts == {"verified": "training", "sums": "evaluation"}
    data = next(item["dataset"] for item in run["inputs"] if item["dataset"]["name"] == "verified")
    assert data["digest"] == rows_digest("verified", 2)[:36]
    profile = json.loads(data["profile"])
    assert profile["digest"] == rows_digest("verified", 2)
    assert (profile["rows"], profile["sources"]) == (79, {"scraped": 79})
    assert {"name": "prompt", "type": "string", "required": False} in json.loads(data["schema"])["mlflow_colspec"]
    assert run["artifacts"] == [
        "data/drops.parquet",
        "provenance.json",
        "results/results.parquet",
        "training.json",
    ]


def test_variant_run_has_means_effects_and_verdict(finished: tuple[SyncReport, str]) -> None:
    _, uri = finished
    run = by_key(uri)[f"{STUDY_KEY}/sums-160"]
    metrics, tags = run.data.metrics, run.data.tags
    assert metrics["sums/exact_match"] == pytest.approx(0.46)
    assert metrics["sums/exact_match_seed_se"] == pytest.approx(0.005)
    assert (metrics["effect"], metrics["effect_low"], metrics["effect_high"]) == pytest.approx((0.16, 0.12, 0.20))
    assert metrics["p_adjusted"] == 0.0002
    assert metrics["confirmation"] == pytest.approx(0.15)
    assert metrics["sums/gold_logprob_per_token_effect"] == 0.16
    assert (tags["harness.verdict"], tags["harness.trust"], tags["harness.tests"]) == ("GROW", "ok", "sums")
    assert "+0.160 [+0.120, +0.200]" in tags["mlflow.note.content"]
    baseline = by_key(uri)[f"{STUDY_KEY}/baseline"]
    assert "effect" not in baseline.data.metrics
    assert "harness.verdict" not in baseline.data.tags


def test_study_run_has_note_tables_and_documents(
    finished: tuple[SyncReport, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, uri = finished
    view = make_view(tmp_path / "same")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # load_table asks the URI of the process
    client = client_of(uri)
    run = by_key(uri)[STUDY_KEY]
    note = run.data.tags["mlflow.note.content"]
    assert view.question in note
    assert "| verify(scraped) | **ADOPT** | +0.100 [+0.060, +0.140] | +0.090 |" in note
    assert "half the rows \\| better &lt;b>model" in note  # text of a study can neither end a cell nor start HTML
    table = client.load_table(report.experiment_id, "tables/comparison.json")
    assert list(table["variant"]) == ["verified", "sums-160"] * 2
    assert list(client.load_table(report.experiment_id, "tables/decisions.json")["verdict"]) == [
        "ADOPT",
        "GROW",
    ]
    path = client.download_artifacts(run.info.run_id, "study.json")
    assert json.loads(Path(path).read_text()) == view.resolved
    comparison = json.loads(Path(client.download_artifacts(run.info.run_id, "comparison.json")).read_text())
    assert Comparison.model_validate(comparison) == view.comparison
    base = by_key(uri)[f"{STUDY_KEY}/base"]
    assert base.data.metrics["sums/exact_match"] == 0.0


def test_queries_users_write(finished: tuple[SyncReport, str]) -> None:
    _, uri = finished
    variants = "tags.`harness.level` = 'variant'"
    best = all_runs(uri, f"{variants} and metrics.effect > 0", order_by=["metrics.effect DESC"])
    assert [run.info.run_name for run in best] == ["sums-160", "verified"]
    whole, prefix = rows_digest("verified", 1), rows_digest("verified", 1)[:36]
    for where in (f"dataset.digest = '{prefix}'", f"tags.`harness.rows_digest` = '{whole}'"):
        assert [run.info.run_name for run in all_runs(uri, where)] == ["verified seed 1"]
    assert [run.info.run_name for run in all_runs(uri, "tags.`harness.verdict` = 'GROW'")] == ["sums-160"]
    good = all_runs(uri, "metrics.`sums/exact_match` > 0.4 and params.seed = '2'")
    assert {run.info.run_name for run in good} == {"verified seed 2", "sums-160 seed 2"}


# ------------------------------------------------------------------------------------- again, and anew


def test_second_sync_changes_nothing(view: StudyView, store: Path) -> None:
    sync(view, store)
    before = snapshot(default_uri(store))
    report = sync(view, store)
    assert (report.created, report.updated, report.unchanged) == (0, 0, 11)
    assert snapshot(default_uri(store)) == before


def test_rebuilding_from_nothing_gives_the_same(view: StudyView, store: Path, empty_uri: str) -> None:
    sync(view, store)
    assert sync(view, store, empty_uri).created == 11
    assert snapshot(empty_uri) == snapshot(default_uri(store))


def test_growing_study_ends_as_if_shown_at_once(view: StudyView, store: Path, empty_uri: str) -> None:
    """Live: first nothing, then runs that fail or wait for evaluation, then all of it."""
    uri = default_uri(store)
    planned = [run.model_copy(update={"state": "to do", "scores": [], "curve": []}) for run in view.runs]
    nothing = view.model_copy(update={"runs": planned, "comparison": None, "decisions": None, "base": []})
    assert sync(nothing, store).created == 4
    ids = {key: run.info.run_id for key, run in by_key(uri).items()}
    failed = {"state": "failed", "scores": [], "curve": [], "failure": "out of memory", "rows_digest": ""}
    trained = {"state": "trained", "scores": []}
    some = [view.runs[0].model_copy(update=failed), view.runs[1].model_copy(update=trained), *view.runs[2:]]
    sync(nothing.model_copy(update={"runs": some}), store)
    runs = by_key(uri)
    assert runs[f"{STUDY_KEY}/baseline/1"].info.status == "FAILED"
    assert runs[f"{STUDY_KEY}/baseline/1"].data.tags["harness.failure"] == "out of memory"
    assert runs[f"{STUDY_KEY}/baseline/2"].info.status == "RUNNING"
    assert runs[STUDY_KEY].info.status == "FAILED"
    sync(view, store)
    grown = {key: shown(run) for key, run in snapshot(uri).items()}
    assert {key: by_key(uri)[key].info.run_id for key in ids} == ids  # pages that are open stay valid
    assert "harness.failure" not in grown[f"{STUDY_KEY}/baseline/1"]["tags"]
    sync(view, store, empty_uri)
    assert grown == {key: shown(run) for key, run in snapshot(empty_uri).items()}


def shown(run: dict[str, Any]) -> dict[str, Any]:
    """What MLflow shows as a run's metrics: the newest value of each; and no times of earlier looks."""
    latest = {name: max(points, key=lambda p: (p[1], p[2]))[0] for name, points in run["metrics"].items()}
    return {**run, "metrics": latest, "times": None}


def test_changes_are_shown(view: StudyView, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(store))
    sync(view, store)
    assert view.comparison is not None
    assert view.decisions is not None
    changed = view.model_copy(deep=True)
    assert changed.comparison is not None
    assert changed.decisions is not None
    changed.comparison.arms[1].effect = 0.02  # smaller than before: the newest value counts, not the largest
    changed.decisions.trusted, changed.decisions.withheld = False, True
    report = sync(changed, store)
    assert (report.created, report.updated) == (0, 11)
    run = by_key(default_uri(store))[f"{STUDY_KEY}/sums-160"]
    assert run.data.metrics["effect"] == 0.02
    assert (run.data.tags["harness.verdict"], run.data.tags["harness.trust"]) == ("WITHHELD", "failed")
    table = client_of(default_uri(store)).load_table(report.experiment_id, "tables/comparison.json")
    assert list(table["effect"]) == [0.11, 0.02] * 2


def test_what_mlflow_cannot_change_is_made_anew(view: StudyView, store: Path) -> None:
    sync(view, store)
    uri = default_uri(store)
    old = by_key(uri)[f"{STUDY_KEY}/verified"].info.run_id
    view.variants[1].rows = 81  # a param
    view.comparison = None  # metrics that are gone
    report = sync(view, store)
    # Their children are hung under the new runs; the baseline keeps its id, and its seeds are as they were.
    assert (report.created, report.updated, report.unchanged) == (0, 9, 2)
    runs = snapshot(uri)
    assert runs[f"{STUDY_KEY}/verified"]["params"]["rows"] == "81"
    assert "effect" not in runs[f"{STUDY_KEY}/sums-160"]["metrics"]
    assert by_key(uri)[f"{STUDY_KEY}/verified"].info.run_id != old
    assert runs[f"{STUDY_KEY}/verified/1"]["parent"] == f"{STUDY_KEY}/verified"


def test_interrupted_and_doubled_runs_heal(view: StudyView, store: Path) -> None:
    sync(view, store)
    uri = default_uri(store)
    before = snapshot(uri)
    client, runs = client_of(uri), by_key(uri)
    client.delete_tag(runs[f"{STUDY_KEY}/verified/1"].info.run_id, "harness.digest")
    client.delete_run(runs[f"{STUDY_KEY}/baseline"].info.run_id)
    twin = runs[f"{STUDY_KEY}/sums-160/2"]
    unfinished = {key: value for key, value in twin.data.tags.items() if key != "harness.digest"}
    client.create_run(twin.info.experiment_id, tags=unfinished)
    sync(view, store)
    assert {k: shown(v) for k, v in snapshot(uri).items()} == {k: shown(v) for k, v in before.items()}
    client.delete_experiment(twin.info.experiment_id)
    sync(view, store)
    assert {k: shown(v) for k, v in snapshot(uri).items()} == {k: shown(v) for k, v in before.items()}


def test_another_version_of_a_study_has_its_own_tree(view: StudyView, store: Path) -> None:
    sync(view, store)
    first = snapshot(default_uri(store))
    sync(view.model_copy(update={"key": "0" * 16}), store)
    both = snapshot(default_uri(store))
    assert len(both) == 22
    assert {key: run for key, run in both.items() if key in first} == first


def test_diverged_training_and_odd_names_are_shown(view: StudyView, store: Path) -> None:
    view.runs[0].curve[-1]["loss"] = float("nan")
    view.runs[0].scores[0].metrics["f1,first (strict)"] = 0.5
    view.question = "x" * 30_000
    sync(view, store)
    run = by_key(default_uri(store))[f"{STUDY_KEY}/baseline/1"]
    assert run.data.metrics["loss"] != run.data.metrics["loss"]
    assert run.data.metrics["sums/f1_first _strict_"] == 0.5
    assert sync(view, store).unchanged == 11


def test_long_curves_and_many_params_are_sent_in_parts(view: StudyView, store: Path) -> None:
    view.runs[0].curve = [{"step": float(n), "loss": 1 / n} for n in range(1, 2502)]
    view.resolved["recipe"] |= {f"knob{n}": n for n in range(230)}
    sync(view, store)
    run = snapshot(default_uri(store))[f"{STUDY_KEY}/baseline/1"]
    assert len(run["metrics"]["loss"]) == 2501
    assert run["params"]["recipe.knob229"] == "229"


# ------------------------------------------------------------------------------------ where it is shown


def test_default_uri_is_beside_the_store_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir(tmp_path)
    assert default_uri(Path("store")) == f"sqlite:///{tmp_path}/store/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    assert default_uri(tmp_path) == "http://tracker:5000"


@pytest.mark.parametrize(
    ("uri", "public"),
    [
        ("https://ada:s3cr3t@tracker.example:5000/mlflow", "https://tracker.example:5000/mlflow"),
        (
            "postgresql+psycopg2://ada:s3/cr@3t@db/mlflow?sslpassword=s3cr3t",
            "postgresql+psycopg2://db/mlflow",
        ),
        ("sqlite:////home/ada@work/mlflow.db", "sqlite:////home/ada@work/mlflow.db"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("mlruns", "mlruns"),
    ],
)
def test_public_uri(uri: str, public: str) -> None:
    assert public_uri(uri) == public


@given(st.text(min_size=1), st.sampled_from(["https", "postgresql", "mysql+pymysql"]))
def test_public_uri_never_shows_a_password(password: str, scheme: str) -> None:
    assert public_uri(f"{scheme}://ada:{password}@host/db") == f"{scheme}://host/db"


def test_ui_command_is_for_this_machine_and_this_store(tmp_path: Path) -> None:
    command = ui_command(tmp_path, port=5001)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--host"] == "127.0.0.1"
    assert options["--port"] == "5001"
    assert options["--backend-store-uri"] == default_uri(tmp_path)
    with pytest.raises(RequestError, match=r"^http://host is an MLflow server already"):
        ui_command(tmp_path, uri="http://a:b@host")


def test_server_that_is_away_is_named_without_credentials(
    view: StudyView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"http://ada:s3cr3t@127.0.0.1:{free_port()}"
    with pytest.raises(StepError) as caught:
        sync(view, tmp_path / "store", uri)
    message = str(caught.value)
    assert "s3cr3t" not in message
    assert caught.value.__cause__ is None
    assert f"MLflow at {public_uri(uri)} could not be written" in message
    assert "`harness sync quickstart`" in message
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"


@pytest.mark.parametrize("uri", ["sqlite:////dev/null/mlflow.db", "nonsense://x", "mysql+nodriver://a:s3cr3t@h/db"])
def test_databases_that_cannot_be_opened_are_named(view: StudyView, tmp_path: Path, uri: str) -> None:
    with pytest.raises(StepError, match="could not be written") as caught:
        sync(view, tmp_path / "store", uri)
    assert "s3cr3t" not in str(caught.value)


def test_damaged_database_is_named(view: StudyView, tmp_path: Path) -> None:
    (tmp_path / "store" / "mlflow.db").write_bytes(b"no database" * 100)
    with pytest.raises(StepError, match=r"mlflow\.db could not be written \(.*not a database"):
        sync(view, tmp_path / "store")


@pytest.mark.slow
def test_nothing_is_printed(view: StudyView, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Not even when MLflow makes its tables, in a process that has not imported it yet."""
    (tmp_path / "view.json").write_text(view.model_dump_json())
    code = (
        "import sys; from pathlib import Path\n"
        "from harness.records import StudyView; from harness.tracking import sync\n"
        "assert 'mlflow' not in sys.modules\n"
        "sync(StudyView.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "view.json"), str(tmp_path / "store")],
        check=True,
        timeout=120,
    )
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "mlruns").exists()


# ---------------------------------------------------------------------------------------- a real server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path, empty_database: bytes) -> Iterator[str]:
    """``mlflow server`` on a store of its own, as ``ui_command`` starts it."""
    home = tmp_path / "server"
    home.mkdir()
    (home / "mlflow.db").write_bytes(empty_database)
    port = free_port()
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            ui_command(home, port=port), cwd=home, stdout=log, stderr=log, start_new_session=True
        )
    try:
        for _ in range(1800):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


@pytest.mark.slow
def test_sync_to_a_server_over_http(view: StudyView, tmp_path: Path, server: str) -> None:
    report = sync(view, tmp_path / "store", server)
    assert (report.created, report.uri) == (11, server)
    assert sync(view, tmp_path / "store", server).unchanged == 11
    remote = snapshot(server)
    sync(view, tmp_path / "store")
    assert remote == snapshot(default_uri(tmp_path / "store"))
