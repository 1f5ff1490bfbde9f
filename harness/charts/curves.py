"""Charts of curves: the gain of more rows, and the power of a test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.charts.drawing import INK, STROKE, WIDTH, Axis, dot, line, number, path, svg, text

DASHES = ("", ";stroke-dasharray:7 4", ";stroke-dasharray:2 3")
COLOURS = ("var(--chart,#0072b2)", "var(--bad,#b3420a)", "var(--chart-soft,#e69f00)")


@dataclass(frozen=True)
class Point:
    """A point of a curve, with an interval if it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


def ladder(
    rungs: Sequence[tuple[float, float, Sequence[float]]],
    curve: Sequence[Point],
    *,
    title: str,
    unit: str,
    baseline: float | None = None,
    height: int = 220,
) -> str:
    """Draw the scores of growing training sets, and the learning curve fitted to them.

    Args:
        rungs: Rows, mean score, and the score of each seed.
        curve: The fitted curve with its interval; beyond the last rung it is dashed.
        title: What is shown.
        unit: Unit of the scores.
        baseline: The baseline's score, drawn as a dashed line.
        height: Height of the drawing, in pixels.
    """
    xs = [rows for rows, _, _ in rungs] + [point.x for point in curve]
    ys = [value for _, mean, seeds in rungs for value in (mean, *seeds)]
    ys += [end for point in curve for end in (point.low, point.high, point.y) if end is not None]
    ys += [] if baseline is None else [baseline]
    across, logarithmic = _rows_axis(min(xs), max(xs))
    low, high = min(ys), max(ys)
    room = 0.06 * (high - low) or 0.05
    up = Axis(low - room, high + room, height - 38.0, 8.0)

    def x(rows: float) -> float:
        return across.at(math.log(rows) if logarithmic else rows)

    parts = []
    for value in up.ticks():
        parts.append(line(across.start - 6, up.at(value), across.end, up.at(value)))
        parts.append(text(across.start - 10, up.at(value) + 4, number(value), "end"))
    if baseline is not None:
        parts.append(line(across.start - 6, up.at(baseline), across.end, up.at(baseline), dash=True))
        parts.append(text(across.end, up.at(baseline) - 4, "baseline", "end"))
    band = [point for point in curve if point.low is not None and point.high is not None]
    if band:
        over = [(x(point.x), up.at(point.high or 0.0)) for point in band]
        under = [(x(point.x), up.at(point.low or 0.0)) for point in reversed(band)]
        parts.append(path([*over, *under], f"{INK};opacity:.14", closed=True))
    top = max(rows for rows, _, _ in rungs)
    known = [(x(point.x), up.at(point.y)) for point in curve if point.x <= top]
    ahead = [(x(point.x), up.at(point.y)) for point in curve if point.x >= top]
    if curve:
        parts.append(path(known, STROKE))
        parts.append(path([*known[-1:], *ahead], f"{STROKE};stroke-dasharray:4 3"))
    for rows, mean, seeds in rungs:
        parts += [dot(x(rows), up.at(value), 2.5, f"{INK};opacity:.45", f"{value:.4g}") for value in seeds]
        parts.append(dot(x(rows), up.at(mean), 4.5, INK, f"{rows:,.0f} rows: {mean:.4g}"))
    last = -math.inf
    for rows in sorted({*(rows for rows, _, _ in rungs), max(xs)}):
        if x(rows) - last > 26:
            parts.append(text(x(rows), height - 22.0, number(rows), "middle"))
            last = x(rows)
    scale = "rows (logarithmic)" if logarithmic else "rows"
    parts.append(text((across.start + across.end) / 2, height - 6.0, scale, "middle", "opacity:.75"))
    described = f"{unit}: " + "; ".join(f"{rows:,.0f} rows {mean:.3f}" for rows, mean, _ in rungs)
    return svg(height, title, described, parts)


def _rows_axis(low: float, high: float) -> tuple[Axis, bool]:
    """Return a scale for numbers of rows, and whether it is logarithmic: it is when they grow by factors."""
    if low > 0 and high / low >= 3:
        return Axis(math.log(low), math.log(high), 52.0, WIDTH - 14.0), True
    room = 0.0 if high > low else 1.0
    return Axis(low - room, high + room, 52.0, WIDTH - 14.0), False


@dataclass(frozen=True)
class Line:
    """One line of a chart of shares."""

    label: str
    points: Sequence[tuple[float, float]] = field(default_factory=tuple)


def lines(drawn: Sequence[Line], *, title: str, across: str, height: int = 200) -> str:
    """Draw up to three lines of shares (0 to 1), which differ by colour and by dashes.

    Args:
        drawn: The lines; one of a single point is drawn as a dot.
        title: Title of the chart.
        across: Name of the horizontal axis.
        height: Height of the drawing, in pixels, without the key below.
    """
    xs = [x for one in drawn for x, _ in one.points]
    side = Axis(min(xs), max(xs), 40.0, WIDTH - 10.0)
    up = Axis(0.0, 1.0, height - 36.0, 8.0)
    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(line(side.start, up.at(value), side.end, up.at(value)))
        parts.append(text(side.start - 6, up.at(value) + 4, f"{value:.0%}", "end"))
    for value in side.ticks(6):
        parts.append(text(side.at(value), height - 21.0, number(value), "middle"))
    parts.append(text((side.start + side.end) / 2, height - 5.0, across, "middle", "opacity:.75"))
    for index, one in enumerate(drawn):
        style = f"fill:none;stroke:{COLOURS[index]};stroke-width:2{DASHES[index]}"
        y = height + 10.0 + 16 * index
        if len(one.points) == 1:
            full = f"fill:{COLOURS[index]}"
            parts.append(dot(side.at(one.points[0][0]), up.at(one.points[0][1]), 5.0, full))
            parts.append(dot(21, y - 4, 5.0, full))
        else:
            parts.append(path([(side.at(x), up.at(y)) for x, y in one.points], style))
            parts.append(path([(8, y - 4), (34, y - 4)], style))
        parts.append(text(40, y, one.label))
    described = "; ".join(
        f"{one.label}: {', '.join(f'{y:.0%} at {number(x)}' for x, y in one.points[:: max(1, len(one.points) // 5)])}"
        for one in drawn
    )
    return svg(height + 16.0 * len(drawn) + 2, title, described, parts)
