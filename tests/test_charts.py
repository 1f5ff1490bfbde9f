"""Charts: well-formed, true to their numbers, safe with any text."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from harness import charts
from harness.charts.drawing import Axis
from harness.escaping import UNSEEN, excerpt, visible

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


# ------------------------------------------------------------------------------------------ effects, ladders, curves

Ends = tuple[float, ...]
numbers = st.floats(-1e3, 1e3).map(lambda value: round(value, 6))
interval = st.tuples(numbers, st.floats(0, 1e3)).map(lambda pair: (pair[0], pair[0] - pair[1], pair[0] + pair[1]))


def circles(svg: str) -> list[tuple[float, float, str]]:
    """Return x, y and style of every dot, in order."""
    return [(float(str(c.get("cx"))), float(str(c.get("cy"))), str(c.get("style"))) for c in parse(svg).iter("circle")]


@given(st.lists(st.tuples(any_text, interval, st.none() | interval), min_size=1, max_size=8), st.floats(1e-4, 10))
def test_a_forest_keeps_order_and_sign(
    rows: list[tuple[str, tuple[float, ...], tuple[float, ...] | None]], t: float
) -> None:
    drawn = [
        charts.Interval(label, "+1", *effect, again or (None, None, None), "group") for label, effect, again in rows
    ]
    svg = charts.forest(drawn, threshold=t, title="effects", unit="score")
    dots = circles(svg)
    assert len(dots) == len(rows) + sum(again is not None for _, _, again in rows)
    values = [value[0] for _, effect, again in rows for value in (effect, again) if value is not None]
    middle = charts.WIDTH / 2
    for (x, _, _), value in zip(dots, values, strict=True):
        assert 0 <= x <= charts.WIDTH
        assert (x - middle) * value >= -0.1 * abs(value)  # gains lie on the right
    hollow = [style for _, _, style in dots if "--card" in style]
    assert len(hollow) == sum(again is not None for _, _, again in rows)
    for (x, _, _), (other, _, _), a, b in zip(dots, dots[1:], values, values[1:], strict=False):
        assert (a - b) * (x - other) >= -0.11 * abs(a - b)


def test_a_forest_without_scores_still_names_the_arms() -> None:
    svg = charts.forest([charts.Interval("late", "-", None)], threshold=0.05, title="effects", unit="score")
    assert circles(svg) == []
    assert "late" in svg
    assert parse(svg).findtext("desc") == "late -"


def test_a_very_wide_interval_does_not_flatten_the_rest() -> None:
    narrow, wide = charts.Interval("a", "", 0.1, 0.05, 0.15), charts.Interval("b", "", 0.1, -5.0, 5.2)
    (x, _, _), _ = circles(charts.forest([narrow, wide], threshold=0.05, title="t", unit="u"))
    assert x - charts.WIDTH / 2 > 40
    assert charts.forest([wide], threshold=0.05, title="t", unit="u").count("L") > 4  # arrows, not ends


@given(st.lists(st.tuples(any_text, st.lists(numbers, min_size=1, max_size=5)), min_size=1, max_size=6), numbers)
def test_spreads_show_every_seed(rows: list[tuple[str, list[float]]], mark: float) -> None:
    drawn = [charts.Spread(label, values, sum(values) / len(values)) for label, values in rows]
    svg = charts.spreads(drawn, marks={"before": mark}, title="scores", unit="score")
    dots = circles(svg)
    assert len(dots) == sum(len(values) for _, values in rows)
    order = sorted(range(len(dots)), key=lambda index: dots[index][0])
    flat = [value for _, values in rows for value in values]
    span = max([*flat, mark]) - min([*flat, mark])
    assert all(flat[a] <= flat[b] + 1e-3 * span + 1e-9 for a, b in pairwise(order))
    assert f"before: {mark:.3f}" in svg


def test_a_ladder_shows_rungs_seeds_and_what_lies_ahead() -> None:
    rungs = [(20.0, 0.3, [0.28, 0.32]), (40.0, 0.4, [0.4]), (160.0, 0.6, [])]
    curve = [charts.Point(rows, 0.3 + rows / 500, 0.25, 0.95) for rows in (20.0, 80.0, 160.0, 320.0)]
    svg = charts.ladder(rungs, curve, title="sums", unit="score", baseline=0.35)
    dots = circles(svg)
    assert len(dots) == 6
    means = [(x, y) for x, y, style in dots if "opacity" not in style]
    assert [x for x, _ in means] == sorted(x for x, _ in means)
    assert [y for _, y in means] == sorted((y for _, y in means), reverse=True)
    step = means[1][0] - means[0][0]  # twice the rows
    assert abs(means[2][0] - means[1][0] - 2 * step) < 0.2  # four times the rows: logarithmic
    paths = [str(one.get("style")) for one in parse(svg).iter("path")]
    assert [("dasharray" in style, "opacity:.14" in style) for style in paths] == [
        (False, True), (False, False), (True, False),
    ]  # fmt: skip
    assert "baseline" in svg
    assert charts.ladder(rungs[:2], [], title="t", unit="u").count("<path") == 0


def test_lines_differ_in_colour_and_in_dashes() -> None:
    drawn = [charts.Line(name, [(0.0, 0.0), (4.0, share), (8.0, 1.0)]) for name, share in (("a", 0.2), ("b", 0.6))]
    svg = charts.lines(drawn, title="power", across="effect")
    styles = [str(one.get("style")) for one in parse(svg).iter("path")]
    assert len(set(styles)) == 2
    assert ["dasharray" in style for style in styles] == [False, False, True, True]
    assert parse(svg).findtext("desc") == "a: 0% at 0, 20% at 4, 100% at 8; b: 0% at 0, 60% at 4, 100% at 8"


def test_a_line_of_one_point_is_a_dot() -> None:
    drawn = [charts.Line("line", [(0.2, 0.5), (1.0, 1.0)]), charts.Line("dot", [(0.6, 0.9)])]
    svg = parse(charts.lines(drawn, title="saved", across="cost"))
    dots = [(float(str(one.get("cx"))), float(str(one.get("cy")))) for one in svg.iter("circle")]
    assert len(dots) == 2  # on the chart, and in the key
    assert len(list(svg.iter("path"))) == 2
    assert 40 < dots[0][0] < charts.WIDTH
    assert "dot: 90% at 0.6" in str(svg.findtext("desc"))


@given(st.floats(0, 1))
def test_a_stack_fills_its_bar(part: float) -> None:
    svg = parse(charts.stack({"seeds": part, "items": 1 - part}, title="noise"))
    wide = [float(str(one.get("width"))) for one in svg.iter("rect")]
    assert abs(wide[0] - charts.WIDTH * part) < 0.1
    assert abs(sum(wide) - charts.WIDTH) < 0.2
    assert f"seeds {part:.0%}" in str(svg.findtext("desc"))


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_on_the_scale(low: float, span: float) -> None:
    axis = Axis(low, low + span, 0, 100)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 6
    steps = [b - a for a, b in pairwise(ticks)]
    assert max(steps) - min(steps) <= 1e-6 * span + 1e-9
    assert all(low - 1e-6 * span - 1e-9 <= tick <= low + span + 1e-6 * span + 1e-9 for tick in ticks)


def test_text_from_data_is_text_in_every_chart() -> None:
    evil = "<script>alert(1)</script>&\"'\x1b\u202e"
    drawn = (
        charts.forest([charts.Interval(evil, evil, 0.1, 0.0, 0.2, group=evil)], threshold=1, title=evil, unit=evil),
        charts.spreads([charts.Spread(evil, [0.1], 0.1)], marks={evil: 0.2}, title=evil, unit=evil),
        charts.ladder([(1.0, 0.1, [0.1]), (9.0, 0.2, [])], [], title=evil, unit=evil),
        charts.lines([charts.Line(evil, [(0.0, 0.0), (1.0, 1.0)])], title=evil, across=evil),
        charts.stack({evil: 0.5, "b": 0.5}, title=evil),
    )
    for svg in drawn:
        assert "<script" not in svg
        assert "\x1b" not in svg
        assert "\u202e" not in svg
        assert evil[:8] in str(parse(svg).findtext("title"))
