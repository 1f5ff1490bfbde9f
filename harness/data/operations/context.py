"""What an operation gets besides rows and its own parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from harness.data.rows import place

# Rows, and ``encode`` or ``cut`` -> for each row, why it cannot be trained on, or teaches nothing when cut, or null.
Untrainable = Callable[[pl.DataFrame, str], pl.Series]


@dataclass(frozen=True)
class Context:
    """Whose rows an operation works on, and the measures that it may need.

    Attributes:
        place: Whose rows these are (``sources.sums``, or the mix ``a + b``), for messages.
        seed: Seed of a sample; nothing else is random.
        folder: Folder with the modules of ``function``, that of the study. None if there is no study.
        tokens: Number of tokens of each row as the model sees it; None until the model is ready.
        perplexity: Perplexity of the tokens that the loss counts in each row, under the base model; None until the
            model is ready.
        untrainable: Why rows cannot be trained on; None until the model is ready.
    """

    place: str
    seed: int
    folder: Path | None = None
    tokens: Callable[[pl.DataFrame], Sequence[int]] | None = None
    perplexity: Callable[[pl.DataFrame], Sequence[float]] | None = None
    untrainable: Untrainable | None = None


def which(record: Mapping[str, Any]) -> str:
    """Return a row's name in messages: where it was read, else its id."""
    return f"the row {place(record) or record['row_id']}"
