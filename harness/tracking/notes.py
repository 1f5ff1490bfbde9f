"""The Markdown shown at the top of a run's page in MLflow."""

from __future__ import annotations

import re
from typing import Any

from harness.escaping import visible
from harness.records import ArmEffect, Decision, RunView, StudyView, TaskScore, VariantView
from harness.tracking.datasets import source_place


def study_note(view: StudyView) -> str:
    """Return the question, the trust line and the verdict table."""
    lines = [f"**{escaped(view.question)}**", ""]
    if view.hypothesis:
        lines += [f"Hypothesis: {escaped(view.hypothesis)}", ""]
    decisions = view.decisions
    if decisions is None:
        done = sum(run.state == "done" for run in view.runs)
        return "\n".join([*lines, f"No verdicts yet: {done} of {len(view.runs)} runs are done."])
    if view.comparison is not None and view.comparison.waivers:
        lines += [f"Waived: {escaped('; '.join(view.comparison.waivers))}", ""]
    lines += ["Trust: **ok**" if decisions.trusted else "Trust: **failed**"]
    lines += [f"- {'ok' if check.ok else 'FAILED'}: {escaped(check.text)}" for check in decisions.trust]
    lines += ["", "Verdicts are withheld: a control failed.", ""] if decisions.withheld else [""]
    lines += [f"| Subject | Verdict | Effect on {escaped(decisions.metric)} | Confirmation | Why |"]
    lines += ["|---|---|---|---|---|"]
    for decision in decisions.decisions:
        verdict = "withheld" if decisions.withheld else decision.verdict
        why = decision.reason + (f" To settle it: {decision.resolve}" if decision.resolve else "")
        cells = [decision.subject, f"**{verdict}**", _interval(decision.effect, decision.ci)]
        lines.append("| " + " | ".join(map(escaped, [*cells, _signed(decision.confirmation), why])) + " |")
    for said in (decisions.stages_in_words(), decisions.next, decisions.advice):
        lines += ["", escaped(said)] if said else []
    return "\n".join(lines)


def variant_note(view: StudyView, variant: VariantView, decision: Decision | None) -> str:
    """Return the variant's content, its effect on the declared metric and its verdict."""
    made = ", ".join(f"{rows} {source}" for source, rows in variant.sources.items())
    operations = f", then {', '.join(variant.operations)}" if variant.operations else ""
    lines = ["A control: its effect must come out null.", ""] if variant.control else []
    if decision is not None and view.decisions is not None:
        verdict = "verdict withheld" if view.decisions.withheld else f"**{decision.verdict}**"
        lines += [f"{escaped(decision.subject)}: {verdict} - {escaped(decision.reason)}", ""]
    comparison = view.comparison
    arm = next((a for a in comparison.arms if a.variant == variant.name), None) if comparison else None
    if comparison is not None and arm is not None:
        lines += [_effect(arm, comparison.metric, comparison.baseline), ""]
    lines += [f"{variant.rows} rows ({made}){escaped(operations)}.", ""]
    lines += [_source(name, view.resolved.get("sources", {}).get(name, {})) for name in variant.sources]
    return "\n".join(lines)


def run_note(view: StudyView, variant: VariantView, run: RunView) -> str:
    """Return the run's training set and its scores, or why it failed."""
    rows = run.rows or variant.rows
    lines = [f"{escaped(variant.name)}, seed {run.seed} of study {escaped(view.study)}: {rows} rows."]
    if run.failure:
        lines += ["", f"Failed: {escaped(run.failure)}"]
    return "\n".join([*lines, *_scores(run.scores)])


def base_note(view: StudyView) -> str:
    """Return the base model's scores before any training."""
    return "\n".join(["The base model, untrained.", *_scores(view.base)])


def _source(name: str, source: dict[str, Any]) -> str:
    """Return a line of a list with the origin of a source's rows, and a link if there is a page."""
    place = escaped(source_place(source))
    page = f"[{place.split('/tree/')[0].partition('datasets/')[2]}]({place})" if place.startswith("https://") else place
    terms = [escaped(str(source[field])) for field in ("license", "origin") if source.get(field)]
    return f"- {escaped(name)}: {', '.join([page or 'unknown', *terms])}"


def _scores(scores: list[TaskScore]) -> list[str]:
    lines = []
    for score in scores:
        name, majority = score.primary, score.majority
        same = f" (always the commonest answer: {majority:.3f})" if majority is not None else ""
        if name in score.metrics:
            metric = escaped(f"{score.task}/{name}")
            lines += ["", f"{metric}: {score.metrics[name]:.3f} on {score.items} items{same}"]
    return lines


def _effect(arm: ArmEffect, metric: str, baseline: str) -> str:
    note = f" {arm.note}" if arm.note else ""
    return escaped(
        f"Effect on {metric} against {baseline}: {_interval(arm.effect, arm.ci)}, "
        f"{arm.seeds} seeds x {arm.items} items; confirmation {_signed(arm.effect_confirmation)}.{note}"
    )


def _interval(effect: float | None, ci: tuple[float | None, float | None]) -> str:
    if effect is None or ci[0] is None or ci[1] is None:
        return _signed(effect)
    return f"{_signed(effect)} [{_signed(ci[0])}, {_signed(ci[1])}]"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def escaped(text: str) -> str:
    """Return text that cannot end a table cell, start HTML, or load an image; invisible characters are spelled out."""
    shown = visible(" ".join(text.split())).replace("\\", "\\\\").replace("<", "&lt;")
    return re.sub(r"([|\[\]])", r"\\\1", shown)
