"""Does operations on rows in memory. The order of rows is kept, and every dropped row is recorded in the ledger."""

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
    """Return the name of an operation for people, such as ``filter(max_words=400)``."""
    return str(operation)


def apply(rows: pl.DataFrame, operation: AnyOperation, context: Context, reasons: pl.Series | None = None) -> Built:
    """Do one operation.

    Args:
        rows: Columns ``rows.SCHEMA``; further columns are carried along.
        operation: What to do.
        context: Whose rows these are, and the measures that the operation may need.
        reasons: For each row, why it is dropped, or null, if that is known already (scope ``all``).

    Returns:
        The remaining rows, in order, and one line of the ledger for each dropped row, under the ``row_id`` that it had
        before. Rows whose content changed have a new ``row_id`` and the operation in ``meta.changed``.

    Raises:
        RequestError: The rows lack something that the operation needs (a field, a verifier, a score, enough rows); or a
            function, library or model is missing; or the operation's own code violates its scope.
    """
    after = rows
    if reasons is None and operation.scope == "row":
        after, reasons = _done(rows, operation, context)
    elif reasons is None:
        gone = gone_rows(operation, keys(operation, rows, context), context)
        reasons = reasons_of(rows.height, gone.rows, told(gone, lambda numbers: names(rows[numbers])))
    return Built(after.filter(reasons.is_null()), ledger(rows, str(operation), reasons))


def keys(operation: AnyOperation, rows: pl.DataFrame, context: Context) -> pl.DataFrame:
    """Return the key of each row for an operation across rows.

    Raises:
        RequestError: As ``key`` does, and if ``key`` does not return one line for each row.
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
        RequestError: As ``gone`` does, and if it returns something other than different rows with a reason each.
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
    """Return the reason why each row is dropped.

    Args:
        gone: The rows to drop.
        called: Returns the names of rows, for reasons, by their numbers.
    """
    why = [gone.why] * len(gone.rows) if isinstance(gone.why, str) else list(gone.why)
    if gone.like is None:
        return why
    return [f"{reason} {name}" for reason, name in zip(why, called(gone.like), strict=True)]


def reasons_of(height: int, rows: Sequence[int], why: Sequence[str]) -> pl.Series:
    """Return, for each of ``height`` rows, the reason why it is dropped, or null.

    Args:
        height: Number of rows.
        rows: Numbers of the dropped rows.
        why: The reason of each dropped row.
    """
    reasons = pl.repeat(None, height, dtype=pl.String, eager=True)
    return reasons.scatter(rows, pl.Series(why, dtype=pl.String))


def _done(rows: pl.DataFrame, operation: AnyOperation, context: Context) -> tuple[pl.DataFrame, pl.Series]:
    """Return the rows after an operation of scope ``row``, changed rows with a new id, and the reasons of dropped rows.

    Raises:
        RequestError: The operation does not return one row for each, or changes rows without declaring ``changes``.
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
        RequestError: As ``apply`` does, and if an operation leaves no rows.
    """
    ledger = [drops([])]
    for operation in chain:
        built = apply(rows, operation, context)
        refuse_empty(rows, built, operation, context.place)
        rows = built.rows
        ledger.append(built.drops)
    return Built(rows, pl.concat(ledger))


def refuse_empty(before: pl.DataFrame, built: Built, operation: AnyOperation, whose: str) -> None:
    """Raise an error if an operation left no rows; its message describes the rows before it.

    Raises:
        RequestError: No row is left.
    """
    if not built.rows.height:
        refuse([emptied(before, built, operation, whose)], operation, whose)


def emptied(before: pl.DataFrame, built: Built, operation: AnyOperation, whose: str) -> Emptied:
    """Return facts about the rows before an operation that leaves none of them."""
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
    """Raise the error that an operation left no rows.

    Args:
        parts: Facts about the rows before it, which may be in several parts.
        operation: The operation.
        whose: Whose rows these are.

    Raises:
        RequestError: Always.
    """
    message = operation.nothing_left([part for part in parts if part.rows])
    raise RequestError(f"{whose}: {message}. Nothing was started.")


def needs_model(chain: Iterable[AnyOperation]) -> bool:
    """Return whether an operation needs tokens or perplexity."""
    return any({"tokens", "perplexity"} & one.needs for one in chain)


def needs_embeddings(chain: Iterable[AnyOperation]) -> bool:
    """Return whether an operation needs sentence embeddings."""
    return any("embeddings" in one.needs for one in chain)


def inputs(chain: Sequence[AnyOperation], folder: Path | None) -> dict[str, str]:
    """Return role -> digest or version of what the operations' results depend on besides rows.

    Args:
        chain: The operations.
        folder: Folder with the modules of ``function``.

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
    """Return operation (``clean``, ``pii``) -> number of these rows that it changed."""
    marked = rows["meta"].filter(rows["meta"].str.contains('"changed"', literal=True))
    return dict(Counter(name for meta in marked for name in json.loads(meta).get("changed", [])))


def ledger(rows: pl.DataFrame, operation: str, reasons: pl.Series) -> pl.DataFrame:
    """Return the ledger's line of every row that has a reason."""
    gone = rows.select("row_id", "source", "meta").with_columns(reasons.alias("reason")).filter(reasons.is_not_null())
    read = pl.col("meta").str.json_path_match("$.place").alias("place")
    return gone.with_columns(read, pl.lit(operation).alias("operation")).select(DROP_SCHEMA.names())


def names(rows: pl.DataFrame) -> list[str]:
    """Return the names of rows in reasons: where a row was read, else its id."""
    return [place(row) or row["row_id"] for row in rows.select("row_id", "meta").iter_rows(named=True)]
