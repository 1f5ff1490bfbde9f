"""Finds the few (row, item) pairs that need a closer look, with numpy over word ids, a batch of rows at a time.

Hashes and counts only choose candidates here; ``compare.py`` decides on a candidate by its words.

An edited copy that keeps a share s of an item's pairs of neighbouring words must hold at least k of any
floor((1 - s) n) + k of its n pairs (prefix filtering; Chaudhuri, Ganti and Kaushik 2006, Bayardo, Ma and Srikant
2007). So every item is indexed by only so many of its pairs, the rarest ones, and a row is a candidate where k of them
stand close together.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from harness.data.contamination.items import ANCHOR, NUMBER, SHORT, SIGN, ItemIndex, is_number, pairs
from harness.data.contamination.misspelled import Mistyped
from harness.data.text import Words, is_operator

Ints = NDArray[np.int64]
HITS = (2, 6)  # a candidate needs 2 to 6 rare pairs in one place, more for a longer item
SLACK = 0.1  # subtracted from the share: words joined or split by punctuation look like edits here
BRIEF = 8  # words; in an item that is no longer, a mistyped word leaves too few pairs to look it up by
REMEMBERED = 1_000_000  # words of no item that are in memory at a time
_BLIND = {"#": NUMBER, "±": SIGN}
MIX = np.uint64(0x9E3779B97F4A7C15)  # an odd constant: hashes are polynomials in it, modulo 2**64


@dataclass
class Found:
    """Candidates in a batch of rows; rows are numbered within the batch, items as in the suite.

    Attributes:
        runs: (row, item) -> starts of the item's n-grams in the row.
        wholes: (row, item) -> start and end of the whole item in the row.
        near: (row, item) -> start and end of the words in the row around which an edited copy may be.
    """

    runs: dict[tuple[int, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    wholes: dict[tuple[int, int], list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    near: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)


class _Ids(dict[str, int]):
    """Word -> id; a word of no item gets the id 0, or the id of the word it mistypes, and is looked up only once."""

    def __init__(self, known: Mapping[str, int], mistyped: Mistyped) -> None:
        super().__init__(known)
        self._mistyped = mistyped

    def __missing__(self, word: str) -> int:
        if is_number(word) or is_operator(word):
            made = NUMBER if is_number(word) else SIGN
        else:
            meant = self._mistyped.meant(word)
            made = 0 if meant is None else self[meant]
        self[word] = made
        return made


class Scanner:
    """Looks up rows in a suite's indexes."""

    def __init__(self, suite: ItemIndex, share: float, sample: Iterable[Words] = ()) -> None:
        """Prepare the lookups.

        Args:
            suite: The items.
            share: The share of an item's pairs of neighbours that an edited copy keeps.
            sample: Words of some rows, which show which pairs are rare. They change the running time, not the result.
        """
        self.suite = suite
        # A long item keeps enough pairs, whatever is mistyped.
        brief = (item.core for item in suite.items if len(item.core) <= BRIEF)
        self._mistyped = Mistyped(dict.fromkeys(chain.from_iterable(brief)))
        self._ids = _Ids(suite.vocabulary, self._mistyped)
        self._grams = self._hashed(suite.grams, suite.ngram)
        self._anchors = self._hashed(suite.wholes, ANCHOR)
        self._index_pairs(max(share - SLACK, 0.0), sample)

    def scan(self, texts: Sequence[Words]) -> Found:
        """Return the candidates in a batch of rows."""
        found = Found()
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        flat = self._numbers(texts, int(lengths.sum()))
        row = np.repeat(np.arange(len(texts)), lengths)
        start = np.concatenate(([0], np.cumsum(lengths)[:-1])) if len(texts) else lengths
        self._runs(found, texts, flat, row, start)
        self._wholes(found, texts, flat, row, start)
        self._near(found, self.suite.blinded[flat], row, start)
        return found

    def indexed(self, item: int) -> bool:
        """Whether edited copies of an item are looked for; if so, a row that is not in ``near`` holds none."""
        return bool(self._needed[item])

    def _numbers(self, texts: Sequence[Words], count: int) -> Ints:
        if len(self._ids) > REMEMBERED:
            self._ids = _Ids(self.suite.vocabulary, self._mistyped)
        return np.fromiter(map(self._ids.__getitem__, chain.from_iterable(texts)), np.int64, count)

    # ------------------------------------------------------------------------------------------- words as they are

    def _hashed(self, keys: Collection[Words], size: int) -> NDArray[np.uint64]:
        ids = self.suite.vocabulary
        rows = np.array([[ids[word] for word in key] for key in keys], np.uint64).reshape(len(keys), size)
        return np.unique(_hash([rows[:, step] for step in range(size)]))

    def _places(self, flat: Ints, row: Ints, size: int, known: NDArray[np.uint64]) -> Ints:
        """Return the positions where a run of ``size`` words begins whose hash is in ``known``."""
        if len(flat) < size or not len(known):
            return np.empty(0, np.int64)
        strange = np.concatenate(([0], np.cumsum(flat <= SIGN)))
        at = np.flatnonzero((strange[size:] == strange[:-size]) & (row[size - 1 :] == row[: len(row) - size + 1]))
        hashes = _hash([flat[at + step].astype(np.uint64) for step in range(size)])
        near = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
        found: Ints = at[known[near] == hashes]
        return found

    def _runs(self, found: Found, texts: Sequence[Words], flat: Ints, row: Ints, start: Ints) -> None:
        size = self.suite.ngram
        at = self._places(flat, row, size, self._grams)
        for number, place in zip(row[at].tolist(), (at - start[row[at]]).tolist(), strict=True):
            for item in self.suite.grams.get(texts[number][place : place + size], ()):
                found.runs[number, item].append(place)

    def _wholes(self, found: Found, texts: Sequence[Words], flat: Ints, row: Ints, start: Ints) -> None:
        at = self._places(flat, row, ANCHOR, self._anchors)
        for number, place in zip(row[at].tolist(), (at - start[row[at]]).tolist(), strict=True):
            text = texts[number]
            for item, offset, whole in self.suite.wholes.get(text[place : place + ANCHOR], ()):
                first = place - offset
                if first >= 0 and text[first : first + len(whole)] == whole:
                    found.wholes[number, item].append((first, first + len(whole)))

    # ------------------------------------------------------------------------------------------------ edited copies

    def _index_pairs(self, share: float, sample: Iterable[Words]) -> None:
        suite = self.suite
        self._width = len(suite.vocabulary) + 3
        shown = list(sample)
        blinded = suite.blinded[self._numbers(shown, sum(map(len, shown)))]
        counted, counts = np.unique(blinded[:-1] * self._width + blinded[1:], return_counts=True)
        seen = Counter(dict(zip(counted.tolist(), counts.tolist(), strict=True)))
        keys, items = [], []
        self._needed = np.zeros(len(suite.items), np.int64)
        self._window = np.zeros(len(suite.items), np.int64)
        for number, item in enumerate(suite.items):
            own = {self._key(pair) for pair in pairs(item.core) if pair not in suite.common}
            if item.wording < SHORT or len(own) < HITS[0]:
                continue
            needed = min(HITS[1], max(HITS[0], len(own) // 4))
            rare = sorted(own, key=lambda key: (seen[key], key))[: math.floor((1 - share) * len(own)) + needed]
            keys += rare
            items += [number] * len(rare)
            self._needed[number] = needed
            self._window[number] = 1.5 * len(item.core) + 8
        order = np.lexsort((items, keys))
        self._pairs, first = np.unique(np.array(keys, np.int64)[order], return_index=True)
        self._first = np.append(first, len(order))
        self._holders = np.array(items, np.int64)[order]

    def _key(self, pair: tuple[str, str]) -> int:
        one, other = (_BLIND.get(word) or self.suite.vocabulary[word] for word in pair)
        return one * self._width + other

    def _near(self, found: Found, flat: Ints, row: Ints, start: Ints) -> None:
        if len(flat) < 2 or not len(self._pairs):
            return
        keys = flat[:-1] * self._width + flat[1:]
        at = np.flatnonzero((flat[:-1] > 0) & (flat[1:] > 0) & (row[:-1] == row[1:]))
        near = np.minimum(np.searchsorted(self._pairs, keys[at]), len(self._pairs) - 1)
        hit = self._pairs[near] == keys[at]
        at, near = at[hit], near[hit]
        # One line per hit and item that holds the pair.
        many = self._first[near + 1] - self._first[near]
        held = np.repeat(self._first[near] - np.concatenate(([0], np.cumsum(many)[:-1])), many) + np.arange(many.sum())
        item, at = self._holders[held], np.repeat(at, many)
        order = np.lexsort((at, item, row[at]))
        item, at = item[order], at[order]
        group = np.concatenate(([0], np.cumsum((item[1:] != item[:-1]) | (row[at[1:]] != row[at[:-1]]))))[: len(at)]
        # For each hit, the number of its group's hits within the item's window that begins there.
        span = len(flat) + int(self._window.max()) + 1
        place = group * span + at
        last = np.searchsorted(place, place + self._window[item], side="right")
        count = last - np.arange(len(at))
        chosen = np.flatnonzero(count >= self._needed[item])
        chosen = chosen[np.lexsort((chosen, -count[chosen], group[chosen]))]
        chosen = chosen[np.unique(group[chosen], return_index=True)[1]]
        rows = row[at[chosen]]
        lows, highs = at[chosen] - start[rows], at[last[chosen] - 1] - start[rows] + 2
        for number, which, low, high in zip(
            rows.tolist(), item[chosen].tolist(), lows.tolist(), highs.tolist(), strict=True
        ):
            found.near[number, which] = (low, high)


def _hash(columns: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    total = np.zeros_like(columns[0])
    for column in columns:
        total = total * MIX + column
    return total
