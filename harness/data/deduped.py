"""``harness.data.dedupe``: rows without those that repeat an earlier one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import polars as pl

from harness import frames
from harness.data import repeats
from harness.data.given import Given
from harness.data.result import Result
from harness.errors import Asked, RequestError, did_you_mean

if TYPE_CHECKING:
    from harness.data.given import Rows

BAD = ("stop", "drop")


@dataclass(frozen=True, eq=False, repr=False)
class Deduped(Result):
    """What ``dedupe`` found.

    Attributes:
        kept: The first row of each cluster, in the order given, with all its columns.
        clusters: For each row that can be compared, ``id`` and ``cluster``, the id of its cluster's first row. A row
            without an id of its own has its place (``file:line``, ``row 3``); ids of several types are text here.
        bad: ``place`` and ``reason`` of each row that cannot be compared.
        summary: The figures that ``harness data dedupe --json`` prints: rows, kept, dropped, repeated (clusters of
            more than one row), the largest of these, method, threshold, and which columns were compared.
    """

    kept: pl.DataFrame
    clusters: pl.DataFrame
    bad: pl.DataFrame
    summary: dict[str, Any]

    def sentences(self) -> Sequence[str]:
        """Return the summary for people."""
        return repeats.sentences(self.summary)


def dedupe(
    rows: Rows,
    *,
    method: Literal["exact", "near", "semantic"] = "near",
    threshold: float | None = None,
    field: str | None = None,
    on_bad_row: Literal["stop", "drop"] = "stop",
) -> Deduped:
    """Drop rows that repeat an earlier row, and list which row repeats which.

    Args:
        rows: A polars or pandas frame, a list of dicts, a ``datasets.Dataset``, or the path of a file, in any layout
            that a source of a study may have. A column ``id`` names the rows.
        method: ``exact``: the same words, whatever their case, white space and punctuation; ``near``: nearly the same
            words; ``semantic``: the same meaning, by cosine of sentence embeddings.
        threshold: Similarity of duplicates, from 0 (excluded) to 1: 0.7 for ``near`` and 0.9 for ``semantic`` unless
            given; ``exact`` takes none.
        field: Compare this column, or canonical field (``prompt``, ``completion``, ...); default: all text.
        on_bad_row: ``stop`` at a row that cannot be compared, or ``drop`` it and list it in ``bad``.

    Raises:
        RequestError: A parameter has no valid value; the rows cannot be read, or hold nothing to compare; or one of
            their columns has values of several kinds, so that ``kept`` would be no table. The message names the line or
            row.

    >>> rows = [{"id": 1, "text": "What is 3 + 4?"}, {"id": 2, "text": "what is  3+4"}, {"id": 3, "text": "Why?"}]
    >>> found = dedupe(rows, method="exact")
    >>> found
    Deduped: 1 of 3 rows repeat an earlier one (exact), in 1 cluster; 2 stay.
    >>> found.kept["id"].to_list(), found.clusters.rows()
    ([1, 3], [(1, 1), (2, 1), (3, 3)])
    """
    asked = Asked()
    for name, value, values in (("method", method, get_args(repeats.Method)), ("on_bad_row", on_bad_row, BAD)):
        if value not in values:
            raise RequestError(f'{name}: "{value}" is not one of its values.{did_you_mean(str(value), values)}')
    if threshold is not None and not (isinstance(threshold, int | float) and 0 <= threshold <= 1):
        raise RequestError(f"threshold: {threshold!r} is no similarity; expected a number from 0 to 1")
    repeats.check(method, threshold, asked)
    given = Given.of(rows, "rows")
    found = repeats.find(given, method, threshold, field, on_bad_row, asked, lambda _: lambda *_: None)
    clusters = list(found.clusters())
    if len({type(name) for name in found.ids}) > 1:
        clusters = [{name: str(value) for name, value in line.items()} for line in clusters]
    bad = pl.DataFrame(list(found.bad.items()), {"place": pl.String, "reason": pl.String}, orient="row")
    return Deduped(given.chosen(found.stays), frames.table(clusters, "rows"), bad, found.summary())
