"""What a study could tell, and what would settle the questions it left open."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from scipy import special

from harness.decisions.reasons import Finding, Ways
from harness.formats import Places, several
from harness.statistics.paired import Contrast
from harness.statistics.sequential import levels_at

OFTEN = 0.8  # probability of finding the smallest effect that a study can see


def sees(found: Sequence[Finding], alpha: float) -> float | None:
    """Return the smallest effect that the study finds four times in five: the median over its questions.

    ``se (t[1 - level/2] + t[0.8])`` with the standard error and degrees of freedom that were measured.

    Args:
        found: Its questions.
        alpha: The family-wise level.
    """
    sizes = [
        _seen(one.estimate, one.estimate.se, one.estimate.df, alpha / one.comparisons)
        for one in found
        if one.estimate is not None
        and one.estimate.p is not None
        and one.estimate.se is not None
        and one.estimate.df is not None
    ]
    return statistics.median(sizes) if sizes else None


def _seen(estimate: Contrast, se: float, df: float, alpha: float) -> float:
    level = levels_at(estimate.fractions, alpha)[len(estimate.looks) - 1] if estimate.looks else alpha
    return se * float(special.stdtrit(df, 1 - level / 2) + special.stdtrit(df, OFTEN))


def advice(seen: float | None, left: Mapping[str, Ways | None], places: Places, looked: str = "") -> str:
    """Return in words which effects a study could see, and what would settle the questions it left open.

    Args:
        seen: The smallest effect it can see.
        left: Open subject -> what would settle it; None when more of the same would not.
        places: How effects are written.
        looked: What a study with stages was judged by, when not by all of its seeds: ``2 of 4 seeds``.
    """
    this = f"With {looked} this study" if looked else "This study"
    said = f"{this} sees effects of {places.plain(seen)} or more, four times in five. " if seen is not None else ""
    known = {subject: ways for subject, ways in left.items() if ways is not None and (ways.seeds or ways.items)}
    if not known:
        return said.strip()
    seeds = [ways for ways in known.values() if ways.seeds]
    items = [ways for ways in known.values() if ways.items]
    longest = max(seeds, key=lambda ways: ways.seeds or 0, default=Ways(None, None))
    most = max(items, key=lambda ways: ways.items or 0, default=Ways(None, None))
    both = Ways(
        longest.seeds if len(seeds) == len(known) else None,
        most.items if len(items) == len(known) else None,
        longest.seeds_take,
        most.items_take,
    )
    if both.in_words():
        return f"{said}To settle {several(list(known))}: {both.in_words()}."
    each = "; ".join(f"{subject} {ways.in_words()}" for subject, ways in known.items())
    return f"{said}To settle: {each}."
