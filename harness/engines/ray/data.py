"""Pools and training sets on a Ray cluster: work on parts of rows goes through Ray Data. Belongs to the Ray engine.

Tasks read and write files of a folder that all nodes see (``data.partitions``). Ray itself carries descriptions of
parts, small answers, drawn rows, and the keys of all rows where they have to be compared (repeats).
"""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import ray
import ray.data
from ray.exceptions import RayError

from harness.errors import HarnessError, StepError

PARTITIONS = 200  # the most into which keys are shuffled: each needs a task during the whole shuffle
BLOCK = 16 * 2**20  # bytes of a block of keys; larger ones would not fit the object store of a small cluster


@dataclass(frozen=True)
class One:
    """Wraps an item or an answer, so that Ray does not make columns of its fields."""

    value: Any


class RayData:
    """Does work on the machines of a cluster (``data.partitions.Machines``).

    Args:
        folder: Holds the parts; every node must see it.
        environment: Environment variables of the processes that do the work.

    Attributes:
        tell: Called with the progress of the work.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.tell: Callable[[str], None] = lambda text: None
        self.options: dict[str, Any] = {"num_cpus": 1, "runtime_env": {"env_vars": environment}}
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = BLOCK
        context.use_ray_tqdm = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)

    def map(self, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Apply ``work`` to each item and return the results, in the order of the items.

        Raises:
            HarnessError: The error of the first item for which ``work`` raised one.
            StepError: The cluster failed.
        """
        if not items:
            return []
        self.folder.mkdir(parents=True, exist_ok=True)
        given = {"work": work, "folder": self.folder}
        asked = [{"number": number, "value": One(item)} for number, item in enumerate(items)]
        answers = ray.data.from_items(asked, override_num_blocks=len(items)).map_batches(
            _each, fn_kwargs=given, batch_size=None, batch_format="numpy", **self.options
        )
        found: dict[int, Any] = {}
        for batch in _batches(answers, "numpy"):
            for number, answer in zip(batch["number"], batch["value"], strict=True):
                found[int(number)] = answer.value
            self.tell(f"{len(found):,} of {len(items):,} parts done on the cluster")
        in_order = [found[number] for number in range(len(items))]
        for answer in in_order:
            if isinstance(answer, HarnessError):
                raise answer
        return in_order

    def meet(self, files: Sequence[Path], buckets: int, settle: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
        """Bring together the lines of files that have the same ``bucket`` (see ``data.partitions.Machines``).

        Raises:
            StepError: The cluster could not do it.
        """
        named = [{"file": str(file)} for file in files]
        lines = ray.data.from_items(named, override_num_blocks=len(files)).map_batches(
            _read, batch_size=None, batch_format="pyarrow", **self.options
        )
        settled = lines.groupby("bucket", num_partitions=min(buckets, PARTITIONS)).map_groups(
            _settled, fn_kwargs={"settle": settle}, batch_format="pyarrow", **self.options
        )
        found = [_frame(batch) for batch in _batches(settled, "pyarrow") if batch.num_rows or batch.num_columns]
        # When no bucket gives a line, Ray's table has no columns.
        return pl.concat(found) if found else settle(pl.read_parquet(files[0], n_rows=0, glob=False))


def _batches(made: Any, form: str) -> Any:
    """Yield the batches of a dataset as they are computed.

    Raises:
        StepError: The cluster failed.
    """
    try:
        yield from made.iter_batches(batch_size=None, batch_format=form)
    except RayError as error:
        # The reason is the last error of the traceback whose class is not Ray's; Ray adds advice after it.
        errors = [line for line in str(error).splitlines() if re.match(r"[\w.]+(Error|Exception)(: |$)", line)]
        reasons = [line for line in errors if not line.startswith("ray.exceptions.")] or errors
        reason = reasons[-1] if reasons else type(error).__name__
        raise StepError(f"the cluster could not build the data: {reason}") from error


def _each(batch: dict[str, Any], work: Callable[[Any], Any], folder: Path) -> dict[str, Any]:
    """Apply ``work`` to a batch of items; a HarnessError becomes the item's answer."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{socket.gethostname()} does not see {folder}: the store must be in a folder that all nodes share"
        )
    answers = np.empty(len(batch["value"]), object)
    for at, item in enumerate(batch["value"]):
        try:
            answers[at] = One(work(item.value))
        except HarnessError as error:
            answers[at] = One(error)
    return {"number": batch["number"], "value": answers}


def _read(named: Any) -> Any:
    return pl.read_parquet(named["file"].to_pylist(), glob=False).to_arrow()


def _settled(lines: Any, settle: Callable[[pl.DataFrame], pl.DataFrame]) -> Any:
    return settle(_frame(lines)).to_arrow()


def _frame(table: Any) -> pl.DataFrame:
    made = pl.from_arrow(table)
    assert isinstance(made, pl.DataFrame)
    return made
