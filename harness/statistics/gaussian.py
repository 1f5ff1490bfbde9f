"""A Gaussian process from inputs to scores: straight lines and smooth bumps, each input with a scale of its own.

The scales are learned from the scores, with priors that keep few scores from inventing structure (MacKay 1992;
Rasmussen and Williams 2006, chapter 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.statistics.scores import Floats

LEARNED = 256  # rows that the scales are learned from; the work grows with their third power
JITTER = 1e-6  # added to the noise, which may be learned to be nothing
FARTHEST = 9.0  # limit of a logarithm's distance from its prior mean, so that no kernel overflows


@dataclass(frozen=True)
class Scales:
    """What is learned: the logarithms of the scales, and how unlikely they make the scores.

    Attributes:
        logs: Variance of each input's line, of the bumps; one over each input's squared width; variance of the noise.
        misfit: Negative log posterior density, up to a constant; comparable between inputs for the same scores.
    """

    logs: Floats
    misfit: float


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process.

    Attributes:
        scales: The learned scales.
        inputs: ``[rows, inputs]`` that it was fitted to.
        mean: Mean of the scores.
        unit: Their standard deviation: the process is fitted to standardized scores.
        pull: ``K^-1 y``.
        inverse: ``K^-1``, K including the noise.
    """

    scales: Scales
    inputs: Floats
    mean: float
    unit: float
    pull: Floats
    inverse: Floats

    def predict(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Return the predicted score of each row, and the standard deviation of a new score there, noise included."""
        across = _kernel(self.scales.logs, inputs, self.inputs)[0]
        bumps = np.exp(self.scales.logs[inputs.shape[1]])
        own = inputs**2 @ np.exp(self.scales.logs[: inputs.shape[1]]) + bumps + 1
        left = own - ((across @ self.inverse) * across).sum(axis=1) + np.exp(self.scales.logs[-1])
        return self.mean + self.unit * (across @ self.pull), self.unit * np.sqrt(np.maximum(left, JITTER))

    def left_out(self, out: npt.NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
        """Return what the process without some of its rows, with the same scales, predicts for them.

        Args:
            out: Which rows it does without.
            scores: The scores of all rows.
        """
        spread = np.linalg.inv(self.inverse[np.ix_(out, out)])
        return scores[out] - self.unit * (spread @ self.pull[out]), self.unit * np.sqrt(np.diag(spread))


def learned(
    inputs: Floats, scores: Floats, noise: Floats | None = None, start: Scales | None = None, steps: int = 60
) -> Scales:
    """Return the most likely scales.

    Args:
        inputs: ``[rows, inputs]``, about standardized.
        scores: ``[rows]``.
        noise: Variance of each score's noise, relative to the others; None: all alike.
        start: Scales to start from.
        steps: Most steps of the search.
    """
    from scipy.linalg import lapack
    from scipy.optimize import minimize

    if len(scores) > LEARNED:
        some = np.random.default_rng(0).permutation(len(scores))[:LEARNED]
        return learned(inputs[some], scores[some], None if noise is None else noise[some], start, steps)
    size = inputs.shape[1]
    target = (scores - scores.mean()) / _unit(scores)
    relative = _relative(noise, len(scores))
    # Lines explain about as much as the scores vary, bumps a third of that, noise a twentieth.
    prior = np.log(np.r_[np.full(size, 1 / size), 0.3, np.full(size, 0.5 / size), 0.05])
    width = np.r_[np.ones(size), 1.5, np.ones(size), 2.5]

    def misfit(logs: Floats) -> tuple[float, Floats]:
        kernel, bumps = _kernel(logs, inputs, inputs)
        kernel[np.diag_indices_from(kernel)] += np.exp(logs[-1]) * relative + JITTER
        lower, failed = lapack.dpotrf(kernel, lower=1)
        if failed:
            return 1e10, np.zeros_like(logs)
        half = np.tril(lapack.dpotri(lower, lower=1)[0])
        inverse = half + np.tril(half, -1).T
        pull = inverse @ target
        away = (logs - prior) / width
        value = 0.5 * float(target @ pull) + float(np.log(np.diag(lower)).sum()) + 0.5 * float(away @ away)
        steep = 0.5 * (inverse - np.outer(pull, pull))
        curved = steep * bumps
        slope = np.empty_like(logs)
        slope[:size] = np.exp(logs[:size]) * ((steep @ inputs) * inputs).sum(axis=0)
        slope[size] = curved.sum()
        slope[size + 1 : -1] = -np.exp(logs[size + 1 : -1]) * (
            curved.sum(axis=1) @ inputs**2 - ((curved @ inputs) * inputs).sum(axis=0)
        )
        slope[-1] = np.exp(logs[-1]) * float(np.diag(steep) @ relative)
        return value, slope + away / width

    bounds = list(zip(prior - FARTHEST, prior + FARTHEST, strict=True))
    first = prior if start is None else start.logs
    found = minimize(misfit, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps})
    return Scales(np.asarray(found.x), float(found.fun))


def process(inputs: Floats, scores: Floats, scales: Scales, noise: Floats | None = None) -> GaussianProcess:
    """Return the process with these scales, given the scores."""
    mean, unit = float(scores.mean()), _unit(scores)
    kernel = _kernel(scales.logs, inputs, inputs)[0]
    kernel[np.diag_indices_from(kernel)] += np.exp(scales.logs[-1]) * _relative(noise, len(scores)) + JITTER
    inverse: Floats = np.linalg.inv(kernel).astype(np.float64)
    return GaussianProcess(scales, inputs, mean, unit, inverse @ ((scores - mean) / unit), inverse)


def _kernel(logs: Floats, left: Floats, right: Floats) -> tuple[Floats, Floats]:
    """Return the covariance of the scores at two sets of inputs, and the part of it that the bumps have."""
    size = left.shape[1]
    lines, narrow = np.exp(logs[:size]), np.exp(logs[size + 1 : -1])
    apart = (left**2 @ narrow)[:, None] + right**2 @ narrow - 2 * (left * narrow) @ right.T
    bumps = np.exp(logs[size] - 0.5 * np.maximum(apart, 0))
    return (left * lines) @ right.T + bumps + 1, bumps  # 1: the mean is as uncertain as the scores vary


def _unit(scores: Floats) -> float:
    return float(scores.std()) or 1.0  # of equal scores any unit will do


def _relative(noise: Floats | None, count: int) -> Floats:
    return np.ones(count) if noise is None else np.asarray(noise / noise.mean())
