"""Checks that a study is judged by the rule that was registered before its arms had results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.answer.view import Run
from harness.decisions.evidence import is_control
from harness.store.record import Record
from harness.study.plan import Plan


def changed(plan: Plan, usable: Sequence[Run]) -> str:
    """Return in words how the rule differs from the registered one; empty when it does not.

    The registered rule is that of the first study record, of any name, that refers to a result of an arm which is
    judged here. A rule that was recorded before any such result is a registered one too. Runs of the baseline and of
    controls do not count: other studies may share them.

    Args:
        plan: The study that is judged.
        usable: Runs that have a result.
    """
    results = {
        run.planned.key: run.result.record.created
        for run in usable
        if run.result is not None and _is_arm(run.planned.variant)
    }
    if not results:
        return ""
    own = plan.store.find("study", plan.study_step.key)
    if own is not None and own.record.created <= min(results.values()):
        return ""
    standing = [
        artifact.record
        for artifact in plan.store.artifacts("study")
        if artifact.record.key != plan.study_step.key and _arms(artifact.record) & set(results)
    ]
    first = min(standing, key=lambda record: record.created, default=None)
    rule = plan.study.rule()
    if first is None or first.data["rule"] == rule:
        return ""
    differences = ", ".join(
        f"{field} {_in(first.data['rule'], field, 'was')} and {_in(rule, field, 'is')}"
        for field in dict.fromkeys((*rule, *first.data["rule"]))
        if first.data["rule"].get(field) != rule.get(field)
    )
    return (
        f"the rule was changed after results existed: registered {first.created[:16].replace('T', ' ')}, {differences}"
    )


def _arms(record: Record) -> set[str]:
    """Return the keys of the runs of arms that a study's record refers to."""
    runs = ((role.split("/")[1], key) for role, key in record.inputs.items() if role.startswith("runs/"))
    return {key for variant, key in runs if _is_arm(variant)}


def _is_arm(variant: str) -> bool:
    return variant != "baseline" and not is_control(variant)


def _in(rule: dict[str, Any], field: str, verb: str) -> str:
    """Return the value of a field in words; not every rule has every field."""
    return f"{verb} {_shown(rule[field])}" if field in rule else f"{verb} not in the rule"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
