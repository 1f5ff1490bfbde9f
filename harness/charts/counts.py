"""Charts of counts, amounts and shares: histograms and bars."""

from __future__ import annotations

from collections.abc import Sequence

from harness.charts.drawing import INK, SOFT, WIDTH, bar, line, number, short, svg, text


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
    """Draw how many values are in each of some bins of equal width.

    Args:
        start: Lower end of the first bin.
        width: Width of a bin, in ``unit``.
        counts: Number of values in each bin.
        above: Number of values beyond the last bin; drawn as one more bin, set apart and in another colour.
        whole: Whether values are integers: a bin of width 5 from 10 then holds 10 to 14.
        title: Title of the chart.
        unit: Unit of the values, such as ``words``.
        mark: A value to mark, such as the median.
        height: Height of the drawing, in pixels.
    """
    left, right, top, floor = 4.0, WIDTH - 4.0, 16.0, height - 20.0
    slots = len(counts) + (1.5 if above else 0)
    step = (right - left) / max(slots, 1)
    highest = max([*counts, above, 1])
    inside = 1 if whole else 0  # from the end of a bin back to the last value in it
    parts = [line(left, floor, right, floor)]
    for index, count in enumerate(counts):
        low, high = start + index * width, start + (index + 1) * width - inside
        tip = f"{number(low)}{'' if low == high else f' to {number(high)}'} {unit}: {count:,}"
        parts.append(bar(left + index * step, floor, step, (floor - top) * count / highest, INK, tip))
    end = left + len(counts) * step
    if above:
        tip = f"above {number(start + len(counts) * width - inside)} {unit}: {above:,}"
        parts.append(bar(end + step / 2, floor, step, (floor - top) * above / highest, SOFT, tip))
    last = start + len(counts) * width - inside
    parts.append(text(left, height - 6, number(start)))
    parts.append(text(end - 10 if above else right, height - 6, number(last), "end"))
    if above:
        parts.append(text(right, height - 6, "more", "end"))
    if mark is not None and counts and start <= mark <= last:
        x = left + (mark - start + inside / 2) / width * step
        parts.append(line(x, top - 3, x, floor, dash=True))
        anchor = "start" if x < WIDTH / 2 else "end"
        parts.append(text(x + (4 if anchor == "start" else -4), top - 5, f"median {number(mark)}", anchor))
    total = sum(counts) + above
    described = f"{total:,} values in {len(counts)} bins from {number(start)} to {number(last)} {unit}"
    described += f", {above:,} above" if above else ""
    return svg(height, title, described, parts)


def bars(values: Sequence[tuple[str, float, str]], *, title: str, description: str = "") -> str:
    """Draw one bar per value, each with its label above and its figure at the end.

    Args:
        values: Label, length (0 or more; the longest fills the width) and figure as text.
        title: Title of the chart.
        description: Description for screen readers; default: every label with its figure.
    """
    longest = max([value for _, value, _ in values] or [0]) or 1
    parts = []
    for index, (label, value, figure) in enumerate(values):
        y = index * 32.0
        parts.append(text(0, y + 11, short(label, 44)))
        parts.append(text(WIDTH, y + 11, figure, "end"))
        parts.append(f'<rect x="0" y="{y + 16:g}" width="{WIDTH}" height="8" rx="2" style="{INK};opacity:.12"/>')
        parts.append(bar(0, y + 24, WIDTH + 1, 0, INK, "", across=WIDTH * value / longest))
    listed = description or "; ".join(f"{label}: {figure}" for label, _, figure in values)
    return svg(len(values) * 32, title, listed, parts)


def share(value: float) -> str:
    """Draw a share (0 to 1) as a bar in a table's cell; hidden from screen readers, which read the figure beside it."""
    kept = 80 * min(max(value, 0.0), 1.0)
    return (
        f'<svg class="share" viewBox="0 0 80 8" width="80" height="8" aria-hidden="true" focusable="false">'
        f'<rect width="80" height="8" rx="2" style="{INK};opacity:.12"/>'
        f'<rect width="{kept:.4g}" height="8" rx="2" style="{INK}"/></svg>'
    )
