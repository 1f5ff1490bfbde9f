"""The data of a study: arms are paired, nested and matched; controls are what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.errors import RequestError
from harness.loading import load_study
from harness.records import ASKED
from harness.spec import Recipe, Suite
from harness.store import Step, Store
from harness.study.build import PlannedVariant
from harness.study.plan import Plan, make_plan, publish
from harness.study.steps import result_step
from harness.suites import GENERATED_METRICS
from tests.tiny import tiny_model


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


def test_what_is_known_of_a_variant_is_the_mean_over_its_seeds(study_folder: Path) -> None:
    """A source of which a seed holds no row counts with 0 there."""
    mixed = "sums-8: {tests: sums, mix: {sums: 2, scraped: 1}, operations: [verify]}"
    made = plan(study_folder, {"sums-8: {tests: sums, mix: {sums: 8}}": mixed, "seeds: 2": "seeds: 6"})
    variant = arm(made, "sums-8")
    held = [rows(made, "sums-8", seed)["source"].to_list() for seed in range(1, 7)]
    assert any("scraped" not in sources for sources in held)
    assert any("scraped" in sources for sources in held)
    for source in ("sums", "scraped"):
        assert variant.sources[source] == pytest.approx(sum(sources.count(source) for sources in held) / 6)
    assert variant.rows == pytest.approx(sum(map(len, held)) / 6)


@pytest.mark.parametrize(
    ("mix", "own"),
    [
        ("mix: {scraped: all}", False),
        ("mix: {scraped: all}, operations: [verify]", False),
        ("mix: {scraped: all}, operations: [verify, {sample: {fraction: 0.5}}]", True),
        ("mix: {scraped: all, sums: all}", False),
        ("mix: {scraped: all, sums: 8}", True),
        ("mix: {sums: WHOLE}", False),
        ("mix: {sums: WHOLE}, unit: tokens", True),
        ("mix: {sums: 8}, operations: [verify]", True),
    ],
)
def test_seeds_share_a_dataset_only_where_nothing_is_drawn(study_folder: Path, mix: str, own: bool) -> None:
    there = plan(study_folder).pools["sums"].data["rows"]
    before, after = "mix: {sums: 8}", mix.replace("WHOLE", str(there))
    made = plan(study_folder, {f"sums-8: {{tests: sums, {before}}}": f"sums-8: {{tests: sums, {after}}}"})
    variant = arm(made, "sums-8")
    assert variant.sampled is own
    assert len({output.step.key for output in variant.outputs.values()}) == (2 if own else 1)
    assert [output.step.name.endswith(f"-seed{seed}") for seed, output in variant.outputs.items()] == [own] * 2


def test_a_suite_knows_the_metrics_of_made_tasks_and_of_others(study_folder: Path) -> None:
    def materialize(suite: Suite, folder: Path) -> list[dict[str, Any]]:
        (folder / "metrics.json").write_text(json.dumps({"own": ["acc"]}))
        (folder / "lower.json").write_text('{"own": []}')
        (folder / ASKED).write_text(json.dumps({"own": "asked so"}))
        return [
            {"task": "own", "subtask": "own", "index": index, "doc_digest": f"{index}", "question": f"Is {index} odd?",
             "answer": "yes", "choices": ["yes", "no"], "slice": None, "group": None}
            for index in range(3)
        ]  # fmt: skip

    file = study_folder / "study.yaml"
    file.write_text(file.read_text().replace("  tasks:\n", "  tasks:\n    own: {task: arc_easy}\n"))
    made = make_plan(load_study(file), Store(study_folder / "store"), materialize)
    assert made.suite.data["metrics"] == {"sums": list(GENERATED_METRICS), "own": ["acc"]}
    assert made.suite.data["tasks"] == {"own": 3, "sums": 24}
    assert made.suite.data["items"] == 27
    assert json.loads(made.suite.extra[ASKED]) == {"own": "asked so"}


def test_a_metric_of_which_a_lower_value_is_better_decides_nothing(study_folder: Path) -> None:
    def materialize(suite: Suite, folder: Path) -> list[dict[str, Any]]:
        (folder / "metrics.json").write_text('{"own": ["acc", "wer"]}')
        (folder / "lower.json").write_text('{"own": ["wer"]}')
        (folder / ASKED).write_text('{"own": "asked so"}')
        return [
            {"task": "own", "subtask": "own", "index": 0, "doc_digest": "0", "question": "?", "answer": "yes",
             "choices": ["yes", "no"], "slice": None, "group": None}
        ]  # fmt: skip

    file = study_folder / "study.yaml"
    text = file.read_text().replace("  tasks:\n", "  tasks:\n    own: {task: arc_easy}\n")
    file.write_text(text.replace("metric: sums/exact_match", "metric: own/wer"))
    with pytest.raises(RequestError, match=r"decide\.metric: a lower wer is better"):
        make_plan(load_study(file), Store(study_folder / "store"), materialize)
    file.write_text(text.replace("metric: sums/exact_match", "metric: own/acc"))
    assert make_plan(load_study(file), Store(study_folder / "store"), materialize).suite.data["lower"] == {
        "own": ["wer"]
    }


def test_of_a_factorial_the_arm_that_drops_most_has_a_control_and_written_arms_keep_theirs(study_folder: Path) -> None:
    factors = "{v: verify, d: {filter: {max_chars: 17}}}"
    made = plan(
        study_folder, {"match: steps": f"match: steps\ndesigns: [{{filter_factorial: {{factors: {factors}}}}}]"}
    )
    sizes = {variant.name: variant.rows for variant in made.variants}
    factorial = {name: size for name, size in sizes.items() if name.startswith("filters-")}
    least = min(factorial, key=lambda name: factorial[name])
    assert least == "filters-v.d"
    assert {name: size for name, size in sizes.items() if name.startswith("random-subset")} == {
        "random-subset-verified": sizes["verified"], f"random-subset-{least}": sizes[least],
    }  # fmt: skip


def test_a_turn_that_was_ended_at_one_seed_only_is_told(study_folder: Path) -> None:
    """One seed draws a row of a conversation, whose end the template leaves out, another a plain one."""
    template = next(study_folder.joinpath("model").glob("chat_template*"))
    template.write_text(template.read_text().replace("<|im_end|>", ""))
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    (study_folder / "talk.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    (study_folder / "plain.jsonl").write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    mixed = "sums-8: {tests: talk, mix: {talk: 1, plain: 1}, operations: [{sample: {rows: 1}}]}"
    made = plan(
        study_folder,
        {
            "sums-8: {tests: sums, mix: {sums: 8}}": mixed,
            "sources:\n": "sources:\n  talk: {path: talk.jsonl}\n  plain: {path: plain.jsonl}\n",
            "seeds: 2": "seeds: 8",
        },
    )
    drawn = {rows(made, "sums-8", seed)["source"].item() for seed in range(1, 9)}
    assert drawn == {"talk", "plain"}
    assert arm(made, "sums-8").ended is True
    assert arm(made, "sums-16").ended is False


def test_another_model_makes_new_datasets_only_where_it_may_change_them(study_folder: Path) -> None:
    cleaned = {"sums-8: {tests: sums, mix: {sums: 8}}": "sums-8: {tests: sums, mix: {sums: 8}, operations: [clean]}"}
    before = plan(study_folder, cleaned)
    tiny_model(study_folder / "model", seed=1)
    after = plan(study_folder)
    assert before.model.digest != after.model.digest
    for variant in before.variants:
        now = arm(after, variant.name)
        same = [output.step.key == now.outputs[seed].step.key for seed, output in variant.outputs.items()]
        assert same == [variant.name != "sums-8"] * 2, variant.name  # rows that are cleaned may be too long for it


def test_controls_are_marked_and_arms_are_not(study_folder: Path) -> None:
    made = plan(study_folder)
    assert {one.name for one in made.variants if one.control} == {"random-subset", "aa"}
    assert arm(made, "random-subset").sampled


@pytest.mark.parametrize("name", ["baseline", "sums-8"])
def test_an_error_about_rows_names_the_field_that_defines_the_variant(study_folder: Path, name: str) -> None:
    mix = "mix: {scraped: 16}" if name == "baseline" else "mix: {sums: 8}"
    change = {mix: mix.replace("16", "16000").replace("8", "8000")}
    with pytest.raises(RequestError, match=r"baseline\.mix\." if name == "baseline" else r"arms\.sums-8\.mix\."):
        plan(study_folder, change)


def test_each_adapter_has_a_result_of_its_own() -> None:
    recipe = Recipe(steps=1)
    keys = {result_step("a", recipe, "suite", "model", adapter).key for adapter in ("one", "other", None)}
    assert len(keys) == 3


def test_paraphrases_are_looked_for_with_one_set_of_embeddings(study_folder: Path) -> None:
    inputs = [plan(study_folder).pools["scraped"].step.inputs]
    text = (study_folder / "study.yaml").read_text()
    (study_folder / "study.yaml").write_text(text + "decontaminate: {semantic: null}\n")
    inputs.append(plan(study_folder).pools["scraped"].step.inputs)
    assert ["embeddings" in one for one in inputs] == [True, False]
