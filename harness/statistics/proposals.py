"""The model of mixtures that predicts best, chosen by predicting left-out mixtures; and the mixture to try next.

Candidates are ridge regression (``mixtures.mixture_effects``), a Gaussian process, and the mean of both. Everything
here is exploratory: it says which mixture to try next, not which is better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from harness.statistics import gaussian
from harness.statistics.mixtures import FEWEST, checked, mixture_effects
from harness.statistics.scores import Floats

FOLDS = 10  # parts of the mixtures, each predicted from the others
RELEARNED = 64  # mixtures up to which the scales are learned anew without each part; more mixtures hardly change them
SOME = 96  # mixtures that suffice to choose the Gaussian process's bend
BENDS = (0.003, 0.01, 0.03, 0.1, 1.0)  # of the Gaussian process: shares at which a source's gain levels off
UNPREDICTED = 0.9  # share of the spread; with a larger error, weights explain less than a fifth of the variance
ALIKE = 1.0  # standard errors of a rank correlation; candidates that are closer to the best rank about as well
SURE = 0.9  # level of the intervals
DRAWS = 400  # random mixtures around each centre at each temperature, when a mixture is proposed
TEMPERATURES = (10.0, 50.0, 250.0)
TOP = 64  # draws that the proposal is the mean of: those nearest to the best of four times as many of the best

Predictor = Callable[[Floats], tuple[Floats, Floats]]


@dataclass(frozen=True)
class MixtureFit:
    """A model from weights to scores, and how well it predicts mixtures that it was not fitted to.

    Attributes:
        model: Name of the model that was chosen.
        predictor: Weights -> predicted scores, and their standard deviations before calibration.
        tried: ``[mixtures, sources]``, the weights that the model was fitted to; rows sum to 1.
        scores: ``[mixtures]``; higher is better.
        left_out: The prediction of each mixture by a model fitted without it.
        rank: Rank correlation (Spearman) of ``left_out`` with the scores.
        rank_interval: Its 90% interval.
        error: Root mean square error of ``left_out``.
        spread: The same error when every mixture is predicted by the mean of the others.
        widths: Quantile of the errors of ``left_out`` in standard deviations: calibrates intervals.
        narrowest: Half the width of the narrowest interval: the quantile of the errors themselves while mixtures are no
            more than sources, for then the standard deviations are little more than guesses; less with more mixtures.
        compared: Candidate -> rank correlation.
    """

    model: str
    predictor: Predictor
    tried: Floats
    scores: Floats
    left_out: Floats
    rank: float
    rank_interval: tuple[float, float]
    error: float
    spread: float
    widths: float
    narrowest: float
    compared: dict[str, float]

    @property
    def doubt(self) -> str:
        """Why the model says nothing, as the end of a sentence; empty when it says something."""
        count, sources = len(self.tried), _varied(self.tried)
        if count < sources:
            return f"{count} mixtures are too few to tell {sources} sources apart; it takes as many as sources, or more"
        if self.error > UNPREDICTED * self.spread or self.rank_interval[0] <= 0:
            return f"the weights of the {count} mixtures tell next to nothing about their scores"
        return ""

    def predict(self, weights: Floats) -> Floats:
        """Return the predicted score of each mixture of ``weights[mixtures, sources]`` (rows are scaled to sum 1)."""
        return self.predictor(checked(weights))[0]

    def interval(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return the ends of the 90% interval of each mixture's score, were it trained."""
        mean, sd = self.predictor(checked(weights))
        half = np.maximum(self.widths * sd, self.narrowest)
        return mean - half, mean + half

    def proposal(self, prior: Floats | None = None) -> Floats:
        """Return the mixture to try next; each weight is within the range that was tried.

        It is the mean of many good ones near the best predicted of random mixtures, which a model's chance errors move
        less than they move the single best one; pulled towards the prior by the share of the variance that the model
        leaves unexplained.

        Args:
            prior: Weights to fall back on; default: the mean of the tried mixtures.
        """
        home = self.tried.mean(axis=0) if prior is None else checked(prior[None])[0]
        low, high = self.tried.min(axis=0), self.tried.max(axis=0)
        best = self.tried[np.argsort(-self.predict(self.tried), kind="stable")[:8]]
        generator = np.random.default_rng(0)
        draws = best
        for _ in range(2):  # the second time around the best of the first
            around = np.vstack([home, draws[np.argsort(-self.predict(draws), kind="stable")[:8]]])
            drawn = [
                generator.dirichlet(np.maximum(centre * heat, 1e-3), DRAWS)
                for centre in around
                for heat in TEMPERATURES
            ]
            draws = np.vstack([draws, within(np.vstack(drawn), low, high)])
        top = draws[np.argsort(-self.predict(draws), kind="stable")[: 4 * TOP]]
        top = top[np.argsort(np.abs(top - top[0]).sum(axis=1), kind="stable")[:TOP]]
        # Between two good mixtures may lie a bad one: then the mean is that of fewer, nearer to the best.
        while len(top) > 1 and self.predict(top.mean(axis=0)[None])[0] < self.predict(top).min():
            top = top[: len(top) // 2]
        mean = top.mean(axis=0)
        unexplained = min(1.0, (self.error / self.spread) ** 2) if self.spread else 1.0
        return np.asarray(within(((1 - unexplained) * mean + unexplained * home)[None], low, high)[0])


def fit_mixtures(weights: Floats, scores: Floats, noise: Floats | None = None) -> MixtureFit:
    """Fit scores of mixtures to their weights, by the candidate whose predictions of left-out mixtures rank best.

    Of candidates that rank about as well, the one with the least error is taken.

    Args:
        weights: ``[mixtures, sources]``, none below 0; rows are scaled to sum 1.
        scores: ``[mixtures]``; higher is better.
        noise: Standard error of each score, relative to the others; None: all alike. Ridge regression ignores it.

    Raises:
        ValueError: As ``mixture_effects``; or a noise that is not above 0.
    """
    with threadpool_limits(1):  # on tables as small as these, threads cost more than they bring
        return _fitted(weights, scores, noise)


def _fitted(weights: Floats, scores: Floats, noise: Floats | None) -> MixtureFit:
    ridge = mixture_effects(weights, scores)
    tried, scores = ridge.tried, np.asarray(scores, dtype=np.float64)
    if noise is not None:
        noise = np.asarray(noise, dtype=np.float64) ** 2
        if noise.shape != scores.shape or not (np.isfinite(noise).all() and (noise > 0).all()):
            raise ValueError("the noise of a score is a finite number above 0, one for each mixture")
    if scores.std() <= 1e-12 * max(1.0, float(np.abs(scores).max())):
        return _constant(tried, scores)
    smooth = _Smooth.chosen(tried, scores, noise)
    whole = smooth.given(tried, scores, noise)
    parts = np.full((2, 2, len(scores)), np.nan)  # candidate, prediction and its standard deviation, mixture
    for out in _folds(tried):
        kept, known = tried[~out], scores[~out]
        if len(known) > RELEARNED:
            parts[0][:, out] = whole.left_out(out, scores)
        else:
            parts[0][:, out] = smooth.again(kept, known, None if noise is None else noise[~out])(tried[out])
        parts[1][:, out] = _steady(kept, known)(tried[out])
    predictors: list[Predictor] = [smooth.predictor(whole, tried), _steady(tried, scores)]
    both = np.array([parts[:, 0].mean(axis=0), np.sqrt((parts[:, 1] ** 2).mean(axis=0))])
    candidates = {
        "Gaussian process": (predictors[0], parts[0]),
        "ridge regression": (predictors[1], parts[1]),
        "mean of both": (_mean(predictors), both),
    }
    compared = {name: _rank(left_out[0], scores) for name, (_, left_out) in candidates.items()}
    best = max(compared.values())
    # Of candidates that rank about as well, the one with the least error: averaging with a useless one keeps the ranks.
    alike = [name for name in compared if _steps(compared[name], best, len(scores)) < ALIKE]
    chosen = min(alike, key=lambda name: float(((candidates[name][1][0] - scores) ** 2).mean()))
    predictor, (left_out, sds) = candidates[chosen]
    errors = np.abs(left_out - scores)
    return MixtureFit(
        model=chosen,
        predictor=predictor,
        tried=tried,
        scores=scores,
        left_out=left_out,
        rank=compared[chosen],
        rank_interval=_rank_interval(compared[chosen], len(scores)),
        error=float(np.sqrt((errors**2).mean())),
        spread=ridge.spread,
        widths=_quantile(errors / sds),
        narrowest=_quantile(errors) * min(1.0, _varied(tried) / len(tried)),
        compared=compared,
    )


def within(mixtures: Floats, low: Floats, high: Floats) -> Floats:
    """Return the mixtures with each weight moved into its range, so that rows sum to 1; the range holds a mixture."""
    found = np.clip(mixtures, low, high)
    for _ in range(100):
        missing = 1 - found.sum(axis=1, keepdims=True)
        if np.abs(missing).max() < 1e-12:
            break
        room = np.where(missing > 0, high - found, found - low)
        found = np.clip(found + missing * room / np.maximum(room.sum(axis=1, keepdims=True), 1e-300), low, high)
    return found


@dataclass(frozen=True)
class _Smooth:
    """A Gaussian process on bent weights: its bend and scales, learned once from all mixtures."""

    bend: float
    scales: gaussian.Scales

    @classmethod
    def chosen(cls, tried: Floats, scores: Floats, noise: Floats | None) -> _Smooth:
        """Return the bend that makes the scores most likely, judged on some of the mixtures, and scales from all."""
        some = np.random.default_rng(0).permutation(len(scores))[:SOME]
        part = None if noise is None else noise[some]
        learned = {
            bend: gaussian.learned(_inputs(tried[some], tried, bend), scores[some], part, steps=25) for bend in BENDS
        }
        bend = min(learned, key=lambda bend: learned[bend].misfit)
        return cls(bend, gaussian.learned(_inputs(tried, tried, bend), scores, noise, learned[bend]))

    def given(self, tried: Floats, scores: Floats, noise: Floats | None) -> gaussian.GaussianProcess:
        """Return the process given these mixtures, with the learned scales."""
        return gaussian.process(_inputs(tried, tried, self.bend), scores, self.scales, noise)

    def predictor(self, made: gaussian.GaussianProcess, tried: Floats) -> Predictor:
        """Return what predicts by the process that was made from the tried mixtures."""
        return lambda weights: made.predict(_inputs(weights, tried, self.bend))

    def again(self, tried: Floats, scores: Floats, noise: Floats | None) -> Predictor:
        """Return what predicts from these mixtures only, with scales that are learned from them too."""
        learned = _Smooth(self.bend, gaussian.learned(_inputs(tried, tried, self.bend), scores, noise))
        return learned.predictor(learned.given(tried, scores, noise), tried)


def _inputs(weights: Floats, tried: Floats, bend: float) -> Floats:
    """Return bent weights, standardized as those of the tried mixtures; a source that never changed is left at 0."""
    bent = np.log1p(tried / bend)
    scale = bent.std(axis=0)
    scale[scale < 1e-12] = np.inf
    return np.asarray((np.log1p(weights / bend) - bent.mean(axis=0)) / scale)


def _steady(tried: Floats, scores: Floats) -> Predictor:
    """Return ridge regression; it is equally sure of every mixture."""
    if len(scores) < FEWEST:
        return _flat(scores)
    model = mixture_effects(tried, scores)
    sd = max(model.error, 1e-300)
    return lambda weights: (model.predict(weights), np.full(len(weights), sd))


def _flat(scores: Floats) -> Predictor:
    return lambda weights: (np.full(len(weights), scores.mean()), np.full(len(weights), max(scores.std(), 1e-300)))


def _mean(predictors: list[Predictor]) -> Predictor:
    def predict(weights: Floats) -> tuple[Floats, Floats]:
        found = np.array([each(weights) for each in predictors])
        return found[:, 0].mean(axis=0), np.sqrt((found[:, 1] ** 2).mean(axis=0))

    return predict


def _folds(tried: Floats) -> list[npt.NDArray[np.bool_]]:
    """Return which mixtures each fold leaves out; mixtures that are the same are left out together."""
    _, same = np.unique(tried.round(12), axis=0, return_inverse=True)
    groups = int(same.max()) + 1
    part = np.random.default_rng(0).permutation(groups) % min(FOLDS, groups)
    folds = [part[same.ravel()] == fold for fold in range(int(part.max()) + 1)]
    return folds if len(folds) > 1 else [np.arange(len(tried)) == at for at in range(len(tried))]


def _constant(tried: Floats, scores: Floats) -> MixtureFit:
    return MixtureFit(
        "none: all scores are equal", _flat(scores), tried, scores, scores, 0.0, (-1.0, 1.0), 0.0, 0.0, 1.0, 0.0, {}
    )


def _varied(tried: Floats) -> int:
    """Return the number of sources whose share was varied."""
    return int((np.ptp(tried, axis=0) > 1e-12).sum())


def _rank(predicted: Floats, scores: Floats) -> float:
    from scipy.stats import spearmanr

    return 0.0 if np.ptp(predicted) == 0 else float(spearmanr(predicted, scores).statistic)


def _rank_interval(rank: float, count: int) -> tuple[float, float]:
    """Return the 90% interval of a rank correlation (Bonett and Wright 2000); a perfect one counts half a swap less."""
    from scipy.stats import norm

    middle, error = _fisher(rank, count), np.sqrt((1 + rank**2 / 2) / max(count - 3, 1))
    wide = norm.ppf((1 + SURE) / 2) * error
    return min(rank, float(np.tanh(middle - wide))), max(rank, float(np.tanh(middle + wide)))


def _fisher(rank: float, count: int) -> float:
    most = 1 - 6 / (count * (count**2 - 1))
    return float(np.arctanh(np.clip(rank, -most, most)))


def _steps(rank: float, best: float, count: int) -> float:
    """Return by how many standard errors of the best a rank correlation is below it."""
    return (_fisher(best, count) - _fisher(rank, count)) / float(np.sqrt((1 + best**2 / 2) / max(count - 3, 1)))


def _quantile(errors: Floats) -> float:
    """Return what 90% of new errors stay below, in standard deviations.

    Between the order statistics around ``0.9 (n + 1)``; of 8 or fewer errors, the t quantile of their root mean square.
    """
    from scipy.stats import t

    count = len(errors)
    if count < 9:
        return float(t.ppf((1 + SURE) / 2, count - 1) * np.sqrt((errors**2).mean() * (1 + 1 / count)))
    at = SURE * (count + 1) - 1
    low = min(int(at), count - 1)
    high = min(low + 1, count - 1)
    ordered = np.sort(errors)
    return float(ordered[low] + (at - low) * (ordered[high] - ordered[low]))
