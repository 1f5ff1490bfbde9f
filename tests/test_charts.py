"""Charts: well-formed, true to their numbers, safe with any text."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from harness import charts
from harness.visible import UNSEEN, excerpt, visible

any_text = st.text(max_size=60)


def parse(svg: str) -> ET.Element:
    """Parse as XML, which is stricter than what a browser wants."""
    return ET.fromstring(svg)


def drawn(svg: str) -> list[ET.Element]:
    """Return the bars, in order, without their background."""
    return [one for one in parse(svg).iter("rect") if "opacity" not in str(one.get("style"))]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30), st.integers(0, 1000), any_text)
def test_histogram_bars_are_as_tall_as_the_counts(counts: list[int], above: int, title: str) -> None:
    svg = charts.histogram(3, 5, counts, above=above, title=title, unit="words", mark=4)
    bars = drawn(svg)
    shown = [*counts, above] if above else counts
    assert len(bars) == len(shown)
    highest = max([*shown, 1])
    tallest = max(float(str(bar.get("height"))) for bar in bars)
    for bar, count in zip(bars, shown, strict=True):
        assert abs(float(str(bar.get("height"))) - 94 * count / highest) < 0.1
        assert f"{count:,}" in str(bar.findtext("title"))
        x, wide = float(str(bar.get("x"))), float(str(bar.get("width")))
        assert 0 <= x < x + wide <= charts.WIDTH + 0.1
    assert tallest <= 94.1


@given(st.lists(st.tuples(any_text, st.floats(0, 1e9), any_text), max_size=12), any_text)
def test_bars_are_as_long_as_the_values(values: list[tuple[str, float, str]], title: str) -> None:
    svg = charts.bars(values, title=title)
    bars = drawn(svg)
    assert len(bars) == len(values)
    longest = max([value for _, value, _ in values] or [0]) or 1
    for bar, (_, value, _) in zip(bars, values, strict=True):
        assert abs(float(str(bar.get("width"))) - charts.WIDTH * value / longest) < 0.5


@given(st.floats(-1, 2))
def test_a_share_stays_in_its_cell(value: float) -> None:
    (bar,) = drawn(charts.share(value))
    assert abs(float(str(bar.get("width"))) - 80 * min(max(value, 0), 1)) < 0.1


def test_charts_say_what_they_show_to_those_who_do_not_see_them() -> None:
    svg = parse(charts.histogram(0, 10, [5, 3], above=2, title="Words per prompt", unit="words"))
    assert svg.get("role") == "img"
    assert svg[0].tag == "title"
    assert svg.findtext("title") == "Words per prompt"
    assert svg.findtext("desc") == "10 values in 2 bins from 0 to 20 words, 2 above"
    assert parse(charts.share(0.5)).get("aria-hidden") == "true"  # the figure stands beside it
    assert parse(charts.bars([("read", 5, "5 rows")], title="t")).findtext("desc") == "read: 5 rows"


def test_bins_of_whole_numbers_are_named_by_what_they_hold() -> None:
    def names(width: int) -> list[str]:
        svg = charts.histogram(10, width, [1, 2], above=3, whole=True, title="t", unit="words", mark=11)
        return [str(bar.findtext("title")) for bar in drawn(svg)]

    assert names(1) == ["10 words: 1", "11 words: 2", "above 11 words: 3"]
    assert names(5) == ["10 to 14 words: 1", "15 to 19 words: 2", "above 19 words: 3"]


def test_text_from_data_is_text() -> None:
    evil = "<script>alert(1)</script>&\"'\x1b\u202e"
    svg = charts.bars([(evil, 1, evil)], title=evil)
    assert "<script" not in svg
    assert "\x1b" not in svg
    assert "\u202e" not in svg
    assert "\\x1b\\u202e" in str(parse(svg).findtext("title"))


@given(st.text())
def test_what_cannot_be_seen_is_spelled_out(text: str) -> None:
    shown = visible(text)
    assert not UNSEEN.search(shown)
    assert visible(shown) == shown
    if not UNSEEN.search(text):
        assert shown == text


def test_spelling_is_pythons() -> None:
    for text in ("\x1b", "\x00", "\u200b", "\u202e", "\ufeff", "\U000e0041", "\ud800", "\u2028", "\x9b"):
        assert visible(text) == ascii(text)[1:-1]
    for text in ("\t", "\n", "é", "漢字", "🙂", "\u0301"):
        assert visible(text) == text


@given(st.text(max_size=400), st.integers(2, 50))
def test_an_excerpt_is_one_line_and_says_when_it_goes_on(text: str, characters: int) -> None:
    shown = excerpt(text, characters)
    assert "\n" not in shown
    flat = " ".join(text.split())
    if len(flat) <= characters and len(text) <= 4 * characters:
        assert shown == visible(flat)
    else:
        assert shown.endswith("…")
