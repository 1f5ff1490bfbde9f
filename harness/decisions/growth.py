"""Which data to grow next, and the gain of more rows: one line per source with a ladder, best first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.decisions.evidence import Evidence, contrast_of
from harness.decisions.questions import Question
from harness.formats import count
from harness.records import CurvePoint, Growth, Rung, Verdict
from harness.spec import Study
from harness.statistics.curves import FARTHEST, LEAST_RUNGS, Curve, fit
from harness.statistics.paired import Contrast
from harness.statistics.scores import Scores

POINTS = 25  # points of a drawn curve
ALIKE = 0.02  # a larger share of difference in rows of other sources (and more than one row) is another treatment


@dataclass(frozen=True)
class Ladder:
    """A ladder with a learning curve.

    Attributes:
        rungs: The variants that the curve is fitted to, smallest first; the last one is the current size.
        curve: The curve.
        tokens_per_row: Mean tokens of the subject's rows; None when they are not counted.
    """

    rungs: tuple[str, ...]
    curve: Curve
    tokens_per_row: float | None


def growth(study: Study, evidence: Evidence, asked: Sequence[tuple[Question, Verdict]]) -> list[Growth]:
    """Return the gain of more rows of each source, ranked: verdict GROW first, then by the gain of 1,000 more rows.

    Args:
        study: The study.
        evidence: Its results.
        asked: Every question with its verdict; questions without a ladder are skipped. A ladder of the whole baseline
            (``size``) has a line like those of the sources.
    """
    lines = [_line(study, evidence, one, verdict) for one, verdict in asked if one.rungs]
    lines.sort(key=lambda line: (line.verdict != "GROW", -_or(line.gain_per_1000_rows, -math.inf), line.source))
    return [line.model_copy(update={"rank": rank}) for rank, line in enumerate(lines, 1)]


def pure(study: Study, evidence: Evidence, one: Question) -> bool:
    """Return whether nothing but rows of the subject differs between the rungs of its ladder.

    Only then there is a gain per row: in other ladders rows of other sources were taken out, or operations differ. In
    a ladder of the whole baseline all sources grow together.
    """
    if len({_operations(study, name) for name in one.rungs}) > 1:
        return False
    if one.subject not in study.sources:
        return True
    first, *others = (_rest(study, evidence, name, one.subject) for name in one.rungs)
    pairs = [(each.get(name, 0.0), first.get(name, 0.0)) for each in others for name in {*each, *first}]
    return all(a == b or abs(a - b) <= max(1.0, ALIKE * min(a, b)) for a, b in pairs)


def ladder(study: Study, evidence: Evidence, one: Question) -> Ladder | None:
    """Return the ladder of a question with its learning curve; None when no curve can be fitted to it."""
    scored, why = _scored(study, evidence, one)
    if why or evidence.selection is None:
        return None
    step = contrast_of(evidence.selection, scored[-1][0], scored[-2][0], study.decide.alpha)
    used = [(name, rows) for name, rows in scored if rows > 0]
    curve = _curve(evidence.selection, used, step, study.decide.alpha) if step else None
    length = _tokens_per_row(evidence, scored[0], scored[-1])
    return None if curve is None else Ladder(tuple(name for name, _ in used), curve, length)


def _scored(study: Study, evidence: Evidence, one: Question) -> tuple[list[tuple[str, float]], str]:
    """Return the rungs that have scores, with their rows, and why they give no gain per row; empty when they do."""
    known = evidence.selection.arms if evidence.selection else ()
    rungs = [(name, rows) for name, rows in one.rungs.items() if math.isfinite(rows)]
    scored = [(name, rows) for name, rows in rungs if name in known]
    if len(rungs) < len(one.rungs) or len(scored) < 2 or scored[-1] != rungs[-1]:
        return scored, "no gain per row: runs of its largest rung, or of all others, lack"
    if not pure(study, evidence, one):
        return scored, "no gain per row: its rungs differ in more than its own rows"
    if scored[-1][1] <= scored[-2][1]:
        return scored, "no gain per row: its rungs hold the same number of rows"
    return scored, ""


def _line(study: Study, evidence: Evidence, one: Question, verdict: Verdict) -> Growth:
    alpha, scores = study.decide.alpha, evidence.selection
    rungs = [(name, rows) for name, rows in one.rungs.items() if math.isfinite(rows)]
    top = rungs[-1][1] if rungs else 0.0
    known = scores.arms if scores else ()
    supply = evidence.supply.get(one.subject)
    left = None if supply is None else max(0, round(supply - top))
    price = study.sources[one.subject].cost_per_row if one.subject in study.sources else None
    line = Growth(
        rank=0, source=one.subject, verdict=verdict, rows=round(top), gain_per_1000_rows=None, supply_left=left,
        cost_per_row=price,
        rungs=[
            Rung(
                variant=name, rows=round(rows),
                tokens=round(evidence.tokens[name]) if name in evidence.tokens else None,
                mean=scores.mean(name) if scores and name in known else None,
            )
            for name, rows in rungs
        ],
    )  # fmt: skip
    scored, why = _scored(study, evidence, one)
    if why:
        return line.model_copy(update={"note": why})
    lower, upper = scored[-2:]
    step = contrast_of(scores, upper[0], lower[0], alpha)
    assert step is not None
    length = _tokens_per_row(evidence, scored[0], scored[-1])
    found = ladder(study, evidence, one)
    if found is not None:
        return _from_curve(line, found.curve, step, length)
    rows = upper[1] - lower[1]
    note = f"the average from {count(lower[1])} to {count(upper[1])} rows, not a curve: more rows usually gain less"
    low, high = (None if end is None else end / rows for end in (step.ci_low, step.ci_high))
    return _priced(line, (step.effect / rows, low, high), length, _noted(note, step))


def _from_curve(line: Growth, curve: Curve, step: Contrast, length: float | None) -> Growth:
    """Return a line completed by a learning curve: its slope at the largest rung, the next step, and the curve."""
    slope, top = curve.slope(), float(curve.sizes[-1])
    note = _noted(f"learning curve on {len(curve.sizes)} rungs", step)
    line = _priced(line, (slope.value, slope.low, slope.high), length, note)
    points = [
        CurvePoint(rows=float(size), value=at.value, low=at.low, high=at.high)
        for size in np.geomspace(curve.sizes[0], FARTHEST * top, POINTS).clip(curve.sizes[0], FARTHEST * top)
        for at in [curve.at(float(size))]
    ]
    changes: dict[str, object] = {"exponent": curve.exponent, "curve": points}
    most = int(top * (FARTHEST - 1))
    more = most if not line.supply_left else min(line.supply_left, most)  # rows can be added to a pool that is used up
    gain = curve.gain(top, top + more)
    changes |= {"next_rows": more, "next_gain": gain.value, "next_ci": (gain.low, gain.high)}
    if line.cost_per_row is not None:
        changes["next_cost"] = line.cost_per_row * more
    return line.model_copy(update=changes)


def _priced(line: Growth, slope: tuple[float, float | None, float | None], length: float | None, note: str) -> Growth:
    """Return a line completed by its gain per row, with interval; ``length`` is tokens per row."""
    changes: dict[str, object] = {"note": note}
    for per, scale in (("1000_rows", 1000.0), ("10k_tokens", 10_000 / length if length else None)):
        if scale is not None:
            changes[f"gain_per_{per}"] = scale * slope[0]
            changes[f"ci_per_{per}"] = tuple(None if end is None else scale * end for end in slope[1:])
    if line.cost_per_row is not None and slope[0] > 0:
        changes["cost_per_point"] = line.cost_per_row / (100 * slope[0])
    return line.model_copy(update=changes)


def _noted(note: str, step: Contrast) -> str:
    return f"{note}; {step.note}" if step.note else note


def _curve(scores: Scores, used: Sequence[tuple[str, float]], step: Contrast, alpha: float) -> Curve | None:
    """Return a fitted learning curve; None with too few rungs, or when their noise is not known."""
    if len(used) < LEAST_RUNGS or len({rows for _, rows in used}) < len(used) or step.df is None:
        return None
    names = [name for name, _ in used]
    spread = np.zeros((len(used), len(used)))
    for row, first in enumerate(names):
        for column, second in enumerate(names):
            if row < column:
                pair = contrast_of(scores, first, second, alpha)
                if pair is None or pair.se is None:
                    return None
                spread[row, column] = spread[column, row] = pair.se**2
    sizes, means = np.array([rows for _, rows in used]), np.array([scores.mean(name) for name in names])
    return fit(sizes, means, spread, step.df, alpha)


def _tokens_per_row(evidence: Evidence, small: tuple[str, float], large: tuple[str, float]) -> float | None:
    """Return the mean tokens of the subject's rows: extra tokens of the largest rung per extra row."""
    if small[0] not in evidence.tokens or large[0] not in evidence.tokens:
        return None
    return max(0.0, evidence.tokens[large[0]] - evidence.tokens[small[0]]) / (large[1] - small[1])


def _rest(study: Study, evidence: Evidence, name: str, source: str) -> dict[str, float]:
    """Return the rows of the other sources in a variant: as built, else as the study asks for them."""
    if name in evidence.rows:
        rows = dict(evidence.rows[name])
    else:
        variant = study.baseline if name == "baseline" else study.arms[name]
        counts = (variant if variant.mix else study.baseline).counts()
        rows = {other: math.inf if number is None else float(number) for other, number in counts.items()}
    return {other: number for other, number in rows.items() if other != source and number > 0}


def _operations(study: Study, name: str) -> str:
    if name == "baseline":
        chain = study.baseline.operations
    else:
        arm = study.arms[name]
        chain = arm.operations if arm.mix else study.baseline.operations + arm.operations
    return repr(chain)


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
