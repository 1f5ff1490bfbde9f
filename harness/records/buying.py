"""What to buy with a budget."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.records.base import SCHEMA_VERSION, Data
from harness.records.decisions import Verdict

Unit = Literal["money", "rows", "tokens"]


class Share(Data):
    """What a budget buys of one source."""

    source: str
    verdict: Verdict
    rows_now: int = Field(description="rows in the largest rung of its ladder")
    rows: int = Field(description="further rows to buy")
    most: int = Field(
        description="the most that can be bought: what its supply leaves, and never more than doubles the largest rung"
    )
    supply_left: int | None = Field(
        None, description="rows of the pool that the largest rung does not use, or as many as the caller can get"
    )
    price: float = Field(description="of a row, in the budget's unit")
    spent: float
    gain: float = Field(description="expected gain of these rows; 0 without any")
    ci: tuple[float, float]
    may_be_nothing: bool = Field(description="the interval contains 0, or is below it: it may gain nothing")
    note: str = Field("", description="why it gets no more rows, or none")


class Unclear(Data):
    """A source of which the results cannot tell what more rows gain, and the ladder that would tell."""

    source: str
    reason: str
    rows: list[int] = Field(description="sizes of the rungs to add; empty when other things are lacking than rungs")
    half_width: float | None = Field(None, description="of the gain's interval; None without a curve")
    half_width_then: float | None = Field(None, description="about what it would be with these rungs")
    fragment: str = Field(description="these rungs as YAML, an entry of the study's `designs` or `arms`")


class Allocation(Data):
    """``harness grow --json``: what to buy with a budget, by the learning curves of the sources' ladders.

    The gains of sources are taken to add: ladders that grow one source at a time cannot show otherwise.
    """

    schema_version: int = SCHEMA_VERSION
    study: str
    metric: str
    unit: Unit
    budget: float
    spent: float
    left: float = Field(description="not spent: nothing can be bought for it, or nothing that is expected to gain")
    level: float = Field(description="intervals cover this share: 1 - alpha of the study")
    gain: float | None = Field(description="expected gain of all rows together; None without an allocation")
    ci: tuple[float | None, float | None] = (None, None)
    bounded: bool = Field(description="scores are between 0 and 1, so that a hundredth is a point")
    withheld: str = Field("", description="why nothing is allocated although there are curves: a control failed")
    complete: bool = Field(True, description="no run of the study is missing")
    progress: str = Field("", description="how many runs are done, in words")
    shares: list[Share] = Field(description="the sources that have a learning curve, those that get most first")
    unclear: list[Unclear] = Field(description="the sources of which the results cannot tell")
    fragment: str = Field("", description="all rungs of `unclear`, to be pasted into a copy of the study")
    notes: list[str] = Field(default=[], description="what the reader must know before buying")
