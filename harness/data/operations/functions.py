"""Functions of the user's own: trusted code in a Python file beside the study, named ``module:function``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl

from harness import outside, trusted
from harness.data.operations.context import which
from harness.data.rows import SCHEMA
from harness.errors import RequestError, did_you_mean

Function = Callable[[dict[str, Any]], Any]
JSON_COLUMNS = ("messages", "columns", "verifier", "meta")


def path(named: str, folder: Path | None, whose: str) -> Path:
    """Return the file that holds the module of ``module:function``.

    Raises:
        RequestError: There is no study whose folder could hold it, or no such file.
    """
    module = named.partition(":")[0]
    if folder is None:
        raise RequestError(f"{whose}: function {named} is read from the study's folder, and there is no study here")
    file = folder / f"{module}.py"
    if trouble := outside.problem(file):
        raise RequestError(f"{whose}: function {named}: {file} {trouble}")
    if not file.is_file():
        near = did_you_mean(module, (one.stem for one in folder.glob("*.py")))
        raise RequestError(f"{whose}: function {named}: no file {file}.{near}")
    return file


def held(named: str, folder: Path | None, whose: str) -> dict[str, str]:
    """Return ``{"function/<module>": sha256}`` of the file that holds a function.

    Raises:
        RequestError: There is no such file.
    """
    file = path(named, folder, whose)
    return {f"function/{file.stem}": outside.digest(file)}


def version_of(library: str, whose: str) -> str:
    """Return the version of an installed distribution.

    Raises:
        RequestError: It is not installed.
    """
    try:
        return version(library)
    except PackageNotFoundError as error:
        raise RequestError(f"{whose}: {library} is not installed: pip install {library}") from error


def answers(named: str, rows: pl.DataFrame, folder: Path | None, whose: str) -> list[Any]:
    """Call a file's function for every row, and return its answers.

    The function gets a dict of the row's columns (``messages``, ``columns``, ``verifier`` and ``meta`` as lists and
    dicts), which it may change without effect. Its file must stand alone: modules beside it cannot be imported, since
    a step's key holds the digest of this file only.

    Raises:
        RequestError: There is no such file or function, or it fails; the message names its line and the row.
    """
    file = path(named, folder, whose)
    function = _load(file, named.partition(":")[2], whose)
    found = []
    with trusted.apart():
        for record in rows.select(SCHEMA.names()).iter_rows(named=True):
            row = {
                name: json.loads(value) if name in JSON_COLUMNS and value is not None else value
                for name, value in record.items()
            }
            try:
                found.append(function(row))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # even sys.exit(0) leaves the row without an answer
                place = f"{trusted.line_in(error, file)}: {which(record)}"
                raise RequestError(f"{whose}: {place}: {trusted.said(error)}") from error
    return found


def verdict(value: Any, record: Mapping[str, Any], named: str, whose: str) -> bool:
    """Return the answer of a filter's function as a bool.

    Raises:
        RequestError: The answer is no bool.
    """
    if type(value).__name__ not in ("bool", "bool_"):  # bool_: numpy's
        raise RequestError(f"{whose}: {named} must return True or False; {which(record)} got {value!r}")
    return bool(value)


def grade(value: Any, record: Mapping[str, Any], named: str, whose: str) -> float:
    """Return the answer of a ``verify`` function as a score.

    Raises:
        RequestError: The answer is no number from 0 to 1.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, str) or not 0 <= number <= 1:
        raise RequestError(f"{whose}: {named} must return a number from 0 to 1; {which(record)} got {value!r}")
    return number


def _load(file: Path, name: str, whose: str) -> Function:
    module = ModuleType(f"function_{file.stem}")
    module.__file__ = str(file)
    # Dataclasses look up their module here. The module is not imported, so bytecode is neither written nor reused.
    sys.modules[module.__name__] = module
    try:
        with trusted.apart():
            exec(compile(file.read_bytes(), str(file), "exec"), module.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise RequestError(f"{whose}: {trusted.line_in(error, file)}: {trusted.said(error)}") from error
    function = getattr(module, name, None)
    if not callable(function):
        functions = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise RequestError(f'{whose}: {file} has no function "{name}".{did_you_mean(name, functions)}')
    result: Function = function
    return result
