import json
import os
from pathlib import Path

import polars as pl
import pytest
import yaml
from lm_eval.tasks import TaskManager

from harness import suites
from harness.errors import RequestError
from harness.evaluation import tasks
from harness.identity import digest
from harness.spec import Suite
from tests.evaluation import local_suite

SUMS = {
    "task": "chain_sum", "generator": "reasoning-gym", "items": 20,
    "config": {"max_terms": 2, "max_digits": 2},
}  # fmt: skip


def stored(folder: Path, **chosen: dict) -> tuple[Suite, pl.DataFrame]:
    suite = local_suite.make(folder / "base", folder / "suite", **chosen)
    return suite, pl.read_parquet(folder / "suite/items.parquet")


def test_items_hold_what_lm_eval_asks(tmp_path: Path) -> None:
    _, items = stored(tmp_path, quiz={"task": "local_choose"}, gaps={"task": "local_complete"})
    rows = local_suite.rows(12)
    quiz = items.filter(pl.col("task") == "quiz").to_dicts()
    assert [item["question"] for item in quiz] == [row["question"] for row in rows]
    assert [item["answer"] for item in quiz] == [row["choices"][row["label"]] for row in rows]
    assert [item["choices"] for item in quiz] == [row["choices"] for row in rows]
    assert [item["doc_digest"] for item in quiz] == [digest(row) for row in rows]
    gaps = items.filter(pl.col("task") == "gaps").to_dicts()
    assert [item["answer"] for item in gaps] == [row["answer"] for row in rows]
    assert {len(item["choices"]) for item in gaps} == {0}
    assert items["slice"].null_count() == len(items)


def test_groups_expand_to_sliced_subtasks_and_limits_count_each(tmp_path: Path) -> None:
    _, items = stored(tmp_path, both={"task": "local_all", "limit": 3})
    assert items["task"].unique().to_list() == ["both"]
    assert items["subtask"].to_list() == ["local_choose"] * 3 + ["local_complete"] * 3
    assert items["slice"].to_list() == items["subtask"].to_list()
    assert items["index"].to_list() == [0, 1, 2] * 2


def test_slice_and_group_are_fields_of_the_doc(tmp_path: Path) -> None:
    _, items = stored(tmp_path, both={"task": "local_all", "slice": "kind", "group": "id"})
    assert set(items["slice"]) == {"cat", "dog"}
    assert items["group"].n_unique() == 12


def test_items_are_independent_where_the_suite_says_so_and_else_clusters_are_found(tmp_path: Path) -> None:
    suite, items = stored(tmp_path, quiz={"task": "local_choose", "group": "none"}, gaps={"task": "local_complete"})
    assert items["group"].null_count() == len(items)
    listed = tasks.materialize(suite, tmp_path / "suite")
    assert {item["group"] for item in listed} == {None}
    assert all(item["documents"] == () for item in listed)


def test_metrics_of_which_a_lower_value_is_better_are_listed(tmp_path: Path) -> None:
    stored(tmp_path, gaps={"task": "local_complete"}, quiz={"task": "local_choose"})
    assert json.loads((tmp_path / "suite" / "lower.json").read_text()) == {"gaps": ["perplexity"], "quiz": []}


def test_generated_answers_end_where_the_turn_ends(tmp_path: Path) -> None:
    suite, items = stored(tmp_path, sums=SUMS, open={**SUMS, "append_eos": False})
    loaded = tasks.load(suite, tmp_path / "suite", "<eos>")
    for name, end in (("sums", "<eos>"), ("open", "")):
        task = loaded[suites.subtask_name(name)][1]
        own = items.filter(pl.col("task") == name)
        assert [task.doc_to_target(doc) for doc in task.eval_docs] == [answer + end for answer in own["answer"]]
        assert [task.doc_to_text(doc) for doc in task.eval_docs] == own["question"].to_list()
        assert [tasks.doc_digest(doc) for doc in task.eval_docs] == own["doc_digest"].to_list()
    with pytest.raises(RequestError, match=r"tasks\.sums\.append_eos"):
        tasks.load(suite, tmp_path / "suite", None)


def test_examples_never_show_the_item_itself(tmp_path: Path) -> None:
    suite, _ = stored(tmp_path, gaps={"task": "local_complete", "fewshot": 11}, sums={**SUMS, "fewshot": 19})
    for _, task in tasks.load(suite, tmp_path / "suite", "").values():
        task.set_fewshot_seed(1234)
        shots = task.get_config("num_fewshot")
        for doc in task.eval_docs:
            context = task.fewshot_context(doc, num_fewshot=shots)
            assert context.count(task.doc_to_text(doc)) == 1
            assert context.endswith(task.doc_to_text(doc))


def test_changed_data_are_never_served_from_a_cache(tmp_path: Path) -> None:
    suite, _ = stored(tmp_path, gaps={"task": "local_complete"})
    data = tmp_path / "suite/tasks/gaps/complete.jsonl"
    stat = data.stat()
    data.write_text(data.read_text().replace("mat", "rug"))  # same length, and below the same times
    os.utime(data, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    _, task = tasks.load(suite, tmp_path / "suite", "")["local_complete"]
    assert any("rug" in choice for doc in task.eval_docs for choice in doc["choices"])


def test_data_paths_follow_includes_lists_and_globs(tmp_path: Path) -> None:
    local = local_suite.write_tasks(tmp_path / "base/local")
    config = yaml.safe_load((local / "complete.yaml").read_text())
    config["dataset_kwargs"]["data_files"] = {"test": ["comp*.jsonl", "write.jsonl"]}
    (local / "_shared.yaml").write_text(yaml.safe_dump({k: v for k, v in config.items() if k != "task"}))
    (local / "wide.yaml").write_text(yaml.safe_dump({"include": "_shared.yaml", "task": "local_wide"}))
    _, items = stored(tmp_path, wide={"task": "local_wide"})
    assert len(items) == 12  # both files hold the same docs: repeats are dropped


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"task": "local_chose"}, r'tasks\.quiz\.task: .*"local_chose".*Did you mean "local_choose"'),
        ({"task": "local_choose", "slice": "kinds"}, r'tasks\.quiz\.slice: .*Did you mean "kind"'),
        ({"task": "local_choose", "group": "x"}, r"tasks\.quiz\.group: .*Valid here: answer, choices"),
        ({"task": "local_choose", "metric": "acc_nom"}, r'tasks\.quiz\.metric: .*Did you mean "acc_norm"'),
        ({"task": "local_roll"}, r"tasks\.quiz\.metric is needed: .*gold_logprob_per_byte"),
        ({"task": "local_complete", "metric": "f1"}, r"tasks\.quiz\.metric: .*gold_logprob_per_byte"),
    ],
)
def test_wrong_requests_are_named(task: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=said):
        stored(tmp_path, quiz=task)


def test_the_same_lm_eval_task_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"local_choose is in tasks\.one too"):
        stored(tmp_path, one={"task": "local_choose"}, two={"task": "local_all"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"dataset_kwargs": {"data_files": {"test": "chose.jsonl"}}},
            r"bad\.yaml: .*Did you mean \"choose\.jsonl\"",
        ),
        ({"dataset_kwargs": {"data_files": "../../outside.jsonl"}}, "outside the task's folder"),
        (
            {"doc_to_target": "{{label + 9 * id}}"},
            "item 1 of bad: the label 12 is not one of the item's 4 options",
        ),
        ({"doc_to_text": "{{ question | nofilter }}"}, "lm-eval cannot load bad: "),
    ],
)
def test_broken_tasks_are_named(change: dict, said: str, tmp_path: Path) -> None:
    local = local_suite.write_tasks(tmp_path / "base/local")
    config = yaml.safe_load((local / "choose.yaml").read_text())
    (local / "bad.yaml").write_text(yaml.safe_dump({**config, **change, "task": "bad"}))
    with pytest.raises(RequestError, match=said):
        stored(tmp_path, quiz={"task": "bad"})
    stored(tmp_path / "other", quiz={"task": "local_choose"})  # a broken neighbour does no harm


def test_doc_digests_are_of_canonical_json() -> None:
    doc = {"b": [1, None, {"c": 2.5}], "a": "x"}
    assert tasks.doc_digest(doc) == digest(json.loads(json.dumps(doc)))
    assert tasks.doc_digest({"x": float("nan")}) == tasks.doc_digest({"x": "nan"})
    assert tasks.doc_digest({"x": 1}) != tasks.doc_digest({"x": "1"})


def test_the_right_context_is_the_question_where_options_are_contexts(tmp_path: Path) -> None:
    _, items = stored(tmp_path, fill={"task": "local_fill"})
    rows = local_suite.rows(12)
    assert items["question"].to_list() == [row["starts"][row["right"]] for row in rows]
    assert items["choices"].to_list() == [row["starts"] for row in rows]
    assert set(items["answer"]) == {"on the mat"}


def test_unknown_registry_tasks_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = local_suite.write_tasks(tmp_path)  # reading lm-eval's own tasks takes 10 s
    monkeypatch.setattr(tasks, "_registry", lambda: TaskManager(include_path=str(folder), include_defaults=False))
    suite = Suite.model_validate({"suite": "mine", "tasks": {"quiz": {"task": "local_chose"}}})
    with pytest.raises(RequestError, match=r'"local_chose" in lm-eval\'s registry.*Did you mean "local_choose"'):
        tasks.materialize(suite, tmp_path / "suite")
