"""Texts that share most of their words, in order: candidates by MinHash-LSH, then measured (see the package)."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from harness.data.duplicates.joining import merged
from harness.data.duplicates.words import BATCH, first_place
from harness.data.text import is_operator
from harness.identity import unit_hash

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Positions = NDArray[np.int64]
    Progress = Callable[[int, int], None]

CHUNK = 1 << 18  # shingles hashed at a time: they stay in the processor's cache
BANDS = 40
MINIMA = 3  # values in a band: texts that share half of their shingles share a place with probability .995, a tenth .04
CROWD = 64  # more texts in one place are a crowd, which is divided by further MinHash values
DIVISIONS = 32  # the most times that a crowd is divided
NEIGHBOURS = 2  # each text of a crowd is paired with so many next ones before the crowd is divided

_DIVIDER = re.compile(r"[.:](?=\d)(?<=\d.)")


@dataclass(frozen=True)
class _Ragged:
    """Lists of numbers of different lengths, none empty: list ``i`` is ``flat[starts[i]:starts[i + 1]]``."""

    flat: NDArray[np.uint32]
    starts: Positions

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, rows: Positions) -> _Ragged:
        """Return the lists at the given positions."""
        starts = _starts(np.diff(self.starts)[rows])
        flat = np.empty(starts[-1], np.uint32)
        for low in range(0, len(rows), BATCH):
            ends = starts[low : low + BATCH + 1]
            shift = self.starts[rows[low : low + BATCH]] - ends[:-1]
            flat[ends[0] : ends[-1]] = self.flat[np.arange(ends[0], ends[-1]) + np.repeat(shift, np.diff(ends))]
        return _Ragged(flat, starts)


def nearly(keys: pl.Series, threshold: float, on_progress: Progress | None = None) -> Positions:
    """Return for each text the position of the first of its cluster.

    Args:
        keys: The words of each text, no two texts equal.
        threshold: Similarity from which texts are joined.
        on_progress: Called with (bands done, bands in all).
    """
    every = Texts.of(keys)
    label = np.arange(len(keys))
    while True:
        # If a crowd was divided, the pairs found depend on the other texts in it: again, without those dropped.
        kept = np.flatnonzero(label == np.arange(len(label)))
        texts = every if len(kept) == len(label) else every.take(kept)
        found, divided = _join(texts, threshold, on_progress)
        label = kept[found][np.searchsorted(kept, label)]
        if not divided or len(kept) == len(np.unique(found)):
            return label


@dataclass(frozen=True)
class Texts:
    """Texts, cut into words.

    Attributes:
        ids: The numbers of each text's words.
        hashes: For each word, by its number, a hash that is the same on every machine.
        twice: For each word, by its number, whether it counts twice.
    """

    ids: _Ragged
    hashes: NDArray[np.uint32]
    twice: NDArray[np.bool_]

    @classmethod
    def of(cls, keys: pl.Series) -> Texts:
        """Cut texts into words.

        Args:
            keys: The words of each text (``words.normalized``).
        """
        return cls(*_cut(keys))

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Positions) -> Texts:
        """Return the texts at the given positions."""
        return Texts(self.ids.take(rows), self.hashes, self.twice)

    def shingles(self) -> _Ragged:
        """Return a hash of 32 bits of each pair of neighbouring words, for each text."""
        return _shingles(self.ids, self.hashes)


def places_of(texts: Texts) -> NDArray[np.uint64]:
    """Return the place of each text in every band, shape ``(BANDS, texts)``: texts in the same place are candidates."""
    shingles = texts.shingles()
    return np.stack([_places(shingles, band) for band in range(BANDS)])


def met(texts: Texts, rows: Positions, places: NDArray[np.uint64], threshold: float) -> tuple[Positions, bool]:
    """Return for each text the first of its cluster, by the given places only.

    Args:
        texts: The texts, in order.
        rows: For each entry of ``places``, the position of the text in it. A text has an entry for each of its places;
            entries are in the order of the texts.
        places: The place of each entry, of all bands. All texts in a place have an entry. The array is changed.
        threshold: Similarity from which texts are joined.

    Returns:
        The first of each text's cluster, and whether a crowd was divided.
    """
    shingles = texts.shingles().take(rows)
    measure, label = _Measure(texts, threshold), np.arange(len(texts))
    crowd = _crowd(places, np.arange(len(places)))
    for left, right in _candidates(places, crowd, shingles):
        label = measure.joined(label, rows[left], rows[right])
    return label, len(crowd) > 0


def _cut(keys: pl.Series) -> tuple[_Ragged, NDArray[np.uint32], NDArray[np.bool_]]:
    """Return the numbers of each text's words, and for each word number its hash and whether the word counts twice."""
    numbers: dict[str, int] = {}
    ids, lengths = [], []
    for start in range(0, len(keys), BATCH):
        words = keys[start : start + BATCH].str.split(" ")
        lengths.append(words.list.len().to_numpy())
        flat = words.explode()
        place = first_place(flat)
        new = place == np.arange(len(place))
        # The point or colon in a number (3.5, 2:1) is dropped like punctuation; only for `exact` 3.5 differs from 35.
        bare = [_DIVIDER.sub("", word) for word in flat.filter(pl.Series(new))]
        known = [numbers.setdefault(word, len(numbers)) for word in bare]
        ids.append(np.array(known, np.uint32)[(np.cumsum(new) - 1)[place]])
    hashed = b"".join(blake2b(word.encode(), digest_size=4).digest() for word in numbers)
    twice = np.array([is_operator(word) or word[0].isdigit() if word else False for word in numbers], bool)
    return _Ragged(np.concatenate(ids), _starts(np.concatenate(lengths))), np.frombuffer(hashed, "<u4"), twice


def _join(texts: Texts, threshold: float, on_progress: Progress | None) -> tuple[Positions, bool]:
    """Return for each text the first of its cluster, and whether a crowd was divided."""
    shingles = texts.shingles()
    measure = _Measure(texts, threshold)
    label = np.arange(len(texts))
    divided = False
    workers = min(2, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:  # numpy releases the interpreter's lock while it computes
        for band in range(0, BANDS, workers):
            ahead = range(band, min(band + workers, BANDS))
            for at, places in enumerate(pool.map(lambda b: _places(shingles, b), ahead)):
                crowd = _crowd(places, np.arange(len(places)))
                divided |= len(crowd) > 0
                for left, right in _candidates(places, crowd, shingles):
                    label = measure.joined(label, left, right)
                if on_progress is not None:
                    on_progress(band + at + 1, BANDS)
    return label, divided


def _shingles(ids: _Ragged, hashes: NDArray[np.uint32]) -> _Ragged:
    """Return a hash of 32 bits of each pair of neighbouring words; the text's two ends count as words."""
    flat = np.empty(len(ids.flat) + len(ids), np.uint32)
    starts = ids.starts + np.arange(len(ids) + 1)
    for low in range(0, len(ids), BATCH):
        cuts = ids.starts[low : low + BATCH + 1]
        words = hashes[ids.flat[cuts[0] : cuts[-1]]].astype(np.uint64)
        before = np.insert(words, cuts[:-1] - cuts[0], 0)
        after = np.insert(words, cuts[1:] - cuts[0], 1)
        pairs = (before << np.uint64(32) | after) * np.uint64(0x9E3779B97F4A7C15)
        flat[starts[low] : starts[low] + len(pairs)] = pairs >> np.uint64(32)
    return _Ragged(flat, starts)


def _places(shingles: _Ragged, band: int) -> NDArray[np.uint64]:
    """Return the place of each text in a band: a hash of 64 bits of its ``MINIMA`` MinHash values."""
    return _minima(shingles, range(band * MINIMA, (band + 1) * MINIMA))


def _minima(shingles: _Ragged, numbers: Iterable[int]) -> NDArray[np.uint64]:
    """Return a hash of 64 bits of several MinHash values of each list; each is the minimum of ``a * shingle + b``."""
    hashes = [unit_hash("minhash", number) for number in numbers]
    factors = [(np.uint32(value & 0xFFFFFFFF | 1), np.uint32(value >> 32)) for value in hashes]
    places = np.zeros(len(shingles), np.uint64)
    marks = np.arange(0, len(shingles.flat), CHUNK)
    cuts = np.unique(np.append(np.searchsorted(shingles.starts[:-1], marks), len(shingles)))
    for low, high in itertools.pairwise(cuts):
        starts = shingles.starts[low:high]
        flat = shingles.flat[starts[0] : shingles.starts[high]]
        for factor, shift in factors:
            least = np.minimum.reduceat(flat * factor + shift, starts - starts[0])
            places[low:high] = (places[low:high] ^ least) * np.uint64(0xD6E8FEB86659FD93)
            places[low:high] ^= places[low:high] >> np.uint64(32)
    return places


def _candidates(
    places: NDArray[np.uint64], crowd: Positions, shingles: _Ragged
) -> Iterator[tuple[Positions, Positions]]:
    """Yield pairs of texts that are in the same place: all pairs, except in crowds.

    In a crowd each text is paired with the next ones in the file, which joins them all if they repeat one text. Then
    the crowd is divided by further MinHash values, as its texts may be rows of one template, which share its shingles:
    the most similar rows agree on the most values.
    """
    if len(crowd):
        yield from _meetings(places, NEIGHBOURS)
    for division in range(DIVISIONS):
        if not len(crowd):
            break
        places[crowd] ^= _minima(shingles.take(crowd), [BANDS * MINIMA + division])
        crowd = _crowd(places, crowd)
    yield from _meetings(places, CROWD)


def _crowd(places: NDArray[np.uint64], rows: Positions) -> Positions:
    """Return those of ``rows`` that are in a place with at least ``CROWD`` other rows."""
    placed = np.sort(places[rows])
    full = placed[CROWD:][placed[CROWD:] == placed[:-CROWD]]
    return rows[np.isin(places[rows], np.unique(full))] if len(full) else rows[:0]


def _meetings(places: NDArray[np.uint64], reach: int) -> Iterator[tuple[Positions, Positions]]:
    """Yield pairs in the same place with fewer than ``reach`` other texts of that place between them in the file."""
    order = np.argsort(places, kind="stable")
    placed = places[order]
    at = np.arange(len(order))
    for distance in range(1, reach + 1):
        at = at[at + distance < len(order)]
        at = at[placed[at] == placed[at + distance]]
        if not len(at):
            return
        yield order[at], order[at + distance]


class _Measure:
    """Decides whether pairs of texts are similar enough; the package's docstring defines the measure."""

    def __init__(self, texts: Texts, threshold: float) -> None:
        ids, hashes, twice = texts.ids, texts.hashes, texts.twice
        counted = np.uint8(1) + twice[ids.flat]
        self.sizes = np.add.reduceat(counted, ids.starts[:-1], dtype=np.int64)
        self.words = _Ragged(np.repeat(ids.flat, counted), _starts(self.sizes))
        self.threshold = threshold
        self.failed: set[tuple[int, int]] = set()  # the same pair comes up in many bands
        # 256 bits per text, one set by each word: texts differ in at least as many words as bits.
        self.bits = np.empty((len(ids), 4), np.uint64)
        for part in range(4):
            ours = (hashes & 3) == part
            bit = np.where(ours, np.uint64(1) << (hashes >> 2 & 63).astype(np.uint64), np.uint64(0))
            for low in range(0, len(ids), BATCH):
                cuts = ids.starts[low : low + BATCH + 1]
                flat = bit[ids.flat[cuts[0] : cuts[-1]]]
                self.bits[low : low + BATCH, part] = np.bitwise_or.reduceat(flat, cuts[:-1] - cuts[0])

    def joined(self, label: Positions, left: Positions, right: Positions) -> Positions:
        """Return ``label``, the first text of each text's cluster, with the pairs joined that reach the threshold."""
        apart = label[left] != label[right]
        left, right = left[apart], right[apart]
        close = self(left, right)
        return merged(label, left[close], right[close])

    def __call__(self, left: Positions, right: Positions) -> NDArray[np.bool_]:
        """Return which pairs reach the threshold.

        Only pairs whose sizes and words allow it are compared word by word.
        """
        both = self.sizes[left] + self.sizes[right]
        needed = both * (self.threshold / (1 + self.threshold)) - 1e-9  # words shared
        possible = np.minimum(self.sizes[left], self.sizes[right]) >= needed
        maybe = np.flatnonzero(possible)
        for low in range(0, len(maybe), BATCH):
            batch = maybe[low : low + BATCH]
            differ = np.bitwise_count(self.bits[left[batch]] ^ self.bits[right[batch]]).sum(1)
            possible[batch] = both[batch] - 2 * needed[batch] >= differ
        for pair in np.flatnonzero(possible):
            one, other = sorted((int(left[pair]), int(right[pair])))
            if (one, other) in self.failed:
                possible[pair] = False
            elif _shared(self._text(one), self._text(other)) < needed[pair]:
                self.failed.add((one, other))
                possible[pair] = False
        return possible

    def _text(self, row: int) -> list[int]:
        words: list[int] = self.words.flat[self.words.starts[row] : self.words.starts[row + 1]].tolist()
        return words


def _shared(one: list[int], other: list[int]) -> int:
    """Return the length of the longest common subsequence, with a column of the table as one integer (Hyyrö 2004)."""
    places: dict[int, int] = {}
    bit = 1
    for word in one:
        places[word] = places.get(word, 0) | bit
        bit <<= 1
    column = bit - 1
    for word in other:
        if word in places:
            match = column & places[word]
            column = (column + match) | (column - match)
    return len(one) - (column & (bit - 1)).bit_count()


def _starts(lengths: NDArray[Any]) -> Positions:
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
