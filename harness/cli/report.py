"""``harness report``: a study as one page to send around."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, StudyFile, note
from harness.cli.schemas import json_schema

Format = Literal["html", "md", "json"]


def report(
    study: StudyFile,
    store: StorePlace = DEFAULT_STORE,
    format: Annotated[
        Format | None, typer.Option("--format", help="html (a page), md (for a pull request) or json [default: html]")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="file to write (default: ./<study>-report.html; md and json go to standard output)"),
    ] = None,
    json: AsJson = False,
    json_schema: Annotated[bool, json_schema("Report", "harness.report.model")] = False,
) -> None:
    """Write the study as one page: verdicts, trust, effects, what to grow, slices, examples, data, how to reproduce.

    The page needs no network and runs no script. Without finished runs it shows what is known so far.

    Exit code 1 when runs are missing: the report then says so.
    """
    from harness.errors import RequestError
    from harness.session import open_study
    from harness.session.answer import write

    if json and format not in (None, "json"):
        raise RequestError(f"--json: --format {format} was asked for too; give one of them")
    kind: Format = "json" if json else format or "html"
    if out is not None and not out.absolute().parent.is_dir():
        raise RequestError(f"--out: {out}: there is no folder {out.parent}")
    if out is not None and out.is_dir():
        raise RequestError(f"--out: {out} is a folder, expected a file")
    found = open_study(study, store=store).answer()
    text = found.text(kind)
    target = out or (Path(f"{found.view.study}-report.html") if kind == "html" else None)
    if target is None:
        sys.stdout.write(text)
    else:
        write(target, text, "--out: ")
        print(target)
    if not found.complete:
        note(found.progress)
        sys.exit(1)
