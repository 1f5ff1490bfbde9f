"""A study as the store shows it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.records.base import Data
from harness.records.decisions import Decisions
from harness.records.scores import Comparison, TaskScore


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
