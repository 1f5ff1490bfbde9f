"""How much of an item a row holds, word by word and in order, and what kind of overlap that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

from harness.data.contamination.items import EDITABLE, TEMPLATE, Item, blind, decides, is_number, names
from harness.data.contamination.misspelled import mistyped
from harness.data.text import Words, is_operator

HOLE = 3  # consecutive words of an item that are missing: the row holds only a part of it
REARRANGED = 0.75  # share of pairs kept when sentences change places; pairs across their ends are not
LEAK = 0.6  # share of pairs that templates keep, if no share is set for edited copies


@dataclass(frozen=True)
class Overlap:
    """A row and an item that overlap.

    Attributes:
        kind: ``exact``, ``whole``, ``ngram``, ``fuzzy``, ``template`` or ``semantic``.
        score: Share of the item's pairs of neighbouring words that the row holds, 0 to 1; for ``semantic`` the cosine.
        span: The row's words that match, from the first to the last.
        matched: Positions of the item's words that the row holds.
        part: Whether consecutive words of the item are missing: the row holds only a part of it.
    """

    kind: str
    score: float
    span: Words
    matched: Collection[int]
    part: bool = False


@dataclass(frozen=True)
class Alignment:
    """An item's words aligned with a row's words.

    Attributes:
        matched: For each word of the item, whether it is in the row.
        kept: For each pair of neighbours of the item, whether they are neighbours in the row.
        renamed: For each word of the item, whether it is a name in whose place the row has another name; such a word
            is ``matched`` as well.
        renumbered: Whether the row has another number in the place of one of the item's numbers.
        recalculated: Whether the row has another operator in the place of one of the item's operators.
        inserted: The most words that the row has more than the item at one place.
        low: Where in the row the match begins.
        high: Where it ends.
    """

    matched: list[bool]
    kept: list[bool]
    renamed: list[bool]
    renumbered: bool
    recalculated: bool
    inserted: int
    low: int
    high: int

    def score(self, *, renamed: bool = False) -> float:
        """Return the share of pairs kept; a pair with a changed name counts as kept only with ``renamed``."""
        kept = self.kept if renamed else [k and not any(self.renamed[i : i + 2]) for i, k in enumerate(self.kept)]
        return sum(kept) / max(len(kept), 1)

    def edits(self) -> list[int]:
        """Return, for each place where the row differs from the item, how many of the item's words are missing.

        The number is 0 where words were only inserted. A single word between two such places matches by chance.
        """
        ends = self.matched[0], self.matched[-1]
        lost = "".join(" " if pair else "x" for pair in (ends[0], *self.kept, ends[1]))
        return [len(run) - 1 for run in lost.split()]


Block = tuple[int, int, int]  # start in the item, start in the row, length


def align(item: Item, row: Words, low: int, high: int, raw: str, known: Collection[str] = ()) -> Alignment | None:
    """Align an item with a part of a row; return None if they share no words.

    A number matches any number, and a name any name, in the same place; the result states which of them differ. Words
    that only punctuation joins or splits (``don't``, ``dont``; ``exam-ple`` at the end of a line) are the same.

    Args:
        item: The item.
        row: The row's words.
        low: Start of the part of the row.
        high: End of the part of the row.
        raw: The row's text, which shows what is written as a name.
        known: Correctly spelled words: none of them is a mistyped other word.
    """
    part, core = row[low:high], item.core
    item.matcher.set_seq1(blind(part))
    blocks = _together([(b.b, b.a, b.size) for b in item.matcher.get_matching_blocks() if b.size], len(core))
    if not blocks:
        return None
    matched, renamed, kept = [False] * len(core), [False] * len(core), [False] * (len(core) - 1)
    renumbered = recalculated = False
    for own, other, size in blocks:
        matched[own : own + size] = [True] * size
        kept[own : own + size - 1] = [True] * (size - 1)
        here, there = core[own : own + size], part[other : other + size]
        other_words = [a for a, b in zip(here, there, strict=True) if a != b]  # equal only once they are blinded
        renumbered |= size > 1 and any(map(is_number, other_words))
        recalculated |= size > 1 and any(map(is_operator, other_words))
    inserted = 0
    row_names: frozenset[str] | None = None
    for own, own_end, other, other_end in _gaps(blocks, core, part):
        if own > 0 and own_end < len(core):
            inserted = max(inserted, other_end - other - (own_end - own))
        gap, there = core[own:own_end], part[other:other_end]
        same = "".join(gap) == "".join(there)
        if not same and len(gap) == len(there):
            if item.names.issuperset(gap) and row_names is None:
                row_names = names(raw)
            if item.names.issuperset(gap) and row_names is not None and row_names.issuperset(there):
                renamed[own:own_end] = [True] * len(gap)
                same = True
            elif all(b not in known and mistyped(a, b) for a, b in zip(gap, there, strict=True)):
                same = True
        if gap and same:
            matched[own:own_end] = [True] * len(gap)
            first, last = max(own - 1, 0), min(own_end, len(core) - 1)
            kept[first:last] = [True] * (last - first)
    return Alignment(
        matched,
        kept,
        renamed,
        renumbered,
        recalculated,
        inserted,
        low + blocks[0][1],
        low + blocks[-1][1] + blocks[-1][2],
    )


def _together(blocks: list[Block], size: int) -> list[Block]:
    """Return the longest block and those close to it; a word far from the others matches by chance."""
    if not blocks:
        return []
    middle = max(range(len(blocks)), key=lambda index: blocks[index][2])
    chosen = [blocks[middle]]
    for step in (-1, 1):
        edge = blocks[middle]
        for block in blocks[middle + step :: step] if step > 0 or middle > 0 else ():
            before, after = (block, edge) if step < 0 else (edge, block)
            own, other = after[0] - before[0] - before[2], after[1] - before[1] - before[2]
            if other - own <= (1 if block[2] == 1 else max(4, size // 3)):
                chosen.append(block)
                edge = block
    return sorted(chosen)


def _gaps(blocks: list[Block], core: Words, part: Words) -> list[tuple[int, int, int, int]]:
    """Return the gaps before, between and after the blocks: start and end in the item, start and end in the row."""
    own, other, _ = blocks[0]
    gaps = [(0, own, other - _letters(core[:own][::-1], part[:other][::-1]), other)]
    for (a, b, size), (a2, b2, _) in pairwise(blocks):
        gaps.append((a + size, a2, b + size, b2))
    own, other = blocks[-1][0] + blocks[-1][2], blocks[-1][1] + blocks[-1][2]
    gaps.append((own, len(core), other, other + _letters(core[own:], part[other:])))
    return gaps


def _letters(own: Words, other: Words) -> int:
    """Return how many of the row's words have together as many letters as the item's; else as many words as it has."""
    letters, total = sum(map(len, own)), 0
    for number, word in enumerate(other):
        if total == letters:
            return number
        total += len(word)
    return len(other) if total == letters else min(len(own), len(other))


def compare(
    item: Item,
    row: Words,
    low: int,
    high: int,
    raw: str,
    share: float | None,
    run: Words,
    known: Collection[str] = (),
) -> Overlap | None:
    """Return the overlap of an item and a part of a row, or None if there is none.

    Args:
        item: The item.
        row: The row's words.
        low: Start of the part of the row.
        high: End of the part of the row.
        raw: The row's text.
        share: The share of an item that an edited copy keeps; None: edited copies are not looked for.
        run: The longest run of the item's words that is evidence alone; empty: there is none.
        known: Correctly spelled words: none of them is a mistyped other word.
    """
    found = align(item, row, low, high, raw, known)
    if found is None:
        return None
    least = LEAK if share is None else share
    edits, size = found.edits(), len(item.core)
    hole = max(edits, default=0)
    span = row[found.low : found.high]
    matched = frozenset(index for index, m in enumerate(found.matched) if m)
    # In an edited copy single words differ; where a stretch is missing, the row holds a part, or something else.
    # An inserted word costs one pair; any other change costs two, also at the ends.
    few = sum(1 if missing == 0 else 2 for missing in edits) <= max(2, (1 - least) * size)
    word = item.units if item.units == 1 else 2 * item.units  # units that one changed word may remove
    whole = few and hole <= max(word, size // 5) and found.inserted <= max(4 * item.units, size // 3)
    part = hole >= HOLE * item.units
    same = found.score(renamed=True)
    only_names = any(found.renamed) and all(found.matched) and found.score(renamed=True) == 1
    numbered = any(is_number(word) for word in item.core)
    if (
        whole
        and same >= least
        and item.wording >= TEMPLATE
        and not found.recalculated
        and (found.renumbered or (only_names and not numbered))
    ):
        return Overlap("template", same, span, matched, part)
    if run:
        return Overlap("ngram", found.score(), run, matched, part)
    score = found.score()
    if (
        share is None
        or found.renumbered
        or found.recalculated
        or not whole
        or score < (share if item.wording >= EDITABLE else 1)
    ):
        return None if share is None else rearranged(item, row[max(low, 0) : high], share)
    return Overlap("fuzzy", score, span, matched, part)


def rearranged(item: Item, part: Words, share: float) -> Overlap | None:
    """Return the overlap if a part of a row holds nearly all of an item, with its sentences in another order.

    Args:
        item: The item.
        part: The row's words.
        share: The share of an item that an edited copy keeps.
    """
    if item.wording < EDITABLE:
        return None
    there, words_there = Counter(pairwise(part)), Counter(part)
    missing = Counter(item.core) - words_there
    if any(map(decides, missing)) or missing.total() * 10 > len(item.core):
        return None
    kept = []
    for pair in pairwise(item.core):
        kept.append(there[pair] > 0)
        there[pair] -= 1
    score = sum(kept) / max(len(kept), 1)
    if score < max(share, REARRANGED):
        return None
    own = set(item.core)
    places = [at for at, word in enumerate(part) if word in own]
    matched = frozenset(at for at in range(len(item.core)) if any(kept[max(at - 1, 0) : at + 1]))
    return Overlap("fuzzy", score, part[places[0] : places[-1] + 1], matched)
