"""``harness data dedupe``: finds rows of a file that repeat an earlier row, without a study."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harness.cli.arguments import AsJson, print_json

OPTIONS = {
    "rows": "--in", "method": "--method", "threshold": "--threshold", "field": "--field", "on_bad_row": "--on-bad-row",
}  # fmt: skip


def dedupe(
    given: Annotated[Path, typer.Option("--in", help="rows: any layout and format a source may have")],
    out: Annotated[Path, typer.Option("--out", help="write the first row of each cluster, with all its columns")],
    clusters: Annotated[
        Path, typer.Option("--clusters", help="write id and cluster (its first row's id) of every row")
    ],
    method: Annotated[
        Literal["exact", "near", "semantic"],
        typer.Option("--method", help="the same words, nearly the same words, or the same meaning"),
    ] = "near",
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0, max=1, help="similarity of duplicates (near: 0.7, semantic: 0.9)"),
    ] = None,
    field: Annotated[
        str | None, typer.Option("--field", help="compare this column, or prompt, completion, ... (default: all text)")
    ] = None,
    on_bad_row: Annotated[
        Literal["stop", "drop"],
        typer.Option("--on-bad-row", help="stop at a row that cannot be compared, or leave it out and say so"),
    ] = "stop",
    json: AsJson = False,
) -> None:
    """Drop rows that repeat an earlier row, and list which row repeats which."""
    from harness.data import files, repeats
    from harness.data.given import Given
    from harness.errors import Asked

    asked = Asked(OPTIONS, "Nothing was written")
    repeats.check(method, threshold, asked)
    _check(given, {"--out": out, "--clusters": clusters})
    rows = Given.of(given, "--in")
    with _progress() as tell:
        found = repeats.find(rows, method, threshold, field, on_bad_row, asked, tell)
        files.write(found.clusters(), clusters, to_look_at=True)
        kept = zip(rows.records(), found.stays, strict=True)
        files.write((record.value for record, stays in kept if stays and record.value is not None), out)
    summary = found.summary() | {"out": str(out), "clusters": str(clusters)}
    if json:
        print_json(summary)
    else:
        _print(summary)


def _check(given: Path, written: Mapping[str, Path]) -> None:
    """Refuse output files that cannot be written, before anything is read."""
    from harness import outside
    from harness.errors import RequestError
    from harness.unpacking import FORMATS, format_of

    taken = {outside.real(given): "--in"}
    for option, path in written.items():
        if outside.real(path) in taken:
            raise RequestError(f"{option}: {path} is {taken[outside.real(path)]} as well; it would be overwritten")
        if format_of(path) not in FORMATS or not path.absolute().parent.is_dir():
            raise RequestError(f"{option}: {path}: expected a file in an existing folder, ending in .jsonl or .parquet")
        taken[outside.real(path)] = option


def _print(summary: Mapping[str, Any]) -> None:
    from harness.data.repeats import sentences
    from harness.terminal import tables

    out = tables.console()
    if summary["largest"]:
        columns = [("Largest clusters", "left"), ("Rows", "right"), ("First row", "left")]
        lines = [(str(each["cluster"]), f"{each['rows']:,}", each["excerpt"]) for each in summary["largest"]]
        out.print(tables.table(columns, lines))
    for sentence in sentences(summary):
        out.print(tables.markup(sentence))
    out.print(f"Rows that stay: {tables.markup(summary['out'])}")
    out.print(f"Clusters: {tables.markup(summary['clusters'])}")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Show the progress of each stage in a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:

        def stage(name: str) -> Callable[[int, int], None]:
            task = shown.add_task(name, total=None)
            return lambda done, total: shown.update(task, completed=done, total=total or None)

        yield stage
