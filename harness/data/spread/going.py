"""Which rows go where only all rows together tell: an operation's keys are made where the rows are, and met here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from harness.data import operations
from harness.data.operations import Context
from harness.data.rows import by_rank, rank_table
from harness.data.spread.near import nearly_repeated
from harness.data.spread.parts import Numbers, Part, Spread, places
from harness.spec import AnyOperation
from harness.spec.operations.base import Gone

# What an operation's ``join`` names: the same rows go as its ``gone`` says, found without their text in one place.
JOINS: dict[str, Callable[..., Gone]] = {"near": nearly_repeated}


@dataclass(frozen=True)
class Going:
    """Rows of a part that go.

    Attributes:
        rows: Their numbers within the part.
        said: Why each goes.
    """

    rows: Numbers
    said: list[str]

    @classmethod
    def none(cls) -> Going:
        """Return that none goes."""
        return cls(np.empty(0, np.int64), [])

    def reasons(self, height: int) -> pl.Series:
        """Return for each row of the part why it goes, or null."""
        return pl.repeat(None, height, dtype=pl.String, eager=True).scatter(
            self.rows, pl.Series(self.said, dtype=pl.String)
        )


def going(
    spread: Spread, parts: Sequence[Part], operation: AnyOperation, context: Context, folder: Path
) -> dict[int, Going]:
    """Return the rows that an operation drops, by the number of their part; ``folder`` takes files on the way.

    Raises:
        RequestError: The rows lack what the operation needs.
    """
    if operation.join is not None:
        gone = JOINS[operation.join](spread, parts, operation, context, folder)
    else:
        keys, order = met(spread, parts, partial(_keys, operation=operation, context=context))
        gone = operation.gone(keys, context)
        rows, like = np.asarray(gone.rows, np.int64), gone.like
        gone = Gone(order[rows], gone.why, None if like is None else order[np.asarray(like, np.int64)])
    said = operations.told(gone, lambda numbers: _names(spread, parts, numbers))
    return {
        part: Going(rows, [said[at] for at in which.tolist()])
        for part, which, rows in places(parts, np.asarray(gone.rows, np.int64))
    }


def ranks(spread: Spread, parts: Sequence[Part], *seed: object) -> Numbers:
    """Return the rows of all parts, by their number, in a random order (see ``rows.ranked``)."""
    table, order = met(spread, parts, partial(_ranked, seed=seed))
    return order[by_rank(table, *seed)]


def met(spread: Spread, parts: Sequence[Part], work: Callable[[Part], pl.DataFrame]) -> tuple[pl.DataFrame, Numbers]:
    """Return a table of something small of all rows, in their order, and the number of each through all parts."""
    table = pl.concat(spread.map(work, parts))
    if all(part.first is not None for part in parts):
        return table, np.arange(table.height)
    order = np.concatenate([part.at() for part in parts]).argsort(kind="stable")
    return table[order], order


def _keys(part: Part, operation: AnyOperation, context: Context) -> pl.DataFrame:
    return operation.key(part.read(), context)


def _ranked(part: Part, seed: Sequence[object]) -> pl.DataFrame:
    return rank_table(part.read(["row_id"]), *seed)


def _names(spread: Spread, parts: Sequence[Part], numbers: Sequence[int] | Numbers) -> list[str]:
    """Return how reasons call some rows."""
    distinct, back = np.unique(np.asarray(numbers, np.int64), return_inverse=True)
    where = places(parts, distinct)
    called = spread.map(_named, [(parts[part], rows) for part, _, rows in where])
    names = {
        int(number): name
        for (_, which, _), found in zip(where, called, strict=True)
        for number, name in zip(which, found, strict=True)
    }
    return [names[at] for at in back.tolist()]


def _named(item: tuple[Part, Numbers]) -> list[str]:
    part, rows = item
    return operations.names(part.read(["row_id", "meta"])[rows])
