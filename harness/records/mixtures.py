"""Models of mixtures, and what they propose."""

from __future__ import annotations

from pydantic import Field

from harness.records.base import SCHEMA_VERSION, Data


class ProposedMixture(Data):
    """A mixture to try next: a prediction, to be trained before it is believed."""

    weights: dict[str, float]
    score: float
    interval: tuple[float, float] = Field(description="90% interval of its score, were it trained")


class HeldOut(Data):
    """How well a model predicts mixtures that it was not fitted to."""

    mixtures: int
    rank: float | None = Field(description="Spearman; null where all scores or all predictions are equal")
    error: float
    covered: float = Field(description="share of the scores within their 90% interval")


class MixtureTarget(Data):
    """The model of one target's scores of mixtures."""

    target: str
    inconclusive: str = Field(description="why nothing can be said; empty when something can")
    model: str
    compared: dict[str, float] = Field(description="candidate -> cross-validated rank correlation")
    rank: float = Field(description="cross-validated rank correlation (Spearman) of the chosen model")
    rank_interval: tuple[float, float] = Field(description="its 90% interval")
    error: float = Field(description="cross-validated root mean square error")
    spread: float = Field(description="the same error when every mixture is predicted by the mean of the others")
    best_tried: str
    best_tried_score: float
    best_tried_weights: dict[str, float]
    proposal: ProposedMixture | None = None
    held_out: HeldOut | None = None


class MixtureFits(Data):
    """``harness mixtures fit --json``: scores of mixtures that were trained, modelled by their weights."""

    schema_version: int = SCHEMA_VERSION
    mixtures: str
    scores: str
    lower_is_better: bool
    matched_by: str | None = Field(description="column by which rows were matched; null: by order")
    count: int
    sources: list[str]
    targets: list[MixtureTarget]
    notes: list[str] = Field(default=[], description="what the reader must know before believing the table")


class Confirmation(Data):
    """``harness mixtures confirm --json``."""

    schema_version: int = SCHEMA_VERSION
    study: str = Field(description="the study whose mixtures were trained")
    file: str = Field(description="the study that tests the proposal")
    arm: str = Field(description="the proposal in the new study")
    proposal: ProposedMixture
    mix: dict[str, int] = Field(description="source -> rows that the arm asks for")
    mixtures: int = Field(description="number of trained mixtures that it is predicted from")
    best_tried: str
    best_tried_score: float = Field(description="its mean score, flattered by having been picked")
    seeds: list[int] = Field(description="those of the new study: none was used by the mixtures")
    stages: list[int] = Field(description="numbers of seeds at which the new study is looked at")
    complete: bool = Field(description="no run of the study is missing")
    progress: str = Field(description="how many runs are done, in words")
