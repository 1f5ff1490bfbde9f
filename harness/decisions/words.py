"""How numbers are said in reasons and checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Says scores and effects to the places that matter in this study.

    Attributes:
        places: Decimals: those of the smallest effect that matters, at least 2.
        bounded: Scores lie between 0 and 1, so that a hundredth is a point.
    """

    places: int
    bounded: bool

    @classmethod
    def fitting(cls, smallest_effect: float, bounded: bool) -> Words:
        """Return the words of a study."""
        return cls(max(2, -math.floor(math.log10(smallest_effect))), bounded)

    def plain(self, value: float) -> str:
        """Say a score: ``0.31``."""
        return f"{value:.{self.places}f}"

    def signed(self, value: float | None) -> str:
        """Say an effect: ``+0.11``."""
        return "-" if value is None else f"{round(value, self.places) + 0.0:+.{self.places}f}"

    def interval(self, low: float, high: float) -> str:
        """Say an interval: ``[-0.03, +0.05]``."""
        return f"[{self.signed(low)}, {self.signed(high)}]"

    def points(self, value: float) -> str:
        """Say a gain: ``1.2 points`` where scores lie between 0 and 1, else the number itself."""
        return f"{_two_digits(100 * value)} points" if self.bounded else f"{value:.2g}"


def _two_digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.1f}" if abs(value) >= 0.1 else f"{value:.2g}"


def p_value(p: float) -> str:
    """Say a p value: ``p = .0002``."""
    if p < 0.0001:
        return "p < .0001"
    if p > 0.99:
        return "p = 1"
    places = 2 if p >= 0.1 else 3 if p >= 0.01 else 4
    return f"p = {p:.{places}f}".replace(" 0.", " .")


def several(names: Sequence[str], most: int = 4) -> str:
    """Say a few names and count the rest."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def share_of_rows(ratio: float) -> str:
    """Say how many rows an arm has beside the baseline: ``half the rows``."""
    if 0.97 <= ratio <= 1.03:
        return "as many rows"
    if 0.45 <= ratio <= 0.55:
        return "half the rows"
    return f"{ratio:.0%} of the rows" if ratio < 1 else f"{ratio:.2g} times the rows"


def duration(seconds: float) -> str:
    """Say a wall time: ``6 min``."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def count(number: float) -> str:
    """Say a number of rows: ``2,040``."""
    return "all" if math.isinf(number) else f"{number:,.0f}"
