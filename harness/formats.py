"""How numbers are written for people: in tables, sentences and pages alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

NONE = "-"
BESIDE = " with the A/A arm's runs"  # said of a baseline's mean in which they are averaged


@dataclass(frozen=True)
class Places:
    """Writes scores and effects to the places that matter in a study.

    Attributes:
        places: Decimals: those of the smallest effect that matters, at least 2.
        bounded: Scores lie between 0 and 1, so that a hundredth is a point.
    """

    places: int
    bounded: bool

    @classmethod
    def fitting(cls, smallest_effect: float, bounded: bool) -> Places:
        """Return the places of a study."""
        return cls(max(2, -math.floor(math.log10(smallest_effect))), bounded)

    def plain(self, value: float) -> str:
        """Write a score: ``0.31``."""
        return f"{value:.{self.places}f}"

    def signed(self, value: float | None) -> str:
        """Write an effect: ``+0.11``."""
        return signed(value, self.places)

    def interval(self, low: float, high: float) -> str:
        """Write an interval: ``[-0.03, +0.05]``."""
        return interval((low, high), self.places)

    def points(self, value: float) -> str:
        """Write a gain: ``1.2 points`` where scores lie between 0 and 1, else the number itself."""
        return f"{_two_digits(100 * value)} points" if self.bounded else f"{value:.2g}"


def signed(value: float | None, places: int = 2) -> str:
    """Write an effect: ``+0.11``."""
    return NONE if value is None else f"{round(value, places) + 0.0:+.{places}f}"


def interval(ends: Sequence[float | None], places: int = 2) -> str:
    """Write an interval: ``[+0.07, +0.15]``; nothing where there is none."""
    low, high = ends
    return "" if low is None or high is None else f"[{signed(low, places)}, {signed(high, places)}]"


def effect(value: float | None, ends: Sequence[float | None], places: int = 2) -> str:
    """Write an effect with its interval: ``+0.11 [+0.07, +0.15]``."""
    return f"{signed(value, places)} {interval(ends, places)}".strip()


def gain(value: float | None, ends: Sequence[float | None] = (None, None), scale: float = 1.0) -> str:
    """Write a gain to three digits, with its interval: ``+12.4 [+3.1, +21.7]``."""
    if value is None:
        return NONE
    low, high = ends
    known = "" if low is None or high is None else f" [{scale * low:+.3g}, {scale * high:+.3g}]"
    return f"{scale * value:+.3g}{known}"


def probability(p: float | None) -> str:
    """Write a p-value as a table shows it: ``.0002``, ``<.0001``."""
    if p is None:
        return NONE
    return "<.0001" if p < 0.0001 else f"{p:.4f}".lstrip("0") if p < 0.1 else f"{p:.2f}".lstrip("0")


def p_value(p: float) -> str:
    """Write a p-value in a sentence: ``p = .0002``."""
    if p < 0.0001:
        return "p < .0001"
    if p > 0.99:
        return "p = 1"
    places = 2 if p >= 0.1 else 3 if p >= 0.01 else 4
    return f"p = {p:.{places}f}".replace(" 0.", " .")


def duration(seconds: float) -> str:
    """Write a time: ``40 s``, ``9 min``, ``3.2 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def count(number: float | None) -> str:
    """Write a count: ``12,304``, ``12.3M`` from ten millions on."""
    if number is None:
        return NONE
    if math.isinf(number):
        return "all"
    return f"{number / 1e6:,.1f}M" if abs(number) >= 1e7 else f"{number:,.0f}"


def percent(value: float) -> str:
    """Write a share: ``0%``, ``0.04%``, ``4.1%``, ``63%``; never a rounded 0 or 100."""
    shown = 100 * value
    if shown in (0, 100):
        return f"{shown:.0f}%"
    if shown < 0.01:
        return "<0.01%"
    if shown > 99.99:
        return ">99.99%"
    if shown < 1:
        return f"{shown:.2g}%"
    digits = 2 if shown > 99.9 else 1 if shown < 10 or shown > 99 else 0
    return f"{shown:.{digits}f}%"


def number(value: float) -> str:
    """Write a number with three digits, or whole with separators."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"


def rows(number: float | None, approximate: bool = False) -> str:
    """Write rows in a narrow column: ``160``, ``~79``, ``2.7k`` from 10,000 on."""
    if number is None:
        return NONE
    text = f"{number / 1000:,.1f}k" if number >= 10_000 else f"{round(number):,}"
    return ("~" if approximate else "") + text


def tokens(number: float | None, approximate: bool = False) -> str:
    """Write tokens in a narrow column: ``2.7k``."""
    if number is None:
        return NONE
    mark = "~" if approximate else ""
    return f"{mark}{number / 1e6:.1f}M" if number >= 1e6 else f"{mark}{number / 1000:.1f}k"


def size(bytes_: float) -> str:
    """Write bytes: ``19.6 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if bytes_ < 1000:
            return f"{bytes_:.0f} {unit}" if unit == "B" else f"{bytes_:.1f} {unit}"
        bytes_ /= 1000
    return f"{bytes_:.1f} TB"


def moment(stamp: str) -> str:
    """Write when: ``2026-11-23 14:30 UTC``; the store keeps all times in UTC."""
    return f"{stamp[:16].replace('T', ' ')} UTC"


def plural(number: int, noun: str) -> str:
    """Write ``1 run``, ``3 runs``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def several(names: Sequence[str], most: int = 4) -> str:
    """Write a few names and count the rest."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def share_of_rows(ratio: float) -> str:
    """Write how many rows an arm has beside the baseline: ``half the rows``."""
    if 0.97 <= ratio <= 1.03:
        return "as many rows"
    if 0.45 <= ratio <= 0.55:
        return "half the rows"
    return f"{ratio:.0%} of the rows" if ratio < 1 else f"{ratio:.2g} times the rows"


def _two_digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.1f}" if abs(value) >= 0.1 else f"{value:.2g}"
