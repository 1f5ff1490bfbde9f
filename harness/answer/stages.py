"""Follows a study with stages through its results: which runs are needed next, and which are not needed at all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from harness import decisions
from harness.answer.comparing import evidence_of
from harness.answer.view import Run, first_runs, read
from harness.decisions import Course
from harness.study.plan import Plan, PlannedRun


def course_of(plan: Plan, runs: Sequence[Run] | None = None, lost: Collection[str] | None = None) -> Course | None:
    """Return how far a study with stages has come; None for a study that is looked at once.

    Args:
        plan: The study.
        runs: Its runs, as ``read`` returns them; default: they are read.
        lost: Variants that are not waited for; default: those with a run that failed.
    """
    if not plan.study.stages:
        return None
    runs = read(plan) if runs is None else runs
    order = plan.study.seed_list()
    if lost is None:
        lost = {run.variant for run in plan.runs if run.state == "failed"}
    done: dict[str, set[int]] = {variant.name: set() for variant in plan.variants}
    for run in runs:
        if run.result is not None:
            done[run.planned.variant].add(run.planned.seed)
    counts = {name: first_runs(seeds, order) for name, seeds in done.items()}
    usable = [run for run in runs if run.result is not None]
    if counts["baseline"] < plan.study.stages[0]:
        evidence = decisions.Evidence(None, rows={v.name: v.sources for v in plan.variants})
    else:
        evidence = evidence_of(plan, usable, plan.store.find("result", plan.base.key))
    return decisions.course(plan.study, evidence, counts, lost)


def marked(plan: Plan, course: Course | None) -> Plan:
    """Return the plan with the runs marked that no look needs."""
    if course is None:
        return plan
    order = plan.study.seed_list()

    def state(run: PlannedRun) -> PlannedRun:
        over = order.index(run.seed) >= max(course.runs.get(run.variant, 0), course.needed.get(run.variant, 0))
        ended = run.variant not in course.needed and (not course.needed or course.looks > 0)
        return replace(run, state="not needed") if over and ended and run.state != "failed" else run

    return replace(plan, runs=[state(run) for run in plan.runs])


def wanted(plan: Plan, course: Course | None) -> list[PlannedRun]:
    """Return the runs that the next look needs and that are not done; all such runs without stages."""
    order = plan.study.seed_list()
    return [
        run
        for run in plan.runs
        if run.state not in ("done", "not needed")
        and (course is None or order.index(run.seed) < course.needed.get(run.variant, 0))
    ]


def due(plan: Plan, course: Course | None) -> list[PlannedRun] | None:
    """Return the runs that the looks so far need, and those that failed; None without a look, when all are due."""
    if course is None or not course.looks:
        return None
    order = plan.study.seed_list()
    return [
        run for run in plan.runs if run.state == "failed" or order.index(run.seed) < course.runs.get(run.variant, 0)
    ]


def seen(plan: Plan, course: Course | None, runs: Sequence[Run]) -> list[Run]:
    """Return the runs with a result that verdicts are made from."""
    order = plan.study.seed_list()
    return [
        run
        for run in runs
        if run.result is not None
        and (course is None or order.index(run.planned.seed) < course.runs.get(run.planned.variant, 0))
    ]
