"""Which mixtures tell most about their sources, chosen before any is trained."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.optimal import d_optimal, information


def drawn(count: int, sources: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(sources, 1.0), count)


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(6, 40), st.data())
@settings(max_examples=25, deadline=None)
def test_d_optimal_beats_chance_and_no_exchange_betters_it(
    seed: int, sources: int, many: int, data: st.DataObject
) -> None:
    candidates = drawn(many, sources, seed)
    count = data.draw(st.integers(1, many))
    chosen = d_optimal(candidates, count, seed)
    assert len(set(chosen)) == count
    best = information(candidates[chosen], candidates)
    generator = np.random.default_rng(seed)
    for _ in range(20):
        assert best >= information(candidates[generator.permutation(many)[:count]], candidates) - 1e-9
    for place in range(min(count, 3)):
        for other in set(range(many)) - set(chosen):
            swapped = np.r_[np.delete(chosen, place), other]
            assert information(candidates[swapped], candidates) <= best + 1e-6


def test_what_cannot_be_chosen_is_refused() -> None:
    with pytest.raises(ValueError, match="6 of 5 mixtures cannot be chosen"):
        d_optimal(drawn(5), 6)
    with pytest.raises(ValueError, match="weights of 0 or more, not all 0 in a row"):
        d_optimal(np.zeros((3, 2)), 1)
