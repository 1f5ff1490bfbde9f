"""``harness data show``: prints rows as the model will see them."""

from __future__ import annotations

import json as jsonlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, print_json
from harness.cli.data.targets import Columns, Fields, Opened, OpenedVariant, names_rows, open_target, open_variant

if TYPE_CHECKING:
    import polars as pl

PARTS = ("only_a", "both", "only_b")

Render = Callable[[Mapping[str, Any]], dict[str, Any]]


def show(
    target: Annotated[
        str,
        typer.Argument(
            metavar="STUDY:VARIANT|FILE", help="such as experiments/quickstart.yaml:verified, or rows.jsonl"
        ),
    ],
    store: StorePlace = DEFAULT_STORE,
    json: AsJson = False,
    number: Annotated[int, typer.Option("-n", min=1, help="rows to show")] = 20,
    seed: Annotated[
        int | None, typer.Option("--seed", help="which seed's draw (default: the first); of a file: rows at random")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="only rows of this source")] = None,
    dropped_by: Annotated[str | None, typer.Option("--dropped-by", help="rows this operation dropped, and why")] = None,
    diff: Annotated[
        str | None, typer.Option("--diff", metavar="OTHER", help="which rows another variant (or file) has instead")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="of a file: a model's folder, to show rows as it would see them")
    ] = None,
    chat_template: Annotated[
        bool, typer.Option("--chat-template", help="with --model: render rows through the model's chat template")
    ] = False,
    field: Fields = None,
    column: Columns = None,
) -> None:
    """Print rows with the part the loss counts marked, rows that were dropped and why, or how two variants differ."""
    from harness.errors import RequestError, did_you_mean

    if dropped_by is not None and diff is not None:
        raise RequestError("--diff and --dropped-by: one at a time")
    if chat_template and model is None:
        raise RequestError("--chat-template: needs --model, whose template it is; in a study the recipe decides")
    opened = open_target(target, store, seed, field, column)
    if source is not None:
        there = opened.rows["source"].unique().to_list()
        if source not in {*there, *opened.drops["source"]}:
            raise RequestError(f'--source: {_short(opened)} has no rows of "{source}".{did_you_mean(source, there)}')
    render = _renderer(opened, model, chat_template, needed=dropped_by is None)
    if diff is not None:
        other = _open_other(opened, diff, store, seed, field, column)
        _show_difference(difference(opened, other, source), opened, other, render, number, json)
    elif dropped_by is not None:
        _show_dropped(opened, dropped_by, source, render, number, json)
    else:
        _show_kept(opened, seed, source, render, number, json)


# ------------------------------------------------------------------------------------------------------------ rows


def _show_kept(opened: Opened, seed: int | None, source: str | None, render: Render, number: int, json: bool) -> None:
    rows = opened.rows if source is None else opened.rows.filter(source=source)
    total = rows.height
    if seed is not None and not isinstance(opened, OpenedVariant):
        from harness.data.rows import ranked

        rows = rows[ranked(rows, seed, "show")[:number]]
    shown = [_described(row) | render(row) for row in rows.head(number).iter_rows(named=True)]
    if json:
        print_json(shown)
        return
    page = _Page()
    for row in shown:
        page.row(row)
    counts = page.legend if any(row["segments"] for row in shown) else ""
    print(f"{len(shown)} of {total} rows{counts}")
    if opened.drops.height:
        names = ", ".join(dict.fromkeys(str(name).split("(")[0] for name in opened.drops["operation"]))
        print(f"{opened.drops.height} more were dropped (--dropped-by {names})")


def _show_dropped(opened: Opened, operation: str, source: str | None, render: Render, number: int, json: bool) -> None:
    from harness.errors import RequestError, did_you_mean

    names = {name for label in opened.drops["operation"].unique() for name in (label, label.split("(")[0])}
    if operation not in names:
        raise RequestError(
            f'--dropped-by: no row of {_short(opened)} was dropped by "{operation}".{did_you_mean(operation, names)}'
        )
    lines = [
        line
        for line in opened.drops.iter_rows(named=True)
        if operation in (line["operation"], line["operation"].split("(")[0]) and source in (None, line["source"])
    ]
    known = _before_drops(opened, {line["row_id"] for line in lines[:number]})
    shown = []
    for line in lines[:number]:
        row = known.get((line["source"], line["row_id"]))
        shown.append(line | (_described(row) | render(row) if row else {}) | {"place": line["place"]})
    if json:
        print_json(shown)
        return
    page = _Page()
    for row in shown:
        page.row(row, f"dropped by {row['operation']}: {row['reason']}")
    print(f"{len(shown)} of {len(lines)} rows dropped by {operation}")


def _before_drops(opened: Opened, wanted: set[str | None]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return (source, id) -> row for dropped rows that an earlier step still holds."""
    import polars as pl

    if not isinstance(opened, OpenedVariant):
        return {}
    tables = [output.table("rows") for output in opened.account.sources]
    rows = pl.concat(tables).filter(pl.col("row_id").is_in([one for one in wanted if one is not None]))
    return {(row["source"], row["row_id"]): row for row in rows.iter_rows(named=True)}


def _described(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a row besides its text."""
    meta = jsonlib.loads(row["meta"]) if row["meta"] else {}
    return {
        "row_id": row["row_id"],
        "source": row["source"],
        "place": meta.get("place"),
        "origin": row["origin"],
        "license": row["license"],
        "group": row["group"],
        "slice": row["slice"],
        "columns": jsonlib.loads(row["columns"]) if row["columns"] else {},
    }


def _short(opened: Opened) -> str:
    return opened.variant.name if isinstance(opened, OpenedVariant) else opened.name


# ------------------------------------------------------------------------------------------------------- rendering


def _renderer(opened: Opened, model: Path | None, chat_template: bool, *, needed: bool) -> Render:
    """Return the function that makes a row's text: through the model's tokenizer, else as it was read.

    Args:
        opened: The rows.
        model: Folder of the model whose tokenizer is used for a file's rows.
        chat_template: Whether to use the model's chat template.
        needed: Whether a missing model of a study is an error.
    """
    from harness.errors import RequestError, StepError
    from harness.tokens import IGNORED, RowEncoder

    if isinstance(opened, OpenedVariant):
        if model is not None:
            raise RequestError("--model: is for files; rows of a study are shown as its own model sees them")
        made, recipe = opened.plan, opened.plan.study.recipe
        if made.model.folder is None and not needed:
            return _plain
        if made.model.folder is None:
            raise StepError(
                f"{made.model.name} is not ready yet, so rows cannot be shown as it sees them: harness doctor --prepare"
            )
        encoder = RowEncoder(
            made.model.folder, chat_template=recipe.chat_template, max_length=recipe.max_length, date=recipe.date
        )
    elif model is not None:
        encoder = RowEncoder(model, chat_template=chat_template, max_length=1_000_000_000)
    else:
        return _plain

    def render(row: Mapping[str, Any]) -> dict[str, Any]:
        encoded = encoder.encode(row)
        counted = [label != IGNORED for label in encoded.labels]
        cuts = [at for at in range(1, len(counted)) if counted[at] != counted[at - 1]]
        ids, start = encoded.input_ids, counted.index(True) if True in counted else len(counted)
        return {
            "tokens": len(ids),
            "context": encoder.text(ids[:start]),
            "learned": encoder.text(ids[start:]),
            "segments": [
                {"text": encoder.text(ids[low:high]), "loss": counted[low]}
                for low, high in zip([0, *cuts], [*cuts, len(ids)], strict=True)
                if high > low
            ],
        }

    return render


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's text without a model: the prompt, and the part that would be learned."""
    if row["chosen"] is not None:
        talk = [f"{turn['role']}: {turn['content']}" for turn in jsonlib.loads(row["messages"] or "[]")]
        context, learned = "\n".join([*talk, row["prompt"] or ""]).strip("\n"), f"\nchosen: {row['chosen']}"
        context += f"\nrejected: {row['rejected']}"
    elif row["messages"]:
        turns = jsonlib.loads(row["messages"])
        said = [f"{turn['role']}: {turn['content']}" for turn in turns]
        context, learned = "\n".join(said[:-1]), ("\n" if said[1:] else "") + said[-1]
    else:
        context, learned = row["prompt"] or "", row["completion"] or row["text"] or ""
    segments = [{"text": context, "loss": False}, {"text": learned, "loss": True}]
    return {"context": context, "learned": learned, "segments": [one for one in segments if one["text"]]}


class _Page:
    """Prints rows: the text that the loss counts is green, or between marks without colour."""

    def __init__(self) -> None:
        from harness.terminal import tables

        self._out = tables.console()
        self._colour = self._out.color_system is not None and not self._out.no_color
        self.legend = "; the loss counts the green part" + ("" if self._colour else ", here between ⟦ and ⟧")

    def row(self, row: Mapping[str, Any], remark: str = "") -> None:
        """Print one row: its origin, its facts, a remark, its text."""
        from rich.text import Text

        from harness.escaping import visible

        facts = [row["row_id"], row["source"], row["place"], row.get("origin"), row.get("license")]
        facts += [f"{name} {row[name]}" for name in ("group", "slice") if row.get(name)]
        facts += [f"{name}={value}" for name, value in (row.get("columns") or {}).items()]
        if row.get("tokens"):
            facts.append(f"{row['tokens']} tokens")
        self._print(Text(visible(" · ".join(str(fact) for fact in facts if fact is not None)), style="dim"))
        if remark:
            self._print(Text("  " + visible(remark)))
        if row.get("segments"):
            text = Text()
            for segment in row["segments"]:
                self._append(text, visible(segment["text"]), bool(segment["loss"]))
            self._print(text)
        self._print(Text())

    def _append(self, text: Any, said: str, loss: bool) -> None:
        if self._colour:
            text.append(said, style="bold green" if loss else "")
            return
        for mark in "⟦⟧":  # a row must not be able to forge the marks
            said = said.replace(mark, f"\\u{ord(mark):04x}")
        text.append(f"⟦{said}⟧" if loss else said)

    def _print(self, text: Any) -> None:
        self._out.print(text, soft_wrap=True)


# ------------------------------------------------------------------------------------------------------ difference


def _open_other(
    opened: Opened, diff: str, store: str, seed: int | None, field: Sequence[str] | None, column: Sequence[str] | None
) -> Opened:
    """Open the other side of a comparison; a variant of the same study may be given by its name alone."""
    if isinstance(opened, OpenedVariant) and ":" not in diff and not names_rows(diff):
        return open_variant(opened.plan, opened.name.rpartition(":")[0], diff, opened.seed)
    return open_target(diff, store, seed, field if names_rows(diff) else None, column if names_rows(diff) else None)


def difference(one: Opened, other: Opened, source: str | None = None) -> dict[str, Any]:
    """Compare two sets of rows by ``row_id``; a row that occurs twice counts twice.

    Args:
        one: The first set.
        other: The second set.
        source: Only rows of this source.

    Returns:
        ``only_a``, ``both``, ``only_b`` (numbers of rows) overall and by source, and the rows of ``only_a`` and
        ``only_b``, in order, each with the reason ``why`` the other set lacks it.
    """
    sides = [side.rows if source is None else side.rows.filter(source=source) for side in (one, other)]
    counts = [Counter(zip(rows["source"], rows["row_id"], strict=True)) for rows in sides]
    ids = [Counter(rows["row_id"].to_list()) for rows in sides]
    both = ids[0] & ids[1]
    names = sorted({name for count in counts for name, _ in count})
    return {
        "a": one.name,
        "b": other.name,
        "only_a": ids[0].total() - both.total(),
        "both": both.total(),
        "only_b": ids[1].total() - both.total(),
        "sources": {name: _of_source(counts, name) for name in names},
        "rows_a": list(_only(sides[0], both, other)),
        "rows_b": list(_only(sides[1], both, one)),
    }


def _of_source(counts: Sequence[Counter[tuple[str, str]]], name: str) -> dict[str, int]:
    a, b = (Counter({key: rows for key, rows in count.items() if key[0] == name}) for count in counts)
    both = (a & b).total()
    return {"only_a": a.total() - both, "both": both, "only_b": b.total() - both}


def _only(rows: pl.DataFrame, both: Counter[str], other: Opened) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the rows that the other set lacks, each with the reason."""
    reasons: dict[str, str] = {}
    for line in other.drops.iter_rows(named=True):
        if line["row_id"] is not None:
            reasons.setdefault(line["row_id"], f"dropped by {line['operation']}: {line['reason']}")
    left = Counter(both)
    for row in rows.iter_rows(named=True):
        if left[row["row_id"]] > 0:
            left[row["row_id"]] -= 1
        elif row["row_id"] in reasons:
            yield row, reasons[row["row_id"]]
        elif both[row["row_id"]]:
            yield row, "fewer copies"
        elif isinstance(other, OpenedVariant):
            yield row, "not drawn" if row["source"] in other.sources else f"{row['source']} is not in its mix"
        else:
            yield row, "not in the file"


def _show_difference(
    found: dict[str, Any], one: Opened, other: Opened, render: Render, number: int, json: bool
) -> None:
    sides = {
        name: [_described(row) | render(row) | {"why": why} for row, why in found[name][:number]]
        for name in ("rows_a", "rows_b")
    }
    reasons = {name: Counter(_kind(why) for _, why in found[name]) for name in ("rows_a", "rows_b")}
    if json:
        print_json(found | sides | {f"why_{name[-1]}": dict(reasons[name].most_common()) for name in reasons})
        return
    from harness.terminal import tables

    a, b = _short(one), _short(other)
    page, out = _Page(), tables.console()
    for name, title, lacking in (("rows_a", a, b), ("rows_b", b, a)):
        out.print(f"[bold]Only in {tables.markup(title)}[/bold]", soft_wrap=True)
        for row in sides[name]:
            page.row(row, f"{lacking}: {row['why']}")
        print(f"{len(sides[name])} of {len(found[name])} rows{page.legend}\n" if sides[name] else "nothing\n")
    listed = [(name, *(f"{its[part]:,}" for part in PARTS)) for name, its in found["sources"].items()]
    if len(listed) > 1:
        listed.append(("all", *(f"{found[part]:,}" for part in PARTS)))
    heads = (("Source", "left"), (f"only {a}", "right"), ("both", "right"), (f"only {b}", "right"))
    out.print(tables.table(heads, listed))
    for name, title, lacking in (("rows_a", a, b), ("rows_b", b, a)):
        if reasons[name]:
            why = ", ".join(f"{rows:,} {reason}" for reason, rows in reasons[name].most_common(6))
            out.print(f"Only in {tables.markup(title)}; {tables.markup(lacking)}: {tables.markup(why)}", soft_wrap=True)


def _kind(why: str) -> str:
    """Return a reason without the parts that differ from row to row."""
    return why.partition(": ")[0]
