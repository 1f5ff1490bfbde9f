"""``use``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from harness.spec.base import Function
from harness.spec.operations.base import BaseOperation, Done

if TYPE_CHECKING:
    import polars as pl

    from harness.data.operations.context import Context


class Use(BaseOperation):
    """Rewrite rows by a function of your own, in a Python file beside the study.

    The function gets a row (a dict; ``messages``, ``columns`` and ``verifier`` as lists and dicts) and returns it,
    changed or not, or None: then the row is dropped, and the ledger says so. It may change all but ``row_id``,
    ``source`` and ``meta``; the content columns that a row has stay the same ones. A changed row gets another
    ``row_id``. Each row is seen by itself, on any machine. The file must stand alone; its digest is in the key.

    Example::

        operations:
          - use: my_ops:fix_quotes

    With ``my_ops.py`` beside the study::

        def fix_quotes(row):
            return row | {"completion": row["completion"].replace("``", '"')}
    """

    op: Literal["use"] = "use"
    function: Function = Field(description="module:function of a Python file beside the study: row -> row, or None")

    scope = "row"
    short = "function"

    @property
    def changes(self) -> bool:
        """Whether rows may have another content afterwards."""
        return True

    def do(self, rows: pl.DataFrame, context: Context) -> Done:
        """Rewrite rows; those go for which the function returns None."""
        from harness.data.operations import rewriting

        return Done(*rewriting.rewritten(rows, self.function, context.folder, self.whose(context)))
