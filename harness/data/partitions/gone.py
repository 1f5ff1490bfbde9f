"""Finds the rows that an operation of scope ``all`` drops: machines compute keys of rows, the driver compares them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from harness.data import operations
from harness.data.operations import Context
from harness.data.partitions.near import nearly_repeated
from harness.data.partitions.parts import Machines, Part, RowNumbers, places, together
from harness.data.rows import by_rank, rank_table
from harness.spec import AnyOperation
from harness.spec.operations.base import Gone

# An operation's ``join`` -> a function that finds the rows its ``gone`` would return, without all text in one place.
JOINS: dict[str, Callable[..., Gone]] = {"near": nearly_repeated}


def gone_rows(
    machines: Machines, parts: Sequence[Part], operation: AnyOperation, context: Context, folder: Path
) -> dict[int, Gone]:
    """Return part number -> the rows of the part that an operation drops; ``folder`` is for temporary files.

    Raises:
        RequestError: The rows lack what the operation needs.
    """
    if operation.join is not None:
        gone = JOINS[operation.join](machines, parts, operation, context, folder)
    else:
        keys, order = together(machines, parts, partial(_keys, operation=operation, context=context))
        gone = operations.gone_rows(operation, keys, context)
        gone = Gone(order[gone.rows], gone.why, None if gone.like is None else order[gone.like])
    reasons = operations.told(gone, lambda numbers: _names(machines, parts, numbers))
    return {
        part: Gone(rows, [reasons[at] for at in which.tolist()])
        for part, which, rows in places(parts, np.asarray(gone.rows, np.int64))
    }


def ranks(machines: Machines, parts: Sequence[Part], *seed: object) -> RowNumbers:
    """Return the rows of all parts, by their number, in a random order (see ``rows.ranked``)."""
    table, order = together(machines, parts, partial(_ranked, seed=seed))
    return order[by_rank(table, *seed)]


def _keys(part: Part, operation: AnyOperation, context: Context) -> pl.DataFrame:
    return operations.keys(operation, part.read(), context)


def _ranked(part: Part, seed: Sequence[object]) -> pl.DataFrame:
    return rank_table(part.read(["row_id"]), *seed)


def _names(machines: Machines, parts: Sequence[Part], numbers: Sequence[int] | RowNumbers) -> list[str]:
    """Return the names by which reasons refer to rows."""
    distinct, back = np.unique(np.asarray(numbers, np.int64), return_inverse=True)
    where = places(parts, distinct)
    called = machines.map(_named, [(parts[part], rows) for part, _, rows in where])
    names = {
        int(number): name
        for (_, which, _), found in zip(where, called, strict=True)
        for number, name in zip(which, found, strict=True)
    }
    return [names[at] for at in back.tolist()]


def _named(item: tuple[Part, RowNumbers]) -> list[str]:
    part, rows = item
    return operations.names(part.read(["row_id", "meta"])[rows])
