"""What steps write and hand to each other: records of the store, results, comparisons, decisions, and a study as seen.

All are plain data. ``--json`` output and MLflow are made from these: a field added here is one users can rely on.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1

# Column name -> type, of the tables kept as parquet. `str?` may be null.
ROW_COLUMNS = {
    "row_id": "str",  # digest of the content fields below: what the model will see
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
    """Base of everything a step writes."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null")


class StoredFile(Data):
    """One file of an artifact."""

    sha256: str
    bytes: int


class Record(Data):
    """``record.json`` of an artifact: written last, the only mark of success."""

    kind: str
    version: int
    key: str
    name: str
    spec: dict[str, Any]
    inputs: dict[str, str]
    digest: str = Field(description="content digest: what steps downstream depend on")
    data: dict[str, Any] = Field(default={}, description="small facts: counts, metrics, durations")
    files: dict[str, StoredFile] = {}
    provenance: dict[str, Any] = {}
    created: str = ""


class Failure(Data):
    """``work/<key>/failure.json``: why the last attempt at a step failed."""

    key: str
    kind: str
    name: str
    stage: str
    message: str
    detail: str = ""
    created: str = ""


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
    items_clean: int = 0
    effect_confirmation: float | None = None
    ci_confirmation: tuple[float | None, float | None] = (None, None)
    items_confirmation: int = 0
    note: str = ""


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
        default={}, description="seed_share, item_share, seed_sd, item_sd of a contrast"
    )
    base_model: float | None = None
    baseline_mean: float | None = None
    majority: float | None = None
    arms: list[ArmEffect]
    others: list[MetricComparison] = []


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
    facts: dict[str, Any] = {}


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
    next: str = ""
    weakest_slice: str = ""


# ------------------------------------------------------------------------------------- a study as the store shows it


class VariantView(Data):
    """A variant with what its training sets hold (means over seeds where every seed draws its own)."""

    name: str
    key: str
    tests: str = ""
    control: bool = False
    rows: int
    tokens: int | None
    sources: dict[str, int]
    operations: list[str] = []
    digests: dict[int, str] = Field(description="seed -> content digest of the training set")
    variant: dict[str, Any] = Field(default={}, description="the resolved spec")


class RunView(Data):
    """One run: a variant at a seed."""

    variant: str
    seed: int
    key: str
    state: Literal["done", "trained", "to do", "failed"]
    training: dict[str, Any] = Field(default={}, description="the adapter record's data: loss, tokens, seconds, device")
    curve: list[dict[str, float]] = Field(
        default=[], description="step, loss, learning_rate, grad_norm, tokens_per_second"
    )
    scores: list[TaskScore] = []
    rows_digest: str = ""
    rows: int = 0
    folders: dict[str, str] = Field(default={}, description="adapter, result and variant folders in the store")
    provenance: dict[str, Any] = {}
    failure: str = ""


class StudyView(Data):
    """Everything a projection (MLflow, report) needs, read from the store."""

    study: str
    key: str
    question: str
    hypothesis: str
    resolved: dict[str, Any]
    suite: str
    suite_digest: str
    suite_folder: str
    suite_items: int
    variants: list[VariantView]
    runs: list[RunView]
    base: list[TaskScore] = []
    comparison: Comparison | None = None
    decisions: Decisions | None = None
