"""What the tables of the terminal hold at any width."""

from __future__ import annotations

import io
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from harness.records import Growth
from harness.terminal import tables

WIDE = 400


def source(rank: int, name: str, known: bool, supply: bool) -> Growth:
    """Return a source of which the study tells much, or nothing."""
    return Growth(
        rank=rank, source=name, verdict="GROW" if known else "INCONCLUSIVE", rows=1200 * rank, rungs=[],
        gain_per_1000_rows=0.1234 if known else None, ci_per_1000_rows=(0.0123, 0.2345) if known else (None, None),
        gain_per_10k_tokens=0.3 if known else None, supply_left=12345 if supply else None,
        cost_per_point=4.2 if known else None, next_rows=1200 if known else None, next_gain=0.051 if known else None,
        next_ci=(0.01, 0.09) if known else (None, None),
    )  # fmt: skip


def growth(sources: list[Growth], width: int) -> str:
    out = Console(width=width, file=io.StringIO(), highlight=False, color_system=None)
    tables.show_growth(out, sources, bounded=True)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@given(
    told=st.lists(
        st.tuples(st.text("abcxyz_", min_size=1, max_size=30), st.booleans(), st.booleans()), min_size=1, max_size=4
    ),
    width=st.integers(80, 200),
)
def test_a_narrow_terminal_folds_the_growth_table_and_cuts_nothing(
    told: list[tuple[str, bool, bool]], width: int
) -> None:
    sources = [source(rank + 1, *one) for rank, one in enumerate(told)]
    narrow, wide = growth(sources, width), growth(sources, WIDE)
    assert max(map(len, narrow.splitlines())) <= width
    assert Counter("".join(narrow.split())) == Counter("".join(wide.split()))


def test_a_column_of_which_nothing_is_known_is_not_there() -> None:
    shown = growth([source(1, "forum", known=False, supply=True)], WIDE)
    assert "Rows left" in shown
    assert "Next step" not in shown
    assert "Cost" not in shown
