"""Cleaning, against labelled texts and against what ftfy says."""

import json
import re
import sys
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.operations.clean import SUSPECT, clean_text
from harness.data.rows import frame
from harness.spec import Clean
from tests.data.operations.made import conversation, do, places, table

REPAIRED = [
    ("cafÃ©", "café"),
    ("â€œquotedâ€\x9d", "“quoted”"),
    ("itâ€™s", "it’s"),
    ("FranÃ§ois et MÃ¼ller", "François et Müller"),
    ("Ñ€ÑƒÑ\x81Ñ\x81ÐºÐ¸Ð¹", "русский"),
    ("a &amp; b", "a & b"),
    ("5 &lt; 6", "5 < 6"),
    ("x&nbsp;=&nbsp;1", "x\u00a0=\u00a01"),
    ("cafe\u0301", "café"),
    ("one\r\ntwo\rthree", "one\ntwo\nthree"),
    ("one\u2028two", "one\ntwo"),
    ("page\x0cbreak", "page\nbreak"),
    ("nul\x00 byte", "nul byte"),
    ("bell\x07", "bell"),
    ("\ufeffmark", "mark"),
    ("\x1b[31mred\x1b[0m", "red"),
    ("ends here  \nand here \t\n", "ends here\nand here"),
    ("no-break\u00a0\nnext", "no-break\nnext"),
    ("tail \x00 ", "tail"),
    ("blank\n\n\n", "blank"),
    ("c1 \x93quote\x94", "c1 “quote”"),
]
UNTOUCHED = [
    "plain",
    "  indented\n    code",
    "tab\tseparated",
    "blank\n\nline",
    "“typographic” ‘quotes’ – and — dashes…",
    "ﬁne ligatures",
    "全角，句读。",
    "ＡＢＣ",
    "emoji 👩‍👩‍👧 🇩🇪",
    "नमस्ते क्‍ष",
    "x² + y³ = ½",
    "R&D, Q&A, AT&T",
    "if (a && b)",
    "<p>a &amp; b</p>",
    "naïve façade über",
    "日本語テキスト",
    "العربية",
    "10 000",
    "a ≤ b ∈ ℝ",
    "SÃO PAULO, São Paulo",
]


@pytest.mark.parametrize(("text", "wanted"), REPAIRED)
def test_damage_is_repaired(text: str, wanted: str) -> None:
    assert do(table(text), Clean()).rows["completion"].to_list() == [wanted]


@pytest.mark.parametrize("text", UNTOUCHED)
def test_what_is_no_damage_stays(text: str) -> None:
    rows = table(text)
    assert do(rows, Clean()).rows.equals(rows)


def test_without_repair_only_control_characters_and_space_go() -> None:
    texts = ("cafÃ© &amp; \x07\n", "cafe\u0301", "one\x85two", "c1 \x93")
    assert do(table(*texts), Clean(repair=False)).rows["completion"].to_list() == [
        "cafÃ© &amp;", "cafe\u0301", "one\ntwo", "c1",
    ]  # fmt: skip


def test_the_space_between_prompt_and_completion_stays() -> None:
    rows = frame([{"source": "s", "prompt": "Q: 1 + 1 \nA: ", "completion": " 2 \n"}])
    cleaned = do(rows, Clean()).rows.row(0, named=True)
    assert (cleaned["prompt"], cleaned["completion"]) == ("Q: 1 + 1\nA: ", " 2")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": " \n", "completion": "c"}, "prompt is empty"),
        ({"prompt": "p", "completion": "\x00\u200b"}, "completion is empty"),
        ({"text": "\u00a0\ufeff"}, "text is empty"),
        ({"prompt": "p", "chosen": "c", "rejected": ""}, "rejected is empty"),
        (conversation("hello", "\x07 "), "message 2 (assistant) is empty"),
        (conversation(), "the conversation has no messages"),
        ({}, "the row has no text"),
    ],
)
def test_broken_rows_go(row: dict[str, Any], reason: str) -> None:
    rows = frame([{"source": "s", "text": "fine"}, {"source": "s", **row, "meta": json.dumps({"place": "a.jsonl:2"})}])
    built = do(rows, Clean())
    assert built.rows.equals(rows.head(1))
    assert built.drops.to_dicts() == [
        {"row_id": rows["row_id"][1], "source": "s", "operation": "clean", "reason": reason, "place": "a.jsonl:2"}
    ]


@pytest.mark.timeout(60)
def test_long_texts_take_no_longer_than_their_length_asks_for() -> None:
    for piece in (" ", "a ", "\t", " \n", "\u00a0", "&amp;", "\x07"):
        assert clean_text(piece * 60_000 + "end", True).endswith("end")


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=20), st.booleans())
def test_cleaning_twice_is_cleaning_once(text: str, repair: bool) -> None:
    once = clean_text(text, repair)
    assert clean_text(once, repair) == once
    assert not any(unicodedata.category(char) == "Cc" and char not in "\n\t" for char in once)
    assert once == once.rstrip()
    assert not re.search(r"[^\S\n]\n", once)


@settings(deadline=None, max_examples=150)
@given(st.text(alphabet=st.characters(min_codepoint=9, max_codepoint=127), max_size=20), st.booleans())
def test_texts_that_are_not_looked_at_would_not_change(text: str, repair: bool) -> None:
    if not re.search(SUSPECT, text):
        assert clean_text(text, repair) == text


def test_every_character_outside_printable_ascii_is_looked_at() -> None:
    everything = [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
    odd = [f"a{char}b" for char in everything if not (char.isascii() and (char.isprintable() or char in "\n\t"))]
    rows = table("\n".join(odd[:1000]), *odd[:300])
    assert places(rows.filter(rows["completion"].str.contains(SUSPECT))) == list(range(301))
