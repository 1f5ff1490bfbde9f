"""The decision rule on a table of scores from any tool: every arm against a baseline, without a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scipy import special

from harness.decisions.evidence import bounded
from harness.decisions.outcomes import Outcome, outcomes, settling
from harness.decisions.slices import slices
from harness.decisions.trust import SATURATED
from harness.formats import Places, p_value, several
from harness.records import ScoreArm, ScoreComparison, Verdict
from harness.statistics.paired import Contrast, contrast, noise, seed_noise_differs
from harness.statistics.scores import Scores

VERDICTS: dict[Outcome, Verdict] = {
    "better": "ADOPT", "same": "NEUTRAL", "worse": "REJECT", "unclear": "INCONCLUSIVE",
}  # fmt: skip


def judge(
    scores: Scores,
    baseline: str,
    alpha: float,
    smallest_effect: float | None,
    *,
    source: str = "",
    item_slices: Sequence[str | None] = (),
    left_out: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> ScoreComparison:
    """Compare every arm with the baseline, and give each arm a verdict as for a treatment.

    Without a smallest effect every difference that is not noise counts, and no difference can be shown absent. A table
    has no confirmation half and no clean subset: the verdict is made from these items alone.

    Args:
        scores: All arms.
        baseline: The arm the others are compared with.
        alpha: Family-wise level; intervals cover ``1 - alpha`` each.
        smallest_effect: Effects below this do not matter in practice.
        source: Where the scores come from, for the reader.
        item_slices: The slice of each item, where there are slices.
        left_out: Arms that cannot be compared, and why; they count in the family.
        notes: Remarks of the code that read the scores.
    """
    names = [name for name in scores.arms if name != baseline]
    absent = dict(left_out or {})
    threshold = smallest_effect or 0.0
    found = {name: contrast(scores, name, baseline, alpha) for name in names}
    family = [*found.values(), *([None] * len(absent))]
    judged, adjusted, same = outcomes(family, threshold, alpha)
    places = Places.fitting(smallest_effect or 0.01, bounded(scores))
    blind, noisy = _blind(scores, places), seed_noise_differs(scores)
    arms = []
    for index, (name, one) in enumerate(found.items()):
        outcome, reason, resolve = _reason(
            scores, one, judged[index], adjusted[index], same[index], smallest_effect, alpha, len(family), blind, places
        )
        z, t = naive(scores, name, baseline)
        ci = (one.ci_low, one.ci_high)
        arms.append(
            ScoreArm(
                arm=name, verdict=VERDICTS[outcome], reason=reason, resolve=resolve, mean=scores.mean(name),
                effect=one.effect, se=one.se, ci=ci, df=one.df, p=one.p, p_adjusted=adjusted[index],
                p_equivalence=same[index] if smallest_effect else None, noisier=name in noisy,
                naive_z_p=z, naive_t_p=t, note=one.note,
            )
        )  # fmt: skip
    arms += [
        ScoreArm(
            arm=name, verdict="INCONCLUSIVE", reason=why, mean=None, effect=None, se=None, ci=(None, None), df=None,
            p=None, p_adjusted=None,
        )
        for name, why in absent.items()
    ]  # fmt: skip
    return ScoreComparison(
        scores=source, baseline=baseline, baseline_mean=scores.mean(baseline), alpha=alpha,
        smallest_effect=smallest_effect, seeds=list(scores.seeds), items=len(scores.items),
        groups=None if scores.groups is None else scores.clusters, noise=noise(scores, baseline), arms=arms,
        slices=slices(scores, item_slices, scores.arms, baseline, alpha),
        notes=[*notes, *_notes(scores, smallest_effect, blind, noisy)],
    )  # fmt: skip


def naive(scores: Scores, arm: str, baseline: str) -> tuple[float, float | None]:
    """Return the p values that the usual tests would give; they are wrong, and shown only to compare.

    Returns:
        The p value of the unpaired z-test, which treats all scores of all seeds as independent; the p value of the
        paired t-test over items, which averages over seeds (None with one item). Without any variance they are 0 or 1.
    """
    a, b = scores.values[scores.arm(arm)], scores.values[scores.arm(baseline)]
    difference = float(a.mean() - b.mean())
    z_variance = float(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size) if a.size > 1 else 0.0
    z = 2 * float(special.ndtr(-abs(difference) / z_variance**0.5)) if z_variance > 0 else float(difference == 0)
    by_item = (a - b).mean(axis=0)
    if by_item.size < 2:
        return z, None
    t_variance = float(by_item.var(ddof=1)) / by_item.size
    if t_variance <= 0:
        return z, float(difference == 0)
    return z, 2 * float(special.stdtr(by_item.size - 1, -abs(difference) / t_variance**0.5))


def _reason(
    scores: Scores,
    one: Contrast,
    outcome: Outcome,
    p_adjusted: float | None,
    p_same: float | None,
    smallest_effect: float | None,
    alpha: float,
    family: int,
    blind: str,
    places: Places,
) -> tuple[Outcome, str, str]:
    """Return the outcome, the reason, and what would settle an unclear one."""
    if one.p is None or p_adjusted is None:
        needs = "needs at least 2 more seeds" if len(scores.seeds) == 1 else "needs more items"
        return "unclear", one.note, needs
    said = p_value(p_adjusted) + (f" after {family} comparisons" if family > 1 else "")
    said += f" ({one.note})" if one.note else ""
    if outcome == "same" and blind:
        return "unclear", f"no difference, but {blind}", "needs items that the arms can get right or wrong"
    if outcome == "same":
        return outcome, f"within {places.plain(smallest_effect or 0.0)}; {p_value(p_same or 0.0)}", ""
    if outcome != "unclear":
        return outcome, said, ""
    reason = f"noise may do this: {said}"
    if smallest_effect and p_adjusted < alpha:
        reason = f"an effect, but it may be smaller than {places.plain(smallest_effect)}: {said}"
    elif smallest_effect and abs(one.effect) < smallest_effect:
        reason = f"neither an effect nor its absence (within {places.plain(smallest_effect)}) is shown: {said}"
    seeds, items = settling(one, smallest_effect or abs(one.effect), alpha / family, len(scores.arms))
    ways = [f"{seeds:,} more {'seed' if seeds == 1 else 'seeds'}"] if seeds else []
    ways += [f"{items:,} more items"] if items else []
    return "unclear", reason, f"needs {' or '.join(ways)}" if ways else "no practical number of seeds or items would do"


def _blind(scores: Scores, places: Places) -> str:
    """Return why no difference can show on these items; empty when one can."""
    if scores.values.min() == scores.values.max():
        return f"every score is {scores.values.min():g}: these items cannot tell arms apart"
    best = max(scores.mean(name) for name in scores.arms)
    if places.bounded and best > SATURATED:
        return f"the best arm scores {places.plain(best)}: the metric is saturated"
    return ""


def _notes(scores: Scores, smallest_effect: float | None, blind: str, noisy: Sequence[str]) -> list[str]:
    notes = []
    if len(scores.seeds) == 1:
        notes.append("one seed: intervals hold item noise only, and no verdict can come from them")
    if len(scores.items) == 1:
        notes.append("one item: differences are shown, but no interval and no verdict can come from one item")
    elif scores.clusters == 1:
        notes.append("all items are in one group: no interval and no verdict can come from one cluster")
    if blind:
        notes.append(blind)
    if noisy:
        notes.append(f"seed noise differs: {several(noisy)} varies more between seeds than the other arms")
    if smallest_effect is None:
        notes.append("no smallest effect is given: any difference counts, and none can be shown absent")
    return notes
