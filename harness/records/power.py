"""What a study will be able to see."""

from __future__ import annotations

from pydantic import Field

from harness.records.base import SCHEMA_VERSION, Data


class PowerAtSeeds(Data):
    """The effect that a number of seeds per arm can detect."""

    seeds: int
    minimum_effect: float | None


class Power(Data):
    """``harness power --json``, and the power line of ``harness plan``: what a study of this size can detect."""

    schema_version: int = SCHEMA_VERSION
    seeds: int
    items: int = Field(description="items that decide")
    clusters: int | None = Field(None, description="clusters they are in; None: all are independent")
    arms: int = Field(description="arms whose seed noise is pooled, baseline and controls included")
    comparisons: int = Field(description="questions that share alpha (Bonferroni)")
    alpha: float
    power: float = Field(description="probability of finding the effect")
    seed_sd: float | None = Field(description="SD over seeds of a run's mean on endless items; None: not known yet")
    item_sd: float | None = Field(description="SD over items of an item's effect on a difference at every seed")
    residual_sd: float | None = Field(description="SD of an item's effect on a difference at a single seed")
    noise: str = Field(description="where these three come from, or when they are known")
    studies: int = Field(0, description="earlier studies they come from")
    minimum_effect: float | None = Field(description="smallest true effect that is found; None: no verdict is possible")
    smallest_effect: float
    seeds_needed: int | None = Field(description="seeds per arm that find smallest_effect; None: not even 1,000")
    items_needed: int | None = Field(description="deciding items that find it with these seeds; None: no number does")
    suite_items_needed: int | None = Field(None, description="items_needed, and the items kept for confirmation")
    seconds: float | None = Field(None, description="wall time of all runs with seeds_needed seeds")
    by_seeds: list[PowerAtSeeds] = []
    text: str
