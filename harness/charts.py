"""Small charts as SVG text, to be put into a page as they are: numbers in, no files, no library.

Every chart has a title and a description for those who do not see it. Colours come from the page's custom properties
``--chart``, ``--chart-soft`` and ``--rule``, so that a chart follows it into the dark; what stands in for them is safe
for colour blindness (Okabe and Ito, 2008). Charts are drawn about as wide as a phone, so their letters stay readable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from harness.visible import visible

WIDTH = 340
INK = "fill:var(--chart,#0072b2)"
SOFT = "fill:var(--chart-soft,#e69f00)"
RULE = "stroke:var(--rule,#bbb);stroke-width:1"
TEXT = "fill:currentColor;font-size:11px"


def histogram(
    start: float,
    width: float,
    counts: Sequence[int],
    *,
    above: int = 0,
    whole: bool = False,
    title: str,
    unit: str,
    mark: float | None = None,
    height: int = 130,
) -> str:
    """Draw how often values fall into bins of equal width.

    Args:
        start: Where the first bin begins.
        width: Of a bin, in ``unit``.
        counts: Per bin.
        above: Values beyond the last bin; drawn as one more bin, set apart and in another colour.
        whole: Values are whole numbers: a bin of width 5 from 10 holds 10 to 14.
        title: What is counted.
        unit: Of the values, such as ``words``.
        mark: A value to mark, such as the median.
        height: Of the drawing, in pixels.
    """
    left, right, top, floor = 4.0, WIDTH - 4.0, 16.0, height - 20.0
    slots = len(counts) + (1.5 if above else 0)
    step = (right - left) / max(slots, 1)
    highest = max([*counts, above, 1])
    inside = 1 if whole else 0  # from where a bin ends to the last value in it
    parts = [_line(left, floor, right, floor)]
    for number, count in enumerate(counts):
        low, high = start + number * width, start + (number + 1) * width - inside
        tip = f"{_number(low)}{'' if low == high else f' to {_number(high)}'} {unit}: {count:,}"
        parts.append(_bar(left + number * step, floor, step, (floor - top) * count / highest, INK, tip))
    end = left + len(counts) * step
    if above:
        tip = f"above {_number(start + len(counts) * width - inside)} {unit}: {above:,}"
        parts.append(_bar(end + step / 2, floor, step, (floor - top) * above / highest, SOFT, tip))
    last = start + len(counts) * width - inside
    parts.append(_text(left, height - 6, _number(start)))
    parts.append(_text(end - 10 if above else right, height - 6, _number(last), "end"))
    if above:
        parts.append(_text(right, height - 6, "more", "end"))
    if mark is not None and counts and start <= mark <= last:
        x = left + (mark - start + inside / 2) / width * step
        parts.append(_line(x, top - 3, x, floor, dash=True))
        anchor = "start" if x < WIDTH / 2 else "end"
        parts.append(_text(x + (4 if anchor == "start" else -4), top - 5, f"median {_number(mark)}", anchor))
    total = sum(counts) + above
    described = f"{total:,} values in {len(counts)} bins from {_number(start)} to {_number(last)} {unit}"
    described += f", {above:,} above" if above else ""
    return _svg(height, title, described, parts)


def bars(values: Sequence[tuple[str, float, str]], *, title: str, description: str = "") -> str:
    """Draw one bar per value, each with its label above and its figure at the end.

    Args:
        values: Label, length (0 or more; the longest fills the width) and the figure as it is to be read.
        title: What is shown.
        description: For those who do not see it; default: every label with its figure.
    """
    longest = max([value for _, value, _ in values] or [0]) or 1
    parts = []
    for number, (label, value, figure) in enumerate(values):
        y = number * 32.0
        shown = visible(label)
        parts.append(_text(0, y + 11, shown if len(shown) <= 44 else shown[:43] + "…"))
        parts.append(_text(WIDTH, y + 11, figure, "end"))
        parts.append(f'<rect x="0" y="{y + 16:g}" width="{WIDTH}" height="8" rx="2" style="{INK};opacity:.12"/>')
        parts.append(_bar(0, y + 24, WIDTH + 1, 0, INK, "", across=WIDTH * value / longest))
    listed = description or "; ".join(f"{label}: {figure}" for label, _, figure in values)
    return _svg(len(values) * 32, title, listed, parts)


def share(value: float) -> str:
    """Draw a share (0 to 1) as a bar for a table's cell; the figure stands beside it, so it is hidden from readers."""
    kept = 80 * min(max(value, 0.0), 1.0)
    return (
        f'<svg class="share" viewBox="0 0 80 8" width="80" height="8" aria-hidden="true" focusable="false">'
        f'<rect width="80" height="8" rx="2" style="{INK};opacity:.12"/>'
        f'<rect width="{kept:.4g}" height="8" rx="2" style="{INK}"/></svg>'
    )


def _svg(height: float, title: str, described: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}">'
        f"<title>{escape(visible(title))}</title><desc>{escape(visible(described))}</desc>{''.join(parts)}</svg>"
    )


def _bar(x: float, floor: float, step: float, tall: float, style: str, tip: str, across: float | None = None) -> str:
    wide, tall, corner = (max(step - 1, 0.5), tall, 0) if across is None else (across, 8.0, 2)
    inner = f"<title>{escape(visible(tip))}</title>" if tip else ""
    place = f'x="{x:.4g}" y="{floor - tall:.4g}" width="{wide:.4g}" height="{tall:.4g}" rx="{corner}"'
    return f'<rect {place} style="{style}">{inner}</rect>'


def _line(x1: float, y1: float, x2: float, y2: float, *, dash: bool = False) -> str:
    style = "stroke:currentColor;stroke-width:1;stroke-dasharray:3 2" if dash else RULE
    return f'<line x1="{x1:.4g}" y1="{y1:.4g}" x2="{x2:.4g}" y2="{y2:.4g}" style="{style}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.4g}" y="{y:.4g}" text-anchor="{anchor}" style="{TEXT}">{escape(visible(text))}</text>'


def _number(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"
