"""Looks at growing results: published tables, simulation, and what must hold of any plan of looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from harness.statistics.sequential import levels_at, nominal_levels, sequential_p, spent

FIFTHS = [0.2, 0.4, 0.6, 0.8, 1.0]
plans = st.lists(st.floats(0.05, 1), min_size=1, max_size=5, unique_by=lambda one: round(one, 2)).map(
    lambda steps: [sum(steps[: at + 1]) / sum(steps) for at in range(len(steps))]
)


def bounds(levels: list[float]) -> list[float]:
    return [float(-special.ndtri(level / 2)) for level in levels]


def test_bounds_are_those_of_published_tables() -> None:
    """Lan and DeMets (1983), five equal looks at two-sided .05: spending like O'Brien and Fleming, and like Pocock."""
    brien = [4 * special.ndtr(special.ndtri(0.0125) / t**0.5) for t in FIFTHS]
    assert bounds(nominal_levels(FIFTHS, brien)) == pytest.approx([4.8769, 3.3569, 2.6803, 2.2898, 2.0310], abs=2e-4)
    pocock = [0.05 * math.log(1 + (math.e - 1) * t) for t in FIFTHS]
    assert bounds(nominal_levels(FIFTHS, pocock)) == pytest.approx([2.4380, 2.4268, 2.4101, 2.3966, 2.3859], abs=2e-4)


@settings(max_examples=25)
@given(plans, st.floats(0.01, 0.3), st.sampled_from([1.0, 2.0]), st.sampled_from([1, 2]))
def test_no_more_is_spent_than_allowed_and_one_look_is_an_ordinary_test(
    fractions: list[float], alpha: float, rho: float, sides: int
) -> None:
    levels = levels_at(fractions, alpha, rho, sides)
    assert levels[0] == pytest.approx(spent(alpha, fractions[0], rho), rel=1e-6)
    assert all(0 <= level <= alpha + 1e-9 for level in levels)
    assert levels_at([1.0], alpha, rho, sides) == pytest.approx([alpha])
    assert levels_at(fractions[:1], alpha, rho, sides) == levels[:1]  # a look does not depend on later ones


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("fractions", [FIFTHS, [0.1, 0.15, 0.9, 1.0], [0.5, 0.98]])
def test_false_findings_by_each_look_are_what_is_spent(fractions: list[float], sides: int) -> None:
    rng = np.random.default_rng(1)
    steps = rng.standard_normal((200_000, len(fractions))) * np.sqrt(np.diff([0, *fractions]))
    z = np.cumsum(steps, axis=1) / np.sqrt(fractions)
    p = sides * special.ndtr(-np.abs(z) if sides == 2 else -z)
    found = np.logical_or.accumulate(p <= np.array(levels_at(fractions, 0.05, 1.0, sides)), axis=1).mean(axis=0)
    assert found == pytest.approx([spent(0.05, t) for t in fractions], abs=0.002)  # four standard errors


@settings(max_examples=25)
@given(plans, st.data())
def test_a_sequential_p_value_says_at_which_level_something_is_found(
    fractions: list[float], data: st.DataObject
) -> None:
    p = [data.draw(st.floats(1e-5, 0.9)) for _ in fractions]
    for looks in range(1, len(p) + 1):
        found = sequential_p(p[:looks], fractions[:looks])
        assert looks == 1 or found <= sequential_p(p[: looks - 1], fractions[: looks - 1])
        for alpha in (0.01, 0.05, 0.2):
            if abs(found / alpha - 1) > 0.02:  # read from a table
                levels = levels_at(fractions[:looks], alpha)
                assert any(value <= level for value, level in zip(p, levels, strict=False)) == (found <= alpha)
