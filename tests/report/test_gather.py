"""What a report holds: planted truth comes back, nothing depends on when or where it is made."""

from __future__ import annotations

import random
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from harness import answer
from harness.loading import load_study
from harness.report import Report, html, markdown
from harness.report.examples import SHOWN
from harness.report.model import ArmExamples
from harness.session import Session, open_study
from harness.study.plan import Plan
from harness.tracking.projection import project
from tests import planted
from tests.conftest import SMALL_STUDY, TINY_STUDY
from tests.report import studies
from tests.report.conftest import Plans, Reports


@pytest.mark.parametrize("kind", studies.STATES)
def test_json_reads_back_as_the_same_report(reports: Reports, kind: str) -> None:
    report = reports(kind)
    assert Report.model_validate_json(report.model_dump_json()) == report


@pytest.mark.parametrize("kind", ["full", "partial"])
def test_the_same_store_gives_the_same_bytes_wherever_it_is(
    plans: Plans, reports: Reports, kind: str, tmp_path: Path
) -> None:
    """The whole folder is moved to another place: nothing of the page changes."""
    first = reports(kind)
    shutil.copytree(plans(kind).loaded.file.parent, tmp_path / "moved")
    again = studies.gathered(planted.plan(tmp_path / "moved" / "study.yaml"))
    assert again == first
    assert html(again) == html(first)
    assert markdown(again) == markdown(first)
    assert str(tmp_path) not in again.model_dump_json()
    assert str(plans(kind).store.root.parent) not in first.model_dump_json()


# ---------------------------------------------------------------------------------------------- scores and examples


def scores(plan: Plan, variant: str) -> dict[str, float]:
    """Return item -> mean over seeds on the items that decide, read straight from the store."""
    found: dict[str, list[float]] = {}
    for run in answer.view(plan, judged=False).runs:
        if run.variant == variant and "result" in run.folders:
            frame = pl.read_parquet(Path(run.folders["result"]) / "items.parquet")
            for item, half, value in frame.select("item_id", "half", "exact_match").iter_rows():
                if half == "selection":
                    found.setdefault(item, []).append(value)
    return {item: float(np.mean(values)) for item, values in found.items()}


def arm(report: Report, name: str) -> ArmExamples:
    return next(one for one in report.examples if one.variant == name)


def test_examples_are_the_largest_gains_and_losses(plans: Plans, reports: Reports) -> None:
    plan, found = plans("full"), arm(reports("full"), "verified")
    base, mine = scores(plan, "baseline"), scores(plan, "verified")
    change = {item: round(mine[item] - base[item], 6) for item in base}
    gained, lost = ([i for i in change if sign * change[i] > 0] for sign in (1, -1))
    assert (found.gained, found.lost, found.items, found.seeds) == (len(gained), len(lost), len(base), 3)
    assert [one.item_id for one in found.gains] == sorted(gained, key=lambda i: (-change[i], i))[:SHOWN]
    assert [one.item_id for one in found.losses] == sorted(lost, key=lambda i: (change[i], i))[:SHOWN]
    items = {row["item_id"]: row for row in plan.suite.table("items").iter_rows(named=True)}
    touched = {item for pool in plan.pools.values() for item in pool.data["items_touched"]}
    for one in (*found.gains, *found.losses):
        assert one.answer == items[one.item_id]["answer"].strip()
        assert one.slice == items[one.item_id]["slice"]
        assert (one.baseline, one.arm) == pytest.approx((base[one.item_id], mine[one.item_id]))
        assert one.touched == (one.item_id in touched)


def test_an_arm_that_does_the_same_gains_and_loses_nothing(tmp_path: Path, tiny: Path) -> None:
    def same(variant: str, seed: int, items: int) -> np.ndarray:
        return studies.answers({})("baseline" if variant == "verified" else variant, seed, items)

    report = studies.gathered(planted.plant(planted.folder_with(tmp_path, tiny), same))
    found = arm(report, "verified")
    assert (found.gained, found.lost, found.gains, found.losses) == (0, 0, [], [])


def test_arms_with_the_largest_effects_have_examples(reports: Reports) -> None:
    report = reports("full")
    assert report.comparison is not None
    effects = {one.variant: abs(one.effect or 0) for one in report.comparison.arms if not one.control}
    shown = [one.variant for one in report.examples]
    assert report.examples_left_out == len(effects) - len(shown) > 0
    assert min(effects[name] for name in shown) >= max(effects[name] for name in effects if name not in shown)


def test_variants_show_their_scores_by_seed(plans: Plans, reports: Reports) -> None:
    report = reports("full")
    assert report.comparison is not None
    for one in report.variants:
        assert one.mean == pytest.approx(float(np.mean(list(scores(plans("full"), one.name).values()))))
        assert set(one.seeds) == {1, 2, 3}
    means = {one.name: one.mean for one in report.variants}
    for effect in report.comparison.arms:
        against = means["baseline"] if effect.variant == "aa" else report.comparison.baseline_mean
        assert effect.effect == pytest.approx(means[effect.variant] - against)  # type: ignore[operator]


# ------------------------------------------------------------------------------------------------------------ data


def test_cards_add_up_and_prices_are_counted(plans: Plans, reports: Reports) -> None:
    report = reports("full")
    rows = {one.name: one for one in plans("full").variants}
    for one in report.variants:
        assert one.card is not None
        assert one.card.ledger is not None
        ledger, first = one.card.ledger, next(iter(rows[one.name].outputs.values()))
        assert ledger.kept == one.card.rows == first.data["rows"]
        assert ledger.read + ledger.repeated == ledger.kept + ledger.not_drawn + sum(d.rows for d in ledger.drops)
    by_name = {one.name: one for one in report.variants}
    assert by_name["only-sums-160"].cost == pytest.approx(160 * 0.08)
    assert by_name["verified"].cost is None
    assert by_name["verified"].rows_differ
    assert "verify" in by_name["verified"].operations[0]


def test_too_many_rows_are_named_and_not_measured(plans: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.report import cards

    monkeypatch.setattr(cards, "MEASURED", 100)
    report = studies.gathered(plans("full"))
    assert [one.name for one in report.variants if one.card][:1] == ["baseline"]
    left = [one for one in report.variants if one.card is None]
    assert left
    assert all("more than 100 rows" in one.no_card for one in left)
    assert "harness data card study.yaml:only-sums-160" in html(report)


def test_contamination_is_that_of_the_pools(plans: Plans, reports: Reports) -> None:
    plan, report = plans("full"), reports("full")
    assert {one.source for one in report.pools} == set(plan.pools)
    for one in report.pools:
        data = plan.pools[one.source].data
        found = one.contamination
        assert (one.rows, found.removed, found.touched) == (data["rows"], data["removed"], len(data["items_touched"]))
        assert sum(found.kinds.values()) == data["removed"]
        assert found.rows == data["rows"] + data["removed"]
    assert report.items_touched == len({i for p in plan.pools.values() for i in p.data["items_touched"]}) > 0


# ------------------------------------------------------------------------------------------------------ provenance


def test_the_resolved_study_is_a_study_file(plans: Plans, reports: Reports, tmp_path: Path) -> None:
    """Written beside the model it is the same study, with the same runs."""
    plan = plans("full")
    shutil.copytree(plan.loaded.file.parent / "model", tmp_path / "model")
    (tmp_path / "study.yaml").write_text(reports("full").reproduce.resolved)
    again = load_study(tmp_path / "study.yaml").study
    assert again.identity() == plan.study.identity()
    assert [run.key for run in planted.plan(tmp_path / "study.yaml").runs] == [run.key for run in plan.runs]


def test_how_to_reproduce(plans: Plans, reports: Reports) -> None:
    plan, again = plans("full"), reports("full").reproduce
    assert again.commands[0] == "harness run study.yaml"
    assert again.packages == planted.PACKAGES
    assert again.environment["device"] == "cpu"
    assert again.training_seconds == pytest.approx(len(plan.runs) * planted.SECONDS)
    assert again.digests["study"] == plan.study_step.key
    assert again.digests["suite held-out"] == plan.suite.digest
    assert yaml.safe_load(again.resolved)["study"] == "full"
    assert again.began <= again.ended


def test_runs_that_differ_show_both_versions(tmp_path: Path, tiny: Path) -> None:
    file = planted.folder_with(tmp_path, tiny)
    made = planted.plant(file)
    planted.forget(made, "verified", 2)
    other = {"packages": {**planted.PACKAGES, "trl": "1.17.0"}}
    planted.adapter(made.store, next(r.adapter for r in made.runs if (r.variant, r.seed) == ("verified", 2)), **other)
    assert studies.gathered(planted.plan(file)).reproduce.packages["trl"] == "1.16.0 and 1.17.0"


# -------------------------------------------------------------------------------------------------- how far to trust


def test_the_nearest_simulated_studies_are_shown(reports: Reports) -> None:
    known = reports("full").reliability
    assert known is not None
    assert (known.seeds, known.items, known.arms, known.exact) == (3, 100, 12, False)
    equal = known.patterns[0]
    assert equal.pattern == "equal"
    assert equal.false_findings <= known.alpha < equal.naive_z < equal.naive_z_worst
    assert equal.coverage_worst <= equal.coverage <= 1
    assert known.power is not None
    assert len(known.power.effects) == len(known.power.ours) == len(known.power.naive_t)
    assert known.power.ours[0] < 0.05 < known.power.ours[-1]


@pytest.mark.parametrize("kind", ["begun", "one_seed"])
def test_no_simulation_stands_behind_a_study_without_seed_noise(reports: Reports, kind: str) -> None:
    assert reports(kind).reliability is None


# ----------------------------------------------------------------------------------------------- studies not finished


def test_a_study_that_has_only_begun(reports: Reports) -> None:
    report = reports("begun")
    assert (report.comparison, report.decisions, report.examples) == (None, None, [])
    assert report.progress.text == "0 of 12 runs are done (12 to do)"
    assert not report.progress.complete
    assert report.pools
    assert all(one.card for one in report.variants)


def test_failed_and_missing_runs_are_told(reports: Reports) -> None:
    progress = reports("partial").progress
    assert progress.states == {"done": 9, "failed": 1, "to do": 1, "trained": 1}
    assert [(one.run, one.message) for one in progress.failed] == [
        ("sums-8/seed 1", "training: out of memory at step 3; 22.9 of 24.0 GiB in use")
    ]
    assert [one.variant for one in reports("partial").examples] == ["verified"]  # the others lack a run


def shown(study: Session) -> None:
    """Make all that a study is shown as."""
    found = study.answer()
    assert found.view.study in found.text("html") + found.text("md") + str(found)
    assert Report.model_validate_json(found.text("json")).progress.text == found.progress
    assert list(project(found.view))


def test_whatever_is_missing_the_rest_is_shown(tmp_path: Path, tiny: Path) -> None:
    """Every subset of the results: a study may be stopped, or lose a run, anywhere."""
    file = planted.folder_with(tmp_path, tiny, SMALL_STUDY)
    made = planted.plant(file)
    study, store = open_study(file, store=tmp_path / ".harness"), made.store
    places = [artifact.folder for artifact in store.artifacts("result") if artifact.record.key != made.base.key]
    assert len(places) == len(made.runs) == 6
    for there in product((True, False), repeat=len(places)):
        for place, wanted in zip(places, there, strict=True):
            aside = tmp_path / place.name
            if place.exists() != wanted:
                (aside if wanted else place).rename(place if wanted else aside)
        shown(study)


def test_a_study_with_stages_that_lost_runs_is_shown(tmp_path: Path, tiny: Path) -> None:
    file = planted.folder_with(tmp_path, tiny, TINY_STUDY.replace("seeds: 2", "seeds: {from: 2, to: 4}"))
    made = planted.plant(file)
    study = open_study(file, store=tmp_path / ".harness")
    for number, run in enumerate(random.Random(7).sample(made.runs, len(made.runs))):
        planted.forget(made, run.variant, run.seed, "result")
        if number % 4 == 0:
            shown(study)
