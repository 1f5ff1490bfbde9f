"""Which texts repeat an earlier one: the same words, nearly the same words, or the same meaning.

``near`` finds candidates by MinHash-LSH and measures them: chance decides at most whether a pair is looked at, never
whether it is called a duplicate.

1. Texts with the same words are one text.
2. A text's shingles are its pairs of neighbouring words, its two ends included: an edited word spoils two of them, and
   a text of one word has some too.
3. Two texts meet when all ``MINIMA`` MinHash values of one of ``BANDS`` bands agree (Broder 1997; Indyk and
   Motwani 1998). Nothing random is in the hashes.
4. A pair that met is measured: ``shared / (words of one + words of the other - shared)``, where ``shared`` is the
   longest common subsequence of their words. It is the Jaccard index of words, in order. A number or an operator
   counts as two words: problems that differ in their numbers are more than one word apart.
5. Pairs at or above the threshold are joined, and whatever is connected is one cluster: where B is an edited A, and C
   an edited B, they are one cluster although A and C may be farther apart than the threshold. Rows of one template
   that differ in a word or two are a cluster as well: nothing in two such rows tells them from an edited copy.

Measured: of edited copies 99.9% are found where the measure is 0.7 or more, 98% at 0.65, 94% at 0.6, 70% at 0.5.
"""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from harness.data.embeddings import embed
from harness.identity import unit_hash

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Positions = NDArray[np.int64]
    Progress = Callable[[int, int], None]

THRESHOLDS = {"near": 0.7, "semantic": 0.9}
BATCH = 100_000  # texts normalized, or cut into words, at a time
CHUNK = 1 << 18  # shingles hashed at a time: they stay in the processor's cache
BANDS = 40
MINIMA = 3  # of 40 bands: texts that share half of their shingles meet with probability .995, a tenth .04
CROWD = 64  # texts that meet in one place before it is divided by further MinHash values
DIVISIONS = 32
NEIGHBOURS = 2  # in a crowd, paired before it is divided
TILE = 2048  # embeddings compared at a time, squared

# Scripts written without spaces are cut into characters; a currency sign or an emoji is a word as well.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# Operators are words where they calculate or compare: "4 - 1" is not "4 + 1", "a != b" not "a = b". They are replaced
# by private characters there; elsewhere they are punctuation, which makes no difference.
_OPERATORS = "-+*/^=<>&|%!"
_OPERATOR = re.compile(
    r"""[-+*/^=<>&|%!](?:                        # one class first: the rest is tried at operators only
        (?<=[\d)][-/])(?=[-\d(.])                # 4-1, 1/2
      | (?<=[\w)][+*^=])(?=[-\w(.])              # 4+1, 2*x, a=3
      | (?<=-)(?<![\w)]-)(?=\d)                  # -5
      | (?<=\d%)                                # 5%
      | (?<=[\w)\]][ ].)(?!(?<=-)-|(?<=!)[^=])[-+*/^=<>&|%]*(?=[ ][-\w(\[])  # a != b, but no long dash
    )""",
    re.VERBOSE,
)
_SIGNS = {ord(sign): chr(0xE000 + at) for at, sign in enumerate(_OPERATORS)}
_SPELLINGS = str.maketrans(dict.fromkeys("‐‑‒–−", "-") | dict.fromkeys("’‘ʼ", "'") | {"×": "*", "÷": "/"})
_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]+")
_JOINED = re.compile(r"'(?<=\w.)(?=\w)|,(?<=\d.)(?=\d{3}(?!\d))")  # don't is dont, 1,200 is 1200
_DIVIDER = re.compile(r"[.:](?=\d)(?<=\d.)")
_WORD = (
    rf"[{_UNSPACED}\p{{Sc}}\p{{So}}]|\p{{Nd}}+(?:[.:]\p{{Nd}}+)+|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+"
    r"|[\u{E000}-\u{E00B}]+"
)


def clusters(
    texts: pl.Series | Sequence[str],
    method: Literal["exact", "near", "semantic"] = "exact",
    threshold: float | None = None,
    on_progress: Progress | None = None,
) -> pl.Series:
    """Find the texts that repeat an earlier one.

    Args:
        texts: No nulls. Texts without any words (empty, or only punctuation) repeat each other when they are equal but
            for white space.
        method: ``exact``: the same words, whatever their case, Unicode form, white space and punctuation; operators
            that calculate or compare are words. ``near``: as the module says. ``semantic``: by cosine of sentence
            embeddings, every text with every other, so the work grows with the square of their number.
        threshold: Similarity from which texts are joined; 0.7 for ``near``, 0.9 for ``semantic`` unless given.
        on_progress: Called with (steps done, steps in all); semantic counts embedding, then comparing.

    Returns:
        UInt32, for each text the position of the first text of its cluster: its own where it is the first. What is
        kept (every first) has no duplicates left that another call would find.

    Raises:
        RequestError: ``semantic`` without the package of the embeddings.
    """
    keys = normalized(texts)
    first = _first(keys)
    if method != "exact" and len(keys):
        distinct = np.flatnonzero(first == np.arange(len(first)))
        least = THRESHOLDS[method] if threshold is None else threshold
        if method == "near":
            keys = keys.gather(distinct)
            label = _near(keys, least, on_progress)
        else:
            label = _semantic(pl.Series(texts, dtype=pl.String).gather(distinct).to_list(), least, on_progress)
        first = distinct[label[np.searchsorted(distinct, first)]]
    return pl.Series("cluster", first.astype(np.uint32), dtype=pl.UInt32)


def normalized(texts: pl.Series | Sequence[str]) -> pl.Series:
    """Return the words of each text, a space between them; what is there instead where there are none."""
    parts = []
    for start in range(0, len(texts), BATCH):
        batch = [_spelled(text) for text in texts[start : start + BATCH]]
        words = pl.Series(batch, dtype=pl.String).str.extract_all(_WORD).list.join(" ")
        bare = pl.Series([key or " ".join(text.split()) for text, key in zip(batch, words, strict=True)])
        parts.append(bare)
    return pl.concat(parts) if parts else pl.Series(dtype=pl.String)


def _spelled(text: str) -> str:
    if text.isascii():
        text = text.lower()
    else:
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).translate(_SPELLINGS)
        text = _INVISIBLE.sub("", text)
    return _OPERATOR.sub(_sign, _JOINED.sub("", text))


def _sign(found: re.Match[str]) -> str:
    return found[0].translate(_SIGNS)


def _first(values: pl.Series) -> Positions:
    """Return for each value the position where it comes first."""
    numbered = values.to_frame("value").with_row_index("place")
    return numbered.select(pl.col("place").first().over("value").cast(pl.Int64)).to_series().to_numpy()


# ------------------------------------------------------------------------------------------------------------- near


@dataclass(frozen=True)
class _Ragged:
    """Lists of numbers of different lengths, none empty: list ``i`` is ``flat[starts[i]:starts[i + 1]]``."""

    flat: NDArray[np.uint32]
    starts: Positions

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, rows: Positions) -> _Ragged:
        """Return some of the lists."""
        starts = _starts(np.diff(self.starts)[rows])
        flat = np.empty(starts[-1], np.uint32)
        for low in range(0, len(rows), BATCH):
            ends = starts[low : low + BATCH + 1]
            shift = self.starts[rows[low : low + BATCH]] - ends[:-1]
            flat[ends[0] : ends[-1]] = self.flat[np.arange(ends[0], ends[-1]) + np.repeat(shift, np.diff(ends))]
        return _Ragged(flat, starts)


def _near(keys: pl.Series, threshold: float, on_progress: Progress | None) -> Positions:
    """Return for each text, all of them different, the position of the first of its cluster."""
    ids, hashes, twice = _cut(keys)
    label = np.arange(len(keys))
    while True:
        # Where a crowd was divided, what was found depends on who else was there: again, without those dropped.
        kept = np.flatnonzero(label == np.arange(len(label)))
        texts = ids if len(kept) == len(label) else ids.take(kept)
        found, divided = _join(texts, hashes, twice, threshold, on_progress)
        label = kept[found][np.searchsorted(kept, label)]
        if not divided or len(kept) == len(np.unique(found)):
            return label


def _cut(keys: pl.Series) -> tuple[_Ragged, NDArray[np.uint32], NDArray[np.bool_]]:
    """Number the words: each text's numbers; and by number a hash, the same everywhere, and whether it counts twice."""
    numbers: dict[str, int] = {}
    ids, lengths = [], []
    for start in range(0, len(keys), BATCH):
        words = keys[start : start + BATCH].str.split(" ")
        lengths.append(words.list.len().to_numpy())
        flat = words.explode()
        place = _first(flat)
        new = place == np.arange(len(place))
        # What divides a number (3.5, 2:1) is lost where punctuation is; only for `exact` 3.5 is not 35.
        bare = [_DIVIDER.sub("", word) for word in flat.filter(pl.Series(new))]
        known = [numbers.setdefault(word, len(numbers)) for word in bare]
        ids.append(np.array(known, np.uint32)[(np.cumsum(new) - 1)[place]])
    hashed = b"".join(blake2b(word.encode(), digest_size=4).digest() for word in numbers)
    twice = np.array([word[:1].isdigit() or word[:1] in _SIGNS.values() for word in numbers], bool)
    return _Ragged(np.concatenate(ids), _starts(np.concatenate(lengths))), np.frombuffer(hashed, "<u4"), twice


def _join(
    ids: _Ragged, hashes: NDArray[np.uint32], twice: NDArray[np.bool_], threshold: float, on_progress: Progress | None
) -> tuple[Positions, bool]:
    """Return for each text the first of its cluster, and whether a crowd was divided on the way."""
    shingles = _shingles(ids, hashes)
    measure = _Measure(ids, hashes, twice, threshold)
    label = np.arange(len(ids))
    divided = False
    workers = min(2, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:  # numpy leaves the interpreter to others while it computes
        for band in range(0, BANDS, workers):
            ahead = range(band, min(band + workers, BANDS))
            for at, places in enumerate(pool.map(lambda b: _places(shingles, b), ahead)):
                crowd = _crowd(places, np.arange(len(places)))
                divided |= len(crowd) > 0
                for left, right in _candidates(places, crowd, shingles):
                    apart = label[left] != label[right]
                    left, right = left[apart], right[apart]
                    close = measure(left, right)
                    label = _merged(label, left[close], right[close])
                if on_progress is not None:
                    on_progress(band + at + 1, BANDS)
    return label, divided


def _shingles(ids: _Ragged, hashes: NDArray[np.uint32]) -> _Ragged:
    """Return 32 bits of each pair of neighbouring words, the text's ends being words too."""
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
    """Return where each text is in a band: 64 bits of its ``MINIMA`` MinHash values."""
    return _minima(shingles, range(band * MINIMA, (band + 1) * MINIMA))


def _minima(shingles: _Ragged, numbers: Iterable[int]) -> NDArray[np.uint64]:
    """Return 64 bits of several MinHash values of each list; each is the minimum of ``a * shingle + b``."""
    drawn = [unit_hash("minhash", number) for number in numbers]
    factors = [(np.uint32(one & 0xFFFFFFFF | 1), np.uint32(one >> 32)) for one in drawn]
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
    """Yield pairs of texts that are in the same place: all of them, but for crowds.

    In a crowd each text is paired with the next ones in the file: where all repeat one text, that joins them all. Then
    the crowd is divided, as it may as well be rows of one template, which share its shingles: the most similar rows
    agree on the most further MinHash values.
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
    """Return those of some rows that are in one place with more than ``CROWD`` others."""
    placed = np.sort(places[rows])
    full = placed[CROWD:][placed[CROWD:] == placed[:-CROWD]]
    return rows[np.isin(places[rows], np.unique(full))] if len(full) else rows[:0]


def _meetings(places: NDArray[np.uint64], reach: int) -> Iterator[tuple[Positions, Positions]]:
    """Yield the pairs that are in the same place, fewer than ``reach`` others of it between them in the file."""
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
    """Whether pairs of texts are similar enough; see the module for the measure."""

    def __init__(self, ids: _Ragged, hashes: NDArray[np.uint32], twice: NDArray[np.bool_], threshold: float) -> None:
        counted = np.uint8(1) + twice[ids.flat]
        self.sizes = np.add.reduceat(counted, ids.starts[:-1], dtype=np.int64)
        self.words = _Ragged(np.repeat(ids.flat, counted), _starts(self.sizes))
        self.threshold = threshold
        self.failed: set[tuple[int, int]] = set()  # such pairs meet again and again
        # 256 bits, one set by each word: texts differ in at least as many words as bits.
        self.bits = np.empty((len(ids), 4), np.uint64)
        for part in range(4):
            ours = (hashes & 3) == part
            bit = np.where(ours, np.uint64(1) << (hashes >> 2 & 63).astype(np.uint64), np.uint64(0))
            for low in range(0, len(ids), BATCH):
                cuts = ids.starts[low : low + BATCH + 1]
                flat = bit[ids.flat[cuts[0] : cuts[-1]]]
                self.bits[low : low + BATCH, part] = np.bitwise_or.reduceat(flat, cuts[:-1] - cuts[0])

    def __call__(self, left: Positions, right: Positions) -> NDArray[np.bool_]:
        """Return which pairs reach the threshold: those that still can by size and words are compared in order."""
        both = self.sizes[left] + self.sizes[right]
        needed = both * (self.threshold / (1 + self.threshold)) - 1e-9  # words shared
        possible = np.minimum(self.sizes[left], self.sizes[right]) >= needed
        maybe = np.flatnonzero(possible)
        for low in range(0, len(maybe), BATCH):
            some = maybe[low : low + BATCH]
            differ = np.bitwise_count(self.bits[left[some]] ^ self.bits[right[some]]).sum(1)
            possible[some] = both[some] - 2 * needed[some] >= differ
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
    """Return the length of the longest common subsequence, a column of the table at a time as bits (Hyyrö 2004)."""
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


# --------------------------------------------------------------------------------------------------------- semantic


def _semantic(texts: list[str], threshold: float, on_progress: Progress | None) -> Positions:
    """Return for each text the first of its cluster, by cosine of all pairs."""
    vectors = embed(texts, on_progress)
    label = np.arange(len(texts))
    tiles = [(row, column) for row in range(0, len(texts), TILE) for column in range(row, len(texts), TILE)]
    for done, (row, column) in enumerate(tiles, start=1):
        cosine = vectors[row : row + TILE] @ vectors[column : column + TILE].T
        left, right = np.nonzero(cosine >= threshold)
        left, right = left + row, right + column
        apart = label[left] != label[right]
        if apart.any():
            label = _merged(label, left[apart], right[apart])
        if on_progress is not None:
            on_progress(done, len(tiles))
    return label


# --------------------------------------------------------------------------------------------------------- arrays


def _merged(label: Positions, left: Positions, right: Positions) -> Positions:
    """Join the clusters of pairs of texts; a cluster's label is its first text."""
    if not len(left):
        return label
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends, where = np.unique(np.concatenate((label[left], label[right])), return_inverse=True)
    pairs = where[: len(left)], where[len(left) :]
    links = coo_array((np.ones(len(left), bool), pairs), shape=(len(ends), len(ends)))
    _, component = connected_components(links, directed=False)
    _, first = np.unique(component, return_index=True)
    renamed = np.arange(len(label))
    renamed[ends] = ends[first[component]]
    merged: Positions = renamed[label]
    return merged


def _starts(lengths: NDArray[Any]) -> Positions:
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
