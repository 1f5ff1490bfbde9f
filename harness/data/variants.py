"""Makes training sets: draws rows from pools by seeded rank, does operations on them, and orders them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import polars as pl

from harness.data import operations
from harness.data.operations.context import Untrainable
from harness.data.rows import DROP_SCHEMA, SCHEMA, Built, compact, dropped, drops, ranked
from harness.errors import RequestError
from harness.spec import AnyOperation, Variant

RANK = "rank"  # a row's place in its source's draw, while a variant is being built
PASS = "pass"  # the number of earlier copies of the row, if a source that is too small is repeated
MOST_REPEATS = 100  # the largest value of spec.Variant.max_repeats
FIRST_TOKENS = 256  # rows whose tokens are counted at first; then as many again, and so on

CountTokens = Callable[[pl.DataFrame], Sequence[int]]


@dataclass(frozen=True)
class DrawRequest:
    """The parameters of the draw of a training set.

    Attributes:
        variant: The variant, with a mix.
        seed: The run's seed.
        match: With ``rows`` and ``tokens``, operations run over the whole pools before the draw, so that rows
            they drop are replaced and the ledger names only drops among rows ranked above the last one taken.
            Otherwise they run on the rows drawn, and an arm that drops is smaller.
        tokens: Number of tokens of each row, for operations.
        trained: Number of tokens of each row that training sees, for a mix in tokens; default: ``tokens``.
        perplexity: Perplexity of each row under the base model.
        untrainable: Why rows cannot be trained on, where operations changed them.
        folder: Where the modules of functions are.
    """

    variant: Variant
    seed: int
    match: str
    tokens: CountTokens | None = None
    trained: CountTokens | None = None
    perplexity: Callable[[pl.DataFrame], Sequence[float]] | None = None
    untrainable: Untrainable | None = None
    folder: Path | None = None


def build(asked: DrawRequest, pools: Mapping[str, pl.DataFrame]) -> Built:
    """Draw a variant's rows and put them in order.

    Draws are nested (40 rows are a prefix of 160) and the same seed gives the rows two arms share the same
    draw and the same relative order, whatever else is in the arms. Where nothing is drawn (every source
    whole, no sample), all seeds give the same rows in the same order.

    A source smaller than its share is repeated in whole passes over its draw, at most ``max_repeats`` times;
    every copy is a row. Operations see each row once, and what they do to it holds for its copies.

    Where counts are tokens, a source gives the prefix of its draw whose tokens come nearest to the count (of two
    equally near ones the shorter), so it is off by half a row at most.

    Args:
        asked: The parameters of the draw.
        pools: The rows of every source of the mix.

    Raises:
        RequestError: A source has fewer rows or tokens than the mix needs, an operation cannot be done, or
            no row is left.
    """
    heights = {name: pools[name].height for name in asked.variant.counts()}
    return from_draws(asked, InMemory.of(pools, asked.seed if samples(asked.variant, heights) else 0, list(heights)))


class Draws(Protocol):
    """The rows of every source of a mix, each in the order of its draw."""

    @property
    def heights(self) -> Mapping[str, int]:
        """Source -> number of its rows."""

    def rows(self, name: str, start: int, stop: int) -> pl.DataFrame:
        """Return a source's rows from ``start`` to ``stop``: columns ``rows.SCHEMA``, ``RANK`` and ``PASS`` (0)."""

    def operated(self, chain: Sequence[AnyOperation], context: operations.Context) -> Draws:
        """Return the draws without the rows that operations on all of them drop.

        Raises:
            RequestError: As ``operations.apply_all`` does.
        """

    def lost(self, name: str, below: int | None) -> pl.DataFrame:
        """Return the operations' ledger of a source's rows, of all or of those with a rank below ``below``."""


@dataclass(frozen=True)
class InMemory:
    """Draws whose rows are all in memory."""

    frames: Mapping[str, pl.DataFrame]
    ledger: pl.DataFrame = field(default_factory=lambda: drops([]).with_columns(pl.Series(RANK, [], pl.UInt32)))

    @classmethod
    def of(cls, pools: Mapping[str, pl.DataFrame], seed: int, names: Sequence[str]) -> InMemory:
        """Return the draw of all rows of each named pool."""
        frames = {}
        for name in names:
            pool = pools[name][ranked(pools[name], seed, "draw", name)]
            frames[name] = pool.with_row_index(RANK).with_columns(pl.lit(0, pl.UInt32).alias(PASS))
        return cls(frames)

    @property
    def heights(self) -> Mapping[str, int]:
        """Source -> number of its rows."""
        return {name: frame.height for name, frame in self.frames.items()}

    def rows(self, name: str, start: int, stop: int) -> pl.DataFrame:
        """Return a source's rows from ``start`` to ``stop``."""
        return self.frames[name].slice(start, stop - start)

    def operated(self, chain: Sequence[AnyOperation], context: operations.Context) -> InMemory:
        """Return the draws without the rows that operations drop."""
        rows, lost = _operate(pl.concat(self.frames.values()), chain, context)
        return InMemory({name: rows.filter(source=name) for name in self.frames}, lost)

    def lost(self, name: str, below: int | None) -> pl.DataFrame:
        """Return the ledger of the operations for a source."""
        of_source = self.ledger.filter(source=name)
        return of_source if below is None else of_source.filter(pl.col(RANK) < below)


def from_draws(asked: DrawRequest, drawn: Draws) -> Built:
    """Build a variant's training set from draws made with its seed (see ``build``).

    Raises:
        RequestError: As ``build`` does.
    """
    variant = asked.variant
    counts, pools = variant.counts(), dict(drawn.heights)
    for name in counts:
        if not pools[name]:
            raise RequestError(f"{name}: the pool has no rows. Nothing was started.")
    seed = asked.seed if samples(variant, pools) else 0
    context = operations.Context(
        " + ".join(counts), seed, asked.folder, asked.tokens, asked.perplexity, asked.untrainable
    )
    chain = operations.trainable.of_variant(variant.operations, context)
    counted = asked.trained or asked.tokens
    if asked.match in ("rows", "tokens"):
        left = drawn.operated(chain, context)
        taken = {name: _take(variant, name, left, pools[name], counted) for name in counts}
        rows = pl.concat(taken.values())
        lost = pl.concat(left.lost(name, _missed(taken[name], counts[name])) for name in counts)
    else:
        rows = pl.concat(_take(variant, name, drawn, pools[name], counted) for name in counts)
        rows, lost = _operate(rows, chain, context)
    rows = rows.select(SCHEMA.names())
    rows, lost = rows[ranked(rows, seed, "order")], lost.select(DROP_SCHEMA.names())
    return Built(compact(rows), compact(lost)) if 2 * rows.height < sum(pools.values()) else Built(rows, lost)


def samples(variant: Variant, pools: Mapping[str, int]) -> bool:
    """Return whether the seed matters: a source is not taken whole (or in whole passes), or an operation samples.

    ``pools`` has the number of rows of each source. True as well if it depends on operations or tokens.
    """
    drawn = {name: count for name, count in variant.counts().items() if count is not None}
    if any(operation.draws for operation in variant.operations):
        return True
    if variant.in_tokens or (variant.operations and variant.max_repeats > 1):
        return bool(drawn)
    return any(not pools[name] or count % pools[name] for name, count in drawn.items())


def random_subset(baseline: pl.DataFrame, keep: int, seed: int) -> Built:
    """Drop rows at random until ``keep`` are left: the control for an arm that drops as many rows on purpose.

    Raises:
        RequestError: ``keep`` is more than the number of rows.
    """
    if keep > baseline.height:
        raise RequestError(f"random_subset: {keep:,} rows are to be kept of {baseline.height:,}")
    kept = sorted(ranked(baseline, seed, "random_subset")[:keep])
    stays = pl.repeat(False, baseline.height, eager=True).scatter(kept, True)
    reason = f"dropped at random, {keep:,} of {baseline.height:,} rows stay"
    gone = [dropped(row, "random_subset", reason) for row in baseline.filter(~stays).iter_rows(named=True)]
    return Built(baseline.filter(stays), drops(gone))


def _operate(
    rows: pl.DataFrame, chain: Sequence[AnyOperation], context: operations.Context
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Do operations on rows that may have copies; return the remaining rows, and the ledger with ``RANK``."""
    ledger = [drops([]).with_columns(rows[RANK].clear())]
    columns = ledger[0].columns
    for operation in chain:
        # A sample draws copies too; any other operation would take a copy for a duplicate, or do its work twice.
        row = ["source", RANK, PASS] if operation.draws else ["source", RANK]
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


def _take(variant: Variant, name: str, drawn: Draws, pool: int, tokens: CountTokens | None) -> pl.DataFrame:
    """Return the rows taken from a source: a prefix of its draw, after whole passes over it if it is too small.

    Args:
        variant: Has the count of rows or tokens, and how often a row may be repeated.
        name: The source.
        drawn: Its rows in the order of the draw; after operations, fewer than the pool has.
        pool: Number of rows of the pool.
        tokens: Counts the tokens of each row.

    Raises:
        RequestError: The source has too few rows or tokens, even with the repeats allowed.
    """
    count, height = variant.counts()[name], drawn.heights[name]
    if count is None:
        return drawn.rows(name, 0, height)
    if not count:  # a weight too small for one row
        return drawn.rows(name, 0, 0)
    unit = "tokens" if variant.in_tokens else "rows"
    if variant.in_tokens:
        sums = _sums(name, drawn, count, tokens)
        has = sums[-1] if sums else 0
    else:
        has = height
    passes, rest = divmod(count, has) if has and count >= has else (0, count)
    if variant.in_tokens and has:
        rest = _nearest(sums, rest) or int(not passes)
    needed = passes + bool(rest) if has else None
    if needed is None or needed > variant.max_repeats:
        lack = _short(name, has, height < pool, needed)
        raise RequestError(f"mix.{name}: {count:,} {unit} are asked for, {lack}")
    draw = drawn.rows(name, 0, height if passes else rest)
    whole = [draw.with_columns(pl.lit(number, pl.UInt32).alias(PASS)) for number in range(passes)]
    return pl.concat([*whole, draw.head(rest).with_columns(pl.lit(passes, pl.UInt32).alias(PASS))])


def _short(name: str, has: int, fewer: bool, needed: int | None) -> str:
    held = f"{has:,} of {name} are left after the operations" if fewer else f"{name} has {has:,}"
    if needed is None:
        return held
    enough = f"max_repeats: {needed}" if needed <= MOST_REPEATS else f"not even max_repeats: {MOST_REPEATS}"
    return f"{held} ({enough} would be enough)"


def _sums(name: str, drawn: Draws, count: int, tokens: CountTokens | None) -> list[int]:
    """Return the running sum of the rows' tokens, until it reaches the count or the rows end."""
    if tokens is None:
        raise RequestError(f"mix.{name}: {count:,} tokens are asked for, and the model that counts them is not ready")
    sums = [0]
    size = FIRST_TOKENS
    while sums[-1] < count and len(sums) <= drawn.heights[name]:
        batch = drawn.rows(name, len(sums) - 1, min(len(sums) - 1 + size, drawn.heights[name]))
        sums += list(accumulate(map(int, tokens(batch.select(SCHEMA.names()))), initial=sums[-1]))[1:]
        size *= 2
    return sums[1:]


def _nearest(sums: Sequence[int], count: int) -> int:
    """Return the number of rows whose tokens come nearest to a count; of two equally near numbers, the smaller."""
    reached = bisect_left(sums, count)
    if reached == len(sums):
        return reached
    before = sums[reached - 1] if reached else 0
    return reached if count - before <= sums[reached] - count else reached + 1


def _missed(taken: pl.DataFrame, count: int | None) -> int | None:
    """Return the rank below which a dropped row would have been drawn; None if every row would."""
    if count is None or (taken.height and taken[PASS].max()):
        return None
    return int(taken[RANK].max() or 0)  # type: ignore[arg-type]
