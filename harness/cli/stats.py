"""``harness stats``: the house's statistics on scores of any other tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import formats
from harness.cli.arguments import AsJson, print_json
from harness.cli.schemas import json_schema
from harness.terminal.working import working

if TYPE_CHECKING:
    from harness.records import ScoreComparison

app = typer.Typer(no_args_is_help=True, help="Judge scores of any other tool: paired, with seed and item noise.")


@app.callback()
def stats() -> None:
    """Judge scores of any other tool: paired, with seed and item noise."""


@app.command("compare")
def compare(
    scores: Annotated[
        Path, typer.Option(help="csv, jsonl or parquet with the columns arm, seed, item, score[, group, slice]")
    ],
    baseline: Annotated[str, typer.Option(help="the arm the others are compared with")] = "baseline",
    alpha: Annotated[float, typer.Option(help="family-wise level of the verdicts")] = 0.05,
    smallest_effect: Annotated[
        float | None, typer.Option("--smallest-effect", help="effects below this do not matter in practice")
    ] = None,
    json: AsJson = False,
    json_schema: Annotated[bool, json_schema("ScoreComparison")] = False,
) -> None:
    """Compare each arm with the baseline: paired by seed and item, higher scores being better.

    Every arm needs the same seeds and items. Items of one group stand or fall together (questions on one text).
    """
    from harness import stats
    from harness.errors import Asked

    options = {
        "scores": "--scores",
        "baseline": "--baseline",
        "alpha": "--alpha",
        "smallest_effect": "--smallest-effect",
    }
    with working(f"Reading {scores.name}"):
        found = stats.judged(scores, baseline, alpha, smallest_effect, Asked(options))
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        show(found)


def show(found: ScoreComparison) -> None:
    """Print what to know first, then the verdicts, what the usual tests would have said, and the slices."""
    from harness.terminal import tables

    out = tables.console()
    size = f"{formats.plural(len(found.seeds), 'seed')} x {formats.plural(found.items, 'item')}"
    groups = f" in {formats.plural(found.groups, 'group')}" if found.groups else ""
    title = f"{tables.markup(found.scores)} · baseline {tables.markup(found.baseline)} {found.baseline_mean:.3f}"
    out.print(f"[bold]{title}[/bold] · {size}{groups}")
    for note in found.notes:
        out.print("Note: " + tables.markup(note))
    out.print()
    rows = []
    for arm in found.arms:
        style = tables.VERDICT_STYLE[arm.verdict]
        rows.append(
            [
                tables.markup(arm.arm) + (" (noisier)" if arm.noisier else ""),
                f"[{style}]{arm.verdict}[/{style}]",
                formats.effect(arm.effect, arm.ci),
                formats.probability(arm.p_adjusted),
                formats.probability(arm.naive_z_p),
                formats.probability(arm.naive_t_p),
                tables.markup(arm.reason + (f"; {arm.resolve}" if arm.resolve else "")),
            ]
        )
    columns = [
        ("Arm", "left"), ("Verdict", "left"), (f"Effect ({1 - found.alpha:.0%} interval)", "left"),
        ("p (Holm)", "right"), ("unpaired z says", "right"), ("items-only t says", "right"), ("Why", "left"),
    ]  # fmt: skip
    out.print(tables.table(columns, rows, escaped=False))
    out.print()
    tables.show_slices(out, found.slices)
    share = found.noise.get("seed_share")
    if share is not None:
        sds = (("seed_sd", "seed"), ("item_sd", "item"), ("residual_sd", "residual"))
        split = ", ".join(f"{name} SD {found.noise[key]:.3f}" for key, name in sds if found.noise.get(key) is not None)
        out.print(f"Noise of a difference: seeds {share:.0%}, items {1 - share:.0%} ({split})")
