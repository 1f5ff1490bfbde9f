"""The harness's statistics for scores of any other tool: paired, with seed and item noise.

``harness stats compare`` calls ``compare``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import Asked, RequestError

if TYPE_CHECKING:
    import polars as pl

    from harness.stats.compared import Compared

__all__ = ["compare"]


def compare(
    scores: pl.DataFrame | Iterable[Mapping[str, Any]] | str | Path | Any,
    baseline: str = "baseline",
    *,
    alpha: float = 0.05,
    smallest_effect: float | None = None,
) -> Compared:
    """Compare each arm with the baseline, paired by seed and item; higher scores are better.

    Args:
        scores: One row per arm, seed and item, in the columns ``arm``, ``seed``, ``item`` and ``score`` (a finite
            number); optional columns are ``group`` (items of one group are right or wrong together, such as questions
            on one text) and ``slice``. A polars or pandas frame, a list of dicts, or the path of a .csv, .jsonl or
            .parquet file. Every arm needs the same seeds and items; an arm that lacks a whole seed is left out and
            named.
        baseline: The arm that the others are compared with.
        alpha: Family-wise level of the verdicts, between 0 and 0.5; intervals cover ``1 - alpha`` each.
        smallest_effect: Effects below this do not matter in practice, in the unit of the scores. Without it, no effect
            can be shown absent.

    Returns:
        A verdict (ADOPT, NEUTRAL, REJECT, INCONCLUSIVE), the effect with its interval and the p values for each arm,
        the effects by slice, and remarks to read before the verdicts (``notes``). Effects are in the unit of the
        scores. It prints as the command prints, and is a table in a notebook.

    Raises:
        RequestError: A parameter is not valid, or the scores cannot be paired; the message names the line or row.

    >>> rows = [
    ...     {"arm": arm, "seed": seed, "item": item, "score": 0.4 + gain + 0.01 * ((seed * item) % 3)}
    ...     for arm, gain in (("baseline", 0.0), ("more", 0.2))
    ...     for seed in range(3)
    ...     for item in range(20)
    ... ]
    >>> found = compare(rows, smallest_effect=0.05)
    >>> [(arm.arm, arm.verdict, round(arm.effect, 3)) for arm in found.arms]
    [('more', 'ADOPT', 0.2)]
    """
    return judged(scores, baseline, alpha, smallest_effect, Asked())


def judged(scores: Any, baseline: str, alpha: float, smallest_effect: float | None, asked: Asked) -> Compared:
    """Return the result of ``compare``; messages name the parameters as the caller knows them.

    Raises:
        RequestError: As ``compare``.
    """
    from harness.decisions.table import judge
    from harness.stats.compared import Compared
    from harness.stats.table import read_scores

    if not _between(alpha, 0.5):
        raise RequestError(f"{asked('alpha')}: {_shown(alpha)} is no level; expected a number between 0 and 0.5")
    if smallest_effect is not None and not _between(smallest_effect, math.inf):
        raise RequestError(f"{asked('smallest_effect')}: {_shown(smallest_effect)} is not above 0")
    baseline = str(baseline)  # arms may be numbers; their names are text
    read = read_scores(scores, baseline, asked)
    found = judge(
        read.scores, baseline, float(alpha), smallest_effect,
        source=str(scores) if isinstance(scores, str | Path) else "in memory",
        item_slices=read.slices, left_out=read.left_out, notes=read.notes,
    )  # fmt: skip
    return Compared.model_construct(**dict(found))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _between(value: Any, limit: float) -> bool:
    return _is_number(value) and 0 < value < limit


def _shown(value: Any) -> str:
    return f"{value:g}" if _is_number(value) else repr(value)
