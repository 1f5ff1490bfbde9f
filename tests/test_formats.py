"""How numbers are written: what a reader sees is the number, rounded, and never something else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import formats

VALUES = st.floats(-1e6, 1e6, allow_nan=False)


@given(VALUES, st.integers(1, 5))
def test_an_effect_is_the_number_rounded_and_zero_has_one_spelling(value: float, places: int) -> None:
    said = formats.signed(value, places)
    assert float(said) == pytest.approx(value, abs=0.5 * 10**-places + 1e-9 * abs(value))
    assert said[0] in "+-"
    assert said != "-0." + "0" * places


@given(VALUES, VALUES)
def test_an_interval_has_the_ends_that_effects_have(low: float, high: float) -> None:
    assert formats.interval((low, high)) == f"[{formats.signed(low)}, {formats.signed(high)}]"
    assert formats.interval((None, high)) == ""
    assert formats.effect(low, (low, high)).startswith(formats.signed(low))
    assert formats.effect(None, (None, None)) == "-"


@given(st.floats(0, 1))
def test_a_p_value_is_never_said_to_be_smaller_than_it_is_by_a_digit(p: float) -> None:
    for said in (formats.probability(p), formats.p_value(p)):
        number = float(re.sub(r"[^\d.]", "", said))
        assert (p < number) if "<" in said else number == pytest.approx(p, abs=0.01 if p > 0.1 else 0.0005)


@given(st.floats(0, 1e7))
def test_a_time_is_within_its_last_digit(seconds: float) -> None:
    said, unit = formats.duration(seconds).split()
    size = {"s": 1, "min": 60, "h": 3600}[unit]
    assert float(said) * size == pytest.approx(seconds, abs={"s": 1, "min": 30, "h": 180}[unit] + 1e-6)


@given(st.floats(0, 1))
def test_a_share_is_nothing_or_all_only_when_it_is(value: float) -> None:
    said = formats.percent(value)
    assert (said == "0%") == (value == 0)
    assert (said == "100%") == (value == 1)


def test_counts_and_sizes() -> None:
    assert [formats.count(n) for n in (None, 0, 2040, 12_345_678, float("inf"))] == ["-", "0", "2,040", "12.3M", "all"]
    assert [formats.rows(n) for n in (None, 160, 12_345)] == ["-", "160", "12.3k"]
    assert formats.rows(79, approximate=True) == "~79"
    assert [formats.tokens(n) for n in (None, 2_700, 1_200_000)] == ["-", "2.7k", "1.2M"]
    assert [formats.size(n) for n in (999, 19_600_000, 3e12)] == ["999 B", "19.6 MB", "3.0 TB"]
    assert [formats.plural(n, "run") for n in (1, 2, 1000)] == ["1 run", "2 runs", "1,000 runs"]
    assert formats.several(list("abcdef")) == "a, b, c, d and 2 more"
    assert formats.moment("2026-11-23T14:30:12+00:00") == "2026-11-23 14:30 UTC"
