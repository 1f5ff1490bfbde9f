"""What a study asks: the subject of every arm, and the one contrast that answers for each subject."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.spec import Operation, Study, Variant

Rows = Mapping[str, Mapping[str, float]]  # variant -> source -> rows


@dataclass(frozen=True)
class Question:
    """One subject and the contrast ``plus - minus`` that decides on it; more of ``plus`` speaks for the
    subject.

    Attributes:
        subject: A source's name, or a treatment such as ``verify(scraped)``.
        kind: Whether the verdict is about a source or about a treatment.
        plus: The variant with the treatment, or with more rows of the source.
        minus: The variant it is held against.
        rungs: Variant -> rows of the source, smallest first; empty unless the rows of the source are what
            differs.
        instead: The source that stands in the subject's place in ``minus``; empty unless it was replaced.
        others: Arms with the same subject that do not decide.
    """

    subject: str
    kind: Literal["source", "treatment"]
    plus: str
    minus: str
    rungs: dict[str, float] = field(default_factory=dict)
    instead: str = ""
    others: tuple[str, ...] = ()


def subject(study: Study, name: str) -> str:
    """Return what an arm tests: what it says in ``tests``, else its operations, else the source whose rows it
    changes.

    An arm that adds one source in place of another tests the one it adds; one that changes several is its own
    subject.
    """
    arm = study.arms[name]
    if arm.tests:
        return arm.tests
    if arm.operations != study.baseline.operations:
        return _treatment(study, arm)
    before, after = _mix(study, "baseline"), _mix(study, name)
    grown = [source for source in after if after[source] > before.get(source, 0)]
    shrunk = [source for source in before if before[source] > after.get(source, 0)]
    if len(grown) == 1:
        return grown[0]
    return shrunk[0] if len(shrunk) == 1 else name


def questions(study: Study, rows: Rows) -> list[Question]:
    """Return the questions of a study, in the order of its arms; replaced sources come last.

    Arms with one subject share one question. A treatment is answered by the arm listed first against the
    baseline. A source is answered by the largest against the smallest rung when its arms (and a baseline that
    differs in nothing else) hold different numbers of its rows, else by the arm listed first against the
    baseline, the one with more rows being ``plus``. A source of the baseline that an arm replaces entirely,
    row for row, by another one is answered by baseline minus that arm, unless it has arms of its own.

    Args:
        study: The study.
        rows: Rows of each source in each variant, as built; what the study asks for stands in where a variant
            lacks.
    """
    asked: dict[str, list[str]] = {}
    for name in study.arms:
        asked.setdefault(subject(study, name), []).append(name)
    found = [
        _source_question(study, topic, names, rows)
        if topic in study.sources
        else Question(topic, "treatment", names[0], "baseline", others=tuple(names[1:]))
        for topic, names in asked.items()
    ]
    for source in _mix(study, "baseline"):
        stand_ins = {name: new for name in study.arms if (new := _stand_in(study, source, name))}
        if source not in asked and stand_ins:
            (name, new), *others = stand_ins.items()
            rest = tuple(other for other, _ in others)
            found.append(Question(source, "source", "baseline", name, instead=new, others=rest))
    return found


def rule(study: Study) -> dict[str, Any]:
    """Return the decision rule as the study fixes it before anything runs; its digest goes with the
    decisions."""
    return {
        **study.decide.identity(),
        "seeds": len(study.seed_list()),
        "controls": list(study.controls),
        "match": study.match,
        "confirmation": study.suite.confirmation,
        "subjects": {name: subject(study, name) for name in study.arms},
    }


def _source_question(study: Study, source: str, names: list[str], rows: Rows) -> Question:
    first = study.arms[names[0]]
    alike = [name for name in names if study.arms[name].operations == first.operations]
    held = {name: _rows(study, rows, name, source) for name in alike}
    baseline = _rows(study, rows, "baseline", source)
    rest = _rest(study, "baseline", source)
    if first.operations == study.baseline.operations and all(_rest(study, n, source) == rest for n in alike):
        held = {"baseline": baseline, **held} if baseline > 0 else held
    if len(set(held.values())) < 2:
        held = {"baseline": baseline, names[0]: held[names[0]]}
    rungs = dict(sorted(held.items(), key=lambda rung: rung[1]))
    minus, plus = next(iter(rungs)), list(rungs)[-1]
    others = tuple(name for name in names if name not in (minus, plus))
    return Question(source, "source", plus, minus, rungs=rungs, others=others)


def _stand_in(study: Study, source: str, name: str) -> str:
    """Return the source that an arm puts in place of all rows of ``source``, as many of them; else
    nothing."""
    before, after = _mix(study, "baseline"), _mix(study, name)
    changed = {each for each in before | after if before.get(each, 0) != after.get(each, 0)} - {source}
    if source in after or len(changed) != 1 or study.arms[name].operations != study.baseline.operations:
        return ""
    new = next(iter(changed))
    return new if after.get(new, 0) - before.get(new, 0) == before[source] < math.inf else ""


def _mix(study: Study, name: str) -> dict[str, float]:
    """Return the rows a variant asks for per source; infinity for all rows of a pool of unknown size."""
    variant = study.baseline if name == "baseline" else study.arms[name]
    counts = (variant if variant.mix else study.baseline).counts()
    return {
        source: float(study.sources[source].rows or math.inf) if count is None else float(count)
        for source, count in counts.items()
    }


def _rest(study: Study, name: str, source: str) -> dict[str, float]:
    return {other: count for other, count in _mix(study, name).items() if other != source}


def _rows(study: Study, rows: Rows, name: str, source: str) -> float:
    """Return whole rows of a source in a variant, as built where that is known."""
    known = rows[name].get(source, 0.0) if name in rows else _mix(study, name).get(source, 0.0)
    return float(round(known)) if math.isfinite(known) else known


def _treatment(study: Study, arm: Variant) -> str:
    """Return the name of what an arm's operations do that the baseline's do not, such as
    ``verify(scraped)``."""
    sources = ", ".join((arm if arm.mix else study.baseline).mix or {})
    new = [operation for operation in arm.operations if operation not in study.baseline.operations]
    gone = [operation for operation in study.baseline.operations if operation not in arm.operations]
    if new or not gone:
        return " + ".join(_label(operation, sources) for operation in new or arm.operations)
    return " + ".join(f"no {_label(operation, sources)}" for operation in gone)


def _label(operation: Operation, sources: str) -> str:
    settings = operation.model_dump(mode="json", exclude_defaults=True, exclude={"op"})
    return f"{operation.op}({', '.join([sources, *(f'{name}={value}' for name, value in settings.items())])})"
