"""Draws rows from pools in parts: each machine ranks the rows of its parts, and only drawn rows leave it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from harness.data.operations import Context
from harness.data.partitions.chain import Input, Operated, Work, operate, refuse_whole_only, stages
from harness.data.partitions.gone import ranks
from harness.data.partitions.parts import AT, Machines, Part, RowNumbers, places, starts
from harness.data.rows import DROP_SCHEMA, drops
from harness.data.variants import PASS, RANK
from harness.spec import AnyOperation


@dataclass(frozen=True)
class Draw:
    """A source's rows in the order of its draw.

    Attributes:
        parts: The rows, in parts.
        order: The rows' numbers through all parts, in the order of the draw.
        ranks: The rank of each row in the whole pool; None if no row was dropped.
    """

    parts: Sequence[Part]
    order: RowNumbers
    ranks: RowNumbers | None = None


@dataclass(frozen=True)
class PartitionedDraws:
    """The rows of every source of a mix (``variants.Draws``), in parts.

    Attributes:
        machines: The machines that do the work.
        folder: Folder for files, needed until rows and ledger have been read.
        draws: Source -> draw.
        ledger: For each operation done on all sources together, its lines of the ledger in parts.
        first: Source -> place of its first row in the order of all sources' rows, if operations were done.
    """

    machines: Machines
    folder: Path
    draws: Mapping[str, Draw]
    ledger: Sequence[Sequence[Part]] = field(default_factory=list)
    first: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, machines: Machines, folder: Path, pools: Mapping[str, Sequence[Part]], seed: int) -> PartitionedDraws:
        """Return the draw of all rows of each pool."""
        draws = {name: Draw(parts, ranks(machines, parts, seed, "draw", name)) for name, parts in pools.items()}
        return cls(machines, folder, draws)

    @property
    def heights(self) -> Mapping[str, int]:
        """How many rows each source has."""
        return {name: len(draw.order) for name, draw in self.draws.items()}

    def rows(self, name: str, start: int, stop: int) -> pl.DataFrame:
        """Return some of a source's rows."""
        draw = self.draws[name]
        wanted = draw.order[start:stop]
        where = places(draw.parts, wanted)
        taken = self.machines.map(_taken, [(draw.parts[part], rows) for part, _, rows in where])
        rank = np.arange(start, start + len(wanted)) if draw.ranks is None else draw.ranks[start:stop]
        if not taken:
            taken, where = [draw.parts[0].read().clear()], []
        came = np.concatenate([which for _, which, _ in where]) if where else wanted
        rows: pl.DataFrame = pl.concat(taken)[came.argsort()].drop(AT, strict=False)
        return rows.select(pl.Series(RANK, rank, pl.UInt32), pl.all(), pl.lit(0, pl.UInt32).alias(PASS))

    def operated(self, chain: Sequence[AnyOperation], context: Context) -> PartitionedDraws:
        """Return the draws without the rows that operations drop.

        Raises:
            RequestError: As ``operations.apply_all`` does.
        """
        if not chain:
            return self
        refuse_whole_only(chain, context.place)
        items: list[Input] = []
        first: dict[str, int] = {}
        for name, draw in self.draws.items():
            first[name] = sum(len(self.draws[other].order) for other in first)
            at = np.empty(len(draw.order), np.int64)
            at[draw.order] = np.arange(first[name], first[name] + len(at))
            cuts = np.split(at, starts(draw.parts)[1:-1])
            items += [Input(0, part, None, of_part) for part, of_part in zip(draw.parts, cuts, strict=True)]
        items = [replace(item, number=number) for number, item in enumerate(items)]
        work = Work(tuple(chain), *stages(chain)[0], context, self.folder, False)
        done = operate(self.machines, self.machines.map(work, items), work)
        return PartitionedDraws(self.machines, self.folder, self._left(done, first), done.lost, first)

    def _left(self, done: Operated, first: Mapping[str, int]) -> dict[str, Draw]:
        """Return the draws of the sources after operations on all of them."""
        at = np.concatenate([part.at() for part in done.parts])
        order = at.argsort()
        cuts = np.searchsorted(at[order], [first[name] for name in self.draws][1:])
        found = {}
        for name, own in zip(self.draws, np.split(order, cuts), strict=True):
            found[name] = Draw(done.parts, own, at[own] - first[name])
        return found

    def lost(self, name: str, below: int | None) -> pl.DataFrame:
        """Return the operations' ledger of a source's rows, of all or of those with a rank below ``below``."""
        work = partial(_lines, name=name, stop=None if below is None else self.first.get(name, 0) + below)
        lines = [drops([])]
        for parts in self.ledger:
            found = [part for part in self.machines.map(work, parts) if part.height] if parts else []
            lines += [pl.concat(found).sort(AT).select(DROP_SCHEMA.names())] if found else []
        return pl.concat(lines)


def _taken(item: tuple[Part, RowNumbers]) -> pl.DataFrame:
    part, rows = item
    return part.read()[rows]


def _lines(part: Part, name: str, stop: int | None) -> pl.DataFrame:
    lines = part.read().filter(source=name)
    return lines if stop is None else lines.filter(pl.col(AT) < stop)
