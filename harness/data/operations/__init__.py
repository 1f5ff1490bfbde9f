"""What is done to rows: clean, filter, dedupe, verify, pii, sample. Order is kept; every row that goes is recorded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn

import polars as pl

from harness import outside
from harness.data.operations import clean, filters, functions, pii, trainable, verify
from harness.data.operations.content import texts
from harness.data.operations.context import Context
from harness.data.rows import DROP_SCHEMA, Built, drops, place, ranked
from harness.data.text import counted
from harness.errors import RequestError
from harness.spec import AnyOperation, Clean, Dedupe, Filter, Pii, Sample, Trainable, Verify

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

REPEATS = {"exact": "repeats", "near": "near-duplicate of", "semantic": "near-duplicate in meaning of"}


def label(operation: AnyOperation) -> str:
    """Return an operation as people read it, such as ``filter(max_words=400)``."""
    given = operation.model_dump(exclude_defaults=True, exclude={"op"})
    return operation.op + (f"({', '.join(f'{name}={value}' for name, value in given.items())})" if given else "")


def apply(rows: pl.DataFrame, operation: AnyOperation, context: Context) -> Built:
    """Do one operation.

    Args:
        rows: Columns ``rows.SCHEMA``; further columns are carried along.
        operation: What to do.
        context: Whose rows these are, and what the operation may ask for.

    Returns:
        The rows that stay, in their order, and one line of the ledger for each that goes, under the ``row_id`` it
        came with. Rows whose content changed have another ``row_id`` and the operation in ``meta.changed``.

    Raises:
        RequestError: The rows lack what the operation needs (a field, a verifier, a score, enough of them), or a
            function, library or model it needs is missing.
    """
    whose = f"{context.place}: {label(operation)}"
    after = rows
    match operation:
        case Clean():
            after = clean.cleaned(rows, operation.repair)
            reasons = clean.broken(after)
        case Filter():
            reasons = filters.refused(rows, operation, context, whose)
        case Dedupe():
            reasons = _repeated(rows, operation, whose)
        case Verify():
            values = verify.scores(rows, operation, context, whose)
            reasons = verify.refused(values, operation)
            if operation.label is not None:
                after = verify.labelled(rows, values, operation.label, whose)
        case Pii(action="mask"):
            after = pii.masked(rows, operation.kinds)
            reasons = pl.repeat(None, rows.height, dtype=pl.String, eager=True)
        case Pii():
            reasons = pii.found(rows, operation.kinds)
        case Trainable():
            reasons = trainable.reasons(rows, operation, context)
        case Sample():
            reasons = _unsampled(rows, operation, context.seed, whose)
    return Built(after.filter(reasons.is_null()), ledger(rows, label(operation), reasons))


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
        refuse([Emptied.of(before, built, operation, whose)], operation, whose)


@dataclass(frozen=True)
class Emptied:
    """What rows were like of which an operation left none.

    Attributes:
        rows: How many there were.
        first: The first of them and why it went.
        most: Words and characters of the largest, where they were counted.
        fewest: The same of the smallest.
    """

    rows: int = 0
    first: str = ""
    most: tuple[int, int] = (0, 0)
    fewest: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, before: pl.DataFrame, built: Built, operation: AnyOperation, whose: str) -> Emptied:
        """Look at rows before an operation that leaves none of them."""
        if not before.height:
            return cls()
        line = built.drops.row(0, named=True)
        first = f"{line['place'] or line['row_id']}: {line['reason']}"
        if not isinstance(operation, Filter):
            return cls(before.height, first)
        seen = texts(before, operation.field, whose)
        words, chars = (
            seen.to_frame("text").select(counted(pl.col("text")))["text"].to_list(),
            seen.str.len_chars().to_list(),
        )
        return cls(before.height, first, (max(words), max(chars)), (min(words), min(chars)))


def refuse(emptied: Iterable[Emptied], operation: AnyOperation, whose: str) -> NoReturn:
    """Say that an operation left nothing of rows, which may be in several parts.

    Raises:
        RequestError: Always.
    """
    parts = [one for one in emptied if one.rows]
    hint = f"; {parts[0].first}" if parts else ""
    if isinstance(operation, Filter) and parts:
        if operation.min_words is not None or operation.min_chars is not None:
            words, chars = (max(one.most[at] for one in parts) for at in range(2))
            hint = f"; the largest row has {words:,} words ({chars:,} characters)"
        elif operation.max_words is not None or operation.max_chars is not None:
            words, chars = (min(one.fewest[at] for one in parts) for at in range(2))
            hint = f"; the smallest row has {words:,} words ({chars:,} characters)"
    if isinstance(operation, Trainable):
        count = f"none of {sum(one.rows for one in parts):,} rows can be trained on"
        raise RequestError(f"{whose}: {count}{hint.replace('; ', '; the first, ', 1)}. Nothing was started.")
    count = f"0 of {sum(one.rows for one in parts):,} rows are left"
    raise RequestError(f"{whose}: {count} after {label(operation)}{hint}. Nothing was started.")


def needs_model(chain: Iterable[AnyOperation]) -> bool:
    """Return whether an operation asks for tokens or for perplexity."""
    bounds = ("min_tokens", "max_tokens", "min_perplexity", "max_perplexity")
    return any(isinstance(one, Filter) and any(getattr(one, b) is not None for b in bounds) for one in chain)


def needs_embeddings(chain: Iterable[AnyOperation]) -> bool:
    """Return whether an operation embeds sentences."""
    return any(isinstance(one, Dedupe) and one.method == "semantic" for one in chain)


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
    found = {}
    for operation in chain:
        match operation:
            case Clean(repair=True):
                libraries: tuple[str, ...] = ("ftfy",)
            case Filter():
                libraries = (("py3langid",) if operation.languages else ()) + (
                    ("datatrove", "spacy") if operation.datatrove else ()
                )
            case Verify(function=None):
                libraries = ("reasoning-gym",)
            case _:
                libraries = ()
        for library in libraries:
            found[f"library/{library}"] = _version(library, label(operation))
        if isinstance(operation, Filter | Verify) and operation.function is not None:
            file = functions.path(operation.function, folder, label(operation))
            found[f"function/{file.stem}"] = outside.digest(file)
    return found


def changed(rows: pl.DataFrame) -> dict[str, int]:
    """Return how many of these rows each operation changed (``clean``, ``pii``), by its name."""
    marked = rows["meta"].filter(rows["meta"].str.contains('"changed"', literal=True))
    return dict(Counter(name for meta in marked for name in json.loads(meta).get("changed", [])))


def _version(library: str, operation: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError as error:
        raise RequestError(f"{operation}: {library} is not installed: pip install {library}") from error


def ledger(rows: pl.DataFrame, operation: str, reasons: pl.Series) -> pl.DataFrame:
    """Return a line for every row that has a reason to go."""
    gone = rows.select("row_id", "source", "meta").with_columns(reasons.alias("reason")).filter(reasons.is_not_null())
    read = pl.col("meta").str.json_path_match("$.place").alias("place")
    return gone.with_columns(read, pl.lit(operation).alias("operation")).select(DROP_SCHEMA.names())


def _repeated(rows: pl.DataFrame, rule: Dedupe, whose: str) -> pl.Series:
    from harness.data import duplicates

    first = duplicates.clusters(texts(rows, rule.field, whose), rule.method, rule.threshold)
    repeats = first != pl.int_range(rows.height, eager=True)
    reasons = pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    said = [repeats_row(rule, named) for named in names(rows[first.filter(repeats)])]
    return reasons.scatter(repeats.arg_true(), pl.Series(said, dtype=pl.String))


def names(rows: pl.DataFrame) -> list[str]:
    """Return how reasons call rows: by where they were read, else by their id."""
    return [place(row) or row["row_id"] for row in rows.select("row_id", "meta").iter_rows(named=True)]


def repeats_row(rule: Dedupe, named: str) -> str:
    """Return why a row goes that repeats another."""
    return f"{REPEATS[rule.method]} {named}"


def _unsampled(rows: pl.DataFrame, rule: Sample, seed: int, whose: str) -> pl.Series:
    unlucky = ranked(rows, seed, "sample")[sample_size(rule, rows.height, whose) :]
    said = [unlucky_rank(rank, rows.height) for rank in range(rows.height - len(unlucky), rows.height)]
    reasons = pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    return reasons.scatter(unlucky, pl.Series(said, dtype=pl.String))


def sample_size(rule: Sample, rows: int, whose: str) -> int:
    """Return how many rows a sample keeps.

    Raises:
        RequestError: More than there are.
    """
    size = rule.rows if rule.rows is not None else round((rule.fraction or 0) * rows)
    if size > rows:
        raise RequestError(f"{whose}: only {rows:,} rows to sample from")
    return size


def unlucky_rank(rank: int, rows: int) -> str:
    """Return why a row goes whose rank, counted from 0, is beyond the sample."""
    return f"rank {rank + 1:,} of {rows:,}"
