"""Doing operations on rows that are in memory. Order is kept; every row that goes is recorded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import polars as pl

from harness.data.operations import filters, trainable
from harness.data.operations.content import renamed
from harness.data.operations.context import Context, which
from harness.data.rows import DROP_SCHEMA, Built, drops, place
from harness.errors import RequestError
from harness.spec import AnyOperation
from harness.spec.operations.base import Emptied, Gone

__all__ = [
    "Context",
    "apply",
    "apply_all",
    "changed",
    "inputs",
    "label",
    "needs_embeddings",
    "needs_model",
    "refuse_empty",
    "trainable",
]


def label(operation: AnyOperation) -> str:
    """Return an operation as people read it, such as ``filter(max_words=400)``."""
    return str(operation)


def apply(rows: pl.DataFrame, operation: AnyOperation, context: Context, reasons: pl.Series | None = None) -> Built:
    """Do one operation.

    Args:
        rows: Columns ``rows.SCHEMA``; further columns are carried along.
        operation: What to do.
        context: Whose rows these are, and what the operation may ask for.
        reasons: Why each row goes, or null, where all rows together have told already (scope ``all``).

    Returns:
        The rows that stay, in their order, and one line of the ledger for each that goes, under the ``row_id`` it
        came with. Rows whose content changed have another ``row_id`` and the operation in ``meta.changed``.

    Raises:
        RequestError: The rows lack what the operation needs (a field, a verifier, a score, enough of them), or a
            function, library or model it needs is missing; or the operation's own code does not keep to its scope.
    """
    after = rows
    if reasons is None and operation.scope == "row":
        after, reasons = _done(rows, operation, context)
    elif reasons is None:
        gone = gone_rows(operation, keys(operation, rows, context), context)
        reasons = reasons_of(rows.height, gone.rows, told(gone, lambda numbers: names(rows[numbers])))
    return Built(after.filter(reasons.is_null()), ledger(rows, str(operation), reasons))


def keys(operation: AnyOperation, rows: pl.DataFrame, context: Context) -> pl.DataFrame:
    """Return what an operation across rows looks at, of each row.

    Raises:
        RequestError: As ``key`` does, and where there is not one for each row.
    """
    found = operation.key(rows, context)
    if found.height != rows.height:
        whose = operation.whose(context)
        raise RequestError(
            f"{whose}: key() returned {found.height:,} rows for {rows.height:,}; it returns one for each"
        )
    return found


def gone_rows(operation: AnyOperation, keys: pl.DataFrame, context: Context) -> Gone:
    """Return the rows that an operation across rows drops.

    Raises:
        RequestError: As ``gone`` does, and where what it returns are no rows, or reasons are missing.
    """
    gone = operation.gone(keys, context)
    rows = np.asarray(gone.rows, np.int64)
    like = None if gone.like is None else np.asarray(gone.like, np.int64)
    numbers = rows if like is None else np.concatenate([rows, like])
    inside = not len(numbers) or (numbers.min() >= 0 and numbers.max() < keys.height)
    lengths = {
        len(rows),
        len(rows) if isinstance(gone.why, str) else len(gone.why),
        len(rows) if like is None else len(like),
    }
    if not inside or len(lengths) > 1 or len(np.unique(rows)) < len(rows):
        raise RequestError(
            f"{operation.whose(context)}: gone() returns different rows from 0 to {keys.height - 1:,}, and a reason "
            f"for each; it returned {len(rows):,} rows"
        )
    return Gone(rows, gone.why, like)


def told(gone: Gone, called: Callable[[Sequence[int]], Sequence[str]]) -> list[str]:
    """Return why each row goes.

    Args:
        gone: The rows.
        called: From numbers of rows to how reasons call them.
    """
    why = [gone.why] * len(gone.rows) if isinstance(gone.why, str) else list(gone.why)
    if gone.like is None:
        return why
    return [f"{one} {name}" for one, name in zip(why, called(gone.like), strict=True)]


def reasons_of(height: int, rows: Sequence[int], said: Sequence[str]) -> pl.Series:
    """Return for each of some rows why it goes, or null, from the numbers of those that go."""
    reasons = pl.repeat(None, height, dtype=pl.String, eager=True)
    return reasons.scatter(rows, pl.Series(said, dtype=pl.String))


def _done(rows: pl.DataFrame, operation: AnyOperation, context: Context) -> tuple[pl.DataFrame, pl.Series]:
    """Do an operation to each row; rows that it changed have another id.

    Raises:
        RequestError: What comes back is not one row for each, or other rows are changed than the operation says.
    """
    done = operation.do(rows, context)
    whose = operation.whose(context)
    lengths = {rows.height, done.rows.height, rows.height if done.reasons is None else len(done.reasons)}
    if len(lengths) > 1:
        raise RequestError(
            f'{whose}: scope "row" returns a row, and a reason or null, for each of {rows.height:,} rows; it returned '
            f"{done.rows.height:,} rows and {'no' if done.reasons is None else f'{len(done.reasons):,}'} reasons"
        )
    after = done.rows
    if after is not rows:
        after, changed = renamed(rows, after, operation.op)
        if len(changed) and not operation.changes:
            first = which(rows.row(changed[0], named=True))
            raise RequestError(
                f"{whose}: {first} has another content, and the operation does not say that it `changes`"
            )
    return after, reasons_of(rows.height, [], []) if done.reasons is None else done.reasons


def apply_all(rows: pl.DataFrame, chain: Sequence[AnyOperation], context: Context) -> Built:
    """Do operations one after the other.

    Raises:
        RequestError: As ``apply`` does, and when an operation leaves nothing.
    """
    ledger = [drops([])]
    for operation in chain:
        built = apply(rows, operation, context)
        refuse_empty(rows, built, operation, context.place)
        rows = built.rows
        ledger.append(built.drops)
    return Built(rows, pl.concat(ledger))


def refuse_empty(before: pl.DataFrame, built: Built, operation: AnyOperation, whose: str) -> None:
    """Say which operation left nothing, and what the rows were like.

    Raises:
        RequestError: No row is left.
    """
    if not built.rows.height:
        refuse([emptied(before, built, operation, whose)], operation, whose)


def emptied(before: pl.DataFrame, built: Built, operation: AnyOperation, whose: str) -> Emptied:
    """Look at rows before an operation that leaves none of them."""
    if not before.height:
        return Emptied()
    line = built.drops.row(0, named=True)
    first = f"{line['place'] or line['row_id']}: {line['reason']}"
    seen = operation.looks_at(before, whose)
    if seen is None:
        return Emptied(before.height, first)
    words, chars = filters.words(seen).to_list(), seen.str.len_chars().to_list()
    return Emptied(before.height, first, (max(words), max(chars)), (min(words), min(chars)))


def refuse(parts: Iterable[Emptied], operation: AnyOperation, whose: str) -> NoReturn:
    """Say that an operation left nothing of rows, which may be in several parts.

    Raises:
        RequestError: Always.
    """
    said = operation.nothing_left([one for one in parts if one.rows])
    raise RequestError(f"{whose}: {said}. Nothing was started.")


def needs_model(chain: Iterable[AnyOperation]) -> bool:
    """Return whether an operation asks for tokens or for perplexity."""
    return any({"tokens", "perplexity"} & one.needs for one in chain)


def needs_embeddings(chain: Iterable[AnyOperation]) -> bool:
    """Return whether an operation embeds sentences."""
    return any("embeddings" in one.needs for one in chain)


def inputs(chain: Sequence[AnyOperation], folder: Path | None) -> dict[str, str]:
    """Return what else the operations' outcome depends on, by role.

    Args:
        chain: The operations.
        folder: Where the modules of ``function`` are.

    Returns:
        ``{"function/<module>": sha256 of the file}``, and ``{"library/<name>": version}`` of the libraries whose
        rules decide about rows, for exactly the operations given; not the model's and the embeddings' identity.

    Raises:
        RequestError: A function's file or a library is missing.
    """
    found: dict[str, str] = {}
    for operation in chain:
        found |= operation.inputs(folder)
    return found


def changed(rows: pl.DataFrame) -> dict[str, int]:
    """Return how many of these rows each operation changed (``clean``, ``pii``), by its name."""
    marked = rows["meta"].filter(rows["meta"].str.contains('"changed"', literal=True))
    return dict(Counter(name for meta in marked for name in json.loads(meta).get("changed", [])))


def ledger(rows: pl.DataFrame, operation: str, reasons: pl.Series) -> pl.DataFrame:
    """Return a line for every row that has a reason to go."""
    gone = rows.select("row_id", "source", "meta").with_columns(reasons.alias("reason")).filter(reasons.is_not_null())
    read = pl.col("meta").str.json_path_match("$.place").alias("place")
    return gone.with_columns(read, pl.lit(operation).alias("operation")).select(DROP_SCHEMA.names())


def names(rows: pl.DataFrame) -> list[str]:
    """Return how reasons call rows: by where they were read, else by their id."""
    return [place(row) or row["row_id"] for row in rows.select("row_id", "meta").iter_rows(named=True)]
