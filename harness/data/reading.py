"""Reads the records of a file in order, each with its place and its columns or its problem, in bounded batches."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.data.tabular import Item, csv_rows, parquet_rows, repeated
from harness.errors import RequestError
from harness.unpacking import format_of, opened, printable, said

BATCH_RECORDS, BATCH_SIZE = 8192, 4 << 20  # a batch is full at so many records, or so many bytes or characters
KINDS: dict[type, str] = {
    dict: "an object", list: "a list", str: "text", type(None): "null", bool: "true or false", int: "a number",
    float: "a number",
}  # fmt: skip
SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class SourceFile:
    """A file of a source.

    Attributes:
        path: Path of the file.
        shown: Its name in messages: relative to the study, if the study names it so.
        role: Its name among a step's inputs.
    """

    path: Path
    shown: str
    role: str


@dataclass(frozen=True)
class Record:
    """One record of a file: its place, and its columns or the problem because of which it has none."""

    place: str
    value: dict[str, Any] | None
    problem: str = ""


@dataclass(frozen=True)
class Batch:
    """Records read together.

    Attributes:
        stem: The place of a record is the stem and the record's number.
        numbers: The line of each record, or its position counted from 1 (from 0 in a Hub dataset).
        values: The columns of each record; None if it has a problem.
        problems: The problem of each record; empty if it has none.
        typed: Whether the format distinguishes numbers from text; in CSV every value is text.
    """

    stem: str
    numbers: list[int]
    values: list[dict[str, Any] | None]
    problems: list[str]
    typed: bool = True

    def records(self) -> Iterator[Record]:
        """Yield the records one by one."""
        for number, value, problem in zip(self.numbers, self.values, self.problems, strict=True):
            yield Record(f"{self.stem}{number}", value, problem)

    def chosen(self, positions: list[int]) -> Batch:
        """Return the records at the given positions."""
        return Batch(
            self.stem,
            [self.numbers[position] for position in positions],
            [self.values[position] for position in positions],
            [self.problems[position] for position in positions],
            self.typed,
        )


@dataclass(frozen=True)
class Block:
    """Whole lines of a file with one JSON object per line, not parsed yet.

    Attributes:
        stem: The place of a record is the stem and the record's line number.
        first: Number of the first line.
        raw: The lines with their line breaks, which the file's last line may lack.
    """

    stem: str
    first: int
    raw: bytes

    def batch(self) -> Batch:
        """Read the lines one by one."""
        items = list(_lines(self.raw, self.first))
        return Batch(self.stem, [item[0] for item in items], [item[1] for item in items], [item[2] for item in items])

    def records(self) -> Iterator[Record]:
        """Yield the records one by one."""
        return self.batch().records()


def read(file: SourceFile) -> Iterator[Record]:
    """Yield the records of a file in order, without blank lines.

    Raises:
        RequestError: The file as a whole cannot be read; a single broken record is yielded with its problem.
    """
    for batch in batches(file):
        yield from batch.records()


def batches(file: SourceFile) -> Generator[Batch | Block, None, None]:
    """Yield the records of a file in order, in batches that bound the memory used (``.json``: its text is held whole).

    Raises:
        RequestError: As ``read`` does, after the records before the damage were yielded.
    """
    form = format_of(file.path)
    if form in (".jsonl", ".ndjson"):
        return _blocks(file)
    reader = {".json": _json, ".parquet": parquet_rows}.get(form, csv_rows)
    stem = file.shown + ("#" if form in (".json", ".parquet") else ":")
    return batched(_items(reader, file), stem, typed=form not in (".csv", ".tsv"))


def batched(items: Iterator[Item], stem: str, *, typed: bool = True) -> Generator[Batch, None, None]:
    """Yield records in batches; an error is raised after the records before it were yielded."""
    failure = None
    held: list[Item] = []
    size = 0
    while True:
        try:
            item = next(items, None)
        except RequestError as error:
            item, failure = None, error
        if item is not None:
            held.append(item)
            size += item[1]
        if held and (item is None or len(held) >= BATCH_RECORDS or size >= BATCH_SIZE):
            numbers, _, values, problems = (list(column) for column in zip(*held, strict=True))
            held, size = [], 0
            yield Batch(stem, numbers, values, problems, typed)
        if failure is not None:
            raise failure
        if item is None:
            return


def _items(reader: Any, file: SourceFile) -> Iterator[Item]:
    try:
        with opened(file.path, file.shown) as stream:
            yield from reader(stream, file.path, file.shown)
    except (OSError, MemoryError) as error:
        raise RequestError(f"{file.shown}: cannot be read ({said(error)})") from error


# ------------------------------------------------------------------------------------------------------------ JSON


def _blocks(file: SourceFile) -> Generator[Block, None, None]:
    stem, first = f"{file.shown}:", 1
    held = bytearray()
    try:
        with opened(file.path, file.shown) as stream:
            while data := stream.read1(BATCH_SIZE):
                held += data
                end = held.rfind(b"\n", len(held) - len(data)) + 1
                if end and len(held) >= BATCH_SIZE:
                    yield Block(stem, first, bytes(held[:end]))
                    first += held.count(b"\n", 0, end)
                    del held[:end]
        if held:
            yield Block(stem, first, bytes(held))
    except (OSError, MemoryError, RequestError) as error:
        end = held.rfind(b"\n") + 1
        if end:  # the lines before the damage
            yield Block(stem, first, bytes(held[:end]))
            first += held.count(b"\n", 0, end)
        if isinstance(error, RequestError):
            raise
        after = f" after line {first - 1:,}" if first > 1 else ""
        raise RequestError(f"{file.shown}: cannot be read{after} ({said(error)})") from error


def _lines(raw: bytes, first: int) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    scan: Callable[[str, int], tuple[Any, int]] = vars(DECODER)["scan_once"]
    for number, line in enumerate(io.BytesIO(raw), start=first):
        try:  # nearly all lines are one object, and nothing else
            text = line.rstrip(b"\r\n").decode()
            value, end = scan(text, 0)
            if end == len(text) and type(value) is dict:
                yield number, value, ""
                continue
        except (ValueError, RecursionError, StopIteration):
            pass
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield number, *_line(line, number)


def _line(line: bytes, number: int) -> tuple[dict[str, Any] | None, str]:
    try:
        value, problem = parse(line.rstrip(b"\r\n").decode())
    except UnicodeDecodeError as error:
        value, problem = None, f"not UTF-8 text (byte {error.start + 1} of the line)"
    value, problem = as_object(value, problem)
    if problem and number == 1 and line.lstrip().startswith(b"["):
        problem += "; a file that is one list is called .json"
    return value, problem


def _json(stream: IO[bytes], path: Path, shown: str) -> Iterator[Item]:
    raw = stream.read()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise RequestError(f"{shown}:{line}: not UTF-8 text (byte {error.start + 1} of the file)") from error
    del raw
    start = _skip(text, 0)
    if text[start : start + 1] == "[":
        yield from _elements(text, start + 1, shown)
        return
    if start == len(text):
        raise RequestError(f"{shown}: the file is empty")
    value, problem = parse(text)
    if problem:
        hint = "; a file with one object per line is called .jsonl" if "extra data" in problem else ""
        raise RequestError(f"{shown}: {problem}{hint}")
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise RequestError(f'{shown}: expected a list of objects, or {{"data": [...]}}, not {_kind(value)}')
    for number, item in enumerate(value["data"], start=1):
        yield number, len(text) // len(value["data"]), *as_object(item, "")


def _elements(text: str, at: int, shown: str) -> Iterator[Item]:
    """Yield the elements of a list one at a time: all at once would take several times the memory of the text."""
    number, at = 0, _skip(text, at)
    ended = text[at : at + 1] == "]"
    while not ended:
        number += 1
        try:
            value, problem, end = _element(text, at)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{shown}#{number}: {_not_json(error)}") from error
        yield number, end - at, *as_object(value, problem)
        at = _skip(text, end)
        mark = text[at : at + 1]
        if mark not in (",", "]"):
            missing = json.JSONDecodeError("Expecting ',' delimiter", text, at)
            raise RequestError(f"{shown}#{number + 1}: {_not_json(missing)}")
        ended = mark == "]"
        at = at if ended else _skip(text, at + 1)
    at = _skip(text, at + 1)
    if at < len(text):
        raise RequestError(f"{shown}: {_not_json(json.JSONDecodeError('Extra data', text, at))}")


def _element(text: str, at: int) -> tuple[Any, str, int]:
    """Return the value that begins at a position, or None; the problem with it, if any; and where it ends."""
    try:
        value, end = DECODER.raw_decode(text, at)
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # valid JSON but for a duplicate key or NaN: only this record is bad
        return None, _not_json(error), PLAIN.raw_decode(text, at)[1]
    return value, "", end


def _skip(text: str, at: int) -> int:
    space = SPACE.match(text, at)
    assert space is not None
    return space.end()


def as_object(value: Any, problem: str = "") -> tuple[dict[str, Any] | None, str]:
    """Return a record's columns, or None and the problem: the given one, or that the value is no object."""
    if not problem and not isinstance(value, dict):
        problem = f"not an object but {_kind(value)}"
    return (None if problem else value), problem


def parse(text: str) -> tuple[Any, str]:
    """Return a JSON value, or None and the problem with it; duplicate keys and NaN are problems too."""
    try:
        return DECODER.decode(text), ""
    except (ValueError, RecursionError) as error:
        return None, _not_json(error)


def _not_json(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        message = error.msg[0].lower() + error.msg[1:].removesuffix(" at").removesuffix(" starting")
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        return f"not JSON ({message} at {line}column {error.colno})"
    if isinstance(error, RecursionError):
        return "not JSON (nested too deep)"
    return f"not JSON ({str(error).split(';')[0]})"


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = repeated(name for name, _ in pairs) or ""
        raise ValueError(f'the key "{printable(twice)}" is there twice')
    return found


def _kind(value: Any) -> str:
    return KINDS.get(type(value), f"a value of type {type(value).__name__}")


DECODER = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique)
PLAIN = json.JSONDecoder()
