"""Tables in parts: files of some thousand rows each, in order, of which a machine holds one at a time.

A part is what a task reads, and what it leaves. Tasks may be done twice (a machine was lost): a part's name says what
is in it, and it arrives by rename.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.data.pools import File
from harness.data.rows import drops
from harness.errors import StepError
from harness.identity import file_digest

ROWS, BYTES = 1 << 16, 64 << 20  # a part is full at so many rows, or so many bytes of text in memory
AT = "at"  # column: where a row is in the order of all rows, in parts that are not in that order
RowNumbers = NDArray[np.int64]


class Machines(Protocol):
    """Does work on many machines. What it takes and gives is small, or is in files that all of them see."""

    def map(self, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Return what some work gives for each item, in their order."""

    def meet(self, files: Sequence[Path], buckets: int, settle: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
        """Bring together what belongs together.

        Args:
            files: Hold lines with a column ``bucket``.
            buckets: How many there are: 0, 1 and so on.
            settle: Gets all lines of a bucket, in any order.

        Returns:
            What ``settle`` returned, of all buckets, in any order.
        """


@dataclass(frozen=True)
class Part:
    """A part of a table.

    Attributes:
        file: Where it is.
        rows: How many rows it has.
        first: Where its first row is in the order of all; None where every row says so itself (column ``AT``).
    """

    file: File
    rows: int
    first: int | None = None

    def read(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return its rows, or some of their columns.

        Raises:
            StepError: The file is not what it was; it is compared with its digest where all of it is read.
        """
        if columns is None and self.file.sha256 is not None and file_digest(self.file.path) != self.file.sha256:
            raise StepError(f"{self.file.path} is damaged: delete its artifact's folder and run again")
        return pl.read_parquet(self.file.path, columns=None if columns is None else list(columns), glob=False)

    def at(self) -> RowNumbers:
        """Return where each row is in the order of all."""
        if self.first is None:
            return self.read([AT])[AT].to_numpy()
        return np.arange(self.first, self.first + self.rows)


def of_files(files: Sequence[File]) -> list[Part]:
    """Return a table's files as parts."""
    import pyarrow.parquet as pq

    return numbered([Part(file, pq.read_metadata(file.path).num_rows, 0) for file in files])


def numbered(parts: Sequence[Part]) -> list[Part]:
    """Return parts without the empty ones, each with the place of its first row (unless its rows say theirs)."""
    found, first = [], 0
    for part in parts:
        if part.rows:
            found.append(Part(part.file, part.rows, None if part.first is None else first))
        first += part.rows
    return found


def write(rows: pl.DataFrame, file: Path) -> Path:
    """Write a file so that it is there whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    passing = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    rows.write_parquet(passing)
    return passing.replace(file)


def joined(parts: Sequence[Part], folder: Path) -> Path:
    """Put parts of a ledger into one file, one after the other; return where it is."""
    import pyarrow.parquet as pq

    file = folder / "drops.parquet"
    with pq.ParquetWriter(file, drops([]).to_arrow().schema) as writer:
        for part in parts:
            writer.write_table(part.read().to_arrow())
    return file


def filled(tables: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Put tables together, or cut them, so that a part is full at ``ROWS`` rows or a little over ``BYTES`` bytes."""
    held: list[pl.DataFrame] = []
    rows = size = 0
    for piece in (piece for table in tables for piece in table.iter_slices(ROWS)):
        held.append(piece)
        rows, size = rows + piece.height, size + int(piece.estimated_size())
        if rows >= ROWS or size >= BYTES:
            yield pl.concat(held)
            held, rows, size = [], 0, 0
    if rows:
        yield pl.concat(held)


def starts(parts: Sequence[Part]) -> RowNumbers:
    """Return how many rows come before each part, and how many there are in all."""
    return np.cumsum([0, *(part.rows for part in parts)])


def together(
    machines: Machines, parts: Sequence[Part], work: Callable[[Part], pl.DataFrame]
) -> tuple[pl.DataFrame, RowNumbers]:
    """Return a table of something small of all rows, in their order, and the number of each through all parts."""
    table = pl.concat(machines.map(work, parts))
    if all(part.first is not None for part in parts):
        return table, np.arange(table.height)
    order = np.concatenate([part.at() for part in parts]).argsort(kind="stable")
    return table[order], order


def places(parts: Sequence[Part], numbers: RowNumbers) -> list[tuple[int, RowNumbers, RowNumbers]]:
    """Say in which parts some rows are.

    Args:
        parts: All of a table.
        numbers: Rows, counted through all parts.

    Returns:
        For every part that has some of them: which part, which of ``numbers``, and their rows within the part.
    """
    before = starts(parts)
    of_part = np.searchsorted(before, numbers, side="right") - 1
    order = np.argsort(of_part, kind="stable")
    cuts = np.flatnonzero(np.diff(of_part[order])) + 1
    found = [(int(of_part[some[0]]), some) for some in np.split(order, cuts) if len(some)]
    return [(part, some, numbers[some] - before[part]) for part, some in found]
