"""Plain data that steps write and pass on: results, comparisons, decisions, and the view of a study.

``--json`` output and MLflow are made from these models: users can rely on every field here.
"""

from __future__ import annotations

from harness.records.base import SCHEMA_VERSION, Data
from harness.records.buying import Allocation, Share, Unclear, Unit
from harness.records.columns import (
    ASKED,
    CONTENT_COLUMNS,
    DROP_COLUMNS,
    ITEM_COLUMNS,
    LOWER,
    OVERLAP_COLUMNS,
    ROW_COLUMNS,
)
from harness.records.decisions import CurvePoint, Decision, Decisions, Growth, Rung, Stage, TrustCheck, Verdict
from harness.records.mixtures import Confirmation, HeldOut, MixtureFits, MixtureTarget, ProposedMixture
from harness.records.power import Power, PowerAtSeeds
from harness.records.scores import (
    ArmEffect,
    Comparison,
    MetricComparison,
    MetricNoise,
    ScoreArm,
    ScoreComparison,
    Slice,
    SliceArm,
    TaskNoise,
    TaskScore,
)
from harness.records.view import RunView, StudyView, VariantView

__all__ = [
    "ASKED",
    "CONTENT_COLUMNS",
    "DROP_COLUMNS",
    "ITEM_COLUMNS",
    "LOWER",
    "OVERLAP_COLUMNS",
    "ROW_COLUMNS",
    "SCHEMA_VERSION",
    "Allocation",
    "ArmEffect",
    "Comparison",
    "Confirmation",
    "CurvePoint",
    "Data",
    "Decision",
    "Decisions",
    "Growth",
    "HeldOut",
    "MetricComparison",
    "MetricNoise",
    "MixtureFits",
    "MixtureTarget",
    "Power",
    "PowerAtSeeds",
    "ProposedMixture",
    "RunView",
    "Rung",
    "ScoreArm",
    "ScoreComparison",
    "Share",
    "Slice",
    "SliceArm",
    "Stage",
    "StudyView",
    "TaskNoise",
    "TaskScore",
    "TrustCheck",
    "Unclear",
    "Unit",
    "VariantView",
    "Verdict",
]
