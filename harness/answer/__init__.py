"""Makes the comparison and decisions of a study from its results in the store. Writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness import decisions
from harness.answer.comparing import compare, evidence_of
from harness.answer.stages import course_of, due, marked, seen, wanted
from harness.answer.view import Run, metrics, read, score_table, scores_of, task_scores
from harness.decisions.mixtures import MixturePrediction, predicted_mixtures
from harness.records import Allocation, Decisions, RunView, StudyView, Unit, VariantView
from harness.statistics.paired import noise
from harness.store import Artifact
from harness.study.plan import Plan, State

__all__ = [
    "allocation", "complete", "course_of", "decided", "marked", "measured_noise", "metrics", "predicted", "progress",
    "score_table", "view", "wanted",
]  # fmt: skip

STATES: tuple[State, ...] = ("trained", "failed", "to do", "not needed")  # in the order in which they are told


def complete(plan: Plan) -> bool:
    """Return whether every run that the study needs is done."""
    return all(run.state in ("done", "not needed") for run in plan.runs)


def progress(plan: Plan) -> str:
    """Return in words how many runs are done."""
    states = Counter(run.state for run in plan.runs)
    rest = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    return f"{states['done']} of {len(plan.runs)} runs are done" + (f" ({rest})" if rest else "")


def view(plan: Plan, judged: bool = True) -> StudyView:
    """Return the view of a study that tables, MLflow and reports are made from.

    The comparison and the decisions are None when there is no result, or when ``judged`` is false.

    Raises:
        RequestError: When the suite's results do not have the declared metric.
        StepError: When an item of a result has no score on the declared metric.
    """
    plan, runs, usable, evidence = _judged(plan) if judged else (plan, read(plan), [], None)
    base = plan.store.find("result", plan.base.key)
    comparison, judgement = None, None
    if evidence is not None:
        judgement = decisions.decide(plan.study, evidence)
        comparison = compare(plan, usable, base, evidence)
        if comparison is not None:
            comparison.slices = judgement.slices
    study = plan.store.find("study", plan.study_step.key)
    tokens = {o.step.key: int(o.data["tokens"]) for o in plan.outputs if o.step.kind == "tokens"}
    return StudyView(
        study=plan.study.study,
        key=plan.study_step.key,
        created=study.record.created if study else "",
        question=plan.study.question,
        hypothesis=plan.study.hypothesis,
        resolved=plan.study.identity(),
        suite=plan.study.suite.suite,
        suite_digest=plan.suite.digest,
        suite_folder=str(plan.suite.stored.folder) if plan.suite.stored else "",  # not planned yet
        suite_items=plan.suite.data["items"],
        folders=_folders(plan, base),
        variants=_variants(plan),
        runs=[_run_view(plan, run, tokens) for run in runs],
        base=task_scores(base),
        comparison=comparison,
        decisions=judgement,
    )


def allocation(plan: Plan, budget: float, unit: Unit, supply: Mapping[str, int] | None = None) -> Allocation | None:
    """Return what to buy with a budget, by the results in the store; None when there are none.

    Args:
        plan: The study.
        budget: The budget.
        unit: What it counts.
        supply: Source -> rows that can be had; default: those that its pool has left.

    Raises:
        RequestError: As ``view``, or the study cannot be asked about such a budget.
        StepError: As ``view``.
    """
    plan, _, _, evidence = _judged(plan)
    if evidence is None:
        return None
    found = decisions.buy(plan.study, evidence, decisions.decide(plan.study, evidence), budget, unit, supply)
    return found.model_copy(update={"complete": complete(plan), "progress": progress(plan)})


def decided(plan: Plan) -> Decisions | None:
    """Return the decisions of a study where they are due: after a look if it has stages, else when every run is done.

    Raises:
        RequestError: As ``view``.
        StepError: As ``view``.
    """
    if not plan.study.stages and not complete(plan):
        return None
    plan, _, _, evidence = _judged(plan)
    return None if evidence is None else decisions.decide(plan.study, evidence)


def predicted(plan: Plan) -> tuple[MixturePrediction | None, str]:
    """Return what the study's design of mixtures proposes by the results in the store, and why verdicts are withheld.

    Raises:
        RequestError: As ``view``.
        StepError: As ``view``.
    """
    plan, _, _, evidence = _judged(plan)
    if evidence is None:
        return None, ""
    found = predicted_mixtures(plan.study, evidence.rows, evidence.selection)
    return found[0] if found else None, decisions.decide(plan.study, evidence).why_withheld()


def _judged(plan: Plan) -> tuple[Plan, list[Run], list[Run], decisions.Evidence | None]:
    """Return a plan with its runs marked, all runs, those that a look sees, and their evidence; None without any."""
    runs = read(plan)
    course = course_of(plan, runs)
    plan = marked(plan, course)
    runs = [replace(run, planned=planned) for run, planned in zip(runs, plan.runs, strict=True)]
    usable = seen(plan, course, runs)
    if not usable:
        return plan, runs, [], None
    evidence = evidence_of(plan, usable, plan.store.find("result", plan.base.key), due(plan, course))
    if course is not None:
        evidence = replace(evidence, states=course.states, seen=course.seen)
    return plan, runs, usable, evidence


def measured_noise(plan: Plan) -> dict[str, float | None]:
    """Return the seed and item noise of a finished study's contrasts."""
    runs = read(plan)
    scores = scores_of(plan, runs, plan.study.decide.metric, "selection")
    return noise(scores, "baseline") if scores is not None else {}


def _folders(plan: Plan, base: Artifact | None) -> dict[str, str]:
    found = {"base": base} if base else {}
    for output in plan.outputs:
        if output.step.kind in ("source", "pool") and output.stored is not None:
            found[f"{output.step.kind}s/{output.step.name}"] = output.stored
    return {name: str(artifact.folder) for name, artifact in found.items()}


def _variants(plan: Plan) -> list[VariantView]:
    from harness.data.operations import label

    return [
        VariantView(
            name=v.name,
            key=v.key,
            tests=v.tests,
            control=v.control,
            rows=round(v.rows),
            tokens=None if v.tokens is None else round(v.tokens),
            sources={name: round(n) for name, n in v.sources.items()},
            operations=[label(operation) for operation in v.spec.operations],
            digests={seed: output.data["content_digest"] for seed, output in v.outputs.items()},
            variant=v.spec.identity(),
        )
        for v in plan.variants
    ]


def _run_view(plan: Plan, run: Run, tokens: dict[str, int]) -> RunView:
    planned = run.planned
    folders = {}
    for name, artifact in (
        ("adapter", run.adapter),
        ("result", run.result),
        ("variant", planned.rows.stored),
    ):
        if artifact is not None:
            folders[name] = str(artifact.folder)
    training = dict(run.adapter.record.data) if run.adapter else {}
    failure = plan.store.failure(planned.key) if planned.state == "failed" else None
    evaluation = {k: v for k, v in run.result.record.data.items() if k != "scores"} if run.result else {}
    return RunView(
        variant=planned.variant,
        seed=planned.seed,
        key=planned.key,
        state=planned.state,
        training=training,
        evaluation=evaluation,
        scores=task_scores(run.result),
        rows_digest=planned.rows.data["content_digest"],
        rows=planned.rows.data["rows"],
        tokens=tokens.get(planned.tokens.key),
        sources=planned.rows.data["sources"],
        folders=folders,
        provenance=_provenance(run),
        failure=f"{failure.stage}: {failure.message}" if failure else "",
        failed=failure.created if failure else "",
    )


def _provenance(run: Run) -> dict[str, Any]:
    return dict(run.adapter.record.provenance) | {"created": run.adapter.record.created} if run.adapter else {}
