"""Which language a text is in, offline."""

from __future__ import annotations

UNCLEAR = "too short to tell"
LETTERS = 10  # with fewer, any guess is as good as another
LOOKED = 2000  # characters read; more change nothing and cost time


def language(text: str) -> str:
    """Return the language's ISO 639-1 code (py3langid: 97 languages), or ``UNCLEAR`` if the text shows none."""
    from py3langid.langid import RAW_FLOOR, classify

    start = text[:LOOKED]
    if sum(character.isalpha() for character in start) < LETTERS:
        return UNCLEAR
    code, score = classify(start)
    return UNCLEAR if score <= RAW_FLOOR else str(code)
