"""From what is in the store to comparison and decisions: planted effects come out, and what is missing is said."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from harness import answer
from harness.answer.view import read
from harness.errors import RequestError, StepError
from harness.identity import canonical_json
from harness.records import Comparison, TrustCheck
from harness.store import Store, artifact_in
from tests import planted
from tests.conftest import TINY_STUDY

SUITE_ITEMS = 24
SELECTION = 12


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """The study file of a finished study with planted scores."""
    study = planted.folder_with(tmp_path_factory.mktemp("planted"), tiny)
    planted.plant(study)
    return study


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study that a test may damage."""
    shutil.copytree(finished.parent, tmp_path / "copy")
    return tmp_path / "copy" / "study.yaml"


def check(study: Path, name: str) -> TrustCheck:
    decided = answer.view(planted.plan(study)).decisions
    assert decided is not None
    return next(one for one in decided.trust if one.check == name)


def compared(study: Path) -> Comparison:
    comparison = answer.view(planted.plan(study)).comparison
    assert comparison is not None
    return comparison


# ---------------------------------------------------------------------------------------------------------- whole


def test_planted_effects_come_out(finished: Path) -> None:
    comparison = compared(finished)
    assert comparison.metric == "sums/exact_match"
    assert comparison.majority == 0.05
    assert comparison.base_model == 0
    items = planted.plan(finished).suite.table("items")
    at = (items["half"] == "selection").to_numpy()
    assert at.sum() == SELECTION

    def mean(variant: str) -> float:
        return float(np.mean([planted.scores(variant, seed, SUITE_ITEMS)[at] for seed in (1, 2)]))

    weight = comparison.aa_weight  # of the A/A arm's runs, which count as runs of the baseline
    assert 0 < weight <= 0.5
    together = (1 - weight) * mean("baseline") + weight * mean("aa")
    assert comparison.baseline_mean == pytest.approx(together)
    for arm in comparison.arms:
        assert arm.mean == pytest.approx(mean(arm.variant))
        assert arm.effect == pytest.approx(mean(arm.variant) - (mean("baseline") if arm.variant == "aa" else together))
        assert arm.effect == pytest.approx(planted.EFFECTS[arm.variant], abs=0.03)
        assert (arm.seeds, arm.items, arm.items_confirmation) == (2, SELECTION, SUITE_ITEMS - SELECTION)
        assert arm.control == (arm.variant in ("aa", "random-subset"))
        low, high = arm.ci
        assert low is not None
        assert high is not None
        assert low < planted.EFFECTS[arm.variant] < high


def test_other_metrics_are_exploratory(finished: Path) -> None:
    comparison = compared(finished)
    (other,) = comparison.others
    assert other.metric == "sums/gold_logprob_per_token"
    assert other.exploratory
    assert other.majority is None  # known for the primary metric only
    assert [arm.effect for arm in other.arms] == pytest.approx([arm.effect for arm in comparison.arms])


def test_the_planted_decisions_come_out(finished: Path) -> None:
    decided = answer.view(planted.plan(finished)).decisions
    assert decided is not None
    assert decided.complete
    assert {d.subject: d.verdict for d in decided.decisions} == {
        "verify(scraped)": "ADOPT", "sums": "GROW", "scraped": "CUT",
    }  # fmt: skip


def test_the_view_holds_every_run(finished: Path) -> None:
    made = planted.plan(finished)
    view = answer.view(made)
    assert [v.name for v in view.variants] == ["baseline", "verified", "sums-16", "sums-8", "random-subset", "aa"]
    assert {(run.variant, run.seed) for run in view.runs} == {(v.name, s) for v in view.variants for s in (1, 2)}
    for run in view.runs:
        assert run.state == "done"
        assert artifact_in(run.folders["adapter"]).curve == [
            {"step": 1, "loss": 2.0, "learning_rate": 0.1, "grad_norm": 1.0, "tokens_per_second": 50.0}
        ]
        assert "curve" not in run.training
        assert set(run.folders) == {"adapter", "result", "variant"}
        assert all(Path(folder).is_dir() for folder in run.folders.values())
        assert run.provenance["device"] == "cpu"
    by_name = {variant.name: variant for variant in view.variants}
    assert by_name["verified"].operations == ["verify"]
    assert by_name["baseline"].digests.keys() == {1, 2}
    assert by_name["baseline"].digests[1] != by_name["baseline"].digests[2]
    assert answer.progress(made) == "12 of 12 runs are done"
    assert answer.complete(made)
    assert json.loads(view.model_dump_json())["resolved"] == json.loads(canonical_json(made.study.identity()))


def test_what_runs_say_alike_is_held_once_and_nothing_else_is(study: Path) -> None:
    replace(study, "aa", 2, packages=planted.PACKAGES | {"torch": "2.11.0"})
    runs = read(planted.plan(study))
    assert len({id(run.adapter.record.provenance["packages"]) for run in runs if run.adapter}) == 2
    for run in runs:
        if run.result is None:
            assert (run.planned.variant, run.planned.seed) == ("aa", 2)
            continue
        assert run.items.equals(pl.read_parquet(run.result.folder / "items.parquet"))
        assert run.adapter is not None
        stored = Store(study.parent / ".harness").find("adapter", run.adapter.record.key)
        assert stored is not None
        del stored.record.data["curve"]
        assert run.adapter.record == stored.record


def test_noise_is_split(finished: Path) -> None:
    measured = answer.measured_noise(planted.plan(finished))
    assert measured == compared(finished).noise
    assert 0 <= measured["seed_share"] <= 1  # type: ignore[operator]


def test_growth_slices_and_tasks_come_with_the_decisions(finished: Path) -> None:
    view = answer.view(planted.plan(finished))
    assert view.decisions is not None
    assert view.comparison is not None
    (line,) = view.decisions.growth
    assert (line.source, line.verdict, line.rows, [rung.rows for rung in line.rungs]) == ("sums", "GROW", 16, [8, 16])
    assert line.gain_per_1000_rows == pytest.approx(1000 * 0.4 / 8, rel=0.1)
    tokens = {v.name: v.tokens for v in planted.plan(finished).variants}
    per_row = (tokens["sums-16"] - tokens["sums-8"]) / 8  # type: ignore[operator]
    assert line.gain_per_10k_tokens == pytest.approx(line.gain_per_1000_rows * 10 / per_row)
    assert line.supply_left is not None
    assert view.comparison.slices == view.decisions.slices
    assert sum(one.items for one in view.decisions.slices) == SELECTION
    assert view.decisions.weakest_slice.startswith("Weakest slice of sums-16: ")
    (task,) = view.decisions.tasks
    assert (task.task, task.metric, task.items, task.coin_flip) == ("sums", "exact_match", SELECTION, False)


# -------------------------------------------------------------------------------------------------------- missing


def test_before_any_run(tmp_path: Path, tiny: Path) -> None:
    made = planted.plan(planted.folder_with(tmp_path, tiny))
    view = answer.view(made)
    assert view.comparison is None
    assert view.decisions is None
    assert answer.progress(made) == "0 of 12 runs are done (12 to do)"
    assert answer.measured_noise(made) == {}


def test_an_arm_with_a_missing_run_is_left_out_and_named(study: Path) -> None:
    planted.forget(planted.plan(study), "verified", 2)
    made = planted.plan(study)
    assert answer.progress(made) == "11 of 12 runs are done (1 to do)"
    assert not answer.complete(made)
    assert check(study, "runs").text == "1 of 12 runs are missing: verified/seed 2 (to do)"
    arms = {arm.variant: arm for arm in compared(study).arms}
    assert arms["verified"].effect is None
    assert "verified lacks finished runs" in arms["verified"].note
    assert arms["sums-16"].seeds == 2
    decided = answer.view(made).decisions
    assert decided is not None
    assert not decided.complete
    assert next(d for d in decided.decisions if d.subject == "verify(scraped)").verdict == "INCONCLUSIVE"


def test_a_trained_run_without_its_result_is_told_apart(study: Path) -> None:
    planted.forget(planted.plan(study), "sums-8", 1, "result")
    assert answer.progress(planted.plan(study)) == "11 of 12 runs are done (1 trained)"
    assert "sums-8/seed 1 (trained)" in check(study, "runs").text


def test_seeds_are_those_of_the_baseline(study: Path) -> None:
    """Without the baseline's seed 2 the rest is compared on seed 1, and one seed gives no verdict."""
    planted.forget(planted.plan(study), "baseline", 2)
    assert {arm.seeds for arm in compared(study).arms} == {1}
    decided = answer.view(planted.plan(study)).decisions
    assert decided is not None
    assert {d.verdict for d in decided.decisions} == {"INCONCLUSIVE"}


def test_a_study_that_was_stopped_in_the_middle_of_a_seed_is_judged_by_its_whole_seeds(
    tmp_path: Path, tiny: Path
) -> None:
    """The baseline comes first in each seed: its third must not cost the others the two that they have."""
    study = planted.folder_with(tmp_path, tiny, TINY_STUDY.replace("seeds: 2", "seeds: 3"))
    made = planted.plant(study)
    for run in made.runs:
        if run.seed == 3 and run.variant not in ("baseline", "verified"):
            planted.forget(made, run.variant, run.seed, "result")
            planted.forget(made, run.variant, run.seed)
    found = answer.view(planted.plan(study))
    assert found.decisions is not None
    assert {one.seeds for one in found.decisions.decisions} == {2}
    assert any(one.verdict != "INCONCLUSIVE" for one in found.decisions.decisions)
    assert not next(one for one in found.decisions.trust if one.check == "runs").ok  # it is said what is missing


def test_without_the_baseline_nothing_is_compared(study: Path) -> None:
    for seed in (1, 2):
        planted.forget(planted.plan(study), "baseline", seed)
    view = answer.view(planted.plan(study))
    assert view.comparison is None
    assert view.decisions is not None
    assert {d.verdict for d in view.decisions.decisions} == {"INCONCLUSIVE"}


def test_without_the_base_model_its_figures_are_absent(study: Path) -> None:
    made = planted.plan(study)
    found = made.store.find("result", made.base.key)
    assert found is not None
    shutil.rmtree(found.folder)
    assert compared(study).base_model is None
    assert answer.view(planted.plan(study)).base == []


# --------------------------------------------------------------------------------------------------- comparability


def replace(study: Path, variant: str, seed: int, **provenance: object) -> None:
    """Make one run's adapter anew, with other provenance."""
    made = planted.plan(study)
    run = next(run for run in made.runs if (run.variant, run.seed) == (variant, seed))
    planted.forget(made, variant, seed)
    planted.adapter(made.store, run.adapter, **provenance)


@pytest.mark.parametrize(
    ("rule", "provenance", "words"),
    [
        ("packages", {"packages": planted.PACKAGES | {"trl": "1.17.0"}}, "runs differ in trl (1.16.0 and 1.17.0)"),
        ("device", {"device": "cuda:0"}, "runs differ in device (cpu and cuda)"),
    ],
)
def test_arms_that_differ_in_more_than_data_get_no_verdict_unless_waived(
    study: Path, rule: str, provenance: dict[str, object], words: str
) -> None:
    replace(study, "sums-16", 1, **provenance)
    failed = check(study, "comparability")
    assert not failed.ok
    assert words in failed.text
    assert f"waive: ['{rule}: why']" in failed.text
    decided = answer.view(planted.plan(study)).decisions
    assert decided is not None
    assert decided.withheld
    assert {d.verdict for d in decided.decisions} == {"INCONCLUSIVE"}

    waiver = f"{rule}: a patch release that changes no number"
    study.write_text(TINY_STUDY + f"waive: ['{waiver}']\n")
    assert check(study, "comparability").ok
    assert waiver in check(study, "waivers").text
    assert compared(study).waivers == [waiver]
    decided = answer.view(planted.plan(study)).decisions
    assert decided is not None
    assert not decided.withheld
    assert not decided.trusted  # the waiver shows


def test_waiving_one_rule_keeps_the_other(study: Path) -> None:
    replace(study, "aa", 2, device="cuda:0", packages=planted.PACKAGES | {"torch": "2.11.0"})
    study.write_text(TINY_STUDY + "waive: ['device: the same numbers out']\n")
    assert "torch" in check(study, "comparability").text
    assert "cuda" not in check(study, "comparability").text


def test_two_gpus_of_one_machine_are_one_kind_of_device(study: Path) -> None:
    made = planted.plan(study)
    for run in made.runs:
        replace(study, run.variant, run.seed, device=f"cuda:{run.seed}")
    study.write_text(TINY_STUDY + "waive: []\n")
    assert "cuda:1" not in check(study, "comparability").text


# --------------------------------------------------------------------------------------------------------- damaged


def put(study: Path, variant: str, seed: int, values: np.ndarray, metric: str = "exact_match") -> None:
    made = planted.plan(study)
    run = next(run for run in made.runs if (run.variant, run.seed) == (variant, seed))
    planted.forget(made, variant, seed, "result")
    step = made.result(run.adapter.name, f"weights of {run.adapter.key}")
    planted.result(made, step, values, metric)


def test_a_score_that_is_not_a_number_is_named(study: Path) -> None:
    values = planted.scores("verified", 1, SUITE_ITEMS)
    values[3] = np.nan
    put(study, "verified", 1, values)
    with pytest.raises(StepError, match="verified/seed 1: 1 of 24 items of sums have no number for exact_match"):
        answer.view(planted.plan(study))


def test_a_run_without_the_metric_is_named(study: Path) -> None:
    put(study, "aa", 2, planted.scores("aa", 2, SUITE_ITEMS), "acc")
    with pytest.raises(StepError, match="aa/seed 2: 24 of 24 items of sums have no number for exact_match"):
        answer.view(planted.plan(study))


def test_an_exploratory_metric_that_some_items_lack_is_left_out(study: Path) -> None:
    study.write_text(TINY_STUDY.replace("sums/exact_match", "sums/gold_logprob_per_token"))
    assert [other.metric for other in compared(study).others] == ["sums/exact_match"]
    made = planted.plan(study)
    artifact = next(a for a in made.store.artifacts("result") if a.record.name == "tiny-aa-seed1")
    lacking = pl.when(pl.col("half") == "selection").then(float("nan")).otherwise(pl.col("exact_match"))
    items = pl.read_parquet(artifact.folder / "items.parquet").with_columns(lacking.alias("exact_match"))
    planted.rewrite(made.store, artifact, items)
    assert compared(study).others == []


def test_results_of_other_items_are_refused(study: Path) -> None:
    made = planted.plan(study)
    for artifact in made.store.artifacts("result"):
        if artifact.record.name == "tiny-sums-8-seed1":
            items = pl.read_parquet(artifact.folder / "items.parquet").reverse()
            planted.rewrite(made.store, artifact, items)
    with pytest.raises(RequestError, match="sums-8/seed 1: its items are not the baseline's"):
        answer.view(made)


def test_a_misspelt_metric_names_the_nearest(study: Path) -> None:
    made = planted.plan(study)
    wrong = made.study.model_copy(update={"decide": made.study.decide.model_copy(update={"metric": "sums/exact_mach"})})
    made.loaded.study = wrong
    with pytest.raises(RequestError, match=r'results have no "sums/exact_mach"\. Did you mean "sums/exact_match"'):
        answer.view(made)


# ------------------------------------------------------------------------------------------------------- clusters


def test_items_of_one_template_are_clusters_without_being_declared(tmp_path: Path, tiny: Path) -> None:
    """Generated word problems, several of a template: found in their wording, said with the verdicts."""
    sums = (
        "sums: {generator: reasoning-gym, task: chain_sum, config: {max_terms: 2, max_digits: 2}, items: 24, seed: 3,"
    )
    told = "sums: {generator: reasoning-gym, task: gsm_symbolic, items: 120, seed: 3,"
    text = TINY_STUDY.replace(sums, told).replace(
        'question: "Q: {expression} =\\nA:", slice: carries}', "limit: 120}", 1
    )
    assert "gsm_symbolic" in text
    study = planted.folder_with(tmp_path, tiny, text)
    made = planted.plant(study)
    items = made.suite.table("items")
    found = items.drop_nulls("group").partition_by("group")
    assert len(found) > 20
    assert all(held["half"].n_unique() == 1 for held in found)
    said = check(study, "clusters")
    deciding = items.filter(items["half"] == "selection")
    clusters = deciding["group"].drop_nulls().n_unique() + deciding["group"].null_count()
    assert said.ok
    assert re.fullmatch(rf"{len(deciding)} items in {clusters} clusters \(intraclass correlation 0\.\d\d\)", said.text)
    decided = answer.view(planted.plan(study)).decisions
    assert decided is not None
    assert decided.decisions[0].facts["clusters"] == clusters
