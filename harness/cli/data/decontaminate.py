"""``harness data decontaminate``: finds rows of one file that hold items of another, without a study."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harness.cli.arguments import AsJson, print_json


def decontaminate(
    train: Annotated[Path, typer.Option("--train", help="training rows: any layout and format a source may have")],
    evals: Annotated[
        Path, typer.Option("--eval", help="items: id, task, text (or question), answer, choices; or rows of any layout")
    ],
    out: Annotated[Path, typer.Option("--out", help="write every overlap: train_id, eval_id, kind, score, span")],
    clean: Annotated[
        Path | None, typer.Option("--clean", help="write the rows that are kept, with all their columns")
    ] = None,
    ngram: Annotated[int, typer.Option("--ngram", min=3, max=50, help="consecutive words that show an overlap")] = 13,
    fuzzy: Annotated[
        float, typer.Option("--fuzzy", min=0, max=1, help="share of an item that an edited copy keeps; 0: off")
    ] = 0.6,
    templates: Annotated[
        Literal["keep", "drop"], typer.Option("--templates", help="rows that ask the same with other numbers or names")
    ] = "keep",
    semantic: Annotated[
        float | None,
        typer.Option(
            "--semantic",
            min=0,
            max=1,
            show_default="0.7 for fewer than 2,000 items",
            help="cosine from which a row that says an item's answer is a paraphrase; 0: off",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """List the training rows that hold eval items, and write the others to a file of their own."""
    from harness import outside
    from harness.data import files, leaks
    from harness.data.given import Given
    from harness.errors import Asked, RequestError
    from harness.spec import Decontaminate
    from harness.unpacking import FORMATS, format_of

    given = {outside.real(train): "--train", outside.real(evals): "--eval"}
    for option, path in (("--out", out), ("--clean", clean)):
        if path is None:
            continue
        if outside.real(path) in given:
            raise RequestError(f"{option}: {path} is {given[outside.real(path)]} as well; it would be overwritten")
        if format_of(path) not in FORMATS or not path.absolute().parent.is_dir():
            raise RequestError(f"{option}: {path}: expected a file in an existing folder, ending in .jsonl or .parquet")
        given[outside.real(path)] = option
    by_meaning = "auto" if semantic is None else semantic or None
    rule = Decontaminate(ngram=ngram, fuzzy=fuzzy or None, templates=templates, semantic=by_meaning)
    asked = Asked({"rows": "--train", "items": "--eval"}, "Nothing was written")
    rows = Given.of(train, "--train")
    with _progress() as tell:
        found = leaks.find(rows, Given.of(evals, "--eval"), rule, asked, tell)
    stays = found.stays()
    files.write(found.lines(), out, to_look_at=True)
    if clean is not None:
        kept = zip(rows.records(), stays, strict=True)
        files.write((record.value for record, stay in kept if stay and record.value is not None), clean)
    summary = found.summary() | {"rule": found.rule.identity(), "flags": str(out)}
    summary |= {"kept": sum(stays), "clean": None if clean is None else str(clean)}
    if json:
        print_json(summary)
    else:
        _print(summary)


def _print(summary: dict[str, Any]) -> None:
    from harness.data.leaks import sentences
    from harness.terminal import tables

    out = tables.console()
    if summary["kinds"]:
        columns = [("Kind", "left"), ("Rows", "right"), ("Items", "right"), ("", "left")]
        lines = [
            (kind, f"{n['rows']:,}", f"{n['items']:,}", "" if n["removed"] else "kept (--templates drop removes them)")
            for kind, n in summary["kinds"].items()
        ]
        out.print(tables.table(columns, lines))
    for sentence in sentences(summary):
        out.print(tables.markup(sentence))
    for what, path in (("Overlaps", summary["flags"]), ("Rows that stay", summary["clean"])):
        if path is not None:
            out.print(f"{what}: {tables.markup(path)}")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show the progress of the search in a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("Comparing rows with items", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
