"""``harness stats``: the harness's statistics for scores of any other tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.arguments import AsJson, print_json
from harness.cli.schemas import json_schema
from harness.terminal.working import working

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
    """Compare each arm with the baseline, paired by seed and item; higher scores are better.

    Every arm needs the same seeds and items. Items of one group are right or wrong together (questions on one text).
    """
    from harness import stats
    from harness.errors import Asked
    from harness.terminal import scores as scores_table
    from harness.terminal import tables

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
        scores_table.show(found, tables.console())
