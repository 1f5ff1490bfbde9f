"""Which training rows hold items of the suite, and how.

Kinds of overlap, between a row and an item:

- ``exact``: an item of fewer than 4 words is a row's prompt, its whole text or, from 2 words on, one of its lines or
  sentences (a sentence of 2 words only in a row of at most 32). The item stands alone, or in
  ``Question: ... Answer:``, or (prompts only) inside a wrapper that more than 5 different prompts of the source share.
- ``whole``: all words, in order, of an item that is shorter than an n-gram (13 words) or has only boilerplate n-grams.
  A part of a longer sum does not count. An item of 3 words counts only in a row with one of its answers or choices.
- ``ngram``: 13 consecutive words of an item that are not boilerplate.
- ``fuzzy``: an edited copy: at least ``fuzzy`` (0.6) of the item's pairs of neighbouring words are neighbours in the
  row, in order, without a long stretch missing, and every number and operator is the same. The item has at least 6
  words that are no numbers; a shorter one may only have mistyped words. Or the item with its sentences in another
  order: three quarters of the pairs, nearly all words and all numbers.
- ``template``: the same wording with other numbers (or, in items without numbers, other names). That is another
  problem, so the row is removed only with ``templates: drop``. The item has at least 8 words that are no numbers.
- ``semantic``: a paraphrase: the same question in other words, by sentence embeddings (cosine at least ``semantic``,
  by default 0.7), with the same numbers, in a row that gives the item's answer or, if the row is one text, two numbers
  of the item. English only; by default off for suites of 2,000 items and more.

``harness.data.text`` defines words; numbers become digits. Two units of a script without spaces count as a word.

An item is its question, or its gold answer if it has no question; a shared answer, or shared choices alone, are no
evidence. A question that more than 5 items with different answers ask ("Which of these is true?") counts only where the
item's answer, or one of its choices, is in the row as well.

Text that many items or rows share is no evidence. In items: words that all of a task's items begin or end with are cut
off, and n-grams in more than 5 different items and 2% of them are boilerplate. In rows: where more than 5 different
rows hold a passage of an item and lack a stretch of the rest, they quote the same text as the item, and the passage
counts for none of them. A row that also has the rest always counts, however many such rows there are; so an item whose
whole text is a famous quotation is found in every row that quotes it. Copies of one row count as one row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import polars as pl

from harness.data.contamination.compare import HOLE, LEAK, Overlap, compare
from harness.data.contamination.items import SHORT, Item, ItemIndex, decides, index, read
from harness.data.contamination.meaning import Meaning
from harness.data.contamination.scan import Found, Scanner
from harness.data.contamination.settle import (
    PROMPT,
    Hit,
    around,
    cuts_expression,
    frames,
    ordered,
    removes,
    shared,
    table,
    uncommon,
    wrapped,
)
from harness.data.rows import Built, dropped, drops, row_text
from harness.data.text import Words, amount
from harness.identity import unit_hash
from harness.records import CONTENT_COLUMNS
from harness.spec import Decontaminate

BATCH = 8192  # rows whose words are in memory at once
SAMPLE = 4000  # rows that show which words are rare
LINE = 80  # characters; a longer line is not compared as a whole with items of a few words
SENTENCE = re.compile(r"(?<=[.?!;])\s+|[:()\[\]\"“”«»|>…。？！：；（）「」？؟।॥]+|\s[-–—]+\s")
BEGINNING = re.compile(rf"{SENTENCE.pattern}|,\s|\s+(?=[A-Z])")
ASKING = 32  # words; in a longer row no sentence is an item of two words
FRAME = frozenset(["q", "a", "question", "answer", "problem"])

Progress = Callable[[int, int], None]


def overlaps(
    rows: pl.DataFrame, items: pl.DataFrame, rule: Decontaminate, on_progress: Progress | None = None
) -> pl.DataFrame:
    """Find the suite's items in training rows.

    Args:
        rows: Columns ``rows.SCHEMA``.
        items: Columns ``records.ITEM_COLUMNS``.
        rule: Which overlaps count.
        on_progress: Called with (rows done, rows in all).

    Returns:
        One line per row (content and source) and item, rows in order, the best item first. ``score`` is the share of
        the item's pairs of neighbouring words that the row holds (for ``semantic``: the cosine); ``span`` the words
        of the row that match.
    """
    unique = rows.unique(["row_id", "source"], keep="first", maintain_order=True)
    search = Search(items, rule, unique.gather_every(max(1, unique.height // SAMPLE)))
    for start in range(0, unique.height, BATCH):
        search.add(unique.slice(start, BATCH))
        if on_progress is not None:
            on_progress(min(start + BATCH, unique.height), unique.height)
    return search.overlaps()


def removable(overlaps: pl.DataFrame, rule: Decontaminate) -> pl.DataFrame:
    """Return the overlaps whose rows are removed: all, but templates only with ``templates: drop``."""
    kinds = [kind for kind in overlaps["kind"].unique() if removes(kind, rule)]
    return overlaps.filter(pl.col("kind").is_in(kinds))


def remove(rows: pl.DataFrame, overlaps: pl.DataFrame, rule: Decontaminate) -> Built:
    """Drop the rows that overlap an item (operation ``decontaminate``)."""
    first: dict[str, dict[str, Any]] = {}
    for line in removable(overlaps, rule).iter_rows(named=True):
        first.setdefault(line["row_id"], line)
    gone = pl.col("row_id").is_in(list(first))
    ledger = []
    for row in rows.filter(gone).iter_rows(named=True):
        line = first[row["row_id"]]
        reason = f'{line["kind"]} overlap with {line["task"]}/{line["item_id"]}: "{line["span"]}"'
        ledger.append(dropped(row, "decontaminate", reason))
    return Built(rows.filter(~gone), drops(ledger))


def short_prompts(rows: pl.DataFrame, first: int = 0) -> pl.DataFrame:
    """Return ``source``, ``prompt`` and ``row`` (a number from ``first`` on) of prompts that may be wrappers."""
    where = pl.int_range(first, first + rows.height, dtype=pl.Int64)
    prompts = rows.select("source", "prompt", where.alias("row"))
    return prompts.filter(pl.col("prompt").str.len_chars() <= PROMPT * 16)


class Search:
    """Finds overlaps: ``add`` takes rows batch by batch, ``overlaps`` returns what was found in all of them."""

    def __init__(self, items: pl.DataFrame, rule: Decontaminate, sample: pl.DataFrame) -> None:
        """Read the suite.

        Args:
            items: Columns ``records.ITEM_COLUMNS``.
            rule: Which overlaps count.
            sample: Some of the rows to search. They change the running time, not the result.
        """
        self.rule = rule = rule.settled(items.height)
        self.suite: ItemIndex = index(items, rule.ngram)
        self._meaning = None if rule.semantic is None else Meaning(self.suite, float(rule.semantic))
        self.scanner = Scanner(self.suite, LEAK if rule.fuzzy is None else rule.fuzzy, map(read, _texts(sample)))
        self._ids: list[pl.DataFrame] = []
        self._prompts: list[pl.DataFrame] = []  # only for items of fewer than 4 words
        self._hits: list[Hit] = []
        self._rows = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Search a batch of rows (columns ``rows.SCHEMA``)."""
        raw = _texts(rows)
        texts = [read(text) for text in raw]
        found = self.scanner.scan(texts)
        judged = self._judged(found, raw, texts)
        if self._meaning is not None:
            judged |= {(row, item): overlap for row, item, overlap in self._meaning.find(rows, raw, texts, judged)}
        for (row, item), overlap in judged.items():
            self._hits.append(Hit(self._rows + row, item, overlap, unit_hash(*texts[row])))
        if self.suite.exacts:
            self._exact(rows, raw, texts)
        self._ids.append(rows.select("row_id", "source"))
        self._rows += rows.height

    def taken(self) -> tuple[list[Hit], pl.DataFrame]:
        """Return the hits in the rows added so far, without items inside wrappers, and forget these rows.

        Returns:
            The hits, and a table with ``row_id`` and ``source`` of every row, by the row's number.
        """
        hits, ids = self._hits, self._where()
        self._hits, self._ids, self._prompts, self._rows = [], [], [], 0
        return hits, ids

    def overlaps(self) -> pl.DataFrame:
        """Return all overlaps (columns ``records.OVERLAP_COLUMNS``)."""
        hits = uncommon([*self._hits, *self._wrapped()], self.suite, self.rule)
        hits = ordered(hits)
        return table(hits, self._where()[[hit.row for hit in hits]], self.suite)

    def _where(self) -> pl.DataFrame:
        return pl.concat(self._ids) if self._ids else pl.DataFrame(schema={"row_id": pl.String, "source": pl.String})

    def _wrapped(self) -> list[Hit]:
        if not self._prompts:
            return []
        prompts = pl.concat(self._prompts)
        wrappers = shared([around(prompts, frames(prompts, self.suite), self.suite.longest)])
        return wrapped(prompts, wrappers, self.suite)

    # ------------------------------------------------------------------------------------------------- row and item

    def _judged(self, found: Found, raw: Sequence[str], texts: Sequence[Words]) -> dict[tuple[int, int], Overlap]:
        judged: dict[tuple[int, int], Overlap] = {}
        for (row, number), places in found.wholes.items():
            item, text = self.suite.items[number], texts[row]
            for first, end in places:
                short = amount(text[first:end]) < SHORT
                if not cuts_expression(text, first, end) and self._named(item, text, short):
                    judged[row, number] = _all("whole", item, text[first:end])
        for (row, number), starts in found.runs.items():
            item, text = self.suite.items[number], texts[row]
            if not self._named(item, text):
                continue
            low, high = _longest(starts, self.suite.ngram)
            if high - low == len(item.core):
                judged[row, number] = _all("ngram", item, text[low:high])
                continue
            if amount(text[low:high]) < self.suite.ngram:
                continue  # 13 units of a script without spaces are not 13 words
            near = found.near.get((row, number), (low, high))
            if self.scanner.indexed(number) and low <= near[0] and near[1] <= high:
                # The rest of the item is not around the run, so only its numbers need a closer look.
                piece = _piece(item, text[low:high], self.suite.ngram)
                if not any(decides(word) for at, word in enumerate(item.core) if at not in piece.matched):
                    judged[row, number] = piece
                    continue
            overlap = self._compared(item, text, low, high, raw[row], text[low:high])
            if overlap is not None:
                judged[row, number] = overlap
        for (row, number), (low, high) in found.near.items():
            item, text = self.suite.items[number], texts[row]
            if (row, number) not in judged and self._named(item, text):
                overlap = self._compared(item, text, low, high, raw[row], ())
                if overlap is not None:
                    judged[row, number] = overlap
        return judged

    def _compared(self, item: Item, text: Words, low: int, high: int, raw: str, run: Words) -> Overlap | None:
        beside = len(item.core) + 4
        return compare(
            item, text, max(0, low - beside), high + beside, raw, self.rule.fuzzy, run, self.suite.vocabulary
        )

    def _named(self, item: Item, text: Words, short: bool = False) -> bool:
        """Whether a row that asks an item's question means this item: a generic or short one needs a reply as well."""
        if not (item.generic or short):
            return True
        spaced = f" {' '.join(text)} "
        return any(f" {' '.join(reply)} " in spaced for reply in item.replies)

    # ---------------------------------------------------------------------------------------- items of a few words

    def _exact(self, rows: pl.DataFrame, raw: Sequence[str], texts: Sequence[Words]) -> None:
        """Find items of fewer than 4 words where they stand alone."""
        for number, (prompt, all_of_it, text) in enumerate(zip(rows["prompt"], raw, texts, strict=True)):
            if not self.suite.holds_exact(text):
                continue
            forms = [read(prompt or ""), text, *_sentences(all_of_it, amount(text), self.suite.longest)]
            for part in dict.fromkeys([*forms, *map(_unframed, forms)]):
                for item in self.suite.exacts.get(part, ()):
                    if self._named(self.suite.items[item], text):
                        overlap = Overlap("exact", 1.0, part, ())
                        self._hits.append(Hit(self._rows + number, item, overlap, 0))
        self._prompts.append(short_prompts(rows, self._rows))


def _texts(rows: pl.DataFrame) -> list[str]:
    """Return the whole text of each row."""
    if rows["messages"].null_count() < rows.height:
        return [row_text(row) for row in rows.iter_rows(named=True)]
    columns = [name for name in CONTENT_COLUMNS if name != "messages"]
    return rows.select(pl.concat_str(columns, separator="\n", ignore_nulls=True)).to_series().to_list()


def _all(kind: str, item: Item, span: Words) -> Overlap:
    return Overlap(kind, 1.0, span, range(len(item.core)))


def _piece(item: Item, run: Words, ngram: int) -> Overlap:
    """Return the overlap of a row that holds one run of an item's words and little else of it."""
    size, start = len(item.core), item.starts[run[:ngram]]
    missing = max(start, size - start - len(run))
    held = range(start, start + len(run))
    return Overlap("ngram", (len(run) - 1) / (size - 1), run, held, missing >= HOLE)


def _longest(starts: Sequence[int], size: int) -> tuple[int, int]:
    """Return start and end of the longest stretch covered by runs of ``size`` words that begin at ``starts``."""
    best = run = (starts[0], starts[0])
    for start in starts[1:]:
        run = (run[0], start) if start <= run[1] + 1 else (start, start)
        best = max(best, run, key=lambda r: r[1] - r[0])
    return best[0], best[1] + size


def _sentences(text: str, size: float, longest: int) -> Iterator[Words]:
    """Yield the lines and sentences of a text that may be an item of a few words.

    In a text of at most ``ASKING`` words, a capital letter may begin a sentence; in longer texts, a sentence of two
    words is no item.

    Args:
        text: The text.
        size: Number of words in the text.
        longest: The most words of such an item.
    """
    short = size <= ASKING
    for line in text.splitlines():
        if len(line) <= LINE and amount(found := read(line)) > 1:
            yield found
        parts = [read(part) for part in (BEGINNING if short else SENTENCE).split(line) if part]
        for start in range(len(parts) if len(parts) > 1 else 0):
            together: Words = ()
            for part in parts[start:]:
                together += part
                if len(together) > longest:
                    break
                if amount(together) >= (2 if short else 3):
                    yield together


def _unframed(text: Words) -> Words:
    """Return a text without the words of the plainest wrappers ("question", "answer") at its ends."""
    start, end = 0, len(text)
    while start < end and text[start] in FRAME:
        start += 1
    while start < end and text[end - 1] in FRAME:
        end -= 1
    return text[start:end]
