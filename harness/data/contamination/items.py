"""What identifies each item of a suite: its own words, without wrappers and boilerplate, and indexes of these words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cached_property
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.data.contamination.numerals import in_digits
from harness.data.text import Words, amount, is_operator, words

SHORT = 4  # words; items with fewer are matched as they stand, or together with an answer
ANCHOR = 3  # words by which whole items are looked up
EDITABLE = 6  # words that are no numbers; items with fewer are never matched in edited form
TEMPLATE = 8  # words that are no numbers; items with fewer are no templates: "what is 4 plus 1" has no own wording
COMMON = 5  # an n-gram in more different items than this, and than SHARE of them, is boilerplate
SHARE = 0.02
NUMBER, SIGN = 1, 2  # one id for all numbers and one for all operators, where they are blinded
_ASKED = (
    "question|q|problem|exercise|task|prompt|frage|aufgabe|pregunta|domanda|pergunta|вопрос|задача|प्रश्न|سؤال|السؤال"
)
_REPLY = "answer|a|response|solution|antwort|lösung|réponse|respuesta|risposta|resposta|ответ|решение|उत्तर|جواب|الجواب"
WRAPPED = re.compile(  # the plainest wrappers
    rf"\A\W*(?:{_ASKED}|问题|问|問題|問|質問|질문|문제|คำถาม|โจทย์)\W?\s*[:：]\s*"
    rf"|\s(?:{_REPLY}|答案|答|回答|解答|정답|답|คำตอบ)\W?\s*[:：]\W*\Z",
    re.IGNORECASE,
)
NAME = re.compile(r"(?<=[\w,;] )[A-Z][^\W\d_A-Z]+")  # a capital letter inside a sentence


def read(text: str) -> Words:
    """Return the words of an item or a row, numbers in digits."""
    return in_digits(words(text))


def is_number(word: str) -> bool:
    """Whether a word is a number."""
    return word[0].isdigit()


def decides(word: str) -> bool:
    """Whether a word is a number or an operator: another one in its place makes another problem."""
    return is_number(word) or is_operator(word)


def blind(text: Words) -> Words:
    """Return the words with every number replaced by ``#``, and every operator by ``±``."""
    return tuple("#" if is_number(word) else "±" if is_operator(word) else word for word in text)


def names(text: str) -> frozenset[str]:
    """Return the words, case folded, that are written with a capital letter inside a sentence."""
    return frozenset(name.casefold() for name in NAME.findall(text))


def grams(text: Words, size: int) -> Iterator[tuple[int, Words]]:
    """Yield the start of every run of ``size`` words, and the run."""
    for start in range(len(text) - size + 1):
        yield start, text[start : start + size]


@dataclass(frozen=True)
class Item:
    """One item of the suite.

    Attributes:
        item_id: As in the suite.
        task: As in the suite.
        raw: The text it is matched by: its question, or its gold answer if it has no question.
        core: Its own words, without wrappers and boilerplate.
        text: All its words.
        answer: The words of its answer; empty if it is matched by its answer.
        replies: The words of its answer and of its choices.
        generic: Whether more than 5 items with different answers have the same core, which then identifies none.
        evidence: The runs of words that identify it; empty for a short item.
    """

    item_id: str
    task: str
    raw: str
    core: Words
    text: Words
    answer: Words
    replies: frozenset[Words]
    generic: bool
    evidence: frozenset[Words]

    @cached_property
    def matcher(self) -> SequenceMatcher[str]:
        """A matcher that has read the core without its numbers: rows are compared with it one by one."""
        return SequenceMatcher(None, (), blind(self.core), autojunk=False)

    @cached_property
    def starts(self) -> dict[Words, int]:
        """Run of words that identifies it -> where the run begins in ``core``."""
        size = len(next(iter(self.evidence), ()))
        return {gram: start for start, gram in grams(self.core, size) if gram in self.evidence}

    @cached_property
    def names(self) -> frozenset[str]:
        """Words of the item that are names."""
        return names(self.raw)

    @property
    def needs_reply(self) -> bool:
        """Whether it has three words, none a number: within a row they count only together with an answer to them."""
        return len(self.core) == self.wording == ANCHOR

    @cached_property
    def wording(self) -> float:
        """Number of its words that are neither numbers nor operators."""
        return amount([word for word in self.core if not decides(word)])

    @cached_property
    def short(self) -> bool:
        """Whether it has too few words to be looked for within a row."""
        return amount(self.core) < SHORT

    @cached_property
    def units(self) -> float:
        """Units per word: more than one in scripts without spaces."""
        return len(self.core) / amount(self.core) if self.core else 1.0


@dataclass
class ItemIndex:
    """All items, and the indexes that lead from a row's words to the items it may hold."""

    ngram: int
    items: list[Item]
    grams: dict[Words, list[int]] = field(default_factory=lambda: defaultdict(list))
    wholes: dict[Words, list[tuple[int, int, Words]]] = field(default_factory=lambda: defaultdict(list))
    exacts: dict[Words, list[int]] = field(default_factory=lambda: defaultdict(list))
    common: frozenset[tuple[str, str]] = frozenset()  # pairs of neighbours, numbers blinded, that many items hold

    @cached_property
    def _firsts(self) -> dict[str, set[int]]:
        """First word -> lengths of the short items that begin with it; many items of a suite may begin alike."""
        found: dict[str, set[int]] = defaultdict(set)
        for form in self.exacts:
            found[form[0]].add(len(form))
        return dict(found)

    def holds_exact(self, text: Words) -> bool:
        """Whether a text holds, anywhere, the words of an item in ``exacts``."""
        firsts = self._firsts
        if firsts.keys().isdisjoint(text):
            return False
        return any(
            text[at : at + length] in self.exacts
            for at, word in enumerate(text)
            if word in firsts
            for length in firsts[word]
        )

    @cached_property
    def longest(self) -> int:
        """The most words of an item in ``exacts``, which is looked for only where it stands alone."""
        return max(map(len, self.exacts), default=0)

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Word -> id, from 3 on; 0 is any other word, 1 any number and 2 any operator that is in no item."""
        seen = {word: None for item in self.items for word in (*item.text, *item.core)}
        return {word: number for number, word in enumerate(seen, start=3)}

    @cached_property
    def blinded(self) -> NDArray[np.int64]:
        """Id of a word -> its id with numbers and operators blinded."""
        ids = np.arange(len(self.vocabulary) + 3)
        ids[[number for word, number in self.vocabulary.items() if is_operator(word)]] = SIGN
        ids[[number for word, number in self.vocabulary.items() if is_number(word)]] = NUMBER
        return ids


def index(items: pl.DataFrame, ngram: int) -> ItemIndex:
    """Return the index of a suite's items.

    Args:
        items: Columns ``item_id``, ``task``, ``subtask``, ``question``, ``answer``, ``choices``.
        ngram: Number of words in a run that counts as evidence.
    """
    records = list(items.iter_rows(named=True))
    raw = [r["question"] if read(r["question"] or "") else r["answer"] or "" for r in records]
    full = [read(text) for text in raw]
    groups = items["subtask"].to_list()
    bare = [read(WRAPPED.sub("", text)) or text_words for text, text_words in zip(raw, full, strict=True)]
    cores = unwrapped(bare, groups)
    boilerplate = _boilerplate(cores, groups, ngram)
    cores = _trimmed(cores, ngram, boilerplate)
    answers: dict[Words, set[Words]] = defaultdict(set)
    for core, record in zip(cores, records, strict=True):
        answers[core].add(read(record["answer"] or ""))
    listed = []
    for record, plain, text, core in zip(records, raw, full, cores, strict=True):
        replies = frozenset(read(reply) for reply in (record["answer"] or "", *(record["choices"] or ())))
        evidence = (
            _evidence(core, ngram, boilerplate)
            if amount(core) >= max(ngram, SHORT) and len(core) >= ngram
            else frozenset[Words]()
        )
        generic = len(answers[core]) > COMMON
        answer = read(record["answer"] or "")
        listed.append(
            Item(
                record["item_id"], record["task"], plain, core, text, () if answer == text else answer,
                replies - {(), text}, generic, evidence,
            )
        )  # fmt: skip
    suite = ItemIndex(ngram, listed, common=_common(cores))
    _file(suite)
    return suite


def _file(suite: ItemIndex) -> None:
    """Enter the items in the suite's indexes."""
    wholes: list[tuple[int, Words]] = []
    for number, item in enumerate(suite.items):
        for gram in item.evidence:
            suite.grams[gram].append(number)
        if not item.evidence and (not item.short or item.needs_reply):
            wholes.append((number, item.core))
        if item.short:
            for form in {item.core, item.text} - {()}:
                suite.exacts[form].append(number)
            if amount(item.text) >= SHORT:
                wholes.append((number, item.text))
    # Each whole is filed under the rarest of its 3-grams: a common one ("what is the most") would cost time.
    count = Counter(gram for _, whole in wholes for _, gram in grams(whole, ANCHOR))
    for number, whole in wholes:
        offset, anchor = min(grams(whole, ANCHOR), key=lambda pair: (count[pair[1]], pair[0]))
        suite.wholes[anchor].append((number, offset, whole))


def pairs(text: Words) -> list[tuple[str, str]]:
    """Return the pairs of neighbours of a text, numbers blinded."""
    blinded = blind(text)
    return list(pairwise(blinded))


def _many(different: int) -> float:
    return max(COMMON, SHARE * different)


def _common(cores: Sequence[Words]) -> frozenset[tuple[str, str]]:
    different = set(cores)
    count = Counter(pair for core in different for pair in set(pairs(core)))
    return frozenset(pair for pair, items in count.items() if items > _many(len(different)))


def _covered(core: Words, ngram: int, boilerplate: Collection[Words]) -> set[int]:
    return {start + step for start, gram in grams(core, ngram) if gram in boilerplate for step in range(ngram)}


def _trimmed(cores: list[Words], ngram: int, boilerplate: Collection[Words]) -> list[Words]:
    """Return the cores without boilerplate at both ends, if the remaining words belong to one item only.

    A question that several items ask about different passages identifies none of them.
    """
    bare = {}
    for core in set(cores):
        covered = _covered(core, ngram, boilerplate)
        own = [at for at in range(len(core)) if at not in covered]
        bare[core] = core[own[0] : own[-1] + 1] if own else core
    count = Counter(bare.values())
    return [bare[core] if count[bare[core]] == 1 else core for core in cores]


def _evidence(core: Words, ngram: int, boilerplate: Collection[Words]) -> frozenset[Words]:
    """Return the n-grams that identify an item: at least half of their words are outside boilerplate."""
    covered = _covered(core, ngram, boilerplate)
    return frozenset(
        gram
        for start, gram in grams(core, ngram)
        if gram not in boilerplate and sum(start + step in covered for step in range(ngram)) * 2 <= ngram
    )


def _boilerplate(cores: list[Words], groups: list[str], ngram: int) -> set[Words]:
    """Return the n-grams that many different items of the suite, or of a task, hold."""
    found: set[Words] = set()
    for group in (None, *dict.fromkeys(groups)):
        different = {core for core, its in zip(cores, groups, strict=True) if group in (None, its)}
        count = Counter(gram for core in different for gram in {gram for _, gram in grams(core, ngram)})
        found |= {gram for gram, items in count.items() if items > _many(len(different))}
    return found


def unwrapped(texts: list[Words], groups: list[str]) -> list[Words]:
    """Return the texts without the words that all different texts of a group begin with, or end with."""
    members: dict[str, set[Words]] = defaultdict(set)
    for text, group in zip(texts, groups, strict=True):
        if text:
            members[group].add(text)
    cuts: Mapping[str, tuple[int, int]] = {
        group: _wrapper(different) if len(different) > COMMON else (0, 0) for group, different in members.items()
    }
    cores = []
    for text, group in zip(texts, groups, strict=True):
        head, tail = cuts.get(group, (0, 0))
        cores.append(text[head : len(text) - tail])
    return cores


def _wrapper(texts: Collection[Words]) -> tuple[int, int]:
    """Return how many words all texts share at the start and at the end; each keeps at least one."""
    low, high, shortest = min(texts), max(texts), min(map(len, texts))
    head = _shared(low, high, shortest - 1)
    backward = [text[::-1] for text in texts]
    return head, _shared(min(backward), max(backward), shortest - 1 - head)


def _shared(one: Words, other: Words, limit: int) -> int:
    # Of sorted texts, the first and the last share exactly the words that all share. Numbers are never a part of the
    # wrapper: of "12 + 5" and "13 + 5", 12 and 13 are no items.
    return next((at for at in range(limit) if one[at] != other[at] or decides(one[at])), limit)
