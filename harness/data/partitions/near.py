"""Near repeats among rows whose words no machine can hold at once.

Two joins find them. The first brings together the numbers of rows that share a MinHash bucket; most rows share none.
The second brings together the words of the rows that do, and computes how similar they are. The outcome is that of
``dedupe`` on all rows in memory, because whether two rows are compared, and their similarity, depends on these two rows
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from harness.data import duplicates
from harness.data.duplicates.joining import merged
from harness.data.duplicates.near import BANDS, Texts, met, places_of
from harness.data.operations import Context
from harness.data.operations.content import texts
from harness.data.partitions.parts import AT, Machines, Part, RowNumbers, places, starts, together, write
from harness.spec import Dedupe
from harness.spec.operations.base import Gone
from harness.spec.operations.dedupe import REPEATS

BUCKET = 1 << 20  # lines that are brought together at a time: where rows are, in all bands
WORDS = 1 << 17  # the same, with their words
SALT = np.uint64(0x9E3779B97F4A7C15)
MET = {"place": pl.UInt64, "number": pl.Int64}
FOUND = {"number": pl.Int64, AT: pl.Int64, "first": pl.Int64, "first_at": pl.Int64, "divided": pl.Boolean}


@dataclass(frozen=True)
class Rule:
    """What is looked at, and how.

    Attributes:
        field: Of a row; all of it where there is none.
        threshold: Similarity from which rows are the same.
        whose: Whose rule this is, for messages.
        folder: Takes files on the way.
    """

    field: str | None
    threshold: float
    whose: str
    folder: Path

    def words(self, part: Part, rows: RowNumbers) -> pl.Series:
        """Return the words of some rows of a part, by their numbers within it.

        Raises:
            RequestError: A row lacks the field.
        """
        return duplicates.normalized(texts(part.read(), self.field, self.whose).gather(rows))


@dataclass(frozen=True)
class PartRows:
    """Some rows of a part.

    Attributes:
        part: Where they are.
        before: How many rows come before the part.
        without: Which of its rows are left out, by their numbers within it.
    """

    part: Part
    before: int
    without: RowNumbers

    def rows(self) -> RowNumbers:
        """Return the rows, by their numbers within the part."""
        return np.delete(np.arange(self.part.rows), self.without)


def nearly_repeated(
    machines: Machines, parts: Sequence[Part], operation: Dedupe, context: Context, folder: Path
) -> Gone:
    """Return the rows that ``Dedupe.gone`` says: those that repeat an earlier one exactly, and those that nearly do.

    Raises:
        RequestError: A row lacks the field that is looked at.
    """
    threshold = duplicates.THRESHOLDS["near"] if operation.threshold is None else operation.threshold
    rule = Rule(operation.field, threshold, operation.whose(context), folder)
    digests, order = together(machines, parts, partial(_digests, rule=rule))
    exact, exact_first = (order[numbers] for numbers in duplicates.later(digests))
    numbers, first = nearly(machines, parts, rule, np.sort(exact))
    # What repeats a row exactly that nearly repeats another repeats that one.
    now = dict(zip(numbers.tolist(), first.tolist(), strict=True))
    like = [now.get(one, one) for one in exact_first.tolist()]
    return Gone(np.concatenate([exact, numbers]), REPEATS["near"], np.concatenate([np.array(like, np.int64), first]))


def _digests(part: Part, rule: Rule) -> pl.DataFrame:
    return duplicates.word_digests(texts(part.read(), rule.field, rule.whose))


def nearly(machines: Machines, parts: Sequence[Part], rule: Rule, without: RowNumbers) -> tuple[RowNumbers, RowNumbers]:
    """Return the rows that nearly repeat an earlier one, and the first that each repeats, by their numbers.

    Args:
        machines: Do the work.
        parts: All rows.
        rule: What is looked at, and how.
        without: Rows that are left out, by number: those that repeat an earlier one exactly.

    Raises:
        RequestError: A row lacks the field that is looked at.
    """
    before = starts(parts)
    found = pl.DataFrame(schema=FOUND)
    while True:
        left_out = {part: rows for part, _, rows in places(parts, without)}
        none = np.empty(0, np.int64)
        items = [PartRows(part, int(before[at]), left_out.get(at, none)) for at, part in enumerate(parts)]
        count = int(before[-1]) - len(without)
        pairs = _round(machines, [item for item in items if len(item.without) < item.part.rows], rule, count)
        found = pl.concat([found, pairs.drop_nulls("number")])
        # As in memory: where a crowd was divided, once more, without those that go.
        if not pairs.height or not pairs["divided"].any() or not pairs["number"].count():
            return _firsts(found)
        without = np.union1d(without, _firsts(found)[0])


def _round(machines: Machines, items: Sequence[PartRows], rule: Rule, count: int) -> pl.DataFrame:
    """Return pairs of rows that are nearly the same: one for each row that is not the first where it met others."""
    if not items:
        return pl.DataFrame(schema=FOUND)
    buckets = count * BANDS // BUCKET + 1
    where = machines.map(partial(_where, rule=rule, buckets=buckets), items)
    files = machines.meet(where, buckets, partial(_meetings, folder=rule.folder))
    if not files["lines"].sum():
        return pl.DataFrame(schema=FOUND)
    named = files.filter(pl.col("lines") > 0).sort("file")["file"].to_list()
    buckets = int(files["lines"].sum()) // WORDS + 1
    given = machines.map(partial(_words, rule=rule, meetings=named, buckets=buckets), items)
    return machines.meet(
        [file for file in given if file is not None], buckets, partial(_measured, threshold=rule.threshold)
    )


def _where(some: PartRows, rule: Rule, buckets: int) -> Path:
    """Write the MinHash buckets of rows, one for each band; return the file."""
    rows = some.rows()
    found = places_of(Texts.of(rule.words(some.part, rows)))
    band = np.arange(BANDS, dtype=np.uint64)[:, None]
    found = (found ^ band * SALT) * SALT  # places of different bands are different places
    lines = pl.DataFrame(
        {"place": found.ravel(), "number": np.tile(rows + some.before, BANDS)}, schema=MET
    ).with_columns(bucket=(pl.col("place") % buckets).cast(pl.Int64))
    return write(lines, rule.folder / f"places-{some.before:012}.parquet")


def _meetings(lines: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Write the rows that share a bucket with other rows; return the file."""
    met_others = lines.filter(pl.len().over("place") > 1).select("place", "number").sort("number", "place")
    bucket = lines["bucket"][0] if lines.height else 0
    file = write(met_others, folder / f"meetings-{bucket:06}.parquet")
    return pl.DataFrame({"file": [str(file)], "lines": [met_others.height]})


def _words(some: PartRows, rule: Rule, meetings: Sequence[str], buckets: int) -> Path | None:
    """Write the words of rows that share buckets, once for each bucket; return the file."""
    inside = pl.col("number").is_between(some.before, some.before + some.part.rows, closed="left")
    lines = pl.scan_parquet(list(meetings), glob=False).filter(inside).collect()
    if not lines.height:
        return None
    rows = lines["number"].unique().sort().to_numpy() - some.before
    known = pl.DataFrame(
        {"number": rows + some.before, AT: some.part.at()[rows], "words": rule.words(some.part, rows)},
        schema={"number": pl.Int64, AT: pl.Int64, "words": pl.String},
    )
    lines = lines.join(known, on="number", how="inner").with_columns(bucket=(pl.col("place") % buckets).cast(pl.Int64))
    return write(lines, rule.folder / f"words-{some.before:012}.parquet")


def _measured(lines: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Return pairs of near repeats among the rows of some buckets, and whether a large bucket was divided."""
    rows = lines.unique("number").sort(AT)
    numbered = rows.select("number").with_row_index("row")
    lines = lines.join(numbered, on="number", how="inner").sort("row", "place")
    label, divided = met(
        Texts.of(rows["words"]), lines["row"].cast(pl.Int64).to_numpy(), lines["place"].to_numpy().copy(), threshold
    )
    later = np.flatnonzero(label != np.arange(len(label)))
    pairs = pl.DataFrame(
        {
            "number": rows["number"].gather(later),
            AT: rows[AT].gather(later),
            "first": rows["number"].gather(label[later]),
            "first_at": rows[AT].gather(label[later]),
            "divided": np.full(len(later), divided),
        },
        schema=FOUND,
    )
    told = pl.DataFrame({name: [divided if name == "divided" else None] for name in FOUND}, schema=FOUND)
    return pl.concat([pairs, told])


def _firsts(pairs: pl.DataFrame) -> tuple[RowNumbers, RowNumbers]:
    """Return the rows of all pairs that are not the first of their cluster, in their order by number, and the first."""
    ends = pl.concat(
        [pairs.select("number", AT), pairs.select(pl.col("first").alias("number"), pl.col("first_at").alias(AT))]
    )
    rows = ends.unique("number").sort(AT)
    at = rows[AT].to_numpy()
    left, right = (np.searchsorted(at, pairs[name].to_numpy()) for name in (AT, "first_at"))
    label = merged(np.arange(len(at)), left, right)
    later = np.flatnonzero(label != np.arange(len(at)))
    found = pl.DataFrame({"number": rows["number"].gather(later), "first": rows["number"].gather(label[later])}).sort(
        "number"
    )
    return found["number"].to_numpy(), found["first"].to_numpy()
