"""Converts single values of a record to text or scalars, or raises why that is impossible."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

from harness.data.reading import parse

JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
NO_NUMBER = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)


class BadRow(Exception):
    """Why one record cannot become a row."""


def text(value: Any, what: str) -> str:
    """Return text, or a number as text.

    Args:
        value: A value of a record.
        what: What messages call the value.

    Raises:
        BadRow: The value is neither text nor a number, or no UTF-8.
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadRow(f"{what} is not UTF-8 text (character {error.start + 1})") from error
        return value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    raise BadRow(f"{what} is {kind(value)}, expected text or a number")


def scalar(value: Any, what: str, typed: bool) -> Any:
    """Return a value that a row can carry along: text, a finite number, true, false or null.

    Args:
        value: A value of a record.
        what: What messages call the value.
        typed: Whether numbers and text differ. If not (CSV), text that is a JSON number becomes a number, and an empty
            cell null.

    Raises:
        BadRow: The value is something else.
    """
    if isinstance(value, str) and not typed:
        if not value:
            return None
        if NO_NUMBER.fullmatch(value):
            raise BadRow(f"{what} is {value}, expected text or a number")
        if JSON_NUMBER.fullmatch(value):
            value, problem = parse(value)
            if problem:
                raise BadRow(f"{what} is {problem}")
    if isinstance(value, str):
        return text(value, what)
    if isinstance(value, Decimal):
        value = float(value)
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise BadRow(f"{what} is {kind(value)}, expected text or a number")


def kind(value: Any) -> str:
    """Return what a value is, for a message: its kind, or the value itself."""
    return {"NoneType": "null", "dict": "an object", "list": "a list", "bytes": "bytes"}.get(
        type(value).__name__, str(value)
    )


def flag(value: Any) -> bool | None:
    """Return a boolean, which may be text as in CSV ("true", "False"); None for anything else."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None
