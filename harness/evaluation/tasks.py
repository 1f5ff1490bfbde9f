"""Loads the tasks of a stored suite with lm-eval, and lists their items."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import logging
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import datasets
import jinja2
import lm_eval.api.task
import lm_eval.evaluator
import lm_eval.utils
from jinja2.sandbox import SandboxedEnvironment
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from harness import trusted
from harness.clusters import documents
from harness.errors import RequestError, did_you_mean
from harness.identity import canonical_json, digest, sequence_digest
from harness.records import ASKED, LOWER
from harness.spec import Suite, Task

# Per-item scores that the harness adds to lm-eval's, by the task's output type.
ADDED_METRICS: dict[str, tuple[str, ...]] = {
    "loglikelihood": ("exact_match", "gold_logprob", "gold_logprob_per_token", "gold_logprob_per_byte"),
    "loglikelihood_rolling": ("gold_logprob", "gold_logprob_per_byte"),
    "multiple_choice": (
        "gold_logprob", "gold_logprob_per_token", "gold_logprob_per_byte", "margin", "choice_prob",
    ),
    "generate_until": (),
}  # fmt: skip
# lm-eval computes these over all items at once; a single item has none.
OVER_ALL_ITEMS = {
    "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "f1", "mcc", "brier_score", "likelihood",
    "bleu", "chrf", "ter",
}  # fmt: skip
# lm-eval renders the templates of tasks without a sandbox, and such a template can do all that Python can.
lm_eval.utils.env = SandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
lm_eval.utils.env.filters["regex_replace"] = lm_eval.utils.regex_replace
FILE_FORMATS = ("json", "csv", "parquet", "text", "arrow")  # datasets' own loaders of local files


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Switch off side work of lm-eval and datasets while the block runs.

    lm-eval always draws progress bars, spends 3 s per evaluation on a description of the machine (our records have
    one), and compiles a task's templates again for every doc (a tenth of the time of short multiple choice). The import
    of a task's Python file must not leave byte code in a stored suite.
    """
    compiled = lru_cache(256)(lm_eval.utils.env.from_string)
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets")]
    levels = [logger.level for logger in loggers]
    bars = not datasets.are_progress_bars_disabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with (
            patch.object(lm_eval.api.task, "tqdm", partial(lm_eval.api.task.tqdm, disable=True)),
            patch.object(lm_eval.evaluator, "add_env_info", lambda results: None),
            patch.object(lm_eval.evaluator, "get_git_commit_hash", lambda: None),
            patch.object(lm_eval.utils.env, "from_string", compiled),
            patch.object(sys, "dont_write_bytecode", True),
        ):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()


# ---------------------------------------------------------------------------------------------------- loading


def load(suite: Suite, folder: Path, eos: str | None) -> dict[str, tuple[str, Any]]:
    """Load the lm-eval tasks of a stored suite.

    Args:
        suite: The suite.
        folder: The stored suite: local and generated tasks lie below ``tasks/``.
        eos: The end of the model's turn, appended to the answers of generated tasks that request it.

    Returns:
        lm-eval task name -> (task name in the suite, lm-eval task). Groups and tags are expanded.

    Raises:
        RequestError: When a task or its data does not exist, the same lm-eval task is listed twice, or an
            answer needs an end of turn and the model has none.
    """
    return _load(suite, suite.tasks, folder, eos)


def _load(suite: Suite, names: Iterable[str], folder: Path, eos: str | None) -> dict[str, tuple[str, Any]]:
    loaded: dict[str, tuple[str, Any]] = {}
    # Data are read into memory and the cache is deleted, so that no old copy of a changed file is ever used.
    with quiet(), tempfile.TemporaryDirectory() as cache_folder:
        for name in names:
            task = suite.tasks[name]
            place = f"suite {suite.suite}: tasks.{name}"
            for subtask in _subtasks(place, name, task, folder, cache_folder):
                if subtask.task_name in loaded:
                    other = loaded[subtask.task_name][0]
                    raise RequestError(f"{place}: lm-eval task {subtask.task_name} is in tasks.{other} too")
                _configure(place, subtask, task, eos)
                loaded[subtask.task_name] = (name, subtask)
    return loaded


def _subtasks(place: str, name: str, task: Task, folder: Path, cache_folder: str) -> list[Any]:
    """Return the lm-eval tasks that one task of the suite stands for."""
    own = folder / "tasks" / name
    local = task.generator is not None or task.path is not None
    manager = TaskManager(include_path=str(own), include_defaults=False) if local else _registry()
    wanted = f"harness_{name}" if task.generator else task.task
    if wanted not in manager.all_tasks:
        where = f"the YAML files of {task.path}" if local else "lm-eval's registry"
        near = did_you_mean(wanted, manager.all_tasks)
        raise RequestError(f'{place}.task: no task is named "{wanted}" in {where}.{near}')
    if local:
        for member in _members(manager.task_index, wanted):
            _resolve_data(f"{place}.path", manager.task_index[member], own, cache_folder)
    try:
        return list(manager.load([wanted])["tasks"].values())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a task's own code, its YAML or the Hub may raise anything, SystemExit too
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        if line := trusted.own_line(error):
            reason = f"{line}: {trusted.said(error)}"
        raise RequestError(f"{place}: lm-eval cannot load {wanted}: {reason}") from error


@cache
def _registry() -> TaskManager:
    """Read the names of lm-eval's own tasks; takes about 10 s."""
    return TaskManager()


def _members(index: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield the names of the single tasks that a task, tag or group of an index stands for."""
    entry = index[name]
    children = (entry.cfg or {}).get("task") if entry.cfg else sorted(entry.tags)
    if not isinstance(children, list):
        yield name
        return
    for child in children:
        child_name = child if isinstance(child, str) else child.get("task", child.get("group"))
        if child_name in index:
            yield from _members(index, child_name)


def _resolve_data(place: str, entry: Any, folder: Path, cache_folder: str) -> None:
    """Replace an entry's data files by absolute paths: the JSON loader would look for them in the current directory.

    The paths are links in the cache folder: ``datasets`` would expand ``*``, ``[``, ``?`` and ``$NAME`` in the
    originals.
    """
    if entry.yaml_path is None:
        return
    config = load_yaml(entry.yaml_path)
    kwargs = config.get("dataset_kwargs") or {}
    if "data_files" not in kwargs or config.get("dataset_path") not in FILE_FORMATS:
        return  # other loaders take the names of files inside a Hub dataset
    yaml_path = entry.yaml_path
    links = Path(tempfile.mkdtemp(dir=cache_folder))
    files = _linked(f"{place}: {yaml_path.name}", kwargs["data_files"], yaml_path.parent, folder, links)
    config["dataset_kwargs"] = {
        **kwargs, "data_files": files, "cache_dir": cache_folder, "keep_in_memory": True,
    }  # fmt: skip
    entry.cfg, entry.yaml_path = config, None


def _linked(place: str, files: Any, start: Path, folder: Path, links: Path) -> Any:
    if isinstance(files, dict):
        return {split: _linked(place, inner, start, folder, links) for split, inner in files.items()}
    if isinstance(files, list):
        return [link for inner in files for link in _linked(place, inner, start, folder, links)]
    path = (start / str(files)).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise RequestError(f"{place}: data file {files} lies outside the task's folder")
    found = [path] if path.is_file() else sorted(start.glob(str(files)))
    if not found:
        near = did_you_mean(path.name, (p.name for p in start.iterdir()))
        raise RequestError(f"{place}: no such data file: {files}.{near}")
    made = []
    for file in found:
        link = links / f"{len(list(links.iterdir()))}{''.join(part for part in file.suffixes if part[1:].isalnum())}"
        link.symlink_to(file.resolve())
        made.append(str(link))
    return made


def _configure(place: str, subtask: Any, task: Task, eos: str | None) -> None:
    if task.fewshot is not None:
        subtask.set_config("num_fewshot", task.fewshot)
    shots = getattr(subtask, "fewshot_cfg", None)
    only_test = not (subtask.has_training_docs() or subtask.has_validation_docs())
    if shots is not None and shots.split is None and shots.samples is None and only_test:
        # lm-eval would draw examples from the test split, among them the item with its answer. When the test split
        # is named as the split of the examples, lm-eval leaves the item out.
        shots.split = subtask.get_config("test_split")
    if task.generator is not None and task.append_eos:
        if eos is None:
            raise RequestError(f"{place}.append_eos: the model has no end-of-turn token; set it to false")
        subtask.set_config("doc_to_target", lambda doc: doc["answer"] + eos)


# ---------------------------------------------------------------------------------------------------- listing


def materialize(suite: Suite, folder: Path) -> list[dict[str, Any]]:
    """List the items of all tasks that are not generated, in lm-eval's order.

    The function also writes ``<folder>/metrics.json``: task -> the names of its metrics, or null when only the task's
    own code knows them; ``<folder>/lower.json``: task -> metrics of which a lower value is better; and
    ``<folder>/asked.json``: lm-eval task -> digest of its prompts and scoring (``asked``).

    Args:
        suite: The suite. ``limit`` counts per lm-eval task, as in lm-eval.
        folder: The stored suite; local tasks are already copied to it.

    Returns:
        Items (``records.ITEM_COLUMNS`` without item_id and half), with the ``documents`` they are from when
        clusters are found by document.

    Raises:
        RequestError: When a task cannot be loaded, an item has no gold answer, or a slice, group or metric is
            named that the task does not have.
    """
    names = [name for name, task in suite.tasks.items() if task.generator is None]
    items: list[dict[str, Any]] = []
    metrics: dict[str, set[str] | None] = {name: set() for name in names}
    loaded = _load(suite, names, folder, None)
    for subtask, (name, lm_task) in loaded.items():
        task = suite.tasks[name]
        place = f"suite {suite.suite}: tasks.{name}"
        own, known = _metrics(place, task, lm_task), metrics[name]
        metrics[name] = None if own is None or known is None else known | own
        for index, doc in enumerate(lm_task.eval_docs):
            if task.limit is not None and index >= task.limit:
                break
            where = f"{place}: item {index} of {subtask}"
            question, answer, choices = read(where, lm_task, doc)
            part = None if subtask == task.task else subtask
            items.append(
                {
                    "task": name,
                    "subtask": subtask,
                    "index": index,
                    "doc_digest": doc_digest(doc),
                    "question": question,
                    "answer": answer,
                    "choices": choices,
                    "slice": _field(f"{place}.slice", task.slice, doc) if task.slice else part,
                    "group": _field(f"{place}.group", task.group_field(place, doc), doc),
                    "documents": documents(doc) if task.group is None else (),
                }
            )
    lower: dict[str, set[str]] = {name: set() for name in names}
    for name, lm_task in loaded.values():
        better = lm_task.higher_is_better() or {}
        lower[name] |= {metric for metric, higher in better.items() if higher is False}
    (folder / LOWER).write_text(json.dumps({name: sorted(found) for name, found in lower.items()}))
    listed = {name: None if known is None else sorted(known) for name, known in metrics.items()}
    (folder / "metrics.json").write_text(json.dumps(listed))
    (folder / ASKED).write_text(json.dumps({sub: asked(suite.tasks[name], one) for sub, (name, one) in loaded.items()}))
    return items


def asked(task: Task, lm_task: Any) -> str:
    """Return the digest of a task's prompts and scoring, as far as they are not in the stored suite.

    For lm-eval's own tasks the digest is over the resolved configuration (prompt, description, delimiters, filters,
    generation settings, metrics, ...) and the version of the package, whose code the task calls. For every task with
    examples it is also over the docs that the examples are drawn from: a data set on the Hub can change.
    """
    parts: dict[str, Any] = {}
    if task.path is None:
        parts = {"configuration": _described(vars(lm_task.config)), "lm-eval": version("lm-eval")}
    if lm_task.get_config("num_fewshot"):
        parts["examples"] = sequence_digest(doc_digest(doc) for doc in lm_task.fewshot_docs() or ())
    return digest(parts)


def _described(value: Any) -> Any:
    """Return a configuration as JSON values; a function counts by its name and source."""
    if isinstance(value, partial):
        return ["partial", _described(value.func), _described(value.args), _described(value.keywords)]
    if callable(value):
        try:
            source = inspect.getsource(value)
        except (OSError, TypeError):  # not written in Python; its package's version stands for its code
            source = ""
        return [getattr(value, "__qualname__", type(value).__qualname__), source]
    if dataclasses.is_dataclass(value):
        return _described(vars(value))
    if isinstance(value, Mapping):
        return {str(key): _described(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        parts = [_described(inner) for inner in value]
        return parts if isinstance(value, list | tuple) else sorted(parts, key=canonical_json)
    return _plain(value)


def read(place: str, lm_task: Any, doc: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    """Return question, gold answer and choices of a doc, in lm-eval's words.

    When the choices are contexts of one continuation (Winogrande), the gold context is the question.
    """
    choices = choices_of(lm_task, doc)
    text = lm_task.doc_to_text(doc)
    if getattr(lm_task, "multiple_input", 0):
        return choices[gold_position(place, lm_task, doc)], str(lm_task.doc_to_target(doc)), choices
    if choices:
        return str(text), choices[gold_position(place, lm_task, doc)], choices
    target = lm_task.doc_to_target(doc)
    if isinstance(target, list):
        target = target[0] if target else ""
    return str(text), str(target), []


def choices_of(lm_task: Any, doc: Mapping[str, Any]) -> list[str]:
    """Return a doc's answer options; empty for tasks without options."""
    if lm_task.get_config("doc_to_choice") is None:
        return []
    return [str(choice) for choice in lm_task.doc_to_choice(doc)]


def gold_position(place: str, lm_task: Any, doc: Mapping[str, Any]) -> int:
    """Return the position of the right option; the first one when lm-eval accepts several.

    Raises:
        RequestError: When the doc's label is not one of its options (unlabelled test sets).
    """
    choices = choices_of(lm_task, doc)
    gold = lm_task.doc_to_text(doc) if getattr(lm_task, "multiple_input", 0) else lm_task.doc_to_target(doc)
    if isinstance(gold, list) and gold:
        gold = gold[0]
    if isinstance(gold, str) and gold in choices:
        return choices.index(gold)
    if isinstance(gold, int) and 0 <= gold < len(choices):
        return int(gold)
    raise RequestError(f"{place}: the label {gold!r} is not one of the item's {len(choices)} options")


def doc_digest(doc: Mapping[str, Any]) -> str:
    """Return the digest of a doc's canonical JSON; values that JSON lacks count by their ``str()``."""
    return digest(_plain(doc))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # NaN and infinities have no canonical form
    return value if value is None or isinstance(value, str | bool | int) else str(value)


def _field(place: str, field: str | None, doc: Mapping[str, Any]) -> str | None:
    if field is None:
        return None
    if field not in doc:
        raise RequestError(f'{place}: an item has no field "{field}".{did_you_mean(field, doc)}')
    return None if doc[field] is None else str(doc[field])


def _metrics(place: str, task: Task, lm_task: Any) -> set[str] | None:
    """Return the metrics of a task's items; None when only a run of the task's own code shows them.

    Raises:
        RequestError: When the task's primary metric is none of them.
    """
    entries = lm_task.get_config("metric_list") or []
    own = any(entry.get("hf_evaluate") or callable(entry["metric"]) for entry in entries)
    if own or lm_task.OUTPUT_TYPE not in ADDED_METRICS or lm_task.get_config("process_results") is not None:
        return None  # checked on the first result
    names = set(lm_task.aggregation()) - OVER_ALL_ITEMS | set(ADDED_METRICS[lm_task.OUTPUT_TYPE])
    primary_metric(place, task, names)
    return names


def primary_metric(place: str, task: Task, names: Iterable[str]) -> str:
    """Return a task's primary metric: the one that the task names, else exact_match, else acc.

    Raises:
        RequestError: When the task has no such metric.
    """
    valid = set(names)
    if task.metric is not None:
        if task.metric not in valid:
            near = did_you_mean(task.metric, valid)
            raise RequestError(f'{place}.metric: the task has no metric "{task.metric}".{near}')
        return task.metric
    for name in ("exact_match", "acc"):
        if name in valid:
            return name
    near = did_you_mean("", valid)
    raise RequestError(f"{place}.metric is needed: the task has neither exact_match nor acc.{near}")
