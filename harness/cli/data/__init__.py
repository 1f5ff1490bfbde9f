"""``harness data``: look at rows, and clean them, with or without a study. One file per verb."""

from __future__ import annotations

import typer

from harness.cli.data import card, decontaminate, dedupe, show

app = typer.Typer(no_args_is_help=True, help="Look at the data of a study; decontaminate and dedupe any file.")
app.command("card")(card.card)
app.command("show")(show.show)
app.command("decontaminate")(decontaminate.decontaminate)
app.command("dedupe")(dedupe.dedupe)
