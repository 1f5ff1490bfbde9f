"""Words of a text, whatever its case, spelling of characters, markup and line breaks.

Only this module defines what a word is: ``words`` serves the search for items of suites, ``keys`` the comparison of
rows, ``WORD`` and ``counted`` the counts.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

import polars as pl

from harness.data import scripts
from harness.data.operators import MARK, SIGNS, marked

Words = tuple[str, ...]
OPERATORS = frozenset("+-*/^=")

# Dashes, quotes and operators in one spelling.
_SIGNS = (
    dict.fromkeys("‐‑‒–−", "-") | dict.fromkeys("’‘ʼ´`", "'") | dict.fromkeys("∗×⋅", "*") | dict.fromkeys("∕÷⁄", "/")
    | {"٬": ",", "٫": ".", "≤": "<=", "⩽": "<=", "≥": ">=", "⩾": ">=", "≠": "!="}
)  # fmt: skip
# Letters of other scripts that look like Latin ones, as they are after case folding (В folds to в and looks like B).
_LOOKALIKES = str.maketrans("авеіјкмнорсѕтухԁԛԝһӏαβεηικνορτυχ", "abeijkmhopcstyxdqwhlabehiknoptux")
_MIXED = re.compile(r"[a-z][\u0370-\u03ff\u0400-\u052f]|[\u0370-\u03ff\u0400-\u052f][a-z]")
_BLOCK_TAG = re.compile(
    r"</?(?:p|br|hr|div|li|ul|ol|td|th|tr|table|h[1-6]|pre|blockquote)(?:\s+[\w-]+=[^<>]*)?\s*/?>", re.IGNORECASE
)
_INLINE_TAG = re.compile(
    r"</?(?:a|b|i|u|s|em|strong|span|font|sub|sup|code|small|mark)(?:\s+[\w-]+=[^<>]*)?>", re.IGNORECASE
)
_LOWERED_TAG = re.compile(r"(?<=\d)<sub>(?=\d)", re.IGNORECASE)
_RAISED_TAG = re.compile(r"(?<=[\w)\]}])<sup>([\d+\u2212-][^<>]{0,8}|[a-z])</sup>", re.IGNORECASE)
_APOSTROPHE = re.compile(r"'(?<=[^\W\d_]')(?=[^\W\d_])")
_THOUSANDS = re.compile(r",(?<=\d,)(?=\d{3}(?!\d))")
_POINT = re.compile(r"[.:](?<=\d.)(?=\d)")
_DECIMAL = r"(?:[.:](?<=\d[.:])[0-9]+)*"  # 3.5 is one word, and so is 12:30
_ASCII = f"[a-z0-9]+{_DECIMAL}"
_SIGN = f"(?<={MARK})[{re.escape(SIGNS)}]+"
_SYMBOLS = r"$€£¥₹₽₩₺₴₫₿¢\u2600-\u27bf\U0001f300-\U0001faff"  # money and pictures
_PLAIN_WORDS, _ASCII_WORDS, _ASCII_KEYS = map(re.compile, ("[a-z0-9]+", f"{_ASCII}|{_SIGN}", rf"{_ASCII}|{_SIGN}|\$"))

# For counting: words are divided where Python's str.split() splits, at Unicode white space and the four ASCII
# separators, which Rust's \s leaves out; in a script without spaces, units are counted.
WORD = r"[^\s\x1c-\x1f]+"
_UNSPACED = rf"[{scripts.UNSPACED}]"
_STARTS_UNSPACED = re.compile(_UNSPACED)
_RUN = rf"[\p{{P}}\p{{S}}]*{_UNSPACED}(?:{_UNSPACED}|[\p{{M}}\p{{P}}\p{{S}}])*"
UNITS_A_WORD = 2  # a word of Chinese, Japanese, Thai, Lao, Khmer or Burmese has about two units


def words(text: str) -> Words:
    """Return the words of a text after NFKC and case folding; operators between two operands are words too.

    ``4-1`` equals ``4 - 1`` and differs from ``4 + 1``; a minus sign directly before a number counts as well. ``1,200``
    equals ``1200``, ``don't`` equals ``dont``, ``10²`` equals ``10^2``. Any other punctuation, line breaks, kinds of
    quotes and spaces, invisible characters, vowel marks that a script may leave out, HTML entities and tags, and
    letters of another script that look like Latin ones make no difference. Scripts without spaces are cut into units.
    """
    if "<" in text:
        text = _RAISED_TAG.sub(r"^\1 ", text)
        text = _LOWERED_TAG.sub("_", text)
        text = _INLINE_TAG.sub("", _BLOCK_TAG.sub(" ", text))
    if "&" in text:
        text = html.unescape(text)
    spelled = _spelled(text)
    if not spelled.isascii():
        return tuple(_patterns()[0].findall(spelled))
    return tuple((_ASCII_WORDS if MARK in spelled or _POINT.search(spelled) else _PLAIN_WORDS).findall(spelled))


def keys(texts: Iterable[str]) -> list[str]:
    """Return the words of each text, joined by spaces; of a text without words, its characters.

    Two texts are the same if their keys are. Here tags, currency signs and pictures count as words.
    """
    found = []
    for text in texts:
        spelled = _spelled(text)
        if not spelled.isascii():
            pattern = _patterns()[1]
        else:
            pattern = _ASCII_KEYS if MARK in spelled or "$" in spelled or _POINT.search(spelled) else _PLAIN_WORDS
        found.append(" ".join(pattern.findall(spelled)) or " ".join(text.split()))
    return found


def joined(text: Sequence[str]) -> str:
    """Return words as one text, with spaces between them except in scripts without spaces."""
    parts: list[str] = []
    for word in text:
        if parts and not (unspaced(word) and unspaced(parts[-1])):
            parts.append(" ")
        parts.append(word)
    return "".join(parts)


def unspaced(word: str) -> bool:
    """Whether a word is a unit of a script without spaces."""
    return word > "\u0e00" and _STARTS_UNSPACED.match(word) is not None


def amount(text: Sequence[str]) -> float:
    """Return the number of words; a unit of a script without spaces counts as ``1 / UNITS_A_WORD``."""
    units = sum(map(unspaced, text))
    return len(text) - units + units / UNITS_A_WORD


def is_operator(word: str) -> bool:
    """Whether a word is an operator."""
    return word[0] in SIGNS


def counted(text: pl.Expr) -> pl.Expr:
    """Return the number of words of each text, divided by white space.

    A run in a script without spaces has one word for every two of its units.
    """
    units = text.str.count_matches(scripts.rust_unit())
    spaced = text.str.replace_all(_RUN, " ").str.count_matches(WORD)
    return pl.when(text.str.contains(_UNSPACED)).then(spaced + (units + 1) // UNITS_A_WORD).otherwise(
        text.str.count_matches(WORD)
    )  # fmt: skip


def _spelled(text: str) -> str:
    if text.isascii():
        normal = text.lower()
    else:
        respelled, spellings = _respelled()
        normal = unicodedata.normalize("NFKC", scripts.apart(text))
        normal = respelled.sub(lambda found: spellings[found[0]], normal).casefold()
        normal = unicodedata.normalize("NFKC", normal).replace("i\u0307", "i")
        if _MIXED.search(normal):
            normal = normal.translate(_LOOKALIKES)
    if "'" in normal:
        normal = _APOSTROPHE.sub("", normal)
    if "," in normal:
        normal = _THOUSANDS.sub("", normal)
    return marked(normal)


@cache
def _respelled() -> tuple[re.Pattern[str], dict[str, str]]:
    """Return the characters that have another spelling, and the spelling of each."""
    spellings = _SIGNS | scripts.spellings()
    return re.compile(f"[{re.escape(''.join(spellings))}]"), spellings


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the pattern of a word in any script, without and with symbols."""
    word = f"[{scripts.letters()}]+{_DECIMAL}|{scripts.python_unit()}|{_SIGN}"
    return re.compile(word), re.compile(f"{word}|[{_SYMBOLS}]")
