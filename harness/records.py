"""Plain data that steps write and pass on: results, comparisons, decisions, and the view of a study.

``--json`` output and MLflow are made from these models: users can rely on every field here.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
LOWER = "lower.json"  # what reading a suite leaves: task -> metrics of which a lower value is better
ASKED = "asked.json"  # in a stored suite: lm-eval task -> digest of its prompts and scoring

# Column name -> type, of the tables kept as parquet. `str?` may be null.
ROW_COLUMNS = {
    "row_id": "str",  # digest of the content fields below, which the model will see
    "source": "str",
    "prompt": "str?",
    "completion": "str?",
    "messages": "str?",  # JSON list of {role, content}
    "text": "str?",
    "chosen": "str?",
    "rejected": "str?",
    "license": "str?",
    "origin": "str?",
    "group": "str?",
    "slice": "str?",
    "columns": "str?",  # JSON object: scores and labels that a source carries along, or that operations add
    "verifier": "str?",  # JSON: {"scorer": "reasoning-gym", "task", "entry"} or {"scorer": "numeric", "answer"}
    "meta": "str?",  # JSON: {"place": "file:line" or "generator#index", "id", ...}
}
CONTENT_COLUMNS = ("prompt", "completion", "messages", "text", "chosen", "rejected")
DROP_COLUMNS = {"row_id": "str?", "source": "str", "operation": "str", "reason": "str", "place": "str?"}
OVERLAP_COLUMNS = {
    "row_id": "str", "source": "str", "item_id": "str", "task": "str", "kind": "str", "score": "float", "span": "str",
}  # fmt: skip
ITEM_COLUMNS = {
    "item_id": "str",  # digest of task and doc
    "task": "str",  # the task's name in the suite
    "subtask": "str",  # the lm-eval task the item belongs to (differs from task for groups)
    "index": "int",  # the doc's position in that lm-eval task
    "doc_digest": "str",
    "question": "str",
    "answer": "str",
    "choices": "list[str]",
    "slice": "str?",
    "group": "str?",
    "half": "str",  # selection or confirmation
}


class Data(BaseModel):
    """Base of all records that steps write."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null")


# ------------------------------------------------------------------------------------------------------- results


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


# ----------------------------------------------------------------------------------------------------- decisions

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


# ------------------------------------------------------------------------------------------------------ what to buy

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


# ------------------------------------------------------------------------------------- a study as the store shows it


class VariantView(Data):
    """A variant and the content of its training sets (means over seeds when every seed draws its own)."""

    name: str
    key: str
    tests: str = ""
    control: bool = False
    rows: int
    tokens: int | None
    sources: dict[str, int]
    operations: list[str] = Field(default=[], description="as people read them, such as filter(max_words=400)")
    digests: dict[int, str] = Field(description="seed -> content digest of the training set")
    variant: dict[str, Any] = Field(default={}, description="the resolved spec")


class RunView(Data):
    """One run: a variant at a seed."""

    variant: str
    seed: int
    key: str
    state: Literal["done", "trained", "to do", "failed", "not needed"]
    training: dict[str, Any] = Field(default={}, description="the adapter record's data: loss, tokens, seconds, device")
    curve: list[dict[str, float]] = Field(
        default=[],
        description="step, loss, learning_rate, grad_norm, tokens_per_second; empty: as the adapter's record has it",
    )
    evaluation: dict[str, Any] = Field(default={}, description="the result record's data without scores")
    scores: list[TaskScore] = []
    rows_digest: str = ""
    rows: int = 0
    tokens: int | None = Field(None, description="tokens of the training set, each row counted once")
    sources: dict[str, int] = Field(default={}, description="rows of the training set by source")
    folders: dict[str, str] = Field(default={}, description="adapter, result and variant folders in the store")
    provenance: dict[str, Any] = {}
    failure: str = ""
    failed: str = Field("", description="time of the failure")


class StudyView(Data):
    """Everything a projection (MLflow, report) needs, read from the store."""

    study: str
    key: str
    created: str = Field("", description="time at which its rule was registered, before anything ran")
    question: str
    hypothesis: str
    resolved: dict[str, Any]
    suite: str
    suite_digest: str
    suite_folder: str
    suite_items: int
    folders: dict[str, str] = Field(
        default={}, description="in the store: base (the untrained model's result), sources/<name>, pools/<name>"
    )
    variants: list[VariantView]
    runs: list[RunView]
    base: list[TaskScore] = []
    comparison: Comparison | None = None
    decisions: Decisions | None = None
