"""Pools and training sets made in parts on many machines, with the same outcome as ``pools.LocalPools``.

A part is a file of some thousand rows in a folder that all machines see. A machine holds one part in memory at a time.
An operation of scope ``row`` runs on each part independently. For an operation of scope ``all`` the driver collects a
key of every row, decides which rows are dropped, and sends each machine the numbers of a part's dropped rows.

So the driver holds numbers: at most 40 bytes per row while it ranks rows or compares words, else 16 (the digest of each
row), and 16 more for each row that repeats another. It holds text only of rows that are drawn, bad records, overlaps
with the suite, and keys that are text.
"""

from __future__ import annotations

import contextlib
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from harness.data import operations, sources, variants
from harness.data.operations.context import Untrainable
from harness.data.partitions.chain import Work, operate, refuse_whole_only, stages
from harness.data.partitions.contamination import decontaminated
from harness.data.partitions.draws import PartitionedDraws
from harness.data.partitions.ingest import Reader, read
from harness.data.partitions.parts import Machines, Part, joined, of_files
from harness.data.pools import PerRow, Pool, Stored
from harness.data.rows import Built, chained, drops
from harness.data.variants import DrawRequest
from harness.spec import Decontaminate, Source

__all__ = ["Machines", "PartitionedPools"]


class PartitionedPools:
    """Makes pools in parts (``pools.Pools``).

    Args:
        machines: The machines that do the work.
        scratch: A folder that all machines see, for this process alone; it is removed with this object.
    """

    def __init__(self, machines: Machines, scratch: Path) -> None:
        self.machines, self.scratch = machines, scratch
        self._folders = 0
        self._remove = weakref.finalize(self, _removed, scratch)

    def close(self) -> None:
        """Remove the folder, with the files that were not moved out of it."""
        self._remove()

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
            RequestError: As ``sources.load`` does, and for an operation that needs all rows in memory.
        """
        place = f"sources.{name}"
        refuse_whole_only(source.operations, place)
        context = operations.Context(place, source.seed, base, tokens, perplexity, untrainable)
        chain = operations.trainable.of_source(source.operations, context)
        cuts = stages(chain)
        work = Work(chain, *cuts[0], context, self._folder(), digests=len(cuts) == 1)
        reader = Reader(name, source, base, sources.layout(name, source, base), work)
        left, bad = read(self.machines, reader)
        done = operate(self.machines, left, work, digests=True)
        lost = [*bad, *(part for parts in done.lost for part in parts)]
        counts = {"read": sum(part.rows for part in bad)}
        for operation, parts in zip(chain, done.lost, strict=True):
            named = operations.label(operation)
            counts[named] = counts.get(named, 0) + sum(part.rows for part in parts)
        if source.on_bad_row == "stop":
            lines = [
                p
                for one, parts in zip(chain, done.lost, strict=True)
                if one == operations.trainable.ENCODE
                for p in parts
            ]
            first = lines[0].read() if lines else drops([])
            operations.trainable.refuse(name, first, sum(part.rows for part in lines))
        data = {
            "rows": sum(part.rows for part in done.parts),
            "dropped": sum(part.rows for part in lost),
            "lost": {named: count for named, count in sorted(counts.items()) if count},
        }
        data |= sources.read_as(source, reader.layout) if source.path is not None else {}
        rows = [part.file.path for part in done.parts]
        return Pool(chained(done.digests), data, {}, {"rows": rows, "drops": [joined(lost, work.folder)]})

    def decontaminated(self, source: Stored, items: pl.DataFrame, rule: Decontaminate) -> Pool:
        """Return a pool without the rows that overlap an item."""
        return decontaminated(self.machines, self._parts(source), items, rule, self._folder())

    def variant(self, asked: DrawRequest, pools: Mapping[str, Stored]) -> Built:
        """Draw a training set, which must fit into memory; the pools need not.

        Raises:
            RequestError: As ``variants.build`` does.
        """
        parts = {name: self._parts(pools[name]) for name in asked.variant.counts()}
        heights = {name: sum(part.rows for part in of_source) for name, of_source in parts.items()}
        work = self._folder()
        seed = asked.seed if variants.samples(asked.variant, heights) else 0
        drawn = PartitionedDraws.of(self.machines, work, parts, seed)
        try:
            return variants.from_draws(asked, drawn)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _parts(self, stored: Stored) -> list[Part]:
        files = stored.files("rows")
        assert files is not None  # what this class makes, and what a store holds, is in files
        return of_files(files)

    def _folder(self) -> Path:
        self._folders += 1
        made = self.scratch / f"{self._folders:04}"
        made.mkdir(parents=True)
        return made


def _removed(scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    with contextlib.suppress(OSError):  # the folder of another process is still in it
        scratch.parent.rmdir()
