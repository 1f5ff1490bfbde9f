"""Prints verdicts as a table, below the trust line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import formats
from harness.terminal import tables

if TYPE_CHECKING:
    from rich.console import Console

    from harness.records import Decisions, StudyView

SAID = ("aa", "random_subset", "runs", "clusters", "comparability")


def show(view: StudyView, out: Console) -> None:
    """Print trust, verdicts and what to do next; prints nothing without decisions."""
    decisions = view.decisions
    if decisions is None:
        return
    failed = [check for check in decisions.trust if not check.ok]
    if failed:
        out.print("[bold red]TRUST[/bold red]     " + tables.markup("; ".join(check.text for check in failed)))
        passed = [check.text for check in decisions.trust if check.ok]
        if passed:
            out.print("          " + tables.markup("ok: " + ", ".join(passed)))
    else:  # these checks are enough when nothing is wrong; --json has every check
        said = [check.text for check in decisions.trust if check.check in SAID or "coin flip" in check.text]
        out.print("[bold]TRUST[/bold]     " + tables.markup("ok: " + ", ".join(said)))
    out.print()
    metric = decisions.metric.split("/")[-1].replace("_", " ")
    rows = []
    for d in decisions.decisions:
        style = tables.VERDICT_STYLE[d.verdict]
        why = d.reason + (f"; {d.resolve}" if d.resolve else "")
        rows.append(
            [
                tables.markup(d.subject),
                f"[{style}]{d.verdict}[/{style}]",
                tables.markup(formats.effect(d.effect, d.ci)),
                formats.signed(d.confirmation),
                tables.markup(why),
            ]
        )
    columns = [
        ("Subject", "left"), ("Verdict", "left"), (f"Effect on {tables.markup(metric)}", "left"),
        ("Confirmation", "right"), ("Why", "left"),
    ]  # fmt: skip
    out.print(tables.table(columns, rows, escaped=False))
    out.print()
    if looks := decisions.stages_in_words():
        out.print(tables.markup(looks))
        out.print()
    if not decisions.withheld:
        tables.show_growth(out, decisions.growth, bounded(decisions))
    for mixture in decisions.mixtures:
        out.print(tables.markup(f"{mixture[0].upper()}{mixture[1:]}."))
    last = " ".join(text for text in (decisions.next, decisions.weakest_slice) if text)
    if last:
        out.print(tables.markup(last))
    noise = view.comparison.noise if view.comparison else {}
    shares = (noise.get("seed_share"), noise.get("item_share"))
    if shares[0] is not None and shares[1] is not None:
        out.print(f"Noise: seeds {shares[0]:.0%}, items {shares[1]:.0%}.")
    if decisions.advice:
        out.print(tables.markup(decisions.advice))


def bounded(decisions: Decisions) -> bool:
    """Return whether all values of the metric are between 0 and 1, so that a hundredth is a point."""
    seen = [rung.mean for line in decisions.growth for rung in line.rungs if rung.mean is not None]
    return all(0 <= mean <= 1 for mean in seen)
