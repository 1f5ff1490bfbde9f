"""``pii``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from harness.spec.operations.base import BaseOperation, Done

if TYPE_CHECKING:
    import polars as pl

    from harness.data.operations.context import Context


class Pii(BaseOperation):
    """Drop rows with personal data (e-mail addresses, phone numbers, IP addresses, card numbers), or mask it.

    Example::

        operations:
          - pii
          - pii: {action: drop, kinds: [email, phone]}
    """

    op: Literal["pii"] = "pii"
    action: Literal["drop", "mask"] = Field("mask", description="replace it by its kind, or drop the row")
    kinds: tuple[Literal["email", "phone", "ip", "card"], ...] = Field(
        ("email", "phone", "ip", "card"), min_length=1, description="what to look for"
    )

    scope = "row"

    @property
    def changes(self) -> bool:
        """Whether the operation may change the content of rows."""
        return self.action == "mask"

    def do(self, rows: pl.DataFrame, context: Context) -> Done:
        """Mask personal data, or drop the rows that hold some."""
        from harness.data.operations import pii

        return Done(pii.masked(rows, self.kinds)) if self.changes else Done(rows, pii.found(rows, self.kinds))
