"""Every bound of a filter: what it keeps, what it says, and what it refuses."""

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.operations.quality import FILTERS, OTHERS
from harness.data.text import WORD
from harness.errors import RequestError
from harness.spec import Filter
from tests.data.operations.made import conversation, do, module, places, scored, table

ENGLISH = "The cat sat on the mat and looked out of the window at the birds."
FRENCH = "Le chat est assis sur le tapis et regarde les oiseaux par la fenêtre."
GERMAN = "Die Katze sitzt auf der Matte und schaut aus dem Fenster auf die Vögel."
JAPANESE = "猫はマットの上に座って、窓の外の鳥を見ています。"


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"min_chars": 4}, ["four", "f ive", "Six six six"]),
        ({"max_chars": 4}, ["four", "é"]),
        ({"min_words": 2}, ["f ive", "Six six six"]),
        ({"max_words": 2}, ["four", "f ive", "é"]),
        ({"pattern": r"^\w+$"}, ["four", "é"]),
        ({"exclude": "(?i)SIX|é"}, ["four", "f ive"]),
        ({"pattern": r"(\w)ix \1ix"}, ["Six six six"]),  # a back reference, which Rust's expressions lack
        ({"pattern": r"f(?! )"}, ["four"]),
        ({"min_words": 2, "exclude": "Six"}, ["f ive"]),
    ],
)
def test_bounds_on_text(rule: dict[str, Any], kept: list[str]) -> None:
    rows = table("four", "f ive", "Six six six", "é")
    assert do(rows, Filter(field="completion", **rule)).rows["completion"].to_list() == kept


def test_all_the_text_of_a_row_counts() -> None:
    assert do(table("one two three"), Filter(min_words=4)).rows.height == 1
    assert do(table("one"), Filter(min_chars=5)).rows.height == 1  # p, a line break, one


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet=st.one_of(st.characters(categories=["Zs", "Cc", "Zl", "Zp"]), st.sampled_from("ab\u200b"))))
def test_words_are_what_python_splits_at(text: str) -> None:
    assert pl.Series([text]).str.count_matches(WORD)[0] == len(text.split())


def test_words_are_split_at_every_character_that_python_splits_at() -> None:
    texts = [f"a{chr(point)}b" for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
    assert pl.Series(texts).str.count_matches(WORD).to_list() == [len(text.split()) for text in texts]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"max_words": 2, "field": "completion"}, "3 words, more than 2"),
        ({"min_chars": 1000}, "15 characters, fewer than 1,000"),
        ({"pattern": "four"}, "does not match four"),
        ({"exclude": "t.o"}, '"two" matches t.o'),
        ({"licenses": ("mit",)}, "licence GPL-3.0 is not on the list"),
        ({"exclude_licenses": ("gpl-3.0",)}, "licence GPL-3.0 is excluded"),
        ({"origins": ("public",)}, "origin synthetic is not on the list"),
        ({"exclude_origins": ("synthetic",)}, "origin synthetic is excluded"),
        ({"score": "quality", "min_score": 0.5}, "quality 0.25, less than 0.5"),
        ({"score": "quality", "max_score": 0.1}, "quality 0.25, more than 0.1"),
        ({"max_tokens": 1}, "1,300 tokens, more than 1"),
        ({"min_perplexity": 4000.0}, "perplexity 3,210.5, less than 4,000"),
        ({"datatrove": "gopher_quality"}, "gopher_quality: gopher_short_doc"),
        ({"function": "mine:no"}, "mine:no says no"),
        # The first bound that fails is named: cheap ones first.
        ({"function": "mine:no", "max_words": 1, "licenses": ("mit",)}, "licence GPL-3.0 is not on the list"),
    ],
)
def test_a_filter_says_why(rule: dict[str, Any], reason: str, tmp_path: Path) -> None:
    rows = table("one two three", license="GPL-3.0", origin="synthetic", columns='{"quality":0.25}')
    asked = {"tokens": lambda _: [1300], "perplexity": lambda _: [3210.5]}
    built = do(rows, Filter(**rule), folder=module(tmp_path, "def no(row): return False"), **asked)
    assert built.drops["reason"].to_list() == [reason]


def test_a_bound_sees_only_rows_that_passed_the_cheaper_ones() -> None:
    seen: list[int] = []

    def tokens(rows: pl.DataFrame) -> list[int]:
        seen.extend(places(rows))
        return [1] * rows.height

    do(table("a b", "c", "d e"), Filter(field="completion", min_words=2, max_tokens=5), tokens=tokens)
    assert seen == [0, 2]


def test_licences_are_compared_whole_and_without_case() -> None:
    rows = pl.concat([table("x", license=name) for name in ("MIT", "mit", "mit-0", None)])
    assert do(rows, Filter(licenses=("Mit",))).rows["license"].to_list() == ["MIT", "mit"]
    assert do(rows, Filter(licenses=("Mit",))).drops["reason"].to_list()[1] == "no licence"
    assert do(rows, Filter(exclude_licenses=("MIT",))).rows["license"].to_list() == ["mit-0", None]


def test_rows_without_an_origin() -> None:
    rows = table("x")
    assert do(rows, Filter(origins=("public",))).drops["reason"].to_list() == ["no origin"]
    assert do(rows, Filter(exclude_origins=("public",))).rows.height == 1


def test_scores() -> None:
    rows = scored('{"quality":0.2}', '{"quality":1}', '{"quality":0.5}')
    assert places(do(rows, Filter(score="quality", min_score=0.5)).rows) == [1, 2]
    assert places(do(rows, Filter(score="quality", min_score=0.3, max_score=0.9)).rows) == [2]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ('{"qualty":0.2}', 'the row f:1 carries no quality. Did you mean "qualty"'),
        (None, "the row f:1 carries no quality. Name it in sources.s.columns"),
        ('{"quality":null}', "the row f:1: quality is empty, not a number"),
        ('{"quality":"0.5"}', "the row f:1: quality is '0.5', not a number"),
        ('{"quality":true}', "quality is True, not a number"),
        ('{"quality":NaN}', "quality is nan, not a number"),
        ('{"quality":Infinity}', "quality is inf, not a number"),
    ],
)
def test_a_score_that_is_none(columns: str | None, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        do(scored('{"quality":1}', columns), Filter(score="quality", min_score=0.5))


def test_languages() -> None:
    rows = table(ENGLISH, FRENCH, GERMAN, JAPANESE, prompt="")
    assert places(do(rows, Filter(languages=("en",))).rows) == [0]
    assert do(rows, Filter(languages=("en", "ja"))).drops["reason"].to_list() == ["language fr", "language de"]


@pytest.mark.parametrize("text", ["2 + 2 = 4", "#### 72", "", "12:30", "x = 1"])
def test_a_text_that_shows_no_language_passes(text: str) -> None:
    rows = table(text, prompt="1 + 1")
    assert do(rows, Filter(languages=("en",))).rows.equals(rows)


def test_a_language_nobody_knows() -> None:
    with pytest.raises(RequestError, match='"english" is not a language code of ISO 639-1'):
        do(table("x"), Filter(languages=("english",)))


def test_perplexity_and_tokens_come_from_the_model() -> None:
    rows = table("a", "bb", "ccc")
    asked = {"tokens": lambda frame: frame["completion"].str.len_chars(), "perplexity": lambda _: [2.0, 30.0, 400.0]}
    assert places(do(rows, Filter(min_tokens=2), **asked).rows) == [1, 2]
    assert places(do(rows, Filter(min_perplexity=10, max_perplexity=100), **asked).rows) == [1]
    with pytest.raises(RequestError, match="the row f:1: the model's measure is nan"):
        do(rows, Filter(min_perplexity=10), perplexity=lambda _: [2.0, float("nan"), 3.0])


# ----------------------------------------------------------------------------------------------- datatrove's filters

VARIED = ENGLISH + " Later that day my sister brought fresh bread, cheese, two apples and some very good news."
LINES = "This is a whole sentence that says something.\n"
REPEATED = "The same line again and again.\n" * 12


@pytest.mark.parametrize(
    ("name", "settings", "good", "bad", "reason"),
    [
        ("gopher_quality", {"min_doc_words": 5}, ENGLISH, "word " * 20, "gopher_enough_stop_words"),
        ("gopher_quality", {"min_doc_words": 5}, ENGLISH, "# " * 9 + ENGLISH, "gopher_too_many_hashes"),
        ("gopher_repetition", {}, VARIED, REPEATED, "dup_line_frac"),
        ("c4_quality", {"min_num_sentences": 1}, ENGLISH, "Lorem ipsum dolor sit amet.", "lorem_ipsum"),
        ("c4_quality", {}, LINES * 5, LINES * 4, "too_few_sentences"),
        ("c4_paragraph", {}, ("x" * 200 + "\n") * 3, ENGLISH, "< 3 paragraphs"),
        ("fineweb_quality", {"short_line_length": 5}, ENGLISH, "no stop\n" * 9, "line_punct_ratio"),
    ],
)
def test_datatrove_filters(name: str, settings: dict[str, Any], good: str, bad: str, reason: str) -> None:
    rule = Filter(datatrove=name, settings=settings, field="completion")
    built = do(table(good, bad, " "), rule)
    assert built.rows["completion"].to_list() == [good]
    assert built.drops["reason"].to_list() == [f"{name}: {reason}", f"{name}: empty"]


def test_every_datatrove_filter_says_what_datatrove_says() -> None:
    """On texts of our own, the class called directly is the reference."""
    from datatrove.data import Document
    from datatrove.pipeline import filters

    texts = [ENGLISH, ENGLISH * 9, REPEATED, LINES * 7, "# " * 60, "a b c " * 30, "- item\n" * 20, "{ code }; " * 20]
    for name, kind in FILTERS.items():
        said = [getattr(filters, kind)().filter(Document(text=text, id="")) for text in texts]
        wanted = [text for text, verdict in zip(texts, said, strict=True) if verdict is True]
        kept = do(table(*texts), Filter(datatrove=name, field="completion")).rows["completion"].to_list()
        assert kept == wanted, name


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gopher_qualty", {}, 'no datatrove filter "gopher_qualty". Did you mean "gopher_quality"'),
        ("gopher_quality", {"min_words": 3}, 'gopher_quality has no setting "min_words". Did you mean "min_doc_words"'),
        ("gopher_quality", {"exclusion_writer": None}, 'has no setting "exclusion_writer"'),
        ("gopher_quality", {"min_doc_words": "many"}, "min_doc_words is like 50, not 'many'"),
        ("gopher_quality", {"min_doc_words": True}, "min_doc_words is like 50, not True"),
        ("c4_quality", {"filter_javascript": 1}, "filter_javascript is like True, not 1"),
        ("gopher_repetition", {"top_n_grams": 3}, "top_n_grams is like "),
        ("gopher_repetition", {"top_n_grams": [3]}, "gopher_repetition refuses its settings"),
        ("gopher_quality", {"language": "klingon"}, "gopher_quality refuses its settings"),
        *((name, {}, f"datatrove's {name} .*Valid here: c4_paragraph, ") for name in OTHERS),
    ],
)
def test_datatrove_filters_that_cannot_be_had(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        do(table("x"), Filter(datatrove=name, settings=settings))


# -------------------------------------------------------------------------------------------------- user's functions


def test_a_function_gets_the_row_as_plain_values(tmp_path: Path) -> None:
    text = """
import json
from dataclasses import dataclass
from pathlib import Path

@dataclass
class Seen:
    row: "dict"

def note(row):
    Path(__file__).with_name("seen.json").write_text(json.dumps(Seen(row).row))
    row.clear()
    return True
"""
    rows = table("c", license="mit", columns='{"quality":1}').with_columns(
        pl.Series("messages", [conversation("hi")["messages"]])
    )
    assert do(rows, Filter(function="mine:note"), folder=module(tmp_path, text)).rows.equals(rows)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen == {
        "row_id": rows["row_id"][0], "source": "s", "prompt": "p", "completion": "c", "text": None, "chosen": None,
        "messages": [{"role": "user", "content": "hi"}], "rejected": None, "license": "mit", "origin": None,
        "group": None, "slice": None, "columns": {"quality": 1}, "verifier": {"scorer": "numeric", "answer": "1"},
        "meta": {"place": "f:0"},
    }  # fmt: skip
    assert not list(tmp_path.glob("__pycache__"))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    for answer, kept in (("True ", 1), ("False", 0)):
        folder = module(tmp_path, f"def keep(row): return {answer}")
        assert do(table("x"), Filter(function="mine:keep"), folder=folder).rows.height == kept


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def kep(row): return True", 'mine.py has no function "keep". Did you mean "kep"'),
        ("def keep(row):\n    return row['qualty']", r"mine.py:2: the row f:0: KeyError: 'qualty'"),
        ("import math\ndef keep(row):\n    return math.sqrt(-1)", r"mine.py:3: the row f:0: ValueError"),
        ("def keep(row): return 1", r"mine:keep must return True or False; the row f:0 got 1"),
        ("def keep(row): pass", "must return True or False; the row f:0 got None"),
        ("def keep(row)\n    return True", r"mine.py:1: SyntaxError"),
        ("import numpy\n\nimport not_there", r"mine.py:3: ModuleNotFoundError: No module named 'not_there'"),
    ],
)
def test_a_function_that_fails_is_named_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=message):
        do(table("x"), Filter(function="mine:keep"), folder=module(tmp_path, text))


def test_a_function_needs_a_study_and_its_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="function mine:keep is read from the study's folder"):
        do(table("x"), Filter(function="mine:keep"))
    with pytest.raises(RequestError, match=r'no file .*mien.py. Did you mean "mine"'):
        do(table("x"), Filter(function="mien:keep"), folder=module(tmp_path, ""))


def test_numpy_says_yes_as_well(tmp_path: Path) -> None:
    folder = module(tmp_path, "import numpy\ndef keep(row): return numpy.float64(2) > 1")
    assert do(table("x"), Filter(function="mine:keep"), folder=folder).rows.height == 1
