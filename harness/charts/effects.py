"""Charts of effects with their intervals, of scores seed by seed, and of the two parts of a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.charts.drawing import (
    HOLLOW,
    INK,
    SOFT,
    STROKE,
    WIDTH,
    Axis,
    dot,
    line,
    number,
    path,
    short,
    svg,
    text,
)

ROW = 46.0  # height of one effect, in pixels
FOREST_SIDES = 10.0
BOLD = "font-weight:600"
DIM = "opacity:.75"


@dataclass(frozen=True)
class Interval:
    """One line of a forest plot.

    Attributes:
        label: Name of the arm or subject.
        figure: The effect as text.
        effect: The effect; None when it is not known.
        low: Lower end of the interval.
        high: Upper end of the interval.
        again: Effect, lower and upper end on the confirmation half.
        group: Heading above the line; written when it differs from that of the line before.
    """

    label: str
    figure: str
    effect: float | None
    low: float | None = None
    high: float | None = None
    again: tuple[float | None, float | None, float | None] = (None, None, None)
    group: str = ""


def forest(intervals: Sequence[Interval], *, threshold: float, title: str, unit: str) -> str:
    """Draw effects with intervals: filled on the items that decide, hollow below on those kept for confirmation.

    Args:
        intervals: The effects, in order.
        threshold: Effects of at most this size, of either sign, do not matter; their range is shaded.
        title: Title of the chart.
        unit: Unit of the axis.
    """
    axis = _around_zero(intervals, threshold)
    headings = sum(one.group != before for one, before in _with_group_before(intervals))
    floor = 6 + 20.0 * headings + ROW * len(intervals)
    band = axis.at(threshold) - axis.at(-threshold)
    parts = [
        f'<rect x="{axis.at(-threshold):.1f}" y="0" width="{band:.1f}" height="{floor:g}" style="{INK};opacity:.09"/>',
        line(axis.at(0), 0, axis.at(0), floor, style="stroke:currentColor;stroke-width:1;opacity:.55"),
    ]
    y = 0.0
    for one, before in _with_group_before(intervals):
        if one.group != before:
            parts.append(text(0, y + 14, one.group, style="font-weight:600;font-size:10px;opacity:.7"))
            y += 20
        parts.append(text(0, y + 13, short(one.label, 30), style=BOLD))
        parts.append(text(WIDTH, y + 13, one.figure, "end"))
        if one.effect is not None:
            ends = (one.low, one.high)
            parts += _interval(axis, y + 25, one.effect, ends, filled=True, tip=f"{one.label}: {one.figure}")
        effect, *rest = one.again
        if effect is not None:
            parts += _interval(
                axis, y + 36, effect, (rest[0], rest[1]), filled=False, tip=f"confirmation: {effect:+.3g}"
            )
        y += ROW
    parts.append(line(axis.start, floor, axis.end, floor))
    for value in axis.ticks():
        parts.append(line(axis.at(value), floor, axis.at(value), floor + 4))
        parts.append(text(axis.at(value), floor + 15, "0" if value == 0 else f"{value:+.3g}", "middle"))
    parts.append(text(WIDTH / 2, floor + 30, unit, "middle", DIM))
    described = "; ".join(f"{one.label} {one.figure}" for one in intervals)
    return svg(floor + 36, title, described, parts)


def _with_group_before(intervals: Sequence[Interval]) -> list[tuple[Interval, str]]:
    return [(one, intervals[index - 1].group if index else "") for index, one in enumerate(intervals)]


def _around_zero(intervals: Sequence[Interval], threshold: float) -> Axis:
    """Return a scale that holds all effects; the ends of a very wide interval may be beyond it."""
    effects = [abs(value) for one in intervals for value in (one.effect, one.again[0]) if value is not None]
    ends = [abs(value) for one in intervals for value in (one.low, one.high, *one.again[1:]) if value is not None]
    reach = max([1.5 * threshold, *(1.15 * value for value in effects)])
    reach = max(reach, min(1.05 * max(ends, default=0.0), 2.5 * reach))
    return Axis(-reach, reach, FOREST_SIDES, WIDTH - FOREST_SIDES)


def _interval(
    axis: Axis, y: float, effect: float, ends: tuple[float | None, float | None], *, filled: bool, tip: str
) -> list[str]:
    """Draw an effect and its interval; an arrow marks an end beyond the scale."""
    low, high = ends
    parts = []
    if low is not None and high is not None:
        parts.append(path([(axis.at(low), y), (axis.at(high), y)], STROKE if filled else f"{STROKE};opacity:.7"))
        for end, away in ((low, -1), (high, 1)):
            x = axis.at(end)
            if axis.holds(end):
                parts.append(path([(x, y - 3), (x, y + 3)], STROKE if filled else f"{STROKE};opacity:.7"))
            else:
                parts.append(path([(x - 5 * away, y - 4), (x, y), (x - 5 * away, y + 4)], STROKE))
    parts.append(dot(axis.at(effect), y, 4.5 if filled else 4, INK if filled else HOLLOW, tip))
    return parts


@dataclass(frozen=True)
class Spread:
    """Scores of one variant.

    Attributes:
        label: The variant.
        values: One score per seed.
        mean: Their mean; None without scores.
        soft: Whether it is drawn in the second colour, as a control.
    """

    label: str
    values: Sequence[float]
    mean: float | None
    soft: bool = False


def spreads(rows: Sequence[Spread], *, marks: Mapping[str, float], title: str, unit: str) -> str:
    """Draw scores as dots, one per seed, and their mean as a stroke.

    Args:
        rows: Variants, in order.
        marks: Name -> reference score, drawn as a dashed line.
        title: Title of the chart.
        unit: Unit of the axis.
    """
    seen = [*(value for row in rows for value in row.values), *marks.values()]
    low, high = min(seen, default=0.0), max(seen, default=1.0)
    # Scores that are nearly equal are not stretched to the full width: their ticks would have equal labels.
    room = max(0.06 * (high - low), 0.02 * max(abs(low), abs(high))) or 0.5
    axis = Axis(low - room, high + room, 8.0, WIDTH - 8.0)
    floor, parts = 34.0 * len(rows) + 4, []
    for index, row in enumerate(rows):
        y = 34.0 * index
        parts.append(text(0, y + 12, short(row.label, 40), style=BOLD))
        parts.append(text(WIDTH, y + 12, "-" if row.mean is None else f"{row.mean:.3f}", "end"))
        parts.append(line(axis.start, y + 23, axis.end, y + 23))
        parts += [line(axis.at(value), y + 17, axis.at(value), y + 29, dash=True) for value in marks.values()]
        style = SOFT if row.soft else INK
        if row.mean is not None:
            x = axis.at(row.mean)
            parts.append(f'<rect x="{x - 1.5:.1f}" y="{y + 16:g}" width="3" height="14" style="{style}"/>')
        parts += [dot(axis.at(value), y + 23, 3.5, f"{style};opacity:.6", f"{value:.4g}") for value in row.values]
    for value in axis.ticks():
        parts.append(line(axis.at(value), floor, axis.at(value), floor + 4))
        parts.append(text(axis.at(value), floor + 15, number(value), "middle"))
    parts.append(text(WIDTH / 2, floor + 30, unit, "middle", DIM))
    height = floor + 36
    for name, value in marks.items():
        parts.append(text(0, height + 10, f"┆ {name}: {value:.3f}"))
        height += 15
    described = "; ".join(
        f"{row.label} {'no scores' if row.mean is None else f'{row.mean:.3f}'}"
        + (f" ({', '.join(f'{value:.3f}' for value in row.values)})" if row.values else "")
        for row in rows
    )
    return svg(height + 4, title, described, parts)


def stack(shares: Mapping[str, float], *, title: str) -> str:
    """Draw the two parts of a whole as one bar; the second part is lighter.

    Args:
        shares: Name -> share of 1, for two parts.
        title: Name of the whole.
    """
    parts, x = [], 0.0
    for index, (name, part) in enumerate(shares.items()):
        wide = WIDTH * part
        style = (INK, SOFT)[index % 2]
        parts.append(f'<rect x="{x:.1f}" y="20" width="{wide:.1f}" height="18" style="{style}"/>')
        anchor, place = ("start", 0.0) if index == 0 else ("end", float(WIDTH))
        parts.append(text(place, 12, f"{name} {part:.0%}", anchor, BOLD))
        x += wide
    return svg(42, title, "; ".join(f"{name} {part:.0%}" for name, part in shares.items()), parts)
