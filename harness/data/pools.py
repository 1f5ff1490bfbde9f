"""What a study makes of its sources, in memory on this machine.

``partitions`` makes the same in parts, on many machines.
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

PerRow = Callable[[pl.DataFrame], Sequence[Any]]  # of each row, as the model sees it


@dataclass(frozen=True)
class File:
    """A file that holds a table, or one part of it.

    Attributes:
        path: Where it is.
        sha256: What its bytes must be; None for a file that was made just now.
    """

    path: Path
    sha256: str | None = None


class Stored(Protocol):
    """Tables that were made before: in memory, or in files that need not be read as a whole."""

    @property
    def digest(self) -> str:
        """The content digest."""

    def table(self, name: str) -> pl.DataFrame:
        """Return a whole table."""

    def files(self, name: str) -> list[File] | None:
        """Return the files that hold a table, its rows in order; None where it is only in memory."""


@dataclass(frozen=True)
class Pool:
    """A source's rows as they were read, or without those that overlap the suite.

    Attributes:
        digest: ``rows.pool_digest`` of the rows.
        data: Facts for the record.
        tables: ``rows``, ``drops``, ``overlaps``, those that are in memory.
        files: The same, those that are in files, which may be moved from where they are.
    """

    digest: str
    data: dict[str, Any]
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    files: dict[str, list[Path]] = field(default_factory=dict)


class Pools(Protocol):
    """Makes pools of sources, and training sets of pools. Who makes them, and where, changes nothing in them."""

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
        """Take out the rows that overlap an item (see ``decontaminate``)."""

    def variant(self, asked: DrawRequest, pools: Mapping[str, Stored]) -> Built:
        """Draw a training set (see ``variants.build``)."""


class LocalPools:
    """Makes them in memory."""

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
        if source.path is not None:  # what is fetched or made is not begun once more for it
            data |= sources.read_as(source, sources.layout(name, source, base))
        return Pool(pool_digest(built.rows), data, {"rows": built.rows, "drops": built.drops})

    def decontaminated(self, source: Stored, items: pl.DataFrame, rule: Decontaminate) -> Pool:
        """Take out the rows that overlap an item."""
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
    """Return what the record of a decontaminated pool says."""
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
