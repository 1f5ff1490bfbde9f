"""Normalizes many texts: two texts are the same if their words are (``text.keys``)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.data.text import keys

BATCH = 100_000  # texts normalized, or cut into words, at a time


def normalized(texts: pl.Series | Sequence[str]) -> pl.Series:
    """Return the words of each text, joined by spaces; for a text without words, its other characters."""
    parts = []
    for start in range(0, len(texts), BATCH):
        parts.append(pl.Series(keys(texts[start : start + BATCH]), dtype=pl.String))
    return pl.concat(parts) if parts else pl.Series(dtype=pl.String)


def word_digests(texts: pl.Series | Sequence[str]) -> pl.DataFrame:
    """Return a digest of 16 bytes of each text's words, as two numbers."""
    found = bytearray()
    for start in range(0, len(texts), BATCH):
        for words in keys(texts[start : start + BATCH]):
            found += blake2b(words.encode(), digest_size=16).digest()
    halves = np.frombuffer(found, np.uint64).reshape(-1, 2)
    return pl.DataFrame({"high": halves[:, 0], "low": halves[:, 1]}, schema={"high": pl.UInt64, "low": pl.UInt64})


def later(digests: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of digests that repeat an earlier one, and the position of that one.

    Takes 40 bytes of memory per row.
    """
    order = np.lexsort((digests["low"].to_numpy(), digests["high"].to_numpy()))  # stable: equal ones stay in order
    before = np.flatnonzero(_same_as_before(digests, order))
    if not len(before):
        return before, before
    repeats = before + 1
    starts = np.setdiff1d(np.arange(len(order)), repeats, assume_unique=True)
    first = order[starts[np.searchsorted(starts, repeats, side="right") - 1]]
    again = order[repeats]
    by_position = again.argsort()
    return again[by_position], first[by_position]


def _same_as_before(digests: pl.DataFrame, order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each digest but the first, in the given order, whether it equals the digest before it."""
    same = np.ones(max(0, len(order) - 1), np.bool_)
    for name in digests.columns:
        sorted_ = digests[name].to_numpy()[order]
        same &= sorted_[1:] == sorted_[:-1]
    return same


def first_place(values: pl.Series) -> NDArray[np.int64]:
    """Return for each value the position where it comes first."""
    numbered = values.to_frame("value").with_row_index("place")
    return numbered.select(pl.col("place").first().over("value").cast(pl.Int64)).to_series().to_numpy()
