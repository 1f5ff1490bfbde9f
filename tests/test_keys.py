"""What can change a step's outcome is in its key: every field of a study, and every line of a task's own YAML."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import spec
from harness.evaluation import tasks
from harness.loading import load_study
from harness.spec import (
    DESIGNS,
    OPERATIONS,
    Decide,
    Decontaminate,
    Lora,
    Recipe,
    Source,
    Spec,
    Study,
    Suite,
    Task,
    Track,
    Variant,
)
from harness.store import Store
from harness.study.plan import Plan, make_plan
from harness.study.steps import adapter_step, tokens_step
from tests.evaluation.local_suite import QUIZ

STUDY: dict[str, Any] = {
    "study": "keys",
    "question": "What is in a key?",
    "model": "model",
    "recipe": {"lora": {"r": 4, "alpha": 8}, "batch": 4, "steps": 2, "max_length": 128},
    "suite": {
        "suite": "held-out",
        "tasks": {
            "own": {"task": "own", "path": "suite"},
            "sums": {"task": "chain_sum", "generator": "reasoning-gym", "config": {"max_digits": 2}, "items": 8},
        },
    },
    "sources": {
        "rows": {"path": "rows.jsonl"},
        "made": {"generator": "reasoning-gym", "task": "chain_sum", "config": {"max_digits": 3}, "rows": 20, "seed": 1},
        "hub": {"hub": "hub", "revision": "a"},
    },
    "baseline": {"mix": {"rows": 4, "made": 4}},
    "arms": {
        "more": {"tests": "rows", "mix": {"rows": 6, "made": 4}},
        "clean": {"tests": "clean", "operations": ["clean"]},
        "hub": {"tests": "hub", "mix": {"hub": 8}},
    },
    "controls": [],
    "seeds": 1,
    "decide": {"metric": "own/acc", "smallest_effect": 0.05},
}
Changes = dict[str, Any]  # dotted place in the study -> another value; None takes a field away
# Class -> field -> what to change (the field, and what must go with it) and the kinds of steps that must get other
# keys; or, as text, the reason why no key changes.
FIELDS: dict[type[Spec], dict[str, tuple[Changes, str] | str]] = {
    Study: {
        "study": ({"study": "other"}, "study"),
        "question": "words for people",
        "hypothesis": "words for people",
        "outcome": "words for people, written afterwards",
        "model": ({"model": "model2"}, "adapter base run study"),
        "recipe": ({"recipe.batch": 2}, "adapter"),
        "suite": ({"suite.tasks.own.limit": 5}, "suite pool base run"),
        "sources": ({"sources.rows.path": "other.jsonl"}, "source pool variant adapter run"),
        "baseline": ({"baseline.mix.rows": 5}, "variant adapter run"),
        "arms": ({"arms.more.mix.rows": 7}, "variant adapter run"),
        "designs": (
            {"arms": {}, "designs": [{"design": "size_ladder", "fractions": [0.5]}]}, "variant adapter run study",
        ),
        "controls": ({"controls": ["aa"]}, "run study"),
        "seeds": ({"seeds": [5]}, "variant adapter run study"),
        "stages": ({"seeds": None, "stages": [2, 3]}, "variant adapter run study"),
        "match": (
            {"match": "rows", "recipe.steps": None, "recipe.epochs": 1.0}, "variant adapter run study",
        ),
        "decide": ({"decide.alpha": 0.1}, "study"),
        "decontaminate": ({"decontaminate": {"ngram": 5}}, "pool"),
        "track": "what MLflow gets beside the numbers",
        "trust_remote_code": ({"trust_remote_code": True, "model": "coded"}, "adapter base"),
        "waive": ({"waive": ["packages: a reason"]}, "study"),
    },
    Recipe: {
        "objective": (
            {"recipe.objective": "text", "sources.rows.fields": {"text": "{prompt}{completion}"},
             "sources.made.fields": {"text": "{question} {answer}"},
             "sources.hub.fields": {"text": "{prompt}{completion}"}},
            "tokens adapter run",
        ),
        "beta": ({"recipe.beta": 0.2}, "adapter run"),
        "lora": ({"recipe.lora.r": 8}, "adapter run"),
        "learning_rate": ({"recipe.learning_rate": 1e-5}, "adapter run"),
        "schedule": ({"recipe.schedule": "cosine"}, "adapter run"),
        "warmup_steps": ({"recipe.warmup_steps": 1}, "adapter run"),
        "weight_decay": ({"recipe.weight_decay": 0.1}, "adapter run"),
        "max_grad_norm": ({"recipe.max_grad_norm": 0.5}, "adapter run"),
        "batch": ({"recipe.batch": 2}, "adapter run"),
        "steps": ({"recipe.steps": 3}, "adapter run"),
        "epochs": ({"recipe.steps": None, "recipe.epochs": 2.0, "match": "rows"}, "adapter run"),
        "max_length": ({"recipe.max_length": 256}, "tokens adapter run"),
        "chat_template": ({"recipe.chat_template": True}, "tokens adapter run"),
        "date": ({"recipe.date": "2031-05-17"}, "tokens adapter run base"),
    },
    Lora: {
        "r": ({"recipe.lora.r": 8}, "adapter run"),
        "alpha": ({"recipe.lora.alpha": 4}, "adapter run"),
        "dropout": ({"recipe.lora.dropout": 0.1}, "adapter run"),
        "targets": ({"recipe.lora.targets": ["q_proj"]}, "adapter run"),
    },
    Suite: {
        "suite": ({"suite.suite": "other"}, "suite base run"),
        "tasks": ({"suite.tasks.more": {"task": "own2", "path": "suite"}}, "suite pool base run"),
        "chat_template": ({"suite.chat_template": True}, "suite base run"),
        "confirmation": ({"suite.confirmation": 0.25}, "suite base run"),
    },
    Task: {
        "task": ({"suite.tasks.own.task": "own2"}, "suite base run"),
        "path": ({"suite.tasks.own.path": "suite2"}, "suite base run"),
        "generator": (
            {"suite.tasks.own": {"task": "chain_sum", "generator": "reasoning-gym", "items": 8},
             "decide.metric": "own/exact_match"}, "suite base run",
        ),
        "config": ({"suite.tasks.sums.config.max_digits": 3}, "suite pool base run"),
        "items": ({"suite.tasks.sums.items": 9}, "suite pool base run"),
        "seed": ({"suite.tasks.sums.seed": 9}, "suite pool base run"),
        "question": ({"suite.tasks.sums.question": "Q: {question}"}, "suite pool base run"),
        "answer": ({"suite.tasks.sums.answer": "{answer}"}, "suite pool base run"),
        "append_eos": ({"suite.tasks.sums.append_eos": False}, "suite base run"),
        "limit": ({"suite.tasks.own.limit": 5}, "suite pool base run"),
        "fewshot": ({"suite.tasks.own.fewshot": 2}, "suite base run"),
        "metric": ({"suite.tasks.own.metric": "acc"}, "suite base run"),
        "slice": ({"suite.tasks.own.slice": "kind"}, "suite base run"),
        "group": ({"suite.tasks.own.group": "kind"}, "suite base run"),
    },
    Source: {
        "path": ({"sources.rows.path": "other.jsonl"}, "source pool variant adapter run"),
        "hub": ({"sources.hub.hub": "hub2"}, "source pool variant adapter run"),
        "revision": ({"sources.hub.revision": "b"}, "source"),
        "split": ({"sources.hub.split": "test"}, "source pool variant adapter run"),
        "generator": (
            {"sources.rows": {"generator": "reasoning-gym", "task": "chain_sum", "rows": 20}}, "source pool variant",
        ),
        "task": ({"sources.made.task": "basic_arithmetic", "sources.made.config": None}, "source pool variant adapter"),
        "config": ({"sources.made.config.max_digits": 4}, "source pool variant adapter run"),
        "seed": ({"sources.made.seed": 2}, "source pool variant adapter run"),
        "rows": ({"sources.made.rows": 21}, "source pool variant"),
        "corrupt": ({"sources.made.corrupt": 0.5}, "source pool variant adapter run"),
        "fields": (
            {"sources.rows.fields": {"prompt": "P: {prompt}", "completion": "completion"}},
            "source pool variant adapter run",
        ),
        "optional": ({"sources.rows.optional": ["prompt"]}, "source"),
        "columns": ({"sources.rows.columns": ["kind"]}, "source pool variant"),
        "license": ({"sources.rows.license": "mit"}, "source pool variant"),
        "origin": ({"sources.rows.origin": "public"}, "source pool variant"),
        "cost_per_row": ({"sources.rows.cost_per_row": 0.5}, "source"),
        "on_bad_row": ({"sources.rows.on_bad_row": "drop"}, "source"),
        "operations": ({"sources.rows.operations": [{"filter": {"pattern": "[02468] is"}}]}, "source pool variant"),
    },
    Variant: {
        "mix": ({"arms.more.mix": {"rows": 7, "made": 4}}, "variant adapter run"),
        "rows": ({"arms.more.mix": {"rows": 0.5, "made": 0.5}, "arms.more.rows": 6}, "variant adapter run"),
        "tokens": ({"arms.more.mix": {"rows": 0.5, "made": 0.5}, "arms.more.tokens": 90}, "variant adapter run"),
        "unit": ({"arms.more.mix": {"rows": 60, "made": 60}, "arms.more.unit": "tokens"}, "variant adapter run"),
        "max_repeats": ({"arms.more.max_repeats": 2}, "variant"),
        "operations": ({"arms.clean.operations": [{"sample": {"rows": 3}}]}, "variant adapter run"),
        "tests": ({"arms.more.tests": "other"}, "study"),
    },
    Decide: {
        "metric": ({"decide.metric": "sums/exact_match"}, "study"),
        "smallest_effect": ({"decide.smallest_effect": 0.1}, "study"),
        "alpha": ({"decide.alpha": 0.1}, "study"),
        "noise": ({"decide.noise": "careful"}, "study"),
    },
    Decontaminate: {
        "ngram": ({"decontaminate.ngram": 5}, "pool"),
        "fuzzy": ({"decontaminate.fuzzy": 0.7}, "pool"),
        "templates": ({"decontaminate.templates": "drop"}, "pool"),
        "semantic": ({"decontaminate.semantic": 0.99}, "pool"),
    },
    Track: {"adapters": "what MLflow gets beside the numbers"},
}  # fmt: skip
CASES = [
    pytest.param(
        change[0], change[1].split(), id=f"{kind.__name__}.{field}",
        marks=[pytest.mark.slow] if field == "semantic" else [],  # which loads another model
    )
    for kind, fields in FIELDS.items()
    for field, change in fields.items()
    if not isinstance(change, str)
]  # fmt: skip
REASONS = [
    ({"question": "Another?"}, "Study.question"),
    ({"hypothesis": "Another."}, "Study.hypothesis"),
    ({"outcome": "It was so."}, "Study.outcome"),
    ({"track": {"adapters": "copy"}}, "Study.track"),
    ({"track": {"adapters": "copy"}}, "Track.adapters"),
]
# A line of a task's YAML -> another value. Whatever lm-eval makes of it, the folder's content is in the suite's key.
LINES: dict[str, Any] = {
    "description": "Answer.", "target_delimiter": "", "fewshot_delimiter": "--", "num_fewshot": 1,
    "fewshot_split": "test", "fewshot_config": {"sampler": "first_n"}, "doc_to_text": "Q {{question}}",
    "doc_to_target": "{{label}}",
    "doc_to_choice": "{{options + options[:1]}}", "metric_list": [{"metric": "acc_norm"}, {"metric": "acc"}],
    "filter_list": [{"name": "a", "filter": [{"function": "take_first"}]}], "repeats": 1, "gen_prefix": "So",
    "process_results": "!function", "process_docs": "!function", "metadata": {"version": 2},
    "should_decontaminate": True, "doc_to_decontamination_query": "question",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    made = tmp_path_factory.mktemp("keys")
    for name in ("model", "model2", "coded"):
        shutil.copytree(tiny, made / name)
    (made / "model2" / "generation_config.json").write_text("{}")
    (made / "coded" / "modeling.py").write_text("# what a model brings along\n")
    for name, odd in (("rows", ""), ("other", "indeed ")):
        lines = [
            {"prompt": f"The number {n} is", "completion": f" {odd}{'even' if n % 2 else 'odd'}", "kind": n % 2}
            for n in range(20)
        ]
        (made / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, word in (("hub", "left"), ("hub2", "right")):
        for split in ("train", "test"):
            rows = [
                {"prompt": f"After {'bend ' * n} of the {split} track one must turn", "completion": f" {word}"}
                for n in range(12)
            ]
            (made / name).mkdir(exist_ok=True)
            (made / name / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_suite(made / "suite")
    write_suite(made / "suite2", description="Now.")
    return made


def write_suite(folder: Path, **lines: Any) -> None:
    folder.mkdir()
    docs = [
        {"question": f"Is {n} a city on the river?", "options": ["yes", "no"], "label": n % 2, "kind": f"k{n % 3}"}
        for n in range(8)
    ]
    (folder / "docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    (folder / "own.py").write_text("def f(*args):\n    return args[0] if len(args) == 1 else {'acc': 1.0}\n")
    for name in ("own", "own2"):
        text = yaml.safe_dump(QUIZ | lines | {"task": name}).replace("'!function'", "!function own.f")
        (folder / f"{name}.yaml").write_text(text)


def changed(changes: Changes) -> dict[str, Any]:
    study = copy.deepcopy(STUDY)
    for place, value in changes.items():
        *path, last = place.split(".")
        at = study
        for name in path:
            at = at.setdefault(name, {})
        if value is None:
            at.pop(last)
        else:
            at[last] = value
    return study


def plan(folder: Path, study: dict[str, Any]) -> Plan:
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    with contextlib.chdir(folder):  # a folder in place of a Hub repository is named from here
        return make_plan(load_study(folder / "study.yaml"), Store(folder / "store"), tasks.materialize)


def keys(made: Plan) -> dict[str, set[str]]:
    """Kind -> the keys of a plan's steps."""
    found: dict[str, set[str]] = {
        "base": {made.base.key}, "study": {made.study_step.key}, "run": {run.key for run in made.runs},
        "adapter": {run.adapter.key for run in made.runs}, "tokens": {run.tokens.key for run in made.runs},
    }  # fmt: skip
    for output in made.outputs:
        if output.step.kind != "tokens":
            found.setdefault(output.step.kind, set()).add(output.step.key)
    return found


@pytest.fixture(scope="module")
def first(folder: Path) -> dict[str, set[str]]:
    return keys(plan(folder, STUDY))


def test_every_field_is_looked_at() -> None:
    looked = {kind: set(fields) for kind, fields in FIELDS.items()}
    assert looked == {kind: set(kind.model_fields) for kind in FIELDS}
    specs = {value for value in vars(spec).values() if isinstance(value, type) and issubclass(value, Spec)} - {Spec}
    # An operation's and a design's fields are those of the variants: the identity of each holds all of them.
    # What is done to every source last (``Trainable``) is nothing that people write.
    assert specs - set(FIELDS) - {spec.operations.Trainable} <= {*OPERATIONS.values(), *DESIGNS.values()}


def test_an_identity_holds_every_field() -> None:
    examples = [
        *(OPERATIONS[name].model_validate({"op": name} | fields) for name, fields in (
            ("clean", {}), ("filter", {"min_chars": 1}), ("dedupe", {}), ("verify", {}), ("pii", {}),
            ("sample", {"rows": 1}), ("use", {"function": "mine:fix"}),
        )),
        Recipe(steps=1), Lora(), Task(task="t"), Source(path="x"), Variant(mix={"a": 1}), Decontaminate(),
    ]  # fmt: skip
    for example in examples:
        assert set(example.identity()) == set(type(example).model_fields)


@pytest.mark.parametrize(("changes", "kinds"), CASES)
def test_another_value_is_another_key(
    folder: Path, first: dict[str, set[str]], changes: Changes, kinds: list[str]
) -> None:
    found = keys(plan(folder, changed(changes)))
    assert [kind for kind in kinds if found[kind] == first[kind]] == []


def test_the_objective_alone_makes_other_tokens_and_another_adapter() -> None:
    recipes = [Recipe(steps=1, objective=objective) for objective in ("sft", "text", "dpo")]
    assert len({adapter_step("a", recipe, 1, "rows", "model").key for recipe in recipes}) == 3
    assert len({tokens_step("a", recipe, "rows", "model").key for recipe in recipes}) == 3


@pytest.mark.parametrize(("changes", "field"), REASONS)
def test_what_has_a_reason_changes_no_key(
    folder: Path, first: dict[str, set[str]], changes: Changes, field: str
) -> None:
    kind, name = field.split(".")
    assert isinstance(FIELDS[getattr(spec, kind)][name], str)
    assert keys(plan(folder, changed(changes))) == first


def test_every_reason_is_tried() -> None:
    said = {
        f"{kind.__name__}.{name}" for kind, fields in FIELDS.items() for name, c in fields.items() if isinstance(c, str)
    }
    assert said == {field for _, field in REASONS}


@pytest.mark.parametrize("line", LINES)
def test_another_line_in_a_tasks_yaml_is_another_result(
    folder: Path, first: dict[str, set[str]], tmp_path: Path, line: str
) -> None:
    copied = tmp_path / "study"
    shutil.copytree(folder, copied)
    shutil.rmtree(copied / "suite")
    write_suite(copied / "suite", **{line: LINES[line]})
    found = keys(plan(copied, STUDY))
    assert found["base"] != first["base"]
    assert not found["run"] & first["run"]
    assert found["adapter"] == first["adapter"]  # nothing is trained again


def test_the_same_study_elsewhere_has_the_same_keys(folder: Path, first: dict[str, set[str]], tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert keys(plan(tmp_path / "elsewhere", STUDY)) == first
