"""Decides on hits that need all rows: passages that many rows share, wrappers, and the order of overlaps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from harness.data.contamination.compare import Overlap
from harness.data.contamination.items import COMMON, ItemIndex, read
from harness.data.rows import OVERLAP_SCHEMA
from harness.data.text import OPERATORS, Words, amount, joined
from harness.identity import unit_hash
from harness.spec import Decontaminate

PROMPT = 16  # words of a prompt that may be a wrapper around an item of fewer than 4

Frame = tuple[str, Words, Words]  # a source, and the words before and after an item in its prompts


@dataclass(frozen=True)
class Hit:
    """An item found in a row.

    Attributes:
        row: The row's number among all that are searched.
        item: The item's number in the suite.
        overlap: What row and item have in common.
        words: A hash of all the row's words: copies of a row are one document.
    """

    row: int
    item: int
    overlap: Overlap
    words: int


def uncommon(hits: Iterable[Hit], suite: ItemIndex, rule: Decontaminate) -> list[Hit]:
    """Return the hits without passages that many different rows share without the rest of the item.

    Only rows that are not removed are counted, so that a search of the remaining rows finds nothing new.
    """
    best: dict[tuple[int, int], Hit] = {}
    for hit in hits:
        best.setdefault((hit.row, hit.item), hit)
    sure = [hit for hit in best.values() if not hit.overlap.part]
    parts = [hit for hit in best.values() if hit.overlap.part]
    gone = {hit.row for hit in sure if removes(hit.overlap.kind, rule)}
    while True:
        different: dict[tuple[int, int], set[int]] = defaultdict(set)
        for hit in parts:
            if hit.row not in gone:
                for place in hit.overlap.matched:
                    if len(different[hit.item, place]) <= COMMON:  # more need not be counted
                        different[hit.item, place].add(hit.words)
        rare = [hit for hit in parts if hit.row in gone or _rare(hit, different, suite.ngram)]
        more = {hit.row for hit in rare if removes(hit.overlap.kind, rule)} - gone
        if not more:
            return sure + [hit for hit in rare if _rare(hit, different, suite.ngram)]
        gone |= more


def removes(kind: str, rule: Decontaminate) -> bool:
    """Whether rows with an overlap of this kind are removed: always, but ``template`` only if ``templates: drop``."""
    return kind != "template" or rule.templates == "drop"


def ordered(hits: Iterable[Hit]) -> list[Hit]:
    """Return hits by row, the best item first: templates and paraphrases last, then by words in common."""
    return sorted(
        hits, key=lambda hit: (hit.row, hit.overlap.kind in ("template", "semantic"), -_weight(hit.overlap), hit.item)
    )


def table(hits: Sequence[Hit], where: pl.DataFrame, suite: ItemIndex) -> pl.DataFrame:
    """Return hits as a table (columns ``records.OVERLAP_COLUMNS``).

    Args:
        hits: One for each line of the table.
        where: ``row_id`` and ``source`` of each hit's row.
        suite: The items.
    """
    items = [suite.items[hit.item] for hit in hits]
    return where.with_columns(
        pl.Series("item_id", [item.item_id for item in items], pl.String),
        pl.Series("task", [item.task for item in items], pl.String),
        pl.Series("kind", [hit.overlap.kind for hit in hits], pl.String),
        pl.Series("score", [hit.overlap.score for hit in hits], pl.Float64),
        pl.Series("span", [joined(hit.overlap.span) for hit in hits], pl.String),
    ).select(list(OVERLAP_SCHEMA))


def _rare(hit: Hit, different: Mapping[tuple[int, int], set[int]], ngram: int) -> bool:
    """Whether the words of a hit are evidence, not counting those that many different rows share."""
    matched = hit.overlap.matched
    own = sum(len(different.get((hit.item, place), ())) <= COMMON for place in matched)
    return own >= ngram or own * 2 >= len(matched)


def _weight(overlap: Overlap) -> float:
    if overlap.kind == "semantic":
        return overlap.score
    return overlap.score * max(len(overlap.matched), 1) * len(overlap.span)


# ---------------------------------------------------------------- the shortest items, inside words that prompts share


def frames(prompts: pl.DataFrame, suite: ItemIndex) -> set[Frame]:
    """Return the frames around items of fewer than 4 words in short prompts.

    Args:
        prompts: ``source``, ``prompt`` and ``row`` (its number).
        suite: The items.
    """
    return {frame for _, frame, _ in _inside(prompts, suite)}


def around(prompts: pl.DataFrame, wanted: set[Frame], longest: int) -> dict[Frame, set[int]]:
    """Return frame -> hashes of the different prompts with this frame, at most ``COMMON`` + 1 of them.

    The results for several parts of the rows can be joined (``shared``).

    Args:
        prompts: ``source``, ``prompt`` and ``row`` (its number).
        wanted: The frames.
        longest: The most words that may be inside a frame.
    """
    found: dict[Frame, set[int]] = defaultdict(set)
    for source, _, prompt in _short(prompts) if wanted else ():
        for head, _, tail in _splits(prompt, longest):
            frame = (source, head, tail)
            if frame in wanted and len(found[frame]) <= COMMON:
                found[frame].add(unit_hash(*prompt))
    return dict(found)


def shared(counted: Iterable[Mapping[Frame, set[int]]]) -> set[Frame]:
    """Return the frames that more than ``COMMON`` different prompts share, given the result of ``around`` by part."""
    total: dict[Frame, set[int]] = defaultdict(set)
    for part in counted:
        for frame, different in part.items():
            total[frame] |= different
    return {frame for frame, different in total.items() if len(different) > COMMON}


def wrapped(prompts: pl.DataFrame, wrappers: set[Frame], suite: ItemIndex) -> list[Hit]:
    """Find the shortest items in prompts, inside wrappers."""
    return [
        Hit(row, item, Overlap("exact", 1.0, core, ()), 0)
        for row, frame, core in (_inside(prompts, suite) if wrappers else ())
        if frame in wrappers
        for item in suite.exacts[core]
    ]


def _inside(prompts: pl.DataFrame, suite: ItemIndex) -> Iterable[tuple[int, Frame, Words]]:
    """Yield row, frame and item wherever a short prompt holds one of the shortest items."""
    longest = suite.longest
    for source, row, prompt in _short(prompts):
        for head, core, tail in _splits(prompt, longest):
            if core in suite.exacts and not cuts_expression(prompt, len(head), len(prompt) - len(tail)):
                yield row, (source, head, tail), core


def _short(prompts: pl.DataFrame) -> Iterable[tuple[str, int, Words]]:
    """Yield source, row and words of the prompts that are short enough to be a wrapper around an item."""
    for source, prompt, row in prompts.iter_rows():
        if amount(found := read(prompt)) <= PROMPT:
            yield source, row, found


def _splits(prompt: Words, longest: int) -> Iterable[tuple[Words, Words, Words]]:
    """Yield every split of a short prompt into the words before, 1 to ``longest`` words, and the words after."""
    for start in range(len(prompt)):
        for end in range(start + 1, min(start + longest, len(prompt)) + 1):
            yield prompt[:start], prompt[start:end], prompt[end:]


def cuts_expression(text: Words, start: int, end: int) -> bool:
    """Whether a match is only a part of a sum: "4 - 1" is not in "4 - 1 + 7"."""
    arithmetic = OPERATORS - {"="}
    before = start > 0 and text[start - 1] in arithmetic
    after = end < len(text) and text[end] in arithmetic
    return before or after
