"""The table of rows every part of this package hands to the next, its ledger of drops, and their digests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from harness.identity import canonical_json, digest, sequence_digest, unit_hash
from harness.records import CONTENT_COLUMNS, DROP_COLUMNS, OVERLAP_COLUMNS, ROW_COLUMNS

ID_LENGTH = 16
SCHEMA = pl.Schema(dict.fromkeys(ROW_COLUMNS, pl.String()))
DROP_SCHEMA = pl.Schema(dict.fromkeys(DROP_COLUMNS, pl.String()))
OVERLAP_SCHEMA = pl.Schema(
    {name: pl.Float64() if kind == "float" else pl.String() for name, kind in OVERLAP_COLUMNS.items()}
)


@dataclass(frozen=True)
class Built:
    """The rows a step kept and the ledger of those it did not: rows in = kept + dropped, always.

    Attributes:
        rows: Columns ``SCHEMA``, in the order the step received them.
        drops: Columns ``DROP_SCHEMA``, one line per row that is gone.
    """

    rows: pl.DataFrame
    drops: pl.DataFrame


def row_id(content: Mapping[str, str | None]) -> str:
    """Return the digest (16 hex digits) of what the model will see; other columns do not count."""
    seen = {name: content[name] for name in CONTENT_COLUMNS if content.get(name) is not None}
    return digest(seen)[:ID_LENGTH]


def frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return a table with exactly ``SCHEMA``: missing columns are null, ``row_id`` is computed.

    Raises:
        ValueError: For a column that rows do not have.
    """
    unknown = {name for row in rows for name in row} - set(SCHEMA)
    if unknown:
        raise ValueError(f"not columns of a row: {', '.join(sorted(unknown))}")
    return pl.DataFrame(
        [{name: row.get(name) for name in SCHEMA} | {"row_id": row_id(row)} for row in rows], schema=SCHEMA
    )


def drops(records: Sequence[Mapping[str, str | None]]) -> pl.DataFrame:
    """Return a ledger with exactly ``DROP_SCHEMA``; missing columns are null."""
    return pl.DataFrame([{name: record.get(name) for name in DROP_SCHEMA} for record in records], schema=DROP_SCHEMA)


def dropped(row: Mapping[str, Any], operation: str, reason: str) -> dict[str, str | None]:
    """Return the ledger's line for one row."""
    return {
        "row_id": row["row_id"], "source": row["source"], "operation": operation, "reason": reason, "place":
        place(row),
    }  # fmt: skip


def place(row: Mapping[str, Any]) -> str | None:
    """Return where the row was read (``file:line``), if it says so."""
    value = json.loads(row["meta"]).get("place") if row.get("meta") else None
    return None if value is None else str(value)


def content_digest(rows: pl.DataFrame) -> str:
    """Return the digest of the rows' content in order: what training depends on."""
    return sequence_digest(rows["row_id"])


def pool_digest(rows: pl.DataFrame) -> str:
    """Return the digest of all columns of all rows in order, except ``meta`` (where a row was read)."""
    columns = [name for name in SCHEMA if name != "meta"]
    return sequence_digest(canonical_json(row) for row in rows.select(columns).iter_rows())


def row_text(row: Mapping[str, Any], field: str | None = None) -> str:
    """Return the text of one content column, or of all that the row has, a line break between the parts."""
    parts = []
    for name in CONTENT_COLUMNS if field is None else (field,):
        value = row.get(name)
        if value is None:
            continue
        if name == "messages":
            parts += [message["content"] for message in json.loads(value)]
        else:
            parts.append(value)
    return "\n".join(parts)


def ranked(rows: pl.DataFrame, *parts: object) -> list[int]:
    """Return the rows' positions in a random order that depends only on the parts and each row's content.

    Rows with the same content are told apart by their occurrence, so a copy is neither always beside its
    original nor always drawn with it. The order of two rows is the same whatever else is in the table.
    """
    occurrence = rows.select(pl.col("row_id").cum_count().over("row_id") - 1).to_series()
    keys = [unit_hash(*parts, *pair) for pair in zip(rows["row_id"], occurrence, strict=True)]
    return sorted(range(rows.height), key=keys.__getitem__)
