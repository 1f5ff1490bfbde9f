"""Training sets: rows drawn from pools by seeded rank, operations on them, one order for all arms."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import polars as pl

from harness.data import operations
from harness.data.rows import DROP_SCHEMA, SCHEMA, Built, compact, dropped, drops, ranked
from harness.errors import RequestError
from harness.spec import Operation, Sample, Variant

RANK = "rank"  # a row's place in its source's draw, while a variant is being built
PASS = "pass"  # how often the row has come before, where a source too small is repeated
MOST_REPEATS = 100  # of spec.Variant.max_repeats
FIRST_TOKENS = 256  # rows whose tokens are counted at first; then as many again, and so on

Tokens = Callable[[pl.DataFrame], Sequence[int]]


def build(
    variant: Variant,
    pools: Mapping[str, pl.DataFrame],
    *,
    seed: int,
    match: str,
    tokens: Tokens | None = None,
    trained: Tokens | None = None,
    perplexity: Callable[[pl.DataFrame], Sequence[float]] | None = None,
    folder: Path | None = None,
) -> Built:
    """Draw a variant's rows and put them in order.

    Draws are nested (40 rows are a prefix of 160) and the same seed gives the rows two arms share the same
    draw and the same relative order, whatever else is in the arms. Where nothing is drawn (every source
    whole, no sample), all seeds give the same rows in the same order.

    A source smaller than its share is repeated in whole passes over its draw, at most ``max_repeats`` times;
    every copy is a row. Operations see each row once, and what they do to it holds for its copies.

    Where counts are tokens, a source gives the prefix of its draw whose tokens come nearest to the count (the
    shorter of two as near), so it is off by half a row at most.

    Args:
        variant: With a mix.
        pools: The rows of every source of the mix.
        seed: The run's.
        match: With ``rows`` and ``tokens``, operations run over the whole pools before the draw, so that rows
            they drop are replaced and the ledger names only drops among rows ranked above the last one taken.
            Otherwise they run on the rows drawn, and an arm that drops is smaller.
        tokens: Number of tokens of each row, for operations.
        trained: Number of tokens of each row that training sees, for a mix in tokens; default: ``tokens``.
        perplexity: Perplexity of each row under the base model.
        folder: Where the modules of functions are.

    Raises:
        RequestError: A source has fewer rows or tokens than asked for, an operation cannot be done, or
            nothing is left.
    """
    seed = seed if samples(variant, pools) else 0
    counts = variant.counts()
    context = operations.Context(" + ".join(counts), seed, folder, tokens, perplexity)
    pool_rows = sum(pools[name].height for name in counts)
    draws = {}
    for name in counts:
        if not pools[name].height:
            raise RequestError(f"{name}: the pool has no rows. Nothing was started.")
        pool = pools[name][ranked(pools[name], seed, "draw", name)]
        draws[name] = pool.with_row_index(RANK).with_columns(pl.lit(0, pl.UInt32).alias(PASS))
    if match in ("rows", "tokens"):
        rows, lost = _operate(pl.concat(draws.values()), variant.operations, context)
        left = {name: rows.filter(source=name) for name in counts}
        rows = pl.concat(
            _take(variant, name, draw, draws[name].height, trained or tokens) for name, draw in left.items()
        )
        lost = pl.concat(_missed(lost.filter(source=name), rows.filter(source=name), counts[name]) for name in counts)
    else:
        taken = pl.concat(_take(variant, name, draw, draw.height, trained or tokens) for name, draw in draws.items())
        rows, lost = _operate(taken, variant.operations, context)
    rows = rows.select(SCHEMA.names())
    rows, lost = rows[ranked(rows, seed, "order")], lost.select(DROP_SCHEMA.names())
    return Built(compact(rows), compact(lost)) if 2 * rows.height < pool_rows else Built(rows, lost)


def samples(variant: Variant, pools: Mapping[str, pl.DataFrame]) -> bool:
    """Return whether the seed matters: a source is not taken whole (or in whole passes), or an operation samples.

    True as well where only the operations or the tokens could tell.
    """
    drawn = {name: count for name, count in variant.counts().items() if count is not None}
    if any(isinstance(operation, Sample) for operation in variant.operations):
        return True
    if variant.in_tokens or (variant.operations and variant.max_repeats > 1):
        return bool(drawn)
    return any(not pools[name].height or count % pools[name].height for name, count in drawn.items())


def random_subset(baseline: pl.DataFrame, keep: int, seed: int) -> Built:
    """Drop rows at random until ``keep`` are left: the control for an arm that drops as many on purpose.

    Raises:
        RequestError: More rows are to be kept than there are.
    """
    if keep > baseline.height:
        raise RequestError(f"random_subset: {keep:,} rows are to be kept of {baseline.height:,}")
    kept = sorted(ranked(baseline, seed, "random_subset")[:keep])
    stays = pl.repeat(False, baseline.height, eager=True).scatter(kept, True)
    reason = f"dropped at random, {keep:,} of {baseline.height:,} rows stay"
    gone = [dropped(row, "random_subset", reason) for row in baseline.filter(~stays).iter_rows(named=True)]
    return Built(baseline.filter(stays), drops(gone))


def _operate(
    rows: pl.DataFrame, chain: Sequence[Operation], context: operations.Context
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Do operations on rows that may have copies; return the rows left, and the ledger with ``RANK``."""
    ledger = [drops([]).with_columns(rows[RANK].clear())]
    columns = ledger[0].columns
    for operation in chain:
        # A sample is of rows, copies included; all else would see a copy as a duplicate, or do its work twice.
        row = ["source", RANK, PASS] if isinstance(operation, Sample) else ["source", RANK]
        distinct = rows.unique(row, keep="first", maintain_order=True)
        built = operations.apply(distinct, operation, context)
        operations.refuse_empty(distinct, built, operation, context.place)
        gone = distinct.select(row).join(built.rows, on=row, how="anti", maintain_order="left")
        lost = gone.hstack(built.drops.drop("source"))
        if distinct.height < rows.height:
            copies = rows.select("source", RANK, PASS)
            rows = copies.join(built.rows.drop(PASS), on=row, how="inner", maintain_order="left")
            lost = copies.join(lost, on=row, how="inner", maintain_order="left")
        else:
            rows = built.rows
        ledger.append(lost.select(columns))
    return rows, pl.concat(ledger)


def _take(variant: Variant, name: str, draw: pl.DataFrame, pool: int, tokens: Tokens | None) -> pl.DataFrame:
    """Return what a source gives: a prefix of its draw, after whole passes over it where it is too small.

    Args:
        variant: Says how much, in what, and how often a row may come.
        name: The source.
        draw: Its rows in the order of the draw; after operations, fewer than the pool has.
        pool: Rows of the pool.
        tokens: Number of tokens of each row.

    Raises:
        RequestError: There is not enough, even with the repeats allowed.
    """
    count = variant.counts()[name]
    if count is None:
        return draw
    if not count:  # a weight too small for one row
        return draw.head(0)
    unit = "tokens" if variant.in_tokens else "rows"
    if variant.in_tokens:
        sums = _sums(name, draw, count, tokens)
        has = sums[-1] if sums else 0
    else:
        has = draw.height
    passes, rest = divmod(count, has) if has and count >= has else (0, count)
    if variant.in_tokens and has:
        rest = _nearest(sums, rest) or int(not passes)
    needed = passes + bool(rest) if has else None
    if needed is None or needed > variant.max_repeats:
        said = _short(name, has, draw.height < pool, needed)
        raise RequestError(f"mix.{name}: {count:,} {unit} are asked for, {said}")
    whole = [draw.with_columns(pl.lit(number, pl.UInt32).alias(PASS)) for number in range(passes)]
    return pl.concat([*whole, draw.head(rest).with_columns(pl.lit(passes, pl.UInt32).alias(PASS))])


def _short(name: str, has: int, fewer: bool, needed: int | None) -> str:
    said = f"{has:,} of {name} are left after the operations" if fewer else f"{name} has {has:,}"
    if needed is None:
        return said
    enough = f"max_repeats: {needed}" if needed <= MOST_REPEATS else f"not even max_repeats: {MOST_REPEATS}"
    return f"{said} ({enough} would be enough)"


def _sums(name: str, draw: pl.DataFrame, count: int, tokens: Tokens | None) -> list[int]:
    """Return the running sum of the rows' tokens, until it reaches the count or the rows end."""
    if tokens is None:
        raise RequestError(f"mix.{name}: {count:,} tokens are asked for, and the model that counts them is not ready")
    sums = [0]
    size = FIRST_TOKENS
    while sums[-1] < count and len(sums) <= draw.height:
        batch = draw.slice(len(sums) - 1, size).select(SCHEMA.names())
        sums += list(accumulate(map(int, tokens(batch)), initial=sums[-1]))[1:]
        size *= 2
    return sums[1:]


def _nearest(sums: Sequence[int], count: int) -> int:
    """Return how many rows come nearest to a number of tokens; of two as near, the fewer."""
    reached = bisect_left(sums, count)
    if reached == len(sums):
        return reached
    before = sums[reached - 1] if reached else 0
    return reached if count - before <= sums[reached] - count else reached + 1


def _missed(lost: pl.DataFrame, taken: pl.DataFrame, count: int | None) -> pl.DataFrame:
    """Keep the drops ranked above the last row taken: the others would not have been drawn."""
    if count is None or (taken.height and taken[PASS].max()):
        return lost
    return lost.filter(pl.col(RANK) < (taken[RANK].max() or 0))
