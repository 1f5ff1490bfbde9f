"""The table of rows that the modules of this package pass on, its ledger of drops, and their digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.identity import digest, sequence_digest
from harness.records import CONTENT_COLUMNS, DROP_COLUMNS, OVERLAP_COLUMNS, ROW_COLUMNS

ID_LENGTH = 16
DIGEST = 16  # bytes of the digest of a whole row
SLICE = 1 << 15  # rows whose JSON is in memory at a time
SCHEMA = pl.Schema(dict.fromkeys(ROW_COLUMNS, pl.String()))
DROP_SCHEMA = pl.Schema(dict.fromkeys(DROP_COLUMNS, pl.String()))
OVERLAP_SCHEMA = pl.Schema(
    {name: pl.Float64() if kind == "float" else pl.String() for name, kind in OVERLAP_COLUMNS.items()}
)


@dataclass(frozen=True)
class Built:
    """The rows that a step kept, and the ledger of those that it dropped: rows in = kept + dropped, always.

    Attributes:
        rows: Columns ``SCHEMA``, in the order in which the step received the rows.
        drops: Columns ``DROP_SCHEMA``, one line per dropped row.
    """

    rows: pl.DataFrame
    drops: pl.DataFrame


def row_id(content: Mapping[str, str | None]) -> str:
    """Return the digest (16 hex digits) of what the model will see; other columns do not count."""
    seen = {name: content[name] for name in CONTENT_COLUMNS if content.get(name) is not None}
    return digest(seen)[:ID_LENGTH]


def row_ids(content: pl.DataFrame) -> pl.Series:
    """Return ``row_id`` of every row of a table that has at least one content column."""
    ids = []
    for part in content.select(sorted(set(CONTENT_COLUMNS) & set(content.columns))).iter_slices(SLICE):
        ids += [sha256(text.encode()).hexdigest()[:ID_LENGTH] for text in json_objects(part)]
    return pl.Series("row_id", ids, pl.String())


def json_objects(texts: pl.DataFrame) -> pl.Series:
    """Return each row of a table of text as a JSON object, without the nulls.

    The JSON is spelled as in ``identity.canonical_json``, except that the names are in the table's order.
    """
    given = [name for name in texts.columns if texts[name].null_count() < texts.height]
    if not any(texts[name].null_count() for name in given) and given:
        return texts.select(pl.struct(given).struct.json_encode()).to_series()
    members = [
        pl.when(pl.col(name).is_not_null()).then(
            pl.struct(name).struct.json_encode().str.strip_prefix("{").str.strip_suffix("}")
        )
        for name in given
    ]
    inner = pl.concat_str(members, separator=",", ignore_nulls=True) if given else pl.repeat("", texts.height)
    return texts.select(pl.concat_str(pl.lit("{"), inner, pl.lit("}"))).to_series()


def frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return a table with exactly ``SCHEMA``: missing columns are null, ``row_id`` is computed.

    Raises:
        ValueError: A column is not in ``SCHEMA``.
    """
    return table({name: [row.get(name) for row in rows] for name in {name for row in rows for name in row}}, len(rows))


def table(columns: Mapping[str, Sequence[str | None] | pl.Series | str | None], height: int) -> pl.DataFrame:
    """Return a table with exactly ``SCHEMA`` from whole columns, or from one value for all rows of a column.

    Raises:
        ValueError: A column is not in ``SCHEMA``.
        UnicodeEncodeError: A text is no UTF-8 (lone surrogates).
    """
    unknown = set(columns) - set(SCHEMA)
    if unknown:
        raise ValueError(f"not columns of a row: {', '.join(sorted(unknown))}")
    made = []
    for name, dtype in SCHEMA.items():
        given = columns.get(name)
        if given is None or isinstance(given, str):
            made.append(pl.repeat(given, height, dtype=dtype, eager=True).alias(name))
        else:
            made.append(pl.Series(name, given, dtype))
    rows = pl.DataFrame(made)
    return rows.with_columns(row_ids(rows))


def drops(records: Sequence[Mapping[str, str | None]]) -> pl.DataFrame:
    """Return a ledger with exactly ``DROP_SCHEMA``; missing columns are null."""
    return pl.DataFrame({name: [record.get(name) for record in records] for name in DROP_SCHEMA}, schema=DROP_SCHEMA)


def dropped(row: Mapping[str, Any], operation: str, reason: str) -> dict[str, str | None]:
    """Return the ledger's line for one row."""
    return {
        "row_id": row["row_id"], "source": row["source"], "operation": operation, "reason": reason, "place":
        place(row),
    }  # fmt: skip


def place(row: Mapping[str, Any]) -> str | None:
    """Return where a row was read (``file:line``), or None if ``meta`` has no place."""
    value = json.loads(row["meta"]).get("place") if row.get("meta") else None
    return None if value is None else str(value)


def content_digest(rows: pl.DataFrame) -> str:
    """Return the digest of the rows' content in order, on which training depends."""
    return sequence_digest(rows["row_id"])


def pool_digest(rows: pl.DataFrame) -> str:
    """Return the digest of all columns of all rows in order, except ``meta`` (where a row was read)."""
    return chained([row_digests(rows)])


def row_digests(rows: pl.DataFrame) -> bytes:
    """Return ``DIGEST`` bytes for each row: the digest of all its columns except ``meta``."""
    columns = sorted(name for name in SCHEMA if name != "meta")
    found = bytearray()
    for part in rows.select(columns).iter_slices(SLICE):
        # Polars writes the same JSON as identity.canonical_json.
        for text in part.select(pl.struct(columns).struct.json_encode()).to_series():
            found += hashlib.blake2b(text.encode(), digest_size=DIGEST).digest()
    return bytes(found)


def chained(digests: Iterable[bytes]) -> str:
    """Return ``pool_digest`` from the digests of the rows, in order, in any division into parts.

    All digests have the same length, so they need no separator. Rows can be digested in parallel; only their digests,
    16 bytes per row, must be combined in order.
    """
    total = sha256()
    for part in digests:
        total.update(part)
    return total.hexdigest()


def row_text(row: Mapping[str, Any], field: str | None = None) -> str:
    """Return the text of one content column, or of all content columns of the row, joined by line breaks."""
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

    Rows with the same content are distinguished by their occurrence, so a copy is neither always next to its
    original nor always drawn with it. The order of two rows is the same whatever else is in the table.
    """
    order: list[int] = by_rank(rank_table(rows, *parts), *parts).tolist()
    return order


def rank_table(rows: pl.DataFrame, *parts: object) -> pl.DataFrame:
    """Return the input of ``by_rank``, 16 bytes per row: ``row_id`` as a number, and the key of its first occurrence.

    A line depends on its row only, so tables of several parts of the rows may be joined.
    """
    ids = np.frombuffer(bytes.fromhex("".join(rows["row_id"])), ">u8").astype(np.uint64)
    keys = rank_keys((f"{row_id}\x1f0" for row_id in rows["row_id"]), *parts)
    return pl.DataFrame({"id": ids, "key": keys}, schema={"id": pl.UInt64, "key": pl.UInt64})


def by_rank(table: pl.DataFrame, *parts: object) -> NDArray[np.int64]:
    """Return the positions of a ``rank_table``'s rows in the order of their ranks; takes 40 bytes of memory per row."""
    ids, keys = table["id"].to_numpy(), table["key"].to_numpy().copy()
    by_id = ids.argsort(kind="stable")
    copies = np.flatnonzero(ids[by_id[1:]] == ids[by_id[:-1]]) + 1
    if len(copies):  # each copy of a row has its own key
        first = np.flatnonzero(np.append(True, ids[by_id[1:]] != ids[by_id[:-1]]))
        occurrence = copies - first[np.searchsorted(first, copies, side="right") - 1]
        named = zip(ids[by_id[copies]].tolist(), occurrence.tolist(), strict=True)
        keys[by_id[copies]] = rank_keys((f"{row_id:016x}\x1f{number}" for row_id, number in named), *parts)
    return keys.argsort(kind="stable")


def rank_keys(texts: Iterable[str], *parts: object) -> NDArray[np.uint64]:
    """Return ``unit_hash(*parts, row id, occurrence)`` of rows, each given as ``<row id>\\x1f<occurrence>``."""
    common = hashlib.blake2b("".join(f"{part}\x1f" for part in parts).encode(), digest_size=8)  # hashed once
    keys = bytearray()
    for text in texts:
        own = common.copy()
        own.update(text.encode())
        keys += own.digest()
    return np.frombuffer(keys, dtype=">u8").astype(np.uint64)


def compact(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a copy of the rows that shares no memory with other tables.

    Rows taken from a table point into its text, which then stays in memory as a whole.
    """
    return pl.DataFrame(pl.from_arrow(rows.to_arrow()))
