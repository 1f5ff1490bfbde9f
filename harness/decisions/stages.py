"""Which arms of a study with stages go on: those that a question needs which no look has settled yet."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from scipy import special

from harness.decisions.evidence import Evidence, is_control
from harness.decisions.questions import Question, questions
from harness.decisions.reasons import Finding
from harness.decisions.verdicts import VERDICTS, findings
from harness.records import Verdict
from harness.spec import Study
from harness.statistics.paired import Contrast
from harness.statistics.sequential import levels_at

FUTILE = 0.02  # a question ends when the last look is less likely than this to settle it

State = Literal["settled", "futile", "open"]


@dataclass(frozen=True)
class Course:
    """How far a study with stages has come.

    Attributes:
        runs: Variant -> number of seeds that its verdicts are made from.
        needed: Variant -> number of seeds that the next look needs; empty when no further look is needed.
        states: Subject -> state of its question.
        verdicts: Subject -> the verdict of a settled question.
        effects: Subject -> the effect at the last look at its question.
        seen: Subject -> seeds of the last look at its question; 0 before the first look.
        looks: Number of looks so far.
    """

    runs: dict[str, int]
    needed: dict[str, int]
    states: dict[str, State]
    seen: dict[str, int]
    looks: int
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    effects: dict[str, float] = field(default_factory=dict)


def course(study: Study, evidence: Evidence, runs: Mapping[str, int], lost: Collection[str] = ()) -> Course:
    """Follow a study from look to look, as far as its results reach.

    The course depends on results and rule only, not on when they were computed: runs beyond a question's end are not
    looked at. Confirmation items are not read.

    Args:
        study: The study, its designs expanded.
        evidence: Results of all arms with a run.
        runs: Variant -> number of its finished runs, counted from the first seed on without a gap.
        lost: Variants that are not waited for, because a run failed.
    """
    asked = questions(study, evidence.rows)
    states: dict[str, State] = {one.subject: "open" for one in asked}
    seen = dict.fromkeys(states, 0)
    used: dict[str, int] = {}
    verdicts: dict[str, Verdict] = {}
    effects: dict[str, float] = {}
    for look, seeds in enumerate(study.stages):
        wanted = _wanted(study, [one for one in asked if states[one.subject] == "open"], runs)
        short = [name for name in wanted if runs.get(name, 0) < seeds]
        if "baseline" in short or not set(short) <= set(lost):
            return Course(used, dict.fromkeys(wanted, seeds), states, seen, look, verdicts, effects)
        used |= {name: seeds for name in wanted if name not in short}
        if evidence.selection is None:
            continue
        scores = evidence.selection.ending(used)
        found = findings(study, replace(evidence, selection=scores, confirmation=None))
        for one in found:
            subject = one.question.subject
            if states[subject] == "open" and one.estimate is not None and one.estimate.seeds == seeds:
                seen[subject] = seeds
                states[subject] = _state(study, one, one.estimate)
                effects[subject] = one.estimate.effect
                if states[subject] == "settled":
                    verdicts[subject] = VERDICTS[one.question.kind][one.outcome]
        if "open" not in states.values():
            return Course(used, {}, states, seen, look + 1, verdicts, effects)
    return Course(used, {}, states, seen, len(study.stages), verdicts, effects)


def _wanted(study: Study, asked: list[Question], runs: Mapping[str, int]) -> list[str]:
    """Return the variants that questions need: their arms and rungs, the baseline, and the controls."""
    arms = {name for one in asked for name in (*one.plus, *one.minus, *one.rungs, *one.others)}
    beside = [f"random-subset-{name}" for name in arms]
    needed = {"baseline", "aa", "random-subset", *arms, *beside}
    return [name for name in ("baseline", *study.arms, *(n for n in runs if is_control(n))) if name in needed]


def _state(study: Study, found: Finding, estimate: Contrast) -> State:
    """Return the state of a question after a look."""
    if found.outcome == "same":
        return "settled"
    if found.outcome != "unclear" and found.clean is not None and found.clean.effect * estimate.effect > 0:
        return "settled"
    going = len(estimate.looks) < len(study.stages)
    return "futile" if going and chance(study, estimate, found.comparisons) < FUTILE else "open"


def chance(study: Study, estimate: Contrast, comparisons: int) -> float:
    """Return how likely the last look is to settle a question, given the effect so far (predictive probability).

    With a flat prior the last look's effect is normal around the effect so far, with the variance that is still to
    fall. It settles the question beyond ``smallest_effect`` and its level, or well within ``smallest_effect``. Ending
    a question early makes no false finding.
    """
    if not estimate.looks or estimate.se is None:
        return 1.0
    now = estimate.fractions[len(estimate.looks) - 1]
    if now >= 1 or len(estimate.looks) == len(estimate.fractions):
        return 0.0
    threshold, alpha = study.decide.smallest_effect, study.decide.alpha / comparisons
    last = estimate.se * math.sqrt(now)  # standard error at the last look
    spread = estimate.se * math.sqrt(1 - now)
    two_sided = levels_at(estimate.fractions, alpha)[-1]
    one_sided = levels_at(estimate.fractions, alpha, sides=1)[-1]
    beyond = max(threshold, -float(special.ndtri(two_sided / 2)) * last)
    within = threshold + float(special.ndtri(one_sided)) * last

    def below(bound: float) -> float:
        return float(special.ndtr((bound - estimate.effect) / spread))

    inside = below(within) - below(-within) if within > 0 else 0.0
    return 1 - below(beyond) + below(-beyond) + inside
