"""Items carved out of the user's own rows: which rows go, and the lm-eval task they become."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from harness.clusters import Asked, clusters
from harness.data import duplicates
from harness.data.generators import number
from harness.data.rows import ranked
from harness.errors import RequestError
from harness.escaping import excerpt
from harness.identity import unit_hash
from harness.scaffold.columns import MOST_LABELS
from harness.scaffold.look import Pool

Kind = Literal["labels", "distractors", "exact", "likelihood", "rolling", "preferred"]
TASK = "own"
FEWEST = 30  # rows below which a source gives none of them away, where another can
SHARE, MOST = 0.2, 200  # of all rows, and items in all: each costs a forward pass per run
LEAST = 8
# Where items are long: so many, or as many as come to so many characters (a minute on a CPU). A study that may take
# less than so many minutes has fewer, down to half.
ENOUGH, READ, UNHURRIED = 60, 60_000, 20.0
LONGEST = 6000  # characters of an item; a longer row trains
EXCERPT = 1500  # characters of a held-out text that are scored
SHORT_WORDS, SHORT_CHARACTERS = 6, 60
DISTRACTORS = 3
METRIC: dict[Kind, tuple[str, float]] = {  # what decides, and the smallest effect that is worth finding
    "labels": ("acc", 0.05),
    "distractors": ("acc", 0.05),
    "exact": ("exact_match", 0.05),
    "preferred": ("acc", 0.05),
    "likelihood": ("gold_logprob_per_token", 0.05),
    "rolling": ("gold_logprob_per_byte", 0.02),
}
WORDS: dict[Kind, str] = {
    "labels": "acc: the right label is more likely than every other label",
    "distractors": "acc: the right answer is more likely than three answers of other rows",
    "exact": "exact_match: the most likely continuation begins with the right answer",
    "preferred": "acc: the chosen answer is more likely than the rejected one",
    "likelihood": "gold_logprob_per_token: how likely the model finds your own answer (log, per token; 0 is certain)",
    "rolling": "gold_logprob_per_byte: how likely the model finds the text (log, per byte; 0 is certain)",
}


@dataclass
class HeldOut:
    """Items, and the rows they cost.

    Attributes:
        kind: How they are asked.
        docs: What lm-eval reads, one per item.
        taken: Source -> positions of the rows that must not train: the items' own, rows with the same question, and
            all rows of a group that an item is from.
        items: Source -> number of items.
    """

    kind: Kind
    docs: list[dict[str, Any]]
    taken: dict[str, set[int]]
    items: dict[str, int]

    @property
    def metric(self) -> str:
        """What the study decides on."""
        return METRIC[self.kind][0]

    def clusters(self) -> tuple[int, float]:
        """Return the number of clusters that the items are in, and their typical size (Kish 1965)."""
        asked = [
            Asked(str(at), question=doc["question"], options=tuple(doc.get("choices") or [doc["answer"]]))
            for at, doc in enumerate(self.docs)
        ]
        found = clusters(asked)
        sizes = list(Counter(found.get(one.item, one.item) for one in asked).values())
        return len(sizes), sum(size**2 for size in sizes) / max(1, len(asked))

    @property
    def characters(self) -> int:
        """Text that goes through the model in one evaluation, roughly."""
        return sum(len(doc["question"]) + sum(map(len, doc.get("choices") or [doc["answer"]])) for doc in self.docs)


def carve(pools: Sequence[Pool], minutes: float = UNHURRIED) -> HeldOut:
    """Take items out of sources: as many of each as far as they go, from small ones none where others have enough.

    Args:
        pools: The sources.
        minutes: How long the study may take: every run answers every item.

    Raises:
        RequestError: No row can be held out.
    """
    giving = [pool for pool in pools if pool.rows.height >= FEWEST] or [max(pools, key=lambda p: p.rows.height)]
    total = sum(pool.rows.height for pool in giving)
    mean = sum(pool.parts["whole row"].str.len_chars().sum() for pool in giving) / total
    read = READ * min(1.0, max(0.5, minutes / UNHURRIED))
    wanted = max(LEAST, min(int(SHARE * total), MOST, max(ENOUGH, int(read / float(mean)))))
    taken: dict[str, set[int]] = {pool.name: set() for pool in pools}
    chosen: list[tuple[Pool, int]] = []
    left = wanted
    for index, pool in enumerate(sorted(giving, key=lambda p: p.rows.height)):
        share = min(-(-left // (len(giving) - index)), max(LEAST, int(SHARE * pool.rows.height)))
        items, taken[pool.name] = _choose(pool, share)
        chosen += [(pool, item) for item in items]
        left -= len(items)
    if not chosen:
        raise _none(max(giving, key=lambda pool: pool.rows.height))
    return _held_out(chosen, taken, several=len(giving) > 1)


def given(pool: Pool) -> HeldOut:
    """Make items of rows that the user keeps for testing; none of them trains anyway.

    Raises:
        RequestError: No row can be an item.
    """
    items, _ = _choose(pool, MOST)
    if not items:
        raise _none(pool)
    return _held_out([(pool, item) for item in items], {}, several=False)


def _choose(pool: Pool, wanted: int) -> tuple[list[int], set[int]]:
    """Return positions of items, in an order that depends on the rows' content alone, and of rows that go with them."""
    questions = duplicates.clusters(_asked(pool)).to_list()
    groups = pool.rows["group"].to_list()
    pairs = list(zip(groups, questions, strict=True))
    keys = [f"question {question}" if group is None else f"group {group}" for group, question in pairs]
    sizes = Counter(keys)
    lengths = pool.parts["whole row"].str.len_chars().to_list()
    order = ranked(pool.rows, "held out")
    first = {key: rank for rank, key in reversed(list(enumerate(keys[position] for position in order)))}
    seen: set[int] = set()
    opened: set[str] = set()
    items: list[int] = []
    for position in sorted(order, key=lambda position: first[keys[position]]):  # a group that is opened is used up
        key, question = keys[position], questions[position]
        too_long = lengths[position] > LONGEST and pool.shape != "text"
        unfit = question in seen or too_long or position in pool.wrong or sizes[key] > max(LEAST, wanted // 4)
        if len(items) < wanted and not unfit:
            opened.add(key)
            seen.add(question)
            items.append(position)
    return sorted(items), {at for at, key in enumerate(keys) if key in opened or questions[at] in seen}


def _asked(pool: Pool) -> pl.Series:
    """Return what every row asks."""
    asked = pool.parts["prompt"] if pool.shape in ("completion", "messages", "chosen") else pool.parts["text"]
    return asked.fill_null("")


def _none(pool: Pool) -> RequestError:
    """Say why no row of a pool can be an item."""
    questions = duplicates.clusters(_asked(pool))
    long = int((pool.parts["whole row"].str.len_chars() > LONGEST).sum()) if pool.shape != "text" else 0
    if questions.n_unique() < max(2, LEAST, pool.rows.height // LEAST):
        same = "the same" if questions.n_unique() == 1 else f"one of {questions.n_unique():,} questions"
        why = f'its {pool.rows.height:,} rows all ask {same} ("{excerpt(_asked(pool)[0], 60)}")'
    elif long:
        why = f"{long:,} of its {pool.rows.height:,} rows are longer than {LONGEST:,} characters"
    elif len(pool.wrong) == pool.rows.height:
        why = "every completion ends in another number than the answer column gives"
    else:
        why = "nearly all of its rows belong to a few groups"
    return RequestError(
        f"{pool.name}: no row can be held out to test on: {why}; give questions of their own with --eval FILE, or say "
        "with --field what the prompt is"
    )


def _held_out(chosen: Sequence[tuple[Pool, int]], taken: dict[str, set[int]], *, several: bool) -> HeldOut:
    docs = []
    for pool, position in chosen:
        row = pool.rows.row(position, named=True)
        doc = _doc(row)
        doc["id"] = f"{pool.name}-{position}"
        doc["slice"] = pool.name if several else row["slice"]
        doc["group"] = row["group"]
        docs.append(doc)
    kind = _kind(chosen[0][0].shape, docs)
    if kind in ("labels", "distractors"):
        _offer(docs, kind)
    for column in ("slice", "group"):
        if any(doc[column] is None for doc in docs):
            for doc in docs:
                del doc[column]
    return HeldOut(kind, docs, taken, dict(Counter(pool.name for pool, _ in chosen)))


def _doc(row: Mapping[str, Any]) -> dict[str, Any]:
    if row["text"] is not None:
        text = str(row["text"])
        short = text if len(text) <= EXCERPT else text[:EXCERPT].rsplit(" ", 1)[0]
        return {"question": "", "answer": short}
    turns = json.loads(row["messages"]) if row["messages"] else []
    if row["chosen"] is not None:
        question = row["prompt"] if row["prompt"] is not None else _said(turns)
        options = [row["chosen"], row["rejected"]]
        label = unit_hash("preferred", row["row_id"]) % 2  # else the first option would always be right
        choices = options if label == 0 else options[::-1]
        return {"question": question, "answer": row["chosen"], "choices": choices, "label": label}
    if turns:
        return {"question": _said(turns[:-1]), "answer": turns[-1]["content"]}
    return {"question": row["prompt"] or "", "answer": row["completion"]}


def _said(turns: Sequence[Mapping[str, str]]) -> str:
    """Return a conversation so far as one message: lm-eval asks a question in one turn."""
    return "\n\n".join(turn["content"] for turn in turns)


def _kind(shape: str, docs: Sequence[Mapping[str, Any]]) -> Kind:
    if shape in ("text", "chosen"):
        return "rolling" if shape == "text" else "preferred"
    answers = [doc["answer"].strip() for doc in docs]
    different = set(answers)
    brief = [len(text.split()) <= SHORT_WORDS and len(text) <= SHORT_CHARACTERS for text in answers]
    if statistics.mean(brief) < 0.95:
        return "likelihood"
    if 1 < len(different) <= MOST_LABELS and len(answers) >= 3 * len(different):
        return "labels"
    if all(number(answer) is not None for answer in answers):
        return "exact"
    return "distractors" if len(different) > 2 * DISTRACTORS else "likelihood"


def _offer(docs: Sequence[dict[str, Any]], kind: Kind) -> None:
    """Put answers beside each other: all labels, or the right answer among some of other items."""
    every = sorted({doc["answer"] for doc in docs})
    for doc in docs:
        if kind == "labels":
            choices = every
        else:
            near = {other["answer"] for other in docs if other["slice"] == doc["slice"]} - {doc["answer"]}
            far = set(every) - near - {doc["answer"]}
            order = [*_shuffled(near, doc["question"]), *_shuffled(far, doc["question"])]
            choices = _shuffled({doc["answer"], *order[:DISTRACTORS]}, doc["question"], "order")
        doc |= {"choices": choices, "label": choices.index(doc["answer"])}


def _shuffled(texts: set[str], *parts: str) -> list[str]:
    return sorted(texts, key=lambda text: (unit_hash(*parts, text), text))


def task(name: str, held: HeldOut) -> dict[str, Any]:
    """Return the lm-eval task (the contents of its YAML file) that asks the items of ``<TASK>.jsonl``."""
    config: dict[str, Any] = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": f"{TASK}.jsonl"}},
        "test_split": "test",
    }
    # lm-eval wants a metric of its own; the harness adds exact match and log-likelihoods, which lm-eval's acc repeats.
    metric: dict[str, Any] = {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}
    if held.kind in ("labels", "distractors", "preferred"):
        config |= {"output_type": "multiple_choice", "doc_to_text": "question"}
        config |= {"doc_to_choice": "choices", "doc_to_target": "label"}
        metric = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
    elif held.kind == "rolling":
        config |= {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "answer"}
        metric = {"metric": "byte_perplexity"}
    else:
        config |= {"output_type": "loglikelihood", "doc_to_text": "question", "doc_to_target": "answer"}
    return config | {"target_delimiter": "", "metric_list": [metric]}


def items(held: HeldOut) -> pl.DataFrame:
    """Return the items as decontamination wants them (``records.ITEM_COLUMNS``), before lm-eval has listed them."""
    from harness.records import ITEM_COLUMNS

    types = {"str": pl.String(), "str?": pl.String(), "int": pl.Int64(), "list[str]": pl.List(pl.String())}
    rows = [
        {
            "item_id": doc["id"], "task": TASK, "subtask": TASK, "index": index, "doc_digest": doc["id"],
            "question": doc["question"], "answer": doc["answer"], "choices": doc.get("choices", []),
            "slice": None, "group": None, "half": "selection",
        }
        for index, doc in enumerate(held.docs)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema={column: types[kind] for column, kind in ITEM_COLUMNS.items()})
