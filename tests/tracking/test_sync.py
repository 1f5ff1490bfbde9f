from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RequestError, StepError
from harness.records import Comparison, StudyView, TrustCheck
from harness.tracking import SyncReport, default_uri, public_uri, sync, ui_command
from tests.tracking.shown import (
    SOURCES,
    STUDY_KEY,
    by_key,
    client_of,
    free_port,
    make_view,
    rows_digest,
    snapshot,
)

# MLflow uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


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
        "variant": "verified", "seed": "2", "rows": "79", "rows.scraped": "79", "weight.scraped": "1.0",
        "tokens": "2700", "sources": "scraped",
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
    one = {name: points[0][0] for name, points in run["metrics"].items()}
    assert (one["training_seconds"], one["evaluation_seconds"], one["peak_memory_bytes"]) == (27.5, 8.5, 902)
    assert (one["rows"], one["tokens"], one["tokens_trained"]) == (79, 2700, 5400)
    # By slice: the mean over its items, and sd / sqrt(n); a slice of one item has no standard error.
    assert one["sums/exact_match:carry"] == pytest.approx(2 / 3)
    assert one["sums/exact_match:carry_stderr"] == pytest.approx(1 / 3)
    assert one["sums/exact_match:one_x2C_ two"] == 1
    assert "sums/exact_match:one_x2C_ two_stderr" not in one
    begin = run["times"][0]
    system = run["metrics"]["system/cpu_utilization_percentage"]
    assert system == [(50 + step, step, begin + 1000) for step in range(3)]
    assert run["tags"]["harness.rows_digest"] == rows_digest("verified", 2)
    assert run["tags"]["mlflow.source.git.commit"] == "c0ffee" * 6
    assert "/adapter/verified-2-" in run["tags"]["harness.adapter"]
    contexts = {item["dataset"]["name"]: item["tags"]["mlflow.data.context"] for item in run["inputs"]}
    assert contexts == {"verified": "training", "sums": "evaluation"}
    data = next(item["dataset"] for item in run["inputs"] if item["dataset"]["name"] == "verified")
    assert data["digest"] == rows_digest("verified", 2)[:36]
    profile = json.loads(data["profile"])
    assert profile["digest"] == rows_digest("verified", 2)
    assert (profile["num_rows"], profile["num_tokens"]) == (79, 2700)
    page = f"https://huggingface.co/datasets/owner/scraped/tree/{'a' * 40}"
    assert profile["sources"] == {"scraped": {"rows": 79, "from": page, "license": "mit", "origin": "public"}}
    suite = next(item["dataset"] for item in run["inputs"] if item["dataset"]["name"] == "sums")
    assert json.loads(suite["profile"])["tasks"] == {"sums": "lm-eval: arc_easy"}
    assert {"name": "prompt", "type": "string", "required": False} in json.loads(data["schema"])["mlflow_colspec"]
    assert list(run["artifacts"]) == ["data/drops.parquet", "results/items.parquet", "run.json"]


def test_variant_run_has_means_effects_and_verdict(finished: tuple[SyncReport, str]) -> None:
    _, uri = finished
    run = by_key(uri)[f"{STUDY_KEY}/sums-160"]
    metrics, tags = run.data.metrics, run.data.tags
    assert metrics["sums/exact_match"] == pytest.approx(0.46)
    assert metrics["sums/exact_match_seed_se"] == pytest.approx(0.005)
    assert (metrics["effect"], metrics["effect_low"], metrics["effect_high"]) == pytest.approx((0.16, 0.12, 0.20))
    assert metrics["sums/exact_match_seed_sd"] == pytest.approx(0.005 * 2**0.5)
    assert metrics["effect_p_adjusted"] == 0.0002
    assert metrics["effect_confirmation"] == pytest.approx(0.15)
    assert metrics["training_seconds"] == 27.5
    assert metrics["peak_memory_bytes"] == 901.5
    assert metrics["sums/exact_match:carry"] == pytest.approx(2 / 3)
    assert metrics["sums/gold_logprob_per_token_effect"] == 0.16
    assert (tags["harness.verdict"], tags["harness.trust"], tags["harness.tests"]) == ("GROW", "ok", "sums")
    assert r"+0.160 \[+0.120, +0.200\]" in tags["mlflow.note.content"]
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
    assert r"| verify(scraped) | **ADOPT** | +0.100 \[+0.060, +0.140\] | +0.090 |" in note
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


def test_variant_run_has_every_seeds_training_set_and_its_card(
    view: StudyView, store: Path, finished: tuple[SyncReport, str]
) -> None:
    run = by_key(finished[1])[f"{STUDY_KEY}/verified"]
    found = {item.dataset.digest: {tag.key: tag.value for tag in item.tags} for item in run.inputs.dataset_inputs}
    assert {digest: tags["harness.seeds"] for digest, tags in found.items()} == {
        rows_digest("verified", seed)[:36]: str(seed) for seed in (1, 2)
    }
    note = run.data.tags["mlflow.note.content"]
    assert f"- scraped: [owner/scraped](https://huggingface.co/datasets/owner/scraped/tree/{'a' * 40}), mit" in note
    # One training set for all seeds is one input.
    for one in view.runs:
        one.rows_digest = rows_digest(one.variant, 0)
    sync(view, store, cards={"verified": {"card.json": "{}", "card.html": "<p>"}}, report="<h1>Report</h1>")
    runs = snapshot(default_uri(store))
    (same,) = runs[f"{STUDY_KEY}/verified"]["inputs"]
    assert same["tags"]["harness.seeds"] == "1, 2"
    assert {"data/card.html", "data/card.json", "variant.json"} == set(runs[f"{STUDY_KEY}/verified"]["artifacts"])
    assert "report.html" in runs[STUDY_KEY]["artifacts"]


def test_ledgers_results_and_adapters_are_there_but_no_rows(view: StudyView, store: Path) -> None:
    sync(view, store)
    runs = snapshot(default_uri(store))
    assert {"data/scraped/overlaps.parquet", "study.json", "decisions.json"} <= set(runs[STUDY_KEY]["artifacts"])
    assert list(runs[f"{STUDY_KEY}/base"]["artifacts"]) == ["results/items.parquet"]
    everything = {path for run in runs.values() for path in run["artifacts"]}
    assert not any("rows.parquet" in path or "adapter" in path for path in everything)
    view.resolved["track"] = {"adapters": "copy"}
    assert sync(view, store).updated == 1 + 6  # the study says so in study.json
    seed = snapshot(default_uri(store))[f"{STUDY_KEY}/verified/2"]
    assert "adapter/adapter_model.safetensors" in seed["artifacts"]
    assert "adapter/record.json" not in seed["artifacts"]


@pytest.mark.parametrize(("kind", "file"), [("result", "items.parquet"), ("adapter", "adapter_model.safetensors")])
def test_what_is_damaged_is_not_shown(view: StudyView, store: Path, kind: str, file: str) -> None:
    view.resolved["track"] = {"adapters": "copy"}
    damaged = Path(view.runs[0].folders[kind], file)
    raw = bytearray(damaged.read_bytes())
    raw[len(raw) // 2] ^= 1
    damaged.write_bytes(raw)
    with pytest.raises(StepError, match=rf"is damaged: {file} was changed"):
        sync(view, store)


def test_failed_checks_are_named(view: StudyView, store: Path) -> None:
    assert view.decisions is not None
    view.decisions.trusted = False
    view.decisions.trust += [TrustCheck(check="aa", ok=False, text="differs by 0.09")]
    sync(view, store)
    tags = by_key(default_uri(store))[STUDY_KEY].data.tags
    assert (tags["harness.trust"], tags["harness.trust_failed"]) == ("failed", "aa")


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
    assert command[:5] == [sys.executable, "-P", "-m", "mlflow", "server"]
    options = dict(zip(command[5::2], command[6::2], strict=True))
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
    assert "all runs are kept in the store" in message
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
