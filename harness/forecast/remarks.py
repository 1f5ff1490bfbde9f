"""Remarks on the data that will be trained on: rows left out, answers cut, turns without an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.fitting import positions
from harness.spec import OBJECTIVES

if TYPE_CHECKING:
    from harness.study.plan import Plan

LEFT_OUT = {  # operation of the ledger -> why it drops a row, in words
    "read": "cannot be read",
    "encode": "cannot be trained on",
    "cut": "teach nothing, since they are cut before their answer begins",
}


def left_out(plan: Plan) -> dict[str, dict[str, int]]:
    """Return source -> operation -> rows that no variant can be trained on, for the sources in use."""
    found = {}
    for output in plan.outputs:
        if output.step.kind == "source" and output.step.name in plan.pools:
            lost = output.data.get("lost", {})
            if rows := {name: int(lost[name]) for name in LEFT_OUT if lost.get(name)}:
                found[output.step.name] = rows
    return found


def remarks(plan: Plan) -> list[tuple[str, str]]:
    """Return remarks on the rows, a heading and a text each; empty when there is nothing to remark."""
    recipe = plan.study.recipe
    if plan.model.folder is None:
        why = f"{plan.model.name} is not on this machine yet, so its tokens are not counted"
        return [("Rows", f"{why}, nor is it known which rows it can be trained on (harness doctor --prepare)")]
    found = []
    read = {o.step.name: o.data["rows"] + o.data["dropped"] for o in plan.outputs if o.step.kind == "source"}
    for source, lost in left_out(plan).items():
        for operation, rows in lost.items():
            limit = f" at recipe.max_length, {recipe.max_length:,} tokens" if operation == "cut" else ""
            shown = f"harness data show {plan.loaded.file.name}:baseline --dropped-by {operation}"
            found.append(f"{rows:,} of {read[source]:,} rows of {source} {LEFT_OUT[operation]}{limit} ({shown})")
    parts = [("Left out", "; ".join(found))] if found else []
    cut = {variant.name: variant.cut for variant in plan.variants if variant.cut}
    if cut:
        shares = ", ".join(f"{share:.0%} of the rows of {name}" for name, share in cut.items())
        parts.append(
            ("Cut", f"{shares} lose the end of their answer at recipe.max_length, {recipe.max_length:,} tokens")
        )
    if any(variant.ended for variant in plan.variants):
        parts.append(
            (
                "End",
                f"the chat template of {plan.study.model} ends no turn with a token at which the model stops: the one "
                "that ends a text is put behind the last turn, so that stopping is learned",
            )
        )
    most, longest = positions(plan.model.folder), max((variant.longest for variant in plan.variants), default=0)
    if most is not None and not OBJECTIVES[recipe.objective].paired and longest > most:
        parts.append(("Length", f"the longest row has {longest:,} tokens, the model was made for {most:,}"))
    return parts
