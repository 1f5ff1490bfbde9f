"""Suites, on which runs are tested: generates tasks, copies local tasks, pins the items and splits them into halves.

A stored suite is a folder: ``tasks/<name>/`` holds an lm-eval task (YAML and data) for every task that is not
in lm-eval's registry, and ``items.parquet`` pins every item (``records.ITEM_COLUMNS``). Nothing here needs
lm-eval; ``evaluation/tasks.py`` lists the items of tasks that do.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from harness import outside, unpacking
from harness.clusters import Asked, clusters
from harness.errors import RequestError, did_you_mean
from harness.identity import canonical_json, digest, sequence_digest, unit_hash
from harness.records import ITEM_COLUMNS
from harness.spec import Suite, Task

ID_LENGTH = 16
TRIES_PER_ITEM = 20
GENERATED_METRICS = ("exact_match", "acc", "gold_logprob", "gold_logprob_per_token", "gold_logprob_per_byte")
_TYPES: dict[str, pl.DataType] = {
    "str": pl.String(), "str?": pl.String(), "int": pl.Int64(), "list[str]": pl.List(pl.String()),
}  # fmt: skip
_TWO_TERMS = re.compile(r"(\d+) ([+-]) (\d+)")


def inputs(suite: Suite, base: Path) -> dict[str, str]:
    """Return role -> content digest of the local folders that a suite reads, or version of the package of its tasks.

    lm-eval's own tasks come with the package, so its version identifies them. For tasks in folders the version is not
    included: like any other package, it is part of the record of the run.

    Args:
        suite: The suite.
        base: Folder that ``Task.path`` is relative to.

    Raises:
        RequestError: A task's folder does not exist.
    """
    found = {
        f"tasks/{name}": outside.tree_digest(_local_folder(suite, name, base), f"{_place(suite, name)}: ")
        for name, task in suite.tasks.items()
        if task.path is not None
    }
    if any(task.generator is not None for task in suite.tasks.values()):
        found["generator"] = f"reasoning-gym=={version('reasoning-gym')}"
    if any(task.generator is None and task.path is None for task in suite.tasks.values()):
        found["registry"] = f"lm-eval=={version('lm-eval')}"
    return found


def needs_lm_eval(suite: Suite) -> bool:
    """Return whether listing the suite's items needs lm-eval, that is, whether a task is not generated."""
    return any(task.generator is None for task in suite.tasks.values())


def _local_folder(suite: Suite, name: str, base: Path) -> Path:
    path = suite.tasks[name].path
    assert path is not None
    folder = base / path
    if not folder.is_dir():
        near = did_you_mean(folder.name, (p.name for p in folder.parent.glob("*") if p.is_dir()))
        if trouble := outside.problem(folder):
            raise RequestError(f"{_place(suite, name)}: {path} {trouble}")
        raise RequestError(f"{_place(suite, name)}: no such folder: {path} (from {base}).{near}")
    return folder


def _place(suite: Suite, name: str) -> str:
    return f"suite {suite.suite}: tasks.{name}.path"


# ------------------------------------------------------------------------------------------------- generating


def generate(suite: Suite, folder: Path) -> list[dict[str, Any]]:
    """Write the generated tasks of a suite as lm-eval tasks below ``<folder>/tasks/``.

    Returns:
        The items in order (``records.ITEM_COLUMNS`` without item_id and half); no question occurs twice in a task.

    Raises:
        RequestError: The generator does not know the task or its settings, a template or field names
            something that an entry does not have, or the task cannot give that many distinct questions.
    """
    items: list[dict[str, Any]] = []
    for name, task in suite.tasks.items():
        if task.generator is None:
            continue
        docs = _docs(f"suite {suite.suite}: tasks.{name}", name, task)
        _write_task(name, docs, folder / "tasks" / name)
        items += [
            {
                "task": name,
                "subtask": subtask_name(name),
                "index": index,
                "doc_digest": digest(doc),
                "question": doc["question"],
                "answer": doc["answer"],
                "choices": [],
                "slice": doc["slice"],
                "group": doc["group"],
            }
            for index, doc in enumerate(docs)
        ]
    return items


def subtask_name(name: str) -> str:
    """Return the lm-eval name of a generated task."""
    return f"harness_{name}"


def _docs(place: str, name: str, task: Task) -> list[dict[str, Any]]:
    """Return the entries of a generated task; questions that the generator repeats are skipped."""
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    assert task.items is not None
    if task.task not in DATASETS:
        near = did_you_mean(task.task, DATASETS)
        raise RequestError(f'{place}.task: reasoning-gym has no task "{task.task}".{near}')
    settings = {field.name for field in dataclasses.fields(DATASETS[task.task][1])} - {"seed", "size"}
    for setting in task.config or {}:
        if setting not in settings:
            near = did_you_mean(setting, settings)
            raise RequestError(f'{place}.config: {task.task} has no setting "{setting}".{near}')
    if task.metric is not None and task.metric not in GENERATED_METRICS:
        near = did_you_mean(task.metric, GENERATED_METRICS)
        raise RequestError(f'{place}.metric: a generated task has no metric "{task.metric}".{near}')
    wanted = min(task.items, task.limit or task.items)
    # reasoning-gym seeds entry i with seed + i: neighbouring seeds would share all but one of their entries.
    seed = unit_hash("suite", task.task, task.seed) % 2**31
    try:
        entries = reasoning_gym.create_dataset(
            task.task, size=TRIES_PER_ITEM * wanted, seed=seed, **(task.config or {})
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise RequestError(f"{place}.config: {task.task} refuses these settings: {error}") from error
    docs: dict[str, dict[str, Any]] = {}
    for entry in entries:
        names = _names(entry)
        question = _fill(f"{place}.question", task.question, names)
        if question in docs:
            continue
        docs[question] = {
            "question": question,
            "answer": _fill(f"{place}.answer", task.answer, names),
            "slice": _field(f"{place}.slice", task.slice, names),
            "group": _field(f"{place}.group", task.group_field(place, names), names),
            "id": f"{name}-{len(docs)}",
        }
        if len(docs) == wanted:
            return list(docs.values())
    raise RequestError(
        f"{place}.items: {task.task} with these settings gave {len(docs)} distinct questions in "
        f"{TRIES_PER_ITEM * wanted} tries, {wanted} were asked for; ask for fewer or widen config"
    )


def _names(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return name -> value for templates and fields: question, answer, the entry's scalar metadata, and carries."""
    names: dict[str, Any] = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                add(f"{prefix}_{key}" if prefix else str(key), inner)
        elif isinstance(value, str | int | float):
            names[prefix] = value

    add("", entry.get("metadata") or {})
    sum_of_two = _TWO_TERMS.fullmatch(str(names.get("expression", "")))
    if sum_of_two and names.get("source_dataset") == "chain_sum":
        names["carries"] = "carry" if _carries(*sum_of_two.groups()) else "no carry"
    return {**names, "question": entry["question"], "answer": entry["answer"]}


def _carries(left: str, sign: str, right: str) -> bool:
    """Return whether a written column addition carries, or a column subtraction borrows."""
    low, high = sorted((left, right), key=int)
    columns = zip(reversed(high), reversed(low.zfill(len(high))), strict=True)
    # The first carry is never caused by another carry, so each column can be checked alone.
    return any(int(a) + int(b) > 9 if sign == "+" else int(a) < int(b) for a, b in columns)


def _fill(place: str, template: str, names: Mapping[str, Any]) -> str:
    try:
        return template.format_map(names)
    except KeyError as error:
        near = did_you_mean(str(error.args[0]), names)
        raise RequestError(f'{place}: a generated entry has no "{error.args[0]}".{near}') from error
    except (ValueError, IndexError, AttributeError) as error:
        raise RequestError(f"{place}: not a template such as '{{question}}' ({error})") from error


def _field(place: str, name: str | None, names: Mapping[str, Any]) -> str | None:
    if name is None:
        return None
    if name not in names:
        raise RequestError(f'{place}: a generated entry has no field "{name}".{did_you_mean(name, names)}')
    return str(names[name])


def _write_task(name: str, docs: list[dict[str, Any]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(doc, ensure_ascii=False) + "\n" for doc in docs)
    (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    config = {
        "task": subtask_name(name),
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}},
        "test_split": "test",
        "fewshot_split": "test",  # if it is set, lm-eval leaves the item itself out of its examples
        "output_type": "loglikelihood",
        "doc_to_text": "question",  # the name of a column; a template would be rendered by Jinja
        "doc_to_target": "answer",
        "target_delimiter": "",
        "metric_list": [
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        ],
        "metadata": {"version": 1.0},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


# ------------------------------------------------------------------------------------------- copying, pinning


def copy_local(suite: Suite, base: Path, folder: Path) -> None:
    """Copy the folders of local tasks to ``<folder>/tasks/<name>/``: the stored suite needs nothing else.

    Raises:
        RequestError: A folder does not exist, holds no YAML, refers to something outside (by a link, or by a file or
            function that its YAML names), or holds a file that unpacks to far more than items would.
    """
    for name, task in suite.tasks.items():
        if task.path is None:
            continue
        source, place = _local_folder(suite, name, base).resolve(), _place(suite, name)
        there = outside.walk(source, f"{place}: ")
        for path in there:
            if not path.resolve().is_relative_to(source):
                raise RequestError(f"{place}: {path.relative_to(source)} is a link out of the folder; put a copy there")
        tasks = [path for path in there if path.suffix == ".yaml"]
        if not tasks:
            raise RequestError(f"{place}: no .yaml file (an lm-eval task) in {task.path}")
        for path in tasks:
            _check_references(place, path, source, set())
        for path in there:
            relative = path.relative_to(source)
            unpacking.check(path, f"{place}: {relative}")
            target = folder / "tasks" / name / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _check_references(place: str, file: Path, folder: Path, seen: set[Path]) -> None:
    """Refuse a task's YAML that names code or files outside its folder: they would be used without being pinned.

    Raises:
        RequestError: The YAML is refused; the message has its file and line.
    """
    shown = file.relative_to(folder)
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, OSError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{shown}:{mark.line + 1}" if mark else f"{shown}"
        raise RequestError(f"{place}: {where}: not YAML ({getattr(error, 'problem', error)})") from error
    seen.add(file)
    included: list[Any] = []
    waiting, visited = [node], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in visited:
            continue
        visited.add(id(node))
        here = f"{place}: {shown}:{node.start_mark.line + 1}"
        if node.tag == "!function" and not _own_function(str(node.value), file, folder):
            raise RequestError(f"{here}: !function {node.value}: no such function in a Python file of the folder")
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == "include":
                    included += value.value if isinstance(value, yaml.SequenceNode) else [value]
                if key.value == "dataset_path" and value.value == "pandas":
                    where = f"{place}: {shown}:{key.start_mark.line + 1}"
                    raise RequestError(f"{where}: dataset_path: pandas reads pickles, which are not loaded; use json")
                waiting += [key, value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
    for name in included:
        target = (file.parent / str(name.value)).resolve()
        inner = target.is_relative_to(folder)
        unseen = " (hidden ones are left out)" if inner and outside.hidden(target.relative_to(folder)) else ""
        if not inner or unseen or not target.is_file():
            here = f"{place}: {shown}:{name.start_mark.line + 1}"
            raise RequestError(f"{here}: include: no file {name.value} in the folder{unseen}")
        if target not in seen:
            _check_references(place, target, folder, seen)


def _own_function(named: str, file: Path, folder: Path) -> bool:
    """Return whether ``module.function`` is in a file of a task's folder; lm-eval would accept any module."""
    module, _, function = named.rpartition(".")
    parts = module.split(".")
    if not all(part.isidentifier() for part in (*parts, function)):
        return False
    target = file.parent.joinpath(*parts).with_suffix(".py")
    return target.is_file() and target.resolve().is_relative_to(folder)


def finish(suite: Suite, items: list[dict[str, Any]], folder: Path) -> pl.DataFrame:
    """Name the items, drop repeats, find clusters, split into halves, and write ``<folder>/items.parquet``.

    Items of a task without ``group`` get the clusters that ``harness.clusters`` finds; items that stand alone get none.
    A cluster is in one half as a whole: its items depend on each other, so some of them could not confirm the others.
    Within each task, items are ranked by item_id, and clusters by a digest of their ids, so the split depends on the
    items alone. The confirmation half holds a share ``suite.confirmation`` of the items, as nearly as clusters allow.

    Args:
        suite: The suite.
        items: ``records.ITEM_COLUMNS`` without item_id and half; a further key ``documents`` may name their sources.
        folder: The suite's folder.

    Returns:
        The pinned items (``records.ITEM_COLUMNS``), in the order given.

    Raises:
        RequestError: A task has no items.
    """
    pinned: dict[str, dict[str, Any]] = {}
    for item in items:
        # The subtask counts: a group may ask about the same doc in several ways, each of which is an item.
        content = {"task": item["task"], "subtask": item["subtask"], "doc": item["doc_digest"]}
        item_id = digest(content)[:ID_LENGTH]
        pinned.setdefault(item_id, {**item, "item_id": item_id})
    for name, task in suite.tasks.items():
        own = {item_id: item for item_id, item in pinned.items() if item["task"] == name}
        if not own:
            raise RequestError(f"suite {suite.suite}: tasks.{name} has no items")
        if task.group is None:
            found = clusters([_asked(item) for item in own.values()])
            for item_id, item in own.items():
                item["group"] = found.get(item_id)
        confirmed = _confirmed({item_id: item["group"] for item_id, item in own.items()}, suite.confirmation)
        for item_id, item in own.items():
            item["half"] = "confirmation" if item_id in confirmed else "selection"
    schema = {column: _TYPES[kind] for column, kind in ITEM_COLUMNS.items()}
    frame = pl.DataFrame([{column: item[column] for column in schema} for item in pinned.values()], schema=schema)
    folder.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(folder / "items.parquet")
    return frame


def _asked(item: Mapping[str, Any]) -> Asked:
    options = tuple(item["choices"] or [item["answer"]])
    return Asked(item["item_id"], item["subtask"], item["question"], options, tuple(item.get("documents", ())))


def _confirmed(groups: Mapping[str, str | None], share: float) -> set[str]:
    """Return the items of a task's confirmation half: whole clusters by rank, as long as they fit ``share`` better."""
    together: dict[str, list[str]] = {}
    for item_id in sorted(groups):
        group = groups[item_id]
        together.setdefault(f"item {item_id}" if group is None else f"group {group}", []).append(item_id)
    # A cluster is ranked by a digest: by the first of its many ids, large clusters would come early.
    ranked = sorted(together.values(), key=lambda held: held[0] if len(held) == 1 else digest(held))
    left = len(ranked)
    wanted, confirmed = len(groups) * share, set[str]()
    for held in ranked:
        # Nothing can be inferred from one cluster: if clusters are few, two stay in the selection half.
        enough = left > 2 or len(held) == 1
        if enough and len(confirmed) + len(held) / 2 <= wanted:
            confirmed.update(held)
            left -= 1
    return confirmed


def items_digest(frame: pl.DataFrame) -> str:
    """Return the content digest of pinned items, in order, against which rows are decontaminated."""
    rows = frame.select(list(ITEM_COLUMNS)).iter_rows(named=True)
    return sequence_digest(canonical_json(row) for row in rows)


def content_digest(suite: Suite, items: str, files: Mapping[str, bytes], asked: Mapping[str, str]) -> str:
    """Return the content digest of a suite, of everything on which the score of an answer depends.

    Args:
        suite: The suite; every field counts.
        items: Digest of the pinned items.
        files: Path in the stored suite -> content, of the tasks that are not lm-eval's own.
        asked: lm-eval task -> digest of its prompts and scoring (``evaluation.tasks.asked``).
    """
    parts = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return digest({"suite": suite.identity(), "items": items, "files": parts, "asked": dict(asked)})
