"""What users ask of MLflow, with MLflow's own client, in the words of the README."""

from __future__ import annotations

import mlflow
import pytest

from harness.tracking import SyncReport
from tests.tracking.shown import STUDY_KEY, VERDICTS, rows_digest

# MLflow uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture(autouse=True)
def _tracked(finished: tuple[SyncReport, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", finished[1])


def test_best_variant_by_effect() -> None:
    best = mlflow.search_runs(
        experiment_names=["quickstart"], filter_string="tags.`harness.level` = 'variant' and metrics.effect > 0",
        order_by=["metrics.effect DESC"], max_results=1,
    )  # fmt: skip
    assert best.loc[0, "params.variant"] == "sums-160"
    low, high = best.loc[0, ["metrics.effect_low", "metrics.effect_high"]]
    assert (low, best.loc[0, "metrics.effect"], high) == pytest.approx((0.12, 0.16, 0.20))


def test_all_runs_trained_on_a_dataset() -> None:
    whole = rows_digest("verified", 1)
    for where in (f"dataset.digest = '{whole[:36]}'", f"tags.`harness.rows_digest` = '{whole}'"):
        runs = mlflow.search_runs(
            search_all_experiments=True, filter_string=f"tags.`harness.level` = 'seed' and {where}"
        )
        assert list(runs["tags.mlflow.runName"]) == ["verified seed 1"]
    both = mlflow.search_runs(search_all_experiments=True, filter_string="dataset.name = 'verified'")
    assert set(both["tags.mlflow.runName"]) == {"verified", "verified seed 1", "verified seed 2"}
    held_out = mlflow.search_runs(search_all_experiments=True, filter_string="dataset.context = 'evaluation'")
    assert len(held_out) == 1 + 1 + 6  # the study, the base model, every seed


def test_runs_whose_verdict_is_grow() -> None:
    found = mlflow.search_runs(
        experiment_names=["quickstart"],
        filter_string="tags.`harness.level` = 'variant' and tags.`harness.verdict` = 'GROW'",
    )
    assert list(found["params.variant"]) == ["sums-160"]
    assert VERDICTS[found.loc[0, "tags.harness.tests"]] == "GROW"


def test_mean_and_spread_over_seeds_in_one_table() -> None:
    metric = "metrics.sums/exact_match"
    seeds = mlflow.search_runs(
        experiment_names=["quickstart"], filter_string="tags.`harness.level` = 'seed' and params.variant != 'aa'"
    )
    table = seeds.groupby("params.variant")[metric].agg(["mean", "std", "count"])
    variants = mlflow.search_runs(
        experiment_names=["quickstart"], filter_string="tags.`harness.level` = 'variant'"
    ).set_index("params.variant")
    assert set(table["count"]) == {2}
    for name in ("baseline", "verified", "sums-160"):  # the variants' own runs say the same
        assert table.loc[name, "mean"] == pytest.approx(variants.loc[name, metric])
        assert table.loc[name, "std"] == pytest.approx(variants.loc[name, f"{metric}_seed_sd"])


def test_which_study_and_variant_a_number_came_from() -> None:
    runs = mlflow.search_runs(
        search_all_experiments=True, filter_string="metrics.`sums/exact_match` > 0.46 and tags.`harness.level` = 'seed'"
    )
    run = runs.iloc[0]
    assert (run["params.variant"], run["params.seed"], run["params.rows.sums"]) == ("sums-160", "2", "160")
    study_key = run["tags.harness.study_key"]
    assert study_key == STUDY_KEY
    of_variant = mlflow.search_runs(
        search_all_experiments=True, filter_string=f"tags.`harness.key` = '{study_key}/sums-160'"
    )
    of_study = mlflow.search_runs(search_all_experiments=True, filter_string=f"tags.`harness.key` = '{study_key}'")
    config = mlflow.artifacts.load_dict(f"runs:/{of_variant.loc[0, 'run_id']}/variant.json")
    study = mlflow.artifacts.load_dict(f"runs:/{of_study.loc[0, 'run_id']}/study.json")
    assert config["variant"] == {"mix": {"sums": 160}}
    assert study["recipe"]["learning_rate"] == 7e-4
    assert run["tags.mlflow.parentRunId"] == of_variant.loc[0, "run_id"]


def test_the_comparison_as_a_table() -> None:
    experiment = mlflow.get_experiment_by_name("quickstart")
    table = mlflow.MlflowClient().load_table(experiment.experiment_id, "tables/comparison.json")
    declared = table[table["metric"] == "sums/exact_match"].set_index("variant")
    assert declared.loc["sums-160", "effect"] == 0.16
