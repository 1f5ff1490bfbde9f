"""The bounds of a filter; each returns the reason for every row that does not pass it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from harness.data.operations import functions
from harness.data.operations.context import Context, which
from harness.data.text import counted
from harness.errors import RequestError, did_you_mean

Bound = Callable[[pl.DataFrame, pl.Series], pl.Series]  # rows, and the text to check -> each row's reason, or null


def refused(rows: pl.DataFrame, texts: pl.Series, bounds: Iterable[Bound]) -> pl.Series:
    """Return, for each row, the reason of the first bound that it does not pass, or null.

    Args:
        rows: Columns ``rows.SCHEMA``.
        texts: The text to check of each row.
        bounds: The bounds, in the order in which they are tried.

    Raises:
        RequestError: Rows lack something that a bound needs, or the model is not ready.
    """
    reasons = pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    for bound in bounds:
        standing = reasons.is_null()
        if not standing.any():
            break
        reasons = reasons.scatter(standing.arg_true(), bound(rows.filter(standing), texts.filter(standing)))
    return reasons


def words(texts: pl.Series) -> pl.Series:
    """Return the number of words of each text."""
    return texts.to_frame("text").select(counted(pl.col("text"))).to_series()


def outside(values: Iterable[float], unit: str, low: float | None, high: float | None) -> pl.Series:
    """Return, for each number, why it is out of bounds, or null.

    Whole numbers are shown as counts (``3 words``), others with their name first (``perplexity 3.5``).
    """
    reasons: list[str | None] = []
    for value in values:
        if low is not None and value < low:
            reasons.append(f"{_said(value, unit)}, {'fewer' if isinstance(value, int) else 'less'} than {_short(low)}")
        elif high is not None and value > high:
            reasons.append(f"{_said(value, unit)}, more than {_short(high)}")
        else:
            reasons.append(None)
    return pl.Series(reasons, dtype=pl.String)


def _said(value: float, unit: str) -> str:
    return f"{value:,} {unit}" if isinstance(value, int) else f"{unit} {_short(value)}"


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def listed(column: pl.Series, what: str, allowed: Sequence[str] | None, denied: Sequence[str] | None) -> pl.Series:
    """Return, for each name, why it is dropped (not among ``allowed``, or in ``denied``), or null; case is ignored."""
    keep = None if allowed is None else {name.casefold() for name in allowed}
    drop = {name.casefold() for name in denied or ()}

    def reason(name: str | None) -> str | None:
        if name is None:
            return None if keep is None else f"no {what}"
        if keep is not None and name.casefold() not in keep:
            return f"{what} {name} is not on the list"
        return f"{what} {name} is excluded" if name.casefold() in drop else None

    reasons = {name: reason(name) for name in column.unique()}
    return pl.Series([reasons[name] for name in column], dtype=pl.String)


def carried(rows: pl.DataFrame, name: str, whose: str) -> Iterator[float]:
    """Yield the number that each row carries under a name in its ``columns``."""
    for index, text in enumerate(rows["columns"]):
        columns = {} if text is None else json.loads(text)
        value = columns.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            record = rows.row(index, named=True)
            if value is not None:
                raise RequestError(f"{whose}: {which(record)}: {name} is {value!r}, not a number")
            if name in columns:
                raise RequestError(f"{whose}: {which(record)}: {name} is empty, not a number")
            near = did_you_mean(name, columns) or f" Name it in sources.{record['source']}.columns."
            raise RequestError(f"{whose}: {which(record)} carries no {name}.{near}")
        yield float(value)


def matched(texts: pl.Series, pattern: str | None, exclude: str | None) -> pl.Series:
    """Return, for each text, why it is dropped (does not match ``pattern``, or matches ``exclude``), or null."""
    # Python's regular expressions: Rust's have no look-around and no back references.
    wanted = None if pattern is None else re.compile(pattern)
    unwanted = None if exclude is None else re.compile(exclude)
    reasons: list[str | None] = []
    for text in texts:
        if wanted is not None and not wanted.search(text):
            reasons.append(f"does not match {pattern}")
        elif unwanted is not None and (match := unwanted.search(text)):
            reasons.append(f'"{match.group()[:80]}" matches {exclude}')
        else:
            reasons.append(None)
    return pl.Series(reasons, dtype=pl.String)


def asked(measure: Callable[[pl.DataFrame], Sequence[Any]] | None, rows: pl.DataFrame, whose: str) -> list[Any]:
    """Return the model's measure of every row."""
    if measure is None:
        raise RequestError(f"{whose}: the model is not ready, and without it rows have no tokens and no perplexity")
    values = list(measure(rows))
    for value, record in zip(values, rows.iter_rows(named=True), strict=True):
        if not math.isfinite(value):
            raise RequestError(f"{whose}: {which(record)}: the model's measure is {value}, not a number")
    return values


def refused_by(function: str, rows: pl.DataFrame, context: Context, whose: str) -> pl.Series:
    """Return, for each row, the reason if the user's function refuses it, or null."""
    answers = functions.answers(function, rows, context.folder, whose)
    passed = [
        functions.verdict(value, row, function, whose)
        for value, row in zip(answers, rows.iter_rows(named=True), strict=True)
    ]
    return pl.Series([None if verdict else f"{function} says no" for verdict in passed], dtype=pl.String)
