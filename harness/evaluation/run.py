"""Evaluates a model on a stored suite with lm-eval, item by item, and checks the items against their digests."""

from __future__ import annotations

import datetime
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import polars as pl
from lm_eval.tasks import TaskManager

from harness.errors import RequestError, StepError
from harness.evaluation import tasks
from harness.evaluation.scorer import Scorer
from harness.records import ASKED, TaskScore
from harness.spec import DATE, Suite

KEPT = ("item_id", "task", "subtask", "slice", "group", "half")
Loaded = Mapping[str, tuple[str, Any]]


@dataclass
class Outcome:
    """The result of an evaluation.

    ``items`` has a row per item of the suite, in the suite's order: item_id, task, subtask, slice, group,
    half, and a float column per metric, null where the item's task does not have it. ``seconds`` is wall
    time with the loading of the tasks; ``tokens`` counts the tokens that went through the model, prompts but not
    padding. ``scored`` counts the tokens whose logits were computed (of log-likelihoods). ``shared_context`` says
    whether common starts of inputs were computed once (None: no inputs had one).
    """

    items: pl.DataFrame
    scores: list[TaskScore]
    seconds: float
    tokens: int
    shared_context: bool | None = None
    scored: int = 0


def evaluate(
    model: Any,
    tokenizer: Any,
    suite: Suite,
    folder: Path,
    *,
    date: datetime.date = DATE,
    batch_tokens: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Evaluate a model on every pinned item of a suite.

    Metrics per item are lm-eval's (all that are one number per item; when a task has several filters, those
    of the first), and from the log-likelihoods: ``gold_logprob`` (nats), ``gold_logprob_per_token`` (tokens
    scored, end of turn included), ``gold_logprob_per_byte`` (UTF-8 bytes of the item's answer),
    ``exact_match`` of loglikelihood tasks (the answer is what greedy decoding gives), and for multiple choice
    ``margin`` (gold minus best other option, nats) and ``choice_prob`` (softmax over the options). lm-eval's
    ``perplexity`` is left out: per item it is the log-likelihood again.

    Args:
        model: A causal language model, adapters included, on its device.
        tokenizer: Its tokenizer; its ``eos_token`` ends generated answers.
        suite: The suite.
        folder: The stored suite.
        date: The date for chat templates that write today's date, as in the recipe of the training.
        batch_tokens: Tokens per forward pass; by default 1024 on a CPU (4096 took 10-25% longer there), else 16384.
            Changes speed and memory, and scores only by float rounding.
        on_progress: Called with the number of items done and of all items.

    Raises:
        RequestError: When a task's metric does not exist, or the tokenizer lacks something that the suite needs.
        StepError: When a task's docs, examples or configuration are no longer the pinned ones, or the model's scores
            are not numbers.
    """
    pinned = pl.read_parquet(folder / "items.parquet", glob=False)
    return _evaluate(model, tokenizer, suite, folder, pinned, date, batch_tokens, on_progress)


def rehearse(model: Any, tokenizer: Any, suite: Suite, folder: Path, *, date: datetime.date = DATE) -> None:
    """Evaluate a model on the longest and the shortest item of every task; the scores are not kept.

    An evaluation that is bound to fail (a kind of layer, a task's own code, a metric, memory) fails here, in seconds,
    and not after training.

    Raises:
        As ``evaluate``, or whatever a model's or a task's own code raises.
    """
    pinned = pl.read_parquet(folder / "items.parquet", glob=False)
    length = pl.col("question").str.len_chars() + pl.col("choices").list.join("").str.len_chars()
    ranked = pinned.with_row_index("at").sort(length, "at")
    chosen = ranked.group_by("subtask").agg(pl.col("at").first(), pl.col("at").last().alias("last"))
    some = pinned[sorted({*chosen["at"], *chosen["last"]})]
    _evaluate(model, tokenizer, suite, folder, some, date)


def _evaluate(
    model: Any,
    tokenizer: Any,
    suite: Suite,
    folder: Path,
    pinned: pl.DataFrame,
    date: datetime.date,
    batch_tokens: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Evaluate a model on the given items of a suite."""
    started = time.monotonic()
    if suite.chat_template and not tokenizer.chat_template:
        raise RequestError(f"suite {suite.suite}: chat_template: the tokenizer has none; set it to false")
    loaded = tasks.load(suite, folder, tokenizer.eos_token)
    indices = _check_pins(suite, pinned, loaded)
    _check_asked(suite, folder, loaded)
    batch_tokens = batch_tokens or (1024 if model.device.type == "cpu" else 16384)
    training = model.training
    try:
        with tasks.quiet():
            scorer = Scorer(model, tokenizer, batch_tokens, on_progress, len(pinned), date)
            results = lm_eval.simple_evaluate(
                model=scorer,
                tasks=[loaded[subtask][1] for subtask in indices],
                task_manager=TaskManager(include_defaults=False),  # else lm-eval reads all of its own, 10 s
                # lm-eval looks every doc up in this list; without a list it takes all docs, and is much faster.
                samples={s: i for s, i in indices.items() if len(i) < len(loaded[s][1].eval_docs)} or None,
                log_samples=True,
                bootstrap_iters=0,
                apply_chat_template=suite.chat_template,
            )
    finally:
        model.train(training)
    rows = {
        (subtask, sample["doc_id"]): _metrics(loaded[subtask][1], sample, scorer.continuation_tokens)
        for subtask in indices
        for sample in _first_filter(results["samples"][subtask])
    }
    items = _table(pinned, rows)
    scores = [_score(suite, name, items, pinned, loaded) for name in suite.tasks]
    return Outcome(items, scores, time.monotonic() - started, scorer.tokens, scorer.shared_context, scorer.scored)


def _check_pins(suite: Suite, pinned: pl.DataFrame, loaded: Loaded) -> dict[str, list[int]]:
    """Compare every pinned doc with its digest; return lm-eval task -> positions of its pinned docs."""
    indices: dict[str, list[int]] = {}
    for subtask, index, expected in pinned.select("subtask", "index", "doc_digest").iter_rows():
        docs = loaded[subtask][1].eval_docs if subtask in loaded else []
        if index >= len(docs) or tasks.doc_digest(docs[index]) != expected:
            raise StepError(
                f"suite {suite.suite}: item {index} of {subtask} is no longer the pinned one: "
                "the task's data changed after the suite was stored"
            )
        indices.setdefault(subtask, []).append(index)
    # lm-eval numbers the docs it takes by their place in a sorted list.
    return {subtask: sorted(found) for subtask, found in indices.items()}


def _check_asked(suite: Suite, folder: Path, loaded: Loaded) -> None:
    """Compare the digests of prompts and scoring with those in the stored suite (see ``tasks.asked``)."""
    for subtask, expected in json.loads((folder / ASKED).read_text()).items():
        name, lm_task = loaded[subtask]
        if tasks.asked(suite.tasks[name], lm_task) != expected:
            raise StepError(
                f"suite {suite.suite}: the prompts or the scoring of {subtask} changed after the suite was "
                "stored: its configuration, the docs of its examples, or lm-eval's version"
            )


def _first_filter(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [sample for sample in samples if sample["filter"] == samples[0]["filter"]]


def _metrics(lm_task: Any, sample: Mapping[str, Any], token_counts: Mapping[tuple[str, str], int]) -> dict[str, float]:
    """Return every metric of one item."""
    metrics = {
        name: float(sample[name])
        for name in sample["metrics"]
        if name != "perplexity" and isinstance(sample[name], int | float | np.number)
    }
    kind = lm_task.OUTPUT_TYPE
    responses = [responses[0] for responses in sample["resps"]]
    if kind == "multiple_choice":
        gold = tasks.gold_position(str(sample["doc_id"]), lm_task, sample["doc"])
        options = [response[0] for response in responses[: len(tasks.choices_of(lm_task, sample["doc"]))]]
        others = [value for position, value in enumerate(options) if position != gold]
        if others:
            metrics["margin"] = options[gold] - max(others)
        metrics["choice_prob"] = float(np.exp(options[gold] - np.logaddexp.reduce(options)))
    elif kind == "loglikelihood" and len(responses) == 1:
        gold = 0
        metrics.setdefault("exact_match", float(responses[0][1]))
    elif kind == "loglikelihood_rolling":
        metrics["gold_logprob"] = float(responses[0])
        return metrics
    else:
        return metrics
    metrics["gold_logprob"] = responses[gold][0]
    metrics["gold_logprob_per_token"] = responses[gold][0] / token_counts[sample["arguments"][gold]]
    return metrics


def _table(pinned: pl.DataFrame, rows: Mapping[tuple[str, int], dict[str, float]]) -> pl.DataFrame:
    """Put the metrics beside the pinned items, in their order."""
    names = sorted({name for metrics in rows.values() for name in metrics} | {"gold_logprob_per_byte"})
    found = [dict(rows[key]) for key in pinned.select("subtask", "index").iter_rows()]
    for metrics, answer in zip(found, pinned["answer"], strict=True):
        if "gold_logprob" in metrics and answer:
            metrics["gold_logprob_per_byte"] = metrics["gold_logprob"] / len(answer.encode())
    table = pl.DataFrame(found, schema=dict.fromkeys(names, pl.Float64))
    kept = [name for name in names if table[name].null_count() < len(table)]
    return pinned.select(KEPT).hstack(table.select(kept))


def _score(suite: Suite, name: str, items: pl.DataFrame, pinned: pl.DataFrame, loaded: Loaded) -> TaskScore:
    """Return the means of one task over its items."""
    own = items.filter(pl.col("task") == name).drop(KEPT)
    values = {column: own[column].drop_nulls().to_numpy() for column in own.columns}
    values = {column: found for column, found in values.items() if len(found)}
    primary = tasks.primary_metric(f"suite {suite.suite}: tasks.{name}", suite.tasks[name], values)
    return TaskScore(
        task=name,
        items=len(own),
        metrics={column: float(found.mean()) for column, found in values.items()},
        stderr={
            column: float(found.std(ddof=1) / math.sqrt(len(found)))
            for column, found in values.items()
            if len(found) > 1
        },
        majority=_majority(pinned.filter(pl.col("task") == name), loaded),
        primary=primary,
    )


def _majority(pinned: pl.DataFrame, loaded: Loaded) -> float:
    """Return the share of items right when the most frequent answer is always given.

    For multiple choice the most frequent position, else the most frequent text.
    """
    answers: Counter[str | int] = Counter()
    for subtask, index, answer in pinned.select("subtask", "index", "answer").iter_rows():
        lm_task = loaded[subtask][1]
        multiple_choice = lm_task.OUTPUT_TYPE == "multiple_choice"
        doc = lm_task.eval_docs[index] if multiple_choice else None
        answers[answer if doc is None else tasks.gold_position(subtask, lm_task, doc)] += 1
    return answers.most_common(1)[0][1] / len(pinned)
