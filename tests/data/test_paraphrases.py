"""Rows that ask what an item asks, in other words, and rows that only look like it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence

import polars as pl
import pytest

from harness.data import embeddings
from harness.data.contamination import overlaps
from harness.data.contamination.items import read
from harness.data.contamination.numerals import quantities
from harness.data.rows import frame
from harness.errors import RequestError
from harness.spec import Decontaminate
from tests.data.languages import ASKED, LANGUAGES, OTHERS
from tests.data.paraphrases import CASES, NUMBERS, Case
from tests.data.test_decontaminate import items

RULE = Decontaminate()
FORMS = {
    "prompt": lambda asked, said: {"prompt": asked, "completion": f"The answer is {said}."},
    "chat": lambda asked, said: {
        "messages": json.dumps(
            [
                {"role": "system", "content": "You help."},
                {"role": "user", "content": asked},
                {"role": "assistant", "content": said},
            ]
        )
    },
    "text": lambda asked, said: {"text": f"Question: {asked}\nAnswer: {said}"},
}
SUITE = pl.concat(
    items(case.item, answer=case.answer).with_columns(item_id=pl.lit(str(number))) for number, case in enumerate(CASES)
)


@pytest.fixture(autouse=True)
def installed() -> None:
    try:
        embeddings.model_folder()
    except RequestError as error:
        pytest.skip(str(error))


def found(pairs: list[tuple[str, str]], form: str = "prompt", rule: Decontaminate = RULE) -> set[tuple[int, str]]:
    """Return rows and the items they are said to paraphrase."""
    rows = frame([{"source": "s"} | FORMS[form](*pair) for pair in pairs])
    number = {row: at for at, row in enumerate(rows["row_id"])}
    lines = overlaps(rows, SUITE, rule).filter(kind="semantic")
    return {(number[row], item) for row, item in lines.select("row_id", "item_id").iter_rows()}


def right(cases: tuple[Case, ...], hits: set[tuple[int, str]]) -> float:
    """Return the share of paraphrases found, and check that nothing else was."""
    assert all(CASES[int(item)] is cases[row] for row, item in hits)
    return len(hits) / len(cases)


# Every second case set the thresholds; the others are what they are worth.
@pytest.mark.parametrize(("half", "least"), [(0, 0.4), (1, 0.4)])
@pytest.mark.parametrize("form", FORMS)
def test_paraphrases_are_found_and_other_questions_are_not(form: str, half: int, least: float) -> None:
    cases = CASES[half::2]
    assert right(cases, found([(case.same, case.answer) for case in cases], form)) >= least
    assert found([(case.other, case.reply) for case in cases], form) == set()


def test_a_lower_threshold_finds_more_and_still_no_other_question() -> None:
    rule = Decontaminate(semantic=0.65)
    assert right(CASES, found([(case.same, case.answer) for case in CASES], rule=rule)) > 0.6
    assert found([(case.other, case.reply) for case in CASES], rule=rule) == set()


def test_a_row_that_says_another_answer_or_other_numbers_is_no_paraphrase() -> None:
    hits = found([(case.same, case.answer) for case in CASES])
    sure = [CASES[row] for row, _ in hits]
    numbered = [case for case in sure if case in NUMBERS]
    assert len(sure) > 20
    assert len(numbered) > 5
    assert found([(case.same, "I do not know") for case in sure]) == set()
    whole = [case for case in numbered if case.answer.isdecimal()]
    on_the_way = [(case.same, f"First 3, then {case.answer}, and in the end 4.") for case in whole]
    assert found(on_the_way) == set()
    others = [re.sub(r"\d+", lambda at: str(int(at[0]) + 7), case.same, count=1) for case in numbered]
    assert found([(other, case.answer) for other, case in zip(others, numbered, strict=True)]) == set()


def test_what_is_said_in_the_words_of_the_item_is_decided_by_words() -> None:
    parts = [" ".join(case.item.split()[: len(case.item.split()) * 3 // 4]) for case in NUMBERS]
    assert found([(part, case.answer) for part, case in zip(parts, NUMBERS, strict=True)]) == set()


def test_unrelated_rows_are_never_paraphrases() -> None:
    facts = [(f"Tell me {number} things about {case.answer}.", case.answer) for number, case in enumerate(CASES, 3)]
    assert found(facts) == set()
    assert found([(case.answer, case.item) for case in CASES]) == set()


@pytest.mark.parametrize("name", [name for name in LANGUAGES if name not in ("English", "TeX", "code")])
def test_other_languages_are_not_taken_for_paraphrases(name: str) -> None:
    rng = random.Random(3)
    asked, others = ([_numbered(name, rng, kinds) for _ in range(20)] for kinds in (ASKED, OTHERS))
    rows = frame([{"source": "s", "prompt": text, "completion": "seventy"} for text in others])
    assert overlaps(rows, items(*asked, answer="seventy"), Decontaminate()).filter(kind="semantic").is_empty()


def _numbered(name: str, rng: random.Random, kinds: Sequence[tuple[int, ...]]) -> str:
    return re.sub(r"\d+", "5", LANGUAGES[name].problem(rng, rng.choice(kinds)))


def test_what_auto_means() -> None:
    assert Decontaminate().settled(1999).semantic == 0.7
    assert Decontaminate().settled(2000).semantic is None
    assert Decontaminate(semantic=0.9).settled(5000).semantic == 0.9
    assert Decontaminate(semantic=None).settled(1).semantic is None
    pairs = [(case.same, case.answer) for case in CASES]
    assert found(pairs, rule=Decontaminate(semantic=None)) == set()


def test_without_the_model_the_request_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.data import minilm

    minilm.minilm.cache_clear()
    monkeypatch.setattr(embeddings, "PACKAGE", "no-such-package")
    rows = frame([{"source": "s", "prompt": "Why?", "completion": "Because."}])
    with pytest.raises(RequestError, match=r"pip install --no-deps no-such-package; .*semantic: null"):
        overlaps(rows, SUITE, Decontaminate())
    assert overlaps(rows, SUITE, Decontaminate(semantic=None)).is_empty()


def test_numbers_are_told_however_they_are_put() -> None:
    for same in ("a third of 11x the $1.50", "1/3 of eleven, at 1.5 dollars", "one out of three: 11 and 1.500"):
        assert quantities(read(same)) == {"3", "11", "1.5"}
    assert quantities(read("both of the two, one by one")) == frozenset()
    assert quantities(read("at 19:40")) == {"19:40"}
