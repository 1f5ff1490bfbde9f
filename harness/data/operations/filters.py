"""``filter``: the bounds a row must pass, cheap ones first; a bound sees only rows that passed those before it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from harness.data.operations import functions, language, quality
from harness.data.operations.content import texts
from harness.data.operations.context import Context, which
from harness.data.text import counted
from harness.errors import RequestError, did_you_mean
from harness.spec import Filter

Bound = Callable[[pl.DataFrame], pl.Series]
TEXT = "text seen by the filter"


def refused(rows: pl.DataFrame, rule: Filter, context: Context, whose: str) -> pl.Series:
    """Return, for each row, the first bound it does not pass, in words, or null.

    Args:
        rows: Columns ``rows.SCHEMA``.
        rule: The bounds.
        context: For functions, tokens and perplexity.
        whose: Place and operation, for messages.

    Raises:
        RequestError: Rows lack what a bound needs, or the model it needs is not ready.
    """
    rows = rows.with_columns(texts(rows, rule.field, whose).alias(TEXT))
    reasons = pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    for bound in _bounds(rule, context, whose):
        standing = reasons.is_null()
        if not standing.any():
            break
        reasons = reasons.scatter(standing.arg_true(), bound(rows.filter(standing)))
    return reasons


def _bounds(rule: Filter, context: Context, whose: str) -> Iterator[Bound]:
    if rule.licenses or rule.exclude_licenses:
        yield lambda rows: _listed(rows["license"], "licence", rule.licenses, rule.exclude_licenses)
    if rule.origins or rule.exclude_origins:
        yield lambda rows: _listed(rows["origin"], "origin", rule.origins, rule.exclude_origins)
    if rule.score is not None:
        name = rule.score
        yield lambda rows: _outside(_carried(rows, name, whose), name, rule.min_score, rule.max_score)
    if rule.min_chars is not None or rule.max_chars is not None:
        yield lambda rows: _outside(rows[TEXT].str.len_chars(), "characters", rule.min_chars, rule.max_chars)
    if rule.min_words is not None or rule.max_words is not None:
        yield lambda rows: _outside(
            rows.select(counted(pl.col(TEXT))).to_series(), "words", rule.min_words, rule.max_words
        )
    if rule.pattern is not None or rule.exclude is not None:
        yield lambda rows: _matched(rows[TEXT], rule.pattern, rule.exclude)
    if rule.languages is not None:
        languages = rule.languages
        yield lambda rows: language.foreign(rows[TEXT], languages, whose)
    if rule.min_tokens is not None or rule.max_tokens is not None:
        yield lambda rows: _outside(
            map(int, _asked(context.tokens, rows, whose)), "tokens", rule.min_tokens, rule.max_tokens
        )
    if rule.datatrove is not None:
        wanted, settings = rule.datatrove, rule.settings
        yield lambda rows: quality.poor(rows, rows[TEXT], wanted, settings, whose)
    if rule.function is not None:
        function = rule.function
        yield lambda rows: _refused_by(function, rows, context, whose)
    if rule.min_perplexity is not None or rule.max_perplexity is not None:
        yield lambda rows: _outside(
            _asked(context.perplexity, rows, whose), "perplexity", rule.min_perplexity, rule.max_perplexity
        )


def _outside(values: Iterable[float], unit: str, low: float | None, high: float | None) -> pl.Series:
    """Say which numbers are out of bounds; whole numbers are counts (``3 words``), others have a name before them."""
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


def _listed(column: pl.Series, what: str, allowed: Sequence[str] | None, denied: Sequence[str] | None) -> pl.Series:
    """Say which names are not on the list to keep, or on the one to drop; case does not count."""
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


def _carried(rows: pl.DataFrame, name: str, whose: str) -> Iterator[float]:
    """Return a number that every row carries in its ``columns``."""
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


def _matched(texts: pl.Series, pattern: str | None, exclude: str | None) -> pl.Series:
    # Python's own expressions: Rust's know no look-around and no back references.
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


def _asked(measure: Callable[[pl.DataFrame], Sequence[Any]] | None, rows: pl.DataFrame, whose: str) -> list[Any]:
    """Return what the model says of every row."""
    if measure is None:
        raise RequestError(f"{whose}: the model is not ready, and without it rows have no tokens and no perplexity")
    values = list(measure(rows.drop(TEXT)))
    for value, record in zip(values, rows.iter_rows(named=True), strict=True):
        if not math.isfinite(value):
            raise RequestError(f"{whose}: {which(record)}: the model's measure is {value}, not a number")
    return values


def _refused_by(function: str, rows: pl.DataFrame, context: Context, whose: str) -> pl.Series:
    said = functions.answers(function, rows, context.folder, whose)
    passed = [
        functions.verdict(value, row, function, whose)
        for value, row in zip(said, rows.iter_rows(named=True), strict=True)
    ]
    return pl.Series([None if one else f"{function} says no" for one in passed], dtype=pl.String)
