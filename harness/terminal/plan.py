"""Prints a plan: a table of its variants, and its facts line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import formats
from harness.data.layouts import listed
from harness.forecast.remarks import remarks
from harness.terminal import tables

if TYPE_CHECKING:
    from rich.console import Console

    from harness.engines.placement import Packed
    from harness.forecast import Forecast
    from harness.spec import Study
    from harness.study.plan import Plan

Columns = list[tuple[str, str]]


def show(plan: Plan, expected: Forecast, out: Console) -> None:
    """Print the plan."""
    study = plan.study
    out.print(f"[bold]{tables.markup(study.study)}[/bold] · {tables.markup(study.question)}\n")
    columns, rows = variants(plan)
    out.print(tables.table([(tables.markup(heading), side) for heading, side in columns], rows))
    out.print()
    out.print(tables.table([("", "left"), ("", "left")], facts(plan, expected)))


def variants(plan: Plan) -> tuple[Columns, list[list[str]]]:
    """Return headings with their justification, and a line for every variant."""
    sources = sorted({name for v in plan.variants for name in v.sources}, key=list(plan.study.sources).index)
    rows = []
    for v in plan.variants:
        uneven = len({o.data["rows"] for o in v.outputs.values()}) > 1
        cells = [v.name, formats.rows(v.rows, uneven)]
        cells += [formats.rows(v.sources.get(s), uneven) for s in sources]
        cells += [formats.tokens(v.tokens, uneven), v.tests or "-", _states(plan, v.name)]
        rows.append(cells)
    columns = [("Variant", "left"), ("Rows", "right"), *((s, "right") for s in sources)]
    return [*columns, ("Tokens", "right"), ("Tests", "left"), ("Runs", "left")], rows


def facts(plan: Plan, expected: Forecast) -> list[tuple[str, str]]:
    """Return the facts of a plan: a heading and a sentence each."""
    study = plan.study
    matched = {
        "steps": f"every arm trains {study.recipe.steps} steps of {study.recipe.batch} rows",
        "rows": "dropped rows are refilled from the rest of the pool; every arm trains the same number of epochs",
        "tokens": "every arm holds as many tokens as it asks for and trains the same number of epochs",
        "additive": "an arm without a source is smaller and trains fewer steps",
    }[study.match]
    found = [
        *_read(plan),
        *remarks(plan),
        ("Match", f"{study.match}: {matched}"),
        ("Decontamination", expected.contamination.text),
        ("Paraphrases", expected.contamination.paraphrases),
        *_stages(study),
        ("Power", expected.power.text),
        ("Cost", expected.cost.text),
    ]
    if expected.metric:
        found.append(("Metric", f"{expected.metric}; {study.decide.metric} is declared, and decides"))
    if study.waive:
        found.append(("Waived", "; ".join(study.waive)))
    if idle := expected.unchanged:
        found.append(("Unchanged", f"{', '.join(idle)}: the operations drop no row, so this is the baseline once more"))
    if expected.unused:
        found.append(("Unused", f"no variant draws from {', '.join(expected.unused)}"))
    return found


def show_packing(packed: list[Packed], makespan: float, out: Console) -> None:
    """Print a line per machine: its slots, their jobs, and when they would be done."""
    rows = []
    for name in dict.fromkeys(slot.node for slot in packed):
        own = [slot for slot in packed if slot.node == name]
        used = [slot for slot in own if slot.jobs]
        longest = max(slot.seconds for slot in own)
        rows.append(
            [
                name, own[0].hardware, f"{len(used)} of {len(own)}", str(sum(len(slot.jobs) for slot in own)),
                formats.duration(longest),
            ]
        )  # fmt: skip
    columns = [("Node", "left"), ("Hardware", "left"), ("Slots used", "right"), ("Runs", "right"), ("Busy", "right")]
    out.print()
    out.print(tables.table(columns, rows))
    kinds = len({slot.hardware for slot in packed})
    placed = "; the runs of a seed stay on one kind of hardware, taken to be equally fast" if kinds > 1 else ""
    out.print(f"\nDone after about {formats.duration(makespan)}, the start of workers included{placed}")


def _read(plan: Plan) -> list[tuple[str, str]]:
    """Return a line for each source with columns that are not read, or with columns that the harness recognized."""
    lines = []
    for output in plan.outputs:
        name, fields = output.step.name, output.data.get("fields")
        if output.step.kind != "source" or not fields:
            continue
        left_out = output.data["left_out"]
        told = plan.study.sources[name].fields.keys() >= fields.keys()
        if told and not left_out:
            continue
        said = [] if told else [", ".join(f"{field} {template!r}" for field, template in fields.items())]
        said += [f"left out: {listed(left_out)}"] if left_out else []
        lines.append((f"Read {name}", "; ".join(said)))
    return lines


def _stages(study: Study) -> list[tuple[str, str]]:
    """Return a line about the stages of a study; none when it is looked at once."""
    if not study.stages:
        return []
    looks = " -> ".join(map(str, study.stages))
    return [("Stages", f"{looks} seeds: verdicts are valid at each, and arms end when their questions are settled")]


def _states(plan: Plan, variant: str) -> str:
    states = [run.state for run in plan.runs if run.variant == variant]
    return ", ".join(
        f"{states.count(state)} {state}"
        for state in ("done", "trained", "failed", "to do", "not needed")
        if state in states
    )
