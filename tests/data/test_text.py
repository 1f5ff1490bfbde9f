import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.text import words


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
        ("she left - they say; - 5 apples", "she left they say 5 apples"),
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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("don\u2019t, it's", "dont its"),
        ("1,200 and 3,000,000", "1200 and 3000000"),
        ("<p class='q'>Who <b>wrote</b><br/>it?</p>", "who wrote it"),
        ("Tom &amp; Jerry&#39;s&nbsp;house", "Tom & Jerry's house"),
        ("Wh\u043e wr\u043ete \u0430 b\u043eok", "who wrote a book"),
        ("**Who** _wrote_ `it`", "who wrote it"),
        ("x\u200b\u2060\ufe0f\u202ey", "xy"),
        ("\U0001d5d4\U0001d5ef", "ab"),
    ],
)
def test_markup_and_disguise_make_no_difference(one: str, other: str) -> None:
    assert words(one) == words(other) != ()


@pytest.mark.parametrize("text", ["1,2 and 3,45", "if a <b and c> d", "\u043c\u0430\u043c\u0430", "AT&T", "o' clock"])
def test_what_only_looks_like_markup_stays(text: str) -> None:
    assert "".join(words(text)) == "".join(c for c in text.casefold() if c.isalnum())


@given(st.text())
def test_words_of_words_are_the_same(text: str) -> None:
    found = words(text)
    assert all(word and not any(c.isspace() for c in word) for word in found)
    assert words(unicodedata.normalize("NFC", text)) == words(unicodedata.normalize("NFD", text))
