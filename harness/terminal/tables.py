"""Tables in the terminal. Text from data is escaped: it cannot style or forge the output."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness import formats
from harness.escaping import visible

if TYPE_CHECKING:
    from harness.records import Growth, Slice

VERDICT_STYLE = {
    "GROW": "bold green", "ADOPT": "bold green", "CUT": "bold red", "REJECT": "bold red",
    "HOLD": "bold", "NEUTRAL": "bold", "INCONCLUSIVE": "bold yellow",
}  # fmt: skip
ARMS_ACROSS = 6  # columns of a table by slice: more do not fit


def console() -> Console:
    """Return a console; without a terminal its lines are so long that none is cut."""
    made = Console(highlight=False, emoji=False)
    return made if made.is_terminal else Console(highlight=False, emoji=False, width=max(140, made.width))


def printed(show: Callable[[Console], None]) -> str:
    """Return the output of ``show`` as plain text."""
    made = Console(highlight=False, emoji=False, width=140, color_system=None, file=io.StringIO(), force_jupyter=False)
    with made.capture() as captured:
        show(made)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], *, escaped: bool = True) -> Table:
    """Return a plain table.

    Args:
        columns: Heading and justification (``left`` or ``right``) of each.
        rows: Cells.
        escaped: Whether cells are escaped; false when they hold markup of our own.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    made.show_header = any(heading for heading, _ in columns)
    for heading, justify in columns:
        made.add_column(heading, justify="right" if justify == "right" else "left", overflow="fold")
    for row in rows:
        made.add_row(*(markup(cell) if escaped else cell for cell in row))
    return made


def markup(text: Any) -> str:
    """Return text from data or a user's file escaped; control and invisible characters are spelled out."""
    return escape(visible(str(text)))


def show_slices(out: Console, slices: Sequence[Slice]) -> None:
    """Print every arm's effect by slice, weakest slice first; prints nothing without slices."""
    if not slices:
        return
    arms = [arm.variant for arm in slices[0].arms[:ARMS_ACROSS]]
    rows = []
    for one in slices:
        cells = [one.slice, f"{one.items:,}", f"{one.baseline_mean:.2f}"]
        for arm in one.arms[:ARMS_ACROSS]:
            star = "*" if arm.p_adjusted is not None and arm.p_adjusted < 0.05 else ""
            cells.append(f"{formats.signed(arm.effect)}{star} {formats.interval(arm.ci)}".strip())
        rows.append(cells)
    columns = [("Slice, weakest first", "left"), ("Items", "right"), ("Baseline", "right")]
    out.print(table([*columns, *((markup(arm), "left") for arm in arms)], rows))
    more = len(slices[0].arms) - len(arms)
    rest = f" {more} more arms: --json." if more else ""
    said = f"Weakest by {slices[0].best}. Exploratory: * is p < .05 after Benjamini-Hochberg over the table.{rest}\n"
    out.print(markup(said))


def show_growth(out: Console, growth: Sequence[Growth], bounded: bool) -> None:
    """Print which data to grow next and their gain, best first; prints nothing without ladders.

    Args:
        out: The console.
        growth: The ranked sources.
        bounded: Whether scores are between 0 and 1, so that a hundredth is a point.
    """
    if not growth:
        return
    scale, unit = (100.0, "points") if bounded else (1.0, "gain")
    rows = []
    for line in growth:
        tokens = formats.NONE if line.gain_per_10k_tokens is None else f"{scale * line.gain_per_10k_tokens:+.3g}"
        step = formats.NONE
        if line.next_rows is not None and line.next_gain is not None:
            ends = [f"{scale * end:+.1f}" for end in line.next_ci if end is not None]
            step = f"{line.next_rows:,} rows: {scale * line.next_gain:+.1f} [{', '.join(ends)}]"
        rows.append(
            [
                f"{line.rank}",
                line.source,
                line.verdict,
                f"{line.rows:,}",
                formats.gain(line.gain_per_1000_rows, line.ci_per_1000_rows, scale),
                tokens,
                step,
                formats.NONE if line.supply_left is None else f"{line.supply_left:,}",
                formats.NONE if line.cost_per_point is None else f"{line.cost_per_point * (1 if bounded else 100):.2g}",
            ]
        )
    columns = [
        ("Rank", "right"), ("Source", "left"), ("Verdict", "left"), ("Rows now", "right"),
        (f"{unit} per 1,000 rows", "left"), ("per 10k tokens", "right"), (f"Next step ({unit})", "left"),
        ("Rows left", "right"), (f"Cost per {'point' if bounded else 'unit'}", "right"),
    ]  # fmt: skip
    known = [place for place in range(len(columns)) if any(row[place] != formats.NONE for row in rows)]
    out.print(table([columns[place] for place in known], [[row[place] for place in known] for row in rows]))
    for line in growth:
        out.print(markup(f"{line.source}: {line.note}."))
    out.print()
