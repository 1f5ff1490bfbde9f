"""Texts of the same meaning, by cosine of sentence embeddings, every text with every other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from harness.data.duplicates.joining import merged
from harness.data.embeddings import embed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Positions = NDArray[np.int64]
    Progress = Callable[[int, int], None]

TILE = 2048  # embeddings compared at a time, squared


def by_meaning(texts: list[str], threshold: float, on_progress: Progress | None) -> Positions:
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
            label = merged(label, left[apart], right[apart])
        if on_progress is not None:
            on_progress(done, len(tiles))
    return label
