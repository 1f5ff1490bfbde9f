"""Contamination in other scripts, in TeX and in code: found and told apart as in English."""

import random
import re
from collections import defaultdict

import polars as pl
import pytest

from harness.data.contamination import overlaps, removable
from harness.data.duplicates import clusters
from harness.data.rows import frame
from harness.spec import Decontaminate
from tests.data.languages import ASKED, CHANGES, LANGUAGES, OTHERS, UNASKED, renumbered

RULE = Decontaminate()
ITEMS, ROWS, EACH = 40, 200, 30


def suite(questions: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item_id": [str(number) for number in range(len(questions))], "task": "t", "subtask": "t",
            "question": questions, "answer": "yes", "choices": [[]] * len(questions),
        },
        schema_overrides={"choices": pl.List(pl.String)},
    )  # fmt: skip


@pytest.mark.parametrize("name", list(LANGUAGES))
def test_recall_and_precision(name: str) -> None:
    language, rng = LANGUAGES[name], random.Random(7)
    questions = [language.problem(rng, rng.choice(ASKED)) for _ in range(ITEMS)]
    others = [language.problem(rng, rng.choice(OTHERS)) for _ in range(ROWS)]
    planted = [(text, None, "others") for text in others]
    for kind, change in (CHANGES | {"renumbered": renumbered}).items():
        for item in rng.sample(range(ITEMS), EACH):
            planted.append((change(questions[item], language, rng), item, kind))
    rows = frame([{"source": "s", "prompt": text, "completion": ""} for text, _, _ in planted])
    rows = rows.with_columns(row_id=pl.Series([str(number) for number in range(len(planted))]))
    found = overlaps(rows, suite(questions), RULE)
    removed = removable(found, RULE)
    flagged = defaultdict(set)
    for line in removed.iter_rows(named=True):
        flagged[int(line["row_id"])].add(int(line["item_id"]))
    hits = defaultdict(list)
    for number, (_, item, kind) in enumerate(planted):
        hits[kind].append(number in flagged if item is None else item in flagged[number])
    share = {kind: sum(hit) / len(hit) for kind, hit in hits.items()}
    print(name, {kind: round(value, 3) for kind, value in share.items()})
    assert share.pop("others") <= 0.01
    assert share.pop("renumbered") <= 0.05
    assert min(share.pop(kind) for kind in ("verbatim", "framed", "embedded", "respaced")) >= 0.99
    assert min(share.values()) >= 0.95


def test_vowel_marks_hide_nothing() -> None:
    language, rng = LANGUAGES["Arabic"], random.Random(8)
    questions = [language.problem(rng, rng.choice(ASKED)) for _ in range(20)]
    voweled = [
        re.sub(r"(?<=[\u0621-\u064a])", lambda _: rng.choice("\u064e\u064f\u0650\u0652"), text) for text in questions
    ]
    found = overlaps(
        frame([{"source": "s", "prompt": text, "completion": ""} for text in voweled]), suite(questions), RULE
    )
    assert found["item_id"].n_unique() == len(set(questions))
    assert clusters([*questions, *voweled]).to_list()[20:] == clusters(questions).to_list()


@pytest.mark.parametrize("name", list(LANGUAGES))
def test_near_duplicates(name: str) -> None:
    language, rng = LANGUAGES[name], random.Random(9)
    texts = [f"{language.problem(rng, asked)} {language.problem(rng, asked[::-1])}" for asked in ASKED * 10]
    others = [language.problem(rng, UNASKED) for _ in texts]
    copies = [CHANGES[rng.choice(("respaced", "replaced"))](text, language, rng) for text in texts]
    found = clusters([*texts, *others, *copies], "near").to_list()
    count = len(texts)
    assert sum(found[2 * count + number] == found[number] for number in range(count)) >= 0.97 * count
    assert not {*found[:count], *found[2 * count :]} & {*found[count : 2 * count]}
