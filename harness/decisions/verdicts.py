"""The decision rule: a verdict on each subject, the reason, and what would settle an open one."""

from __future__ import annotations

from collections.abc import Mapping

from harness.decisions.advice import advice, sees
from harness.decisions.evidence import Evidence, bounded, compare, contrast_of, missing
from harness.decisions.growth import growth
from harness.decisions.mixtures import predicted_mixtures
from harness.decisions.outcomes import Outcome, flips, outcomes
from harness.decisions.questions import questions, rule
from harness.decisions.reasons import (
    Finding,
    Ways,
    after,
    because,
    facts,
    grow_next,
    label,
    more_seeds,
    needs,
    settle,
)
from harness.decisions.slices import slices, weakest
from harness.decisions.tasks import metric_noise, sharper, task_noise
from harness.decisions.trust import trust_checks
from harness.formats import Places
from harness.identity import digest
from harness.records import Decision, Decisions, Stage, Verdict
from harness.spec import Study
from harness.statistics.paired import Contrast

VERDICTS: dict[str, dict[Outcome, Verdict]] = {
    "source": {"better": "GROW", "same": "HOLD", "worse": "CUT", "unclear": "INCONCLUSIVE"},
    "treatment": {"better": "ADOPT", "same": "NEUTRAL", "worse": "REJECT", "unclear": "INCONCLUSIVE"},
}


def decide(study: Study, evidence: Evidence) -> Decisions:
    """Decide on every subject of a study.

    The subject is better (GROW, ADOPT) when the effect is at least ``smallest_effect``, its p value after
    Holm over all questions is below ``alpha``, and its sign holds on clean items and on the confirmation
    half; worse (CUT, REJECT) is the mirror image. It is the same (HOLD, NEUTRAL) when two one-sided tests
    show it within +-``smallest_effect`` at ``alpha``, after Holm too, on a metric that is neither at its floor nor
    saturated. Everything else is INCONCLUSIVE: also one seed, missing runs, and a failed control. The interval shown
    covers ``1 - alpha`` and is not adjusted.
    """
    alpha, threshold, selection = study.decide.alpha, study.decide.smallest_effect, evidence.selection
    places = Places.fitting(threshold, bounded(selection))
    found = findings(study, evidence)
    tasks = task_noise(evidence.tasks, threshold, alpha)
    flipped = [(one.question.subject, one.flip, one.clean) for one in found if one.clean]
    trust, withheld = trust_checks(study, evidence, compare(study, evidence), flipped, tasks, places)
    blind = next((check.text for check in trust if check.check == "range" and not check.ok), "")
    ways = {one.question.subject: _ways(study, evidence, one) for one in found}
    decisions = [_decision(study, evidence, one, withheld, blind, places, ways) for one in found]
    left = {d.subject: ways[d.subject] for d in decisions if d.verdict == "INCONCLUSIVE"}
    seen, metrics = sees(found, alpha), metric_noise(evidence.metrics, study.decide.metric, alpha)
    said = advice(seen, left, places, _looked(study, evidence))
    settled = " ".join(part for part in (said, sharper(metrics) if left else "") if part)
    grown = growth(study, evidence, [(one.question, d.verdict) for one, d in zip(found, decisions, strict=True)])
    by_slice = slices(selection, evidence.slices, tuple(study.arms), "baseline", alpha)
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
        complete=not evidence.failed and evidence.due in (0, evidence.runs) and all(one.estimate for one in found),
        stages=_stages(study, evidence),
        planned_runs=evidence.planned,
        runs=evidence.runs,
        next=grow_next(grown),
        sees=seen,
        advice="" if withheld else settled,
        weakest_slice=weakest(by_slice, study.decide.metric),
        growth=grown,
        slices=by_slice,
        tasks=tasks,
        metrics=metrics,
        mixtures=[one.text for one in predicted_mixtures(study, evidence.rows, selection)],
    )


def _looked(study: Study, evidence: Evidence) -> str:
    """Return how many of its seeds a study with stages was judged by; nothing when by all."""
    last = _seeds(evidence)
    return f"{last} of {study.stages[-1]} seeds" if study.stages and last < study.stages[-1] else ""


def _seeds(evidence: Evidence) -> int:
    return len(evidence.selection.seeds) if evidence.selection else 0


def _stages(study: Study, evidence: Evidence) -> list[Stage]:
    """Return the looks so far, each with the questions that ended there."""
    last = _seeds(evidence)

    def ended(state: str, seeds: int) -> list[str]:
        return [name for name, one in evidence.states.items() if one == state and evidence.seen[name] == seeds]

    looks = [seeds for seeds in study.stages if seeds <= last]
    return [Stage(seeds=one, settled=ended("settled", one), futile=ended("futile", one)) for one in looks]


def findings(study: Study, evidence: Evidence) -> list[Finding]:
    """Measure every question on all items, on the clean ones and on the confirmation half."""
    alpha, threshold = study.decide.alpha, study.decide.smallest_effect
    asked = questions(study, evidence.rows)
    clean_scores = evidence.clean_scores()
    every, again = (
        [contrast_of(part, one.plus, one.minus, alpha) for one in asked]
        for part in (evidence.selection, evidence.confirmation)
    )
    clean = every
    if clean_scores is not evidence.selection:
        clean = [contrast_of(clean_scores, one.plus, one.minus, alpha) for one in asked]
    found, adjusted, same = outcomes(every, threshold, alpha)
    on_clean, _, _ = outcomes(clean, threshold, alpha)
    return [
        Finding(
            question=one,
            estimate=every[index],
            outcome=found[index],
            p_adjusted=adjusted[index],
            p_same=same[index],
            comparisons=len(asked),
            clean=clean[index],
            flip=flips(found[index], every[index], on_clean[index], clean[index], threshold),
            confirmation=again[index],
        )
        for index, one in enumerate(asked)
    ]


def _ways(study: Study, evidence: Evidence, found: Finding) -> Ways | None:
    """Return what would settle a question that noise leaves open."""
    estimate = found.estimate
    if found.outcome != "unclear" or estimate is None or estimate.p is None:
        return None
    return settle(study, evidence, found, estimate)


def _decision(
    study: Study,
    evidence: Evidence,
    found: Finding,
    withheld: str,
    blind: str,
    places: Places,
    ways: Mapping[str, Ways | None],
) -> Decision:
    one, estimate = found.question, found.estimate
    known = facts(study, evidence, found)
    if withheld:
        outcome, reason, resolve = _unclear(f"withheld: {withheld}", "settle the failed control first")
    elif estimate is None:
        lacking = missing(evidence, *one.plus, *one.minus)
        outcome, reason, resolve = _unclear(lacking, "needs the missing runs; run the study again")
    elif estimate.seeds == 1:
        outcome, reason, resolve = _unclear(
            "one seed: the noise of training is unknown", more_seeds(evidence, 2, "at least ")
        )
    elif estimate.p is None:
        outcome, reason, resolve = _unclear(estimate.note, "needs more items")
    else:
        outcome, reason, resolve = _judge(study, evidence, found, estimate, places, ways[one.subject])
        if outcome == "same" and blind:  # on a metric at its floor or saturated, all data look the same
            outcome, reason, resolve = _unclear(f"no difference, but {blind}", "needs a task the model can learn")
    if outcome != "unclear":
        reason = because(study, evidence, found, outcome, known, places)
    return Decision(
        subject=one.subject,
        kind=one.kind,
        verdict=VERDICTS[one.kind][outcome],
        effect=estimate.effect if estimate else None,
        ci=(estimate.ci_low, estimate.ci_high) if estimate else (None, None),
        p_adjusted=found.p_adjusted,
        confirmation=found.confirmation.effect if found.confirmation else None,
        contrast=label(one),
        reason=reason,
        resolve=resolve,
        state=evidence.states.get(one.subject, ""),
        seeds=estimate.seeds if estimate else None,
        facts=known,
    )


def _unclear(reason: str, resolve: str) -> tuple[Outcome, str, str]:
    return "unclear", reason, resolve


def _judge(
    study: Study, evidence: Evidence, found: Finding, estimate: Contrast, places: Places, ways: Ways | None
) -> tuple[Outcome, str, str]:
    """Check an outcome against clean items and the confirmation half; return it with its reason and what settles it."""
    alpha, threshold, effect = study.decide.alpha, study.decide.smallest_effect, estimate.effect
    if found.outcome == "same":
        return "same", "", ""
    if found.outcome != "unclear":
        if found.clean is None:
            return _unclear("training rows touched every item", "needs items that no training row overlaps")
        halves = [("clean items", found.clean)]
        if evidence.confirmation is not None:
            if found.confirmation is None:
                return _unclear("no scores on the confirmation half", "needs the missing runs; run the study again")
            halves.append(("confirmation items", found.confirmation))
        for half, again in halves:
            if again.effect * effect <= 0:
                reason = f"{places.signed(again.effect)} on the {again.items} {half}: the sign does not hold"
                return _unclear(reason, f"needs more items (there are {again.items} {half})")
        return found.outcome, "", ""
    p = 1.0 if found.p_adjusted is None else found.p_adjusted
    resolve = needs(ways, estimate) if ways is not None else ""
    if evidence.states.get(found.question.subject) == "futile":
        resolve = f"ended early: {study.stages[-1]} seeds would hardly settle it; {resolve}"
    few = f" ({estimate.note})" if estimate.note else ""  # such as 1 degree of freedom, or an arm's own noise
    said, limit = after(found) + few, places.plain(threshold)
    if p < alpha:
        return _unclear(f"an effect, but it may be smaller than {limit}: {said}", resolve)
    if abs(effect) >= threshold:
        return _unclear(f"noise may do this: {said}", resolve)
    return _unclear(f"neither an effect nor its absence (within {limit}) is shown: {said}", resolve)
