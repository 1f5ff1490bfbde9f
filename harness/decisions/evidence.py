"""The evidence of a study's results, and the effect of every arm against the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from harness.decisions.outcomes import flips, outcomes
from harness.formats import Places
from harness.records import ArmEffect
from harness.spec import Study
from harness.statistics.paired import Contrast, benjamini_hochberg, contrast, once, staged
from harness.statistics.scores import Scores

Ends = str | tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """Everything that decisions are made from. Scores are of the declared metric; higher is better.

    Attributes:
        selection: Scores on the items that decide. Arms are ``baseline``, the study's arms, ``aa``, and
            ``random-subset`` or ``random-subset-<arm>``; an arm with a missing run is left out. In a study with stages,
            arms have the runs of the stages that they took part in. None when fewer than two arms have scores.
        confirmation: Scores of the same arms and seeds on the items kept for confirmation; None when the suite keeps
            none.
        clean: One boolean per selection item, false when a training row of any arm overlapped the item; None when all
            items are clean.
        slices: One name per selection item, None for an item without a slice; empty when no item has one.
        tasks: ``task/metric`` -> scores of each task's primary metric on its selection items.
        metrics: ``task/metric`` -> scores of each metric of the declared task on the items that decide.
        rows: Variant -> source -> rows in its training sets, mean over seeds.
        tokens: Variant -> tokens in its training sets, mean over seeds; only variants whose tokens are counted.
        supply: Source -> rows in its pool after decontamination.
        runs: Number of runs in the study, without the base model's and those that no look needs.
        planned: Number of all its runs.
        due: Number of runs that the looks so far need: all of them, unless a study with stages goes on.
        failed: Those of them that are missing, each in a few words.
        problems: Differences between arms other than the data that the study does not waive, each in a few
            words.
        changed_rule: How the rule differs from the one registered before there were results, in a few words.
        majority: Score of always giving the most frequent answer; None when it is not defined.
        chance: Score of guessing among an item's options; None when items have no options.
        base_mean: Mean score of the model before training.
        states: Subject -> settled, futile or open, in a study with stages.
        seen: Subject -> seeds of the last look at its question.
        seconds_per_run: Seconds that a run takes.
        seconds_per_item: Seconds that a run takes for an item of the suite.
        workers: How many runs go on at once.
    """

    selection: Scores | None
    confirmation: Scores | None = None
    clean: npt.NDArray[np.bool_] | None = None
    slices: tuple[str | None, ...] = ()
    tasks: Mapping[str, Scores] = field(default_factory=dict)
    metrics: Mapping[str, Scores] = field(default_factory=dict)
    rows: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    tokens: Mapping[str, float] = field(default_factory=dict)
    supply: Mapping[str, float] = field(default_factory=dict)
    runs: int = 0
    planned: int = 0
    due: int = 0
    failed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    changed_rule: str = ""
    majority: float | None = None
    chance: float | None = None
    base_mean: float | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    seen: Mapping[str, int] = field(default_factory=dict)
    seconds_per_run: float | None = None
    seconds_per_item: float | None = None
    workers: int = 1

    def clean_scores(self) -> Scores | None:
        """Return the scores on selection items that no training row overlapped; None when there are no such items."""
        if self.selection is None or self.clean is None:
            return self.selection
        return self.selection.pick(self.clean) if np.any(self.clean) else None

    def all_clean(self) -> bool:
        """Return whether no training row overlapped a selection item."""
        return self.clean is None or bool(np.all(self.clean))


def is_control(name: str) -> bool:
    """Return whether a variant is a control."""
    return name == "aa" or name.startswith("random-subset")


def bounded(scores: Scores | None) -> bool:
    """Return whether all scores are between 0 and 1, so that a hundredth is a point."""
    return scores is not None and not bool(np.any((scores.values < 0) | (scores.values > 1)))


def contrast_of(scores: Scores | None, plus: Ends, minus: Ends, alpha: float) -> Contrast | None:
    """Return the contrast of two variants, or of the means of two groups of variants.

    None when one of them has no scores, or a variant is on both sides.
    """
    up, down = ((end,) if isinstance(end, str) else end for end in (plus, minus))
    if scores is None or set(up) & set(down) or not {*up, *down} <= set(scores.arms):
        return None
    if len(up) == len(down) == 1:
        return contrast(scores, up[0], down[0], alpha)

    def turned(table: Scores) -> Contrast:
        return once(_turned(table, up, down), "plus", "minus", alpha)

    found = staged(scores, (*up, *down), alpha, turned)
    named = found.note.replace("plus varies", "the mean of the arms with it varies")
    return replace(found, note=named.replace("minus varies", "the mean of the arms without it varies"))


def _turned(scores: Scores, plus: tuple[str, ...], minus: tuple[str, ...]) -> Scores:
    """Return scores whose arms ``plus`` and ``minus`` differ by the difference of the two groups' means.

    The mean of m arms has 1/m of an arm's seed noise, so it cannot be pooled with single arms. Instead the table is
    reflected along its arms: the reflection that exchanges the difference of two arms with the difference of the two
    groups keeps what is common to all arms, the noise pooled over all arms, and its degrees of freedom. The table is
    then scaled so that the difference is in the metric's units.
    """
    arms = len(scores.arms)
    wanted = np.zeros(arms)
    wanted[[scores.arm(name) for name in plus]] = 1 / len(plus)
    wanted[[scores.arm(name) for name in minus]] = -1 / len(minus)
    length = float(np.linalg.norm(wanted))
    pair = np.zeros(arms)
    pair[[scores.arm(plus[0]), scores.arm(minus[0])]] = np.sqrt(0.5), -np.sqrt(0.5)
    mirror = pair - wanted / length
    along = np.tensordot(mirror, scores.values, 1) * 2 / float(mirror @ mirror)
    turned = scores.values - mirror[:, None, None] * along
    names = [f"turned {name}" for name in scores.arms]
    names[scores.arm(plus[0])], names[scores.arm(minus[0])] = "plus", "minus"
    return replace(scores, values=turned * length / np.sqrt(2), arms=tuple(names), twins=None)


def compare(study: Study, evidence: Evidence) -> list[ArmEffect]:
    """Return every arm minus the baseline: the study's arms (Holm over them), then the controls.

    An arm without scores has only a note. The flags of an arm say when clean items or the confirmation half contradict
    all items.
    """
    alpha, threshold, selection = study.decide.alpha, study.decide.smallest_effect, evidence.selection
    known = selection.arms if selection else ()
    controls = [name for name in known if is_control(name)]
    parts = (selection, evidence.clean_scores(), evidence.confirmation)
    found = [[contrast_of(part, name, "baseline", alpha) for name in (*study.arms, *controls)] for part in parts]
    judged = [outcomes(part[: len(study.arms)], threshold, alpha) for part in found]
    places = Places.fitting(threshold, bounded(selection))
    effects = []
    for index, name in enumerate((*study.arms, *controls)):
        every, clean, again = (part[index] for part in found)
        control = index >= len(study.arms)
        flags = []
        if not control:
            whole = judged[0][0][index]
            for part, some, label in ((1, clean, "clean items"), (2, again, "confirmation items")):
                said = flips(whole, every, judged[part][0][index], some, threshold)
                if said and some:
                    flags.append(f"on the {some.items} {label} {flip_words(said, some, threshold, places)}")
        effects.append(
            ArmEffect(
                variant=name,
                effect=every.effect if every else None,
                se=every.se if every else None,
                ci=_ci(every),
                df=every.df if every else None,
                p=every.p if every else None,
                p_adjusted=None if control else judged[0][1][index],
                seeds=every.seeds if every else 0,
                items=every.items if every else 0,
                mean=selection.mean(name) if selection and name in known else None,
                control=control,
                effect_clean=clean.effect if clean else None,
                ci_clean=_ci(clean),
                items_clean=clean.items if clean else 0,
                effect_confirmation=again.effect if again else None,
                ci_confirmation=_ci(again),
                items_confirmation=again.items if again else 0,
                flags=flags,
                note=every.note if every else f"no scores: {missing(evidence, name)}",
            )
        )
    return effects


def explore(families: Sequence[Sequence[ArmEffect]]) -> list[list[ArmEffect]]:
    """Return the arms of exploratory metrics with p values after Benjamini-Hochberg over all metrics and arms.

    They have no flags: the threshold is in the units of the declared metric, not in theirs.
    """
    p = [arm.p for family in families for arm in family if not arm.control]
    adjusted = iter(benjamini_hochberg(p))
    return [
        [arm.model_copy(update={"flags": [], "p_adjusted": None if arm.control else next(adjusted)}) for arm in family]
        for family in families
    ]


def flip_words(flip: str, some: Contrast, threshold: float, places: Places) -> str:
    """Return in words how a part of the items contradicts all of them: ``+0.02: below 0.05``."""
    side = "below" if abs(some.effect) < threshold else "at least"
    what = {"sign": "the sign flips", "verdict": "the verdict flips", "size": f"{side} {places.plain(threshold)}"}[flip]
    return f"{places.signed(some.effect)}: {what}"


def _ci(estimate: Contrast | None) -> tuple[float | None, float | None]:
    return (estimate.ci_low, estimate.ci_high) if estimate else (None, None)


def missing(evidence: Evidence, *names: str) -> str:
    """Return in words which of these variants cannot be judged because a run is missing."""
    known = evidence.selection.arms if evidence.selection else ()
    absent = [name for name in names if name not in known]
    absent = absent or ["baseline"]
    return f"{' and '.join(absent)} {'lacks' if len(absent) == 1 else 'lack'} finished runs"
