"""Prints what to buy with a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import formats
from harness.terminal import tables

if TYPE_CHECKING:
    from rich.console import Console

    from harness.records import Allocation


def show(found: Allocation, out: Console) -> None:
    """Print what to buy and what it gains, then the sources of which the results cannot tell."""
    scale, unit = (100.0, "points") if found.bounded else (1.0, "")
    money = found.unit == "money"

    def amount(value: float) -> str:
        return f"{value:,.2f}" if money and value != round(value) else f"{value:,.0f}"

    def gain(value: float | None, ends: tuple[float | None, float | None]) -> str:
        return formats.gain(value, ends, scale)

    what = "" if money else f" {found.unit}"
    if found.withheld:
        out.print("[bold red]WITHHELD[/bold red]  " + tables.markup(found.withheld))
        out.print("Nothing is allocated: settle the failed control first.\n")
    elif not found.shares:
        out.print(tables.markup(f"No source has a learning curve: nothing can be said about {amount(found.budget)}.\n"))
    else:
        spent = f"{amount(found.spent)} of {amount(found.budget)}{what} spent, {amount(found.left)} left"
        said = f"{gain(found.gain, found.ci)} {unit}".strip()
        out.print(
            f"[bold]BUY[/bold]       {spent}. Expected gain {said} (intervals: {formats.percent(found.level)}).\n"
        )
    rows = [
        [
            one.source,
            one.verdict,
            f"{one.rows_now:,}",
            f"+{one.rows:,}",
            amount(one.spent),
            gain(one.gain, one.ci) if one.rows else formats.NONE,
            "; ".join([*(["may be nothing"] if one.may_be_nothing else []), *([one.note] if one.note else [])]),
        ]
        for one in found.shares
    ]
    columns = [
        ("Source", "left"), ("Verdict", "left"), ("Rows now", "right"), ("Buy", "right"),
        ("Cost" if money else found.unit.capitalize(), "right"), (f"Gain ({unit})" if unit else "Gain", "left"),
        ("", "left"),
    ]  # fmt: skip
    if rows:
        out.print(tables.table(columns, rows))
        out.print()
    for one in found.unclear:
        then = ""
        if one.half_width is not None and one.half_width_then is not None:
            now, narrowed = scale * one.half_width, scale * one.half_width_then
            then = f"; with these rungs about \u00b1{narrowed:.2g}, not \u00b1{now:.2g}"
        out.print(tables.markup(f"Cannot tell {one.source}: {one.reason}{then}."))
    if found.fragment:
        out.print("\nThese rungs would tell more:\n")
        out.print(tables.markup(found.fragment) + "\n", soft_wrap=True)
    for said in found.notes:
        out.print(tables.markup(said))
