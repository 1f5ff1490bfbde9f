"""The words of a text: what is left of it when case, Unicode form, white space and punctuation do not count."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 100_000  # texts normalized, or cut into words, at a time

# Scripts written without spaces are cut into characters; a currency sign or an emoji is a word as well.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# Operators are words where they calculate or compare: "4 - 1" is not "4 + 1", "a != b" not "a = b". They are replaced
# by private characters there; elsewhere they are punctuation, which makes no difference.
_OPERATORS = "-+*/^=<>&|%!"
_OPERATOR = re.compile(
    r"""[-+*/^=<>&|%!](?:                        # one class first: the rest is tried at operators only
        (?<=[\d)][-/])(?=[-\d(.])                # 4-1, 1/2
      | (?<=[\w)][+*^=])(?=[-\w(.])              # 4+1, 2*x, a=3
      | (?<=-)(?<![\w)]-)(?=\d)                  # -5
      | (?<=\d%)                                # 5%
      | (?<=[\w)\]][ ].)(?!(?<=-)-|(?<=!)[^=])[-+*/^=<>&|%]*(?=[ ][-\w(\[])  # a != b, but no long dash
    )""",
    re.VERBOSE,
)
SIGNS = {ord(sign): chr(0xE000 + at) for at, sign in enumerate(_OPERATORS)}
_SPELLINGS = str.maketrans(dict.fromkeys("‐‑‒–−", "-") | dict.fromkeys("’‘ʼ", "'") | {"×": "*", "÷": "/"})
_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]+")
_JOINED = re.compile(r"'(?<=\w.)(?=\w)|,(?<=\d.)(?=\d{3}(?!\d))")  # don't is dont, 1,200 is 1200
_WORD = (
    rf"[{_UNSPACED}\p{{Sc}}\p{{So}}]|\p{{Nd}}+(?:[.:]\p{{Nd}}+)+|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+"
    r"|[\u{E000}-\u{E00B}]+"
)


def normalized(texts: pl.Series | Sequence[str]) -> pl.Series:
    """Return the words of each text, a space between them; what is there instead where there are none."""
    parts = []
    for start in range(0, len(texts), BATCH):
        batch = [_spelled(text) for text in texts[start : start + BATCH]]
        words = pl.Series(batch, dtype=pl.String).str.extract_all(_WORD).list.join(" ")
        bare = pl.Series([key or " ".join(text.split()) for text, key in zip(batch, words, strict=True)])
        parts.append(bare)
    return pl.concat(parts) if parts else pl.Series(dtype=pl.String)


def _spelled(text: str) -> str:
    if text.isascii():
        text = text.lower()
    else:
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).translate(_SPELLINGS)
        text = _INVISIBLE.sub("", text)
    return _OPERATOR.sub(_sign, _JOINED.sub("", text))


def _sign(found: re.Match[str]) -> str:
    return found[0].translate(SIGNS)


def first_place(values: pl.Series) -> NDArray[np.int64]:
    """Return for each value the position where it comes first."""
    numbered = values.to_frame("value").with_row_index("place")
    return numbered.select(pl.col("place").first().over("value").cast(pl.Int64)).to_series().to_numpy()
