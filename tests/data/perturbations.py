"""Ways in which a question turns up in training data, each with what a detector should make of it."""

from __future__ import annotations

import html
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Change = Callable[[str, random.Random], str]

HOMOGLYPHS = str.maketrans("aeopcxyAEOPCTHM", "аеорсхуАЕОРСТНМ")
ROUNDED = str.maketrans("0123456789", "０１２３４５６７８９")
FILLERS = ("river", "seldom", "basket", "yellow", "perhaps", "engine", "quietly", "marble", "under", "window", "frost")
ARTICLE = (
    "The council met on Thursday to discuss the new bridge, which has been delayed twice because of heavy rain. "
    "Residents complained about noise during the night, and the contractor promised to work in shorter shifts. "
    "A second meeting is planned for the end of the month, when the budget will be presented in full. "
)
FRAMES = ("{}", "Problem: {}", "Q: {}\nA:", "Please answer the following.\n\n{}\n\nThink first.", "> {}", "1. {}")


def _every(step: int, change: str) -> Change:
    """Change one word about every ``step`` words, at least one, never two neighbours and no number."""

    def apply(text: str, rng: random.Random) -> str:
        words = text.split()
        at = rng.randrange(min(step, len(words)))
        while at < len(words):
            where = at + rng.randint(-1, 1) * (step > 3)
            where = min(max(where, 0), len(words) - 1)
            if not any(c.isdigit() for c in words[where]):
                word = rng.choice(FILLERS)
                words[where : where + 1] = {"sub": [word], "ins": [words[where], word], "del": []}[change]
            at += step
        return " ".join(words)

    return apply


def _wrapped(text: str, rng: random.Random) -> str:
    words, lines = text.split(), []
    while words:
        width = rng.randint(5, 12)
        lines.append(" ".join(words[:width]))
        words = words[width:]
    return "\n".join(lines)


def _hyphenated(text: str, rng: random.Random) -> str:
    words = _wrapped(text, rng).split(" ")
    long = [i for i, word in enumerate(words) if word.isalpha() and len(word) > 6]
    for index in long[:: rng.randint(2, 4)]:
        words[index] = words[index][:4] + "-\n" + words[index][4:]
    return " ".join(words)


def _tagged(text: str, rng: random.Random) -> str:
    words = text.split()
    words[0] = f"<b>{words[0]}</b>"
    middle = len(words) // 2
    return f'<div class="q"><p>{" ".join(words[:middle])}<br/>\n{" ".join(words[middle:])}</p></div>'


def _emphasized(text: str, rng: random.Random) -> str:
    return " ".join(rng.choice(("{}", "{}", "**{}**", "_{}_", "`{}`")).format(word) for word in text.split())


def _entities(text: str, rng: random.Random) -> str:
    return html.escape(text).replace(" ", "&nbsp;", 2).replace(",", "&#44;")


def _homoglyphs(text: str, rng: random.Random) -> str:
    return "".join(c.translate(HOMOGLYPHS) if rng.random() < 0.4 else c for c in text)


def _invisible(text: str, rng: random.Random) -> str:
    return "".join(c + (rng.choice("\u200b\u200d\u00ad\u2060\ufeff") if rng.random() < 0.15 else "") for c in text)


def _typographic(text: str, rng: random.Random) -> str:
    quoted = re.sub(r'"([^"]*)"', "“\\1”", text).replace("'", "’").replace(" - ", " — ")
    return quoted.replace("fi", "ﬁ").replace("fl", "ﬂ").replace(" ", "\u00a0", 3)


def _case(text: str, rng: random.Random) -> str:
    return rng.choice((text.upper(), text.lower(), text.title(), text.swapcase()))


def _unpunctuated(text: str, rng: random.Random) -> str:
    return re.sub(r"(?<!\d)[.,](?!\d)|[.,](?!\d)|[?!;:\"']", "", text)


def _spaced(text: str, rng: random.Random) -> str:
    return "".join(rng.choice((" ", "  ", "\t", "\n", " \n\n")) if c == " " else c for c in text)


def _commas(text: str, rng: random.Random) -> str:
    return re.sub(r"\b\d{4,}\b", lambda m: f"{int(m[0]):,}", text)


def _embedded(text: str, rng: random.Random) -> str:
    return ARTICLE * rng.randint(1, 4) + text + " " + ARTICLE


def _framed(text: str, rng: random.Random) -> str:
    return rng.choice(FRAMES).format(text)


EXACT: dict[str, Change] = {
    "verbatim": lambda text, rng: text,
    "framed": _framed,
    "case": _case,
    "unpunctuated": _unpunctuated,
    "spaced": _spaced,
    "wrapped": _wrapped,
    "hyphenated": _hyphenated,
    "tagged": _tagged,
    "entities": _entities,
    "emphasized": _emphasized,
    "homoglyphs": _homoglyphs,
    "invisible": _invisible,
    "fullwidth": lambda text, rng: text.translate(ROUNDED),
    "typographic": _typographic,
    "commas": _commas,
    "embedded": _embedded,
}
EDITED: dict[str, Change] = {
    f"{change}/{step}": _every(step, change) for change in ("sub", "ins", "del") for step in (16, 12, 9)
}
HEAVY: dict[str, Change] = {f"{change}/6": _every(6, change) for change in ("sub", "ins", "del")}


def renumbered(text: str, rng: random.Random) -> str:
    """Every number becomes another one: the same problem, asked anew."""
    return re.sub(r"\d+", lambda m: str(int(m[0]) + rng.randint(1, 9)), text)


@dataclass
class Planted:
    """Training rows with what was planted in them.

    Attributes:
        texts: The rows.
        truth: For each row, the item's position and the kind of change, or None for a row of the background.
    """

    texts: list[str] = field(default_factory=list)
    truth: list[tuple[int, str] | None] = field(default_factory=list)


def plant(
    questions: Sequence[str],
    answers: Sequence[str],
    choices: Sequence[Sequence[str]],
    background: Sequence[str],
    changes: dict[str, Change],
    rng: random.Random,
    per_change: int = 30,
) -> Planted:
    """Plant ``per_change`` items by every kind of change, in a frame or with answer or choices, among other rows."""
    rows: list[tuple[str, tuple[int, str] | None]] = [(text, None) for text in background]
    for name, change in changes.items():
        for item in rng.sample(range(len(questions)), min(per_change, len(questions))):
            text = change(questions[item], rng)
            if rng.random() < 0.5:
                text = rng.choice(FRAMES).format(text)
            if rng.random() < 0.3:
                text += f"\n{answers[item]}"
            elif choices[item] and rng.random() < 0.3:
                shown = rng.sample(list(choices[item]), len(choices[item]))
                text += "\nOptions:\n" + "\n".join(f"- {choice}" for choice in shown)
            rows.append((text, (item, name)))
    rng.shuffle(rows)
    return Planted([text for text, _ in rows], [truth for _, truth in rows])
