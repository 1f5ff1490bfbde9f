"""Arguments and options that verbs share, and how JSON is printed."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.session.opening import DEFAULT_STORE, open_store, prepared, shown_store
from harness.terminal.working import note

__all__ = [
    "DEFAULT_STORE", "Address", "AsJson", "Device", "EngineName", "StorePlace", "StudyFile", "Workers", "note",
    "open_store", "prepared", "print_json", "shown_store",
]  # fmt: skip

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="study file (.yaml, or .py with a function study())")]
StorePlace = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="HARNESS_STORE",
        help="folder (or s3://bucket/...) for everything that is made",
        show_default=True,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="worker processes (default: one per core or GPU)")
]
Device = Annotated[str | None, typer.Option("--device", help="cpu or cuda (default: cuda when there is one)")]
EngineName = Annotated[
    str, typer.Option("--engine", help="local, ray, or an engine file (.yaml) such as those in configs/engines")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="of a Ray cluster: host:port, ray://host:port, auto, or local (one on this machine)"
    ),
]


def print_json(value: Any) -> None:
    """Print one JSON document to standard output; infinity and NaN, which JSON lacks, become null."""
    ascii_only = "utf" not in (sys.stdout.encoding or "utf").lower()
    try:
        text = json.dumps(value, indent=1, ensure_ascii=ascii_only, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=1, ensure_ascii=ascii_only, allow_nan=False)
    sys.stdout.write(f"{text}\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
