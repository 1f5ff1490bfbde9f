"""The order rows are trained in, and how they are cut into batches. Pure: no torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from harness.identity import unit_hash
from harness.spec import Recipe
from harness.tokens import Encoded

TOKEN_BUDGET = {"cpu": 512, "cuda": 16384}  # padded tokens per micro-batch


def batches(rows: Sequence[Encoded], row_ids: Sequence[str], recipe: Recipe, seed: int) -> list[list[Encoded]]:
    """Return the global batches of a training, one per optimizer step, the longest sequence of each first."""
    order = schedule(row_ids, recipe, seed)
    taken = [order[start : start + recipe.batch] for start in range(0, len(order), recipe.batch)]
    return [sorted((rows[i] for i in batch), key=lambda row: -row.length) for batch in taken]


def blocks(rows: Sequence[Encoded], row_ids: Sequence[str], recipe: Recipe, seed: int) -> list[list[Encoded]]:
    """Return global batches of packed text: rows one after another, cut into blocks of ``recipe.max_length`` tokens.

    A row may span two blocks, and a block may hold several rows, which see each other: the usual way to continue
    pretraining. What does not fill a last step is left out.
    """
    size = recipe.batch * recipe.max_length
    steps = recipe.steps
    if steps is None:
        assert recipe.epochs is not None
        steps = max(1, round(recipe.epochs * sum(row.length for row in rows) / size))
    stream: list[int] = []
    for i in _epochs(row_ids, seed):
        if len(stream) >= steps * size:
            break
        stream += rows[i].input_ids
    cut = [stream[start : start + recipe.max_length] for start in range(0, steps * size, recipe.max_length)]
    packed = [Encoded(ids, ids) for ids in cut]
    return [packed[start : start + recipe.batch] for start in range(0, len(packed), recipe.batch)]


def schedule(row_ids: Sequence[str], recipe: Recipe, seed: int) -> list[int]:
    """Return the positions of the rows in the order they are trained on, all epochs one after another.

    The last batch is filled up from the next epoch: every step sees a full global batch.
    """
    if recipe.steps is not None:
        steps = recipe.steps
    else:
        assert recipe.epochs is not None
        steps = max(1, round(recipe.epochs * len(row_ids) / recipe.batch))
    return list(itertools.islice(_epochs(row_ids, seed), steps * recipe.batch))


def _epochs(row_ids: Sequence[str], seed: int) -> Iterator[int]:
    """Yield positions of rows without end: each epoch is a permutation drawn from (seed, epoch, row).

    So two sets that share rows keep their relative order.
    """
    seen: dict[str, int] = {}
    names = []
    for row_id in row_ids:
        seen[row_id] = seen.get(row_id, 0) + 1
        names.append(f"{row_id}#{seen[row_id]}")
    for epoch in itertools.count():
        yield from sorted(range(len(names)), key=lambda i: unit_hash(seed, "epoch", epoch, names[i]))


def micro_batch(lengths: Sequence[int], batch: int, device: str) -> int:
    """Return the largest divisor of the global batch whose padded tokens stay within the device's budget."""
    typical = sorted(lengths)[int(0.75 * (len(lengths) - 1))]
    fitting = [n for n in range(1, batch + 1) if batch % n == 0 and n * typical <= TOKEN_BUDGET[device]]
    return max(fitting, default=1)
