"""Reads and rewrites the text of rows that the model will see."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import reduce
from operator import or_

import polars as pl

from harness.data.operations.context import which
from harness.data.rows import row_ids
from harness.errors import RequestError, did_you_mean
from harness.records import CONTENT_COLUMNS


def texts(rows: pl.DataFrame, field: str | None, whose: str) -> pl.Series:
    """Return the text of one content column of every row, or of all its content columns, joined by line breaks.

    Args:
        rows: Columns ``rows.SCHEMA``.
        field: A content column; None for all that a row has.
        whose: Place and operation, for messages.

    Raises:
        RequestError: There is no such field, or a row does not have it.
    """
    if field is not None:
        if field not in CONTENT_COLUMNS:
            raise RequestError(f'{whose}: no field "{field}".{did_you_mean(field, CONTENT_COLUMNS)}')
        lacking = rows.filter(pl.col(field).is_null()).head(1)
        if lacking.height:
            record = lacking.row(0, named=True)
            has = " and ".join(name for name in CONTENT_COLUMNS if record[name] is not None)
            raise RequestError(f"{whose}: {which(record)} has no {field}; it has {has}")
    parts = [_said(rows[name]) if name == "messages" else pl.col(name) for name in _used(rows, field)]
    if not parts:
        return pl.repeat("", rows.height, dtype=pl.String, eager=True)
    return rows.select(pl.concat_str(parts, separator="\n", ignore_nulls=True).alias("text")).to_series()


def rewrite(
    rows: pl.DataFrame, operation: str, edit: Callable[[str, str], str], suspect: Callable[[str], pl.Expr]
) -> pl.DataFrame:
    """Edit the text of every content column and of every message.

    A row that changes gets a new ``row_id``, and the operation's name joins the list ``changed`` in its ``meta``.

    Args:
        rows: Columns ``rows.SCHEMA``; further columns are carried along.
        operation: Name of the operation.
        edit: Called with the name of a content column (``message`` for a message's content) and its text; returns the
            new text.
        suspect: Returns, for a column, the expression of whether ``edit`` could change its text; ``edit`` is called
            only for these texts.
    """
    changes: dict[str, dict[int, str]] = {}
    for name in _used(rows, None):
        doubted = pl.col(name).is_not_null() if name == "messages" else suspect(name).fill_null(False)
        positions = rows.select(doubted).to_series().arg_true()
        for position, text in zip(positions, rows[name].gather(positions), strict=True):
            edited = _edited_messages(text, edit) if name == "messages" else edit(name, text)
            if edited != text:
                changes.setdefault(name, {})[position] = edited
    if not changes:
        return rows
    rows = rows.with_columns(
        rows[name].scatter(list(new), pl.Series(list(new.values()), dtype=pl.String)) for name, new in changes.items()
    )
    changed = sorted(set().union(*changes.values()))
    noted = [_noted(meta, operation) for meta in rows["meta"].gather(changed)]
    return rows.with_columns(
        rows["row_id"].scatter(changed, row_ids(rows.select(CONTENT_COLUMNS)[changed])),
        rows["meta"].scatter(changed, pl.Series(noted, dtype=pl.String)),
    )


def renamed(before: pl.DataFrame, after: pl.DataFrame, operation: str) -> tuple[pl.DataFrame, pl.Series]:
    """Give rows whose content changed a new ``row_id``, and note the operation that changed them.

    Returns:
        The rows, and the numbers of those that got a new ``row_id``; rows whose ``row_id`` had changed already keep it.
    """
    other = reduce(or_, (before[name].ne_missing(after[name]) for name in CONTENT_COLUMNS))
    changed = (other & (before["row_id"] == after["row_id"])).arg_true()
    if not len(changed):
        return after, changed
    noted = [_noted(meta, operation) for meta in after["meta"].gather(changed)]
    rows = after.with_columns(
        after["row_id"].scatter(changed, row_ids(after.select(CONTENT_COLUMNS)[changed])),
        after["meta"].scatter(changed, pl.Series(noted, dtype=pl.String)),
    )
    return rows, changed


def _used(rows: pl.DataFrame, field: str | None) -> list[str]:
    names = CONTENT_COLUMNS if field is None else (field,)
    return [name for name in names if rows[name].null_count() < rows.height]


def _noted(meta: str | None, operation: str) -> str:
    """Return ``meta`` with the operation among those that changed the row."""
    values = json.loads(meta or "{}")
    others = [name for name in values.get("changed", []) if name != operation]
    return json.dumps(values | {"changed": [*others, operation]}, ensure_ascii=False)


def _said(messages: pl.Series) -> pl.Series:
    return pl.Series(
        [None if m is None else "\n".join(turn["content"] for turn in json.loads(m)) for m in messages],
        dtype=pl.String,
    )


def _edited_messages(messages: str, edit: Callable[[str, str], str]) -> str:
    turns = json.loads(messages)
    edited = [turn | {"content": edit("message", turn["content"])} for turn in turns]
    return messages if edited == turns else json.dumps(edited, ensure_ascii=False)
