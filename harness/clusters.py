"""Finds clusters: items of a task whose answers depend on each other, by their questions.

Statistics assume independent items. Items that share a passage or a template are not: an arm that is good at one is
good at the others. Items are connected by any of four things, and all items that are connected are one cluster:

- a **document**: the same value in a field of the items that names or holds their source (``DOCUMENT_FIELDS``);
- a **passage**: 20 consecutive words in common;
- a **context**: the same sentences at the beginning, 8 words or more and at least half of one of the items;
- a **wording**: the same words except numbers and names; or, for items of equal length with 12 words or more, all
  words except one in eight (in many scripts names cannot be recognized by their spelling).

Text that nearly all items (nine in ten) of a task share, or of one of the lm-eval tasks it consists of, is the subject
of the task and makes no cluster: sums of one template stay separate items. Two templates with half of the items each
are two clusters, from which little can be inferred.

All numbers count as equal, and so do all names: neither the order of items nor another name changes a cluster. Two
rules are for single languages: German capitalizes every noun, so there capitals make no names, and English writes
small numbers as words. In scripts without spaces a character counts as half a word, or a quarter.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

NEARLY_ALL = 0.9  # share of a task's items: text that so many share is the subject of the task
LEAST_PART = 10  # items; a smaller lm-eval task has no wording of its own
PASSAGE, CONTEXT = 20, 8  # consecutive words
WORDING = 4  # words, not counting numbers and names, that make a template; "Q: 3 + 4 =" has none
ALIKE, LEAST_ALIKE = 8, 12  # one word in 8 may differ in texts of at least 12 words
CROWD = 100  # if more texts share a stretch, two must share a second stretch to be compared
TITLED = 0.6  # share of capitalized words from which a text is a title, where capitals make no names
# Fields that name the source of an item, as letters only; fields that hold its text count from the length of a context.
DOCUMENT_FIELDS = frozenset((
    "documentid", "docid", "document", "documenttitle", "passageid", "passage", "articleid", "article", "articletitle",
    "storyid", "story", "contextid", "context", "paragraphid", "paragraph", "title", "pageid", "pagetitle", "sourceid",
    "dialogueid", "dialogid", "videoid", "imageid",
))  # fmt: skip
_NOTHING = frozenset(("", "-1", "none", "null", "nil", "nan", "na", "n/a", "unknown", "-"))
_TEXTS = frozenset(("document", "passage", "article", "story", "context", "paragraph"))

NAME, NUMBER, PERSON = "@", "#", "they"
_ENGLISH_NUMBERS = frozenset((
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty", "thirty", "forty", "fifty",
    "sixty", "seventy", "eighty", "ninety", "hundred", "thousand", "million",
))  # fmt: skip
_PERSONS = frozenset(("he", "she", "him", "her", "his", "hers", "himself", "herself"))  # they change with the name
_GERMAN = frozenset((
    "der", "das", "und", "ist", "ein", "eine", "einen", "den", "dem", "des", "von", "mit", "für", "wie", "viele",
    "welche", "welcher", "nicht", "sich",
))  # fmt: skip
_HALF = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese and Japanese: two characters a word
_QUARTER = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer: four
_ASCII = re.compile(r"(?P<number>\d+(?:[.,:/]\d+)*)|(?P<word>[A-Za-z]+)|(?P<end>[.!?\n]+)")

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """The text of an item by which clusters are found.

    Attributes:
        item: The item's name.
        part: The lm-eval task it belongs to.
        question: Its question, word by word.
        options: The options of its answer, or its answer; used if the question has only numbers and names.
        documents: Names of its sources.
    """

    item: str
    part: str = ""
    question: str = ""
    options: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Text:
    """A text in words.

    Attributes:
        words: The words in order, numbers and names masked.
        ends: Positions at which sentences end.
        width: Number of entries of ``words`` that count as one word; more than 1 in scripts without spaces.
    """

    words: tuple[str, ...]
    ends: tuple[int, ...] = ()
    width: int = 1

    def cut(self, head: int, tail: int) -> _Text:
        stop = max(head, len(self.words) - tail)
        ends = tuple(end - head for end in self.ends if head < end <= stop)
        return _Text(self.words[head:stop], ends, self.width)

    def wording(self, start: int = 0, stop: int | None = None) -> int:
        """Return how many words are neither numbers nor names."""
        words = self.words[start:stop]
        return len(words) - words.count(NAME) - words.count(NUMBER)


def documents(fields: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names of an item's sources: the values of its fields that name or hold a source."""
    found = []
    for name, value in fields.items():
        plain = re.sub(r"[^a-z]", "", name.lower())
        if plain not in DOCUMENT_FIELDS or isinstance(value, bool) or not isinstance(value, str | int):
            continue
        text = " ".join(str(value).split())
        if text.casefold() not in _NOTHING and (plain not in _TEXTS or len(text.split()) >= CONTEXT):
            found.append(f"{plain}: {text}")
    return tuple(sorted(found))


def clusters(items: Sequence[Asked]) -> dict[str, str]:
    """Return item -> cluster for the items of a task that share a cluster; items that stand alone are left out.

    A cluster is named after the smallest name of its items, so its name depends only on its items.
    """
    texts = _texts(items)
    parts = _Parts([one.part for one in items])
    joined = _Joined(len(items))
    by_source: dict[tuple[str, str | tuple[str, ...]], set[int]] = defaultdict(set)
    for index, (one, text) in enumerate(zip(items, texts, strict=True)):
        for source in one.documents:
            by_source["document", source].add(index)
        for beginning in _contexts(text):
            by_source["context", beginning].add(index)
    for (kind, shared), held in by_source.items():
        if len(held) > 1 and (kind == "document" or any(2 * len(shared) >= len(texts[i].words) for i in held)):
            joined.all(parts.apart(held))
    for held in _wordings(texts):
        joined.all(parts.apart(held))
    joined.pairs(_passages(texts, parts))

    together = defaultdict(list)
    for index, one in enumerate(items):
        together[joined.first(index)].append(one.item)
    return {item: f"cluster-{min(held)}" for held in together.values() if len(held) > 1 for item in held}


# ------------------------------------------------------------------------------------------------------------- words


def _texts(items: Sequence[Asked]) -> list[_Text]:
    """Return each item's text without words that nearly all items of its part, or of the task, begin or end with."""
    found = _unframed([_read(one.question) for one in items], [one.part for one in items])
    silent = [index for index, text in enumerate(found) if text.wording() == 0]  # the options distinguish these items
    others = [_read("\n".join(sorted(items[index].options))) for index in silent]
    for index, text in zip(silent, _unframed(others, [items[index].part for index in silent]), strict=True):
        found[index] = text
    return found


def _read(text: str) -> _Text:
    normal = unicodedata.normalize("NFKC", text)
    found = (_ASCII if normal.isascii() else _pattern()).finditer(normal)
    raw: list[tuple[str, str]] = [(str(one.lastgroup), one.group()) for one in found]
    spelled = [word for kind, word in raw if kind == "word"]
    capitals = sum(word[0].isupper() for word in spelled)
    names = capitals <= TITLED * len(spelled) and len({*spelled} & _GERMAN) < 2
    words: list[str] = []
    ends: list[int] = []
    for kind, word in raw:
        start = ends[-1] if ends else 0
        if kind == "end":
            if len(words) > start:
                ends.append(len(words))
            continue
        masked = _masked(kind, word, names)
        if not (masked in (NAME, NUMBER) and len(words) > start and words[-1] == masked):
            words.append(masked)
    scripts = Counter(kind for kind, _ in raw if kind != "end")
    width = 4 if scripts["quarter"] > len(words) / 2 else 2 if scripts["half"] > len(words) / 2 else 1
    return _Text(tuple(words), tuple(ends), width)


@lru_cache(2**16)
def _masked(kind: str, word: str, names: bool) -> str:
    small = word.casefold()
    if kind == "number" or small in _ENGLISH_NUMBERS:
        return NUMBER
    if small in _PERSONS:
        return PERSON
    return NAME if names and word[0].isupper() else small


@cache
def _pattern() -> re.Pattern[str]:
    """Return the pattern of a text's parts: numbers, words, characters of unspaced scripts, and ends of sentences."""
    marks = "".join(chr(c) for c in range(0x300, 0x1F000) if unicodedata.category(chr(c))[0] == "M")
    marks += "\u200c\u200d"
    return re.compile(
        rf"(?P<number>\d+(?:[.,:/]\d+)*)|(?P<half>[{_HALF}])|(?P<quarter>[{_QUARTER}])"
        rf"|(?P<word>[^\W\d_{_HALF}{_QUARTER}](?:[^\W\d_{_HALF}{_QUARTER}]|[{marks}])*)|(?P<end>[.!?\n。！？।؟…]+)"
    )


def _unframed(texts: list[_Text], parts: Sequence[str]) -> list[_Text]:
    """Return the texts without words that nearly all texts of their part, then of the task, begin or end with."""
    for of in (parts, [""] * len(texts)):
        members = defaultdict(list)
        for index, part in enumerate(of):
            members[part].append(index)
        for held in members.values():
            if len(held) >= LEAST_PART:
                heads = _frame([texts[index].words for index in held])
                tails = _frame([texts[index].words[head:][::-1] for index, head in zip(held, heads, strict=True)])
                for index, head, tail in zip(held, heads, tails, strict=True):
                    texts[index] = texts[index].cut(head, tail)
    return texts


def _frame(texts: list[tuple[str, ...]]) -> list[int]:
    """Return, for each text, the number of its first words that nearly all texts begin with."""
    lengths = [0] * len(texts)
    alive = list(range(len(texts)))
    while True:
        place = lengths[alive[0]]
        seen = Counter(texts[index][place] for index in alive if len(texts[index]) > place)
        if not seen or seen.most_common(1)[0][1] < NEARLY_ALL * len(texts):
            return lengths
        word = seen.most_common(1)[0][0]
        alive = [index for index in alive if len(texts[index]) > place and texts[index][place] == word]
        for index in alive:
            lengths[index] = place + 1


# ---------------------------------------------------------------------------------------------------- what is shared


def _contexts(text: _Text) -> Iterator[tuple[str, ...]]:
    """Yield the beginnings of a text, in whole sentences, that may be a context."""
    for end in text.ends:
        if end >= CONTEXT * text.width and 2 * text.wording(0, end) >= end:
            yield text.words[:end]


def _wordings(texts: list[_Text]) -> Iterator[set[int]]:
    """Yield sets of texts with the same, or nearly the same, words except numbers and names."""
    same: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, text in enumerate(texts):
        if text.wording() >= max(WORDING * text.width, len(text.words) / 2):
            same[text.words].append(index)
    wordings = sorted(same)
    joined = _Joined(len(wordings))
    joined.pairs(_alike(wordings))
    together: dict[int, set[int]] = defaultdict(set)
    for place, words in enumerate(wordings):
        together[joined.first(place)].update(same[words])
    return (held for held in together.values() if len(held) > 1)


def _alike(wordings: list[tuple[str, ...]]) -> Iterator[tuple[int, int]]:
    """Yield pairs of different wordings, sorted, of the same length that differ in at most one word in eight.

    If k words may differ and texts are cut into k + 2 stretches, two such texts have two stretches in common. So only
    texts with a common stretch are compared (two stretches, if a crowd shares the first), each with the first of those
    like it.
    """
    numbers = {word: number for number, word in enumerate(sorted({word for words in wordings for word in words}))}
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, words in enumerate(wordings):
        if len(words) >= LEAST_ALIKE:
            by_length[len(words)].append(place)
    for length, places in by_length.items():
        table: Ids = np.array([[numbers[word] for word in wordings[place]] for place in places])
        may = length // ALIKE
        stretches = [table[:, start:stop] for start, stop in pairwise(np.linspace(0, length, may + 3).astype(int))]
        for one, stretch in enumerate(stretches):
            for rows in _equal(stretch, np.arange(len(places))):
                further = [rows] if len(rows) <= CROWD else (
                    held for other in stretches[one + 1 :] for held in _equal(other, rows)
                )  # fmt: skip
                for rest in further:
                    while len(rest) > 1:
                        near = (table[rest] != table[rest[0]]).sum(axis=1) <= may
                        yield from ((places[rest[0]], places[row]) for row in rest[near][1:])
                        rest = rest[~near]


def _equal(stretch: Ids, rows: Ids) -> Iterator[Ids]:
    """Yield groups of two rows or more that are equal in a stretch, each in order."""
    held: dict[bytes, list[int]] = defaultdict(list)
    for row in rows.tolist():
        held[stretch[row].tobytes()].append(row)
    return (np.array(several) for several in held.values() if len(several) > 1)


def _passages(texts: list[_Text], parts: _Parts) -> Iterator[tuple[int, int]]:
    """Yield pairs of texts that have a passage in common."""
    numbers = {word: number for number, word in enumerate({word for text in texts for word in text.words})}
    values = np.random.default_rng(0).integers(0, 2**63, len(numbers), dtype=np.uint64)
    for width in {text.width for text in texts}:
        chosen = [index for index, text in enumerate(texts) if text.width == width]
        length = PASSAGE * width
        sizes = np.array([len(texts[index].words) for index in chosen])
        words = np.array([numbers[word] for index in chosen for word in texts[index].words], dtype=np.int64)
        if len(words) < length:
            continue
        worded = np.array([word not in (NAME, NUMBER) for index in chosen for word in texts[index].words])
        item = np.repeat(chosen, sizes)
        ahead = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(words))
        spelled = values[words]
        sums = np.concatenate(([0], np.cumsum(worded)))
        last = len(words) - length + 1
        run = np.zeros(last, dtype=np.uint64)
        for step in range(length):  # a hash of 64 bits: among 10 million different runs, no two are expected to agree
            run = run * np.uint64(0x9E3779B97F4A7C15) + spelled[step : step + last]
        usable = (ahead[:last] >= length) & (2 * (sums[length:] - sums[:last]) >= length)
        yield from _meetings(run[usable], item[:last][usable], parts)


def _meetings(run: npt.NDArray[np.uint64], item: Ids, parts: _Parts) -> Iterator[tuple[int, int]]:
    """Yield pairs of items that hold the same run, without runs that nearly all items of a part or the task hold."""
    if not len(run):
        return
    seen = np.unique(np.stack([run, item.astype(np.uint64)], axis=1), axis=0)
    run, item = seen[:, 0], seen[:, 1].astype(np.int64)
    _, place, count = np.unique(run, return_inverse=True, return_counts=True)
    several = (count[place] > 1) & (count[place] < NEARLY_ALL * parts.total)
    of = parts.number[item]
    _, pair, held = np.unique(np.stack([place, of], axis=1), axis=0, return_inverse=True, return_counts=True)
    own = (parts.size[of] >= LEAST_PART) & (held[pair.ravel()] >= NEARLY_ALL * parts.size[of])
    place, item = place[several & ~own], item[several & ~own]
    meet = place[1:] == place[:-1]
    pairs = np.unique(np.stack([item[:-1][meet], item[1:][meet]], axis=1), axis=0)
    yield from ((int(a), int(b)) for a, b in pairs)


# ----------------------------------------------------------------------------------------------------------- joining


class _Parts:
    """The lm-eval tasks (parts) of a task: text shared by nearly all items of a part, or of the task, connects none."""

    def __init__(self, parts: Sequence[str]) -> None:
        names = {name: number for number, name in enumerate(dict.fromkeys(parts))}
        self.total = len(parts)
        self.number: Ids = np.array([names[part] for part in parts], dtype=np.int64)
        self.size: Ids = np.bincount(self.number, minlength=1)

    def apart(self, held: set[int]) -> list[int]:
        """Return the items of a set without those whose part, or the task, shares the same text in nearly all items."""
        if len(held) < 2 or len(held) >= NEARLY_ALL * self.total:
            return []
        here = Counter(int(self.number[index]) for index in held)
        own = {part for part, count in here.items() if LEAST_PART <= self.size[part] <= count / NEARLY_ALL}
        return [index for index in held if int(self.number[index]) not in own]


class _Joined:
    """Disjoint sets of indices (union-find)."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def first(self, index: int) -> int:
        """Return the smallest index of the set that an index is in."""
        while self._above[index] != index:
            self._above[index] = self._above[self._above[index]]
            index = self._above[index]
        return index

    def pairs(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Join the sets of the two indices of each pair."""
        for a, b in pairs:
            one, other = self.first(a), self.first(b)
            self._above[max(one, other)] = min(one, other)

    def all(self, held: Sequence[int]) -> None:
        """Join the sets of all given indices."""
        self.pairs((held[0], index) for index in held[1:])
