"""Work as on many machines: one after the other in this process, but sent and fetched as if there were some."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl


def sent(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


class Here:
    """``Machines``, as it is for a test."""

    def map(self, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        return [sent(sent(work)(sent(item))) for item in items]

    def meet(self, files: Sequence[Path], buckets: int, settle: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
        lines = pl.read_parquet(list(reversed(files)))
        groups = lines.partition_by("bucket")
        assert not lines.height or lines["bucket"].is_between(0, buckets - 1).all()
        return pl.concat([sent(settle)(group.sample(fraction=1, shuffle=True, seed=1)) for group in groups])
