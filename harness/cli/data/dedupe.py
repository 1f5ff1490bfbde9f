"""``harness data dedupe``: which rows of a file repeat an earlier one, without a study."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli.arguments import AsJson, print_json

if TYPE_CHECKING:
    from harness.data.fields import Template
    from harness.data.files import Record

SHOWN = 5  # of the largest clusters
EXCERPT = 80  # characters


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
    json: AsJson = False,
) -> None:
    """Drop rows that repeat an earlier row, and list which row repeats which."""
    from harness.data import dedupe as engine
    from harness.data import files

    _check(given, {"--out": out, "--clusters": clusters}, method, threshold)
    threshold = engine.THRESHOLDS.get(method) if threshold is None else threshold
    with _progress() as tell:
        ids, texts = _texts(given, field, tell)
        first = engine.clusters(texts, method, threshold, tell("Comparing")).to_list()
        listed = ({"id": name, "cluster": ids[to]} for name, to in zip(ids, first, strict=True))
        files.write(listed, clusters, to_look_at=True)
        rows = zip(files.records(given), first, strict=True)
        kept = files.write((row.value for at, (row, to) in enumerate(rows) if row.value is not None and at == to), out)
    sizes = Counter(first)
    summary = {
        "rows": len(ids),
        "kept": kept,
        "dropped": len(ids) - kept,
        "repeated": sum(size > 1 for size in sizes.values()),
        "method": method,
        "threshold": threshold,
        "largest": [
            {"cluster": ids[to], "rows": size, "excerpt": " ".join(texts[to][: 4 * EXCERPT].split())[:EXCERPT]}
            for to, size in sizes.most_common(SHOWN)
            if size > 1
        ],
        "out": str(out),
        "clusters": str(clusters),
    }
    if json:
        print_json(summary)
    else:
        _print(summary)


def _check(given: Path, written: Mapping[str, Path], method: str, threshold: float | None) -> None:
    """Refuse what cannot come out right, before anything is read."""
    from harness import outside
    from harness.errors import RequestError
    from harness.packing import FORMATS, format_of

    if threshold == 0 or (threshold is not None and method == "exact"):
        why = "exact needs none; it goes with --method near or semantic" if threshold else "expected more than 0"
        raise RequestError(f"--threshold: {why}")
    taken = {outside.real(given): "--in"}
    for option, path in written.items():
        if outside.real(path) in taken:
            raise RequestError(f"{option}: {path} is {taken[outside.real(path)]} as well; it would be overwritten")
        if format_of(path) not in FORMATS or not path.absolute().parent.is_dir():
            raise RequestError(f"{option}: {path}: expected a file in an existing folder, ending in .jsonl or .parquet")
        taken[outside.real(path)] = option


def _texts(
    path: Path, field: str | None, tell: Callable[[str], Callable[[int, int], None]]
) -> tuple[list[Any], list[str]]:
    """Return each row's id (its place where it has none) and what is compared.

    Raises:
        RequestError: The file cannot be read, or has no rows; or one of them is broken or lacks the text.
    """
    from harness.data import files
    from harness.data.fields import BadRow
    from harness.errors import RequestError

    ids: list[Any] = []
    texts: list[str] = []
    templates: dict[str, Template] | None = None
    report = tell("Reading")
    for record in files.records(path):
        try:
            if record.value is None:
                raise BadRow(record.problem)
            templates = templates or _templates(record, field)
            texts.append(_text(record.value, templates))
        except BadRow as error:
            raise RequestError(f"{record.place}: {error}. Nothing was written.") from error
        name = record.value.get("id")
        ids.append(record.place if name is None else name)
        if not len(ids) % 10_000:
            report(len(ids), 0)
    if not ids:
        raise RequestError(f"--in: {path} has no rows. Nothing was written.")
    return ids, texts


def _templates(record: Record, field: str | None) -> dict[str, Template]:
    """Return how a row's text is made: of a column as it is, or of the canonical fields of a layout that is known."""
    from harness.data import fields
    from harness.errors import RequestError, did_you_mean

    assert record.value is not None
    columns = list(record.value)
    if field in columns:
        kind = "messages" if isinstance(record.value[field], list) else "text"
        return fields.declared("in", {kind: field}, columns, record.place)
    try:
        templates = fields.declared("in", {}, columns, record.place)
    except RequestError as error:
        said = str(error).split(" Declare ")[0]
        raise RequestError(f"{said} Name the column to compare with --field.") from error
    if field is None:
        return templates
    if field not in templates:
        hint = did_you_mean(field, {*columns, *templates})
        raise RequestError(f'--field: the rows of {record.place} have no column or field "{field}".{hint}')
    return {field: templates[field]}


def _text(record: Mapping[str, Any], templates: Mapping[str, Template]) -> str:
    from harness.data.fields import canonical
    from harness.data.rows import row_text

    if {"messages", "rejected"} & set(templates):
        return row_text(canonical(record, templates))
    return "\n".join(template.render(record) for template in templates.values())


def _print(summary: Mapping[str, Any]) -> None:
    from harness.cli import tables

    out = tables.console()
    if summary["largest"]:
        columns = [("Largest clusters", "left"), ("Rows", "right"), ("First row", "left")]
        lines = [(str(each["cluster"]), f"{each['rows']:,}", each["excerpt"]) for each in summary["largest"]]
        out.print(tables.table(columns, lines))
    how = summary["method"] if summary["threshold"] is None else f"{summary['method']}, {summary['threshold']:g}"
    out.print(
        f"{summary['dropped']:,} of {tables.plural(summary['rows'], 'row')} repeat an earlier one ({how}), in "
        f"{tables.plural(summary['repeated'], 'cluster')}; {summary['kept']:,} stay."
    )
    out.print(f"Rows that stay: {tables.markup(summary['out'])}")
    out.print(f"Clusters: {tables.markup(summary['clusters'])}")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Show how far each stage is, where there is a terminal to show it on."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:

        def stage(name: str) -> Callable[[int, int], None]:
            task = shown.add_task(name, total=None)
            return lambda done, total: shown.update(task, completed=done, total=total or None)

        yield stage
