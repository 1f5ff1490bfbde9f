"""JSON schemas of the output of ``--json``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import typer


def json_schema(record: str, module: str = "harness.records") -> Any:
    """Return the option ``--json-schema``, which prints the schema of a record and ends the command.

    Args:
        record: Name of a class that is printed as JSON.
        module: Module of the class; imported only when the option is used.
    """
    return typer.Option(
        "--json-schema", help="print the schema of the JSON output, and do nothing else", is_eager=True,
        callback=_printer(record, module),
    )  # fmt: skip


def schema(record: str, module: str = "harness.records") -> dict[str, Any]:
    """Return the schema of a record, with the version that its documents carry in ``schema_version``."""
    model = getattr(importlib.import_module(module), record)
    found: dict[str, Any] = model.model_json_schema(mode="serialization")
    version = model.model_fields["schema_version"].default
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "version": version, **found}


def _printer(record: str, module: str) -> Callable[[bool], None]:
    def show(asked: bool) -> None:
        if asked:
            from harness.cli.arguments import print_json

            print_json(schema(record, module))
            raise typer.Exit

    return show
