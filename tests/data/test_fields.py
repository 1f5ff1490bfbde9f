import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import conversations
from harness.data.fields import BadRow, Template, canonical, canonical_columns, carried, declared
from harness.errors import RequestError
from harness.identity import canonical_json

USER, YES, NO = (
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "y"},
    {"role": "assistant", "content": "n"},
)
SYSTEM = {"role": "system", "content": "be brief"}


def read(record: dict[str, Any], **fields: str) -> dict[str, Any]:
    row = canonical(record, declared("s", fields, list(record), "a.jsonl:1"))
    return {field: json.loads(str(value)) if field == "messages" else value for field, value in row.items()}


@pytest.mark.parametrize(
    ("record", "before"),
    [
        ({"chosen": [USER, YES], "rejected": [USER, NO]}, [USER]),
        ({"chosen": [SYSTEM, USER, NO, USER, YES], "rejected": [SYSTEM, USER, NO, USER, NO]}, [SYSTEM, USER, NO, USER]),
        ({"prompt": [SYSTEM, USER], "chosen": [YES], "rejected": [NO]}, [SYSTEM, USER]),
        ({"prompt": "q", "chosen": [YES], "rejected": [NO]}, [USER]),
        ({"prompt": "q", "chosen": [USER, YES], "rejected": [USER, NO]}, [USER]),
        ({"prompt": [USER], "chosen": [YES, USER, YES], "rejected": [YES, USER, NO]}, [USER, YES, USER]),
        ({"prompt": [], "chosen": [USER, YES], "rejected": [USER, NO]}, None),
    ],
)  # fmt: skip
def test_preferences_of_messages(record: dict[str, Any], before: list[Any] | None) -> None:
    if before is None:
        with pytest.raises(BadRow, match='"prompt" is not a list of messages'):
            read(record)
        return
    assert read(record) == {"messages": before, "chosen": "y", "rejected": "n"}
    again = {"messages": before, "chosen": "y", "rejected": "n"}  # rows as the harness keeps them are read too
    assert read(again, messages="messages", chosen="chosen", rejected="rejected") == again


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"chosen": "y", "rejected": "n"}, "chosen and rejected are text, and there is no prompt"),
        ({"chosen": [YES], "rejected": [NO]}, "do not begin alike, and there is no prompt"),
        ({"chosen": [USER, YES], "rejected": [USER, YES, USER, NO]}, '"rejected" must add one message of the'),
        ({"chosen": [USER, YES], "rejected": [USER]}, '"chosen" must add one'),
        ({"chosen": [USER, YES], "rejected": [USER, USER]}, '"rejected" must add one'),
        ({"chosen": [USER, YES], "rejected": "n"}, '"rejected" is text that is not JSON'),
        ({"prompt": "q", "chosen": "y", "rejected": [NO]}, '"rejected" is a list'),
        ({"prompt": 1.5, "chosen": [{"role": "bot", "content": "y"}], "rejected": [NO]}, r'chosen\[0\].role is "bot"'),
        ({"messages": "[" * 100_000}, "nested too deep"),
        ({"messages": '[{"role": "user", "role": "user"}]'}, "is there twice"),
    ],
)  # fmt: skip
def test_preferences_that_make_no_row(record: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRow, match=message):
        read(record)


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        (["prompt", "completion", "chosen", "rejected"], r"could be read as completion\+prompt or chosen\+prompt\+rej"),
        (["instruction", "output", "text"], r"instruction\+output or text"),
        (["\ud800"], r"its columns \(\\ud800\) hold nothing"),
    ],
)
def test_what_is_not_certain_must_be_declared(columns: list[str], why: str) -> None:
    with pytest.raises(RequestError, match=why) as error:
        declared("s", {}, columns, "a.jsonl:1")
    assert str(error.value).startswith("a.jsonl:1: ")
    assert "Declare sources.s.fields" in str(error.value)


MESSAGE = st.dictionaries(
    st.sampled_from(["role", "content", "from", "value", "tool_calls"]),
    st.sampled_from(["user", "gpt", "bot", "", " ", "é", "\ud800", None, 7, [], {}]),
    max_size=3,
) | st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": st.text(max_size=3)})  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(MESSAGE, max_size=3))
def test_plain_conversations_are_read_as_odd_ones(messages: list[Any]) -> None:
    def outcome() -> Any:
        try:
            return read({"messages": messages})
        except BadRow as error:
            return str(error)

    found = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversations, "_plain_messages", lambda value: None)
        assert outcome() == found


# ------------------------------------------------------------------------------------------------ many at a time

VALUE = st.sampled_from(["", " ", "a", "é{}", "7", 7, 0.5, None, True, float("inf"), [], "\ud800", "\x1c"]) | st.text()
RECORD = st.dictionaries(st.sampled_from(["question", "answer", "input", "id"]), VALUE)
FIELDS = st.sampled_from(
    [
        {"prompt": "question", "completion": "answer"},
        {"prompt": "Q: {question}\n{input}A:", "completion": " {answer}"},
        {"text": "{question}{answer}", "slice": "input", "id": "{id}!"},
        {"text": "{{}}", "group": "g{id}"},
        {"prompt": "question", "completion": "answer", "answer": "answer"},
    ]
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(RECORD | st.fixed_dictionaries({k: st.text() for k in ("question", "answer", "input", "id")}), max_size=5),
    FIELDS,
    st.booleans(),
)
def test_many_records_are_read_as_one_by_one(records: list[dict[str, Any]], fields: dict[str, str], lax: bool) -> None:
    optional = frozenset({"input"} if lax else ())
    templates = {field: Template.parse(field, text, optional) for field, text in fields.items()}
    try:
        expected: list[dict[str, Any]] | None = [canonical(record, templates) for record in records]
    except BadRow:
        expected = None
    try:
        columns = canonical_columns(records, templates)
        for values in columns.values():
            "".join(value or "" for value in values).encode()  # a table of these would raise
    except (BadRow, UnicodeEncodeError):
        assert expected is None
    else:
        assert [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)] == expected


# ------------------------------------------------------------------------------------------------- further columns


def test_columns_are_carried_as_canonical_json() -> None:
    record = {"b": 1, "a": "é", "c": 0.5, "d": None, "e": True, "f": -0.0, "rest": []}
    assert carried(record, ("b", "a", "c", "d", "e", "f"), True) == '{"a":"é","b":1,"c":0.5,"d":null,"e":true,"f":-0.0}'
    assert carried(record, (), True) is None


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.none()
        | st.integers()
        | st.booleans()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        min_size=1,
    )
)
def test_carried_columns_are_spelled_in_one_way(record: dict[str, Any]) -> None:
    assert carried(record, list(record), True) == canonical_json(record)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("0.50", "0.5"), ("-3", "-3"), ("1e3", "1000.0"), ("", "null"), ("007", '"007"'), ("a", '"a"'), (" 1", '" 1"')],
)
def test_cells_of_a_csv_are_numbers_where_they_look_like_it(cell: str, expected: str) -> None:
    assert carried({"x": cell}, ("x",), False) == f'{{"x":{expected}}}'
    assert carried({"x": cell}, ("x",), True) == f'{{"x":{json.dumps(cell)}}}'


@pytest.mark.parametrize(
    ("value", "typed", "message"),
    [
        (float("nan"), True, '"score" is nan, expected text or a number'),
        (float("-inf"), True, '"score" is -inf'),
        ([1], True, '"score" is a list'),
        ({}, True, '"score" is an object'),
        ("\ud800", True, '"score" is not UTF-8 text'),
        (b"x", True, '"score" is bytes'),
        ("NaN", False, '"score" is NaN'),
        ("-Infinity", False, '"score" is -Infinity'),
        ("1e999", False, '"score" is inf'),
        ("9" * 5000, False, "Exceeds the limit"),
    ],
)
def test_values_that_cannot_be_carried(value: Any, typed: bool, message: str) -> None:
    with pytest.raises(BadRow, match=message):
        carried({"score": value}, ("score",), typed)
    with pytest.raises(BadRow, match=r'no column "scor". Did you mean "score"'):
        carried({"score": value}, ("scor",), typed)


def test_a_row_that_lacks_what_tells_rows_apart_is_a_row() -> None:
    """An optional group, slice or licence that is not there is as good as null."""
    fields = {"prompt": "q", "completion": "a", "slice": "kind"}
    templates = declared("s", fields, ["q", "a", "kind"], "a.jsonl:1", optional=["kind"])
    for record in ({"q": "q", "a": "a"}, {"q": "q", "a": "a", "kind": None}):
        assert canonical(record, templates)["slice"] is None
        assert canonical_columns([record], templates)["slice"] == [None]
