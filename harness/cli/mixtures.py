"""``harness mixtures``: the harness's model of mixtures, for a study and for tables of any other tool."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, StudyFile, note, print_json, shown_store
from harness.cli.schemas import json_schema
from harness.terminal.working import working

app = typer.Typer(no_args_is_help=True, help="Predict scores of mixtures from mixtures that were trained.")
TABLE = "csv, jsonl or parquet; "


@app.callback()
def mixtures() -> None:
    """Predict scores of mixtures from mixtures that were trained."""


@app.command("fit")
def fit(
    mixtures: Annotated[Path, typer.Option(help=TABLE + "a row per mixture, a column per source: its weight")],
    scores: Annotated[Path, typer.Option(help=TABLE + "a row per mixture, a column per target")],
    target: Annotated[
        list[str] | None, typer.Option(help="column of the scores; may be given again (default: every one)")
    ] = None,
    propose: Annotated[bool, typer.Option("--propose", help="propose the mixture to try next")] = False,
    lower_is_better: Annotated[bool, typer.Option("--lower-is-better", help="targets are losses")] = False,
    index: Annotated[
        str | None, typer.Option(help="column of both tables that numbers rows (default: found, else order counts)")
    ] = None,
    test_mixtures: Annotated[
        Path | None, typer.Option("--test-mixtures", help="mixtures not fitted to, to be predicted")
    ] = None,
    test_scores: Annotated[Path | None, typer.Option("--test-scores", help="their scores")] = None,
    json: AsJson = False,
    json_schema: Annotated[bool, json_schema("MixtureFits")] = False,
) -> None:
    """Fit scores to the weights of mixtures; the model that predicts left-out mixtures best is taken.

    INCONCLUSIVE, and no proposal, where mixtures are fewer than sources, or weights tell nothing about scores.
    """
    from harness.errors import Asked
    from harness.stats.mixtures import fitted
    from harness.terminal import mixtures as shown
    from harness.terminal import tables

    names = ("mixtures", "scores", "target", "index", "test_mixtures", "test_scores")
    asked = Asked({name: "--" + name.replace("_", "-") for name in names})
    with working(f"Fitting {scores.name}"):
        tests = (test_mixtures, test_scores)
        found = fitted(mixtures, scores, target or [], propose, lower_is_better, index, tests, asked)
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        shown.show(found, tables.console())


@app.command("confirm")
def confirm(
    study: StudyFile,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="the most seeds; looks from 2 on end it where they can (default: 5)")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="the study to write, in the same folder (default: STUDY-confirm.yaml)")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="replace the file if it is there")] = False,
    store: StorePlace = DEFAULT_STORE,
    json: AsJson = False,
    json_schema: Annotated[bool, json_schema("Confirmation")] = False,
) -> None:
    """Write the study that tests the mixture which a study's trained mixtures propose.

    The proposal becomes an ordinary arm against the same baseline, with seeds that nothing has used: the best of many
    predictions is optimistic, and only a run can confirm it.

    Exit code 1 when runs are missing, or the mixtures tell too little to propose one.
    """
    from harness.session import open_study
    from harness.terminal import mixtures as shown
    from harness.terminal import tables

    found = open_study(study, store=store).confirm(out, seeds=seeds, force=force)
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        shown.show_confirmation(found, tables.console(), shown_store(store))
    if not found.complete:
        note(found.progress)
        sys.exit(1)
