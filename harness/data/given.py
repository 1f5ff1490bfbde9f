"""Rows that a caller passes to a function, in a file or in memory; both are read as records with places."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import frames
from harness.data import files
from harness.data.reading import Batch, Block, Record, as_object, batched
from harness.data.tabular import Item, arrow_rows
from harness.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    Rows = pl.DataFrame | Iterable[Mapping[str, Any]] | str | Path | Any  # also frames of pandas, datasets, Arrow


@dataclass(frozen=True, eq=False)
class Given:
    """Rows that can be read any number of times.

    Attributes:
        name: What messages call the rows: the file, or the parameter.
        path: The file; None if the rows are in memory.
        held: The rows in memory; None if they are in a file.
        stem: The place of a row in memory is this text and the row's number, from 1 on.
    """

    name: str
    path: Path | None = None
    held: pl.DataFrame | list[Any] | None = None
    stem: str = "row "

    @classmethod
    def of(cls, rows: Rows, parameter: str, stem: str = "row ") -> Given:
        """Return the rows that a function was called with.

        Args:
            rows: A path, or rows of a type that ``frames.in_memory`` takes.
            parameter: What messages call the rows.
            stem: The beginning of the places of rows in memory.

        Raises:
            RequestError: ``rows`` is something else.
        """
        if isinstance(rows, Path | str):
            return cls(str(rows), path=Path(rows))
        return cls(parameter, held=frames.in_memory(rows, parameter), stem=stem)

    def records(self) -> Iterator[Record]:
        """Yield the rows in order, each with its place; a broken one with its problem.

        Raises:
            RequestError: The file cannot be read as a whole.
        """
        if self.path is not None:
            return files.records(self.path)
        return (record for batch in self.batches() for record in batch.records())

    def batches(self) -> Generator[Batch | Block, None, None]:
        """Yield the rows in memory, many at a time."""
        return batched(self._items(), self.stem)

    def _items(self) -> Iterator[Item]:
        if isinstance(self.held, list):
            for number, row in enumerate(self.held, 1):
                odd = next((name for name in row if not isinstance(name, str)), None) if isinstance(row, dict) else None
                problem = "" if odd is None else f"the name of a column is {odd!r}, expected text"
                yield number, 0, *as_object(row, problem)
        elif self.held is not None:
            number = 0
            for batch in _arrow(self.held, self.name).to_batches():
                for size, value, problem in arrow_rows(batch):
                    number += 1
                    yield number, size, value, problem

    def chosen(self, stays: Sequence[bool]) -> pl.DataFrame:
        """Return some of the rows with all their columns.

        Args:
            stays: Whether each row stays, in the order of ``records``.

        Raises:
            RequestError: A column of these rows mixes kinds of values, so that they make no table.
        """
        import polars as pl

        if isinstance(self.held, pl.DataFrame):
            return self.held.filter(pl.Series(stays, dtype=pl.Boolean))
        kept = [
            record.value
            for record, stay in zip(self.records(), stays, strict=True)
            if stay and record.value is not None
        ]
        return frames.table(kept, self.name)


def _arrow(frame: pl.DataFrame, name: str) -> Any:
    """Return a frame as an Arrow table, in types that every version of Arrow knows."""
    import polars as pl

    try:
        return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    except (ValueError, TypeError, pl.exceptions.PolarsError) as error:
        raise RequestError(f"{name}: cannot be read as a table ({str(error).splitlines()[0]})") from error
