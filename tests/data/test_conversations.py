"""Conversations in every spelling are the same conversation; what cannot be trained on is refused in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.conversations import messages, said, transcript
from harness.data.fields import BadRow, canonical, declared
from harness.errors import RequestError

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(str.strip)
SPOKEN = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), WORDS), min_size=1, max_size=4)
NAMES = {
    "system": ["system", "System", "developer"],
    "user": ["user", "human", "User", "HUMAN", "prompter"],
    "assistant": ["assistant", "gpt", "Assistant", "model", "GPT"],
    "tool": ["tool", "observation", "function", "Tool"],
}
MEMBERS = ("role", "content", "from", "value", "weight", "tool_calls", "function_call", "name")


@given(SPOKEN, st.data())
def test_every_spelling_is_the_same_conversation(spoken: list[tuple[str, str]], data: st.DataObject) -> None:
    """ShareGPT or OpenAI, mixed in one list; roles in any case; text whole or in parts; null where nothing is said."""
    written = []
    for role, text in spoken:
        cut = data.draw(st.integers(0, len(text)))
        parts: list[Any] = [
            {"type": "text", "text": text[:cut], "image_url": None},
            {"type": "text", "text": text[cut:]},
        ]
        content = data.draw(st.sampled_from([text, parts]))
        speaker, held = data.draw(st.sampled_from([("role", "content"), ("from", "value")]))
        message = {speaker: data.draw(st.sampled_from(NAMES[role])), held: content}
        filled = data.draw(st.booleans())  # as Arrow gives a union of structs
        written.append(dict.fromkeys(MEMBERS) | message if filled else message)
    plain = [{"role": role, "content": text} for role, text in spoken]
    assert messages(written, "m") == messages(plain, "m") == plain
    assert said(written, "m") == "\n".join(text for _, text in spoken)


USER = {"role": "user", "content": "q"}


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"role": "assistant", "content": "a", "weight": 0}, r"m\[1\].weight is 0, so the last answer"),
        ({"role": "assistant", "content": "a", "weight": False}, r"m\[1\].weight is 0, so the last answer"),
        ({"role": "assistant", "content": "a", "weight": 0.5}, r"m\[1\].weight is 0.5, expected 0 or 1"),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}, r"m\[1\] calls a tool \(tool_calls\)"),
        ({"role": "assistant", "content": "", "function_call": {"name": "f"}}, r"calls a tool \(function_call\)"),
        ({"from": "function_call", "value": "{}"}, r'm\[1\] calls a tool \(from "function_call"\)'),
        ({"role": "assistant", "content": [{"type": "image_url"}]}, r'content\[0\] is of type "image_url"'),
        ({"role": "assistant", "content": [7]}, r"content\[0\] is not an object"),
        ({"role": "assistant", "content": []}, r"m\[1\].content is a list"),
        ({"role": None, "from": None, "value": "a"}, r'm\[1\].role is "None"'),
        ("a", r"m\[1\] is not an object with role and content"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_in_words(message: Any, why: str) -> None:
    with pytest.raises(BadRow, match=why):
        messages([USER, message], "m")


def test_weights_of_other_messages_change_nothing() -> None:
    """Only the last answer is learned, so the others are not learned whatever their weight."""
    first = {"role": "assistant", "content": "a"}
    for weight in (0, 1, 0.0, True, None):
        assert messages([{**USER, "weight": weight}, {**first, "weight": weight}, USER, first], "m") == [
            USER, first, USER, first,
        ]  # fmt: skip


@given(st.lists(WORDS.map(str.strip), min_size=1, max_size=5))
def test_a_transcript_is_taken_apart_into_its_turns(turns: list[str]) -> None:
    speakers = ("Human", "Assistant")
    if any("\n\nHuman:" in turn or "\n\nAssistant:" in turn for turn in turns):
        return
    written = "".join(f"\n\n{speakers[place % 2]}: {turn}" for place, turn in enumerate(turns))
    read = transcript(written)
    assert read == [{"role": ("user", "assistant")[place % 2], "content": turn} for place, turn in enumerate(turns)]
    assert transcript(f"Dear all{written}") is None


def row(record: dict[str, Any], **fields: str) -> dict[str, Any]:
    return canonical(record, declared("s", fields, list(record), "a.jsonl:1", sample=[record]))


TALK = [USER, {"role": "assistant", "content": "a"}]


def test_a_system_message_comes_first_unless_there_is_one() -> None:
    assert row({"messages": TALK, "system": "S"})["messages"].startswith('[{"role": "system", "content": "S"}')
    own = [{"role": "system", "content": "own"}, *TALK]
    assert '"S"' not in row({"messages": own, "system": "S"})["messages"]
    for absent in (None, ""):
        assert (
            row({"messages": TALK, "system": absent}, messages="messages", system="system")["messages"].count("{") == 2
        )
    with pytest.raises(BadRow, match="there are no messages for the system message to come before"):
        row({"q": "q", "a": "a", "s": "S"}, prompt="q", completion="a", system="s")


@pytest.mark.parametrize("answer", [{"messages": TALK}, {"prompt": "q", "completion": "a"}])
def test_bad_examples_are_refused(answer: dict[str, Any]) -> None:
    assert row({**answer, "label": True}) == row(answer)
    assert row({**answer, "label": "True"}) == row(answer)
    assert row({**answer, "label": "spam"}) == row(answer)  # another kind of label
    with pytest.raises(BadRow, match='"label" is false: it shows a bad answer'):
        row({**answer, "label": False})
    with pytest.raises(BadRow, match='"label" is 3, expected true or false'):
        row({**answer, "label": 3}, **{name: name for name in answer}, good="label")


@pytest.mark.parametrize("same", ["a", " a\n"])
def test_equal_answers_make_no_pair(same: str) -> None:
    for record in (
        {"prompt": "q", "chosen": "a", "rejected": same},
        {"chosen": TALK, "rejected": [USER, {"role": "assistant", "content": same}]},
        {"conversations": [USER], "chosen": TALK[1], "rejected": {"role": "assistant", "content": same}},
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": f"\n\nHuman: q\n\nAssistant: {same}"},
    ):
        with pytest.raises(BadRow, match="chosen and rejected are the same"):
            row(record)


def test_an_answer_is_not_part_of_what_it_answers() -> None:
    """UltraFeedback's messages hold the chosen answer once more."""
    for chosen, rejected in ((TALK, [USER, {"role": "assistant", "content": "b"}]), ("a", "b")):
        read = row({"messages": TALK, "chosen": chosen, "rejected": rejected})
        assert read["messages"] == '[{"role": "user", "content": "q"}]'
        assert (read["chosen"], read["rejected"]) == ("a", "b")


@given(st.dictionaries(st.sampled_from(["system", "input", "instruction"]), st.sampled_from(["", None, "x", "y\n"])))
def test_what_a_row_lacks_leaves_nothing_behind(record: dict[str, Any]) -> None:
    """Neither the column nor the white space that would part it from the rest."""
    record = {"output": "o", **record, "instruction": record.get("instruction") or "i"}
    templates = declared(
        "s", {"prompt": "{system}\n\n{instruction}\n{input}\n", "completion": "output"}, list(record), "a:1",
        optional=["system", "input"],
    )  # fmt: skip
    before = f"{record['system']}\n\n" if record.get("system") else ""
    after = f"{record['input']}\n" if record.get("input") else ""
    assert canonical(record, templates)["prompt"] == f"{before}{record['instruction']}\n{after}"


def test_optional_columns_are_columns_of_templates() -> None:
    with pytest.raises(RequestError, match=r'sources.s.optional: no template has "inptu". Did you mean "input"\?'):
        declared("s", {"prompt": "{q}{input}", "completion": "a"}, ["q", "a"], "a:1", optional=["inptu"])
