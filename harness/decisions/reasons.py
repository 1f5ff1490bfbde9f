"""The reason of a verdict: the sentence, and the numbers behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from harness.decisions.evidence import Evidence, contrast_of
from harness.decisions.growth import pure
from harness.decisions.outcomes import Outcome, settling
from harness.decisions.questions import Question
from harness.formats import Places, count, duration, p_value, plural, share_of_rows
from harness.records import Growth
from harness.spec import Study
from harness.statistics.paired import Contrast, equivalence


@dataclass(frozen=True)
class Finding:
    """A question with its measurements.

    Attributes:
        question: The question.
        estimate: Its contrast on the items that decide.
        outcome: The outcome of the decision rule.
        p_adjusted: P value of no effect, after Holm.
        p_same: P value of equivalence, after Holm.
        comparisons: Size of the family that both p values are adjusted for.
        clean: The contrast on items that no training row overlapped.
        flip: How clean items contradict all items (see ``outcomes.flips``).
        confirmation: The contrast on the confirmation half.
    """

    question: Question
    estimate: Contrast | None
    outcome: Outcome
    p_adjusted: float | None
    p_same: float | None
    comparisons: int
    clean: Contrast | None
    flip: str
    confirmation: Contrast | None


def after(found: Finding) -> str:
    """Return in words the adjusted p value and the size of its family."""
    said = p_value(1.0 if found.p_adjusted is None else found.p_adjusted)
    return f"{said} after {found.comparisons} comparisons" if found.comparisons > 1 else said


def label(question: Question) -> str:
    """Return the contrast in words: ``sums-160 - sums-40``, or ``mean of 4 arms with dedupe - mean of 4 without``."""
    plus, minus = question.plus, question.minus
    if len(plus) == len(minus) == 1:
        return f"{plus[0]} - {minus[0]}"
    return f"mean of {len(plus)} arms with {question.subject} - mean of {len(minus)} without"


def because(
    study: Study, evidence: Evidence, found: Finding, outcome: Outcome, facts: dict[str, Any], places: Places
) -> str:
    """Return the reason of a verdict that is not INCONCLUSIVE."""
    one, estimate = found.question, found.estimate
    assert estimate is not None
    within = f"within {places.plain(study.decide.smallest_effect)}"
    alias = f"; {one.note}" if one.note else ""
    if one.instead:
        rows = evidence.rows.get("baseline", {}).get(one.subject) or study.baseline.counts()[one.subject] or 0
        difference = places.points(abs(estimate.effect))
        if outcome == "same":
            return f"{count(rows)} {one.instead} in its place score the same ({within})"
        side = "more" if outcome == "worse" else "less"
        return f"{count(rows)} {one.instead} in its place score {difference} {side}"
    if one.rungs:
        steps = f"{count(one.rungs[one.minus[0]])} -> {count(one.rungs[one.plus[0]])} rows"
        if outcome == "same":
            return f"{steps} change nothing that matters ({within})"
        if "gain_per_10_rows" not in facts:
            return f"{steps}; {after(found)}"
        gain = f"{places.points(facts['gain_per_10_rows'])} per 10 rows"
        cost = f", {facts['cost_per_point']:.2g} spent per point" if "cost_per_point" in facts else ""
        return f"{steps}; {gain}{cost}"
    ratio = facts.get("rows_ratio")
    size = f"{share_of_rows(ratio)}, " if ratio is not None else ""
    if outcome == "same":
        return f"{size}same model ({within}; {p_value(facts['p_equivalence'])}){alias}"
    return f"{size}{outcome} model; {after(found)}{alias}"


def facts(study: Study, evidence: Evidence, found: Finding) -> dict[str, Any]:
    """Return the numbers behind a decision: sizes, marginal gain and cost, other arms on the subject."""
    one, estimate, alpha = found.question, found.estimate, study.decide.alpha
    known: dict[str, Any] = {}
    if estimate:
        known |= {
            "seeds": estimate.seeds,
            "items": estimate.items,
            "clusters": estimate.clusters,
            "se": estimate.se,
            "df": estimate.df,
            "p": estimate.p,
        }
        if estimate.note:
            known["note"] = estimate.note
        if estimate.p is not None:
            known["p_equivalence"] = equivalence(estimate, study.decide.smallest_effect)
            known["p_equivalence_adjusted"] = found.p_same
    if found.clean:
        known |= {"effect_clean": found.clean.effect, "items_clean": found.clean.items}
        known |= {"ci_clean": [found.clean.ci_low, found.clean.ci_high], "flip_clean": found.flip}
    if found.confirmation:
        again = found.confirmation
        known |= {"ci_confirmation": [again.ci_low, again.ci_high], "items_confirmation": again.items}
    if one.others:
        effects = {name: contrast_of(evidence.selection, name, "baseline", alpha) for name in one.others}
        known["others"] = {name: effect.effect if effect else None for name, effect in effects.items()}
    if one.instead:
        known["instead"] = one.instead
    if one.note:
        known["alias"] = one.note
    if one.rungs:
        known |= _ladder(study, evidence, one, estimate)
    elif one.kind == "treatment":
        known |= _treatment(study, evidence, one)
    return known


def _treatment(study: Study, evidence: Evidence, one: Question) -> dict[str, Any]:
    """Return how many rows a treatment keeps, and its effect against a random subset of the same size."""
    known: dict[str, Any] = {}
    mine, base = (
        sum(sum(evidence.rows.get(name, {}).values()) for name in end) / len(end) for end in (one.plus, one.minus)
    )
    if base > 0 and mine > 0:
        known |= {"rows": round(mine), "rows_baseline": round(base), "rows_ratio": mine / base}
    if len(one.plus) == 1 and one.plus[0] in study.arms and study.arms[one.plus[0]].operations:
        names = (f"random-subset-{one.plus[0]}", "random-subset")
        scored = evidence.selection.arms if evidence.selection else ()
        beside = next((name for name in names if name in scored), "")
        if beside and (over := contrast_of(evidence.selection, one.plus, beside, study.decide.alpha)):
            known["effect_over_random_subset"] = over.effect
    return known


def _ladder(study: Study, evidence: Evidence, one: Question, estimate: Contrast | None) -> dict[str, Any]:
    known: dict[str, Any] = {"rungs": {name: round(rows) for name, rows in one.rungs.items() if math.isfinite(rows)}}
    plus, minus = one.plus[0], one.minus[0]
    top, step = one.rungs[plus], one.rungs[plus] - one.rungs[minus]
    if one.subject in evidence.supply:
        known["supply_left"] = max(0, round(evidence.supply[one.subject] - top)) if math.isfinite(top) else 0
    # A gain per row means something only when nothing but rows of this source differs.
    if estimate and 0 < step < math.inf and pure(study, evidence, one):
        known |= {
            "gain_per_10_rows": 10 * estimate.effect / step,
            "gain_per_1000_rows": 1000 * estimate.effect / step,
        }
        cost = study.sources[one.subject].cost_per_row if one.subject in study.sources else None
        if cost and estimate.effect > 0:
            known["cost_per_point"] = cost * step / (100 * estimate.effect)
    return known


@dataclass(frozen=True)
class Ways:
    """What would settle a question: more seeds of every arm, or more items of the suite.

    Attributes:
        seeds: More seeds; None: no practical number settles it.
        items: More items, those kept for confirmation included; None likewise.
        seeds_take: Seconds that the seeds take; 0 when unknown.
        items_take: Seconds in which all runs answer the items.
    """

    seeds: int | None
    items: int | None
    seeds_take: float = 0.0
    items_take: float = 0.0

    def in_words(self) -> str:
        """Return both ways in words; empty when there is none."""
        seeds = plural(self.seeds, "more seed") + _about(self.seeds_take) if self.seeds else ""
        items = plural(self.items, "more item") + _about(self.items_take, " of scoring") if self.items else ""
        return " or ".join(way for way in (seeds, items) if way)


def settle(study: Study, evidence: Evidence, found: Finding, estimate: Contrast) -> Ways:
    """Return how many more seeds, or items, would settle a question, and how long either takes.

    Items are items of the suite; the confirmation half takes its share of them.
    """
    arms = len(evidence.selection.arms) if evidence.selection else 2
    alpha, share = study.decide.alpha / found.comparisons, 1 - study.suite.confirmation
    seeds, items = settling(estimate, study.decide.smallest_effect, alpha, arms, share, study.decide.noise)
    return Ways(
        seeds,
        items,
        (seeds or 0) * arms * (evidence.seconds_per_run or 0.0),
        (items or 0) * arms * estimate.seeds * (evidence.seconds_per_item or 0.0),
    )


def needs(ways: Ways, estimate: Contrast) -> str:
    """Return in words what would settle a question."""
    if ways.seeds:
        return f"needs {ways.in_words()}"
    if ways.items:
        return f"no number of seeds settles it on {plural(estimate.items, 'item')}: needs {ways.in_words()}"
    return "no practical number of seeds or items settles it"


def more_seeds(evidence: Evidence, more: int, least: str = "") -> str:
    """Return in words how many more seeds are needed and how long they take."""
    arms = len(evidence.selection.arms) if evidence.selection else 0
    return f"needs {least}{plural(more, 'more seed')}{_about(more * arms * (evidence.seconds_per_run or 0.0))}"


def _about(seconds: float, of: str = "") -> str:
    return f" (about {duration(seconds)}{of})" if seconds else ""


def grow_next(growth: list[Growth]) -> str:
    """Return in words which sources to grow, the one that gains most per row first."""
    said = []
    for line in growth:
        if line.verdict == "GROW":
            left = line.supply_left
            rest = f"{count(left)} rows left in the pool" if left else "its pool is used up"
            said.append(line.source + (f" ({rest})" if left is not None else ""))
    return f"Grow next: {', then '.join(said)}." if said else ""
