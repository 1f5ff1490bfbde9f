"""Predicts which mixture to try next, from the mixtures of a study's designs: a prediction, never a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.designs import arms
from harness.spec import Study
from harness.spec.designs.base import Counts, capped
from harness.statistics.mixtures import FEWEST
from harness.statistics.proposals import MixtureFit, fit_mixtures
from harness.statistics.scores import Scores


@dataclass(frozen=True)
class MixturePrediction:
    """The mixture that the scores of a design's mixtures predict to be best.

    Attributes:
        weights: Source -> share; each within the range that was tried.
        score: Its predicted score.
        interval: 90% interval of its score, were it trained.
        error: Root mean square error of predicting each mixture from the others.
        spread: The same error when every mixture is predicted by the mean of the others; an ``error`` close to it
            means that the weights hardly matter.
        best_tried: The mixture with the highest mean score; that score is flattered by having been picked.
        best_tried_score: Its mean score.
        mixtures: Number of mixtures that the prediction is made from.
        mix: Source -> rows to ask for, in all as many as the design's mixtures ask for, so that what operations leave
            has the ``weights``; of no source more than was asked for before.
        doubt: Why nothing is predicted, as the end of a sentence; empty where something is.
        text: The prediction in a sentence.
    """

    weights: dict[str, float]
    score: float
    interval: tuple[float, float]
    error: float
    spread: float
    best_tried: str
    best_tried_score: float
    mixtures: int
    mix: dict[str, int]
    doubt: str = ""
    text: str = ""


def predicted_mixtures(
    study: Study, rows: Mapping[str, Mapping[str, float]], scores: Scores | None
) -> list[MixturePrediction]:
    """Return a prediction for every design of mixtures of which 4 or more have scores.

    Args:
        study: The study, its designs expanded.
        rows: Variant -> source -> rows, as built; for a variant that is missing, the rows that the study requests.
        scores: Scores of the declared metric on the items that decide; higher is better.
    """
    found = []
    for index, design in enumerate(study.designs):
        if scores is None:
            continue
        made = design.mixtures(study, arms(study, index))
        held = {name: rows.get(name, mix) for name, mix in made.items() if name in scores.arms}
        if len(held) < FEWEST:
            continue
        sources = [source for source in study.sources if any(mix.get(source, 0) for mix in held.values())]
        weights = np.array([[mix.get(source, 0.0) for source in sources] for mix in held.values()])
        means = np.array([scores.mean(name) for name in held])
        # An arm that ended early has fewer runs, and its mean more noise.
        noise = (
            None if scores.runs is None else np.array([scores.runs[scores.arms.index(name)] ** -0.5 for name in held])
        )
        fit = fit_mixtures(weights, means, noise)
        home = made.get("mix-prior", made.get("baseline", {}))  # the prior, which is not made twice
        prior = np.array([home.get(source) or 0.0 for source in sources])
        best, top = fit.proposal(prior if prior.any() else None), int(means.argmax())
        low, high = fit.interval(best[None])
        prediction = MixturePrediction(
            weights=dict(zip(sources, map(float, best), strict=True)),
            score=float(fit.predict(best[None])[0]),
            interval=(float(low[0]), float(high[0])),
            error=fit.error,
            spread=fit.spread,
            best_tried=list(held)[top],
            best_tried_score=float(means[top]),
            mixtures=len(held),
            mix=_asked(dict(zip(sources, map(float, best), strict=True)), {name: made[name] for name in held}, held),
            doubt=fit.doubt,
        )
        found.append(replace(prediction, text=_said(prediction, fit)))
    return found


def _asked(
    weights: dict[str, float], asked: Mapping[str, Counts], built: Mapping[str, Mapping[str, Any]]
) -> dict[str, int]:
    """Return the rows to ask for, so that the shares of what operations leave are ``weights``."""
    total = max(sum(count or 0 for count in mix.values()) for mix in asked.values())
    wanted, most = [], []
    for source, share in weights.items():
        before = sum(mix.get(source) or 0 for mix in asked.values())
        after = sum(mix.get(source) or 0 for mix in built.values())
        wanted.append(share * before / after if after else 0.0)
        most.append(max(mix.get(source) or 0 for mix in asked.values()))
    wanted = [share / sum(wanted) for share in wanted]
    return {name: count or 0 for name, count in capped(dict.fromkeys(weights, 1.0), wanted, most, total).items()}


def _said(one: MixturePrediction, fit: MixtureFit) -> str:
    if fit.doubt:
        return fit.doubt
    shares = sorted(one.weights.items(), key=lambda share: -share[1])
    mix = ", ".join(f"{share:.0%} {source}" for source, share in shares if share >= 0.005)
    low, high = one.interval
    return (
        f"best predicted mixture: {mix} ({one.score:.2f}, 90% interval {low:.2f} to {high:.2f}; of the {one.mixtures} "
        f"tried {one.best_tried} did best, {one.best_tried_score:.2f}); exploratory: `harness mixtures confirm` writes "
        "the study that tests it"
    )
