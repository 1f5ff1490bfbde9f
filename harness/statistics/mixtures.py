"""A model of how each source's share of a mixture changes the score, fitted to mixtures that were trained on.

A cheap model from weights to scores predicts mixtures that were not trained on (RegMix, Liu et al. 2024,
arXiv:2407.01492). Everything here is exploratory: it says which mixture to try next, not which is better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.statistics.scores import Floats

# The first percent of a source gains more than the fiftieth. The bend is the share at which the gain levels off;
# infinity gives a straight line. The fit takes the bend and ridge penalty that predict left-out mixtures best.
BENDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, np.inf)
PENALTIES = tuple(10.0**power for power in np.arange(-8, 2.5, 0.5))  # times the number of mixtures
FEWEST = 4  # mixtures
STARTS = 8  # searches for the best mixture, each from one of the best tried mixtures


@dataclass(frozen=True)
class MixtureModel:
    """``score = intercept + sum_j effects[j] log(1 + weight[j] / bend)``, or of the weights themselves.

    Attributes:
        intercept: The constant of the formula: the score without any source, which is not a mixture.
        effects: ``[sources]``, per unit of the bent weight.
        bend: The share at which a source's gain begins to level off; infinite: never.
        penalty: Penalty of the ridge regression, on standardized weights, per mixture.
        error: Root mean square error of predicting each mixture from the others, in the score's unit. It is a little
            too small: the bend and the penalty were chosen to make it small.
        spread: The same error when every mixture is predicted by the mean of the others.
        tried: ``[mixtures, sources]``, the weights that the model was fitted to; rows sum to 1.
    """

    intercept: float
    effects: Floats
    bend: float
    penalty: float
    error: float
    spread: float
    tried: Floats

    def predict(self, weights: Floats) -> Floats:
        """Return the predicted score of each mixture of ``weights[mixtures, sources]`` (rows are scaled to sum 1)."""
        return np.asarray(self.intercept + _bent(checked(weights), self.bend) @ self.effects)

    def best(self) -> Floats:
        """Return the mixture with the highest prediction; each weight is within the range that was tried.

        The search finds local optima, starting from the tried mixtures with the best predictions.
        """
        from scipy.optimize import minimize

        bounds = list(zip(self.tried.min(axis=0), self.tried.max(axis=0), strict=True))
        slope = self.effects if np.isinf(self.bend) else self.effects / self.bend
        scale = float(np.abs(slope).max()) or 1.0
        best = self.tried[np.argsort(-self.predict(self.tried), kind="stable")]
        found = [best[0]]
        for start in best[:STARTS]:
            answer = minimize(
                lambda weights: -float(_bent(weights, self.bend) @ self.effects) / scale,
                start,
                jac=lambda weights: -slope / (1 + weights / self.bend) / scale,
                bounds=bounds,
                constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
                method="SLSQP",
            )
            inside = np.clip(answer.x, *np.array(bounds).T)
            if abs(inside.sum() - 1) < 1e-6:  # a failed search may end in weights that do not sum to 1
                found.append(inside)
        mixtures = checked(np.array(found))
        return np.asarray(mixtures[int(np.argmax(self.predict(mixtures)))])


def mixture_effects(weights: Floats, scores: Floats) -> MixtureModel:
    """Fit the score of mixtures to their weights.

    Ridge regression on ``log(1 + weight / bend)``, standardized; bend and penalty have the least error in predicting
    each mixture from the others, which ridge regression gives in closed form (Allen 1974, PRESS).

    Args:
        weights: ``[mixtures, sources]``, none below 0; rows are scaled to sum 1.
        scores: ``[mixtures]``; higher is better.

    Raises:
        ValueError: Fewer than 4 mixtures, shapes that do not fit, a weight below 0, a row of zeros, or a number that
            is not finite.
    """
    tried, scores = checked(weights), np.asarray(scores, dtype=np.float64)
    if scores.shape != tried.shape[:1]:
        raise ValueError(f"{len(tried)} mixtures need as many scores; there are {scores.shape}")
    if len(tried) < FEWEST:
        raise ValueError(f"{len(tried)} mixtures say too little about their weights; it takes {FEWEST} or more")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not a finite number")
    mean, count = float(scores.mean()), len(scores)
    spread = _root_mean_square((scores - mean) * count / (count - 1))
    chosen = MixtureModel(mean, np.zeros(tried.shape[1]), np.inf, np.inf, spread, spread, tried)
    for bend in BENDS:
        bent = _bent(tried, bend)
        centre, scale = bent.mean(axis=0), bent.std(axis=0)
        scale[scale < 1e-12] = np.inf  # the effect of a source whose weight never changed cannot be seen
        left, sizes, right = np.linalg.svd((bent - centre) / scale, full_matrices=False)
        seen = left.T @ (scores - mean)
        for penalty in PENALTIES:
            shrunk = sizes**2 / (sizes**2 + penalty * count)
            leverage = (left**2 * shrunk).sum(axis=1) + 1 / count
            if leverage.max() > 1 - 1e-9:  # a mixture that the others do not determine cannot be left out
                continue
            error = _root_mean_square((scores - mean - left @ (shrunk * seen)) / (1 - leverage))
            if error < chosen.error:
                slopes = right.T @ (sizes / (sizes**2 + penalty * count) * seen) / scale
                intercept = mean - float(centre @ slopes)
                chosen = MixtureModel(intercept, slopes, bend, penalty, error, spread, tried)
    return chosen


def _bent(weights: Floats, bend: float) -> Floats:
    return weights if np.isinf(bend) else np.log1p(weights / bend)


def checked(weights: Floats) -> Floats:
    """Return ``weights[mixtures, sources]`` with rows scaled to sum 1.

    Raises:
        ValueError: They are no table, or a row is no mixture.
    """
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or 0 in weights.shape:
        raise ValueError(f"weights have shape {weights.shape}; expected mixtures x sources")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and (weights.sum(axis=1) > 0).all()):
        raise ValueError("the weights of a mixture are finite numbers of 0 or more, and not all 0")
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _root_mean_square(values: Floats) -> float:
    return float(np.sqrt((values**2).mean()))
