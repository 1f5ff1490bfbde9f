"""Words that were mistyped: one letter too many, too few, wrong, or two of them swapped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

LETTERS = 4  # least letters of a word that may be mistyped; a shorter one is rather another word


def mistyped(word: str, other: str) -> bool:
    """Whether one of two words may be the other, mistyped.

    Another first letter makes another word, and an "s" at the end a plural: "goats" is neither "boats" nor "goat".
    """
    short, long = sorted((word, other), key=len)
    if len(short) < LETTERS - 1 or len(long) < LETTERS or len(long) - len(short) > 1 or not (word + other).isalpha():
        return False
    at = next((at for at, (one, two) in enumerate(zip(short, long, strict=False)) if one != two), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :] and not (at == len(short) and long[-1] == "s")
    if short[at + 2 :] == long[at + 2 :] and short[at : at + 2] == long[at : at + 2][::-1]:
        return True
    return (
        0 < at < len(short)
        and short[at + 1 :] == long[at + 1 :]
        and not (at == len(short) - 1 and "s" in (short[at], long[at]))
    )


class Mistyped:
    """Finds the known word of which an unknown word may be a mistyped form."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = {word: None for word in known if len(word) >= LETTERS and word.isalpha() and word.isascii()}
        self._shorter: dict[str, list[str]] = {}
        for word in self._known:
            for part in _shorter(word):
                self._shorter.setdefault(part, []).append(word)
        self._forms = self._known.keys() | self._shorter.keys()

    def meant(self, word: str) -> str | None:
        """Return the first known word of which a word may be a mistyped form; None if there is none."""
        parts = [word[:at] + word[at + 1 :] for at in range(len(word))]
        if (word not in self._shorter and self._forms.isdisjoint(parts)) or len(word) < LETTERS - 1:
            return None
        found: Collection[str] = [
            *self._shorter.get(word, ()),
            *(part for part in parts if part in self._known),
            *(other for part in parts for other in self._shorter.get(part, ())),
        ]
        return next((other for other in found if mistyped(word, other)), None)


def _shorter(word: str) -> Iterator[str]:
    return (word[:at] + word[at + 1 :] for at in range(len(word)))
