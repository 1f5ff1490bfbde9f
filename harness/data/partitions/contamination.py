"""Decontaminates rows in parts: searches each part alone, then decides on the hits of all parts together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import polars as pl

from harness.data import contamination
from harness.data.contamination import BATCH, Search, settle, short_prompts
from harness.data.contamination.settle import Frame, Hit
from harness.data.partitions.parts import Machines, Part, joined, starts, write
from harness.data.pools import File, Pool, facts, kinds
from harness.data.rows import chained, frame, row_digests
from harness.spec import Decontaminate


@dataclass(frozen=True)
class Wanted:
    """The items that rows are searched for; every machine reads them once.

    Attributes:
        file: The items, as parquet.
        rule: Which overlaps count (``Decontaminate``), as JSON.
    """

    file: Path
    rule: str

    def search(self) -> Search:
        """Return the search for the items, with no rows added yet."""
        return _search(self)


@lru_cache(maxsize=1)
def _search(suite: Wanted) -> Search:
    return Search(pl.read_parquet(suite.file, glob=False), Decontaminate.model_validate_json(suite.rule), frame([]))


@dataclass(frozen=True)
class Clean:
    """A part without the rows that overlap an item, and the ledger of these rows."""

    part: Part
    lost: Part
    digests: bytes
    kinds: dict[str, int]
    kept: dict[str, int]


def decontaminated(
    machines: Machines, parts: Sequence[Part], items: pl.DataFrame, rule: Decontaminate, folder: Path
) -> Pool:
    """Return a pool without the rows that overlap an item (see ``data.contamination``).

    This process holds a line for every row and item that overlap.

    Args:
        machines: The machines that do the work.
        parts: The rows of one source, in order.
        items: Columns ``records.ITEM_COLUMNS``.
        rule: Which overlaps count.
        folder: Folder for the files.
    """
    rule = rule.settled(items.height)
    suite = Wanted(write(items, folder / "items.parquet"), rule.model_dump_json())
    found, holders = _overlaps(machines, parts, suite, rule)
    removed = contamination.removable(found, rule)
    lines = {row_id: table for (row_id,), table in found.partition_by("row_id", as_dict=True).items()}
    work = partial(_removed, rule=rule, folder=folder)
    held = [pl.concat([found.clear(), *(lines[one] for one in sorted(ids) if one in lines)]) for ids in holders]
    cleaned = machines.map(work, list(zip(range(len(parts)), parts, held, strict=True)))
    left, lost = (sum(one.part.rows for one in cleaned), sum(one.lost.rows for one in cleaned))
    files = {
        "rows": [one.part.file.path for one in cleaned if one.part.rows or not left][: left or 1],
        "drops": [joined([one.lost for one in cleaned], folder)],
    }
    data = facts(left, lost, _sum(one.kinds for one in cleaned), _sum(one.kept for one in cleaned), removed)
    return Pool(chained(one.digests for one in cleaned), data, {"overlaps": found}, files)


def _sum(counted: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counted:
        total.update(one)
    return dict(sorted(total.items()))


def _overlaps(
    machines: Machines, parts: Sequence[Part], suite: Wanted, rule: Decontaminate
) -> tuple[pl.DataFrame, list[set[str]]]:
    """Return all overlaps, and the ids of the rows of every part that may have some."""
    before = starts(parts)
    hits: list[Hit] = []
    first: dict[str, int] = {}  # row id -> its first row: copies of a row are searched, and count once
    where: dict[int, tuple[str, str]] = {}
    holders: list[set[str]] = [set() for _ in parts]

    def take(found: Sequence[tuple[list[Hit], pl.DataFrame]]) -> None:
        for number, (of_part, ids) in enumerate(found):
            for hit, (row_id, source) in zip(of_part, ids.iter_rows(), strict=True):
                row = int(before[number]) + hit.row
                holders[number].add(row_id)
                if first.setdefault(row_id, row) == row:
                    where[row] = (row_id, source)
                    hits.append(replace(hit, row=row))

    take(machines.map(partial(_searched, suite=suite), parts))
    search = suite.search()
    if search.suite.exacts:
        there = set().union(*machines.map(partial(_frames, suite=suite), parts))
        wrappers = settle.shared(machines.map(partial(_around, wanted=there, suite=suite), parts) if there else [])
        if wrappers:
            take(machines.map(partial(_wrapped, wrappers=wrappers, suite=suite), parts))
    best = settle.ordered(settle.uncommon(hits, search.suite, rule))
    rows = pl.DataFrame([where[hit.row] for hit in best], {"row_id": pl.String, "source": pl.String}, orient="row")
    return settle.table(best, rows, search.suite), holders


def _searched(part: Part, suite: Wanted) -> tuple[list[Hit], pl.DataFrame]:
    """Return the hits in a part's rows, and ``row_id`` and ``source`` of each hit's row."""
    search, rows = suite.search(), part.read()
    for start in range(0, rows.height, BATCH):
        search.add(rows.slice(start, BATCH))
    hits, _ = search.taken()
    return hits, rows.select("row_id", "source")[[hit.row for hit in hits]]


def _prompts(part: Part) -> pl.DataFrame:
    return short_prompts(part.read(["source", "prompt"]))


def _frames(part: Part, suite: Wanted) -> set[Frame]:
    return settle.frames(_prompts(part), suite.search().suite)


def _around(part: Part, wanted: set[Frame], suite: Wanted) -> dict[Frame, set[int]]:
    return settle.around(_prompts(part), wanted, suite.search().suite.longest)


def _wrapped(part: Part, wrappers: set[Frame], suite: Wanted) -> tuple[list[Hit], pl.DataFrame]:
    hits = settle.wrapped(_prompts(part), wrappers, suite.search().suite)
    return hits, part.read(["row_id", "source"])[[hit.row for hit in hits]]


def _removed(item: tuple[int, Part, pl.DataFrame], rule: Decontaminate, folder: Path) -> Clean:
    """Write a part without its overlapping rows, and the ledger of these."""
    number, part, found = item
    rows = part.read()
    built = contamination.remove(rows, found, rule)
    removed = contamination.removable(found, rule)
    left = Part(File(write(built.rows, folder / f"rows-{number:06}.parquet")), built.rows.height, 0)
    lost = Part(File(write(built.drops, folder / f"lost-{number:06}.parquet")), built.drops.height, 0)
    return Clean(left, lost, row_digests(built.rows), kinds(rows, removed), kinds(built.rows, found))
