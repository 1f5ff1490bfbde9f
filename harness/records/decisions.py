"""Verdicts, and what they rest on."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.records.base import SCHEMA_VERSION, Data
from harness.records.scores import MetricNoise, Slice, TaskNoise

Verdict = Literal["GROW", "HOLD", "CUT", "ADOPT", "NEUTRAL", "REJECT", "INCONCLUSIVE"]


class Decision(Data):
    """The verdict on one subject, with its evidence."""

    subject: str
    kind: Literal["source", "treatment"]
    verdict: Verdict
    effect: float | None
    ci: tuple[float | None, float | None]
    p_adjusted: float | None
    confirmation: float | None
    contrast: str = Field(description="what was compared, such as 'sums-160 - sums-40'")
    reason: str
    resolve: str = Field("", description="what would settle an INCONCLUSIVE")
    state: Literal["", "settled", "futile", "open"] = Field("", description="of its question, in a study with stages")
    seeds: int | None = Field(None, description="seeds of the last look at its question")
    facts: dict[str, Any] = {}


class Rung(Data):
    """One size of a source's ladder."""

    variant: str
    rows: int
    tokens: int | None = None
    mean: float | None


class CurvePoint(Data):
    """One point of a fitted learning curve, with an interval for its shape (what moves all rungs alike is left out)."""

    rows: float
    value: float
    low: float
    high: float


class Growth(Data):
    """What more rows of a source gain: its ladder, the gain at its current size, and the gain of a next step."""

    rank: int
    source: str = Field(description="a source, or `size` for a ladder of the whole baseline")
    verdict: Verdict
    rows: int = Field(description="current size: rows in the largest rung")
    gain_per_1000_rows: float | None = Field(
        description="marginal gain at the current size; with two rungs the average between them"
    )
    ci_per_1000_rows: tuple[float | None, float | None] = (None, None)
    gain_per_10k_tokens: float | None = None
    ci_per_10k_tokens: tuple[float | None, float | None] = (None, None)
    supply_left: int | None = Field(None, description="rows of the pool that the largest rung does not use")
    cost_per_row: float | None = None
    cost_per_point: float | None = Field(None, description="cost of one hundredth of the metric at the current size")
    next_rows: int | None = Field(
        None, description="rows of a next step: all rows left in the pool, but at most as many as double the source"
    )
    next_gain: float | None = Field(None, description="gain of the next step, by the fitted curve")
    next_ci: tuple[float | None, float | None] = (None, None)
    next_cost: float | None = None
    exponent: float | None = Field(
        None, description="of the most likely power law a - b rows^-c: 0 a logarithm, -1 a straight line"
    )
    rungs: list[Rung]
    curve: list[CurvePoint] = Field(default=[], description="drawn up to twice the largest rung; none with two rungs")
    note: str = ""


class Stage(Data):
    """One look of a study with stages."""

    seeds: int
    settled: list[str] = Field(default=[], description="subjects whose questions this look settled")
    futile: list[str] = Field(default=[], description="subjects ended here that the last look would hardly settle")


class TrustCheck(Data):
    """One check printed above the verdicts."""

    check: str
    ok: bool
    text: str


class Decisions(Data):
    """``harness decide --json``."""

    schema_version: int = SCHEMA_VERSION
    study: str
    metric: str
    rule: dict[str, Any]
    rule_digest: str
    trusted: bool
    withheld: bool = Field(False, description="a failed control withholds the verdicts")
    trust: list[TrustCheck]
    decisions: list[Decision]
    complete: bool = True
    stages: list[Stage] = Field(default=[], description="the looks so far, in a study with stages")
    planned_runs: int = Field(0, description="runs of a study whose arms would all go on to the last stage")
    runs: int = Field(0, description="runs that were needed")
    next: str = ""
    sees: float | None = Field(None, description="smallest effect found four times in five, with the measured noise")
    advice: str = Field("", description="sees in words, and what would settle the questions left open")
    weakest_slice: str = ""
    growth: list[Growth] = Field(default=[], description="which data to grow next, best first")
    slices: list[Slice] = Field(default=[], description="the declared metric by slice, weakest first; exploratory")
    tasks: list[TaskNoise] = Field(default=[], description="signal and noise of each task of the suite")
    metrics: list[MetricNoise] = Field(
        default=[], description="the declared task's metrics, sharpest first; exploratory"
    )
    mixtures: list[str] = Field(default=[], description="best mixture predicted from random ones; exploratory")

    def why_withheld(self) -> str:
        """Return which failed controls withhold the verdicts; empty when they are not withheld."""
        return "; ".join(one.text for one in self.trust if "verdicts are withheld" in one.text)

    def stages_in_words(self) -> str:
        """Return where questions ended, and how many runs were not needed; empty for a study without stages."""
        if not self.stages:
            return ""
        looks = []
        for one in self.stages:
            ended = [f"{name} settled" for name in one.settled] + [f"{name} futile" for name in one.futile]
            looks.append(f"{one.seeds} seeds: {', '.join(ended) or 'nothing settled'}")
        saved = self.planned_runs - self.runs
        times = f": all would take {self.planned_runs / self.runs:.1f} times as long" if self.runs else ""
        rest = f" {saved} of {self.planned_runs} runs were not needed{times}." if saved else ""
        return f"Stages: {'; '.join(looks)}.{rest}"
