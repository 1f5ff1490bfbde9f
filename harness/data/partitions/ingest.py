"""Reads a source into parts, a file at a time on each machine, and does the first operations on each part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from harness import outside
from harness.data import files, sources
from harness.data.files import SourceFile
from harness.data.partitions.chain import Remainder, Work
from harness.data.partitions.parts import Machines, Part, filled, write
from harness.data.pools import File
from harness.data.rows import drops
from harness.errors import RequestError
from harness.spec import Source


@dataclass(frozen=True)
class Piece:
    """A piece of a source that one machine reads.

    Attributes:
        number: The piece's place among the pieces.
        file: The file; None for the whole source.
    """

    number: int
    file: SourceFile | None = None


@dataclass(frozen=True)
class Read:
    """The result of reading a piece.

    Attributes:
        left: Every part of the piece after the first operations.
        good: Number of sound rows.
        bad: The ledger of the other rows.
        failed: The error that ended the reading early.
    """

    left: list[Remainder]
    good: int
    bad: Part | None
    failed: RequestError | None


@dataclass(frozen=True)
class Reader:
    """Reads pieces of a source.

    Attributes:
        name: The source's name in the study.
        source: Its spec.
        base: The folder its relative paths start from.
        layout: How its records are read.
        work: The first operations.
        held: The source's files, which must be the same on all machines.
    """

    name: str
    source: Source
    base: Path
    layout: sources.Layout
    work: Work
    held: Mapping[Path, str] = field(default_factory=outside.digested)

    def __call__(self, piece: Piece) -> Read:
        """Read a piece, part by part."""
        left: list[Remainder] = []
        bad = [drops([])]
        good = 0

        def rows() -> Iterator[pl.DataFrame]:
            nonlocal good
            whole = (
                sources.batches(self.name, self.source, self.base) if piece.file is None else files.batches(piece.file)
            )
            for built in sources.tables(self.name, self.source, whole, self.layout):
                bad.append(built.drops)
                good += built.rows.height
                yield built.rows

        failed = None
        here = None if piece.file is None else piece.file.path.absolute()
        held = {path: digest for path, digest in self.held.items() if here is None or path == here}
        try:
            with outside.same({**self.work.held, **held}):
                for number, table in enumerate(filled(rows())):
                    left.append(self.work.done(f"{piece.number:06}-{number:06}", table))
        except RequestError as error:
            failed = error
        lost = pl.concat(bad)
        file = write(lost, self.work.folder / f"bad-{piece.number:06}.parquet") if lost.height else None
        return Read(left, good, None if file is None else Part(File(file), lost.height, 0), failed)


def read(machines: Machines, reader: Reader) -> tuple[list[Remainder], list[Part]]:
    """Read a source.

    Files are read in parallel. A source with a limit of rows, a generator or a Hub dataset is read in one piece.

    Returns:
        Every part after the first operations, and the ledger of bad rows.

    Raises:
        RequestError: A row cannot be used, or there is none.
    """
    source = reader.source
    pieces = [Piece(0)]
    if source.path is not None and source.rows is None:
        found = files.find(reader.name, source.path, reader.base)
        pieces = [Piece(number, file) for number, file in enumerate(found)]
    done: Sequence[Read] = machines.map(reader, pieces)
    good = 0
    for one in done:
        if isinstance(one.failed, sources.BadRecord):
            raise one.failed.after(good)
        if one.failed is not None:
            raise one.failed
        good += one.good
    bad = [one.bad for one in done if one.bad is not None]
    if not good:
        first = [bad[0].read().head(1)] if bad else [drops([])]
        sources.refuse_none(reader.name, first[0], sum(part.rows for part in bad))
    return [left for one in done for left in one.left], bad
