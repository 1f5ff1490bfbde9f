"""Learning curves: how much a metric gains from more rows, fitted on the rungs of a size ladder.

A power law ``a - b n^-c`` is written so that its limits need no special case: with ``N`` the largest size,

    y(n) = level + b f_c(n),    f_c(n) = (1 - (n/N)^-c) / c,    f_0(n) = log(n/N)

so ``c = -1`` is a straight line, ``c = 0`` a logarithm and ``c > 0`` a power law that levels off, and the slope at
the largest size is ``b / N`` for every ``c``. Three to six noisy rungs do not determine ``c``: the fit does not choose
it but averages over it, weighted by likelihood (Bayesian model averaging over a uniform grid), so that the interval
includes the uncertainty about the shape of the curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from harness.statistics.scores import Floats

EXPONENTS = np.linspace(-1.0, 3.0, 81)
FARTHEST = 2.0  # times the largest size: a curve is not used beyond
LEAST_RUNGS = 3
FLATTEST = 0.01  # eigenvalues of the covariance are never below this share of their mean


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, and its variance."""

    value: float
    low: float
    high: float
    variance: float


@dataclass(frozen=True)
class Curve:
    """A fitted learning curve.

    Attributes:
        sizes: Rows of the rungs, smallest first.
        level: Mean of the rungs' scores.
        slopes: Per exponent, ``b``: the gain for a step in ``f_c``.
        variances: Per exponent, the variance of ``b``.
        weights: Per exponent, how likely it is; they sum to 1.
        loadings: ``[exponents, rungs]``: ``b`` as a sum over the rungs' means.
        df: Degrees of freedom of the rungs' noise.
        alpha: Intervals cover ``1 - alpha``.
    """

    sizes: Floats
    level: float
    slopes: Floats
    variances: Floats
    weights: Floats
    loadings: Floats
    df: float
    alpha: float

    @property
    def exponent(self) -> float:
        """The most likely ``c``."""
        return float(EXPONENTS[int(np.argmax(self.weights))])

    def slope(self) -> Estimate:
        """Return the marginal gain per row at the largest size."""
        return self._estimate(np.full(len(EXPONENTS), 1.0 / self.sizes[-1]))

    def gain(self, start: float, end: float) -> Estimate:
        """Return the gain of growing from ``start`` to ``end`` rows.

        Raises:
            ValueError: When an end lies outside the rungs, or beyond twice the largest one.
        """
        return self._estimate(self._shape(end) - self._shape(start))

    def gains(self, rows: Floats) -> Floats:
        """Return the expected gain of each number of further rows, beyond the largest size.

        Raises:
            ValueError: As ``gain``.
        """
        top = self.sizes[-1]
        for end in (rows.min(), rows.max()):
            self._shape(top + float(end))
        found: Floats = (self.weights * self.slopes) @ _shapes(top + rows, top)
        return found

    def reliance(self, rows: float) -> Floats:
        """Return how the expected gain of further rows depends on the mean of each rung.

        Two curves that have a rung in common err together; this says how much.

        Raises:
            ValueError: As ``gain``.
        """
        found: Floats = (self.weights * self._shape(self.sizes[-1] + rows)) @ self.loadings
        return found

    def at(self, size: float) -> Estimate:
        """Return the curve at a size.

        Its interval is about the curve's shape: noise that all rungs share (easier items) is not in it.

        Raises:
            ValueError: As ``gain``.
        """
        rungs = np.mean([self._shape(each) for each in self.sizes], axis=0)
        found = self._estimate(self._shape(size) - rungs)
        return Estimate(found.value + self.level, found.low + self.level, found.high + self.level, found.variance)

    def _shape(self, size: float) -> Floats:
        """Return ``f_c(size)`` for every exponent."""
        low, high = self.sizes[0], FARTHEST * self.sizes[-1]
        if not low <= size <= high:
            raise ValueError(f"the curve was fitted on {low:g} to {self.sizes[-1]:g} rows and ends at {high:g}")
        return _shapes(np.array([size]), self.sizes[-1])[:, 0]

    def _estimate(self, direction: Floats) -> Estimate:
        """Return ``direction * b`` averaged over exponents; the interval includes their spread and their noise."""
        each = direction * self.slopes
        value = float(self.weights @ each)
        variance = float(self.weights @ (direction**2 * self.variances + (each - value) ** 2))
        return estimate(value, variance, self.df, self.alpha)


def estimate(value: float, variance: float, df: float, alpha: float) -> Estimate:
    """Return a number with the interval of Student's t."""
    half = float(special.stdtrit(df, 1 - alpha / 2)) * variance**0.5
    return Estimate(value, value - half, value + half, variance)


def fit(sizes: Floats, means: Floats, spread: Floats, df: float, alpha: float = 0.05) -> Curve:
    """Fit a learning curve to the rungs of a ladder by generalized least squares.

    Rungs share items and seeds, so their scores are correlated; only the noise of their differences matters.

    Args:
        sizes: ``[rungs]``, rows, rising, above 0.
        means: ``[rungs]``, mean scores.
        spread: ``[rungs, rungs]``, the variance of each difference of two rungs' means.
        df: Degrees of freedom of these variances.
        alpha: Intervals cover ``1 - alpha``.

    Raises:
        ValueError: With fewer than three rungs, sizes that do not rise from above 0, or no noise at all.
    """
    sizes, means, spread = (np.asarray(each, dtype=np.float64) for each in (sizes, means, spread))
    rungs = len(sizes)
    if rungs < LEAST_RUNGS:
        raise ValueError(f"a learning curve needs {LEAST_RUNGS} rungs of different size; there are {rungs}")
    if means.shape != (rungs,) or spread.shape != (rungs, rungs):
        raise ValueError(f"{rungs} sizes, but means of shape {means.shape} and variances of shape {spread.shape}")
    if sizes[0] <= 0 or np.any(np.diff(sizes) <= 0):
        raise ValueError("the sizes of the rungs must rise, and begin above 0")
    # Differences to the largest rung: the level cancels, and with it all noise that the rungs share.
    to_last = spread[:-1, -1]
    inverse = _inverse((to_last[:, None] + to_last[None, :] - spread[:-1, :-1]) / 2)
    y = means[:-1] - means[-1]
    f = _shapes(sizes[:-1], sizes[-1])
    information = np.einsum("ci,ij,cj->c", f, inverse, f)
    loadings = f @ inverse / information[:, None]
    slopes = loadings @ y
    rest = y - slopes[:, None] * f
    misfit = np.einsum("ci,ij,cj->c", rest, inverse, rest)
    # The covariance is estimated: the likelihood is a multivariate t.
    likelihood = -(df + rungs - 1) / 2 * np.log1p(misfit / df)
    weights = np.exp(likelihood - likelihood.max())
    whole = np.column_stack([loadings, -loadings.sum(axis=1)])  # on the rungs' means, not on their differences
    return Curve(sizes, float(means.mean()), slopes, 1 / information, weights / weights.sum(), whole, df, alpha)


def with_rungs(curve: Curve, spread: Floats, sizes: Sequence[float]) -> Curve:
    """Return a curve as further rungs would leave it, if they score as the curve expects.

    Args:
        curve: The curve.
        spread: ``[rungs, rungs]``, the variances that it was fitted with. New rungs are taken to have their mean.
        sizes: Rows of the further rungs.

    Raises:
        ValueError: As ``Curve.at``; or a rung has a size that there is already.
    """
    known = len(curve.sizes)
    every = np.array([*curve.sizes, *sizes], dtype=np.float64)
    usual = float(spread[~np.eye(known, dtype=bool)].mean())
    larger = usual * (1 - np.eye(len(every)))
    larger[:known, :known] = spread
    means = np.array([curve.at(float(size)).value for size in every])
    order = np.argsort(every)
    return fit(every[order], means[order], larger[np.ix_(order, order)], curve.df, curve.alpha)


def _shapes(sizes: Floats, largest: float) -> Floats:
    """Return ``f_c(n)`` as ``[exponents, sizes]``."""
    logs = np.log(sizes / largest)
    c = EXPONENTS[:, None]
    smooth = np.where(np.abs(c) < 1e-9, 1.0, c)
    return np.where(np.abs(c) < 1e-9, logs[None, :], -np.expm1(-smooth * logs[None, :]) / smooth)


def _inverse(covariance: Floats) -> Floats:
    """Invert a covariance that was built pair by pair, so that it may not be positive definite."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    if not np.all(np.isfinite(values)) or values.max() <= 0:
        raise ValueError("the rungs have no noise: their variances must be above 0")
    values = np.maximum(values, FLATTEST * values.mean() if values.mean() > 0 else FLATTEST * values.max())
    inverse: Floats = (vectors / values) @ vectors.T
    return inverse
