"""A folder of small local tasks, one of each kind that lm-eval can ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from harness import suites
from harness.evaluation import tasks
from harness.spec import Suite

WORDS = ["cat", "dog", "log", "mat", "one", "two", "three", "red", "green", "blue"]


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": i,
            "question": f"Q: {WORDS[i % 10]} + {i} {'and more ' * (i % 4)}=\nA:",
            "choices": [f"{WORDS[(i + k) % 10]} {WORDS[(i * k) % 10] * (k % 3)}".strip() for k in range(4)],
            "label": (i * 7) % 4,
            "answer": f" {WORDS[i % 3]} {i}",
            "kind": WORDS[i % 2],
            "starts": [f"the {WORDS[(i + k) % 10]} sat" for k in range(2)],
            "right": i % 2,
        }
        for i in range(count)
    ]


# A task of lm-eval's in a folder: its docs are in docs.jsonl, with question, options and label.
QUIZ: dict[str, Any] = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "docs.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{options}}",
    "doc_to_target": "label",
    "metric_list": [{"metric": "acc"}],
}
KINDS: dict[str, dict[str, Any]] = {
    "choose": {
        "output_type": "multiple_choice",
        "doc_to_target": "{{label}}",
        "doc_to_choice": "{{choices}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "complete": {
        "output_type": "loglikelihood",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}, {"metric": "perplexity"}],
    },
    "fill": {  # as Winogrande: the options are contexts of one continuation
        "output_type": "multiple_choice",
        "doc_to_text": "right",
        "doc_to_choice": "starts",
        "doc_to_target": "on the mat",
        "metric_list": [{"metric": "acc"}],
    },
    "roll": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "byte_perplexity"}],
    },
    "write": {
        "output_type": "generate_until",
        "doc_to_target": "answer",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 6, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "filter_list": [
            {"name": "plain", "filter": [{"function": "take_first"}]},
            {"name": "digits", "filter": [{"function": "regex", "regex_pattern": "(\\d+)"}]},
        ],
    },
}


def write_tasks(folder: Path, count: int = 12) -> Path:
    """Write a task local_<kind> (with its data) for each of KINDS, and the group local_all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, config in KINDS.items():
        text = "".join(json.dumps(row) + "\n" for row in rows(count))
        (folder / f"{name}.jsonl").write_text(text)
        common = {
            "task": f"local_{name}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}},
            "test_split": "test",
            "doc_to_text": "question",
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**common, **config}))
    group = {"group": "local_all", "task": ["local_choose", "local_complete"]}
    (folder / "_all.yaml").write_text(yaml.safe_dump(group))
    return folder


def make(base: Path, folder: Path, chat_template: bool = False, **chosen: dict[str, Any]) -> Suite:
    """Store a suite in ``folder``; tasks without a generator are those of ``<base>/local``."""
    write_tasks(base / "local")
    described = {name: task if "generator" in task else {"path": "local", **task} for name, task in chosen.items()}
    suite = Suite.model_validate({"suite": "mine", "tasks": described, "chat_template": chat_template})
    items = suites.generate(suite, folder)
    suites.copy_local(suite, base, folder)
    suites.finish(suite, items + tasks.materialize(suite, folder), folder)
    return suite
