"""Finds training rows that hold eval items, in files or in memory, for ``decontaminate`` and its command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from harness.data import contamination, fields, files, sources
from harness.data.fields import BadRow
from harness.data.given import Given
from harness.errors import Asked, RequestError
from harness.formats import plural
from harness.spec import Decontaminate, Source

QUESTIONS = ("text", "question")  # columns of an eval file that are the item's question as it stands


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Which rows hold which items.

    Attributes:
        rows: Columns ``rows.SCHEMA``, in the order given.
        items: Columns ``records.ITEM_COLUMNS``.
        found: All overlaps, columns ``records.OVERLAP_COLUMNS``.
        counted: The overlaps whose rows are removed.
        rule: Which overlaps count.
    """

    rows: pl.DataFrame
    items: pl.DataFrame
    found: pl.DataFrame
    counted: pl.DataFrame
    rule: Decontaminate

    def stays(self) -> list[bool]:
        """Return, for each row in order, whether it is not removed."""
        return (~self.rows["row_id"].is_in(self.counted["row_id"].unique().implode())).to_list()

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield one line per training row and item, copies of a row included, in the order of the rows."""
        held: dict[str, list[dict[str, Any]]] = {}
        for line in self.found.iter_rows(named=True):
            held.setdefault(line["row_id"], []).append(line)
        for row_id, meta in self.rows.select("row_id", "meta").iter_rows():
            for line in held.get(row_id, ()):
                read = json.loads(meta)
                yield {
                    "train_id": read.get("id", read["place"]),
                    "eval_id": line["item_id"],
                    "kind": line["kind"],
                    "score": round(line["score"], 4),
                    "span": line["span"],
                }

    def summary(self) -> dict[str, Any]:
        """Return the figures for people and for JSON."""
        removed = set(self.counted["kind"])
        kinds = {
            kind: self._held(self.found.filter(pl.col("kind") == kind)) | {"removed": kind in removed}
            for kind in sorted(self.found["kind"].unique())
        }
        total = self._held(self.counted)
        return {
            "rows": self.rows.height, "items": self.items.height, "removed": total["rows"],
            "items_touched": total["items"], "kinds": kinds,
        }  # fmt: skip

    def _held(self, overlaps: pl.DataFrame) -> dict[str, int]:
        return {
            "rows": int(self.rows["row_id"].is_in(overlaps["row_id"].unique().implode()).sum()),
            "items": overlaps["item_id"].n_unique(),
        }


def find(
    rows: Given,
    items: Given,
    rule: Decontaminate,
    asked: Asked,
    on_progress: Callable[[int, int], None] | None = None,
) -> Overlaps:
    """Find the items that rows hold.

    Args:
        rows: Training rows, in any layout that a source may have.
        items: ``id``, ``task``, ``text`` (or ``question``), ``answer`` and ``choices``; or rows of any layout.
        rule: Which overlaps count.
        asked: What messages call the parameters.
        on_progress: Called with (rows done, rows in all).

    Raises:
        RequestError: Rows or items cannot be read, or there are none; or one of them is broken.
    """
    read = read_items(items, asked)
    trained = read_rows(rows, asked)
    rule = rule.settled(read.height)
    found = contamination.overlaps(trained, read, rule, on_progress)
    return Overlaps(trained, read, found, contamination.removable(found, rule), rule)


def read_rows(given: Given, asked: Asked) -> pl.DataFrame:
    """Return the training rows as a study would read them."""
    try:
        if given.path is None:
            source = Source(path=given.name, operations=())
            return sources.load("train", source, Path(), read=given.batches()).rows
        files.records(given.path)  # raises if the file itself cannot be read
        path = given.path
        return sources.load("train", Source(path=path.name, operations=()), path.absolute().parent).rows
    except RequestError as error:  # there is no study here to declare anything in
        message, name = str(error).replace(" Declare sources.train.fields:", " Rename them:"), asked("rows")
        message = message.replace("sources.train", name).replace(f", or set {name}.on_bad_row: drop.", ".")
        raise RequestError(message) from error


def read_items(given: Given, asked: Asked) -> pl.DataFrame:
    """Return the eval items as a suite's table (columns ``records.ITEM_COLUMNS``)."""
    items: list[dict[str, Any]] = []
    ids: set[str] = set()
    task = given.path.name.split(".")[0] if given.path else given.name
    for record in given.records():
        try:
            if record.value is None:
                raise BadRow(record.problem)
            item = _item(record.value, record.place) | {"index": len(items)}
        except BadRow as error:
            raise RequestError(f"{record.place}: {error}.{asked.ending}") from error
        if item["item_id"] in ids:
            raise RequestError(f'{record.place}: the id "{item["item_id"]}" is there twice.{asked.ending}')
        ids.add(item["item_id"])
        items.append(item | {"task": item["task"] or task})
    if not items:
        raise RequestError(f"{given.name}: holds no items.{asked.ending}")
    table = pl.DataFrame(items, schema_overrides={"choices": pl.List(pl.String)})
    return table.with_columns(subtask=pl.col("task"))


def _item(record: dict[str, Any], place: str) -> dict[str, Any]:
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
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise BadRow(f'"{field}" is neither text nor a number')
    return "" if value is None else str(value)


def _texts(value: Any, field: str) -> list[str]:
    if isinstance(value, dict):  # as in ARC: {"text": [...], "label": [...]}
        value = value.get("text")
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRow(f'"{field}" is not a list')
    return [_text(one, field) for one in value]


def _said(messages: str | None) -> str:
    turns = json.loads(messages or "[]")
    return "\n".join(turn["content"] for turn in turns if turn["role"] == "user")


def sentences(summary: Mapping[str, Any]) -> Sequence[str]:
    """Return a summary as sentences: how many rows hold how many items, and how many rows stay."""
    return [
        f"{summary['removed']:,} of {plural(summary['rows'], 'row')} overlap "
        f"{summary['items_touched']:,} of {plural(summary['items'], 'item')}; {summary['kept']:,} stay."
    ]
