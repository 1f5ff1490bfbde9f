"""What to buy with a budget: rows of several sources whose expected gains are known, and the gain of all of them.

The gains of sources are taken to add: rows of one source gain as much whatever is bought of the others. Ladders that
grow one source at a time cannot show otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from harness.statistics.curves import Estimate, estimate
from harness.statistics.scores import Floats

STEPS = 400  # parts of the budget that are given out
EXACT = 1000  # parts, at most, when they are to be the largest amount by which all prices can be divided
ROUNDING = 1 + 1e-12  # ten rows at 0.1 cost 1


@dataclass(frozen=True)
class Offer:
    """Further rows of a source.

    Attributes:
        gain: Number of further rows -> expected gain, for whole arrays; 0 for no rows.
        price: Price of a row, in the units of the budget; rows may be free.
        most: The largest number of further rows.
    """

    gain: Callable[[Floats], Floats]
    price: float
    most: int


def allocate(offers: Sequence[Offer], budget: float) -> list[int]:
    """Return how many rows of each offer to buy so that the expected gain is largest.

    The budget is divided into parts, and the best division among the offers is found by dynamic programming: curves
    need not be concave. This is exact when a part divides all prices, which small budgets allow. Else costs are
    rounded up to parts, and what this leaves is spent where it gains most.

    Args:
        offers: The offers.
        budget: The most that all rows may cost together.
    """
    counts = [_best_free(one) if one.price <= 0 else 0 for one in offers]
    priced = [at for at, one in enumerate(offers) if one.price > 0 and one.most > 0]
    budget = min(budget, sum(offers[at].price * offers[at].most for at in priced))
    if budget <= 0:
        return counts
    part, steps = _parts([offers[at].price for at in priced], budget)
    spent = np.arange(steps + 1)
    left = spent[:, None] - spent[None, :]  # parts left to earlier offers when this one gets so many
    best, choices = np.zeros(steps + 1), []
    for at in priced:
        rows = np.minimum(np.floor(part * spent / offers[at].price * ROUNDING), offers[at].most)
        with_it = np.where(left >= 0, best[np.maximum(left, 0)] + offers[at].gain(rows)[None, :], -np.inf)
        choices.append((at, rows, with_it.argmax(axis=1)))
        best = with_it.max(axis=1)
    parts = int(best.argmax())
    for at, rows, chosen in reversed(choices):
        counts[at] = int(rows[chosen[parts]])
        parts -= int(chosen[parts])
    return _spend_rest(offers, counts, priced, budget)


def together(parts: Sequence[tuple[Estimate, float]], covariance: float, alpha: float) -> Estimate:
    """Return the sum of gains with its interval.

    Args:
        parts: The gains, each with its degrees of freedom.
        covariance: Sum of the covariances of all pairs. Below 0 it is not counted: it would make the interval shorter.
        alpha: The interval covers ``1 - alpha``.
    """
    own = sum(one.variance for one, _ in parts)
    value = sum(one.value for one, _ in parts)
    if own == 0:
        return Estimate(value, value, value, 0.0)
    df = own / sum(one.variance / df for one, df in parts)
    return estimate(value, own + 2 * max(covariance, 0.0), df, alpha)


def _parts(prices: Sequence[float], budget: float) -> tuple[float, int]:
    """Return the size of a part of the budget, and how many there are."""
    shares = [Fraction(price).limit_denominator(EXACT) for price in prices]
    whole = math.lcm(*(share.denominator for share in shares))
    unit = math.gcd(*(int(share * whole) for share in shares)) / whole
    same = all(abs(float(share) - price) <= 1e-9 * price for share, price in zip(shares, prices, strict=True))
    if same and unit > 0 and budget / unit <= EXACT:
        return unit, math.floor(budget / unit * ROUNDING)
    return budget / STEPS, STEPS


def _best_free(offer: Offer) -> int:
    rows = np.unique(np.linspace(0, offer.most, STEPS + 1).round())
    return int(rows[int(offer.gain(rows).argmax())])


def _spend_rest(offers: Sequence[Offer], counts: list[int], priced: Sequence[int], budget: float) -> list[int]:
    """Spend what is left on whole rows, first where it gains most."""
    while True:
        rest = budget * ROUNDING - sum(offers[at].price * counts[at] for at in priced)
        found = (0.0, -1, 0)
        for at in priced:
            more = min(int(rest // offers[at].price), offers[at].most - counts[at])
            if more > 0:
                now, then = offers[at].gain(np.array([counts[at], counts[at] + more], dtype=np.float64))
                found = max(found, (float(then - now), at, more))
        gain, at, more = found
        if gain <= 0:
            return counts
        counts[at] += more
