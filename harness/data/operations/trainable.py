"""The last operations of every source: they drop the rows that a model cannot learn from.

They also follow the operations of a training set, if these change rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from harness.data.operations.context import Context
from harness.errors import RequestError
from harness.spec import AnyOperation, Operation, Trainable

ENCODE, CUT = Trainable(op="encode"), Trainable(op="cut")


def of_source(chain: Sequence[Operation], context: Context) -> tuple[AnyOperation, ...]:
    """Return a source's operations and ``encode`` and ``cut``, once the model is ready.

    If an operation needs the model, ``encode`` (and, for perplexity, ``cut``) come before all operations as well, so
    that the model gets only rows that it can read.
    """
    if context.untrainable is None:
        return tuple(chain)
    scored = any("perplexity" in one.needs for one in chain)
    counted = scored or any("tokens" in one.needs for one in chain)
    return (*(ENCODE,) * counted, *(CUT,) * scored, *chain, ENCODE, CUT)


def of_variant(chain: Sequence[Operation], context: Context) -> tuple[AnyOperation, ...]:
    """Return a training set's operations, and ``encode`` and ``cut`` if one of them changes rows."""
    return (*chain, ENCODE, CUT) if context.untrainable is not None and changes(chain) else tuple(chain)


def changes(chain: Sequence[Operation]) -> bool:
    """Return whether an operation changes rows, rather than only dropping some."""
    return any(one.changes for one in chain)


def refuse(name: str, first: pl.DataFrame, count: int) -> None:
    """Refuse rows that cannot be trained on, for a source without ``on_bad_row: drop``.

    Args:
        name: The source.
        first: The ledger of ``encode``, or its first lines.
        count: Number of lines of the whole ledger.

    Raises:
        RequestError: ``count`` is not 0.
    """
    if count:
        line = first.row(0, named=True)
        rows = "1 row" if count == 1 else f"{count:,} rows"
        raise RequestError(
            f"{line['place'] or line['row_id']}: {line['reason']}. {rows} of {name} cannot be trained on: "
            f"mend {'it' if count == 1 else 'them'}, or set sources.{name}.on_bad_row: drop."
        )
