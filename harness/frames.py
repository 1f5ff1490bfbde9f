"""Rows that a user has in memory: frames of polars, pandas, Arrow or datasets, or objects in a list."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import RequestError

if TYPE_CHECKING:
    import polars as pl

EXPECTED = "a polars or pandas frame, a list of dicts, a datasets.Dataset or the path of a file"
UNFIT = (TypeError, ValueError, OverflowError)  # raised by Arrow and polars if values make no column


def in_memory(given: Any, place: str) -> pl.DataFrame | list[Any]:
    """Return rows as a polars frame if they are a table, else as a list of the objects given.

    Tables are recognized by their attributes: neither pandas nor datasets is imported.

    Args:
        given: A frame of polars or pandas (its index is no column), a table of Arrow, a ``datasets.Dataset``, or
            an iterable of objects.
        place: What messages call the rows.

    Raises:
        RequestError: ``given`` is something else, or a column holds values that make no table.
    """
    import polars as pl

    if isinstance(given, pl.DataFrame):
        return given
    if isinstance(given, Mapping):  # datasets.DatasetDict is one as well
        names = ", ".join(f'"{name}"' for name in list(given)[:3])
        what = "a dict" if type(given) is dict else f"a value of type {type(given).__name__}"
        raise RequestError(f"{place}: {what} ({names or 'empty'}), expected {EXPECTED}")
    try:
        if type(given).__module__.split(".")[0] == "pandas" and hasattr(given, "columns"):
            return _of_pandas(given, place)
        if hasattr(given, "to_polars"):
            return _whole(given.to_polars(), place)
        if hasattr(given, "__arrow_c_stream__") and hasattr(given, "column_names"):
            return _whole(pl.DataFrame(given), place)
    except UNFIT as error:
        raise RequestError(f"{place}: cannot be read as a table ({_first_line(error)})") from error
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return [_plain(row) for row in given]
    raise RequestError(f"{place}: a value of type {type(given).__name__}, expected {EXPECTED}")


def _of_pandas(given: Any, place: str) -> pl.DataFrame | list[Any]:
    """Return a pandas frame as a polars frame, or its rows as objects if a column mixes kinds of values."""
    import polars as pl
    import pyarrow as pa

    if not given.columns.is_unique:
        twice = given.columns[given.columns.duplicated()][0]
        raise RequestError(f'{place}: column "{twice}" is there twice')
    try:
        with warnings.catch_warnings():  # these warnings concern Arrow's own use of pandas
            warnings.simplefilter("ignore", DeprecationWarning)
            return _whole(pl.from_arrow(pa.Table.from_pandas(given, preserve_index=False)), place)
    except UNFIT:
        held = given.astype(object).where(given.notna(), None).to_dict("records")
        return [_plain(row) for row in held]


def _plain(value: Any) -> Any:
    """Return a value with numpy's values, which a row of pandas may hold, replaced by Python's."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return _plain(value.tolist()) if hasattr(value, "dtype") and hasattr(value, "tolist") else value


def _whole(frame: Any, place: str) -> pl.DataFrame:
    import polars as pl

    if not isinstance(frame, pl.DataFrame):
        raise RequestError(f"{place}: a value of type {type(frame).__name__}, expected {EXPECTED}")
    return frame


def rows(held: pl.DataFrame | list[Any]) -> Iterator[Any]:
    """Yield the rows one by one: as dicts of a frame's columns, or as the objects of the list."""
    return iter(held) if isinstance(held, list) else held.iter_rows(named=True)


def table(objects: Sequence[Mapping[str, Any]], place: str) -> pl.DataFrame:
    """Return objects as a frame; a column that an object lacks is null.

    Args:
        objects: Column -> value, for each row.
        place: What messages call the objects.

    Raises:
        RequestError: A column mixes kinds of values, such as text and numbers.
    """
    import polars as pl
    import pyarrow as pa

    made = {}
    for name in dict.fromkeys(name for row in objects for name in row):
        values = [row.get(name) for row in objects]
        try:  # polars alone would turn numbers beside text into text, and leave out members of objects
            made[str(name)] = pa.array(values)
        except UNFIT as error:
            kinds = " and ".join(dict.fromkeys(type(value).__name__ for value in values if value is not None))
            raise RequestError(
                f'{place}: the values of column "{name}" ({kinds}) make no column of a table ({_first_line(error)})'
            ) from error
    return pl.DataFrame(pl.from_arrow(pa.table(made)))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
