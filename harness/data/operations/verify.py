"""``verify``: scores completions by their row's verifier or by a function of the user's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from harness.data.generators import score
from harness.data.operations import functions
from harness.data.operations.context import which
from harness.errors import RequestError
from harness.identity import canonical_json


def scores(rows: pl.DataFrame, function: str | None, folder: Path | None, whose: str) -> list[float]:
    """Return the score of each row's completion, from 0 (wrong) to 1 (right).

    Raises:
        RequestError: A row has no verifier or no completion, or the function fails.
    """
    records = rows.select("row_id", "source", "meta", "completion", "messages", "verifier").iter_rows(named=True)
    if function is None:
        return [_score(record, whose) for record in records]
    answers = functions.answers(function, rows, folder, whose)
    return [functions.grade(value, row, function, whose) for value, row in zip(answers, records, strict=True)]


def refused(values: list[float], least: float, keep: str) -> pl.Series:
    """Return, for each score, why its row is dropped, or null.

    Args:
        values: The scores.
        least: The lowest score of a right completion.
        keep: ``right``, ``wrong`` or ``all``.
    """
    reasons: list[str | None] = []
    for value in values:
        right = value >= least
        if keep == "right" and not right:
            reasons.append(f"score {value:.3g}, below {least:g}")
        elif keep == "wrong" and right:
            reasons.append(f"score {value:.3g}, not below {least:g}")
        else:
            reasons.append(None)
    return pl.Series(reasons, dtype=pl.String)


def labelled(rows: pl.DataFrame, values: list[float], label: str, whose: str) -> pl.DataFrame:
    """Write each row's score into its ``columns``.

    Raises:
        RequestError: A row carries another value under that name.
    """
    labels = []
    for record, value in zip(rows.select("row_id", "meta", "columns").iter_rows(named=True), values, strict=True):
        columns = json.loads(record["columns"] or "{}")
        if columns.get(label, value) != value:
            raise RequestError(
                f"{whose}: {which(record)} already carries {label} = {columns[label]!r}; choose another label"
            )
        labels.append(canonical_json(columns | {label: value}))
    return rows.with_columns(pl.Series("columns", labels, dtype=pl.String))


def _score(record: Mapping[str, Any], whose: str) -> float:
    if record["verifier"] is None:
        raise RequestError(
            f"{whose}: {which(record)} has no verifier; generated rows have one, others get it from "
            f"sources.{record['source']}.fields.answer"
        )
    if record["completion"] is not None:
        return score(record["verifier"], record["completion"])
    answers = [turn["content"] for turn in json.loads(record["messages"] or "[]") if turn["role"] == "assistant"]
    if not answers:
        raise RequestError(f"{whose}: {which(record)} has neither a completion nor an assistant's message")
    return score(record["verifier"], answers[-1])
