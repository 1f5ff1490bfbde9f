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
    changed or not. If it returns None, the row is dropped and recorded in the ledger. It may change all columns but
    ``row_id``, ``source`` and ``meta``, and may neither add nor remove content columns. A changed row gets a new
    ``row_id``. Rows are passed one by one, on any machine. The file must not import files beside it; its digest is in
    the key.

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
        """Whether the operation may change the content of rows."""
        return True

    def do(self, rows: pl.DataFrame, context: Context) -> Done:
        """Rewrite rows, and drop those for which the function returns None."""
        from harness.data.operations import rewriting

        return Done(*rewriting.rewritten(rows, self.function, context.folder, self.whose(context)))
