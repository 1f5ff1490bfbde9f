"""The same items, asked or scored in other ways: each way is evaluated anew, and gives what lm-eval itself gives."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import lm_eval
import polars as pl
import pytest
import yaml
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from harness.engines.jobs import base_job
from harness.engines.worker import Worker
from harness.evaluation import tasks
from harness.loading import load_study
from harness.store import Store
from harness.study.plan import make_plan, publish
from tests.evaluation.local_suite import QUIZ

DOCS = [
    {
        "question": f"What does number {i} cost? It costs {i * 7 % 50}.",
        "options": ["one cat", f"{i * 7 % 50}", "red", f"{i} dogs"],
        "right": [1] if i % 3 else [1, 2],
        "label": 1,
    }
    for i in range(15)
]
TASK = QUIZ | {"task": "prices", "fewshot_split": "test", "doc_to_text": "{{question}}\nAnswer:"}
# What differs: in the task's YAML, in the suite's task, in the suite; and how lm-eval itself is told the last two.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}, {}, {}),
    "examples": ({}, {"fewshot": 3}, {}, {"num_fewshot": 3}),
    "more examples": ({}, {"fewshot": 5}, {}, {"num_fewshot": 5}),
    "examples by the task": ({"num_fewshot": 2, "fewshot_delimiter": "\n--\n"}, {}, {}, {}),
    "other examples": ({"num_fewshot": 2, "fewshot_config": {"sampler": "first_n"}}, {}, {}, {}),
    "chat": ({}, {}, {"chat_template": True}, {"apply_chat_template": True}),
    "description": ({"description": "The dog asks: "}, {}, {}, {}),
    "delimiter": ({"target_delimiter": " -> "}, {}, {}, {}),
    "several right options": ({"doc_to_target": "right"}, {}, {}, {}),
    "normalized": ({"metric_list": [{"metric": "acc_norm"}]}, {"metric": "acc_norm"}, {}, {}),
}
STUDY = """\
study: ways
question: How is it asked?
model: model
recipe: {lora: {r: 4, alpha: 8}, batch: 4, steps: 1, max_length: 128}
sources:
  rows: {generator: reasoning-gym, task: chain_sum, rows: 8, seed: 1}
  more: {generator: reasoning-gym, task: chain_sum, rows: 8, seed: 2}
baseline: {mix: {rows: 4}}
arms: {more: {tests: more, mix: {more: 4}}}
controls: []
seeds: 1
"""


def write(folder: Path, tiny: Path, way: str) -> Path:
    config, task, suite, _ = WAYS[way]
    (folder / "suite").mkdir(parents=True)
    (folder / "suite" / "docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in DOCS))
    (folder / "suite" / "prices.yaml").write_text(yaml.safe_dump(TASK | config))
    text = yaml.safe_load(STUDY)
    text["suite"] = {"suite": "held-out", "tasks": {"prices": {"task": "prices", "path": "suite"} | task}} | suite
    text["decide"] = {"metric": f"prices/{task.get('metric', 'acc')}", "smallest_effect": 0.05}
    (folder / "study.yaml").write_text(yaml.safe_dump(text))
    shutil.copytree(tiny, folder / "model")
    return folder / "study.yaml"


def test_every_way_of_asking_is_evaluated_anew_and_as_lm_eval_does(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("HARNESS_DEVICE", "cpu")
    store, seen, pools = Store(tmp_path / "store"), set(), set()
    model = AutoModelForCausalLM.from_pretrained(tiny)
    stock = HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(tiny), batch_size=4)
    worker = Worker(io.StringIO())
    for number, (way, (_, _, _, told)) in enumerate(WAYS.items()):
        made = make_plan(load_study(write(tmp_path / f"way{number}", tiny, way)), store, tasks.materialize)
        publish(made)
        assert made.base.key not in seen, way
        assert {run.state for run in made.runs} == {"to do"}
        assert not seen & {run.key for run in made.runs}, way
        seen |= {made.base.key} | {run.key for run in made.runs}
        pools |= {pool.step.key for pool in made.pools.values()}
        worker.do(base_job(made))
        found = store.find("result", made.base.key)
        assert found is not None, store.failure(made.base.key)
        items = pl.read_parquet(found.folder / "items.parquet")
        with monkeypatch.context() as at, tasks.quiet():
            at.chdir(tmp_path / f"way{number}" / "suite")
            manager = TaskManager(include_path=".", include_defaults=False)
            samples = lm_eval.simple_evaluate(
                stock, tasks=["prices"], task_manager=manager, bootstrap_iters=0, log_samples=True, **told
            )["samples"]["prices"]
        order = made.suite.table("items")["index"].to_list()
        by_id = {sample["doc_id"]: sample for sample in samples}
        metric = made.study.decide.metric.split("/")[1]
        assert items[metric].to_list() == [by_id[i][metric] for i in order], way
        gold = [by_id[i]["resps"][1][0][0] for i in order]
        assert items["gold_logprob"].to_list() == pytest.approx(gold, abs=1e-3), way
    assert len(list((store.root / "result").iterdir())) == len(WAYS)
    assert len(pools) == 2  # the items are the same all along, and so is what rows are decontaminated against


def test_an_own_task_of_lm_eval_counts_by_its_configuration_and_the_examples_docs() -> None:
    """What the stored suite's files do not hold: compared when the suite is evaluated."""

    def task(examples: list[dict[str, Any]], **config: Any) -> Any:
        from lm_eval.api.task import ConfigurableTask

        class Held(ConfigurableTask):
            def download(self, dataset_kwargs: Any = None, **_: Any) -> None:
                import datasets

                self.dataset = datasets.DatasetDict(
                    {"test": datasets.Dataset.from_list(DOCS), "train": datasets.Dataset.from_list(examples)}
                )

        described = TASK | {"fewshot_split": "train", "training_split": "train"} | config
        described.pop("dataset_kwargs")
        return Held(config=described)

    from harness.spec import Task

    own = Task(task="prices")
    first = tasks.asked(own, task(DOCS[:4], num_fewshot=2))
    assert first == tasks.asked(own, task(DOCS[:4], num_fewshot=2))
    others = [
        task(DOCS[:5], num_fewshot=2), task(DOCS[:4], num_fewshot=3), task(DOCS[:4], num_fewshot=2, description="x"),
        task(DOCS[:4], num_fewshot=2, doc_to_text=lambda doc: doc["question"]),
        task(DOCS[:4], num_fewshot=2, doc_to_text=lambda doc: doc["question"] + "?"),
        task(DOCS[:4], num_fewshot=2, fewshot_config={"doc_to_text": lambda doc: doc["question"] + "!"}),
        task(DOCS[:4], num_fewshot=2, filter_list=[{"name": "a", "filter": [{"function": "take_first"}]}]),
    ]  # fmt: skip
    found = [tasks.asked(own, one) for one in others]
    assert len({first, *found}) == len(others) + 1
    assert tasks.asked(own, task(DOCS[:4])) == tasks.asked(own, task(DOCS[:5]))  # no examples are shown


def test_a_task_that_is_asked_in_another_way_by_now_is_not_evaluated(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DEVICE", "cpu")
    made = make_plan(load_study(write(tmp_path / "s", tiny, "examples")), Store(tmp_path / "store"), tasks.materialize)
    publish(made)
    monkeypatch.setattr(tasks, "asked", lambda task, lm_task: "another way")
    out = io.StringIO()
    Worker(out).do(base_job(made))
    assert "the prompts or the scoring of prices changed after the suite was stored" in out.getvalue()
