"""``harness data decontaminate``: which rows of a file hold items of another, without a study."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli.arguments import AsJson, print_json

if TYPE_CHECKING:
    import polars as pl

QUESTIONS = ("text", "question")  # columns of an eval file that are the item's question as it stands


def decontaminate(
    train: Annotated[Path, typer.Option("--train", help="training rows: any layout and format a source may have")],
    evals: Annotated[
        Path, typer.Option("--eval", help="items: id, task, text (or question), answer, choices; or rows of any layout")
    ],
    out: Annotated[Path, typer.Option("--out", help="write every overlap: train_id, eval_id, kind, score, span")],
    clean: Annotated[
        Path | None, typer.Option("--clean", help="write the rows that stay, with all their columns")
    ] = None,
    ngram: Annotated[int, typer.Option("--ngram", min=3, max=50, help="words in a row that are evidence")] = 13,
    fuzzy: Annotated[
        float, typer.Option("--fuzzy", min=0, max=1, help="share of an item that an edited copy keeps; 0: off")
    ] = 0.6,
    templates: Annotated[
        Literal["keep", "drop"], typer.Option("--templates", help="rows that ask the same with other numbers or names")
    ] = "keep",
    semantic: Annotated[
        float, typer.Option("--semantic", min=0, max=1, help="cosine from which a row is a paraphrase; 0: off")
    ] = 0.0,
    json: AsJson = False,
) -> None:
    """List the training rows that hold eval items, and write the others to a file of their own."""
    from harness import outside
    from harness.data import contamination as engine
    from harness.data import files
    from harness.errors import RequestError
    from harness.packing import FORMATS, format_of
    from harness.spec import Decontaminate

    given = {outside.real(train): "--train", outside.real(evals): "--eval"}
    for option, path in (("--out", out), ("--clean", clean)):
        if path is None:
            continue
        if outside.real(path) in given:
            raise RequestError(f"{option}: {path} is {given[outside.real(path)]} as well; it would be overwritten")
        if format_of(path) not in FORMATS or not path.absolute().parent.is_dir():
            raise RequestError(f"{option}: {path}: expected a file in an existing folder, ending in .jsonl or .parquet")
        given[outside.real(path)] = option
    rule = Decontaminate(ngram=ngram, fuzzy=fuzzy or None, templates=templates, semantic=semantic or None)
    items = _items(evals)
    rows = _rows(train)
    with _progress() as tell:
        found = engine.overlaps(rows, items, rule, tell)
    counted = engine.removable(found, rule)
    gone = rows["row_id"].is_in(counted["row_id"].unique().implode())
    files.write(_flags(rows, found, items), out, to_look_at=True)
    if clean is not None:
        kept = zip(files.records(train), gone, strict=True)
        files.write((record.value for record, drop in kept if not drop and record.value is not None), clean)
    summary = _summary(rows, items, found, counted) | {"rule": rule.identity(), "flags": str(out)}
    summary |= {"kept": rows.height - int(gone.sum()), "clean": None if clean is None else str(clean)}
    if json:
        print_json(summary)
    else:
        _print(summary)


def _rows(path: Path) -> pl.DataFrame:
    """Return the training rows as a study would read them."""
    from harness.data import files, sources
    from harness.errors import RequestError
    from harness.spec import Source

    files.records(path)  # says what is wrong with the file itself
    try:
        return sources.load("train", Source(path=path.name, operations=()), path.absolute().parent).rows
    except RequestError as error:  # there is no study here to declare anything in
        said = str(error).replace(" Declare sources.train.fields:", " Rename them:").replace("sources.train", "--train")
        raise RequestError(said.replace(", or set --train.on_bad_row: drop.", ".")) from error


def _items(path: Path) -> pl.DataFrame:
    """Return the eval items, as a suite has them."""
    import polars as pl

    from harness.data import files
    from harness.data.fields import BadRow
    from harness.errors import RequestError

    items: list[dict[str, Any]] = []
    ids: set[str] = set()
    for record in files.records(path):
        try:
            if record.value is None:
                raise BadRow(record.problem)
            item = _item(record.value, record.place) | {"index": len(items)}
        except BadRow as error:
            raise RequestError(f"{record.place}: {error}. Nothing was written.") from error
        if item["item_id"] in ids:
            raise RequestError(f'{record.place}: the id "{item["item_id"]}" is there twice. Nothing was written.')
        ids.add(item["item_id"])
        items.append(item | {"task": item["task"] or path.name.split(".")[0]})
    if not items:
        raise RequestError(f"{path}: holds no items. Nothing was written.")
    table = pl.DataFrame(items, schema_overrides={"choices": pl.List(pl.String)})
    return table.with_columns(subtask=pl.col("task"))


def _item(record: dict[str, Any], place: str) -> dict[str, Any]:
    from harness.data import fields
    from harness.data.fields import BadRow

    choices = _texts(record.get("choices"), "choices")
    answer = record.get("answer")
    label = record.get("label")
    if answer is None and choices and isinstance(label, int) and 0 <= label < len(choices):
        answer = choices[label]
    asked = next((name for name in QUESTIONS if name in record), None)
    if asked is not None:
        question = _text(record[asked], asked)
    else:
        row = fields.canonical(record, fields.declared("eval", {}, list(record), place))
        question = row.get("prompt") or row.get("text") or _said(row.get("messages"))
        answer = row.get("completion") if answer is None else answer
    answered = _text(answer, "answer")
    if not question.strip() and not answered.strip():
        raise BadRow("neither a question nor an answer")
    return {
        "item_id": place if record.get("id") is None else _text(record["id"], "id"),
        "task": _text(record.get("task"), "task"),
        "question": question,
        "answer": answered,
        "choices": choices,
    }


def _text(value: Any, field: str) -> str:
    from harness.data.fields import BadRow

    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise BadRow(f'"{field}" is neither text nor a number')
    return "" if value is None else str(value)


def _texts(value: Any, field: str) -> list[str]:
    from harness.data.fields import BadRow

    if isinstance(value, dict):  # as in ARC: {"text": [...], "label": [...]}
        value = value.get("text")
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRow(f'"{field}" is not a list')
    return [_text(one, field) for one in value]


def _said(messages: str | None) -> str:
    import json

    turns = json.loads(messages or "[]")
    return "\n".join(turn["content"] for turn in turns if turn["role"] == "user")


def _flags(rows: pl.DataFrame, found: pl.DataFrame, items: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield one line per training row and item, copies of a row included, in the order of the rows."""
    import json

    lines: dict[str, list[dict[str, Any]]] = {}
    for line in found.iter_rows(named=True):
        lines.setdefault(line["row_id"], []).append(line)
    for row_id, meta in rows.select("row_id", "meta").iter_rows():
        for line in lines.get(row_id, ()):
            read = json.loads(meta)
            yield {
                "train_id": read.get("id", read["place"]),
                "eval_id": line["item_id"],
                "kind": line["kind"],
                "score": round(line["score"], 4),
                "span": line["span"],
            }


def _summary(rows: pl.DataFrame, items: pl.DataFrame, found: pl.DataFrame, counted: pl.DataFrame) -> dict[str, Any]:
    import polars as pl

    def held(table: pl.DataFrame) -> dict[str, int]:
        return {
            "rows": int(rows["row_id"].is_in(table["row_id"].unique().implode()).sum()),
            "items": table["item_id"].n_unique(),
        }

    removed = set(counted["kind"])
    kinds = {
        kind: held(found.filter(pl.col("kind") == kind)) | {"removed": kind in removed}
        for kind in sorted(found["kind"].unique())
    }
    total = held(counted)
    return {
        "rows": rows.height, "items": items.height, "removed": total["rows"], "items_touched": total["items"],
        "kinds": kinds,
    }  # fmt: skip


def _print(summary: dict[str, Any]) -> None:
    from harness.terminal import tables

    out = tables.console()
    if summary["kinds"]:
        columns = [("Kind", "left"), ("Rows", "right"), ("Items", "right"), ("", "left")]
        lines = [
            (kind, f"{n['rows']:,}", f"{n['items']:,}", "" if n["removed"] else "kept (--templates drop removes them)")
            for kind, n in summary["kinds"].items()
        ]
        out.print(tables.table(columns, lines))
    out.print(
        f"{summary['removed']:,} of {tables.plural(summary['rows'], 'row')} overlap "
        f"{summary['items_touched']:,} of {tables.plural(summary['items'], 'item')}; {summary['kept']:,} stay."
    )
    for what, path in (("Overlaps", summary["flags"]), ("Rows that stay", summary["clean"])):
        if path is not None:
            out.print(f"{what}: {tables.markup(path)}")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show how far the search is, where there is a terminal to show it on."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("Comparing rows with items", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
