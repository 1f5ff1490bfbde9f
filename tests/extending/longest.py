"""An operation across rows: those with the longest answers go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from harness.spec.operations.base import BaseOperation, Gone

if TYPE_CHECKING:
    import polars as pl

    from harness.data.operations.context import Context


class Longest(BaseOperation):
    """Drop a share of the rows, those with the longest completions."""

    op: Literal["longest"] = "longest"
    share: float = Field(gt=0, lt=1, description="of all rows")

    scope = "all"

    def key(self, rows: pl.DataFrame, context: Context) -> pl.DataFrame:
        """Return the length of each completion."""
        return rows["completion"].str.len_chars().to_frame("chars")

    def gone(self, keys: pl.DataFrame, context: Context) -> Gone:
        """Return the longest."""
        by_length = keys["chars"].arg_sort(descending=True)
        return Gone(by_length[: round(self.share * keys.height)], f"among the longest {self.share:.0%}")
