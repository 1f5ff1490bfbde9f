"""Local files: which ones a path names, and the records in them, each with its place or its problem."""

from __future__ import annotations

import csv
import glob
import gzip
import io
import json
import os
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import polars as pl

from harness.errors import RequestError, did_you_mean

FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class File:
    """A file of a source.

    Attributes:
        path: Where it is.
        shown: How messages call it: relative to the study, if the study does.
        role: Its name among a step's inputs.
    """

    path: Path
    shown: str
    role: str


@dataclass(frozen=True)
class Record:
    """One record of a file: its columns, or the problem that left it without any."""

    place: str
    value: dict[str, Any] | None
    problem: str = ""


def find(name: str, patterns: str | tuple[str, ...], base: Path) -> list[File]:
    """Return the files that paths, globs and folders name: as listed, each glob or folder sorted, none twice.

    Raises:
        RequestError: A path names nothing, or a file in a format that cannot be read.
    """
    found: dict[str, File] = {}
    for pattern in (patterns,) if isinstance(patterns, str) else patterns:
        paths = _matches(base, pattern)
        if not paths:
            raise RequestError(f'sources.{name}.path: no file "{pattern}" in {base}.{_nearest(base, pattern)}')
        for path in paths:
            if _format(path) not in FORMATS:
                raise RequestError(
                    f"sources.{name}.path: {path.name} is not {', '.join(FORMATS)} (or one of them with .gz)"
                )
            if Path(pattern).is_absolute():  # where a machine keeps its data is no part of what the data is
                shown, role = path.as_posix(), f"files/{path.name}"
            else:
                shown = Path(os.path.relpath(path, base)).as_posix()
                role = f"files/{shown}"
            if path.resolve().as_posix() not in found:
                taken = sum(file.role.split("#")[0] == role for file in found.values())
                role = f"{role}#{taken + 1}" if taken else role
                found[path.resolve().as_posix()] = File(path, shown, role)
    return list(found.values())


def _matches(base: Path, pattern: str) -> list[Path]:
    path = base / pattern
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file() and _format(p) in FORMATS)
    if path.is_file():
        return [path]
    named = glob.glob(pattern, root_dir=base, recursive=True)  # noqa: PTH207 (takes absolute ones)
    return sorted(base / p for p in named if (base / p).is_file())


def _nearest(base: Path, pattern: str) -> str:
    """Say what is there instead, in the deepest folder of the path that exists."""
    folder = base
    for part in Path(pattern).parts:
        if not (folder / part).is_dir():
            there = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
            where = f" ({folder.name}/ is searched.)" if folder != base else ""
            return where + did_you_mean(part, there)
        folder = folder / part
    return f" The folder has no {', '.join(FORMATS)} file."


def _format(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def read(file: File) -> Iterator[Record]:
    """Yield the records of a file in order, without blank lines.

    Raises:
        RequestError: The file as a whole cannot be read; a single broken record is yielded with its problem.
    """
    readers = {".json": _json, ".csv": _table, ".tsv": _table, ".parquet": _parquet}
    reader = readers.get(_format(file.path), _lines)
    packed = file.path.name.lower().endswith(".gz")
    try:
        with file.path.open("rb") as raw:
            yield from reader(cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw, file)
    except (OSError, EOFError, zlib.error) as error:
        raise RequestError(f"{file.shown}: cannot be read ({error})") from error


def _lines(stream: IO[bytes], file: File) -> Iterator[Record]:
    for number, raw in enumerate(stream, start=1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if not line.strip():
            continue
        place = f"{file.shown}:{number}"
        try:
            value, problem = _parse(line.rstrip(b"\r\n").decode())
        except UnicodeDecodeError as error:
            value, problem = None, f"not UTF-8 text (byte {error.start + 1} of the line)"
        yield _record(place, value, problem)


def _json(stream: IO[bytes], file: File) -> Iterator[Record]:
    try:
        value, problem = _parse(stream.read().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RequestError(f"{file.shown}: not UTF-8 text (byte {error.start + 1})") from error
    if problem:
        hint = "; a file with one object per line is called .jsonl" if "extra data" in problem else ""
        raise RequestError(f"{file.shown}: {problem}{hint}")
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    if not isinstance(value, list):
        raise RequestError(f'{file.shown}: expected a list of objects, or {{"data": [...]}}, not {_kind(value)}')
    for number, item in enumerate(value, start=1):
        yield _record(f"{file.shown}#{number}", item, "")


def _table(stream: IO[bytes], file: File) -> Iterator[Record]:
    csv.field_size_limit(sys.maxsize)
    # Broken bytes become lone surrogates: the row they are in is told to be broken, and the reader goes on.
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        cells = csv.reader(text, delimiter="\t" if _format(file.path) == ".tsv" else ",", strict=True)
        header = next(cells, [])
        twice = {column for column in header if header.count(column) > 1}
        if twice:
            raise RequestError(f'{file.shown}:1: column "{min(twice)}" is there twice')
        while True:
            place = f"{file.shown}:{cells.line_num + 1}"
            try:
                row = next(cells)
            except StopIteration:
                return
            except csv.Error as error:
                yield Record(place, None, f"not CSV ({error})")
                continue
            if len(row) == len(header):
                yield Record(place, dict(zip(header, row, strict=True)))
            elif row:
                yield Record(place, None, f"{len(row)} cells where the header has {len(header)}")


def _parquet(stream: IO[bytes], file: File) -> Iterator[Record]:
    try:
        table = pl.read_parquet(stream)
    except pl.exceptions.PolarsError as error:
        raise RequestError(f"{file.shown}: not a parquet file ({str(error).splitlines()[0]})") from error
    for number, row in enumerate(table.iter_rows(named=True), start=1):
        yield Record(f"{file.shown}#{number}", row)


def _record(place: str, value: Any, problem: str) -> Record:
    if not problem and not isinstance(value, dict):
        problem = f"not an object but {_kind(value)}"
    return Record(place, None if problem else value, problem)


def _parse(text: str) -> tuple[Any, str]:
    """Return a JSON value, or the problem with it."""
    try:
        return json.loads(text, parse_constant=_refuse), ""
    except json.JSONDecodeError as error:
        message = error.msg[0].lower() + error.msg[1:].removesuffix(" at").removesuffix(" starting")
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        return None, f"not JSON ({message} at {line}column {error.colno})"
    except (ValueError, RecursionError) as error:
        return None, f"not JSON ({error})"


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number")


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "text", type(None): "null", bool: "true or false"}.get(
        type(value), "a number"
    )
