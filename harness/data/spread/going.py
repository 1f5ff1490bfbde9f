"""Which rows go where only all rows together tell: repeats, and those that a sample leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
import polars as pl

from harness.data import duplicates, operations
from harness.data.operations import Context, label
from harness.data.operations.content import texts
from harness.data.rows import rank_keys
from harness.data.spread.near import Rule, nearly
from harness.data.spread.parts import AT, Numbers, Part, Spread, places, starts, write
from harness.spec import AnyOperation, Dedupe, Sample

KEY = 16  # bytes of the digest of a row's words: rows whose words differ have different ones
BUCKET = 1 << 20  # rows whose keys are brought together at a time


@dataclass(frozen=True)
class Going:
    """Rows of a part that go.

    Attributes:
        rows: Their numbers within the part.
        said: Why each goes.
    """

    rows: Numbers
    said: list[str]

    @classmethod
    def none(cls) -> Going:
        """Return that none goes."""
        return cls(np.empty(0, np.int64), [])

    def reasons(self, height: int) -> pl.Series:
        """Return for each row of the part why it goes, or null."""
        return pl.repeat(None, height, dtype=pl.String, eager=True).scatter(
            self.rows, pl.Series(self.said, dtype=pl.String)
        )


def going(
    spread: Spread, parts: Sequence[Part], operation: AnyOperation, context: Context, folder: Path
) -> dict[int, Going]:
    """Return the rows that an operation drops, by the number of their part; ``folder`` takes files on the way.

    Raises:
        RequestError: The rows lack what the operation needs.
    """
    whose = f"{context.place}: {label(operation)}"
    if isinstance(operation, Sample):
        rows = sum(part.rows for part in parts)
        size = operations.sample_size(operation, rows, whose)
        numbers = ranks(spread, parts, context.seed, "sample")[size:]
        said = [operations.unlucky_rank(rank, rows) for rank in range(size, rows)]
    else:
        assert isinstance(operation, Dedupe)
        numbers, first = repeats(spread, parts, operation, whose, folder)
        named = _names(spread, parts, np.unique(first))
        said = [operations.repeats_row(operation, named[number]) for number in first.tolist()]
    return {part: Going(rows, [said[at] for at in which.tolist()]) for part, which, rows in places(parts, numbers)}


# -------------------------------------------------------------------------------------------------------------- ranks


def ranks(spread: Spread, parts: Sequence[Part], *seed: object) -> Numbers:
    """Return the rows of all parts, by their number, in a random order (see ``rows.ranked``).

    Takes 40 bytes a row while it works, in one place; a row's text is not looked at.
    """
    found = spread.map(partial(_ranked, seed=seed), parts)
    ids, keys = (np.concatenate([part[which] for part in found]) for which in (0, 1))
    ordered = np.concatenate([part.at() for part in parts]).argsort(kind="stable") if _unordered(parts) else None
    if ordered is not None:
        ids, keys = ids[ordered], keys[ordered]
    # Keys are those of rows that come once. Another copy of a row has another key.
    by_id = ids.argsort(kind="stable")
    copies = np.flatnonzero(ids[by_id[1:]] == ids[by_id[:-1]]) + 1
    if len(copies):
        first = np.flatnonzero(np.append(True, ids[by_id[1:]] != ids[by_id[:-1]]))
        occurrence = copies - first[np.searchsorted(first, copies, side="right") - 1]
        named = zip(ids[by_id[copies]].tolist(), occurrence.tolist(), strict=True)
        keys[by_id[copies]] = rank_keys((f"{row_id:016x}\x1f{number}" for row_id, number in named), *seed)
    order = keys.argsort(kind="stable")
    return order if ordered is None else ordered[order]


def _ranked(part: Part, seed: Sequence[object]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of a part's rows as numbers, and their keys."""
    ids = part.read(["row_id"])["row_id"]
    numbers = np.frombuffer(bytes.fromhex("".join(ids)), ">u8").astype(np.uint64)
    return numbers, rank_keys((f"{row_id}\x1f0" for row_id in ids), *seed)


def _unordered(parts: Sequence[Part]) -> bool:
    return any(part.first is None for part in parts)


# ------------------------------------------------------------------------------------------------------------ repeats


def repeats(spread: Spread, parts: Sequence[Part], rule: Dedupe, whose: str, folder: Path) -> tuple[Numbers, Numbers]:
    """Return the rows that repeat an earlier one, and the earlier one of each, by their numbers.

    Rows with the same words meet by a digest of them. Those that are nearly the same meet as ``near`` says.

    Raises:
        RequestError: A row lacks the field that is looked at.
    """
    before = starts(parts)
    items = list(zip(parts, before[:-1].tolist(), strict=True))
    buckets = int(before[-1]) // BUCKET + 1
    keys = partial(_keys, field=rule.field, whose=whose, buckets=buckets, folder=folder)
    same = spread.meet(spread.map(keys, items), buckets, _later).sort("number")
    if rule.method != "near":
        return same["number"].to_numpy(), same["first"].to_numpy()
    threshold = duplicates.THRESHOLDS["near"] if rule.threshold is None else rule.threshold
    exact = same["number"].to_numpy()
    numbers, first = nearly(spread, parts, Rule(rule.field, threshold, whose, folder), exact)
    near = pl.DataFrame({"number": numbers, "first": first}, schema={"number": pl.Int64, "first": pl.Int64})
    # What repeats a row exactly that nearly repeats another repeats that one.
    both = same.join(near, left_on="first", right_on="number", how="left", suffix="_near")
    same = both.select("number", pl.coalesce("first_near", "first").alias("first"))
    found = pl.concat([same, near]).sort("number")
    return found["number"].to_numpy(), found["first"].to_numpy()


def _keys(item: tuple[Part, int], field: str | None, whose: str, buckets: int, folder: Path) -> Path:
    """Write a digest of the words of each row of a part; return where."""
    part, before = item
    words = duplicates.normalized(texts(part.read(), field, whose))
    keys = [blake2b(text.encode(), digest_size=KEY).digest() for text in words]
    lines = pl.DataFrame(
        {
            "bucket": [int.from_bytes(key[:4], "big") % buckets for key in keys],
            "key": keys,
            AT: part.at(),
            "number": np.arange(before, before + part.rows),
        },
        schema={"bucket": pl.Int64, "key": pl.Binary, AT: pl.Int64, "number": pl.Int64},
    )
    return write(lines, folder / f"keys-{before:012}.parquet")


def _later(lines: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of some buckets that are not the first with their key, with that one."""
    first = pl.col("number").first().over("key").alias("first")
    return lines.sort(AT).select("number", first).filter(pl.col("number") != pl.col("first"))


def _names(spread: Spread, parts: Sequence[Part], numbers: Numbers) -> dict[int, str]:
    """Return how reasons call some rows."""
    where = places(parts, numbers)
    called = spread.map(_named, [(parts[part], rows) for part, _, rows in where])
    return {
        number: name
        for (_, which, _), names in zip(where, called, strict=True)
        for number, name in zip(numbers[which].tolist(), names, strict=True)
    }


def _named(item: tuple[Part, Numbers]) -> list[str]:
    part, rows = item
    return operations.names(part.read(["row_id", "meta"])[rows])
