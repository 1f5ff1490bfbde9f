"""Per-item scores of any tool, in a file or in memory: complete and paired, or refused with the line or row."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import frames, outside
from harness.errors import Asked, RequestError, did_you_mean

if TYPE_CHECKING:
    from harness.statistics.scores import Scores

REQUIRED = ("arm", "seed", "item", "score")
OPTIONAL = ("group", "slice")
EXPECTED = f"an object with {', '.join(REQUIRED)}"
FORMATS = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class ScoreTable:
    """Scores that can be compared.

    Attributes:
        scores: The complete arms, the baseline first.
        slices: The slice of each item; empty without a column ``slice``.
        left_out: Arm -> what it lacks, for arms that lack a seed of the baseline.
        notes: Columns and seeds that are not used, in words.
    """

    scores: Scores
    slices: tuple[str | None, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Cell:
    score: float
    place: str


@dataclass
class _Rows:
    """All rows by arm, seed and item."""

    cells: dict[str, dict[str, dict[str, _Cell]]] = field(default_factory=dict)
    labels: dict[str, dict[str, tuple[str | None, str]]] = field(default_factory=lambda: {n: {} for n in OPTIONAL})
    columns: tuple[str, ...] = ()


def read_scores(given: Any, baseline: str, asked: Asked) -> ScoreTable:
    """Read a table with the columns arm, seed, item and score; optional: group (cluster of items) and slice.

    Every arm needs the seeds of the baseline, and every seed the same items. An arm that lacks a whole seed is left
    out and named; a seed that lacks items is an error.

    Args:
        given: The path of a csv, jsonl or parquet file, or rows in memory (``frames.in_memory``).
        baseline: The arm that the others are paired with.
        asked: Names of the parameters in messages.

    Raises:
        RequestError: When the file, a row or the pairing is wrong; the message names the line or row.
    """
    shown, read = read_rows(given, asked("scores"), EXPECTED)
    rows = _collect(read)
    if not rows.cells:
        raise RequestError(f"{shown}: no scores in it; expected one row per arm, seed and item")
    if baseline not in rows.cells:
        near = did_you_mean(baseline, rows.cells)
        raise RequestError(f'{asked("baseline")}: {shown} has no arm "{baseline}".{near}')
    if len(rows.cells) == 1:
        raise RequestError(f'{shown}: only the arm "{baseline}" is in it; there is nothing to compare it with')
    return _table(shown, rows, baseline)


def read_rows(given: Any, place: str, expected: str) -> tuple[str, Iterator[tuple[str, Mapping[str, Any]]]]:
    """Return the name of a table, and the place and the fields of each of its rows.

    Args:
        given: The path of a csv, jsonl or parquet file, or rows in memory (``frames.in_memory``).
        place: What the caller calls it.
        expected: What a row is, for messages.

    Raises:
        RequestError: The file cannot be read; on iteration, a row is none.
    """
    if isinstance(given, str | Path):
        file = Path(given)
        _check(file, place)
        return str(file), _read(file, expected)
    return place, _held(given, place, expected)


def _check(file: Path, place: str) -> None:
    """Refuse a path that cannot be a file of scores, before it is opened."""
    if file.suffix not in FORMATS:
        raise RequestError(f"{place}: {file} is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file")
    if trouble := outside.problem(file):
        raise RequestError(f"{place}: {file} {trouble}")
    if not file.is_file():
        raise RequestError(f"{place}: there is no file {file}")


def _table(shown: str, rows: _Rows, baseline: str) -> ScoreTable:
    import numpy as np

    from harness.statistics.scores import Scores

    notes = [f'column "{name}" is not read' for name in rows.columns if name not in REQUIRED + OPTIONAL]
    seeds = list(rows.cells[baseline])
    left_out = {}
    for arm, by_seed in rows.cells.items():
        lacking = [seed for seed in seeds if seed not in by_seed]
        further = [seed for seed in by_seed if seed not in seeds]
        if lacking:
            left_out[arm] = f"lacks {listed('seed', lacking)} of the baseline: it cannot be paired"
        elif further:
            notes.append(f"{listed('seed', further)} of {arm} is not used: the baseline lacks it")
    arms = [baseline, *(arm for arm in rows.cells if arm != baseline and arm not in left_out)]
    if len(arms) == 1:
        raise RequestError(
            f"{shown}: no arm has all seeds of the baseline ({', '.join(seeds[:6])}), so nothing is paired; runs that "
            "belong together need the same seed in every arm"
        )
    items = list(rows.cells[baseline][seeds[0]])
    for arm in arms:
        for seed in seeds:
            _same_items(rows, arm, seed, items, f'the baseline, seed "{seeds[0]}"')
    values = np.array([[[rows.cells[a][s][i].score for i in items] for s in seeds] for a in arms])
    groups, slices = (_label(rows, name, items) for name in OPTIONAL)
    if groups and None in groups:
        raise RequestError(f'{shown}: item "{items[groups.index(None)]}" has no group; give one to every item or none')
    clusters = tuple(name for name in groups if name is not None) or None
    scores = Scores(values, tuple(arms), tuple(seeds), tuple(items), clusters)
    return ScoreTable(scores, slices, left_out, tuple(notes))


def _same_items(rows: _Rows, arm: str, seed: str, items: Sequence[str], reference: str) -> None:
    """Refuse an arm's seed whose items differ from the reference's."""
    cells = rows.cells[arm][seed]
    missing = [item for item in items if item not in cells]
    wanted = set(items)
    further = [item for item in cells if item not in wanted]
    last = list(cells.values())[-1].place
    if missing:
        raise RequestError(
            f'{last}: arm "{arm}", seed "{seed}" ends here without {listed("item", missing)}, which {reference} has '
            f"({len(missing):,} of {len(items):,} missing); every arm and seed needs the same items"
        )
    if further:
        raise RequestError(
            f'{cells[further[0]].place}: arm "{arm}", seed "{seed}" has {listed("item", further)}, which {reference} '
            "lacks; every arm and seed needs the same items"
        )


def _label(rows: _Rows, name: str, items: Sequence[str]) -> tuple[str | None, ...]:
    labels = rows.labels[name]
    return tuple(labels[item][0] for item in items) if any(labels[item][0] for item in items if item in labels) else ()


def _collect(read: Iterable[tuple[str, Mapping[str, Any]]]) -> _Rows:
    """Return all rows, each checked, so that an error names its line."""
    rows = _Rows()
    for place, row in read:
        if not rows.columns:
            rows.columns = tuple(row)
            for name in REQUIRED:
                if name not in row:
                    hint = did_you_mean(name, [column for column in row if column not in REQUIRED])
                    raise RequestError(f'{place}: there is no column "{name}".{hint}')
        arm, seed, item = (_name(row.get(name), name, place) for name in REQUIRED[:3])
        known = rows.cells.setdefault(arm, {}).setdefault(seed, {})
        if item in known:
            raise RequestError(
                f'{place}: arm "{arm}", seed "{seed}", item "{item}" has a second score; the first is at '
                f"{known[item].place}"
            )
        known[item] = _Cell(number(row.get("score"), place, "score"), place)
        for name in OPTIONAL:
            value = row.get(name)
            label = None if value is None or value == "" else str(value)
            before, first = rows.labels[name].setdefault(item, (label, place))
            if before != label:
                raise RequestError(f'{place}: item "{item}" has {name} "{label}" here and "{before}" at {first}')
    return rows


def _name(value: Any, column: str, place: str) -> str:
    if value is None or str(value).strip() == "":
        raise RequestError(f"{place}: {column} is empty")
    return str(value)


def number(value: Any, place: str, what: str) -> float:
    """Return a finite number.

    Raises:
        RequestError: It is none; the message begins with the place and says what the cell holds.
    """
    from harness.statistics.scores import LARGEST

    if value is None or value == "":
        raise RequestError(f"{place}: {what} is empty; a number was expected")
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise RequestError(f'{place}: {what} is "{value}", not a number') from None
    if not math.isfinite(found):
        raise RequestError(f"{place}: {what} is {value}, not a finite number")
    if abs(found) > LARGEST:
        raise RequestError(f"{place}: {what} is {value}, too large (at most {LARGEST:g} either way)")
    return found


def _held(given: Any, place: str, expected: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the place and the fields of every row in memory."""
    for number, row in enumerate(frames.rows(frames.in_memory(given, place)), 1):
        if not isinstance(row, Mapping) or not all(isinstance(name, str) for name in row):
            raise RequestError(f"row {number}: expected {expected}")
        yield f"row {number}", row


def _read(file: Path, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the fields of every row."""
    if file.suffix == ".parquet":
        import polars as pl

        try:
            frame = pl.read_parquet(file, glob=False)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise RequestError(f"{file}: not a parquet file ({str(error).splitlines()[0]})") from error
        yield from ((f"{file}, row {number}", row) for number, row in enumerate(frame.iter_rows(named=True), 1))
        return
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            yield from _lines(file, stream, expected) if file.suffix == ".jsonl" else _cells(file, stream)
    except UnicodeDecodeError as error:
        raise RequestError(f"{file}: not UTF-8 text (byte {error.start:,})") from error


def _lines(file: Path, stream: Any, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise RequestError(f"{file}:{number}: not JSON ({error.msg} at column {error.colno})") from error
        if not isinstance(row, dict):
            raise RequestError(f"{file}:{number}: expected {expected}")
        yield f"{file}:{number}", row


def _cells(file: Path, stream: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.reader(stream, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        mark = next((mark for mark in ";\t|" if len(header) == 1 and mark in header[0]), None)
        if mark is not None:
            raise RequestError(f"{file}:1: columns are separated by {mark!r}, expected commas")
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise RequestError(f'{file}:1: two columns are named "{twice}"')
        for row in reader:
            place = f"{file}:{reader.line_num}"
            if not row:
                continue
            if len(row) != len(header):
                raise RequestError(f"{place}: {len(row)} fields where the header has {len(header)}")
            yield place, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise RequestError(f"{file}:{reader.line_num}: not CSV ({error})") from error


def listed(what: str, names: Sequence[str]) -> str:
    """Return ``source "a"``, or ``sources "a", "b", "c" and 4 more``."""
    shown = ", ".join(f'"{name}"' for name in names[:3])
    return f"{what}{'s' if len(names) > 1 else ''} {shown}" + (
        f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    )
