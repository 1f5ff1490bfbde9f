"""``verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from harness.spec.base import Function
from harness.spec.operations.base import BaseOperation, Done

if TYPE_CHECKING:
    import polars as pl

    from harness.data.operations.context import Context


class Verify(BaseOperation):
    """Check completions: by the row's verifier (reasoning-gym's scorer, or a numeric answer) or a function.

    Example::

        operations:
          - verify # wrong answers are dropped
          - verify: {keep: all, label: right} # all stay, with a score that a later filter can use
    """

    op: Literal["verify"] = "verify"
    min_score: float = Field(1.0, ge=0, le=1, description="partial credit below this counts as wrong")
    keep: Literal["right", "wrong", "all"] = Field("right", description="rows that stay; all: rows are only labelled")
    label: str | None = Field(None, description="carry the score along under this name, for later filters")
    function: Function | None = Field(
        None, description="module:function of a Python file beside the study: row -> 0..1"
    )

    scope = "row"

    @model_validator(mode="after")
    def _does_something(self) -> Verify:
        if self.keep == "all" and self.label is None:
            raise ValueError("keep: all needs a label, else verify changes nothing")
        return self

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions whose rules decide about rows."""
        return ("reasoning-gym",) if self.function is None else ()

    def do(self, rows: pl.DataFrame, context: Context) -> Done:
        """Score completions, and drop rows by their score."""
        from harness.data.operations import verify

        whose = self.whose(context)
        values = verify.scores(rows, self.function, context.folder, whose)
        after = rows if self.label is None else verify.labelled(rows, values, self.label, whose)
        return Done(after, verify.refused(values, self.min_score, self.keep))
