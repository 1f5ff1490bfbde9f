"""Splits the text of rows, whatever their layout, into prompt, completion, text and rejected."""

from __future__ import annotations

import json

import polars as pl

from harness.records import CONTENT_COLUMNS

PARTS = ("prompt", "completion", "text", "rejected")
WHOLE = "whole row"


def parts(rows: pl.DataFrame) -> pl.DataFrame:
    """Return columns prompt, completion, text and rejected (null where a row has none), and the whole row's text.

    In a conversation the completion is the last message, if the assistant wrote it, and the prompt all other messages.
    In a preference the completion is the chosen answer.
    """
    flat = rows.select("prompt", "text", "rejected", completion=pl.coalesce("completion", "chosen"))
    talks = rows["messages"]
    if talks.null_count() < rows.height:
        chosen = rows["chosen"].is_not_null()
        split = [
            (None, None) if talk is None else _turns(talk, answered=not preferred)
            for talk, preferred in zip(talks, chosen, strict=True)
        ]
        conversations = pl.DataFrame(split, schema={"given": pl.String, "answer": pl.String}, orient="row")
        flat = flat.with_columns(
            prompt=pl.coalesce(flat["prompt"], conversations["given"]),
            completion=pl.coalesce(flat["completion"], conversations["answer"]),
        )
    whole = pl.concat_str("prompt", "text", "completion", "rejected", separator="\n", ignore_nulls=True)
    return flat.select(*PARTS, whole.alias(WHOLE))


def shapes(rows: pl.DataFrame) -> dict[str, int]:
    """Count rows by layout: ``prompt+completion``, ``messages``, ``text``, ``prompt+chosen+rejected``."""
    names = [pl.when(pl.col(name).is_not_null()).then(pl.lit(name)) for name in CONTENT_COLUMNS]
    layout = rows.select(pl.concat_str(names, separator="+", ignore_nulls=True).alias("layout"))
    counted = layout.group_by("layout").len().sort("len", "layout", descending=[True, False])
    return {str(name): int(count) for name, count in counted.iter_rows()}


def _turns(talk: str, *, answered: bool) -> tuple[str | None, str | None]:
    turns = json.loads(talk)
    answered = answered and bool(turns) and turns[-1]["role"] == "assistant"
    given = turns[:-1] if answered else turns
    prompt = "\n".join(turn["content"] for turn in given) if given else None
    return prompt, turns[-1]["content"] if answered else None
