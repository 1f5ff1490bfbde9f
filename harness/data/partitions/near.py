"""Finds near repeats among rows whose words no machine can hold at once.

Two joins find them. The first brings together the numbers of rows that share a MinHash bucket; most rows share none.
The second brings together the words of rows that share one, and computes how similar they are. The outcome is that of
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

BUCKET = 1 << 20  # lines (row, place in a band) that are brought together at a time
WORDS = 1 << 17  # lines with the row's words that are brought together at a time
SALT = np.uint64(0x9E3779B97F4A7C15)
MET = {"place": pl.UInt64, "number": pl.Int64}
FOUND = {"number": pl.Int64, AT: pl.Int64, "first": pl.Int64, "first_at": pl.Int64, "divided": pl.Boolean}


@dataclass(frozen=True)
class Rule:
    """Which text of rows is compared, and how.

    Attributes:
        field: The field compared; None for all text of a row.
        threshold: Similarity from which rows repeat each other.
        whose: Place and operation, for messages.
        folder: Folder for temporary files.
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
    """The rows of a part, without some.

    Attributes:
        part: The part.
        before: Number of rows in the parts before it.
        without: Numbers, within the part, of the rows left out.
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
    """Return the rows that ``Dedupe.gone`` would return: exact and near repeats of an earlier row.

    Raises:
        RequestError: A row lacks the field that is compared.
    """
    threshold = duplicates.THRESHOLDS["near"] if operation.threshold is None else operation.threshold
    rule = Rule(operation.field, threshold, operation.whose(context), folder)
    digests, order = together(machines, parts, partial(_digests, rule=rule))
    exact, exact_first = (order[numbers] for numbers in duplicates.later(digests))
    numbers, first = nearly(machines, parts, rule, np.sort(exact))
    # An exact repeat of a row that is itself a near repeat is a repeat of the first row of the cluster.
    now = dict(zip(numbers.tolist(), first.tolist(), strict=True))
    like = [now.get(one, one) for one in exact_first.tolist()]
    return Gone(np.concatenate([exact, numbers]), REPEATS["near"], np.concatenate([np.array(like, np.int64), first]))


def _digests(part: Part, rule: Rule) -> pl.DataFrame:
    return duplicates.word_digests(texts(part.read(), rule.field, rule.whose))


def nearly(machines: Machines, parts: Sequence[Part], rule: Rule, without: RowNumbers) -> tuple[RowNumbers, RowNumbers]:
    """Return the numbers of rows that nearly repeat an earlier one, and for each the first row of its cluster.

    Args:
        machines: The machines that do the work.
        parts: All rows.
        rule: Which text of rows is compared, and how.
        without: Numbers of the rows left out: exact repeats of an earlier row.

    Raises:
        RequestError: A row lacks the field that is compared.
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
        # As in memory: if a crowd was divided, search again without the repeats found so far.
        if not pairs.height or not pairs["divided"].any() or not pairs["number"].count():
            return _firsts(found)
        without = np.union1d(without, _firsts(found)[0])


def _round(machines: Machines, items: Sequence[PartRows], rule: Rule, count: int) -> pl.DataFrame:
    """Return pairs of near repeats: in each bucket, one pair for each row that is not the first of its cluster."""
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


def _where(kept: PartRows, rule: Rule, buckets: int) -> Path:
    """Write the place of each row in every band; return the file."""
    rows = kept.rows()
    found = places_of(Texts.of(rule.words(kept.part, rows)))
    band = np.arange(BANDS, dtype=np.uint64)[:, None]
    found = (found ^ band * SALT) * SALT  # places of different bands are different places
    lines = pl.DataFrame(
        {"place": found.ravel(), "number": np.tile(rows + kept.before, BANDS)}, schema=MET
    ).with_columns(bucket=(pl.col("place") % buckets).cast(pl.Int64))
    return write(lines, rule.folder / f"places-{kept.before:012}.parquet")


def _meetings(lines: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Write the rows that share a place with other rows; return the file and its number of lines."""
    met_others = lines.filter(pl.len().over("place") > 1).select("place", "number").sort("number", "place")
    bucket = lines["bucket"][0] if lines.height else 0
    file = write(met_others, folder / f"meetings-{bucket:06}.parquet")
    return pl.DataFrame({"file": [str(file)], "lines": [met_others.height]})


def _words(kept: PartRows, rule: Rule, meetings: Sequence[str], buckets: int) -> Path | None:
    """Write the words of rows that share places, once for each place; return the file."""
    inside = pl.col("number").is_between(kept.before, kept.before + kept.part.rows, closed="left")
    lines = pl.scan_parquet(list(meetings), glob=False).filter(inside).collect()
    if not lines.height:
        return None
    rows = lines["number"].unique().sort().to_numpy() - kept.before
    known = pl.DataFrame(
        {"number": rows + kept.before, AT: kept.part.at()[rows], "words": rule.words(kept.part, rows)},
        schema={"number": pl.Int64, AT: pl.Int64, "words": pl.String},
    )
    lines = lines.join(known, on="number", how="inner").with_columns(bucket=(pl.col("place") % buckets).cast(pl.Int64))
    return write(lines, rule.folder / f"words-{kept.before:012}.parquet")


def _measured(lines: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Return pairs of near repeats among the rows of a bucket; a last line states whether a crowd was divided."""
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
    last = pl.DataFrame({name: [divided if name == "divided" else None] for name in FOUND}, schema=FOUND)
    return pl.concat([pairs, last])


def _firsts(pairs: pl.DataFrame) -> tuple[RowNumbers, RowNumbers]:
    """Return the numbers of rows that are not the first of their cluster, in order, and for each the first row."""
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
