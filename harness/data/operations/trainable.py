"""What is done to every source behind all else: out with the rows that a model cannot learn from.

The same behind the operations of a training set, where these change rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from harness.data.operations.context import Context
from harness.errors import RequestError
from harness.spec import AnyOperation, Operation, Trainable

ENCODE, CUT = Trainable(op="encode"), Trainable(op="cut")


def of_source(chain: Sequence[Operation], context: Context) -> tuple[AnyOperation, ...]:
    """Return a source's operations with those that leave only rows to learn from, where the model can be asked.

    Operations that ask the model themselves are given only rows that it can read.
    """
    if context.untrainable is None:
        return tuple(chain)
    scored = any("perplexity" in one.needs for one in chain)
    counted = scored or any("tokens" in one.needs for one in chain)
    return (*(ENCODE,) * counted, *(CUT,) * scored, *chain, ENCODE, CUT)


def of_variant(chain: Sequence[Operation], context: Context) -> tuple[AnyOperation, ...]:
    """Return a training set's operations; the rows of its sources can be learned from until one changes them."""
    return (*chain, ENCODE, CUT) if context.untrainable is not None and changes(chain) else tuple(chain)


def changes(chain: Sequence[Operation]) -> bool:
    """Tell whether an operation changes rows, rather than only dropping some."""
    return any(one.changes for one in chain)


def refuse(name: str, first: pl.DataFrame, count: int) -> None:
    """Refuse a source's rows that cannot be trained on, where it does not say that such are to be dropped.

    Args:
        name: The source.
        first: Lines of the ledger of ``encode``, at least the first of them, if any.
        count: How many there are.

    Raises:
        RequestError: There is one.
    """
    if count:
        line = first.row(0, named=True)
        rows = "1 row" if count == 1 else f"{count:,} rows"
        raise RequestError(
            f"{line['place'] or line['row_id']}: {line['reason']}. {rows} of {name} cannot be trained on: "
            f"mend {'it' if count == 1 else 'them'}, or set sources.{name}.on_bad_row: drop."
        )
