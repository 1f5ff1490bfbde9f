"""Prints a comparison of any tool's scores: remarks first, then the verdicts."""

from __future__ import annotations

from rich.console import Console

from harness import formats
from harness.records import ArmEffect, ScoreComparison
from harness.terminal import tables


def title(found: ScoreComparison) -> str:
    """Return the title: the arms, the baseline, and the numbers of seeds and items."""
    size = f"{formats.plural(len(found.seeds), 'seed')} x {formats.plural(found.items, 'item')}"
    groups = f" in {formats.plural(found.groups, 'group')}" if found.groups else ""
    return f"{found.scores} · baseline {found.baseline} {found.baseline_mean:.3f} · {size}{groups}"


def columns(found: ScoreComparison) -> list[tuple[str, str]]:
    """Return the headings of ``rows``, each with its justification."""
    return [
        ("Arm", "left"), ("Verdict", "left"), (f"Effect ({1 - found.alpha:.0%} interval)", "left"),
        ("p (Holm)", "right"), ("unpaired z says", "right"), ("items-only t says", "right"), ("Why", "left"),
    ]  # fmt: skip


def rows(found: ScoreComparison) -> list[list[str]]:
    """Return a line for each arm: its verdict, its effect, the p values of the usual tests, and the reason."""
    return [
        [
            arm.arm + (" (noisier)" if arm.noisier else ""),
            arm.verdict,
            formats.effect(arm.effect, arm.ci),
            formats.probability(arm.p_adjusted),
            formats.probability(arm.naive_z_p),
            formats.probability(arm.naive_t_p),
            arm.reason + (f"; {arm.resolve}" if arm.resolve else ""),
        ]
        for arm in found.arms
    ]


def noise(found: ScoreComparison) -> str:
    """Return what the noise of a difference consists of; empty with one seed, which shows only noise of items."""
    share = found.noise.get("seed_share")
    if share is None:
        return ""
    sds = (("seed_sd", "seed"), ("item_sd", "item"), ("residual_sd", "residual"))
    split = ", ".join(f"{name} SD {found.noise[key]:.3f}" for key, name in sds if found.noise.get(key) is not None)
    return f"seeds {share:.0%}, items {1 - share:.0%} ({split})"


def show(found: ScoreComparison, out: Console) -> None:
    """Print remarks, then the verdicts with the p values of the usual tests, then the slices."""
    out.print(f"[bold]{tables.markup(title(found))}[/bold]")
    for note in found.notes:
        out.print("Note: " + tables.markup(note))
    out.print()
    lines = []
    for cells in rows(found):
        style = tables.VERDICT_STYLE[cells[1]]
        lines.append([tables.markup(cells[0]), f"[{style}]{cells[1]}[/{style}]", *map(tables.markup, cells[2:])])
    out.print(tables.table(columns(found), lines, escaped=False))
    out.print()
    tables.show_slices(out, found.slices)
    if split := noise(found):
        out.print(f"Noise of a difference: {split}")


def facts(found: ArmEffect) -> list[tuple[str, str]]:
    """Return the comparison of two arms in lines: a heading and a text each."""
    lines = [
        ("Effect", formats.effect(found.effect, found.ci)),
        ("p", formats.probability(found.p)),
        ("On", f"{formats.plural(found.seeds, 'seed')} x {formats.plural(found.items, 'item')}"),
    ]
    return [*lines, ("Note", found.note)] if found.note else lines
