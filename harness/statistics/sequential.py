"""Looks at results that are still growing: group-sequential levels, p-values and intervals.

A study is looked at after declared stages. With information ``1 / Var`` of an effect at each look, the effects of all
looks are jointly normal with ``Cov(effect_j, effect_k) = Var(effect_k)`` for ``j < k``, whether seeds or items were
added (Jennison and Turnbull 2000, chapter 11). ``alpha t^rho`` may be spent by the information fraction ``t`` (Kim and
DeMets 1987); levels follow by the recursion of Armitage, McPherson and Rowe (1969). Where the standard error is
estimated, a look compares the p-value of its t distribution with the normal level (Pocock 1977).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numpy.polynomial.legendre import leggauss
from scipy import optimize, special

Floats = npt.NDArray[np.float64]

NODES = 48  # of the quadrature at each look: levels are right to 1e-6
FAR = 8.5  # standard deviations beyond which a density is nothing
LEVELS = np.geomspace(1e-9, 0.999, 64)  # at which levels of a look are tabled, to be read the other way round
SEEDS_AT_LEAST = 0.25  # share of the first look's variance that is put down to seeds: two may look alike by chance
RHO = 1.0  # of the spending function


def fractions_of(stages: Sequence[int], v_seed: float, v_item: float) -> tuple[float, ...]:
    """Return the information of each look as a share of the last one's: ``Var(last) / Var(look)``.

    Seeds alone are added: ``Var(S) = v_item + v_seed S_1 / S``, with the parts of the first look, so that they do not
    depend on what is seen later.

    Args:
        stages: Seeds at each look, increasing.
        v_seed: Squared standard error due to seeds at the first look, residual item noise included.
        v_item: Squared standard error due to items at the first look.
    """
    # Whole hundredths: contrasts of one study then share tables of levels, and no level changes by 1%.
    share = round(max(SEEDS_AT_LEAST, v_seed / (v_seed + v_item)) if v_seed + v_item > 0 else 1.0, 2)
    variances = [1 - share + share * stages[0] / seeds for seeds in stages]
    return tuple(variances[-1] / variance for variance in variances)


def spent(alpha: float, fraction: float, rho: float = RHO) -> float:
    """Return how much of ``alpha`` may be spent when this fraction of the information is there."""
    return float(alpha * min(1.0, max(0.0, fraction)) ** rho)


def nominal_levels(fractions: Sequence[float], cumulative: Sequence[float], sides: int = 2) -> list[float]:
    """Return the level at which each look tests, so that false findings by each look sum up to ``cumulative``.

    Args:
        fractions: Information of each look as a share of all that is planned; increasing, above 0.
        cumulative: Probability of a false finding by each look; increasing.
        sides: 2 for tests of no effect, 1 for tests of one side.

    Returns:
        Levels of the looks' p-values; 0 where a look adds nothing to spend.
    """
    levels: list[float] = []
    nodes, weights = _nodes()
    points, density = np.zeros(1), np.ones(1)  # where the score is while nothing was found, and how likely
    before, used = 0.0, 0.0
    for fraction, total in zip(fractions, cumulative, strict=True):
        scale, step = fraction**0.5, (fraction - before) ** 0.5
        z = _bound(points / step, density, scale / step, max(total - used, 0.0), sides)
        levels.append(0.0 if z >= FAR else float(sides * special.ndtr(-z)))
        if len(levels) == len(fractions):
            break
        low, high = (-z if sides == 2 else -FAR) * scale, z * scale
        grid = (high + low) / 2 + (high - low) / 2 * nodes
        kernel = np.exp(-0.5 * ((grid[:, None] - points[None, :]) / step) ** 2) / (step * (2 * np.pi) ** 0.5)
        density = (high - low) / 2 * weights * (kernel @ density)
        points, before, used = grid, fraction, max(total, used)
    return levels


@lru_cache(maxsize=1)
def _nodes() -> tuple[Floats, Floats]:
    """Return the nodes and weights of the quadrature on [-1, 1]."""
    nodes, weights = leggauss(NODES)
    return nodes, weights


def _bound(points: Floats, density: Floats, scale: float, share: float, sides: int) -> float:
    """Return the standardized score beyond which lies probability ``share``; points are in steps of this look."""

    def beyond(z: float) -> float:
        above = special.ndtr(points - z * scale)
        return float(density @ (above + special.ndtr(-points - z * scale) if sides == 2 else above)) - share

    return FAR if beyond(FAR) >= 0 else float(optimize.brentq(beyond, 0.0 if sides == 2 else -FAR, FAR, xtol=1e-10))


def levels_at(fractions: Sequence[float], alpha: float, rho: float = RHO, sides: int = 2) -> list[float]:
    """Return the level of each look when ``alpha t^rho`` is spent."""
    return nominal_levels(fractions, [spent(alpha, fraction, rho) for fraction in fractions], sides)


@lru_cache(maxsize=1024)
def _table(fractions: tuple[float, ...], rho: float, sides: int) -> Floats:
    """Return ``[levels, looks]``, the level of each look for each overall level in ``LEVELS``."""
    return np.array([levels_at(fractions, float(alpha), rho, sides) for alpha in LEVELS])


def sequential_p(p: Sequence[float], fractions: Sequence[float], rho: float = RHO, sides: int = 2) -> float:
    """Return the least ``alpha`` at which any of the looks so far finds something (Liu and Anderson 2008).

    Valid at any look, and never larger at a later one, so that it may be corrected over a family as ever.

    Args:
        p: P-values of the looks so far, each as if it were the only one.
        fractions: Information of all planned looks as a share of the last one's; of these looks at least.
        rho: Of the spending function.
        sides: 2 for tests of no effect, 1 for tests of one side.
    """
    table = _table(tuple(round(float(one), 3) for one in fractions), rho, sides)
    found = 1.0
    for look, value in enumerate(p):
        levels = table[:, look]
        if value >= levels[-1]:
            continue
        at = int(np.searchsorted(levels, value, side="left"))  # the first overall level at which this look rejects
        if at == 0:
            found = min(found, float(LEVELS[0]))
            continue
        low, high = levels[at - 1], levels[at]
        share = 1.0 if low <= 0 or value <= low else np.log(value / low) / np.log(high / low)
        found = min(found, float(LEVELS[at - 1] * (LEVELS[at] / LEVELS[at - 1]) ** share))
    return found
