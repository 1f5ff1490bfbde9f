"""``harness compare``: every arm against the baseline, with intervals."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, StudyFile, print_json
from harness.cli.schemas import json_schema


def compare(
    study: StudyFile,
    store: StorePlace = DEFAULT_STORE,
    slices: Annotated[bool, typer.Option("--slices", help="also by slice of the suite, weakest first")] = False,
    json: AsJson = False,
    json_schema: Annotated[bool, json_schema("Comparison")] = False,
) -> None:
    """Compare each arm with the baseline: paired effects, two-level intervals, clean items, confirmation half.

    Exit code 1 when runs are missing: the others are compared, and the missing runs are named.
    """
    from harness.session import open_study

    found = open_study(study, store=store).answer()
    comparison = found.comparison
    if json:
        print_json(comparison.model_dump(mode="json"))
    else:
        from harness.terminal import effects, tables

        effects.show(comparison, tables.console(), slices)
    if not found.complete:
        print(found.progress, file=sys.stderr)
        sys.exit(1)
