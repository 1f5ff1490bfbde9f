"""An operation on each row: a phrase is cut off the start of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from harness.spec.operations.base import BaseOperation, Done

if TYPE_CHECKING:
    import polars as pl

    from harness.data.operations.context import Context


class Unprefix(BaseOperation):
    """Cut a phrase off the start of completions; rows that say nothing else go."""

    op: Literal["unprefix"] = "unprefix"
    phrase: str = Field(min_length=1, description="what is cut off")

    scope = "row"

    @property
    def changes(self) -> bool:
        """Whether rows may have another content afterwards."""
        return True

    def do(self, rows: pl.DataFrame, context: Context) -> Done:
        """Cut the phrase off."""
        import polars as pl

        after = rows.with_columns(pl.col("completion").str.strip_prefix(self.phrase))
        empty = pl.when(pl.col("completion") == "").then(pl.lit("nothing but the phrase"))
        return Done(after, after.select(empty).to_series())
