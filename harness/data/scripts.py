"""How writing systems spell words: marks on letters, scripts without spaces, raised and lowered signs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

# Scripts without spaces are cut into units: a Han or kana character; in South-East Asia a consonant with its vowels,
# as far as they are written around it, with what is stacked below it, and in Burmese the final consonants.
HAN = "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3041-\u3098\u309b-\u309f\u30a1-\u30fa\u30fc-\u312f\u31a0-\u31ff" + (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
)
_BASES = "\u0e01-\u0e2f\u0e46\u0e81-\u0eaf\u0ebd\u0ec6\u0edc-\u0edf\u1000-\u102a\u103f\u1050-\u1055\u105a-\u105d" + (
    "\u1061\u1065\u1066\u106e-\u1070\u1075-\u1081\u1780-\u17b3\u17d7\u17dc\ua9e0-\ua9ef\uaa60-\uaa7a"
)
_LEADING, _TRAILING = "\u0e40-\u0e44\u0ec0-\u0ec4", "\u0e30\u0e32\u0e45\u0eb0\u0eb2"
_STACKED, _FINAL = "\u17d2\u1039", "\u103a"
UNSPACED = f"{HAN}{_BASES}{_LEADING}{_TRAILING}"

# Marks that are left out of words: vowels of Arabic and Hebrew, which most texts do not write, the line that stretches
# Arabic words, and marks that enclose a character (keycaps).
_OPTIONAL = (
    *range(0x591, 0x5BE), 0x5BF, 0x5C1, 0x5C2, 0x5C4, 0x5C5, 0x5C7, *range(0x610, 0x61B), 0x640, *range(0x64B, 0x653),
    *range(0x656, 0x660), 0x670, *range(0x6D6, 0x6DD), *range(0x6DF, 0x6E5), 0x6E7, 0x6E8, *range(0x6EA, 0x6EE),
    *range(0x8D3, 0x8E2), *range(0x8E3, 0x900), *range(0x20DD, 0x20E5),
)  # fmt: skip
# Letters that keyboards and habits write in several ways.
_VARIANTS = dict(zip("ٱأإآىیکٲٳٵıς", "ااااييكاااiσ", strict=True))
# Characters that are removed: soft hyphens, zero-width characters, direction marks and variation selectors.
_INVISIBLE = (
    0xAD, 0x34F, 0x61C, 0x180B, 0x180C, 0x180D, 0x180E, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F),
    *range(0x2060, 0x2070), *range(0xFE00, 0xFE10),
)  # fmt: skip

# Letters beyond the first 65,536 characters, as whole blocks: a class of many ranges there is slow.
_BEYOND = "\U00010000-\U0001cfff\U0001df00-\U0001efff"


def _ranges(characters: Iterable[int]) -> str:
    """Return characters as the inside of a class of a regular expression."""
    found: list[list[int]] = []
    for character in characters:
        if found and found[-1][1] == character - 1:
            found[-1][1] = character
        else:
            found.append([character, character])
    return "".join(f"{re.escape(chr(low))}-{re.escape(chr(high))}" for low, high in found)


@cache
def _categories() -> tuple[str, str, dict[str, str]]:
    """Return the letters and digits with their marks, the marks, and every decimal digit as 0 to 9."""
    words: list[int] = []
    marks: list[int] = []
    digits: dict[str, str] = {}
    unspaced = re.compile(f"[{UNSPACED}]")
    for code in range(0x10000):
        character = chr(code)
        category = unicodedata.category(character)
        if category in ("Mn", "Mc") and character not in _STACKED:
            marks.append(code)
        if (category in ("Mn", "Mc") or character.isalnum()) and not unspaced.match(character):
            words.append(code)
        if category == "Nd" and code > 0x7F:
            digits[character] = str(unicodedata.digit(character))
    return _ranges(words) + _BEYOND, _ranges(marks), digits


def letters() -> str:
    """Return letters, digits and marks of scripts with spaces, as the inside of a class."""
    return _categories()[0]


def spellings() -> dict[str, str]:
    """Return character -> its spelling in words (empty: it is removed), for variants, digits and optional marks."""
    return _VARIANTS | _categories()[2] | dict.fromkeys(map(chr, (*_OPTIONAL, *_INVISIBLE)), "")


def unit(mark: str) -> str:
    """Return the regular expression of a unit of a script without spaces.

    Args:
        mark: The regular expression of a combining mark that stacks nothing.
    """
    below = f"(?:{mark}|[{_STACKED}][{_BASES}]?)*"
    final = f"(?:[{_BASES}]\u1037?{_FINAL}{mark}*)*"
    return f"[{HAN}]{mark}*|[{_LEADING}]?[{_BASES}]{below}{final}[{_TRAILING}]*|[{_LEADING}{_TRAILING}]{mark}*"


def python_unit() -> str:
    """Return ``unit`` for Python's regular expressions."""
    return unit(f"[{_categories()[1]}]")


def rust_unit() -> str:
    """Return ``unit`` for the regular expressions of polars."""
    return unit(rf"[\p{{M}}--[{_STACKED}]]")


# ------------------------------------------------------------------------------------------- raised and lowered signs


def _tagged(tag: str, *blocks: tuple[int, int]) -> dict[str, str]:
    """Return character -> the plain characters it stands for, for compatibility characters of one form in blocks."""
    found = {}
    for low, high in blocks:
        for code in range(low, high):
            form, *parts = unicodedata.decomposition(chr(code)).split() or ("",)
            if form == f"<{tag}>":
                found[chr(code)] = "".join(chr(int(part, 16)) for part in parts)
    return found


_SUPER = _tagged("super", (0xB2, 0xBA), (0x2070, 0x2080))
_SUB = _tagged("sub", (0x2080, 0x208F))
_FRACTION = _tagged("fraction", (0xBC, 0xBF), (0x2150, 0x2160), (0x2189, 0x218A))
_CIRCLE = _tagged("circle", (0x2460, 0x24FF), (0x3251, 0x32C0)) | {
    chr(code): str((code - start) % 10 + 1) for start in (0x2776, 0x2780, 0x278A) for code in range(start, start + 10)
}
_SQUARE = _tagged("square", (0x3371, 0x33E0))
_FORMS = re.compile(f"[{''.join((*_SUPER, *_SUB, *_FRACTION, *_CIRCLE, *_SQUARE))}]")
_RAISED = re.compile(rf"(?<=[\w)\]}}])([{''.join(_SUPER)}]+)(?=(\w)?)")
_LOWERED = re.compile(rf"(?<=\d)([{''.join(_SUB)}]+)(?=(\d)?)|([{''.join(_SUB)}]+)(?=\d)")
_APART = str.maketrans(
    {sign: f" {plain}" for sign, plain in _FRACTION.items()} | {sign: f" {plain} " for sign, plain in _CIRCLE.items()}
)
_SQUARED = str.maketrans(_SQUARE)


def apart(text: str) -> str:
    """Return text in which powers, indices and fractions are separated from the digits next to them.

    Unicode's compatibility mapping alone would make 10² 102, 2½ 21/2 and 5① 51.
    """
    if not _FORMS.search(text):
        return text
    text = text.translate(_SQUARED).translate(_APART)
    text = _RAISED.sub(lambda found: f"^{found[1]}{' ' if found[2] else ''}", text)
    return _LOWERED.sub(lambda found: f"_{found[1]}{' ' if found[2] else ''}" if found[1] else f"{found[3]} ", text)
