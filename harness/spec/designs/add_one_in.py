"""``add_one_in``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from harness.errors import RequestError
from harness.spec.designs.base import (
    Arm,
    BaseDesign,
    Counts,
    apportion,
    baseline_counts,
    chosen,
    known_counts,
    mixed,
    refuse_tokens,
)

if TYPE_CHECKING:
    from harness.spec.study import Study


class AddOneIn(BaseDesign):
    """One arm per source that the baseline lacks: ``rows`` rows of it, added to the baseline's or in place of some.

    Example::

        designs:
          - add_one_in: {rows: 200}
          - add_one_in: {sources: [forum], rows: 200, replace: true}
    """

    design: Literal["add_one_in"] = "add_one_in"
    sources: tuple[str, ...] | None = Field(None, min_length=1, description="default: every source not in the baseline")
    rows: int = Field(ge=1, description="rows of the added source")
    replace: bool = Field(False, description="take as many rows away from the baseline's sources, in proportion")

    def arms(self, study: Study, index: int) -> Iterator[Arm]:
        """Yield, for each other source, the baseline with rows of it added, or in place of as many of its own."""
        place = f"designs[{index}]"
        held = baseline_counts(study)
        refuse_tokens(study, f"{place}.rows", "")
        others = [name for name in study.sources if name not in held]
        if not others:
            raise RequestError(f"{place}: the baseline has every source already; a size_ladder changes the rows of one")
        rest: Counts = held
        if self.replace:
            known = known_counts(held, place)
            left = sum(known.values()) - self.rows
            if left < 1:
                raise RequestError(
                    f"{place}.rows: the baseline has {sum(known.values()):,} rows; fewer can be replaced"
                )
            rest = apportion(known, left)
        prefix = "swap" if self.replace else "plus"
        for source in chosen(study, self.sources, others, f"{place}.sources", "the baseline already has rows of"):
            yield f"{prefix}-{source}-{self.rows}", mixed(study, {**rest, source: self.rows}, source)
