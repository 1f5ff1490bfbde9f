"""Predicts which mixture to try next, from the random mixtures of a study: a prediction, never a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from harness.designs import arms
from harness.spec import Study
from harness.statistics.mixtures import FEWEST, mixture_effects
from harness.statistics.scores import Scores

UNPREDICTED = 0.9  # share of the spread; with a larger error, weights explain less than a fifth of the variance


@dataclass(frozen=True)
class MixturePrediction:
    """The mixture that the scores of a ``mixture_dirichlet`` design predict to be best.

    Attributes:
        weights: Source -> share; each within the range that was tried.
        score: Its predicted score.
        error: Root mean square error of predicting each mixture from the others: how far ``score`` may be off.
        spread: The same error when every mixture is predicted by the mean of the others; an ``error`` close to it
            means that the weights hardly matter.
        best_tried: The mixture with the highest mean score; that score is flattered by having been picked.
        best_tried_score: Its mean score.
        mixtures: Number of mixtures that the prediction is made from.
        text: The prediction in a sentence.
    """

    weights: dict[str, float]
    score: float
    error: float
    spread: float
    best_tried: str
    best_tried_score: float
    mixtures: int
    text: str = ""


def predicted_mixtures(
    study: Study, rows: Mapping[str, Mapping[str, float]], scores: Scores | None
) -> list[MixturePrediction]:
    """Return a prediction for every ``mixture_dirichlet`` design with 4 or more mixtures that have scores.

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
        model = mixture_effects(weights, means)
        best, top = model.best(), int(means.argmax())
        prediction = MixturePrediction(
            weights=dict(zip(sources, map(float, best), strict=True)),
            score=float(model.predict(best[None])[0]),
            error=model.error,
            spread=model.spread,
            best_tried=list(held)[top],
            best_tried_score=float(means[top]),
            mixtures=len(held),
        )
        found.append(replace(prediction, text=_said(prediction)))
    return found


def _said(one: MixturePrediction) -> str:
    if one.error > UNPREDICTED * one.spread:
        return f"the weights of the {one.mixtures} mixtures tell next to nothing about their scores"
    shares = sorted(one.weights.items(), key=lambda share: -share[1])
    mix = ", ".join(f"{share:.0%} {source}" for source, share in shares if share >= 0.005)
    return (
        f"best predicted mixture: {mix} ({one.score:.2f}, give or take {one.error:.2f}; of the {one.mixtures} tried "
        f"{one.best_tried} did best, {one.best_tried_score:.2f}); exploratory: to be tried before it is believed"
    )
