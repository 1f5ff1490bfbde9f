"""Written again, bit by bit, or anew: MLflow shows the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.records import StudyView
from harness.tracking import default_uri, sync
from tests.tracking.shown import STUDY_KEY, assert_same, by_key, client_of, shown, snapshot

# MLflow uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


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


def stages(view: StudyView) -> list[StudyView]:
    """A study as it goes on, without verdicts: nothing yet, then failed runs and such that wait, then all but one."""
    todo = {"state": "to do", "scores": [], "evaluation": {}, "training": {}, "curve": [], "provenance": {}}
    planned = [run.model_copy(update=todo) for run in view.runs]
    for run in planned:
        run.folders = {"variant": run.folders["variant"]}
    failed = planned[0].model_copy(
        update={"state": "failed", "failure": "out of memory", "failed": "2026-03-01T10:03:00Z"}
    )
    trained = view.runs[1].model_copy(update={"state": "trained", "scores": [], "evaluation": {}})
    trained.folders = {name: folder for name, folder in trained.folders.items() if name != "result"}
    looks = [planned, [failed, trained, *planned[2:]], [failed, *view.runs[1:-1], planned[-1]]]
    unjudged = view.model_copy(update={"comparison": None, "decisions": None})
    return [unjudged.model_copy(update={"runs": runs, "base": view.base if n else []}) for n, runs in enumerate(looks)]


def test_written_as_it_goes_on_or_rebuilt_is_the_same_field_by_field(
    view: StudyView, store: Path, empty_uri: str
) -> None:
    uri = default_uri(store)
    nothing, some, most = stages(view)
    assert sync(nothing, store).created == 4
    ids = {key: run.info.run_id for key, run in by_key(uri).items()}
    sync(some, store)
    runs = by_key(uri)
    assert runs[f"{STUDY_KEY}/baseline/1"].info.status == "FAILED"
    assert runs[f"{STUDY_KEY}/baseline/1"].data.tags["harness.failure"] == "out of memory"
    assert runs[f"{STUDY_KEY}/baseline/2"].info.status == "RUNNING"
    assert runs[STUDY_KEY].info.status == "RUNNING"
    assert not runs[f"{STUDY_KEY}/baseline"].data.metrics  # nothing to stop at a lucky moment for
    sync(most, store)
    assert by_key(uri)[f"{STUDY_KEY}/verified"].data.metrics["sums/exact_match"] == pytest.approx(0.41)
    sync(view, store, report="<h1>Report</h1>")
    assert {key: by_key(uri)[key].info.run_id for key in ids} == ids  # pages that are open stay valid
    sync(view, store, empty_uri, report="<h1>Report</h1>")
    live, rebuilt = snapshot(uri), snapshot(empty_uri)
    assert_same(live, rebuilt)


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
    assert (report.created, report.updated, report.unchanged) == (0, 4, 7)  # runs of seeds are what they were
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
    assert run.data.metrics["sums/f1_x2C_first _x28_strict_x29_"] == 0.5
    assert sync(view, store).unchanged == 11


def test_long_curves_and_many_params_are_sent_in_parts(view: StudyView, store: Path) -> None:
    view.runs[0].curve = [{"step": float(n), "loss": 1 / n} for n in range(1, 2502)]
    view.resolved["recipe"] |= {f"knob{n}": n for n in range(230)}
    sync(view, store)
    run = snapshot(default_uri(store))[f"{STUDY_KEY}/baseline/1"]
    assert len(run["metrics"]["loss"]) == 2501
    assert run["params"]["recipe.knob229"] == "229"
