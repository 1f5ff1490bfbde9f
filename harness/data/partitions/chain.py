"""Operations on rows in parts, with the same outcome as on rows in memory.

An operation of scope ``row`` needs one row at a time: a machine reads a part, runs such operations one after the other
and writes the remaining rows. An operation of scope ``all`` needs every row: the driver first compares the keys of all
rows, and the rows to drop are removed from their parts when the next operations run.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import polars as pl

from harness import outside
from harness.data import operations
from harness.data.partitions.gone import gone_rows
from harness.data.partitions.parts import AT, Machines, Part, RowNumbers, numbered, write
from harness.data.pools import File
from harness.data.rows import row_digests
from harness.errors import RequestError
from harness.spec import AnyOperation
from harness.spec.operations.base import Emptied, Gone


@dataclass(frozen=True)
class Remainder:
    """A part after some operations; operations are given by their numbers in the chain.

    Attributes:
        part: The remaining rows.
        rows: Operation -> number of rows that it left.
        lost: Operation -> file with its lines of the ledger.
        emptied: Operation that left no rows -> facts about the rows before it.
        failed: The operation that could not be done, and the error.
        digests: Digests of the rows, if requested.
    """

    part: Part | None = None
    rows: dict[int, int] = field(default_factory=dict)
    lost: dict[int, Part] = field(default_factory=dict)
    emptied: dict[int, Emptied] = field(default_factory=dict)
    failed: tuple[int, RequestError] | None = None
    digests: bytes = b""


@dataclass(frozen=True)
class Input:
    """A part to work on.

    Attributes:
        number: The part's place among the parts.
        part: The part.
        gone: The rows that the first operation drops, if its scope is ``all``.
        at: The place of each of its rows in the order of all rows, if the rows are to be sorted by it.
    """

    number: int
    part: Part
    gone: Gone | None = None
    at: RowNumbers | None = None


@dataclass(frozen=True)
class Work:
    """Operations of a chain that are done on each part independently.

    Attributes:
        chain: The whole chain.
        start: Number of the first operation to do.
        stop: Number after that of the last operation to do.
        context: The context of the operations.
        folder: Folder for the files.
        digests: Whether to compute digests of the rows.
        held: Files of functions, which must be the same on all machines.
    """

    chain: tuple[AnyOperation, ...]
    start: int
    stop: int
    context: operations.Context
    folder: Path
    digests: bool
    held: Mapping[Path, str] = field(default_factory=lambda: outside.digested(".py"))

    def __call__(self, item: Input) -> Remainder:
        """Do the operations on a part.

        Raises:
            Changed: A function's file differs on this machine.
        """
        with outside.same(self.held):
            return self._done(item)

    def _done(self, item: Input) -> Remainder:
        rows = item.part.read()
        if item.at is not None:
            rows = rows.with_columns(pl.Series(AT, item.at, pl.Int64)).sort(AT)
        return self.done(f"{item.number:06}", rows, item.gone)

    def done(self, name: str, rows: pl.DataFrame, gone: Gone | None = None) -> Remainder:
        """Do the operations on rows, and write the remaining rows and the ledger of the others."""
        counts: dict[int, int] = {}
        lost: dict[int, Part] = {}
        emptied: dict[int, Emptied] = {}
        for number in range(self.start, self.stop):
            operation = self.chain[number]
            try:
                reasons = None
                if gone is not None and number == self.start:
                    reasons = operations.reasons_of(rows.height, gone.rows, gone.why)
                built = operations.apply(rows, operation, self.context, reasons)
                if not built.rows.height:
                    emptied[number] = operations.emptied(rows, built, operation, operation.whose(self.context))
            except RequestError as error:
                return Remainder(rows=counts, lost=lost, emptied=emptied, failed=(number, error))
            if built.drops.height:
                lines = built.drops
                if AT in rows.columns:
                    lines = lines.hstack(rows.filter(~pl.col(AT).is_in(built.rows[AT].implode())).select(AT))
                file = write(lines, self.folder / f"lost-{number:03}-{name}.parquet")
                lost[number] = Part(File(file), lines.height, None if AT in rows.columns else 0)
            rows = built.rows
            counts[number] = rows.height
        file = write(rows, self.folder / f"rows-{name}.parquet")
        part = Part(File(file), rows.height, None if AT in rows.columns else 0)
        return Remainder(part, counts, lost, emptied, None, row_digests(rows) if self.digests else b"")


@dataclass(frozen=True)
class Operated:
    """The rows after a chain of operations.

    Attributes:
        parts: The remaining rows.
        lost: For every operation, its lines of the ledger in parts.
        digests: Digests of the rows, part by part.
    """

    parts: list[Part]
    lost: list[list[Part]]
    digests: list[bytes]


def stages(chain: Sequence[AnyOperation]) -> list[tuple[int, int]]:
    """Cut a chain into stages, each (start, stop), whose operations have scope ``row``, except the first of a stage.

    The first stage has operations of scope ``row`` only, and may be empty.
    """
    cuts = [0, *(number for number, one in enumerate(chain) if one.scope == "all"), len(chain)]
    return list(pairwise(cuts))


def refuse_whole_only(chain: Sequence[AnyOperation], whose: str) -> None:
    """Refuse operations that are only possible with all rows in memory.

    Raises:
        RequestError: The chain has such an operation; the message names it and what to do.
    """
    for operation in chain:
        if {"perplexity", "embeddings"} & operation.needs:
            raise RequestError(
                f"{whose}: {operation} needs a model and all rows in one place, which `data: ray` does not do; "
                "leave the operation out, or set `data: local` in the engine file"
            )


def settle(remainders: Sequence[Remainder], work: Work) -> None:
    """Raise the error that the operations would have raised on all rows together.

    Raises:
        RequestError: An operation could not be done, or left no rows.
    """
    for number in range(work.start, work.stop):
        for left in remainders:
            if left.failed is not None and left.failed[0] == number:
                raise left.failed[1]
        if not any(left.rows[number] for left in remainders):
            operations.refuse((left.emptied[number] for left in remainders), work.chain[number], work.context.place)


def operate(machines: Machines, remainders: list[Remainder], first: Work, *, digests: bool = False) -> Operated:
    """Do the stages of a chain after the first.

    Args:
        machines: The machines that do the work.
        remainders: Every part after the first stage.
        first: The work of the first stage.
        digests: Whether to return digests of the rows; if there is only one stage, ``first`` has computed them.

    Raises:
        RequestError: As ``operations.apply_all`` does.
    """
    lost: list[list[Part]] = [[] for _ in first.chain]
    work = first
    rest = stages(first.chain)[1:]
    while True:
        settle(remainders, work)
        for left in remainders:
            for number, lines in left.lost.items():
                lost[number].append(lines)
        left_of = [left for left in remainders if left.part is not None and left.part.rows]
        parts = numbered([left.part for left in left_of if left.part is not None])
        if not rest:
            return Operated(parts, lost, [left.digests for left in left_of])
        start, stop = rest.pop(0)
        folder = first.folder / f"{start:03}"
        gone = gone_rows(machines, parts, first.chain[start], first.context, folder / "keys")
        work = Work(first.chain, start, stop, first.context, folder, digests and not rest)
        remainders = machines.map(work, [Input(at, part, gone.get(at, Gone([], []))) for at, part in enumerate(parts)])
        shutil.rmtree(folder / "keys", ignore_errors=True)
        for part in parts:
            part.file.path.unlink()
