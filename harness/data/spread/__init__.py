"""Pools and training sets made in parts, on as many machines as there are: the same as ``pools.LocalPools`` makes.

Rows are in files of a folder that all machines see; a machine holds one part of them in memory. Operations are those
of rows in memory (``spec.operations``): one on each row is done to each part where it is; for one across rows the key
of every row is brought to the one that asks for the work, which tells the rows that go. That one holds no text but of
rows that are drawn, of bad records, of what overlaps the suite, and in keys that are text; otherwise, numbers. At most
40 bytes a row while ranks are computed or words compared, else 16 (the digest of each row), and as many for each row
that repeats another.
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
from harness.data.pools import Numbers, Pool, Stored
from harness.data.rows import Built, chained, drops
from harness.data.spread.chain import Work, operate, refuse_unspread, stages
from harness.data.spread.contamination import decontaminated
from harness.data.spread.draws import SpreadDraws
from harness.data.spread.parts import Part, Spread, joined, of_files
from harness.data.spread.reading import Reader, read
from harness.spec import Decontaminate, Source, Variant

__all__ = ["Spread", "SpreadPools"]


class SpreadPools:
    """Makes pools in parts (``pools.Pools``).

    Args:
        spread: Does the work.
        scratch: A folder that all machines see, for this process alone; it is removed with this object.
    """

    def __init__(self, spread: Spread, scratch: Path) -> None:
        self.spread, self.scratch = spread, scratch
        self._folders = 0
        self._remove = weakref.finalize(self, _removed, scratch)

    def close(self) -> None:
        """Remove what was not taken from the folder."""
        self._remove()

    def read(
        self,
        name: str,
        source: Source,
        base: Path,
        tokens: Numbers | None,
        perplexity: Numbers | None,
        untrainable: Untrainable | None = None,
    ) -> Pool:
        """Read, map and operate on a source's rows.

        Raises:
            RequestError: As ``sources.load`` does, and for an operation that needs all rows in memory.
        """
        place = f"sources.{name}"
        refuse_unspread(source.operations, place)
        context = operations.Context(place, source.seed, base, tokens, perplexity, untrainable)
        chain = operations.trainable.of_source(source.operations, context)
        cuts = stages(chain)
        work = Work(chain, *cuts[0], context, self._folder(), digests=len(cuts) == 1)
        reader = Reader(name, source, base, sources.layout(name, source, base), work)
        left, bad = read(self.spread, reader)
        done = operate(self.spread, left, work, digests=True)
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
        """Take out the rows that overlap an item."""
        return decontaminated(self.spread, self._parts(source), items, rule, self._folder())

    def variant(
        self,
        variant: Variant,
        pools: Mapping[str, Stored],
        *,
        seed: int,
        match: str,
        tokens: Numbers | None,
        trained: Numbers | None,
        perplexity: Numbers | None,
        untrainable: Untrainable | None = None,
        folder: Path,
    ) -> Built:
        """Draw a training set; it has to fit into memory, the pools have not.

        Raises:
            RequestError: As ``variants.build`` does.
        """
        parts = {name: self._parts(pools[name]) for name in variant.counts()}
        heights = {name: sum(part.rows for part in some) for name, some in parts.items()}
        work = self._folder()
        drawn = SpreadDraws.of(self.spread, work, parts, seed if variants.samples(variant, heights) else 0)
        try:
            return variants.from_draws(
                variant, drawn, seed=seed, match=match, tokens=tokens, trained=trained, perplexity=perplexity,
                untrainable=untrainable, folder=folder,
            )  # fmt: skip
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
    with contextlib.suppress(OSError):  # another's is still there
        scratch.parent.rmdir()
