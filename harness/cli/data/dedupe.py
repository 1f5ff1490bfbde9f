"""``harness data dedupe``: which rows of a file repeat an earlier one, without a study."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli.arguments import AsJson, print_json

if TYPE_CHECKING:
    from harness.data.fields import Template

SHOWN = 5  # of the largest clusters
EXCERPT = 80  # characters
LISTED = 1000  # bad rows in --json; all are counted


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
    from harness.data import duplicates as engine
    from harness.data import files

    _check(given, {"--out": out, "--clusters": clusters}, method, threshold)
    threshold = engine.THRESHOLDS.get(method) if threshold is None else threshold
    with _progress() as tell:
        ids, texts, bad, layout = _texts(given, field, on_bad_row, tell)
        first = engine.clusters(texts, method, threshold, tell("Comparing")).to_list()
        listed = ({"id": name, "cluster": ids[to]} for name, to in zip(ids, first, strict=True))
        files.write(listed, clusters, to_look_at=True)
        rows = (record.value for record in files.records(given) if record.place not in bad)
        kept = files.write((row for at, (row, to) in enumerate(zip(rows, first, strict=True)) if row and at == to), out)
    sizes = Counter(first)
    summary = {
        "rows": len(ids),
        "kept": kept,
        "dropped": len(ids) - kept,
        "bad": len(bad),
        "bad_rows": [{"place": place, "reason": reason} for place, reason in islice(bad.items(), LISTED)],
        "compared": list(layout.fields.values()),
        "left_out": layout.left_out,
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


@dataclass
class _Layout:
    """How rows are compared: by which fields, and what of them is not."""

    fields: dict[str, str]
    templates: dict[str, Template]
    left_out: list[str]


def _texts(
    path: Path, field: str | None, on_bad_row: str, tell: Callable[[str], Callable[[int, int], None]]
) -> tuple[list[Any], list[str], dict[str, str], _Layout]:
    """Return each row's id (its place where it has none), what is compared, and place and reason of each bad row.

    Raises:
        RequestError: The file cannot be read, or has no rows; or one of them is broken or lacks the text.
    """
    from harness.data import files
    from harness.data.fields import BadRow
    from harness.errors import RequestError
    from harness.packing import printable

    ids: list[Any] = []
    texts: list[str] = []
    bad: dict[str, str] = {}
    layout = _layout(path, field)
    report = tell("Reading")
    for record in files.records(path):
        try:
            if record.value is None:
                raise BadRow(record.problem)
            texts.append(_text(record.value, layout.templates))
        except BadRow as error:
            reason = printable(str(error))
            if on_bad_row == "stop":
                raise RequestError(
                    f"{record.place}: {reason}. Nothing was written; --on-bad-row drop leaves such rows out."
                ) from error
            bad[record.place] = reason
            continue
        name = record.value.get("id")
        ids.append(record.place if name is None else name)
        if not len(ids) % 10_000:
            report(len(ids), 0)
    if not ids:
        place, reason = next(iter(bad.items()), ("", ""))
        why = f"{path}: all {len(bad):,} rows are bad; the first, {place}: {reason}" if bad else f"{path} has no rows"
        raise RequestError(f"--in: {why}. Nothing was written.")
    return ids, texts, bad, layout


def _layout(path: Path, field: str | None) -> _Layout:
    """Return how a row's text is made: of a column as it is, or of the canonical fields of a layout that is known."""
    from harness.data import fields, files, layouts
    from harness.errors import RequestError, did_you_mean

    places: list[str] = []

    def sound() -> Iterator[dict[str, Any]]:
        for record in files.records(path):
            if record.value:
                places.append(record.place)
                yield record.value

    sample = layouts.telling(sound())
    if not sample:
        return _Layout({}, {}, [])
    values = layouts.columns_of(sample)
    declared: dict[str, str] = {}
    if field in values:
        some = next((value for value in values[field] if value is not None), None)
        declared = {"messages" if isinstance(some, list) else "text": field}
    try:
        templates = fields.declared("in", declared, list(sample[0]), places[0], sample=sample)
    except RequestError as error:
        said = str(error).split(" Declare ")[0]
        raise RequestError(f"{said} Name the column to compare with --field.") from error
    if field is not None and not declared:
        if field not in templates:
            hint = did_you_mean(field, {*values, *templates})
            raise RequestError(f'--field: the rows of {places[0]} have no column or field "{field}".{hint}')
        templates = {field: templates[field]}
    shown = {name: template.written for name, template in templates.items() if name != "good"}
    return _Layout(shown, templates, layouts.left_out(shown, (), values))


def _text(record: Mapping[str, Any], templates: Mapping[str, Template]) -> str:
    from harness.data.fields import BadRow, canonical, compared
    from harness.data.rows import row_text

    templates = {name: template for name, template in templates.items() if name != "good"}
    try:
        if templates.keys() & {"messages", "rejected"}:
            return row_text(canonical(record, templates))
        return "\n".join(template.render(record) for template in templates.values())
    except BadRow:  # it need not be a row that can be trained on
        return compared(record, templates)


def _print(summary: Mapping[str, Any]) -> None:
    from harness.terminal import tables

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
    if summary["bad"]:
        first = summary["bad_rows"][0]
        lost = f"{tables.plural(summary['bad'], 'row')} left out, which cannot be compared; the first, "
        out.print(tables.markup(f"{lost}{first['place']}: {first['reason']}"))
    if summary["left_out"]:
        compared = ", ".join(map(repr, summary["compared"]))
        out.print(tables.markup(f"Compared: {compared}; not compared: {', '.join(summary['left_out'])}"))
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
