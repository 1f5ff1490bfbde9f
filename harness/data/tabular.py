"""Reads CSV and parquet files row by row; a broken row comes with its problem instead of its columns."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from harness.errors import RequestError
from harness.unpacking import format_of, most_unpacked, packing_of, printable, said, too_much

ROWS = 8192  # of a parquet file, in memory at a time
LONGEST_CELL = 1 << 28  # characters of a CSV cell: an unclosed quote must not read a whole disk into memory
MARKS = {
    ";": "semicolons",
    "\t": "tabs",
    "|": "bars",
    ",": "commas",
}  # separators that a header of one cell may have been meant to have
Item = tuple[int, int, dict[str, Any] | None, str]  # number (line or row), size, columns, problem


def csv_rows(stream: IO[bytes], path: Path, shown: str) -> Iterator[Item]:
    """Yield the rows of a CSV or TSV file after its header.

    Raises:
        RequestError: The header is broken, or a quote is never closed.
    """
    csv.field_size_limit(LONGEST_CELL)
    # Broken bytes become lone surrogates: their row is reported as broken, and reading goes on.
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        cells = csv.reader(text, delimiter="\t" if format_of(path) == ".tsv" else ",", strict=True)
        try:
            header = next((row for row in cells if row), [])
            _check_header(header, f"{shown}:{max(cells.line_num, 1)}")
            yield from _cells(cells, header, shown)
        except csv.Error as error:
            raise RequestError(f"{shown}:1: not CSV ({error})") from error
        except OSError as error:
            place = f"after line {cells.line_num:,}"
            raise RequestError(f"{shown}: cannot be read {place} ({said(error)})") from error


def _check_header(header: list[str], place: str) -> None:
    if (twice := repeated(header)) is not None:
        raise RequestError(f'{place}: column "{printable(twice)}" is there twice')
    if len(header) == 1 and (mark := next((mark for mark in MARKS if mark in header[0]), None)):
        raise RequestError(
            f'{place}: the header is one cell ("{printable(header[0])}"), so the columns are separated by '
            f"{MARKS[mark]}; a .csv has commas, a .tsv tabs"
        )
    for position, column in enumerate(header, start=1):
        if problem := _undecoded(column):
            raise RequestError(f"{place}: the name of column {position} is {problem}")


def repeated(names: Iterable[str]) -> str | None:
    """Return a name that occurs more than once, the alphabetically first one; None if there is none."""
    return min((name for name, count in Counter(names).items() if count > 1), default=None)


def _cells(cells: Any, header: list[str], shown: str) -> Iterator[Item]:
    while True:
        line = cells.line_num + 1
        try:
            row = next(cells)
        except StopIteration:
            return
        except csv.Error as error:
            taken = cells.line_num - line + 1
            if taken > 1 or "field larger" in str(error):  # dropping one row would lose all that it swallowed
                raise RequestError(
                    f"{shown}:{line}: not CSV (a quote is opened here and not closed in the {taken:,} lines to "
                    f"line {cells.line_num:,})"
                ) from error
            yield line, 0, None, f"not CSV ({error})"
            continue
        whole = "".join(row)
        if len(row) != len(header):
            if row:
                cell = "cell" if len(row) == 1 else "cells"
                yield line, len(whole), None, f"{len(row)} {cell} where the header has {len(header)}"
        elif not whole.isascii() and _undecoded(whole):
            broken = zip(header, map(_undecoded, row), strict=True)
            yield line, len(whole), None, next(f'"{column}" is {problem}' for column, problem in broken if problem)
        else:
            yield line, len(whole), dict(zip(header, row, strict=True)), ""


def _undecoded(cell: str) -> str:
    """Return the problem with a cell whose bytes are no UTF-8; empty if there is none."""
    try:
        cell.encode()
    except UnicodeEncodeError as error:
        return f"not UTF-8 text (byte {len(cell[: error.start].encode()) + 1} of the cell)"
    return ""


def parquet_rows(stream: IO[bytes], path: Path, shown: str) -> Iterator[Item]:
    """Yield the rows of a parquet file.

    Raises:
        RequestError: The file cannot be read, has a column twice, or unpacks to far more than rows of text would.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, left = 0, most_unpacked(path)
    try:
        source = pa.BufferReader(stream.read()) if packing_of(path) else path
        table = pq.ParquetFile(source, buffer_size=1 << 20, page_checksum_verification=True)
        names = table.schema_arrow.names
        if (twice := repeated(names)) is not None:
            raise RequestError(f'{shown}: column "{printable(twice)}" is there twice')
        groups = (table.metadata.row_group(index) for index in range(table.metadata.num_row_groups))
        if sum(group.total_byte_size for group in groups) > left:  # what the pages unpack to, before any is
            raise too_much(shown, left)
        for batch in table.iter_batches(ROWS):
            left -= batch.nbytes  # a value written once and repeated takes no room in a page
            if left < 0:
                raise too_much(shown, most_unpacked(path))
            for size, value, problem in arrow_rows(batch):
                number += 1
                yield number, size, value, problem
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        where = f" beyond row {number:,}" if number else ""
        raise RequestError(f"{shown}: not a parquet file that can be read{where} ({said(error)})") from error


def arrow_rows(batch: Any) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """Yield size, columns and problem of every row of an Arrow record batch."""
    size = batch.nbytes // max(batch.num_rows, 1)
    columns = batch.columns
    try:
        batch.validate()
        columns = [_own_precision(column) for column in columns]
        batch.validate(full=True)
        lists = [column.to_pylist() for column in columns]
    except ValueError:  # text that is no UTF-8, or a time that Python cannot hold: find the rows that have it
        for index in range(batch.num_rows):
            row: dict[str, Any] | None = {}
            problem = ""
            for name, column in zip(batch.schema.names, columns, strict=True):
                try:
                    assert row is not None
                    row[name] = column[index].as_py()
                except ValueError as error:
                    row, problem = None, f'"{name}" cannot be read ({said(error)})'
                    break
            yield size, row, problem
        return
    for values in zip(*lists, strict=True):
        yield size, dict(zip(batch.schema.names, values, strict=True)), ""


def _own_precision(column: Any) -> Any:
    """Return an Arrow column in 64 bits, with the shortest decimal of each number: 44.99, not 44.9900016784668.

    Lists of numbers stay as they are: no field of a row takes one, and vectors are long.
    """
    import numpy as np
    import pyarrow as pa

    if pa.types.is_float16(column.type):  # Arrow writes these out as if they had 64 bits
        values = [None if value is None else float(str(np.float16(value))) for value in column.to_pylist()]
        return pa.array(values, pa.float64())
    written = _with_single(column.type, pa.string())
    return column if written == column.type else column.cast(written).cast(_with_single(column.type, pa.float64()))


def _with_single(kind: Any, other: Any) -> Any:
    """Return an Arrow type with 32-bit numbers, alone or in objects, replaced by ``other``."""
    import pyarrow as pa

    if pa.types.is_float32(kind):
        return other
    if pa.types.is_dictionary(kind) and pa.types.is_float32(kind.value_type):
        return other
    if pa.types.is_struct(kind):
        inner = [kind.field(number) for number in range(kind.num_fields)]
        return pa.struct([field.with_type(_with_single(field.type, other)) for field in inner])
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        return pa.list_(kind.value_field.with_type(_with_single(kind.value_type, other)))
    return kind
