"""Which training rows hold items of the suite: shared word n-grams; short items as a whole.

Linear time: what identifies an item is indexed in dicts, and rows stream past it. Wrappers ("Question: ...
Answer:") do not count: what all items of a task (or all prompts of a source) begin and end with is cut off,
and n-grams that many different items share are no evidence.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from harness.data.rows import OVERLAP_SCHEMA, Built, dropped, drops, row_text

Words = tuple[str, ...]
ANCHOR = 4  # words; items with fewer are only ever matched exactly
COMMON = 5  # an n-gram in more different items than this, and than SHARE of them, is boilerplate
SHARE = 0.05
OPERATORS = frozenset("+-*/^=")
SPELLINGS = str.maketrans(
    dict.fromkeys("‐‑‒–—−", "-") | {"×": "*", "÷": "/"} | dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff")
)
# Scripts without spaces are matched character by character; elsewhere a word is a run of letters and digits.
TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+|[-+*/^=]")


def words(text: str) -> Words:
    """Return the words of a text after NFKC and case folding; operators between numbers are words too.

    ``4-1`` equals ``4 - 1`` and differs from ``4 + 1``; a minus sign directly before a number counts as
    well. Any other punctuation, line breaks and kinds of quotes and spaces make no difference.
    """
    normal = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).translate(SPELLINGS).casefold())
    found = list(TOKEN.finditer(normal))
    kept: list[str] = []
    number_before = False  # whether the last token was a number, or an operator kept after one
    for index, match in enumerate(found):
        token = match.group()
        if token not in OPERATORS:
            kept.append(token)
            number_before = token[-1].isdigit()
            continue
        after = found[index + 1] if index + 1 < len(found) else None
        follows = after is not None and (after.group()[0].isdigit() or after.group() == "-")
        touches = after is not None and after.start() == match.end() and after.group()[0].isdigit()
        signs = token == "-" and touches and (match.start() == 0 or not normal[match.start() - 1].isalnum())
        if (number_before and follows) or signs:
            kept.append(token)
    return tuple(kept)


@dataclass(frozen=True)
class _Found:
    kind: str
    score: float
    span: Words


@dataclass
class _Index:
    """What identifies each item, by the position of the item."""

    ngram: int
    grams: dict[Words, list[int]] = field(default_factory=lambda: defaultdict(list))
    sizes: Counter[int] = field(default_factory=Counter)  # item -> its number of distinct n-grams in `grams`
    wholes: dict[Words, list[tuple[int, int, Words]]] = field(default_factory=lambda: defaultdict(list))
    exacts: dict[Words, list[int]] = field(default_factory=lambda: defaultdict(list))

    def search(self, text: Words, alone: Iterable[Words]) -> Iterator[tuple[int, _Found]]:
        """Yield the items in a row, once each, in the order of the suite.

        Args:
            text: All of the row's words.
            alone: The parts of the row that could be an item as they stand.
        """
        found: dict[int, _Found] = {}
        starts: dict[int, list[int]] = defaultdict(list)
        for start, gram in _grams(text, self.ngram):
            for item in self.grams.get(gram, ()):
                starts[item].append(start)
        for item, places in starts.items():
            shared = len({text[start : start + self.ngram] for start in places})
            found[item] = _Found("ngram", shared / self.sizes[item], self._longest(text, places))
        for start, anchor in _grams(text, ANCHOR):
            for item, offset, whole in self.wholes.get(anchor, ()):
                first = start - offset
                end = first + len(whole)
                if first >= 0 and text[first:end] == whole and not _cuts_expression(text, first, end):
                    found.setdefault(item, _Found("whole", 1.0, whole))
        for part in alone:
            for item in self.exacts.get(part, ()):
                found.setdefault(item, _Found("exact", 1.0, part))
        yield from sorted(found.items())

    def _longest(self, text: Words, starts: list[int]) -> Words:
        best = run = (starts[0], starts[0])
        for start in starts[1:]:
            run = (run[0], start) if start <= run[1] + 1 else (start, start)
            best = max(best, run, key=lambda r: r[1] - r[0])
        return text[best[0] : best[1] + self.ngram]


def overlaps(rows: pl.DataFrame, items: pl.DataFrame, ngram: int = 13) -> pl.DataFrame:
    """Find the suite's items in training rows.

    An item is its question; without words there, its gold answer. Cut free of its task's wrapper, an item of
    at least ``ngram`` words is found by any ``ngram`` words in a row that are not boilerplate (in more than
    5 different items and 5% of them); a shorter one by all its words in a row (``whole``); one of fewer than
    4 words only where a row's prompt, or its whole text, is the item (``exact``), or where it stands in its
    whole wrapper.

    Args:
        rows: Columns ``rows.SCHEMA``.
        items: Columns ``records.ITEM_COLUMNS``.
        ngram: Words in a run that is taken as evidence.

    Returns:
        One line per row (content and source) and item, in the order of rows, then items. ``score`` is the
        share of the item's n-grams found, 1 for ``whole`` and ``exact``; ``span`` is the longest run of
        words matched.
    """
    index = _build(items, ngram)
    listed = list(items.select("item_id", "task").iter_rows())
    lines = []
    unique = rows.unique(["row_id", "source"], keep="first", maintain_order=True)
    for row, text, alone in _row_words(unique):
        for item, hit in index.search(text, alone):
            item_id, task = listed[item]
            lines.append((row["row_id"], row["source"], item_id, task, hit.kind, hit.score, " ".join(hit.span)))
    return pl.DataFrame(lines, schema=OVERLAP_SCHEMA, orient="row")


def remove(rows: pl.DataFrame, overlaps: pl.DataFrame) -> Built:
    """Drop the rows that overlap an item (operation ``decontaminate``)."""
    first: dict[str, dict[str, Any]] = {}
    for line in overlaps.iter_rows(named=True):
        first.setdefault(line["row_id"], line)
    ledger = []
    for row in rows.iter_rows(named=True):
        if row["row_id"] in first:
            line = first[row["row_id"]]
            reason = f'{line["kind"]} overlap with {line["task"]}/{line["item_id"]}: "{line["span"]}"'
            ledger.append(dropped(row, "decontaminate", reason))
    return Built(rows.filter(~pl.col("row_id").is_in(list(first))), drops(ledger))


def _build(items: pl.DataFrame, ngram: int) -> _Index:
    full = []
    for item in items.iter_rows(named=True):
        full.append(words(item["question"] or "") or words(item["answer"] or ""))
    groups = items["subtask"].to_list()
    cores = _unwrapped(full, groups)
    boilerplate = _boilerplate(cores, groups, ngram)
    cores = _trimmed(cores, ngram, boilerplate)
    index = _Index(ngram)
    wholes: list[tuple[int, Words]] = []
    for number, (text, core) in enumerate(zip(full, cores, strict=True)):
        evidence = _evidence(core, ngram, boilerplate) if len(core) >= max(ngram, ANCHOR) else set()
        for gram in evidence:
            index.grams[gram].append(number)
        index.sizes[number] = len(evidence)
        if not evidence and len(core) >= ANCHOR:
            wholes.append((number, core))
        elif len(core) < ANCHOR:
            for form in {core, text} - {()}:
                index.exacts[form].append(number)
            if len(text) >= ANCHOR:
                wholes.append((number, text))
    # Each whole is filed under the rarest of its 4-grams: a common one ("what is the most") would cost time.
    count = Counter(gram for _, whole in wholes for _, gram in _grams(whole, ANCHOR))
    for number, whole in wholes:
        offset, anchor = min(_grams(whole, ANCHOR), key=lambda pair: (count[pair[1]], pair[0]))
        index.wholes[anchor].append((number, offset, whole))
    return index


def _covered(core: Words, ngram: int, boilerplate: Collection[Words]) -> set[int]:
    return {start + step for start, gram in _grams(core, ngram) if gram in boilerplate for step in range(ngram)}


def _trimmed(cores: list[Words], ngram: int, boilerplate: Collection[Words]) -> list[Words]:
    """Cut boilerplate off both ends, where what remains belongs to one item only.

    A question that several items ask about different passages identifies none of them.
    """
    bare = {}
    for core in set(cores):
        covered = _covered(core, ngram, boilerplate)
        own = [at for at in range(len(core)) if at not in covered]
        bare[core] = core[own[0] : own[-1] + 1] if own else core
    count = Counter(bare.values())
    return [bare[core] if count[bare[core]] == 1 else core for core in cores]


def _evidence(core: Words, ngram: int, boilerplate: Collection[Words]) -> set[Words]:
    """Return the n-grams that identify an item: at least half of their words are outside boilerplate."""
    covered = _covered(core, ngram, boilerplate)
    return {
        gram
        for start, gram in _grams(core, ngram)
        if gram not in boilerplate and sum(start + step in covered for step in range(ngram)) * 2 <= ngram
    }


def _boilerplate(cores: list[Words], groups: list[str], ngram: int) -> set[Words]:
    """Return the n-grams in more than COMMON, and SHARE, of the different items of the suite or of a task."""
    found: set[Words] = set()
    for group in (None, *dict.fromkeys(groups)):
        different = {core for core, its in zip(cores, groups, strict=True) if group in (None, its)}
        count = Counter(gram for core in different for gram in {gram for _, gram in _grams(core, ngram)})
        found |= {gram for gram, items in count.items() if items > max(COMMON, SHARE * len(different))}
    return found


def _unwrapped(texts: list[Words], groups: list[str]) -> list[Words]:
    """Cut off the words that all of a group's different texts begin with, and those they end with."""
    members: dict[str, set[Words]] = defaultdict(set)
    for text, group in zip(texts, groups, strict=True):
        if text:
            members[group].add(text)
    cuts = {group: _wrapper(different) if len(different) > COMMON else (0, 0) for group, different in members.items()}
    cores = []
    for text, group in zip(texts, groups, strict=True):
        head, tail = cuts.get(group, (0, 0))
        cores.append(text[head : len(text) - tail])
    return cores


def _wrapper(texts: Collection[Words]) -> tuple[int, int]:
    """Return how many words all texts share at the start and at the end; each keeps at least one."""
    low, high, shortest = min(texts), max(texts), min(map(len, texts))
    head = _shared(low, high, shortest - 1)
    backward = [text[::-1] for text in texts]
    return head, _shared(min(backward), max(backward), shortest - 1 - head)


def _shared(one: Words, other: Words, limit: int) -> int:
    # Of sorted texts, the first and the last share exactly what all share.
    return next((at for at in range(limit) if one[at] != other[at]), limit)


def _row_words(rows: pl.DataFrame) -> Iterator[tuple[dict[str, Any], Words, tuple[Words, ...]]]:
    """Yield each row with all its words and with the parts that could be an item as they stand."""
    records = list(rows.iter_rows(named=True))
    prompts = [words(record["prompt"] or "") for record in records]
    bare = _unwrapped(prompts, rows["source"].to_list())
    for record, prompt, core in zip(records, prompts, bare, strict=True):
        text = words(row_text(record))
        turns = json.loads(record["messages"] or "[]")
        said = (words(turn["content"]) for turn in turns if turn["role"] != "assistant")
        yield record, text, (prompt, core, text, *said)


def _grams(text: Words, size: int) -> Iterator[tuple[int, Words]]:
    for start in range(len(text) - size + 1):
        yield start, text[start : start + size]


def _cuts_expression(text: Words, start: int, end: int) -> bool:
    """Whether a match is only a part of a sum: "4 - 1" is not in "4 - 1 + 7"."""
    arithmetic = OPERATORS - {"="}
    before = start > 0 and text[start - 1] in arithmetic and text[start][0].isdigit()
    after = end < len(text) and text[end] in arithmetic and text[end - 1][-1].isdigit()
    return before or after
