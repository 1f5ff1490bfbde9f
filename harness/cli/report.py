"""``harness report``: a study as one page to send around."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, StudyFile, note, open_plan, write_data
from harness.cli.schemas import json_schema
from harness.cli.working import working

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

    The page needs no network and runs no script. Before any run is done it says what is known so far.

    Exit code 1 when runs are missing: the report then says so.
    """
    from harness import answer
    from harness.errors import RequestError
    from harness.report import gather, html, markdown

    if json and format not in (None, "json"):
        raise RequestError(f"--json: --format {format} was asked for too; give one of them")
    kind: Format = "json" if json else format or "html"
    if out is not None and not out.absolute().parent.is_dir():
        raise RequestError(f"--out: {out}: there is no folder {out.parent}")
    if out is not None and out.is_dir():
        raise RequestError(f"--out: {out} is a folder, expected a file")
    made = open_plan(study, store)
    write_data(made)
    with working("Comparing") as show:
        view = answer.view(made)
        show("Writing the report")
        gathered = gather(made, view)
        if kind == "json":
            text = gathered.model_dump_json(indent=1) + "\n"
        else:
            text = html(gathered) if kind == "html" else markdown(gathered)
    target = out or (Path(f"{made.study.study}-report.html") if kind == "html" else None)
    if target is None:
        sys.stdout.write(text)
    else:
        _write(target, text)
        print(target)
    if not answer.complete(made):
        note(answer.progress(made))
        sys.exit(1)


def _write(target: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    from harness.errors import RequestError

    scratch = target.with_name(f".{target.name}.partial")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(target)
    except OSError as error:
        raise RequestError(f"--out: {target} cannot be written ({error.strerror})") from error
