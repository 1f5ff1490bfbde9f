"""One value of a record: text as rows want it, or why it is none."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any


class BadRow(Exception):
    """Why one record cannot become a row."""


def text(value: Any, what: str) -> str:
    """Return text, or a number as text.

    Args:
        value: From a record.
        what: What messages call it.

    Raises:
        BadRow: It is neither, or no UTF-8.
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


def kind(value: Any) -> str:
    """Return what a value is, in words."""
    return {"NoneType": "null", "dict": "an object", "list": "a list", "bytes": "bytes"}.get(
        type(value).__name__, str(value)
    )


def flag(value: Any) -> bool | None:
    """Return true or false, also as CSV writes them; None for anything else."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None
