"""What to buy with a budget: how many more rows of which source, and the ladders that would tell where it is unclear.

The gains of sources are taken to add: ladders that grow one source at a time cannot show otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from harness import formats
from harness.decisions.evidence import Evidence, bounded, contrast_of
from harness.decisions.growth import Ladder, ladder
from harness.decisions.questions import Question, questions
from harness.decisions.rungs import first_rungs, fragment, more_rungs, pasted
from harness.errors import RequestError, did_you_mean
from harness.formats import count
from harness.records import Allocation, Decisions, Growth, Share, Unclear, Unit
from harness.spec import Study
from harness.statistics.allocation import Offer, allocate, together
from harness.statistics.curves import FARTHEST, LEAST_RUNGS, with_rungs
from harness.statistics.scores import Scores

ADDED = "The gains of sources are taken to add: ladders that grow one source at a time cannot show otherwise."
LIMIT = f"No curve is used beyond {FARTHEST:g} times its largest rung: nothing is promised there."
CHOSEN = "Who chooses by noisy curves expects too much: in simulations the true gain was a tenth lower in the mean."
COPY = "Add the rungs to a copy of the study: finished runs are found again, and this study's rule stays as registered."


@dataclass(frozen=True)
class _Known:
    """A source with a learning curve, and what can be bought of it."""

    line: Growth
    ladder: Ladder
    offer: Offer
    left: int | None
    given: bool

    def gain(self, rows: int) -> tuple[float, float, float]:
        top = self.ladder.curve.sizes[-1]
        found = self.ladder.curve.gain(top, top + rows)
        return found.value, found.low, found.high

    def tried(self, bought: int, budget: float) -> int:
        """Return the rows that are spoken of: those that are bought, else as many as the whole budget would buy."""
        price, most = self.offer.price, self.offer.most
        return bought or (most if price <= 0 else min(most, int(budget / price)))


def check(study: Study, budget: float, unit: Unit, supply: Mapping[str, int] | None = None) -> None:
    """Refuse a budget that a study cannot be asked about, before anything is read.

    Args:
        study: The study.
        budget: The budget.
        unit: What it counts.
        supply: Source -> rows that can be had.

    Raises:
        RequestError: The budget is no number above 0, there is no such unit or source, or a source with rungs of
            different size lacks the price that a budget of money needs.
    """
    units = get_args(Unit)
    if unit not in units:
        raise RequestError(f'unit: "{unit}" is none of {", ".join(units)}.{did_you_mean(unit, units)}')
    if not (math.isfinite(budget) and budget > 0):
        raise RequestError(f"budget: {budget:g} is not a number above 0")
    for name, rows in (supply or {}).items():
        if name not in study.sources:
            raise RequestError(f'supply: no source is named "{name}".{did_you_mean(name, study.sources)}')
        if rows < 0:
            raise RequestError(f"supply: {name}={rows} is not a number of rows")
    for one in questions(study, {}):
        source = study.sources.get(one.subject)
        if unit == "money" and one.rungs and source is not None and source.cost_per_row is None:
            raise RequestError(
                f"sources.{one.subject}.cost_per_row: missing; a budget of money needs the price of a row of "
                f"{one.subject} (or count the budget in rows or tokens: --unit rows)"
            )


def buy(
    study: Study,
    evidence: Evidence,
    decided: Decisions,
    budget: float,
    unit: Unit = "money",
    supply: Mapping[str, int] | None = None,
) -> Allocation:
    """Return what to buy with a budget so that the expected gain is largest.

    Only sources with a learning curve get anything; of the others, and of those whose gain may be nothing, it is said
    which rungs would tell. The gains of sources are taken to add.

    Args:
        study: The study.
        evidence: Its results.
        decided: The decisions made from them. When they are withheld, nothing is bought.
        budget: The budget.
        unit: What it counts: money (at the sources' ``cost_per_row``), rows, or tokens.
        supply: Source -> rows that can be had; default: those that the source's pool has left.

    Raises:
        RequestError: As ``check``; or tokens are to be bought, and those of a source are not counted.
    """
    check(study, budget, unit, supply)
    asked = {one.subject: one for one in questions(study, evidence.rows) if one.subject in study.sources}
    lines = {line.source: line for line in decided.growth if line.source in study.sources}
    known = [
        found
        for name, line in lines.items()
        if (found := _known(study, evidence, asked[name], line, unit, (supply or {}).get(name)))
    ]
    withheld = decided.why_withheld()
    counts = [0] * len(known) if withheld else allocate([one.offer for one in known], budget)
    shares = [_share(one, rows, bool(withheld)) for one, rows in zip(known, counts, strict=True)]
    shares.sort(key=lambda one: (-one.gain, -one.spent, one.source))
    spent = sum(one.spent for one in shares)
    total = _total(evidence.selection, study.decide.alpha, known, counts) if known and not withheld else None
    unclear, fragments = _unclear(study, evidence, asked, lines, known, counts, budget)
    return Allocation(
        study=study.study,
        metric=study.decide.metric,
        unit=unit,
        budget=budget,
        spent=spent,
        left=max(0.0, budget - spent),
        level=1 - study.decide.alpha,
        gain=total[0] if total else None,
        ci=total[1:] if total else (None, None),
        bounded=bounded(evidence.selection),
        withheld=withheld,
        complete=decided.complete,
        shares=shares,
        unclear=unclear,
        fragment=pasted(study, fragments),
        notes=([ADDED, LIMIT, CHOSEN] if known else []) + ([COPY] if any(one.fragment for one in unclear) else []),
    )


def _known(
    study: Study, evidence: Evidence, one: Question, line: Growth, unit: Unit, given: int | None
) -> _Known | None:
    """Return a source with its curve and its offer; None without a curve, or when the noise of training is unknown."""
    if evidence.selection is None or len(evidence.selection.seeds) < 2:
        return None
    found = ladder(study, evidence, one)
    if found is None:
        return None
    price = {"money": line.cost_per_row, "rows": 1.0, "tokens": found.tokens_per_row}[unit]
    if price is None or (unit == "tokens" and price <= 0):
        raise RequestError(f"unit: the tokens of {one.subject} are not counted on this machine; expected money or rows")
    left = line.supply_left if given is None else given
    most = int(found.curve.sizes[-1] * (FARTHEST - 1))
    offer = Offer(found.curve.gains, price, most if left is None else min(left, most))
    return _Known(line, found, offer, left, given is not None)


def _share(one: _Known, rows: int, withheld: bool) -> Share:
    value, low, high = one.gain(rows) if rows else (0.0, 0.0, 0.0)
    name, most = one.line.source, one.offer.most
    if withheld:
        note = "withheld"
    elif not most and one.given:
        note = "none can be had"
    elif not most:
        note = f"its pool is used up; if more rows can be had, say how many: --supply {name}=1000"
    elif rows == most:
        note = "all that can be had" if most == one.left else "twice its largest rung; the curve ends there"
    elif rows:
        note = ""
    else:
        best = one.gain(most)[0]
        note = "other sources gain more for the budget" if best > 0 else "no gain is expected"
    return Share(
        source=name,
        verdict=one.line.verdict,
        rows_now=one.line.rows,
        rows=rows,
        most=most,
        supply_left=one.left,
        price=one.offer.price,
        spent=one.offer.price * rows,
        gain=value,
        ci=(low, high),
        may_be_nothing=rows > 0 and low <= 0,
        note=note,
    )


def _total(
    scores: Scores | None, alpha: float, known: Sequence[_Known], counts: Sequence[int]
) -> tuple[float, float, float]:
    """Return the expected gain of everything that is bought, with its interval.

    Ladders that share a rung, such as the baseline, err together: the covariance of their gains follows from the
    variances of the differences of their rungs.
    """
    bought = [(one, rows) for one, rows in zip(known, counts, strict=True) if rows]
    covariance = 0.0
    for at, (one, rows) in enumerate(bought):
        for other, more in bought[:at]:
            names, others = one.ladder.rungs, other.ladder.rungs
            if set(names) & set(others):
                mine, theirs = one.ladder.curve.reliance(rows), other.ladder.curve.reliance(more)
                spread = np.array([[_variance(scores, a, b, alpha) for b in others] for a in names])
                covariance -= float(mine @ spread @ theirs) / 2
    tops = [float(one.ladder.curve.sizes[-1]) for one, _ in bought]
    gains = [
        (one.ladder.curve.gain(top, top + rows), one.ladder.curve.df)
        for (one, rows), top in zip(bought, tops, strict=True)
    ]
    found = together(gains, covariance, alpha)
    return found.value, found.low, found.high


def _variance(scores: Scores | None, one: str, other: str, alpha: float) -> float:
    """Return the variance of the difference of two variants' means."""
    found = None if one == other else contrast_of(scores, one, other, alpha)
    return found.se**2 if found is not None and found.se is not None else 0.0


def _unclear(
    study: Study,
    evidence: Evidence,
    asked: Mapping[str, Question],
    lines: Mapping[str, Growth],
    known: Sequence[_Known],
    counts: Sequence[int],
    budget: float,
) -> tuple[list[Unclear], list[tuple[str, str]]]:
    """Return the sources of which the results cannot tell, and the rungs that would tell, by field of the study."""
    curves = {one.line.source: (one, rows) for one, rows in zip(known, counts, strict=True)}
    found, fragments = [], []
    for name in study.sources:
        reason = _why_unclear(evidence, asked.get(name), lines.get(name), curves.get(name), budget)
        if not reason:
            continue
        sizes, like = ([], "") if reason.startswith("one seed") else _rungs(study, evidence, asked.get(name), name)
        field, text = fragment(study, name, sizes, like, evidence.rows.get("baseline", {}).get(name, 0.0))
        fragments.append((field, text))
        widths = _narrowed(study, evidence, curves[name][0], curves[name][1], budget, sizes) if name in curves else {}
        found.append(Unclear(source=name, reason=reason, rows=sizes, fragment=text, **widths))
    return found, fragments


def _why_unclear(
    evidence: Evidence,
    one: Question | None,
    line: Growth | None,
    curve: tuple[_Known, int] | None,
    budget: float,
) -> str:
    """Return why the results cannot tell what more rows of a source gain; empty when they can."""
    if curve is not None:
        known, bought = curve
        rows = known.tried(bought, budget)
        value, low, high = known.gain(rows) if rows else (0.0, 0.0, 0.0)
        if not rows or not low <= 0 <= high:
            return ""
        scale, points = (100.0, " points") if bounded(evidence.selection) else (1.0, "")
        return f"{count(rows)} more rows may gain nothing: {formats.gain(value, (low, high), scale)}{points}"
    if one is None or line is None:
        return "it was never tried at two sizes"
    if evidence.selection is not None and len(evidence.selection.seeds) < 2:
        return "one seed: the noise of training is unknown; needs at least 2"
    if line.note.startswith("no gain per row: "):
        return line.note.removeprefix("no gain per row: ")
    sizes = sum(rung.rows > 0 for rung in line.rungs)
    return f"a learning curve needs {LEAST_RUNGS} sizes above 0 rows; there {'is' if sizes == 1 else 'are'} {sizes}"


def _narrowed(
    study: Study, evidence: Evidence, known: _Known, bought: int, budget: float, sizes: Sequence[int]
) -> dict[str, float]:
    """Return half the width of a gain's interval, now and with further rungs."""
    names, curve, rows = known.ladder.rungs, known.ladder.curve, known.tried(bought, budget)
    _, low, high = known.gain(rows)
    if not sizes:
        return {"half_width": (high - low) / 2}
    alpha, top = study.decide.alpha, curve.sizes[-1]
    spread = np.array([[_variance(evidence.selection, one, other, alpha) for other in names] for one in names])
    then = with_rungs(curve, spread, sizes).gain(top, top + rows)
    return {"half_width": (high - low) / 2, "half_width_then": (then.high - then.low) / 2}


def _rungs(study: Study, evidence: Evidence, one: Question | None, name: str) -> tuple[list[int], str]:
    """Return the sizes that would tell, and a rung that they must match; empty when there is none yet."""
    pool = evidence.supply.get(name)
    ladder = one.rungs if one is not None else {}
    sizes = [rows for rows in ladder.values() if 0 < rows < math.inf]
    if sizes:
        return more_rungs(sizes, None if pool is None else max(0.0, pool - max(sizes))), list(ladder)[-1]
    held = evidence.rows.get("baseline", {})
    if (rows := held.get(name, 0.0)) > 0:
        return more_rungs([rows], None if pool is None else max(0.0, pool - rows)), ""
    return first_rungs(min(sum(held.values()), math.inf if pool is None else pool)), ""
