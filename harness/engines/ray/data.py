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

PARTITIONS = 200  # at most, into which keys are shuffled: each takes a task that is up all the while
BLOCK = 16 * 2**20  # bytes of a block of keys; larger ones would not fit the object store of a small cluster


@dataclass(frozen=True)
class One:
    """Wraps an item or an answer, so that Ray does not make columns of its fields."""

    value: Any


class RayData:
    """Does work on the machines of a cluster (``data.partitions.Machines``).

    Args:
        folder: Holds the parts; every node must see it.
        environment: Of the processes that do the work.

    Attributes:
        tell: Told how much of a piece of work is done.
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
        """Return what some work gives for each item, in their order.

        Raises:
            HarnessError: What the work raised for the first item of those for which it did.
            StepError: The cluster could not do it.
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
        # Where no bucket came to anything, Ray has no columns either.
        return pl.concat(found) if found else settle(pl.read_parquet(files[0], n_rows=0, glob=False))


def _batches(made: Any, form: str) -> Any:
    """Yield what a dataset comes to, as it comes.

    Raises:
        StepError: The cluster could not do it.
    """
    try:
        yield from made.iter_batches(batch_size=None, batch_format=form)
    except RayError as error:
        # The last error of the traceback that is not Ray's own word for it; after it, there is advice.
        errors = [line for line in str(error).splitlines() if re.match(r"[\w.]+(Error|Exception)(: |$)", line)]
        reasons = [line for line in errors if not line.startswith("ray.exceptions.")] or errors
        reason = reasons[-1] if reasons else type(error).__name__
        raise StepError(f"the cluster could not build the data: {reason}") from error


def _each(batch: dict[str, Any], work: Callable[[Any], Any], folder: Path) -> dict[str, Any]:
    """Do some work on items; what is wrong with a request is an answer like any other."""
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
