"""What is known when a study has run, and every arm against the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from harness.records import ArmEffect
from harness.spec import Study
from harness.statistics.paired import Contrast, contrast, holm
from harness.statistics.scores import Scores


@dataclass(frozen=True)
class Evidence:
    """Everything a decision rests on. Scores are of the declared metric, higher being better.

    Attributes:
        selection: Items that decide. Arms are ``baseline``, the study's arms, ``aa``, and ``random-subset``
            or ``random-subset-<arm>``; an arm with a missing run is left out. None when there is nothing to
            compare.
        confirmation: The same arms and seeds on the items kept for confirmation; None when the suite keeps
            none.
        clean: One boolean per selection item, false where any training row of any arm overlapped it; None:
            all clean.
        rows: Variant -> source -> rows in its training sets, mean over seeds.
        supply: Source -> rows in its pool after decontamination.
        runs: Runs the study asks for, base model not counted.
        failed: The runs that are missing, each in a few words.
        problems: Differences between arms other than the data that the study does not waive, each in a few
            words.
        majority: Score of always giving the most frequent answer, where that is defined.
        base_mean: Mean score of the model before training.
        seconds_per_run: Wall time one more run adds (of all workers together).
        weakest_slice: Where the model does worst, in words.
    """

    selection: Scores | None
    confirmation: Scores | None = None
    clean: npt.NDArray[np.bool_] | None = None
    rows: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    supply: Mapping[str, float] = field(default_factory=dict)
    runs: int = 0
    failed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    majority: float | None = None
    base_mean: float | None = None
    seconds_per_run: float | None = None
    weakest_slice: str = ""

    def clean_scores(self) -> Scores | None:
        """Return the selection items that no training row touched; None when none is left."""
        if self.selection is None or self.clean is None:
            return self.selection
        return self.selection.pick(self.clean) if np.any(self.clean) else None


def is_control(name: str) -> bool:
    """Tell whether a variant is a control."""
    return name == "aa" or name.startswith("random-subset")


def measure(scores: Scores | None, plus: str, minus: str, alpha: float) -> Contrast | None:
    """Return the contrast of two variants; None when one of them has no scores, or the two are the same."""
    if scores is None or plus == minus or not {plus, minus} <= set(scores.arms):
        return None
    return contrast(scores, plus, minus, alpha)


def compare(study: Study, evidence: Evidence) -> list[ArmEffect]:
    """Return every arm minus the baseline: the study's arms (Holm over them), then the controls.

    An arm without scores is listed with nothing but a note.
    """
    alpha, selection, clean = study.decide.alpha, evidence.selection, evidence.clean_scores()
    known = selection.arms if selection else ()
    names = [*study.arms, *(name for name in known if is_control(name))]
    found = {name: measure(selection, name, "baseline", alpha) for name in names}
    adjusted = holm([one.p if (one := found[name]) else None for name in study.arms])
    effects = []
    for name, p_adjusted in zip(names, [*adjusted, *[None] * (len(names) - len(study.arms))], strict=True):
        estimate = found[name]
        on_clean = measure(clean, name, "baseline", alpha)
        again = measure(evidence.confirmation, name, "baseline", alpha)
        mean = selection.mean(name) if selection and name in known else None
        effects.append(
            ArmEffect(
                variant=name,
                effect=estimate.effect if estimate else None,
                se=estimate.se if estimate else None,
                ci=(estimate.ci_low, estimate.ci_high) if estimate else (None, None),
                df=estimate.df if estimate else None,
                p=estimate.p if estimate else None,
                p_adjusted=p_adjusted,
                seeds=estimate.seeds if estimate else 0,
                items=estimate.items if estimate else 0,
                mean=mean,
                control=is_control(name),
                effect_clean=on_clean.effect if on_clean else None,
                items_clean=on_clean.items if on_clean else 0,
                effect_confirmation=again.effect if again else None,
                ci_confirmation=(again.ci_low, again.ci_high) if again else (None, None),
                items_confirmation=again.items if again else 0,
                note=estimate.note if estimate else f"no scores: {missing(evidence, name)}",
            )
        )
    return effects


def missing(evidence: Evidence, *names: str) -> str:
    """Say which of these variants cannot be judged because a run is missing."""
    known = evidence.selection.arms if evidence.selection else ()
    absent = [name for name in names if name not in known]
    absent = absent or ["baseline"]
    return f"{' and '.join(absent)} {'lacks' if len(absent) == 1 else 'lack'} finished runs"
