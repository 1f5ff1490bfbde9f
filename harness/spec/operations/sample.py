"""``sample``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from harness.errors import RequestError
from harness.spec.operations.base import BaseOperation, Gone

if TYPE_CHECKING:
    import polars as pl

    from harness.data.operations.context import Context


class Sample(BaseOperation):
    """Keep ``rows`` rows (or a ``fraction``) by seeded rank: smaller samples are prefixes of larger ones.

    Example::

        operations:
          - sample: {rows: 1000}
          - sample: {fraction: 0.5} # half of these 1000
    """

    op: Literal["sample"] = "sample"
    rows: int | None = Field(None, ge=1, description="number of rows that stay; or give fraction")
    fraction: float | None = Field(None, gt=0, le=1, description="share of rows that stay")

    scope = "all"
    draws = True

    @model_validator(mode="after")
    def _one_size(self) -> Sample:
        if (self.rows is None) == (self.fraction is None):
            raise ValueError("a sample needs either rows or fraction")
        return self

    def key(self, rows: pl.DataFrame, context: Context) -> pl.DataFrame:
        """Return the table from which ranks are computed (``rows.rank_table``)."""
        from harness.data.rows import rank_table

        return rank_table(rows, context.seed, self.op)

    def gone(self, keys: pl.DataFrame, context: Context) -> Gone:
        """Return the rows whose rank is beyond the sample."""
        from harness.data.rows import by_rank

        size = self.rows if self.rows is not None else round((self.fraction or 0) * keys.height)
        if size > keys.height:
            raise RequestError(f"{self.whose(context)}: only {keys.height:,} rows to sample from")
        beyond = by_rank(keys, context.seed, self.op)[size:]
        return Gone(beyond, [f"rank {rank + 1:,} of {keys.height:,}" for rank in range(size, keys.height)])
