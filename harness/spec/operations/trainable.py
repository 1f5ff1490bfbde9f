"""``encode`` and ``cut``: what is done to every source behind all else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from harness.spec.operations.base import BaseOperation, Done, Emptied

if TYPE_CHECKING:
    import polars as pl

    from harness.data.operations.context import Context


class Trainable(BaseOperation):
    """Keep rows that can be trained on (``encode``), or of which something is learned when they are cut (``cut``).

    Not for people to write: it is done to every source, as its last operations.
    """

    op: Literal["encode", "cut"]

    scope = "row"

    def do(self, rows: pl.DataFrame, context: Context) -> Done:
        """Let rows go that teach nothing."""
        assert context.untrainable is not None
        return Done(rows, context.untrainable(rows, self.op))

    def nothing_left(self, parts: Sequence[Emptied]) -> str:
        """Return what is said when no row is left."""
        first = f"; the first, {parts[0].first}" if parts else ""
        return f"none of {sum(one.rows for one in parts):,} rows can be trained on{first}"
