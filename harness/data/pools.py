"""Makes a study's pools and training sets from its sources, in memory on this machine.

``partitions`` makes the same pools and training sets in parts, on many machines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from harness.data import contamination, sources, variants
from harness.data.operations.context import Untrainable
from harness.data.rows import Built, pool_digest
from harness.data.variants import DrawRequest
from harness.spec import Decontaminate, Source

PerRow = Callable[[pl.DataFrame], Sequence[Any]]  # rows -> one value for each row, as the model sees the row


@dataclass(frozen=True)
class File:
    """A file that holds a table, or one part of it.

    Attributes:
        path: Path of the file.
        sha256: Digest that its bytes must have; None for a file that was just written.
    """

    path: Path
    sha256: str | None = None


class Stored(Protocol):
    """Tables of an earlier step: in memory, or in files that need not be read as a whole."""

    @property
    def digest(self) -> str:
        """The content digest."""

    def table(self, name: str) -> pl.DataFrame:
        """Return a whole table."""

    def files(self, name: str) -> list[File] | None:
        """Return the files that hold a table, its rows in order; None if the table is only in memory."""


@dataclass(frozen=True)
class Pool:
    """A source's rows as they were read, or without those that overlap the suite.

    Attributes:
        digest: ``rows.pool_digest`` of the rows.
        data: Facts for the record.
        tables: Name -> table, for those of ``rows``, ``drops`` and ``overlaps`` that are in memory.
        files: Name -> files, for those that are in files; the caller may move the files.
    """

    digest: str
    data: dict[str, Any]
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    files: dict[str, list[Path]] = field(default_factory=dict)


class Pools(Protocol):
    """Makes pools from sources, and training sets from pools; every implementation gives the same results."""

    def read(
        self,
        name: str,
        source: Source,
        base: Path,
        tokens: PerRow | None,
        perplexity: PerRow | None,
        untrainable: Untrainable | None = None,
    ) -> Pool:
        """Read, map and operate on a source's rows (see ``sources.load``)."""

    def decontaminated(self, source: Stored, items: pl.DataFrame, rule: Decontaminate) -> Pool:
        """Return a pool without the rows that overlap an item (see ``contamination``)."""

    def variant(self, asked: DrawRequest, pools: Mapping[str, Stored]) -> Built:
        """Draw a training set (see ``variants.build``)."""


class LocalPools:
    """Makes pools and training sets in memory (``Pools``)."""

    def read(
        self,
        name: str,
        source: Source,
        base: Path,
        tokens: PerRow | None,
        perplexity: PerRow | None,
        untrainable: Untrainable | None = None,
    ) -> Pool:
        """Read, map and operate on a source's rows.

        Raises:
            RequestError: As ``sources.load`` does.
        """
        built = sources.load(name, source, base, tokens, perplexity, untrainable)
        lost = {str(op): int(n) for op, n in built.drops.group_by("operation").len().sort("operation").iter_rows()}
        data = {"rows": built.rows.height, "dropped": built.drops.height, "lost": lost}
        if source.path is not None:  # other sources would be fetched or generated a second time
            data |= sources.read_as(source, sources.layout(name, source, base))
        return Pool(pool_digest(built.rows), data, {"rows": built.rows, "drops": built.drops})

    def decontaminated(self, source: Stored, items: pl.DataFrame, rule: Decontaminate) -> Pool:
        """Return a pool without the rows that overlap an item."""
        rows = source.table("rows")
        found = contamination.overlaps(rows, items, rule)
        removed = contamination.removable(found, rule)
        built = contamination.remove(rows, found, rule)
        data = facts(built.rows.height, built.drops.height, kinds(rows, removed), kinds(built.rows, found), removed)
        return Pool(pool_digest(built.rows), data, {"rows": built.rows, "drops": built.drops, "overlaps": found})

    def variant(self, asked: DrawRequest, pools: Mapping[str, Stored]) -> Built:
        """Draw a training set.

        Raises:
            RequestError: As ``variants.build`` does.
        """
        frames = {name: pool.table("rows") for name, pool in pools.items()}
        return variants.build(asked, frames)


def facts(
    rows: int, dropped: int, kinds: dict[str, int], kept: dict[str, int], removed: pl.DataFrame
) -> dict[str, Any]:
    """Return the facts for the record of a decontaminated pool."""
    return {
        "rows": rows,
        "removed": dropped,
        "kinds": kinds,
        "kept": kept,
        "items_touched": sorted(removed["item_id"].unique().to_list()),
    }


def kinds(rows: pl.DataFrame, found: pl.DataFrame) -> dict[str, int]:
    """Count rows by the kind of their first overlap; copies of a row count each."""
    first = found.unique("row_id", keep="first", maintain_order=True).select("row_id", "kind")
    counts = rows.select("row_id").join(first, on="row_id", how="inner").group_by("kind").len().sort("kind")
    return {str(kind): int(n) for kind, n in counts.iter_rows()}
