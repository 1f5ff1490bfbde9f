"""``harness grow``: what to buy with a budget, and the ladders that would tell where the results cannot."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, StudyFile, note, print_json
from harness.cli.schemas import json_schema


def grow(
    study: StudyFile,
    budget: Annotated[float, typer.Option("--budget", help="the most that all rows may cost together")],
    unit: Annotated[
        Literal["money", "rows", "tokens"],
        typer.Option("--unit", help="what the budget counts; money needs `cost_per_row` of the sources"),
    ] = "money",
    supply: Annotated[
        list[str] | None,
        typer.Option(
            "--supply",
            metavar="SOURCE=ROWS",
            help="rows that can be had of a source; default: its pool's rest",
        ),
    ] = None,
    store: StorePlace = DEFAULT_STORE,
    json: AsJson = False,
    json_schema: Annotated[bool, json_schema("Allocation")] = False,
) -> None:
    """Say how many more rows of which source to buy with a budget, and what they are expected to gain.

    By the learning curves of the sources' ladders, never beyond twice a ladder's largest rung. Intervals cover 1 -
    `alpha` of the study. Where the curves cannot tell, the rungs that would tell are printed, ready to paste.

    Exit code 1 when runs are missing.
    """
    from harness.errors import RequestError
    from harness.session import open_study

    rows = dict(_supply(each) for each in supply or [])
    try:
        found = open_study(study, store=store).grow(budget, unit=unit, supply=rows)
    except RequestError as error:
        asked = str(error).split(":")[0]
        raise RequestError(f"--{error}" if asked in ("budget", "unit", "supply") else str(error)) from error
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        from harness.terminal import growing, tables

        growing.show(found, tables.console())
    if not found.complete:
        note(found.progress)
        sys.exit(1)


def _supply(text: str) -> tuple[str, int]:
    """Return source and rows of ``SOURCE=ROWS``."""
    from harness.errors import RequestError

    name, _, rows = text.rpartition("=")
    if not name or not rows.isdecimal():
        raise RequestError(f'--supply: "{text}" is not SOURCE=ROWS, such as forum=1000')
    return name, int(rows)
