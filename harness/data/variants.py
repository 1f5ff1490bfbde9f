"""Training sets: rows drawn from pools by seeded rank, operations on them, one order for all arms."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from harness.data import operations
from harness.data.rows import SCHEMA, Built, dropped, drops, ranked
from harness.errors import RequestError
from harness.spec import Sample, Variant

RANK = "rank"  # a row's place in its source's draw, while a variant is being built


def build(variant: Variant, pools: Mapping[str, pl.DataFrame], *, seed: int, match: str) -> Built:
    """Draw a variant's rows and put them in order.

    Draws are nested (40 rows are a prefix of 160) and the same seed gives the rows two arms share the same
    draw and the same relative order, whatever else is in the arms. Where nothing is drawn (every source
    whole, no sample), all seeds give the same rows in the same order.

    Args:
        variant: With a mix.
        pools: The rows of every source of the mix.
        seed: The run's.
        match: With ``rows``, operations run over the whole pools before the draw, so that rows they drop are
            replaced and the ledger names only drops among rows ranked above the last one taken. Otherwise
            they run on the rows drawn, and an arm that drops is smaller.

    Raises:
        RequestError: A source has fewer rows than asked for, an operation cannot be done, or nothing is left.
    """
    seed = seed if samples(variant, pools) else 0
    counts = variant.counts()
    refill = match == "rows"
    drawn = []
    for name, count in counts.items():
        pool = pools[name]
        if not pool.height:
            raise RequestError(f"{name}: the pool has no rows. Nothing was started.")
        if count is not None and count > pool.height:
            raise RequestError(f"mix.{name}: {count:,} rows are asked for, {name} has {pool.height:,}")
        order = ranked(pool, seed, "draw", name)[: None if refill else count]
        drawn.append(pool[order].with_row_index(RANK))
    rows = pl.concat(drawn)
    ledger = [drops([]).with_columns(rows[RANK].clear())]
    for operation in variant.operations:
        built = operations.apply(rows, operation, place=" + ".join(counts), seed=seed)
        operations.refuse_empty(rows, built.rows, operation, " + ".join(counts))
        gone = rows.join(built.rows, on=["source", RANK], how="anti", maintain_order="left")
        ledger.append(built.drops.with_columns(gone[RANK]))
        rows = built.rows
    lost = pl.concat(ledger)
    if refill:
        rows, lost = _take(counts, rows, lost)
    rows = rows.select(SCHEMA.names())
    return Built(rows[ranked(rows, seed, "order")], lost.drop(RANK))


def _take(
    counts: Mapping[str, int | None], rows: pl.DataFrame, lost: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Take the first rows that are left of every source; keep the drops ranked above the last one taken."""
    taken, missed = [], []
    for name, count in counts.items():
        left = rows.filter(source=name)
        if count is not None and count > left.height:
            raise RequestError(
                f"mix.{name}: {count:,} rows are asked for, {left.height:,} of {name} are left after the operations"
            )
        taken.append(left.head(left.height if count is None else count))
        gone = lost.filter(source=name)
        missed.append(gone if count is None else gone.filter(pl.col(RANK) < (taken[-1][RANK].max() or 0)))
    return pl.concat(taken), pl.concat(missed)


def samples(variant: Variant, pools: Mapping[str, pl.DataFrame]) -> bool:
    """Return whether the seed matters: a source is not taken whole, or an operation samples."""
    partial = any(count is not None and count != pools[name].height for name, count in variant.counts().items())
    return partial or any(isinstance(operation, Sample) for operation in variant.operations)


def random_subset(baseline: pl.DataFrame, keep: int, seed: int) -> Built:
    """Drop rows at random until ``keep`` are left: the control for an arm that drops as many on purpose.

    Raises:
        RequestError: More rows are to be kept than there are.
    """
    if keep > baseline.height:
        raise RequestError(f"random_subset: {keep:,} rows are to be kept of {baseline.height:,}")
    rank = {position: index for index, position in enumerate(ranked(baseline, seed, "random_subset"))}
    stays = pl.Series([rank[position] < keep for position in range(baseline.height)], dtype=pl.Boolean)
    gone = [
        dropped(row, "random_subset", f"dropped at random, {keep:,} of {baseline.height:,} rows stay")
        for row in baseline.filter(~stays).iter_rows(named=True)
    ]
    return Built(baseline.filter(stays), drops(gone))
