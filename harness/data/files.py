"""Local files: finds the files that a path names, and writes rows to a file; ``reading`` reads them."""

from __future__ import annotations

import contextlib
import csv
import glob
import gzip
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from harness import outside
from harness.data.reading import Record, SourceFile, batches, read
from harness.errors import RequestError, did_you_mean
from harness.unpacking import FORMATS, PACKINGS, format_of, packing_of, printable

__all__ = ["FORMATS", "Record", "SourceFile", "batches", "find", "read", "records", "write"]
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins with one of these is calculated by spreadsheets
DESCRIPTIONS = ("dataset_infos.json", "dataset_info.json")  # files of Hub datasets that describe the others
READABLE = f"{', '.join(FORMATS)} (or one of them with {' or '.join(PACKINGS)})"


def find(name: str, patterns: str | tuple[str, ...], base: Path) -> list[SourceFile]:
    """Return the files that paths, globs and folders name: in the order listed, each glob or folder sorted, none twice.

    Hidden files and folders count only if a path names them.

    Raises:
        RequestError: A path names nothing, a file in a format that cannot be read, or something that is no file.
    """
    found: dict[str, SourceFile] = {}
    for pattern in (patterns,) if isinstance(patterns, str) else patterns:
        place = f"sources.{name}.path: "
        paths = _matches(base, pattern, place)
        if not paths:
            raise RequestError(f'{place}no file "{printable(pattern)}" in {base}.{_nearest(base, pattern)}')
        for path in paths:
            if format_of(path) not in FORMATS:
                raise RequestError(f"{place}{printable(path.name)} is not {READABLE}")
            if Path(pattern).is_absolute():  # the folder is the machine's, not part of the data
                shown, role = path.as_posix(), f"files/{path.name}"
            else:
                shown = Path(os.path.relpath(path, base)).as_posix()
                role = f"files/{shown}"
            if path.resolve().as_posix() not in found:
                taken = sum(file.role.split("#")[0] == role for file in found.values())
                role = f"{role}#{taken + 1}" if taken else role
                found[path.resolve().as_posix()] = SourceFile(path, printable(shown), printable(role))
    return list(found.values())


def settled(name: str, patterns: str | tuple[str, ...], base: Path) -> tuple[str, ...]:
    """Return the paths of the files that ``patterns`` name now, so that files added later do not count."""
    return tuple(
        file.path.as_posix() if Path(file.shown).is_absolute() else Path(os.path.relpath(file.path, base)).as_posix()
        for file in find(name, patterns, base)
    )


def _matches(base: Path, pattern: str, place: str) -> list[Path]:
    path = base / pattern
    if trouble := outside.problem(path):
        raise RequestError(f"{place}{printable(pattern)} {trouble}")
    if path.is_dir():
        return inside(path, f"{place}{printable(pattern.rstrip('/'))}/")
    if path.is_file():
        return [path]
    parts = Path(pattern).parts
    for above in (os.path.join(*parts[:n]) for n in range(1, len(parts))):  # noqa: PTH118 (a pattern is no path)
        for named in glob.iglob(above, root_dir=base, recursive=True) if glob.has_magic(above) else ():  # noqa: PTH207
            if trouble := outside.problem(base / named) or outside.circle(base / named):
                raise RequestError(f"{place}{printable(named)} {trouble}")
    found: list[Path] = []
    for named in sorted(glob.glob(pattern, root_dir=base, recursive=True)):  # noqa: PTH207 (takes absolute ones)
        path = base / named
        if trouble := outside.problem(path):
            raise RequestError(f"{place}{printable(named)} {trouble}")
        if path.is_file() and path.name not in DESCRIPTIONS:
            found.append(path)
        elif path.is_dir() and format_of(path) in FORMATS:  # as Spark writes a table
            found += inside(path, f"{place}{printable(named)}/")
    return sorted(found)


def inside(folder: Path, place: str) -> list[Path]:
    """Return the files of rows below a folder, without those that are hidden or only describe other files.

    Args:
        folder: The folder.
        place: The beginning of messages, before a path in the folder.

    Raises:
        RequestError: The folder holds something that is neither file nor folder, or files that ``save_to_disk`` wrote.
    """
    there = outside.walk(folder, place)
    marks = sorted(path for path in there if path.name in ("dataset_dict.json", "dataset_info.json"))
    if marks and any(path.suffix == ".arrow" for path in there):
        raise RequestError(place.removesuffix("/") + _saved(min(marks, key=lambda path: len(path.parts)).parent))
    return [path for path in there if format_of(path) in FORMATS and path.name not in DESCRIPTIONS]


def _saved(folder: Path) -> str:
    """Return the message on a folder that ``save_to_disk`` of the datasets library wrote."""
    load, name = f'datasets.load_from_disk("{folder}")', folder.name
    written = f'{load}.to_parquet("{name}.parquet")'
    if (folder / "dataset_dict.json").is_file():
        written = f'for split, rows in {load}.items(): rows.to_parquet(f"{name}-{{split}}.parquet")'
    return f": a dataset written by save_to_disk, which is not read; write it as parquet, in Python: {written}"


def _nearest(base: Path, pattern: str) -> str:
    """Return a hint for a path that names nothing: near names in the deepest folder of the path that exists."""
    folder = base
    for part in Path(pattern).parts:
        if trouble := outside.problem(folder / part):
            return f" There, {printable(part)} {trouble}."
        if (folder / part).is_file():
            return f" There, {printable(part)} is a file, no folder."
        if not (folder / part).is_dir():
            there = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
            where = f" ({folder.name}/ is searched.)" if folder != base else ""
            return where + did_you_mean(part, there)
        folder = folder / part
    return f" The folder has no {', '.join(FORMATS)} file."


def records(path: Path) -> Iterator[Record]:
    """Yield the records of one file, whatever its format, in order and without blank lines.

    Raises:
        RequestError: There is no such file, its format is unknown, or the file as a whole cannot be read; a single
            broken record is yielded with its problem.
    """
    shown = printable(str(path))
    if trouble := outside.problem(path):
        raise RequestError(f"{shown} {trouble}")
    if not path.is_file():
        what = "is a folder, expected a file." if path.is_dir() else "no such file." + _nearest(path.parent, path.name)
        raise RequestError(f"{shown}: {what}")
    if format_of(path) not in FORMATS:
        raise RequestError(f"{shown}: the name does not end in {READABLE}")
    return read(SourceFile(path, shown, f"files/{printable(path.name)}"))


def write(rows: Iterable[Mapping[str, Any]], path: Path, *, to_look_at: bool = False) -> int:
    """Write rows in the format of ``path``'s suffix, all or nothing, and return how many rows were written.

    Rows are written one by one, except to parquet, which needs all rows to find the types of the columns.

    Args:
        rows: JSON values by column. In CSV and parquet all rows have the columns of the first; CSV takes no lists or
            objects.
        path: Ends in .jsonl, .ndjson, .json, .csv, .tsv or .parquet, all but the last also with .gz or .zst.
        to_look_at: Whether the rows are a list for people, not data to train on: in CSV, text that a spreadsheet would
            run as a formula gets an apostrophe before it.

    Raises:
        RequestError: The format is unknown or cannot hold the rows, or the file cannot be written.
    """
    shown, form, packing = printable(str(path)), format_of(path), packing_of(path)
    if form not in FORMATS or (form == ".parquet" and packing):
        raise RequestError(f"{shown}: the name does not end in {READABLE}")
    if not path.parent.is_dir():
        raise RequestError(f"{shown}: there is no folder {printable(str(path.parent))}")
    writer = {".json": _write_list, ".csv": _write_table, ".tsv": _write_table, ".parquet": _write_parquet}
    if to_look_at and form in (".csv", ".tsv"):
        rows = ({name: _harmless(value) for name, value in row.items()} for row in rows)
    passing = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with passing.open("wb") as raw, _packed(raw, packing) as stream:
            count = writer.get(form, _write_lines)(rows, stream, shown)
        passing.replace(path)
    except OSError as error:
        raise RequestError(f"{shown}: cannot be written ({error.strerror or error})") from error
    finally:
        passing.unlink(missing_ok=True)
    return count


@contextlib.contextmanager
def _packed(raw: IO[bytes], packing: str) -> Iterator[IO[bytes]]:
    if packing == ".gz":
        with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0, filename="") as stream:
            yield stream  # type: ignore[misc]
    elif packing == ".zst":
        import pyarrow as pa

        with pa.CompressedOutputStream(raw, "zstd") as stream:
            yield stream
    else:
        yield raw


def _write_lines(rows: Iterable[Mapping[str, Any]], stream: IO[bytes], shown: str) -> int:
    count = 0
    for count, row in enumerate(rows, start=1):
        stream.write(_encoded(row, shown, count) + b"\n")
    return count


def _write_list(rows: Iterable[Mapping[str, Any]], stream: IO[bytes], shown: str) -> int:
    count = 0
    stream.write(b"[")
    for count, row in enumerate(rows, start=1):
        stream.write((b"\n" if count == 1 else b",\n") + _encoded(row, shown, count))
    stream.write(b"\n]\n")
    return count


def _encoded(row: Mapping[str, Any], shown: str, number: int) -> bytes:
    try:
        return json.dumps(dict(row), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise RequestError(f"{shown}: row {number:,} cannot be written as JSON ({error})") from error


def _write_table(rows: Iterable[Mapping[str, Any]], stream: IO[bytes], shown: str) -> int:
    remaining = iter(rows)
    first = next(remaining, None)
    if first is None:
        return 0
    count = 0
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    delimiter = "\t" if format_of(Path(shown)) == ".tsv" else ","
    table = csv.DictWriter(text, list(first), delimiter=delimiter, lineterminator="\n")
    table.writeheader()
    for count, row in enumerate(itertools.chain([first], remaining), start=1):
        for column, value in row.items():
            if isinstance(value, list | dict):
                raise RequestError(f'{shown}: row {count:,}: "{column}" is a list or an object, which CSV cannot hold')
        try:
            table.writerow(row)
        except ValueError as error:
            raise RequestError(f"{shown}: row {count:,} cannot be written ({error})") from error
    text.detach()
    return count


def _harmless(value: Any) -> Any:
    calculates = isinstance(value, str) and (value.startswith(FORMULA) or value.lstrip().startswith(FORMULA))
    return f"'{value}" if calculates else value


def _write_parquet(rows: Iterable[Mapping[str, Any]], stream: IO[bytes], shown: str) -> int:
    import polars as pl

    held = [dict(row) for row in rows]
    try:
        pl.DataFrame(held, infer_schema_length=None).write_parquet(stream)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        raise RequestError(f"{shown}: the rows make no table ({str(error).splitlines()[0]})") from error
    return len(held)
