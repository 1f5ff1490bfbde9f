"""Tables in parts: files of some thousand rows each, in order, of which a machine holds one at a time.

A task reads one part and writes another. A task may run twice (after the loss of a machine), so a part's file name
states its content, and the file is written under another name and then renamed.
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
AT = "at"  # column: the place of a row in the order of all rows, in parts that are not in that order
RowNumbers = NDArray[np.int64]


class Machines(Protocol):
    """Does work on many machines. Items and results are small, or are files that all machines see."""

    def map(self, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Return ``work(item)`` of each item, in the order of the items."""

    def meet(self, files: Sequence[Path], buckets: int, settle: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
        """Bring together all lines of a bucket, and call a function with them.

        Args:
            files: Parquet files of lines with a column ``bucket``.
            buckets: Number of buckets, which are called 0, 1 and so on.
            settle: Called with all lines of one bucket, in any order.

        Returns:
            The tables that ``settle`` returned for all buckets, joined in any order.
        """


@dataclass(frozen=True)
class Part:
    """A part of a table.

    Attributes:
        file: Its file.
        rows: Number of its rows.
        first: Place of its first row in the order of all rows; None if column ``AT`` holds the place of every row.
    """

    file: File
    rows: int
    first: int | None = None

    def read(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return its rows, or some of their columns.

        Raises:
            StepError: The file has changed; its digest is compared if all columns are read.
        """
        if columns is None and self.file.sha256 is not None and file_digest(self.file.path) != self.file.sha256:
            raise StepError(f"{self.file.path} is damaged: delete its artifact's folder and run again")
        return pl.read_parquet(self.file.path, columns=None if columns is None else list(columns), glob=False)

    def at(self) -> RowNumbers:
        """Return the place of each row in the order of all rows."""
        if self.first is None:
            return self.read([AT])[AT].to_numpy()
        return np.arange(self.first, self.first + self.rows)


def of_files(files: Sequence[File]) -> list[Part]:
    """Return a table's files as parts."""
    import pyarrow.parquet as pq

    return numbered([Part(file, pq.read_metadata(file.path).num_rows, 0) for file in files])


def numbered(parts: Sequence[Part]) -> list[Part]:
    """Return the parts without empty ones, each with the place of its first row unless its rows hold their places."""
    found, first = [], 0
    for part in parts:
        if part.rows:
            found.append(Part(part.file, part.rows, None if part.first is None else first))
        first += part.rows
    return found


def write(rows: pl.DataFrame, file: Path) -> Path:
    """Write a parquet file, all or nothing, and return its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    passing = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    rows.write_parquet(passing)
    return passing.replace(file)


def joined(parts: Sequence[Part], folder: Path) -> Path:
    """Write the parts of a ledger, in order, to one file; return its path."""
    import pyarrow.parquet as pq

    file = folder / "drops.parquet"
    with pq.ParquetWriter(file, drops([]).to_arrow().schema) as writer:
        for part in parts:
            writer.write_table(part.read().to_arrow())
    return file


def filled(tables: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield the rows of tables in parts of at most ``ROWS`` rows or a little over ``BYTES`` bytes."""
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
    """Return the number of rows before each part, and as the last entry the number of all rows."""
    return np.cumsum([0, *(part.rows for part in parts)])


def together(
    machines: Machines, parts: Sequence[Part], work: Callable[[Part], pl.DataFrame]
) -> tuple[pl.DataFrame, RowNumbers]:
    """Return ``work`` of all parts as one table in the order of the rows, and each row's number through all parts."""
    table = pl.concat(machines.map(work, parts))
    if all(part.first is not None for part in parts):
        return table, np.arange(table.height)
    order = np.concatenate([part.at() for part in parts]).argsort(kind="stable")
    return table[order], order


def places(parts: Sequence[Part], numbers: RowNumbers) -> list[tuple[int, RowNumbers, RowNumbers]]:
    """Return in which parts rows are.

    Args:
        parts: All parts of a table.
        numbers: Numbers of rows, counted through all parts.

    Returns:
        For every part with some of the rows: the part's number, the positions of these rows in ``numbers``, and the
        rows' numbers within the part.
    """
    before = starts(parts)
    of_part = np.searchsorted(before, numbers, side="right") - 1
    order = np.argsort(of_part, kind="stable")
    cuts = np.flatnonzero(np.diff(of_part[order])) + 1
    found = [(int(of_part[which[0]]), which) for which in np.split(order, cuts) if len(which)]
    return [(part, which, numbers[which] - before[part]) for part, which in found]
