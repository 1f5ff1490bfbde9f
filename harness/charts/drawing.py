"""Parts of charts: the SVG frame, bars, lines, dots, text, axes.

Colours are the page's custom properties ``--chart``, ``--chart-soft`` and ``--rule``, so that a chart follows the
page's dark mode; the fallback colours are safe for colour blindness (Okabe and Ito, 2008). Charts are about as wide as
a phone, so that their letters stay readable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from harness.escaping import visible

WIDTH = 340
INK = "fill:var(--chart,#0072b2)"
SOFT = "fill:var(--chart-soft,#e69f00)"
RULE = "stroke:var(--rule,#bbb);stroke-width:1"
TEXT = "fill:currentColor;font-size:11px"
STROKE = "fill:none;stroke:var(--chart,#0072b2);stroke-width:2"
HOLLOW = "fill:var(--card,#fff);stroke:var(--chart,#0072b2);stroke-width:1.5"


@dataclass(frozen=True)
class Axis:
    """A linear scale from values to pixels.

    Attributes:
        low: Smallest value shown.
        high: Largest value shown.
        start: Pixel of ``low``.
        end: Pixel of ``high``.
    """

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the pixel of a value; a value beyond the scale has the pixel of its end."""
        inside = min(max(value, self.low), self.high)
        return self.start + (self.end - self.start) * (inside - self.low) / (self.high - self.low)

    def holds(self, value: float) -> bool:
        """Return whether a value is on the scale."""
        return self.low <= value <= self.high

    def ticks(self, most: int = 5) -> list[float]:
        """Return round values on the scale, about ``most`` of them."""
        span = self.high - self.low
        unit = 10.0 ** math.floor(math.log10(span / most))
        step = next(unit * times for times in (1, 2, 5, 10, 20) if span / (unit * times) <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [round(step * number, 12) + 0.0 for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def svg(height: float, title: str, described: str, parts: Sequence[str]) -> str:
    """Return a chart with a title and a description for screen readers."""
    return (
        f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}">'
        f"<title>{escape(visible(title))}</title><desc>{escape(visible(described))}</desc>{''.join(parts)}</svg>"
    )


def bar(x: float, floor: float, step: float, tall: float, style: str, tip: str, across: float | None = None) -> str:
    """Draw an upright bar on ``floor``, or a horizontal one of length ``across``."""
    wide, tall, corner = (max(step - 1, 0.5), tall, 0) if across is None else (across, 8.0, 2)
    inner = f"<title>{escape(visible(tip))}</title>" if tip else ""
    place = f'x="{x:.4g}" y="{floor - tall:.4g}" width="{wide:.4g}" height="{tall:.4g}" rx="{corner}"'
    return f'<rect {place} style="{style}">{inner}</rect>'


def line(x1: float, y1: float, x2: float, y2: float, *, dash: bool = False, style: str = "") -> str:
    """Draw a line: a thin rule, a dashed mark, or a line in ``style``."""
    drawn = style or ("stroke:currentColor;stroke-width:1;stroke-dasharray:3 2" if dash else RULE)
    return f'<line x1="{x1:.4g}" y1="{y1:.4g}" x2="{x2:.4g}" y2="{y2:.4g}" style="{drawn}"/>'


def path(points: Sequence[tuple[float, float]], style: str, *, closed: bool = False) -> str:
    """Draw a line through points, or an area."""
    steps = " ".join(f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(points))
    return f'<path d="{steps}{"Z" if closed else ""}" style="{style}"/>'


def dot(x: float, y: float, radius: float, style: str, tip: str = "") -> str:
    """Draw a dot; ``tip`` is its tooltip."""
    inner = f"<title>{escape(visible(tip))}</title>" if tip else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" style="{style}">{inner}</circle>'


def text(x: float, y: float, said: str, anchor: str = "start", style: str = "") -> str:
    """Draw a few words; ``style`` is added to the style of all letters."""
    place = f'x="{x:.4g}" y="{y:.4g}" text-anchor="{anchor}"'
    return f'<text {place} style="{TEXT}{";" + style if style else ""}">{escape(visible(said))}</text>'


def number(value: float) -> str:
    """Return a number as text: whole with separators for integers and from 100 on, else with three digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"


def short(label: str, most: int) -> str:
    """Return a label with its invisible characters spelled out, cut to ``most`` characters."""
    shown = visible(label)
    return shown if len(shown) <= most else shown[: most - 1] + "…"
