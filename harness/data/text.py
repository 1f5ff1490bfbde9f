"""Words: what two texts have in common when case, spelling of characters, markup and line breaks make no difference."""

from __future__ import annotations

import html
import re
import unicodedata

Words = tuple[str, ...]
OPERATORS = frozenset("+-*/^=")

# Dashes and operators in one spelling; soft hyphens, zero-width characters and direction marks are not there at all.
_SPELLINGS = str.maketrans(
    dict.fromkeys("‐‑‒–—−", "-")
    | dict.fromkeys("’‘ʼ´`", "'")
    | {"×": "*", "÷": "/"}
    | dict.fromkeys(map(chr, (0xAD, 0x34F, 0x61C, 0x180E, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F))))
    | dict.fromkeys(map(chr, (*range(0x2060, 0x2070), *range(0xFE00, 0xFE10))))
)
# Letters of other scripts that look like Latin ones, as they are after case folding (В folds to в and looks like B).
_LOOKALIKES = str.maketrans("авеіјкмнорсѕтухԁԛԝһӏαβεηικνορτυχ", "abeijkmhopcstyxdqwhlabehiknoptux")
_MIXED = re.compile(r"[a-z][\u0370-\u03ff\u0400-\u052f]|[\u0370-\u03ff\u0400-\u052f][a-z]")
_BLOCK_TAG = re.compile(
    r"</?(?:p|br|hr|div|li|ul|ol|td|th|tr|table|h[1-6]|pre|blockquote)(?:\s+[\w-]+=[^<>]*)?\s*/?>", re.IGNORECASE
)
_INLINE_TAG = re.compile(
    r"</?(?:a|b|i|u|s|em|strong|span|font|sub|sup|code|small|mark)(?:\s+[\w-]+=[^<>]*)?>", re.IGNORECASE
)
_APOSTROPHE = re.compile(r"'(?<=[^\W\d_]')(?=[^\W\d_])")
_THOUSANDS = re.compile(r",(?<=\d,)(?=\d{3}(?!\d))")
# Scripts without spaces are matched character by character; elsewhere a word is a run of letters and digits.
_WORDS = re.compile(r"([\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+)")
_ASCII_WORDS = re.compile(r"([a-z0-9]+)")
_MAY_CALCULATE = re.compile(r"[-+*/^=][\W_]*[\d-]")


def words(text: str) -> Words:
    """Return the words of a text after NFKC and case folding; operators between numbers are words too.

    ``4-1`` equals ``4 - 1`` and differs from ``4 + 1``; a minus sign directly before a number counts as well.
    ``1,200`` equals ``1200``, ``don't`` equals ``dont``. Any other punctuation, line breaks, kinds of quotes and
    spaces, invisible characters, HTML entities and tags, and letters of another script that pass for Latin ones make
    no difference.
    """
    if "<" in text:
        text = _INLINE_TAG.sub("", _BLOCK_TAG.sub(" ", text))
    if "&" in text:
        text = html.unescape(text)
    plain = text.isascii()
    normal = text.lower() if plain else _normal(text)
    if "'" in normal:
        normal = _APOSTROPHE.sub("", normal)
    if "," in normal:
        normal = _THOUSANDS.sub("", normal)
    word = _ASCII_WORDS if plain else _WORDS
    return _with_operators(normal, word) if _MAY_CALCULATE.search(normal) else tuple(word.findall(normal))


def _normal(text: str) -> str:
    normal = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).translate(_SPELLINGS).casefold())
    return normal.translate(_LOOKALIKES) if _MIXED.search(normal) else normal


def _with_operators(normal: str, word: re.Pattern[str]) -> Words:
    """Return the words of a normalized text with the operators that calculate.

    An operator does where a number, or another operator's minus sign, follows and the word before ends with a digit; a
    minus sign also where it touches the number after it and no letter or digit before it.
    """
    parts = word.split(normal)  # what stands between the words, and the words in turn
    for place in range(0, len(parts), 2):
        between = parts[place]
        if between == " " or OPERATORS.isdisjoint(between):
            parts[place] = ""
            continue
        before = parts[place - 1][-1:] if place else ""
        after = parts[place + 1][:1] if place + 1 < len(parts) else ""
        found = [sign for sign in between if sign in OPERATORS]
        follows = [sign == "-" for sign in found[1:]] + [after.isdigit()]
        kept = [sign for sign, ahead in zip(found, follows, strict=True) if ahead and before.isdigit()]
        signed = between.endswith("-") and after.isdigit() and (len(between) > 1 or not before)
        parts[place] = " ".join([*kept, "-"] if signed and not before.isdigit() else kept)
    return tuple(" ".join(filter(None, parts)).split(" ")) if any(parts) else ()
