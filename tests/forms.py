"""Rows in memory as people hold them: the same rows in every form that the Python API takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import pandas as pd
import polars as pl
import pyarrow as pa

Rows = list[dict[str, Any]]
FORMS: dict[str, Callable[[Rows], Any]] = {
    "dicts": list,
    "one by one": iter,
    "polars": lambda rows: pl.DataFrame(rows, infer_schema_length=None),
    "pandas": pd.DataFrame,
    "pandas with an index": lambda rows: pd.DataFrame(rows, index=[f"r{n}" for n in range(len(rows))]),
    "arrow": pa.Table.from_pylist,
    "datasets": datasets.Dataset.from_list,
}
