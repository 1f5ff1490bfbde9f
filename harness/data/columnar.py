"""Reads JSON lines as whole columns if no line needs a closer look: the same result as line by line, but faster."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from harness.data.fields import CLOSER, NULLABLE, Template
from harness.data.reading import Block
from harness.records import CONTENT_COLUMNS

SAYS_SOMETHING = r"[^\s\x1c-\x1f]"  # a character that Python's str.strip does not remove
LARGEST = 1 << 30  # bytes; Arrow counts in 32 bits
MOST_BRACKETS = 500


def fields(
    block: Block, templates: Mapping[str, Template], columns: Sequence[str], texts: Collection[str]
) -> pl.DataFrame | None:
    """Return the canonical fields of a block's rows, or None where a line needs a closer look.

    Args:
        block: The lines.
        templates: Canonical field -> template. Messages, preferences and answers always need a closer look.
        columns: Further columns to carry along.
        texts: Columns that hold text in the file's first record, and so probably everywhere.

    Returns:
        One column per field, ``columns`` where some are carried, and ``id`` if the records have one.
    """
    if CLOSER & set(templates):
        return None
    read = _parsed(block.raw, {column for _, column in _parts(templates) if column is not None} | set(texts))
    if read is None:
        return None
    # Null may stand for a key that is missing.
    needed = [
        column
        for field, template in templates.items()
        for _, column in template.parts
        if column is not None and (field in NULLABLE or column not in template.optional)
    ]
    if any(name not in read.columns or read[name].null_count() for name in (*needed, *columns)):
        return None
    made = {field: _rendered(template, read.columns) for field, template in templates.items()}
    rows = read.select(**made)
    content = [rows[field].str.contains(SAYS_SOMETHING).all() for field in CONTENT_COLUMNS if field in made]
    if not any(content):
        return None
    if columns:
        members = [_member(read[name], block.raw) for name in sorted(columns)]
        if any(member is None for member in members):
            return None
        joined = pl.concat_str(members, separator=",")
        rows = rows.with_columns(read.select(pl.concat_str(pl.lit("{"), joined, pl.lit("}")).alias("columns")))
    if "id" not in made:
        ids = _id(read["id"]) if "id" in read.columns else pl.repeat(None, read.height, dtype=pl.String, eager=True)
        if ids is None:
            return None
        rows = rows.with_columns(ids.alias("id"))
    return rows


def _parts(templates: Mapping[str, Template]) -> list[tuple[str, str | None]]:
    return [part for template in templates.values() for part in template.parts]


def _parsed(raw: bytes, texts: set[str]) -> pl.DataFrame | None:
    """Return the table that Arrow's strict parser reads; None if reading line by line could give another result.

    Arrow refuses duplicate keys and values of another type. It does not check line breaks, UTF-8 and NaN, so this
    function does: each line must begin with ``{`` and end with ``}``.
    """
    import pyarrow as pa
    import pyarrow.json as arrow_json

    lines = raw.count(b"\n") + (not raw.endswith(b"\n"))
    if (
        len(raw) > LARGEST
        or not raw.startswith(b"{")
        or not raw.rstrip(b"\n").endswith(b"}")
        or raw.count(b"}\n{") != lines - 1
    ):
        return None
    # Arrow's parser recurses without a limit: 100,000 open brackets end the process.
    if raw.count(b"[") + raw.count(b"{") - lines > MOST_BRACKETS and any(
        line.count(b"[") + line.count(b"{") > MOST_BRACKETS for line in raw.split(b"\n")
    ):
        return None
    schema = pa.schema([(name, pa.string()) for name in sorted(texts)])
    try:
        raw.decode()
        table = arrow_json.read_json(
            pa.BufferReader(raw),
            arrow_json.ReadOptions(use_threads=False, block_size=len(raw) + 1),
            arrow_json.ParseOptions(explicit_schema=schema),
        )
    except (ValueError, pa.ArrowException):
        return None
    if table.num_rows != lines or any(pa.types.is_nested(kind) for kind in table.schema.types):
        return None
    read = pl.from_arrow(table)
    assert isinstance(read, pl.DataFrame)
    numbers = read.select(pl.col(pl.Float64).is_finite().all())
    return read if all(numbers.row(0) if numbers.width else ()) else None


def _rendered(template: Template, there: Sequence[str]) -> pl.Expr:
    pieces: list[Any] = []
    begun: pl.Expr | None = None  # whether the text so far is not empty; None: it never is
    for place, (literal, column) in enumerate(template.parts):
        before = pl.lit(literal)
        if place and begun is not None:
            before = pl.when(begun).then(before).otherwise(pl.lit(literal.lstrip()))
        if column not in template.optional:
            pieces += [before] if column is None else [before, pl.col(column)]
            begun = None
            continue
        given = pl.col(str(column)).fill_null("") if column in there else pl.lit("")
        pieces.append(pl.when(given == "").then(pl.lit("")).otherwise(before + given))
        if not place or begun is not None:
            begun = (given != "") if begun is None else begun | (given != "")
    return pieces[1] if template.parts == (("", template.parts[0][1]),) and len(pieces) == 2 else pl.concat_str(pieces)


def _member(column: pl.Series, raw: bytes) -> pl.Series | None:
    """Return the JSON member ``"name":value`` of every row, spelled as Python spells it; None if that is unknown."""
    name = pl.Series([column.name]).to_frame("name").select(pl.struct("name").struct.json_encode()).item()
    if column.dtype == pl.String:
        objects = column.to_frame().select(pl.struct(column.name).struct.json_encode()).to_series()
        return objects.str.strip_prefix("{").str.strip_suffix("}")
    values = _number(column, raw)
    return None if values is None else pl.select(pl.lit(name[8:-1] + ":") + values).to_series()


def _id(column: pl.Series) -> pl.Series | None:
    if column.dtype in (pl.String, pl.Null, pl.Int64):
        return column.cast(pl.String)
    return None


def _number(column: pl.Series, raw: bytes) -> pl.Series | None:
    if column.dtype in (pl.Int64, pl.Boolean):
        return column.cast(pl.String)
    if column.dtype != pl.Float64:
        return None
    whole = column.round(0) == column
    if whole.any():  # Arrow does not keep whether 1 or 1.0 is written
        written = rb'"%s"[ \t]*:[ \t]*-?\d+[ \t]*[,}]' % re.escape(column.name.encode())
        if b"\\u" in raw or re.search(written, raw):
            return None
    return pl.Series(column.name, [repr(value) for value in column.to_list()])
