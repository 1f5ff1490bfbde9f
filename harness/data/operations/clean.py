"""``clean``: repair text, remove control characters and white space at the end of lines, find broken rows."""

from __future__ import annotations

import json
import re

import polars as pl

from harness.data.operations.content import rewrite
from harness.errors import RequestError
from harness.records import CONTENT_COLUMNS

# Only text that matches can change: in printable ASCII ftfy changes nothing but entities, which begin with "&".
SUSPECT = r"[^\t\n -%'-~]|[ \t]\n|\s$"
LINE_END = re.compile("\r\n|[\r\v\f\x1c\x1d\x1e\u2028\u2029]")
# Besides C0 and C1: deprecated format characters, the byte order mark, interlinear annotation, non-characters.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u206a-\u206f\ufeff\ufff9-\ufffc\ufffe\uffff]")
END_OF_LINE = re.compile(r"(?<![^\S\n])[^\S\n]+(?=\n)")  # from the start of the space, else long runs take n * n steps
# A visible character: neither white space nor zero-width (soft hyphen, joiners, direction marks).
VISIBLE = r"[^\s\x1c-\x1f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]"
PASSES = 10


def cleaned(rows: pl.DataFrame, repair: bool) -> pl.DataFrame:
    """Return the rows with clean text; those that changed have another ``row_id``.

    Args:
        rows: Columns ``rows.SCHEMA``; further columns are carried along.
        repair: Repair mojibake and HTML entities as well.
    """

    def edit(field: str, text: str) -> str:
        # White space at the end of a prompt separates it from the completion.
        end = text[len(text.rstrip()) :] if field == "prompt" else ""
        end = CONTROL.sub("", LINE_END.sub("\n", end))
        return clean_text(text.rstrip(), repair) + end

    return rewrite(rows, "clean", edit, lambda name: pl.col(name).str.contains(SUSPECT))


def clean_text(text: str, repair: bool) -> str:
    """Return text without mojibake, entities (both with ``repair``), control characters and trailing white space.

    Line breaks of every kind become ``\\n``. Quotation marks, ligatures and full-width characters stay: they are no
    damage. Cleaning a text twice gives the same as cleaning it once.
    """
    for _ in range(PASSES):
        before = text
        text = LINE_END.sub("\n", text)
        text = _repaired(text) if repair else text.replace("\x85", "\n")
        text = END_OF_LINE.sub("", CONTROL.sub("", text)).rstrip()
        if text == before:
            break
    return text


def broken(rows: pl.DataFrame) -> pl.Series:
    """Return, for each row, the reason why it is broken (which required field is empty), or null."""
    empty = [
        pl.when(pl.col(name).is_not_null() & ~pl.col(name).str.contains(VISIBLE)).then(pl.lit(f"{name} is empty"))
        for name in CONTENT_COLUMNS
        if name != "messages"
    ]
    silent = pl.Series([None if m is None else _silent(m) for m in rows["messages"]], dtype=pl.String)
    nothing = pl.all_horizontal(pl.col(name).is_null() for name in CONTENT_COLUMNS)
    none = pl.when(nothing).then(pl.lit("the row has no text"))
    return rows.select(pl.coalesce(*empty, silent, none).alias("reason")).to_series()


def _silent(messages: str) -> str | None:
    turns = json.loads(messages)
    if not turns:
        return "the conversation has no messages"
    for number, turn in enumerate(turns, 1):
        if not re.search(VISIBLE, turn["content"]):
            return f"message {number} ({turn['role']}) is empty"
    return None


def _repaired(text: str) -> str:
    try:
        import ftfy
    except ImportError as error:
        raise RequestError("clean: repairing text needs ftfy: pip install ftfy, or say repair: false") from error
    # Entities in a text that holds tags are part of its markup; ftfy decides that from the lines read so far.
    return ftfy.fix_text(
        text,
        unescape_html="<" not in text,
        uncurl_quotes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
    )
