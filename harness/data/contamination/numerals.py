"""Numbers that are spelled out, in digits: "twenty-five" and "25" are the same word of an item."""

from __future__ import annotations

import re

from harness.data.text import Words

_UNITS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SMALL = _UNITS | _TENS
_COUNTED = {"hundred": 100, "dozen": 12}  # words that a number multiplies: "three hundred", "two dozen"
_MULTIPLES = _SCALES | _COUNTED
_SPELLED = frozenset(_SMALL | _MULTIPLES)

_PARTS = {
    "half": 2, "halves": 2, "halved": 2, "twice": 2, "double": 2, "doubles": 2, "doubled": 2, "pair": 2, "couple": 2,
    "third": 3, "thirds": 3, "thrice": 3, "triple": 3, "triples": 3, "tripled": 3, "quarter": 4, "quarters": 4,
    "fourth": 4, "fourths": 4, "fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "eighth": 8, "eighths": 8,
    "tenth": 10, "tenths": 10,
}  # fmt: skip
_AMOUNT = re.compile(r"\d+(?:\.\d+)?")


def quantities(text: Words) -> frozenset[str]:
    """Return the numbers of a text, however they are written: "a third" and "1/3" are 3, "11x" is 11, "1.50" is 1.5.

    One and two are left out: "an only child" and "both" mean them too, and no list of such words would be complete.

    Args:
        text: Words, numbers in digits.
    """
    found = set()
    for word in text:
        if word in _PARTS:
            found.add(str(_PARTS[word]))
        elif word[0].isdigit():
            amount = _AMOUNT.match(word)
            found.add(f"{float(amount[0]):g}" if amount and ":" not in word else word)
    return frozenset(found - {"1", "2"})


def in_digits(text: Words) -> Words:
    """Return words with every number that is spelled out in English as one word of digits."""
    if _SPELLED.isdisjoint(text):
        return text
    found: list[str] = []
    done = 0
    for at, word in enumerate(text):
        if at < done:
            continue
        if word in _SMALL or (text[at + 1 : at + 2] and text[at + 1] in _MULTIPLES):
            number, end = _number(text, at)
            if end > at:
                word, done = number, end
        found.append(word)
    return tuple(found)


def _number(text: Words, at: int) -> tuple[str, int]:
    """Return the number that begins at a word, and where it ends; the end is ``at`` if no number begins there."""
    total, part, place, scale = 0, 0, at, 10**15
    begun = False  # whether the part has any word yet: "zero" is one
    following = text[at + 1] if at + 1 < len(text) else ""
    if (text[at] == "a" or text[at].isdecimal()) and following in _MULTIPLES:
        part, begun, place = 1 if text[at] == "a" else int(text[at]), True, at + 1
    elif text[at] not in _SMALL:
        return "", at
    while place < len(text):
        word = text[place]
        ahead = text[place + 1] if place + 1 < len(text) else ""
        if word in _SMALL and (not begun or _adds(part, word)):
            part, begun = part + _SMALL[word], True
        elif word in _COUNTED and begun and 0 < part < 100:
            part *= _COUNTED[word]
        elif word in _SCALES and begun and part and _SCALES[word] < scale:
            scale = _SCALES[word]
            total, part, begun = total + part * scale, 0, False
        elif not (word == "and" and ahead in _SMALL and (part and part % 100 == 0 if begun else total)):
            break
        place += 1
    if begun and place + 1 < len(text) and text[place] == "point" and text[place + 1] in _UNITS:
        return _with_decimals(text, total + part, place + 1)
    return str(total + part), place


def _adds(part: int, word: str) -> bool:
    """Whether a word continues a number: any small number may follow hundreds, a digit may follow tens."""
    return part > 0 and (part % 100 == 0 or (part % 10 == 0 and part % 100 >= 20 and 0 < _SMALL[word] < 10))


def _with_decimals(text: Words, whole: int, place: int) -> tuple[str, int]:
    decimals = ""
    while place < len(text) and text[place] in _UNITS:
        decimals += str(_UNITS[text[place]])
        place += 1
    return f"{whole}.{decimals}", place
