"""``use``: rewrites rows with a function of the user's, and checks the rows that it returns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from harness.data.operations import functions
from harness.data.operations.context import which
from harness.data.operations.functions import JSON_COLUMNS
from harness.data.rows import SCHEMA
from harness.errors import RequestError, did_you_mean
from harness.records import CONTENT_COLUMNS

FIXED = ("row_id", "source", "meta")  # columns that a function may not change: identity and origin of the row
WRITTEN = tuple(name for name in SCHEMA.names() if name not in FIXED)


def rewritten(rows: pl.DataFrame, named: str, folder: Path | None, whose: str) -> tuple[pl.DataFrame, pl.Series]:
    """Return the rows that a function returns, and for each why it is dropped, or null.

    Args:
        rows: Columns ``rows.SCHEMA``; further columns are carried along.
        named: The function, ``module:function``.
        folder: Folder of its module.
        whose: Place and operation, for messages.

    Raises:
        RequestError: The function fails, or returns neither a row nor None; the message names the row.
    """
    records = rows.select(SCHEMA.names()).iter_rows(named=True)
    answers = functions.answers(named, rows, folder, whose)
    written: dict[str, list[str | None]] = {name: [] for name in WRITTEN}
    reasons = []
    for value, record in zip(answers, records, strict=True):
        row = record if value is None else _row(value, record, f"{whose}: {named}: {which(record)}")
        reasons.append(f"{named} returns None" if value is None else None)
        for name in WRITTEN:
            written[name].append(row[name])
    columns = [pl.Series(name, values, pl.String) for name, values in written.items()]
    return rows.with_columns(columns), pl.Series(reasons, dtype=pl.String)


def _row(value: Any, record: Mapping[str, Any], whose: str) -> Mapping[str, str | None]:
    """Return the row that a function returned, in the form of the table.

    Raises:
        RequestError: The function did not return a row.
    """
    if not isinstance(value, Mapping):
        raise RequestError(f"{whose}: expected the row (a dict) or None, and got {value!r:.80}")
    for name in value:
        if name not in SCHEMA:
            raise RequestError(f'{whose}: "{name!s:.80}" is no column of a row.{did_you_mean(str(name), WRITTEN)}')
    lacking = [name for name in SCHEMA if name not in value]
    if lacking:
        raise RequestError(f"{whose}: the row that comes back has no {lacking[0]}; return all of it, changed or not")
    for name in FIXED:
        if value[name] != (json.loads(record[name]) if name in JSON_COLUMNS and record[name] else record[name]):
            raise RequestError(f"{whose}: {name} is not to be changed")
    row = {name: _cell(value[name], record[name], name, whose) for name in WRITTEN}
    for name in CONTENT_COLUMNS:
        if (row[name] is None) != (record[name] is None):
            has = "no" if row[name] is None else "a"
            raise RequestError(f"{whose}: the row comes back with {has} {name}; a row keeps the content columns it has")
    return row


def _cell(value: Any, before: str | None, name: str, whose: str) -> str | None:
    if value is None:
        return None
    if name not in JSON_COLUMNS:
        if not isinstance(value, str) or not _is_unicode(value):
            raise RequestError(f"{whose}: {name} is {value!r:.80}, not text")
        return value
    if before is not None and value == json.loads(before):
        return before
    if name == "messages":
        _refuse_messages(value, whose)
    elif not isinstance(value, dict):
        raise RequestError(f"{whose}: {name} is {value!r:.80}, not a dict")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"{whose}: {name} cannot be written as JSON ({error})") from error
    if not _is_unicode(text):
        raise RequestError(f"{whose}: {name} holds what is not text: half of a character (a lone surrogate)")
    return text


def _refuse_messages(value: Any, whose: str) -> None:
    """Refuse a value that is no list of messages ``{role, content}``.

    Raises:
        RequestError: The value is something else; the message names the first wrong entry.
    """
    if not isinstance(value, list) or not value:
        raise RequestError(f"{whose}: messages is {value!r:.80}, not a list of messages")
    for number, message in enumerate(value):
        sound = isinstance(message, dict) and set(message) == {"role", "content"}
        if not sound or not all(isinstance(one, str) for one in message.values()):
            raise RequestError(f"{whose}: messages[{number}] is {message!r:.80}; expected {{role, content}}, both text")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
