"""The questions of a study: the subject of every arm, and the one contrast that decides on each subject."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from harness.spec import Operation, Study, Variant
from harness.spec.designs.base import SIZE

Rows = Mapping[str, Mapping[str, float]]  # variant -> source -> rows


@dataclass(frozen=True)
class Question:
    """One subject and the contrast that decides on it: the mean of ``plus`` minus the mean of ``minus``.

    A higher score of ``plus`` speaks for the subject. Each end is one variant, except for a factor of a factorial:
    there ``plus`` are all combinations with the factor on and ``minus`` all with it off, with equal weights and equally
    many on either side, so that the other factors cancel. When a variant of the contrast is missing, the contrast is no
    longer balanced, and the question has no answer.

    Attributes:
        subject: A source's name, or a treatment such as ``verify(scraped)``, a factor's name, or ``size``.
        kind: Whether the verdict is about a source or about a treatment.
        plus: The variants with the treatment, or with more rows.
        minus: The variants that ``plus`` is compared with.
        rungs: Variant -> rows, smallest first: of the source, or for the treatment ``size`` of all sources together.
            The ends of the contrast are the first and the last. With more than two rungs, or with equal rows of all
            other sources, only rows of the subject differ; a source that is left out and refilled with others has two
            rungs. Empty for other treatments, and for a source that another source replaces.
        instead: The source that replaces the subject in ``minus``; empty unless it was replaced.
        others: Arms with the same subject that do not decide.
        note: What the design cannot separate from the effect; empty unless it is a fraction of a factorial.
    """

    subject: str
    kind: Literal["source", "treatment"]
    plus: tuple[str, ...]
    minus: tuple[str, ...]
    rungs: dict[str, float] = field(default_factory=dict)
    instead: str = ""
    others: tuple[str, ...] = ()
    note: str = ""


def subject(study: Study, name: str) -> str:
    """Return the subject of an arm: its field ``tests``, else its operations, else the source whose rows it changes.

    An arm that replaces one source by another tests the one that it adds; an arm that changes several sources is its
    own subject.
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
    baseline; a factor of a factorial by its main effect, the mean of all combinations with it minus that of all
    without; ``size`` by the largest against the smallest of its arms and the baseline. A source is answered by the
    largest against the smallest rung when arms (or an arm and a baseline that holds rows of it) differ only in its
    rows, else by the arm listed first against the baseline. The variant with more rows is ``plus``: when an arm without
    the source scores less, the source is better. A source of the baseline that an arm replaces entirely, row for row,
    by another one is answered by baseline minus that arm, unless it has arms of its own.

    Args:
        study: The study, its designs expanded.
        rows: Rows of each source in each variant, as built; for a missing variant, the rows that the study requests.
    """
    contrasts, combined = _contrasts(study)
    asked: dict[str, list[str]] = {}
    for name in study.arms:
        if name in combined:
            for topic in combined[name]:
                asked.setdefault(topic, [])
        else:
            asked.setdefault(subject(study, name), []).append(name)
    found = []
    for topic, names in asked.items():
        if topic in contrasts:
            found.append(replace(contrasts[topic], others=tuple(names)))
        elif topic in study.sources:
            found.append(_source_question(study, topic, names, rows))
        elif topic == SIZE:
            found.append(_size_question(study, names, rows))
        else:
            found.append(Question(topic, "treatment", (names[0],), ("baseline",), others=tuple(names[1:])))
    for source in _mix(study, "baseline"):
        stand_ins = {name: new for name in study.arms if (new := _stand_in(study, source, name))}
        if source not in asked and stand_ins:
            (name, new), *others = stand_ins.items()
            rest = tuple(other for other, _ in others)
            found.append(Question(source, "source", ("baseline",), (name,), instead=new, others=rest))
    return found


def rule(study: Study) -> dict[str, Any]:
    """Return the decision rule that the study fixes before anything runs; decisions carry its digest."""
    return {
        **study.rule(),
        "seeds": len(study.seed_list()),
        "controls": list(study.controls),
        "match": study.match,
        "confirmation": study.suite.confirmation,
        "subjects": {name: subject(study, name) for name in study.arms},
        "designs": [design.identity() for design in study.designs],
    }


def _contrasts(study: Study) -> tuple[dict[str, Question], dict[str, list[str]]]:
    """Return the questions that several arms of a design answer together, by subject, and the subjects of each arm."""
    found: dict[str, Question] = {}
    combined: dict[str, list[str]] = {}
    for design in study.designs:
        contrasts = design.contrasts()
        for one in contrasts:
            found[one.subject] = Question(one.subject, "treatment", one.plus, one.minus, note=one.note)
            for name in {*one.plus, *one.minus} - {"baseline"}:
                combined[name] = [other.subject for other in contrasts]
    return found, combined


def _source_question(study: Study, source: str, names: list[str], rows: Rows) -> Question:
    """Return the question about a source: a ladder where there is one, else the first arm and the baseline."""
    ladders: list[dict[str, float]] = []
    for name in names:
        alike = [other for other in names if differ_in_rows_only(study, source, name, other)]
        held = {other: _rows(study, rows, other, source) for other in alike}
        baseline = _rows(study, rows, "baseline", source)
        if baseline > 0 and differ_in_rows_only(study, source, name, "baseline"):
            held = {"baseline": baseline, **held}
        ladders.append(held)
    held = max(ladders, key=lambda rungs: len(set(rungs.values())))  # the first of equally long ladders
    if len(set(held.values())) < 2:
        held = {name: _rows(study, rows, name, source) for name in ("baseline", names[0])}
    return _ladder(Question(source, "source", (), ()), held, names)


def _size_question(study: Study, names: list[str], rows: Rows) -> Question:
    held = {name: sum(_rows(study, rows, name, s) for s in study.sources) for name in ("baseline", *names)}
    if len(set(held.values())) < 2:
        return Question(SIZE, "treatment", (names[0],), ("baseline",), others=tuple(names[1:]))
    return _ladder(Question(SIZE, "treatment", (), ()), held, names)


def _ladder(question: Question, held: dict[str, float], names: list[str]) -> Question:
    """Return a question completed by its rungs: the largest against the smallest."""
    rungs = dict(sorted(held.items(), key=lambda rung: rung[1]))
    minus, plus = next(iter(rungs)), list(rungs)[-1]
    others = tuple(name for name in names if name not in (minus, plus))
    return replace(question, plus=(plus,), minus=(minus,), rungs=rungs, others=others)


def differ_in_rows_only(study: Study, source: str, name: str, other: str) -> bool:
    """Return whether two variants differ only in their rows of a source."""
    return _rest(study, name, source) == _rest(study, other, source) and _steps(study, name) == _steps(study, other)


def _steps(study: Study, name: str) -> tuple[Operation, ...]:
    """Return all operations of a variant, with the baseline's when they apply to it."""
    if name == "baseline":
        return study.baseline.operations
    arm = study.arms[name]
    return arm.operations if arm.mix else study.baseline.operations + arm.operations


def _stand_in(study: Study, source: str, name: str) -> str:
    """Return the source by which an arm replaces all rows of ``source``, one for one; empty when there is none."""
    before, after = _mix(study, "baseline"), _mix(study, name)
    changed = {each for each in before | after if before.get(each, 0) != after.get(each, 0)} - {source}
    if source in after or len(changed) != 1 or study.arms[name].operations != study.baseline.operations:
        return ""
    new = next(iter(changed))
    return new if after.get(new, 0) - before.get(new, 0) == before[source] < math.inf else ""


def _mix(study: Study, name: str) -> dict[str, float]:
    """Return the rows that a variant requests of each source; infinity for all rows of a pool of unknown size."""
    variant = study.baseline if name == "baseline" else study.arms[name]
    counts = (variant if variant.mix else study.baseline).counts()
    return {
        source: float(study.sources[source].rows or math.inf) if count is None else float(count)
        for source, count in counts.items()
    }


def _rest(study: Study, name: str, source: str) -> dict[str, float]:
    return {other: count for other, count in _mix(study, name).items() if other != source}


def _rows(study: Study, rows: Rows, name: str, source: str) -> float:
    """Return the whole number of rows of a source in a variant: as built if known, else as requested."""
    known = rows[name].get(source, 0.0) if name in rows else _mix(study, name).get(source, 0.0)
    return float(round(known)) if math.isfinite(known) else known


def _treatment(study: Study, arm: Variant) -> str:
    """Return the name of the operations that an arm adds to the baseline's, such as ``verify(scraped)``."""
    sources = ", ".join((arm if arm.mix else study.baseline).mix or {})
    new = [operation for operation in arm.operations if operation not in study.baseline.operations]
    gone = [operation for operation in study.baseline.operations if operation not in arm.operations]
    if new or not gone:
        return " + ".join(_label(operation, sources) for operation in new or arm.operations)
    return " + ".join(f"no {_label(operation, sources)}" for operation in gone)


def _label(operation: Operation, sources: str) -> str:
    settings = operation.model_dump(mode="json", exclude_defaults=True, exclude={"op"})
    return f"{operation.op}({', '.join([sources, *(f'{name}={value}' for name, value in settings.items())])})"
