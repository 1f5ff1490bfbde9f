"""``harness decide``: the verdicts, below the trust line."""

from __future__ import annotations

import sys
from typing import Annotated

from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, StudyFile, print_json
from harness.cli.schemas import json_schema


def decide(
    study: StudyFile,
    store: StorePlace = DEFAULT_STORE,
    json: AsJson = False,
    json_schema: Annotated[bool, json_schema("Decisions")] = False,
) -> None:
    """Say which sources to GROW, HOLD or CUT and which treatments to ADOPT or REJECT, and why.

    Below the verdicts: which data to grow next and their gain, and where the model is weakest.

    Exit code 1 when runs are missing: the verdicts then say so.
    """
    from harness.session import open_study

    found = open_study(study, store=store).answer()
    decided = found.verdicts
    if json:
        print_json(decided.model_dump(mode="json"))
    else:
        from harness.terminal import tables, verdicts

        verdicts.show(found.view, tables.console())
    if not found.complete:
        print(found.progress, file=sys.stderr)
        sys.exit(1)
