"""Paraphrases: rows that ask what an item asks, in other words.

Two sentences about one subject are close in meaning whether or not they ask the same: "Which gas do plants take in?"
and "Which gas do plants give off?" So closeness alone is no evidence. The row must give the item's answer as well, or,
if the row is one text, hold at least two numbers of the item; and in any case its numbers must be those of the item.

First, each row is compared with all items by weighted means of word vectors (Arora, Liang and Ma 2017), in one product
of matrices. Then pairs without evidence are dropped, and the model reads only the remaining pairs.
"""

from __future__ import annotations

import json
import math
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import ThreadpoolController

from harness.data.contamination.compare import Overlap
from harness.data.contamination.items import SHORT, Item, ItemIndex, is_number, read
from harness.data.contamination.numerals import quantities
from harness.data.minilm import KEPT, Floats, minilm
from harness.data.text import Words, joined

LIKELY = 0.5  # least cosine of the means of word vectors at which the model reads a pair
REPLY = 6  # words; no row is expected to repeat a longer answer word by word
LEAST_NUMBERS = 2  # numbers of an item that are evidence without an answer
LONGER = 4  # times the item's words: in a longer row, other words outweigh the item
OTHER = 0.15  # least share of a paraphrase's words that are not the item's; with fewer, other kinds of overlap decide
PLAIN = 0.9  # least share of letters that are ASCII: the model has read English
USUAL = 100  # added to the number of items, so that a word is not taken for common only because a suite is small
REMEMBERED = 200_000  # words whose vectors are in memory at a time
AT_ONCE = 2048  # rows that are compared with all items at a time
WORD = r"\w+(?:[.:,'’]\w+)*"
ANY_ANSWER = {("yes",), ("no",), ("true",), ("false",), ("none",)}  # answers that any row may have


@dataclass(frozen=True)
class _Asked:
    """An item for which paraphrases are looked for.

    Attributes:
        number: The item's number in the suite.
        text: What it asks.
        core: Its words.
        numbers: All its numbers except one and two, which are words as well ("a pair").
        reply: The words of its answer; empty if no row can be expected to repeat them.
        echoed: Whether its question holds its answer.
    """

    number: int
    text: str
    core: Words
    numbers: frozenset[str]
    reply: Words
    echoed: bool


@dataclass(frozen=True)
class _Row:
    """What a row asks, and what it answers; ``answer`` is empty if the row is one text."""

    asked: str
    answer: str


class Meaning:
    """Finds paraphrases of a suite's items, a batch of rows at a time."""

    def __init__(self, suite: ItemIndex, threshold: float) -> None:
        """Prepare the items.

        Args:
            suite: The items.
            threshold: Cosine of sentence embeddings from which two questions ask the same.

        Raises:
            RequestError: The package with the model is not installed.
        """
        self._threshold = threshold
        self._model = minilm()
        # The matrices are small: threads of the library wait for each other longer than they work, most of all on a
        # busy machine.
        self._threads = ThreadpoolController()
        self._items = [asked for number, item in enumerate(suite.items) if (asked := _asked(number, item)) is not None]
        cores = [item.core for item in self._items]
        self._rarity = _rarity(cores)
        self._ids: dict[str, int] = {}
        self._vectors: Floats = np.zeros((0, KEPT), np.float32)
        with self._threads.limit(limits=1, user_api="blas"):
            self._wanted = self._summed(cores) if cores else np.zeros((0, KEPT), np.float32)
        self._numbers = _bits([item.numbers for item in self._items])
        self._embedded: dict[int, Floats] = {}

    def find(
        self, rows: pl.DataFrame, raw: Sequence[str], texts: Sequence[Words], known: Collection[tuple[int, int]]
    ) -> Iterator[tuple[int, int, Overlap]]:
        """Yield the number of a row in a batch, the number of the item that it paraphrases, and the overlap.

        Args:
            rows: Columns ``rows.SCHEMA``.
            raw: The whole text of each row.
            texts: The words of each row.
            known: Pairs (row, item) that overlap in words already; they are not looked at again.
        """
        if not self._items:
            return
        parts = _split(rows, raw)
        asked = [
            text[:words] if all_of_it.startswith(part.asked) else read(part.asked)
            for part, all_of_it, text, words in zip(parts, raw, texts, _lengths(parts), strict=True)
        ]
        candidates = []
        with self._threads.limit(limits=1, user_api="blas"):
            for start in range(0, len(asked), AT_ONCE):
                for at, which in self._likely(asked[start : start + AT_ONCE]):
                    row, item = start + at, self._items[which]
                    long = len(asked[row]) > LONGER * len(item.core)
                    if not long and (row, item.number) not in known and _evident(item, parts[row]):
                        candidates.append((row, item))
            found = list(self._close(candidates, parts))
        yield from found

    def _likely(self, asked: Sequence[Words]) -> list[tuple[int, int]]:
        """Return pairs (row, item) whose word vectors are close, if the row may hold all of the item's numbers."""
        row, item = np.nonzero(self._summed(asked) @ self._wanted.T >= LIKELY)
        held = np.unique(row)
        numbers = np.zeros(len(asked), np.uint64)
        numbers[held] = _bits([quantities(asked[number]) for number in held.tolist()])
        there = (self._numbers[item] & ~numbers[row]) == 0
        return list(zip(row[there].tolist(), item[there].tolist(), strict=True))

    def _summed(self, texts: Sequence[Words]) -> Floats:
        """Return the sum of the vectors of each text's distinct words, scaled to length 1."""
        distinct = [*map(frozenset, texts)]
        ends = np.cumsum([0, *map(len, distinct)])
        if len(self._ids) > REMEMBERED:
            self._ids, self._vectors = {}, self._vectors[:0]
        new = [word for word in dict.fromkeys(chain.from_iterable(distinct)) if word not in self._ids]
        if new:
            rarity = np.array([self._rarity.get(word, 1.0) for word in new], np.float32)
            self._ids |= zip(new, range(len(self._ids), len(self._ids) + len(new)), strict=True)
            self._vectors = np.concatenate([self._vectors, self._model.words(new) * rarity[:, None]])
        ids = np.fromiter(map(self._ids.__getitem__, chain.from_iterable(distinct)), np.int32, ends[-1])
        sums = csr_matrix((np.ones(len(ids), np.float32), ids, ends), (len(texts), len(self._ids))) @ self._vectors
        made: Floats = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
        return made

    def _close(
        self, candidates: Sequence[tuple[int, _Asked]], parts: Sequence[_Row]
    ) -> Iterator[tuple[int, int, Overlap]]:
        """Yield the candidates whose sentence embeddings have a cosine of at least the threshold."""
        items = {item.number: item for _, item in candidates if item.number not in self._embedded}
        made = self._model.sentences([item.text for item in items.values()])
        self._embedded |= zip(items, made, strict=True)
        rows = list(dict.fromkeys(row for row, _ in candidates))
        read_by_model = dict(zip(rows, self._model.sentences([parts[row].asked for row in rows]), strict=True))
        for row, item in candidates:
            # Rounded to digits that do not depend on which texts the model read together.
            cosine = round(float(read_by_model[row] @ self._embedded[item.number]), 4)
            if cosine >= self._threshold:
                yield row, item.number, Overlap("semantic", cosine, tuple(parts[row].asked.split()), ())


def _asked(number: int, item: Item) -> _Asked | None:
    """Return an item prepared for the search, or None if no row could have the evidence for it."""
    if item.wording < SHORT or item.generic or not _plain(item.raw):
        return None
    reply = item.answer
    if len(reply) > REPLY:  # a solution that ends in its result, as in "... so she has #### 12"
        reply = reply[-1:] if is_number(reply[-1]) else ()
    if reply in ANY_ANSWER or (len(reply) == 1 and len(reply[0]) == 1 and not is_number(reply[0])):
        reply = ()
    numbers = quantities(item.core)
    if not reply and len(numbers) < LEAST_NUMBERS:
        return None
    return _Asked(number, joined(item.core), item.core, numbers, reply, _holds(item.core, reply))


def _evident(item: _Asked, row: _Row) -> bool:
    """Whether a row holds the evidence that it asks what an item asks."""
    if not _plain(row.asked):
        return False
    asked = read(row.asked)
    used = set(asked)
    if len(used - set(item.core)) < OTHER * len(used):
        return False
    shown = _answers(read(row.answer), item.reply) if row.answer else len(item.numbers) >= LEAST_NUMBERS
    return (shown or (not item.echoed and _holds(asked, item.reply))) and item.numbers == quantities(asked)


def _answers(answer: Words, reply: Words) -> bool:
    """Whether an answer gives a reply; a number must be its first or last, as those between may be steps."""
    if len(reply) == 1 and is_number(reply[0]):
        numbers = [word for word in answer if is_number(word)]
        return bool(numbers) and reply[0] in (numbers[0], numbers[-1])
    return _holds(answer, reply)


def _holds(text: Words, reply: Words) -> bool:
    return bool(reply) and f" {' '.join(reply)} " in f" {' '.join(text)} "


def _plain(text: str) -> bool:
    """Whether a text is written in the letters of English."""
    letters = sum(map(str.isalpha, text))
    return text.isascii() or sum(letter.isascii() for letter in text if letter.isalpha()) >= PLAIN * letters


def _split(rows: pl.DataFrame, raw: Sequence[str]) -> list[_Row]:
    """Split rows into what they ask and what they answer.

    In a row of one text, the lines after the last question are the answer.
    """
    found = []
    columns = (rows["prompt"], rows["completion"], rows["messages"])
    for prompt, completion, messages, text in zip(*columns, raw, strict=True):
        if messages is not None:
            turns = json.loads(messages)
            asked, answer = (
                "\n".join(turn["content"] for turn in turns if turn["role"] == role) for role in ("user", "assistant")
            )
        elif prompt is not None and completion:
            asked, answer = prompt, completion
        else:
            end = text.find("\n", text.rfind("?")) if "?" in text else -1
            asked, answer = (text, "") if end < 0 else (text[:end], text[end:].strip())
        found.append(_Row(asked, answer))
    return found


def _lengths(parts: Sequence[_Row]) -> list[int]:
    """Return the approximate number of words in each row's question."""
    return pl.Series([part.asked for part in parts], dtype=pl.String).str.count_matches(WORD).to_list()


def _rarity(cores: Sequence[Words]) -> dict[str, float]:
    """Return the weight of each word of the items: below 1, and the lower the more items have the word."""
    items = Counter(chain.from_iterable(map(frozenset, cores)))
    total = len(cores) + USUAL
    return {word: math.log(total / (held + 1)) / math.log(total) for word, held in items.items()}


def _bits(numbers: Iterable[frozenset[str]]) -> NDArray[np.uint64]:
    """Return a mask of 64 bits for each set of numbers: comparing masks excludes most texts that lack a number."""
    found = [sum({1 << zlib.crc32(number.encode()) % 64 for number in group}) for group in numbers]
    return np.array(found, np.uint64)
