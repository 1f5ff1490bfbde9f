"""JSON schemas of what ``--json`` prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer


def json_schema(record: str) -> Any:
    """Return the option ``--json-schema``: it prints the schema of a record, and nothing else is done.

    Args:
        record: Name of a class in ``harness.records``.
    """
    return typer.Option(
        "--json-schema", help="print the schema of the JSON output, and do nothing else", is_eager=True,
        callback=_printer(record),
    )  # fmt: skip


def schema(record: str) -> dict[str, Any]:
    """Return the schema of a record, with the version that its documents carry in ``schema_version``."""
    from harness import records

    model = getattr(records, record)
    found: dict[str, Any] = model.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "version": records.SCHEMA_VERSION, **found}


def _printer(record: str) -> Callable[[bool], None]:
    def show(asked: bool) -> None:
        if asked:
            from harness.cli.arguments import print_json

            print_json(schema(record))
            raise typer.Exit

    return show
