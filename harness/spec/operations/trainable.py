"""``encode`` and ``cut``: the last operations of every source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from harness.spec.operations.base import BaseOperation, Done, Emptied

if TYPE_CHECKING:
    import polars as pl

    from harness.data.operations.context import Context


class Trainable(BaseOperation):
    """Keep rows that can be trained on (``encode``), or rows that teach something although they are cut (``cut``).

    A study cannot name these operations; they are added to every source as its last ones.
    """

    op: Literal["encode", "cut"]

    scope = "row"

    def do(self, rows: pl.DataFrame, context: Context) -> Done:
        """Drop rows that cannot be trained on, or teach nothing."""
        assert context.untrainable is not None
        return Done(rows, context.untrainable(rows, self.op))

    def nothing_left(self, parts: Sequence[Emptied]) -> str:
        """Return the message for the case that no row is left."""
        first = f"; the first, {parts[0].first}" if parts else ""
        return f"none of {sum(one.rows for one in parts):,} rows can be trained on{first}"
