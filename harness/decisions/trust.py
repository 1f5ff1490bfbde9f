"""The trust checks, which are printed above all verdicts, and whether a failed check withholds the verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from harness.decisions.evidence import Evidence, flip_words, is_control
from harness.formats import Places, several
from harness.records import ArmEffect, TaskNoise, TrustCheck
from harness.spec import Study
from harness.statistics.estimate import LEAST_CLUSTERS, cluster_deviations, effective_count, item_variance
from harness.statistics.paired import Contrast, correlation, seed_noise_differs

SATURATED = 0.97
FEW_CLUSTERS = 5  # effective clusters: with fewer the t distribution has less than 4 degrees of freedom
VAGUE = 6  # times the smallest effect: a control with a wider interval could hide three such effects on each side
NOISE = "this setup calls noise an effect"


Flip = tuple[str, str, Contrast]  # a subject, how clean items contradict all items, the contrast on clean items


def trust_checks(
    study: Study,
    evidence: Evidence,
    arms: Sequence[ArmEffect],
    flipped: Sequence[Flip],
    tasks: Sequence[TaskNoise],
    places: Places,
) -> tuple[list[TrustCheck], str]:
    """Return the checks, failed ones first, and why the verdicts are withheld (empty when they are not).

    Verdicts are withheld when the A/A arm's interval excludes 0, when a random subset beats the baseline
    (it may score less, since it has fewer rows), or when arms differ in more than the data and the study does not
    waive it.
    """
    checks: list[TrustCheck] = []
    withheld: list[str] = []

    def say(check: str, ok: bool, text: str) -> None:
        checks.append(TrustCheck(check=check, ok=ok, text=text))

    if evidence.changed_rule:
        say("registered", False, evidence.changed_rule)
    for check, ok, text, reason in _controls(study, arms, places):
        say(check, ok, f"{reason}: {NOISE}; verdicts are withheld" if reason else text)
        withheld += [reason] if reason else []

    scored = evidence.selection.arms if evidence.selection else ()
    absent = [name for name in ("baseline", *study.arms) if name not in scored]
    if evidence.failed:
        of = f" of {evidence.due or evidence.runs}" if evidence.runs else ""
        say("runs", False, f"{len(evidence.failed)}{of} runs are missing: {several(evidence.failed)}")
    elif absent:
        say("runs", False, f"no scores of {several(absent)}")
    else:
        count = evidence.due or evidence.runs
        more = " to this look" if count < evidence.runs else ""
        say("runs", True, f"{count} of {count} runs{more}" if count else "all runs")

    if evidence.problems:
        reason = f"arms differ in more than the data ({several(evidence.problems)})"
        say("comparability", False, f"{reason}; verdicts are withheld")
        withheld.append(reason)
    else:
        say("comparability", True, "no arm differs in anything but data")
    if study.waive:
        say("waivers", False, f"waived in writing: {several(study.waive)}")
    further = (
        *_seeds(study, evidence),
        *_clusters(study, evidence),
        *_contamination(study, evidence, arms, flipped, places),
        *_range(evidence, places),
        *_suite_noise(study, tasks, places),
    )
    for check, ok, text in further:
        say(check, ok, text)
    return sorted(checks, key=lambda check: check.ok), "; ".join(withheld)


def _controls(study: Study, arms: Sequence[ArmEffect], places: Places) -> list[tuple[str, bool, str, str]]:
    """Return, for each check of a control: check, ok, text, and the reason to withhold verdicts (empty for none)."""
    found: list[tuple[str, bool, str, str]] = []
    controls = [arm for arm in arms if arm.control and arm.effect is not None]
    subsets = [arm for arm in controls if arm.variant != "aa"]
    aa = [arm for arm in controls if arm.variant == "aa"]
    needed = {"aa": ("A/A", aa)}
    if any(arm.operations != study.baseline.operations for arm in study.arms.values()):
        needed["random_subset"] = ("random subset", subsets)
    for control, (name, there) in needed.items():
        if control not in study.controls:
            found.append((control, False, f"no {name} control: the study waives it", ""))
        elif not there:
            found.append((control, False, f"the {name} control has no scores", ""))
    for arm in (*aa, *subsets):
        check = "aa" if arm.variant == "aa" else "random_subset"
        name = "A/A" if check == "aa" else arm.variant.replace("random-subset", "random subset")
        low, high = arm.ci
        if arm.p is None or low is None or high is None or arm.effect is None:
            found.append((check, False, f"{name} {places.signed(arm.effect)}: no test ({arm.note})", ""))
            continue
        text = f"{name} {places.signed(arm.effect)} {places.interval(low, high)}"
        if high - low > VAGUE * study.decide.smallest_effect:
            text += " (too wide to tell much)"
        if check == "aa" and not low <= 0 <= high:
            found.append((check, False, text, f"A/A arm differs by {places.plain(abs(arm.effect))}"))
        elif check == "random_subset" and low > 0:
            what = f"{name} scores {places.plain(arm.effect)} more than the baseline"
            found.append((check, False, text, what))
        else:
            found.append((check, True, text + (": fewer rows alone cost this much" if high < 0 else ""), ""))
    return found


def _seeds(study: Study, evidence: Evidence) -> list[tuple[str, bool, str]]:
    if evidence.selection is None:
        return []
    seeds, asked = len(evidence.selection.seeds), len(study.seed_list())
    if seeds == 1:
        return [("seeds", False, "one seed: intervals hold item noise only, and no verdict can come from them")]
    found = [("seeds", True, f"{seeds} seeds")]
    if study.stages:
        looks = [str(one) for one in study.stages if one <= seeds]
        found = [("seeds", True, f"looked at with {several(looks)} of up to {asked} seeds")]
    elif seeds < asked:
        found = [("seeds", False, f"{seeds} of {asked} seeds: the baseline lacks runs, and arms are compared without")]
    noisy = seed_noise_differs(evidence.selection)
    if noisy:
        text = f"seed noise differs: {several(noisy)} varies more between seeds than the other arms; "
        return [*found, ("seed_noise", False, text + "a few runs say little of such noise, so more seeds are needed")]
    return [*found, ("seed_noise", True, "no arm noisier than the others")]


def _clusters(study: Study, evidence: Evidence) -> list[tuple[str, bool, str]]:
    """Return how many clusters the deciding items are in, and how alike items of a cluster are; few clusters fail."""
    scores = evidence.selection
    if scores is None:
        return []
    items, clusters, member = len(scores.items), scores.clusters, scores.members()
    if member is None:
        return [("clusters", True, f"{items} independent {'item' if items == 1 else 'items'}")]
    text = f"{items} items in {clusters} {'cluster' if clusters == 1 else 'clusters'}"
    alike, effective = correlation(scores, "baseline"), effective_count(items, member)
    if alike is not None:
        text += f" (intraclass correlation {alike:.2f})"
    if effective >= FEW_CLUSTERS:
        return [("clusters", True, text)]
    if round(effective) < clusters:
        text += f", which say as much as {effective:.1f} of one size"
    rest = "no verdict can come from them" if effective < LEAST_CLUSTERS else "intervals are wide for it"
    task = study.decide.metric.split("/")[0]
    known = study.suite.tasks.get(task)
    way = f"; if they are independent after all, say tasks.{task}.group: none" if known and known.group is None else ""
    return [("clusters", False, f"{text}: few to infer from, {rest}{way}")]


def _contamination(
    study: Study, evidence: Evidence, arms: Sequence[ArmEffect], flipped: Sequence[Flip], places: Places
) -> list[tuple[str, bool, str]]:
    """Return effects whose sign, and subjects whose verdict, differs on items that no training row overlapped."""
    if evidence.selection is None or evidence.all_clean():
        return [("contamination", True, "no item was touched by training rows")]
    clean, total = evidence.clean_scores(), len(evidence.selection.items)
    if clean is None:
        return [("contamination", False, f"training rows touched all {total} items")]
    threshold = study.decide.smallest_effect
    of = f"the {len(clean.items)} of {total} items that no training row touched"
    turned = [
        arm.variant
        for arm in arms
        if not arm.control and arm.effect is not None and arm.effect_clean is not None
        and arm.effect * arm.effect_clean <= 0
        and max(abs(arm.effect), abs(arm.effect_clean)) >= threshold
    ]  # fmt: skip
    if turned:
        return [("contamination", False, f"the effect of {several(turned)} changes sign on {of}")]
    changed = [
        f"{subject} (there {flip_words(flip, some, threshold, places)})" for subject, flip, some in flipped if flip
    ]
    if changed:
        return [("contamination", False, f"the verdict on {several(changed)} does not hold on {of}")]
    return [("contamination", True, f"no effect changes sign on {of}")]


def _range(evidence: Evidence, places: Places) -> list[tuple[str, bool, str]]:
    """Return whether the metric can show effects: it cannot at its floor, nor when it is saturated."""
    scores = evidence.selection
    trained = [name for name in scores.arms if not is_control(name)] if scores else []
    if scores is None or not trained:
        return []
    best = max(trained, key=scores.mean)
    top = scores.mean(best)
    by_item = scores.together(best).values[scores.together(best).arm(best)].mean(axis=0)
    member = scores.members() if scores.clusters > 1 else None
    sums = cluster_deviations(by_item[None] - by_item.mean(), member)
    margin = 2 * float(item_variance(sums, len(by_item))[0]) ** 0.5 if len(by_item) > 1 else 0.0
    for level, what in (
        (evidence.chance, "guessing among the options"),
        (evidence.majority if places.bounded else None, "always giving the most frequent answer"),  # a share of items
        (evidence.base_mean, "the model before training"),
    ):
        if level is not None and top - level <= margin:
            text = f"the best arm ({best}, {places.plain(top)}) is not clearly above {what}"
            return [("range", False, f"{text} ({places.plain(level)})")]
    if places.bounded and top > SATURATED:
        return [("range", False, f"the best arm ({best}) scores {places.plain(top)}: the metric is saturated")]
    return [("range", True, f"best arm at {places.plain(top)}")]


def _suite_noise(study: Study, tasks: Sequence[TaskNoise], places: Places) -> list[tuple[str, bool, str]]:
    """Return how well each task distinguishes the arms; the check fails when the deciding task does not."""
    said, ok = [], True
    for task in tasks:
        if task.signal_to_noise is None or task.noise is None:
            continue
        text = f"{task.task} {task.signal_to_noise:.1f}"
        if task.coin_flip:
            spread, noise = places.plain(task.spread), places.plain(task.noise)
            text += f" (a coin flip: arms differ by {spread}, by noise alone {noise})"
            ok = ok and task.task != study.decide.metric.split("/")[0]
        said.append(text)
    return [("suite_noise", ok, f"signal to noise: {several(said, most=8)}")] if said else []
