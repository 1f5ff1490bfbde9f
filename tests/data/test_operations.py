import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from harness.data.operations import apply, apply_all, label
from harness.data.rows import DROP_SCHEMA, SCHEMA, Built, frame
from harness.errors import RequestError
from harness.spec import Dedupe, Filter, Operation, Sample, Verify

TEXTS = st.lists(st.text(alphabet="aAbé ﬁ\u00a0", max_size=8), max_size=25)
STEADY = (
    Filter(min_chars=2, max_words=2),
    Filter(exclude="b"),
    Dedupe(),
    Dedupe(field="completion"),
    Verify(),
)


def table(*completions: str, answer: str = "1") -> pl.DataFrame:
    verifier = json.dumps({"scorer": "numeric", "answer": answer})
    return frame(
        [
            {
                "source": "s",
                "prompt": "p",
                "completion": text,
                "verifier": verifier,
                "meta": json.dumps({"place": f"f:{i}"}),
            }
            for i, text in enumerate(completions)
        ]
    )


def do(rows: pl.DataFrame, operation: Operation, seed: int = 0) -> Built:
    return apply(rows, operation, place="s", seed=seed)


def places(rows: pl.DataFrame) -> list[int]:
    return [int(json.loads(meta)["place"].split(":")[1]) for meta in rows["meta"]]


@settings(deadline=None, max_examples=40)
@given(TEXTS, st.sampled_from((*STEADY, Sample(fraction=0.4))), st.integers(0, 3))
def test_rows_are_kept_in_order_or_in_the_ledger(texts: list[str], operation: Operation, seed: int) -> None:
    rows = table(*texts)
    built = do(rows, operation, seed)
    kept, gone = places(built.rows), [int(place.split(":")[1]) for place in built.drops["place"]]
    assert kept == sorted(kept)
    assert sorted(kept + gone) == list(range(len(texts)))
    assert (built.rows.schema, built.drops.schema) == (SCHEMA, DROP_SCHEMA)
    assert set(built.drops["operation"]) <= {label(operation)}
    assert built.drops["reason"].null_count() == 0


@settings(deadline=None, max_examples=40)
@given(TEXTS, st.sampled_from(STEADY))
def test_doing_it_again_changes_nothing(texts: list[str], operation: Operation) -> None:
    once = do(table(*texts), operation).rows
    assert do(once, operation).rows.equals(once)


@settings(deadline=None, max_examples=40)
@given(TEXTS.filter(lambda texts: len(texts) > 2), st.data(), st.integers(0, 3))
def test_smaller_samples_are_in_larger_ones(texts: list[str], data: st.DataObject, seed: int) -> None:
    rows = table(*texts)
    small = data.draw(st.integers(1, len(texts)))
    large = data.draw(st.integers(small, len(texts)))
    few, many = (places(do(rows, Sample(rows=size), seed).rows) for size in (small, large))
    assert len(few) == small
    assert set(few) <= set(many)


def test_seeds_draw_different_samples() -> None:
    rows = table(*map(str, range(50)))
    assert places(do(rows, Sample(rows=10), 1).rows) != places(do(rows, Sample(rows=10), 2).rows)
    assert do(rows, Sample(fraction=0.5)).rows.height == 25


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"min_chars": 4}, ["four", "f ive", "Six six six"]),
        ({"max_chars": 4}, ["four", "é"]),
        ({"min_words": 2}, ["f ive", "Six six six"]),
        ({"max_words": 2}, ["four", "f ive", "é"]),
        ({"pattern": r"^\w+$"}, ["four", "é"]),
        ({"exclude": "(?i)SIX|é"}, ["four", "f ive"]),
        ({"min_words": 2, "exclude": "Six"}, ["f ive"]),
    ],
)
def test_filters(rule: dict[str, Any], kept: list[str]) -> None:
    rows = table("four", "f ive", "Six six six", "é")
    assert do(rows, Filter(field="completion", **rule)).rows["completion"].to_list() == kept


def test_a_filter_says_why() -> None:
    drops = do(table("one two three"), Filter(max_words=2, field="completion")).drops
    assert drops["reason"].to_list() == ["3 words, more than 2"]
    assert drops["operation"].to_list() == ["filter(field=completion, max_words=2)"]


def test_dedupe_sees_through_case_space_and_unicode_form() -> None:
    rows = table("The ﬁrst  café", "THE FIRST CAFE\u0301\n", "the first cafe", "the\u00a0first café")
    built = do(rows, Dedupe())
    assert places(built.rows) == [0, 2]
    assert built.drops["reason"].to_list() == ["repeats the row f:0", "repeats the row f:0"]


def test_verify_keeps_what_is_right() -> None:
    built = do(table("it is 1", "2", "#### 1"), Verify())
    assert places(built.rows) == [0, 2]
    assert built.drops["reason"].to_list() == ["score 0, below 1"]
    assert do(table("2"), Verify(min_score=0)).rows.height == 1


def test_verify_reads_the_last_assistant_message() -> None:
    turns = [("assistant", "1"), ("user", "sure?"), ("assistant", "2")]
    messages = json.dumps([{"role": role, "content": content} for role, content in turns])
    verifier = json.dumps({"scorer": "numeric", "answer": "2"})
    assert do(frame([{"source": "s", "messages": messages, "verifier": verifier}]), Verify()).rows.height == 1


@pytest.mark.parametrize(
    ("row", "operation", "message"),
    [
        ({"text": "t"}, Verify(), r"s: verify: the row a.jsonl:7 has no verifier.*sources.x.fields.answer"),
        ({"text": "t", "verifier": '{"scorer": "numeric", "answer": "1"}'}, Verify(), "neither a completion"),
        (
            {"text": "t"},
            Filter(field="completion", max_chars=3),
            "the row a.jsonl:7 has no completion; it has text",
        ),
        ({"text": "t"}, Filter(field="txt", max_chars=3), 'no field "txt". Did you mean "text"'),
        ({"text": "t"}, Dedupe(field="source"), r"dedupe\(field=source\): no field"),
        ({"text": "t"}, Sample(rows=2), r"s: sample\(rows=2\): only 1 rows to sample from"),
    ],
)
def test_what_rows_lack_is_named(row: dict[str, str], operation: Operation, message: str) -> None:
    rows = frame([{"source": "x", "meta": '{"place": "a.jsonl:7"}', **row}])
    with pytest.raises(RequestError, match=message):
        do(rows, operation)


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ({"op": "verify"}, "verify"),
        ({"op": "filter", "max_words": 400}, "filter(max_words=400)"),
        ({"op": "sample", "fraction": 0.5}, "sample(fraction=0.5)"),
    ],
)
def test_labels(operation: dict[str, Any], text: str) -> None:
    assert label(TypeAdapter[Operation](Operation).validate_python(operation)) == text


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (
            Filter(min_words=9),
            r"s: 0 of 2 rows are left after filter\(min_words=9\); the largest row has 3 words",
        ),
        (Filter(max_chars=1), "the smallest row has 2 words"),
        (Filter(pattern="zz"), r"after filter\(pattern=zz\)\. Nothing was started"),
        (Verify(), "0 of 2 rows are left after verify"),
    ],
)
def test_nothing_left_is_an_error(operation: Operation, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        apply_all(table("a b", "a"), [operation], place="s", seed=0)
