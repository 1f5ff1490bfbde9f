"""How a comparison of any tool's scores is shown: what to know first, then the verdicts."""

from __future__ import annotations

from rich.console import Console

from harness import formats
from harness.records import ArmEffect, ScoreComparison
from harness.terminal import tables


def title(found: ScoreComparison) -> str:
    """Return what was compared with what, and how much of it there is."""
    size = f"{formats.plural(len(found.seeds), 'seed')} x {formats.plural(found.items, 'item')}"
    groups = f" in {formats.plural(found.groups, 'group')}" if found.groups else ""
    return f"{found.scores} · baseline {found.baseline} {found.baseline_mean:.3f} · {size}{groups}"


def columns(found: ScoreComparison) -> list[tuple[str, str]]:
    """Return the headings of ``rows``, and on which side their cells stand."""
    return [
        ("Arm", "left"), ("Verdict", "left"), (f"Effect ({1 - found.alpha:.0%} interval)", "left"),
        ("p (Holm)", "right"), ("unpaired z says", "right"), ("items-only t says", "right"), ("Why", "left"),
    ]  # fmt: skip


def rows(found: ScoreComparison) -> list[list[str]]:
    """Return a line for each arm: its verdict, its effect, what the usual tests would have said, and why."""
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
    """Return what the noise of a difference is made of; nothing where one seed tells only of items."""
    share = found.noise.get("seed_share")
    if share is None:
        return ""
    sds = (("seed_sd", "seed"), ("item_sd", "item"), ("residual_sd", "residual"))
    split = ", ".join(f"{name} SD {found.noise[key]:.3f}" for key, name in sds if found.noise.get(key) is not None)
    return f"seeds {share:.0%}, items {1 - share:.0%} ({split})"


def show(found: ScoreComparison, out: Console) -> None:
    """Print what to know first, then the verdicts, what the usual tests would have said, and the slices."""
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


def pair(found: ArmEffect) -> list[tuple[str, str]]:
    """Return the comparison of two arms in lines: a heading and what is said."""
    lines = [
        ("Effect", formats.effect(found.effect, found.ci)),
        ("p", formats.probability(found.p)),
        ("On", f"{formats.plural(found.seeds, 'seed')} x {formats.plural(found.items, 'item')}"),
    ]
    return [*lines, ("Note", found.note)] if found.note else lines
