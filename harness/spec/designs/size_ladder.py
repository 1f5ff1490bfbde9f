"""``size_ladder``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from harness.errors import RequestError, did_you_mean
from harness.spec.designs.base import (
    SIZE,
    Arm,
    BaseDesign,
    Counts,
    apportion,
    baseline_counts,
    known_counts,
    mixed,
    refuse_tokens,
)
from harness.spec.operations import Sample

if TYPE_CHECKING:
    from harness.spec.study import Study


class SizeLadder(BaseDesign):
    """Nested arms of growing size: of one source, or of the whole baseline.

    Example::

        designs:
          - size_ladder: {fractions: [0.25, 0.5]}
          - size_ladder: {source: forum, rows: [100, 400]}
    """

    design: Literal["size_ladder"] = "size_ladder"
    source: str | None = Field(None, description="default: every source of the baseline, in proportion")
    rows: tuple[int, ...] | None = Field(None, min_length=1, description="sizes of the rungs; or give fractions")
    fractions: tuple[float, ...] | None = Field(
        None, min_length=1, description="sizes of the rungs, as shares of the baseline's rows"
    )
    alone: bool = Field(False, description="the rungs hold this source only, without the rest of the baseline")

    @model_validator(mode="after")
    def _one_size(self) -> SizeLadder:
        if (self.rows is None) == (self.fractions is None):
            raise ValueError("a size_ladder needs either rows or fractions")
        sizes = self.rows or self.fractions or ()
        if any(size <= 0 for size in sizes) or len(set(sizes)) != len(sizes):
            raise ValueError("the rungs of a size_ladder are different numbers above 0")
        if self.alone and self.source is None:
            raise ValueError("alone needs a source")
        return self

    def arms(self, study: Study, index: int) -> Iterator[Arm]:
        """Yield the rungs from the smallest to the largest, without the one that equals the baseline."""
        place = f"designs[{index}]"
        held, source = baseline_counts(study), self.source
        if source is None and None in held.values():
            yield from self._sampled(study, place)
            return
        if source is not None and source not in study.sources:
            near = did_you_mean(source, study.sources)
            raise RequestError(f'{place}.source: no source is named "{source}".{near}')
        whole = sum(known_counts(held, place).values()) if source is None else held.get(source, 0)
        subject = source or _size(study, place)
        prefix = "ladder" if source is None else f"only-{source}" if self.alone else source
        made = []
        for label, rows in self._rungs(study, whole, place):
            if source is None:
                mix: Counts = apportion(known_counts(held, place), rows)
            else:
                mix = {source: rows} if self.alone else held | {source: rows}
            if mix != held:
                made.append((f"{prefix}-{label}", mixed(study, mix, subject)))
        yield from _some(made, place)

    def _rungs(self, study: Study, whole: int | None, place: str) -> list[tuple[str, int]]:
        """Return label and rows of every rung, smallest first."""
        if self.rows is not None:
            refuse_tokens(study, f"{place}.rows", "; give fractions")
            return [(str(rows), rows) for rows in sorted(self.rows)]
        if whole is None:
            raise RequestError(
                f"{place}.fractions: the baseline takes all rows of {self.source}, and how many these are shows only "
                "when they are read; give rows, or give the baseline a number"
            )
        if whole == 0:
            raise RequestError(f"{place}.fractions: the baseline has no rows of {self.source}; give rows")
        rungs: dict[int, str] = {}
        for fraction in sorted(self.fractions or ()):
            rows = round(fraction * whole)
            if rows < 1 or rows in rungs:
                same = f"as many as {rungs[rows]}" if rows in rungs else "none"
                raise RequestError(f"{place}.fractions: {fraction:g} of {whole:,} comes to {rows:,}, {same}")
            rungs[rows] = _percent(fraction)
        return [(label, rows) for rows, label in rungs.items()]

    def _sampled(self, study: Study, place: str) -> Iterator[Arm]:
        """Yield rungs of a baseline that takes whole pools: sampled fractions, because the sizes are not known yet."""
        if self.rows is not None or max(self.fractions or ()) > 1:
            raise RequestError(
                f"{place}: the baseline takes all rows of a source, so its ladder needs fractions, and at most 1"
            )
        made = []
        for fraction in sorted(self.fractions or ()):
            if fraction < 1:
                thinned = (*study.baseline.operations, Sample(fraction=fraction))
                arm = study.baseline.model_copy(update={"operations": thinned, "tests": _size(study, place)})
                made.append((f"ladder-{_percent(fraction)}", arm))
        yield from _some(made, place)


def _size(study: Study, place: str) -> str:
    if SIZE in study.sources:
        raise RequestError(f'{place}: a ladder of all sources tests "{SIZE}", and a source has that name; rename it')
    return SIZE


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g}pct"


def _some(made: list[Arm], place: str) -> list[Arm]:
    if not made:
        raise RequestError(f"{place}: the only rung is the baseline itself")
    return made
