"""What is done to rows: filter, dedupe, verify, sample. Order is kept; every row that goes is recorded."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from harness.data.generators import score
from harness.data.rows import Built, dropped, drops, place, ranked, row_text
from harness.errors import RequestError, did_you_mean
from harness.records import CONTENT_COLUMNS
from harness.spec import Dedupe, Filter, Operation, Sample, Verify


def label(operation: Operation) -> str:
    """Return an operation as people read it, such as ``filter(max_words=400)``."""
    given = operation.model_dump(exclude_defaults=True, exclude={"op"})
    return operation.op + (f"({', '.join(f'{name}={value}' for name, value in given.items())})" if given else "")


def apply(rows: pl.DataFrame, operation: Operation, *, place: str, seed: int) -> Built:
    """Do one operation.

    Args:
        rows: Columns ``rows.SCHEMA``; further columns are carried along.
        operation: What to do.
        place: Whose rows these are, for messages.
        seed: Seed of a sample; nothing else is random.

    Raises:
        RequestError: The rows lack what the operation needs (the field, a verifier, enough of them).
    """
    records = list(rows.iter_rows(named=True))
    reasons: Iterable[str | None]
    match operation:
        case Filter():
            reasons = [_filtered(operation, text) for text in _texts(records, operation.field, operation, place)]
        case Dedupe():
            reasons = _repeated(records, _texts(records, operation.field, operation, place))
        case Verify():
            reasons = [_unverified(operation, record, place) for record in records]
        case Sample():
            reasons = _unsampled(rows, operation, place, seed)
    verdicts = list(zip(records, reasons, strict=True))
    name = label(operation)
    gone = [dropped(record, name, reason) for record, reason in verdicts if reason is not None]
    kept = pl.Series([reason is None for _, reason in verdicts], dtype=pl.Boolean)
    return Built(rows.filter(kept), drops(gone))


def apply_all(rows: pl.DataFrame, chain: Sequence[Operation], *, place: str, seed: int) -> Built:
    """Do operations one after the other.

    Raises:
        RequestError: As ``apply`` does, and when an operation leaves nothing.
    """
    ledger = [drops([])]
    for operation in chain:
        built = apply(rows, operation, place=place, seed=seed)
        refuse_empty(rows, built.rows, operation, place)
        rows = built.rows
        ledger.append(built.drops)
    return Built(rows, pl.concat(ledger))


def refuse_empty(before: pl.DataFrame, after: pl.DataFrame, operation: Operation, place: str) -> None:
    """Say which operation left nothing, and what the rows were like.

    Raises:
        RequestError: ``after`` has no rows.
    """
    if after.height:
        return
    hint = ""
    if isinstance(operation, Filter) and before.height:
        texts = [row_text(row, operation.field) for row in before.iter_rows(named=True)]
        words, chars = [len(text.split()) for text in texts], [len(text) for text in texts]
        if operation.min_words is not None or operation.min_chars is not None:
            hint = f"; the largest row has {max(words):,} words ({max(chars):,} characters)"
        elif operation.max_words is not None or operation.max_chars is not None:
            hint = f"; the smallest row has {min(words):,} words ({min(chars):,} characters)"
    count = f"0 of {before.height:,} rows are left"
    raise RequestError(f"{place}: {count} after {label(operation)}{hint}. Nothing was started.")


def _texts(records: list[dict[str, Any]], field: str | None, operation: Operation, whose: str) -> list[str]:
    """Return the text the operation looks at, of every row."""
    if field is not None:
        if field not in CONTENT_COLUMNS:
            raise RequestError(
                f'{whose}: {label(operation)}: no field "{field}".{did_you_mean(field, CONTENT_COLUMNS)}'
            )
        for record in records:
            if record[field] is None:
                has = " and ".join(name for name in CONTENT_COLUMNS if record[name] is not None)
                raise RequestError(f"{whose}: {label(operation)}: {_which(record)} has no {field}; it has {has}")
    return [row_text(record, field) for record in records]


def _which(record: dict[str, Any]) -> str:
    return f"the row {place(record) or record['row_id']}"


def _filtered(rule: Filter, text: str) -> str | None:
    """Return why a text does not pass, or None."""
    for name, count, low, high in (
        ("characters", len(text), rule.min_chars, rule.max_chars),
        ("words", len(text.split()), rule.min_words, rule.max_words),
    ):
        if low is not None and count < low:
            return f"{count:,} {name}, fewer than {low:,}"
        if high is not None and count > high:
            return f"{count:,} {name}, more than {high:,}"
    if rule.pattern is not None and not re.search(rule.pattern, text):
        return f"does not match {rule.pattern}"
    if rule.exclude is not None and (match := re.search(rule.exclude, text)):
        return f'"{match.group()[:80]}" matches {rule.exclude}'
    return None


def _repeated(records: list[dict[str, Any]], texts: list[str]) -> list[str | None]:
    first: dict[str, dict[str, Any]] = {}
    reasons: list[str | None] = []
    for record, text in zip(records, texts, strict=True):
        normal = " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())
        seen = first.setdefault(normal, record)
        reasons.append(None if seen is record else f"repeats {_which(seen)}")
    return reasons


def _unverified(rule: Verify, record: dict[str, Any], whose: str) -> str | None:
    if record["verifier"] is None:
        raise RequestError(
            f"{whose}: verify: {_which(record)} has no verifier; generated rows have one, others get it from "
            f"sources.{record['source']}.fields.answer"
        )
    if record["completion"] is not None:
        said = record["completion"]
    else:
        turns = json.loads(record["messages"] or "[]")
        answers = [turn["content"] for turn in turns if turn["role"] == "assistant"]
        if not answers:
            raise RequestError(f"{whose}: verify: {_which(record)} has neither a completion nor an assistant's message")
        said = answers[-1]
    value = score(record["verifier"], said)
    return None if value >= rule.min_score else f"score {value:.3g}, below {rule.min_score:g}"


def _unsampled(rows: pl.DataFrame, rule: Sample, whose: str, seed: int) -> list[str | None]:
    size = rule.rows if rule.rows is not None else round((rule.fraction or 0) * rows.height)
    if size > rows.height:
        raise RequestError(f"{whose}: {label(rule)}: only {rows.height:,} rows to sample from")
    rank = {position: index for index, position in enumerate(ranked(rows, seed, "sample"))}
    return [
        None if rank[position] < size else f"rank {rank[position] + 1:,} of {rows.height:,}"
        for position in range(rows.height)
    ]
