import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.decontaminate import overlaps, remove, words
from harness.data.rows import OVERLAP_SCHEMA, frame
from harness.data.sources import load
from harness.spec import Source

LONG = "A plane travels 1200 miles in 3 hours. How many more hours would another 2000 miles take at that rate?"
SHORT = "What is the largest organ of the human body?"


def items(*questions: str, task: str = "t", answer: str = "yes", wrapper: str = "{}") -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "item_id": f"{task}-{index}", "task": task, "subtask": task, "index": index, "doc_digest": "",
                "question": wrapper.format(question) if question else "", "answer": answer, "choices": [],
                "slice": None, "group": None, "half": "selection",
            }
            for index, question in enumerate(questions)
        ],
        schema_overrides={"slice": pl.String, "group": pl.String, "choices": pl.List(pl.String)},
    )  # fmt: skip


def rows(*prompts: str, completion: str = "") -> pl.DataFrame:
    return frame([{"source": "s", "prompt": prompt, "completion": completion} for prompt in prompts])


def kinds(training: pl.DataFrame, suite: pl.DataFrame, ngram: int = 13) -> list[str]:
    return overlaps(training, suite, ngram)["kind"].to_list()


# --------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("4-1", "4 - 1"),
        ("4\n-\n1", "4 \u2212 1"),
        ("3 × 4 ÷ 2", "3*4/2"),
        ("“It’s ﬁne”", '"it\'s fine"'),
        ("ＦＵＬＬ　１２", "full 12"),
        ("thin\u2009space, and\u00a0more", "thin space and more"),
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("Straße", "STRASSE"),
        ("2 * (4 + 1)", "2*(4+1)"),
        ("a - b; - 5 apples", "a b 5 apples"),
        ("well-known covid-19", "well known covid 19"),
    ],
)
def test_the_same_words(one: str, other: str) -> None:
    assert words(one) == words(other) != ()


@pytest.mark.parametrize(
    ("one", "other"), [("4 - 1", "4 + 1"), ("-5 + 3", "5 + 3"), ("3 - -5", "3 - 5"), ("4 1", "4 - 1")]
)
def test_different_words(one: str, other: str) -> None:
    assert words(one) != words(other)


def test_a_sum_is_told_apart() -> None:
    assert words("Q: 4 - 1 =\nA:") == ("q", "4", "-", "1", "a")
    assert words("日本語 text") == ("日", "本", "語", "text")


# --------------------------------------------------------------------------------------------------------- kinds


def test_long_items_are_found_by_a_run_of_words() -> None:
    line = "\n".join(LONG.upper().split()[3:17])
    found = overlaps(rows("Tell me a story", f"Before. {line} after"), items(SHORT, LONG))
    assert found.schema == OVERLAP_SCHEMA
    (hit,) = found.to_dicts()
    assert (hit["item_id"], hit["kind"]) == ("t-1", "ngram")
    assert hit["score"] == pytest.approx(2 / (len(words(LONG)) - 12))
    assert hit["span"] == " ".join(words(LONG)[3:17])
    assert kinds(rows(" ".join(LONG.split()[3:15])), items(LONG)) == []


def test_short_items_are_found_whole_or_not_at_all() -> None:
    assert kinds(rows(f"Quiz! {SHORT} I wonder"), items(SHORT)) == ["whole"]
    assert kinds(rows("What is the largest organ of the human"), items(SHORT)) == []
    assert kinds(rows("What is the largest organ of", completion="the human body"), items(SHORT)) == ["whole"]


def test_the_shortest_items_are_found_only_as_they_stand() -> None:
    suite = items("Why me?")
    assert kinds(rows("why me"), suite) == ["exact"]
    assert kinds(rows("why", completion="me"), suite) == ["exact"]
    assert kinds(rows("Tell me why me and not you"), suite) == []


def test_messages_are_searched() -> None:
    turns = [{"role": "user", "content": "Why me?"}, {"role": "assistant", "content": f"Because. {SHORT}"}]
    training = frame([{"source": "s", "messages": json.dumps(turns)}])
    assert kinds(training, items("Why me?", SHORT)) == ["exact", "whole"]


def test_an_item_without_a_question_is_its_answer() -> None:
    suite = items("", answer="Mary should criticize herself.")
    assert kinds(rows("She said: mary should criticize herself!"), suite) == ["whole"]
    assert kinds(rows("anything"), items("", answer="")) == []


def test_a_sum_is_not_in_a_longer_sum() -> None:
    suite = items("Compute 14 - 3")
    assert kinds(rows("compute 14-3 = 11", "compute 14 - 3 + 2", "compute 14 - 31"), suite) == ["whole"]


# ------------------------------------------------------------------------------------------------------ wrappers


@pytest.mark.parametrize(
    "wrapper", ["{}", "Question: {}\nAnswer:", "Q: {}\nA:", "You are a kind teacher. Answer: {} Say why."]
)
def test_wrappers_do_not_hide_items(wrapper: str) -> None:
    others = [
        "Why do cats purr?",
        "Where is Lima?",
        "Who wrote Emma?",
        "How far is Mars?",
        "When was Nero born?",
    ]
    suite = items(SHORT, LONG, *others, wrapper=wrapper)
    assert overlaps(rows(f"Hm. {SHORT}", f"Hm. {LONG}", "hm, where is Limassol?"), suite)["kind"].to_list() == [
        "whole",
        "ngram",
    ]


def test_short_sums_are_found_in_another_wrapper() -> None:
    suite = items(*(f"{n} + 5" for n in range(10, 20)), wrapper="Q: {} =\nA:")
    training = rows(*(f"Please compute {n}+5!" for n in range(15, 25)))
    assert overlaps(training, suite)["item_id"].to_list() == [f"t-{n}" for n in range(5, 10)]


INSTRUCTION = "You will be given a question. Read it carefully, think about it, and then choose the one best answer."


def test_boilerplate_never_counts_by_itself() -> None:
    own = [f"{INSTRUCTION} {first} made the {second}?" for first, second in zip("abcdefgh", "stuvwxyz", strict=True)]
    plain = [f"plain item number {n} asks what {n * 7} and {n * 3} have in common" for n in range(30)]
    suite = items(*own, *plain)
    assert kinds(rows(f"{INSTRUCTION} Which of these is a mammal?"), suite) == []
    assert kinds(rows(f"{INSTRUCTION} a made the s?"), suite) == ["whole"]
    assert kinds(rows("so: a made the s"), suite) == ["whole"]
    few = items(*own[:5], *plain)  # five items may share a passage without it being boilerplate
    assert kinds(rows(f"{INSTRUCTION} Which of these is a mammal?"), few) == ["ngram"] * 5


def test_a_question_asked_about_several_passages_identifies_none() -> None:
    passages = [" ".join(f"word{number}of{passage}" for number in range(15)) for passage in (1, 2)]
    asked = [f"What does part {part} of it say?" for part in ("one", "two", "three", "four", "five", "six")]
    suite = items(
        *(f"{passage} {question}" for passage in passages for question in asked), f"{passages[0]} Who lied to whom?"
    )
    assert kinds(rows(asked[0]), suite) == []
    assert kinds(rows("Who lied to whom?", f"{passages[1]} {asked[1]}"), suite) == ["whole", "whole"]


# ---------------------------------------------------------------------------------------------------- properties


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.text(alphabet="abc de", min_size=1, max_size=30), max_size=6),
    st.lists(st.text(alphabet="abc de", min_size=1, max_size=30), min_size=1, max_size=5),
    st.integers(3, 6),
)
def test_against_a_plain_reading_of_the_rule(prompts: list[str], questions: list[str], ngram: int) -> None:
    def expected(prompt: str, question: str) -> bool:
        row, item = words(prompt), words(question) or ("yes",)
        size = ngram if len(item) >= max(ngram, 4) else len(item)
        runs = {row[start : start + size] for start in range(len(row) - size + 1)}
        return item == row if len(item) < 4 else any(item[i : i + size] in runs for i in range(len(item) - size + 1))

    training = rows(*dict.fromkeys(prompts))
    found = overlaps(training, items(*questions), ngram)
    ids = dict(zip(training["row_id"], training["prompt"], strict=True))
    pairs = [(ids[line["row_id"]], int(line["item_id"][2:])) for line in found.iter_rows(named=True)]
    assert pairs == [(p, i) for p in dict.fromkeys(prompts) for i, q in enumerate(questions) if expected(p, q)]
    assert found["score"].is_between(0, 1).all()


def test_removal_keeps_the_ledger() -> None:
    training = rows("clean one", SHORT, "clean two", SHORT)
    found = overlaps(training, items(SHORT))
    built = remove(training, found)
    assert found.height == 1
    assert built.rows["prompt"].to_list() == ["clean one", "clean two"]
    assert built.drops["operation"].to_list() == ["decontaminate"] * 2
    assert built.drops["reason"][0] == f'whole overlap with t/t-0: "{" ".join(words(SHORT))}"'
    untouched = remove(training, overlaps(training, items("Something else entirely, is it?")))
    assert untouched.rows.equals(training)


# ----------------------------------------------------------------------------------------------------- real data


@pytest.fixture
def shared() -> Path:
    folder = Path(os.environ.get("HARNESS_ACCEPTANCE_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the acceptance data is not there; name its folder in HARNESS_ACCEPTANCE_DATA")
    return folder


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.acceptance
@pytest.mark.parametrize("wrapper", ["{}", "Question: {}\nAnswer:"])
def test_leaky_templates_are_found_and_clean_ones_are_not(shared: Path, wrapper: str) -> None:
    suites = []
    for file in sorted(shared.glob("suites/*/*.jsonl")):
        docs = read(file)
        suite = items(*(doc["question"] for doc in docs), task=file.stem, wrapper=wrapper)
        suites.append(suite.with_columns(answer=pl.Series([doc["choices"][doc["label"]] for doc in docs])))
    suite = pl.concat(suites)
    leaky = load("leaky", Source(path="t0/leaky"), shared).rows
    clean = load("clean", Source(path="t0/clean"), shared).rows
    assert overlaps(clean, suite).is_empty()
    assert remove(leaky, overlaps(leaky, suite)).drops.height >= 0.92 * leaky.height


@pytest.mark.acceptance
def test_planted_contamination(shared: Path) -> None:
    docs = read(shared / "decontam/eval.jsonl")
    suite = pl.concat(
        items(*(d["text"] for d in docs if d["task"] == task), task=task)
        for task in dict.fromkeys(d["task"] for d in docs)
    )
    training = load("s", Source(path="decontam/train.jsonl", fields={"text": "text"}), shared).rows
    hit = set(overlaps(training, suite)["row_id"])
    found: dict[str, list[bool]] = {}
    for row, label in zip(training["row_id"], read(shared / "decontam/labels.jsonl"), strict=True):
        found.setdefault(label["kind"], []).append(row in hit)
    share = {kind: sum(hits) / len(hits) for kind, hits in found.items()}
    for kind in ("verbatim_q", "verbatim_qa", "embedded", "rewrapped", "case_punct_space", "unicode"):
        assert share[kind] == 1.0, kind
    assert share["natural_retemplate"] >= 0.97
    for kind in ("clean", "clean_long", "neg_boilerplate", "neg_same_topic", "neg_same_dataset"):
        assert share[kind] == 0.0, kind
