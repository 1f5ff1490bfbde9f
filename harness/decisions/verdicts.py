"""The decision rule: what the evidence says about each subject, why, and what would settle what it leaves
open."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.decisions.evidence import Evidence, compare, measure, missing
from harness.decisions.questions import Question, questions, rule
from harness.decisions.trust import trust_checks
from harness.decisions.words import Words, count, duration, p_value, share_of_rows
from harness.identity import digest
from harness.records import Decision, Decisions, Verdict
from harness.spec import Study
from harness.statistics.paired import Contrast, equivalence, holm
from harness.statistics.power import items_needed, seeds_needed

Outcome = Literal["better", "same", "worse", "unclear"]
VERDICTS: dict[str, dict[Outcome, Verdict]] = {
    "source": {"better": "GROW", "same": "HOLD", "worse": "CUT", "unclear": "INCONCLUSIVE"},
    "treatment": {"better": "ADOPT", "same": "NEUTRAL", "worse": "REJECT", "unclear": "INCONCLUSIVE"},
}


@dataclass(frozen=True)
class _Finding:
    """A question with what was measured; ``comparisons`` is the size of the family it is adjusted for."""

    question: Question
    estimate: Contrast | None
    p_adjusted: float | None
    comparisons: int
    clean: Contrast | None
    confirmation: Contrast | None


def decide(study: Study, evidence: Evidence) -> Decisions:
    """Decide on every subject of a study.

    The subject is better (GROW, ADOPT) when the effect is at least ``smallest_effect``, its p value after
    Holm over all questions is below ``alpha``, and its sign holds on clean items and on the confirmation
    half; worse (CUT, REJECT) is the mirror image. It is the same (HOLD, NEUTRAL) when two one-sided tests
    show it within +-``smallest_effect`` at ``alpha``, on a metric that is neither at its floor nor saturated.
    Everything else is INCONCLUSIVE: also one seed, missing runs, and a failed control. The interval shown
    covers ``1 - alpha`` and is not adjusted.
    """
    alpha, threshold = study.decide.alpha, study.decide.smallest_effect
    selection, clean = evidence.selection, evidence.clean_scores()
    bounded = selection is not None and bool(np.all((selection.values >= 0) & (selection.values <= 1)))
    words = Words.fitting(threshold, bounded)
    trust, withheld = trust_checks(study, evidence, compare(study, evidence), words)

    asked = questions(study, evidence.rows)
    measured = [measure(selection, one.plus, one.minus, alpha) for one in asked]
    adjusted = holm([one.p if one else None for one in measured])
    found = [
        _Finding(
            question=one,
            estimate=estimate,
            p_adjusted=p,
            comparisons=len(asked),
            clean=measure(clean, one.plus, one.minus, alpha),
            confirmation=measure(evidence.confirmation, one.plus, one.minus, alpha),
        )
        for one, estimate, p in zip(asked, measured, adjusted, strict=True)
    ]
    blind = next((check.text for check in trust if check.check == "range" and not check.ok), "")
    decisions = [_decision(study, evidence, one, withheld, blind, words) for one in found]
    fixed = rule(study)
    return Decisions(
        study=study.study,
        metric=study.decide.metric,
        rule=fixed,
        rule_digest=digest(fixed),
        trusted=all(check.ok for check in trust),
        withheld=bool(withheld),
        trust=trust,
        decisions=decisions,
        complete=not evidence.failed and all(one.estimate for one in found),
        next=_next(decisions),
        weakest_slice=evidence.weakest_slice,
    )


def _decision(study: Study, evidence: Evidence, found: _Finding, withheld: str, blind: str, words: Words) -> Decision:
    one, estimate = found.question, found.estimate
    facts = _facts(study, evidence, found)
    if withheld:
        outcome, reason, resolve = _unclear(f"withheld: {withheld}", "settle the failed control first")
    elif estimate is None:
        lacking = missing(evidence, one.plus, one.minus)
        outcome, reason, resolve = _unclear(lacking, "needs the missing runs; run the study again")
    elif estimate.seeds == 1:
        outcome, reason, resolve = _unclear(
            "one seed: the noise of training is unknown", _more_seeds(evidence, 2, "at least ")
        )
    elif estimate.p is None:
        outcome, reason, resolve = _unclear(estimate.note, "needs more items")
    else:
        outcome, reason, resolve = _judge(study, evidence, found, estimate, words)
        if outcome == "same" and blind:  # where nothing is learned, all data look the same
            outcome, reason, resolve = _unclear(f"no difference, but {blind}", "needs a task the model can learn")
    if outcome != "unclear":
        reason = _because(study, evidence, found, outcome, facts, words)
    return Decision(
        subject=one.subject,
        kind=one.kind,
        verdict=VERDICTS[one.kind][outcome],
        effect=estimate.effect if estimate else None,
        ci=(estimate.ci_low, estimate.ci_high) if estimate else (None, None),
        p_adjusted=found.p_adjusted,
        confirmation=found.confirmation.effect if found.confirmation else None,
        contrast=f"{one.plus} - {one.minus}",
        reason=reason,
        resolve=resolve,
        facts=facts,
    )


def _unclear(reason: str, resolve: str) -> tuple[Outcome, str, str]:
    return "unclear", reason, resolve


def _judge(
    study: Study, evidence: Evidence, found: _Finding, estimate: Contrast, words: Words
) -> tuple[Outcome, str, str]:
    """Apply the rule to a contrast that has a p value."""
    alpha, threshold = study.decide.alpha, study.decide.smallest_effect
    effect, p = estimate.effect, 1.0 if found.p_adjusted is None else found.p_adjusted
    after = _after(found)
    if abs(effect) >= threshold and p < alpha:
        if found.clean is None:
            return _unclear("training rows touched every item", "needs items that no training row overlaps")
        halves = [("clean items", found.clean)]
        if evidence.confirmation is not None:
            if found.confirmation is None:
                return _unclear("no scores on the confirmation half", "needs the missing runs; run the study again")
            halves.append(("confirmation items", found.confirmation))
        for half, again in halves:
            if again.effect * effect <= 0:
                reason = f"{words.signed(again.effect)} on the {again.items} {half}: the sign does not hold"
                return _unclear(reason, f"needs more items (there are {again.items} {half})")
        return ("better" if effect > 0 else "worse"), "", ""
    if equivalence(estimate, threshold) < alpha:
        return "same", "", ""
    resolve = _resolve(study, evidence, found, estimate)
    limit = words.plain(threshold)
    if p < alpha:
        return _unclear(f"an effect, but it may be smaller than {limit}: {after}", resolve)
    if abs(effect) >= threshold:
        return _unclear(f"noise may do this: {after}", resolve)
    return _unclear(f"neither an effect nor its absence (within {limit}) is shown: {after}", resolve)


def _after(found: _Finding) -> str:
    """Say the adjusted p value and what it is adjusted for."""
    said = p_value(1.0 if found.p_adjusted is None else found.p_adjusted)
    return f"{said} after {found.comparisons} comparisons" if found.comparisons > 1 else said


def _because(
    study: Study, evidence: Evidence, found: _Finding, outcome: Outcome, facts: dict[str, Any], words: Words
) -> str:
    """Say why, for a verdict that is not INCONCLUSIVE."""
    one, estimate = found.question, found.estimate
    assert estimate is not None
    within = f"within {words.plain(study.decide.smallest_effect)}"
    if one.instead:
        rows = evidence.rows.get("baseline", {}).get(one.subject) or study.baseline.counts()[one.subject] or 0
        difference = words.points(abs(estimate.effect))
        if outcome == "same":
            return f"{count(rows)} {one.instead} in its place score the same ({within})"
        side = "more" if outcome == "worse" else "less"
        return f"{count(rows)} {one.instead} in its place score {difference} {side}"
    if one.rungs:
        steps = f"{count(one.rungs[one.minus])} -> {count(one.rungs[one.plus])} rows"
        if outcome == "same":
            return f"{steps} change nothing that matters ({within})"
        if "gain_per_10_rows" not in facts:
            return f"{steps}; {_after(found)}"
        gain = f"{words.points(facts['gain_per_10_rows'])} per 10 rows"
        cost = f", {facts['cost_per_point']:.2g} spent per point" if "cost_per_point" in facts else ""
        return f"{steps}; {gain}{cost}"
    ratio = facts.get("rows_ratio")
    size = f"{share_of_rows(ratio)}, " if ratio is not None else ""
    if outcome == "same":
        return f"{size}same model ({within}; {p_value(facts['p_equivalence'])})"
    return f"{size}{outcome} model; {_after(found)}"


def _facts(study: Study, evidence: Evidence, found: _Finding) -> dict[str, Any]:
    """Return the numbers behind a decision: sizes, marginal gain and cost, other arms on the subject."""
    one, estimate, alpha = found.question, found.estimate, study.decide.alpha
    facts: dict[str, Any] = {}
    if estimate:
        facts |= {
            "seeds": estimate.seeds,
            "items": estimate.items,
            "se": estimate.se,
            "df": estimate.df,
            "p": estimate.p,
        }
        if estimate.p is not None:
            facts["p_equivalence"] = equivalence(estimate, study.decide.smallest_effect)
    if found.clean:
        facts |= {"effect_clean": found.clean.effect, "items_clean": found.clean.items}
    if found.confirmation:
        again = found.confirmation
        facts |= {"ci_confirmation": [again.ci_low, again.ci_high], "items_confirmation": again.items}
    if one.others:
        effects = {name: measure(evidence.selection, name, "baseline", alpha) for name in one.others}
        facts["others"] = {name: effect.effect if effect else None for name, effect in effects.items()}
    if one.instead:
        facts["instead"] = one.instead
    if one.rungs:
        facts |= _ladder(study, evidence, one, estimate)
    elif one.kind == "treatment":
        mine, base = (sum(evidence.rows.get(name, {}).values()) for name in (one.plus, one.minus))
        if base > 0 and mine > 0:
            facts |= {"rows": round(mine), "rows_baseline": round(base), "rows_ratio": mine / base}
        beside = next((n for n in (f"random-subset-{one.plus}", "random-subset") if _has(evidence, n)), "")
        if study.arms[one.plus].operations and (over := measure(evidence.selection, one.plus, beside, alpha)):
            facts["effect_over_random_subset"] = over.effect
    return facts


def _has(evidence: Evidence, name: str) -> bool:
    return evidence.selection is not None and name in evidence.selection.arms


def _ladder(study: Study, evidence: Evidence, one: Question, estimate: Contrast | None) -> dict[str, Any]:
    rungs = {name: round(rows) for name, rows in one.rungs.items() if math.isfinite(rows)}
    facts: dict[str, Any] = {"rungs": rungs}
    top, step = one.rungs[one.plus], one.rungs[one.plus] - one.rungs[one.minus]
    if one.subject in evidence.supply:
        facts["supply_left"] = max(0, round(evidence.supply[one.subject] - top)) if math.isfinite(top) else 0
    # A gain per row means something only where rows of this source are all that differs.
    pure = "baseline" not in (one.plus, one.minus) or not _replaces(study, one)
    if estimate and pure and 0 < step < math.inf:
        facts |= {
            "gain_per_10_rows": 10 * estimate.effect / step,
            "gain_per_1000_rows": 1000 * estimate.effect / step,
        }
        cost = study.sources[one.subject].cost_per_row
        if cost and estimate.effect > 0:
            facts["cost_per_point"] = cost * step / (100 * estimate.effect)
    return facts


def _replaces(study: Study, one: Question) -> bool:
    """Tell whether the arm held against the baseline also changes rows of other sources."""
    arm = study.arms[one.plus if one.minus == "baseline" else one.minus]
    mixes = [dict((variant if variant.mix else study.baseline).counts()) for variant in (arm, study.baseline)]
    for mix in mixes:
        mix.pop(one.subject, None)
    return mixes[0] != mixes[1]


def _resolve(study: Study, evidence: Evidence, found: _Finding, estimate: Contrast) -> str:
    """Say how many more seeds, or items, would settle a question, from this contrast's own noise.

    The target is the precision at which an effect as large as the measured one, or the smallest that matters
    if that is larger, is found four times in five after Bonferroni over the questions; with no effect,
    equivalence is then shown about as often. A study that is as precise already has an effect near the
    threshold: then the target is the distance between the two. Items are items of the suite, of which the
    confirmation half takes its share.
    """
    threshold, size = study.decide.smallest_effect, abs(estimate.effect)
    seeds, items = estimate.seeds, estimate.items
    arms = len(evidence.selection.arms) if evidence.selection else 2
    lasting = max(estimate.v_seed - estimate.v_residual, 0.0)
    seed_sd, item_sd = math.sqrt(lasting * seeds / 2), math.sqrt(estimate.v_item * items)
    residual_sd = math.sqrt(estimate.v_residual * seeds * items)
    alpha = study.decide.alpha / found.comparisons

    for target in (max(size, threshold), abs(size - threshold)):
        if target == 0:
            break
        by_seeds = seeds_needed(target, seed_sd, item_sd, items, arms, alpha, residual_sd=residual_sd)
        by_items = items_needed(target, seed_sd, item_sd, seeds, arms, alpha, residual_sd=residual_sd)
        if by_seeds is not None and by_seeds <= seeds:
            continue
        ways = [_more_seeds(evidence, by_seeds - seeds)] if by_seeds else []
        if by_items is not None and by_items > items:
            more = math.ceil((by_items - items) / (1 - study.suite.confirmation))
            ways.append(f"{'' if ways else 'needs '}{more:,} more items")
        if ways:
            return " or ".join(ways)
    return "the effect lies too close to the smallest that matters for any practical number of seeds or items"


def _more_seeds(evidence: Evidence, more: int, least: str = "") -> str:
    seconds = evidence.seconds_per_run
    arms = len(evidence.selection.arms) if evidence.selection else 0
    time = f" (about {duration(more * arms * seconds)})" if seconds and arms else ""
    return f"needs {least}{more:,} more {'seed' if more == 1 else 'seeds'}{time}"


def _next(decisions: list[Decision]) -> str:
    """Say which sources to grow, the one that gains most per row first."""
    grow = [one for one in decisions if one.verdict == "GROW"]
    grow.sort(key=lambda one: -float(one.facts.get("gain_per_1000_rows", 0.0)))
    said = []
    for one in grow:
        left = one.facts.get("supply_left")
        rest = "" if left is None else f" ({count(left)} rows left in the pool)" if left else " (its pool is used up)"
        said.append(f"{one.subject}{rest}")
    return f"Grow next: {', then '.join(said)}." if said else ""
