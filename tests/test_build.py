"""The data of a study: arms are paired, nested and matched; controls are what they say."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from harness.build import PlannedVariant
from harness.loading import load_study
from harness.plan import Plan, make_plan, publish
from harness.store import Step, Store


def plan(folder: Path, change: dict[str, str] | None = None) -> Plan:
    file = folder / "study.yaml"
    text = file.read_text()
    for old, new in (change or {}).items():
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)

    def never(suite: object, target: Path) -> list[dict[str, object]]:
        raise AssertionError("generated suites need no lm-eval")

    return make_plan(load_study(file), Store(folder / "store"), never)


def arm(made: Plan, name: str) -> PlannedVariant:
    return next(v for v in made.variants if v.name == name)


def rows(made: Plan, name: str, seed: int = 1) -> pl.DataFrame:
    return arm(made, name).outputs[seed].table("rows")


def test_nothing_is_written_by_planning(study_folder: Path) -> None:
    plan(study_folder)
    assert not (study_folder / "store").exists()


def test_what_is_built_is_told_before_and_what_is_stored_is_not(study_folder: Path) -> None:
    told: list[Step] = []
    written: list[Step] = []

    def planned() -> Plan:
        loaded = load_study(study_folder / "study.yaml")
        store = Store(study_folder / ".harness")
        return make_plan(loaded, store, lambda *_: [], tell=told.append)

    made = planned()
    assert [(step.kind, step.name) for step in told[:3]] == [
        ("suite", "held-out"), ("source", "scraped"), ("pool", "scraped")
    ]  # fmt: skip
    assert told == [output.step for output in made.outputs]
    publish(made, tell=written.append)
    assert written == told
    told.clear()
    publish(planned(), tell=told.append)
    assert told == []


def test_arms_share_draws_and_order_at_a_seed(study_folder: Path) -> None:
    made = plan(study_folder)
    baseline = rows(made, "baseline")["row_id"].to_list()
    verified = rows(made, "verified")["row_id"].to_list()
    assert set(verified) < set(baseline)
    assert verified == [row for row in baseline if row in set(verified)]
    small, large = rows(made, "sums-8")["row_id"].to_list(), rows(made, "sums-16")["row_id"].to_list()
    assert small == [row for row in large if row in set(small)]
    assert len(small) == 8
    assert len(large) == 16


def test_seeds_draw_their_own_rows(study_folder: Path) -> None:
    made = plan(study_folder)
    assert set(rows(made, "baseline", 1)["row_id"]) != set(rows(made, "baseline", 2)["row_id"])
    assert set(rows(made, "aa", 1)["row_id"]) != set(rows(made, "baseline", 1)["row_id"])


def test_a_variant_that_takes_all_rows_is_one_dataset_for_all_seeds(study_folder: Path) -> None:
    made = plan(study_folder, {"sums-8: {tests: sums, mix: {sums: 8}}": "sums-8: {tests: sums, mix: {sums: all}}"})
    whole = arm(made, "sums-8")
    assert not whole.sampled
    assert len({output.step.key for output in whole.outputs.values()}) == 1


def test_the_random_subset_is_as_small_as_the_filter_leaves_it(study_folder: Path) -> None:
    made = plan(study_folder)
    for seed in (1, 2):
        control, filtered = rows(made, "random-subset", seed), rows(made, "verified", seed)
        assert control.height == filtered.height < 16
        assert set(control["row_id"]) < set(rows(made, "baseline", seed)["row_id"])
        assert set(control["row_id"]) != set(filtered["row_id"])


def test_match_rows_refills_what_a_filter_drops_and_its_control_too(study_folder: Path) -> None:
    made = plan(study_folder, {"match: steps": "match: rows", "steps: 4": "epochs: 2"})
    for seed in (1, 2):
        baseline = rows(made, "baseline", seed)
        for name in ("verified", "random-subset"):
            assert rows(made, name, seed).height == baseline.height == 16
            assert set(rows(made, name, seed)["row_id"]) != set(baseline["row_id"])


def test_pools_do_not_overlap_the_suite(study_folder: Path) -> None:
    made = plan(study_folder)
    questions = {question.split("Q: ")[-1] for question in made.suite.table("items")["question"]}
    for pool in made.pools.values():
        assert not questions & {prompt.split("Q: ")[-1] for prompt in pool.table("rows")["prompt"]}
        assert pool.data["removed"] == pool.table("drops").height


def test_the_ledger_adds_up(study_folder: Path) -> None:
    made = plan(study_folder)
    for variant in made.variants:
        for output in variant.outputs.values():
            dropped = sum(output.data["dropped"].values())
            assert output.data["rows"] == output.table("rows").height == sum(output.data["sources"].values())
            assert dropped == output.table("drops").height
    assert arm(made, "verified").outputs[1].data["rows"] + arm(made, "verified").outputs[1].table("drops").height == 16


def test_rewording_the_question_changes_no_key(study_folder: Path) -> None:
    first = plan(study_folder)
    second = plan(study_folder, {"Half the answers are wrong. Verify them?": "Should we verify?"})
    assert first.study_step.key == second.study_step.key
    assert [run.key for run in first.runs] == [run.key for run in second.runs]


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("learning_rate: 1.0e-2", "learning_rate: 2.0e-2", set()),
        (
            "cost_per_row: 0.08",
            "cost_per_row: 0.10",
            {"baseline", "verified", "sums-16", "sums-8", "random-subset", "aa"},
        ),
        ("rows: 60, seed: 2", "rows: 60, seed: 9", {"baseline", "verified", "random-subset", "aa"}),
        (
            "smallest_effect: 0.05",
            "smallest_effect: 0.10",
            {"baseline", "verified", "sums-16", "sums-8", "random-subset", "aa"},
        ),
    ],
)
def test_a_change_reruns_what_it_touches_and_nothing_else(
    study_folder: Path, old: str, new: str, same: set[str]
) -> None:
    before = {(run.variant, run.seed): run.key for run in plan(study_folder).runs}
    after = {(run.variant, run.seed): run.key for run in plan(study_folder, {old: new}).runs}
    assert {variant for (variant, seed), key in after.items() if before[variant, seed] == key} == same
