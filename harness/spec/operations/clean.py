"""``clean``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from harness.spec.operations.base import BaseOperation, Done

if TYPE_CHECKING:
    import polars as pl

    from harness.data.operations.context import Context


class Clean(BaseOperation):
    """Repair text and drop rows that are empty or broken.

    Mojibake and HTML entities are repaired (ftfy), control characters removed, white space at the end of lines cut.
    A row is broken if a required text (prompt, completion, a message) is empty after that.

    Example::

        operations:
          - clean
          - clean: {repair: false} # only control characters and empty rows
    """

    op: Literal["clean"] = "clean"
    repair: bool = Field(True, description="repair wrongly decoded text (ftfy); else only remove control characters")

    scope = "row"

    @property
    def changes(self) -> bool:
        """Whether the operation may change the content of rows."""
        return True

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions whose rules decide about rows."""
        return ("ftfy",) if self.repair else ()

    def do(self, rows: pl.DataFrame, context: Context) -> Done:
        """Clean rows, and drop those that are broken."""
        from harness.data.operations import clean

        cleaned = clean.cleaned(rows, self.repair)
        return Done(cleaned, clean.broken(cleaned))
