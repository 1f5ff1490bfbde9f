"""The words of many texts, by which texts are the same (``text.keys``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from harness.data.text import keys

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 100_000  # texts normalized, or cut into words, at a time


def normalized(texts: pl.Series | Sequence[str]) -> pl.Series:
    """Return the words of each text, a space between them; what is there instead where there are none."""
    parts = []
    for start in range(0, len(texts), BATCH):
        parts.append(pl.Series(keys(texts[start : start + BATCH]), dtype=pl.String))
    return pl.concat(parts) if parts else pl.Series(dtype=pl.String)


def first_place(values: pl.Series) -> NDArray[np.int64]:
    """Return for each value the position where it comes first."""
    numbered = values.to_frame("value").with_row_index("place")
    return numbered.select(pl.col("place").first().over("value").cast(pl.Int64)).to_series().to_numpy()
