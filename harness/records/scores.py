"""Scores of runs, effects of variants on them, and noise."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.records.base import SCHEMA_VERSION, Data


class TaskScore(Data):
    """Aggregates of one run on one task."""

    task: str
    items: int
    metrics: dict[str, float] = Field(description="mean over items of every per-item metric")
    stderr: dict[str, float] = {}
    majority: float | None = Field(None, description="score of always giving the most frequent answer")
    primary: str = Field(description="the task's primary metric")


class ArmEffect(Data):
    """One arm against the baseline, on one metric."""

    variant: str
    effect: float | None
    se: float | None
    ci: tuple[float | None, float | None]
    df: float | None
    p: float | None
    p_adjusted: float | None
    seeds: int
    items: int
    mean: float | None
    control: bool = False
    effect_clean: float | None = None
    ci_clean: tuple[float | None, float | None] = (None, None)
    items_clean: int = 0
    effect_confirmation: float | None = None
    ci_confirmation: tuple[float | None, float | None] = (None, None)
    items_confirmation: int = 0
    flags: list[str] = Field(
        default=[], description="how clean items or the confirmation half contradict all items, in words"
    )
    note: str = ""


class SliceArm(Data):
    """One arm against the baseline on one slice."""

    variant: str
    mean: float
    effect: float
    ci: tuple[float | None, float | None]
    p: float | None
    p_adjusted: float | None = Field(description="Benjamini-Hochberg over all slices and arms: exploratory")
    note: str = ""


class Slice(Data):
    """The declared metric on the items of one slice (selection half); slices come weakest first."""

    slice: str
    items: int
    baseline_mean: float
    best: str = Field(description="the variant that does best on the whole suite: weakness is measured on it")
    best_mean: float
    arms: list[SliceArm]


class TaskNoise(Data):
    """How well one task of the suite tells this study's arms apart (its primary metric, selection half)."""

    task: str
    metric: str
    items: int
    spread: float = Field(description="standard deviation of the arms' means, controls left out")
    noise: float | None = Field(description="what that deviation would be if all arms were the same: seeds and items")
    signal_to_noise: float | None = Field(description="spread / noise; about 1 when the arms do not differ")
    coin_flip: bool = Field(
        description="the arms differ no more than noise makes them, and the noise could hide the smallest effect that "
        "matters: a ranking by this task is a coin flip"
    )


class MetricNoise(Data):
    """How well one metric of the declared task tells this study's arms apart (selection half); exploratory."""

    metric: str
    declared: bool
    spread: float = Field(description="standard deviation of the arms' means, controls left out")
    noise: float | None = Field(description="what that deviation would be if all arms were the same: seeds and items")
    signal_to_noise: float | None = Field(description="spread / noise; about 1 when the arms do not differ")
    agreement: float | None = Field(description="correlation with the declared metric, over all runs of each item")


class MetricComparison(Data):
    """All arms against the baseline on one metric; exploratory unless it is the study's declared one."""

    metric: str
    baseline_mean: float | None
    base_model: float | None = None
    majority: float | None = None
    exploratory: bool
    arms: list[ArmEffect]


class Comparison(Data):
    """``harness compare --json``."""

    schema_version: int = SCHEMA_VERSION
    study: str
    baseline: str
    metric: str
    match: str
    waivers: list[str] = []
    noise: dict[str, float | None] = Field(
        default={}, description="seed_share, item_share, seed_sd, item_sd of a contrast; clusters, correlation"
    )
    base_model: float | None = None
    baseline_mean: float | None = None
    aa_weight: float = Field(0.0, description="weight of the A/A arm's runs in `baseline_mean`, up to 0.5")
    majority: float | None = None
    arms: list[ArmEffect]
    others: list[MetricComparison] = []
    slices: list[Slice] = Field(default=[], description="the declared metric by slice, weakest first; exploratory")


class ScoreArm(Data):
    """One arm of a table of scores against the baseline."""

    arm: str
    verdict: Literal["ADOPT", "NEUTRAL", "REJECT", "INCONCLUSIVE"]
    reason: str
    resolve: str = Field("", description="what would settle an INCONCLUSIVE")
    mean: float | None
    effect: float | None
    se: float | None
    ci: tuple[float | None, float | None]
    df: float | None
    p: float | None
    p_adjusted: float | None = Field(description="Holm over the arms")
    p_equivalence: float | None = Field(
        None, description="two one-sided tests within the smallest effect, Holm over arms"
    )
    noisier: bool = Field(False, description="varies more from seed to seed than the other arms do")
    naive_z_p: float | None = Field(None, description="unpaired z-test on all scores as if independent; for contrast")
    naive_t_p: float | None = Field(None, description="paired t-test over items, seeds averaged away; for contrast")
    note: str = ""


class ScoreComparison(Data):
    """``harness stats compare --json``: any tool's scores judged by the house's rule."""

    schema_version: int = SCHEMA_VERSION
    scores: str
    baseline: str
    baseline_mean: float
    alpha: float
    smallest_effect: float | None
    seeds: list[str]
    items: int
    groups: int | None = Field(None, description="clusters of items, where a column `group` was given")
    noise: dict[str, float | None] = {}
    arms: list[ScoreArm]
    slices: list[Slice] = []
    notes: list[str] = Field(default=[], description="what the reader must know before believing the table")
