"""``harness plan``: what will happen, before it costs anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.cli.arguments import (
    DEFAULT_STORE,
    Address,
    AsJson,
    Device,
    EngineName,
    StorePlace,
    StudyFile,
    Workers,
    open_engine,
    open_plan,
    open_store,
    print_json,
    with_model,
    write_data,
)

if TYPE_CHECKING:
    from harness.engines import Engine
    from harness.engines.placement import Packed
    from harness.forecast import Forecast
    from harness.plan import Plan


def plan(
    study: StudyFile,
    store: StorePlace = DEFAULT_STORE,
    json: AsJson = False,
    workers: Workers = None,
    device: Device = None,
    on: EngineName = "local",
    address: Address = None,
) -> None:
    """Show the variants, their rows and tokens, what is done and to do, the power and the cost of a study.

    Builds the datasets (they are needed anyway, and are kept), but trains and evaluates nothing.
    """
    from harness import forecast

    engine = open_engine(open_store(store), workers, device, on, address)
    made = open_plan(study, store, engine)
    if made.model.kind == "embedded":  # a model of the Hub is not downloaded for a plan: its tokens stay uncounted
        made = with_model(made, study, store, engine)
    write_data(made)
    slots = engine.slots
    expected = forecast.forecast(made, slots.workers, slots.device)
    packed = packing(made, engine)
    if json:
        print_json(as_json(made, expected) | {"engine": engine_json(engine, packed)})
        return
    show(made, expected)
    if on != "local":
        show_packing(packed)


def packing(made: Plan, engine: Engine) -> list[Packed]:
    """Return what each slot of an engine would do, and how long that takes."""
    from harness.engines.jobs import jobs_to_do
    from harness.engines.placement import pack
    from harness.forecast.cost import expected_seconds

    jobs = jobs_to_do(made)
    return pack(jobs, expected_seconds(made, engine.slots.device), engine.nodes, engine.slots.workers)


def engine_json(engine: Engine, packed: list[Packed]) -> dict[str, Any]:
    """Return the slots and what is packed onto them as the documented JSON."""
    from dataclasses import asdict

    return {
        "workers": engine.slots.workers,
        "threads": engine.slots.threads,
        "device": engine.slots.device,
        "nodes": [asdict(node) for node in engine.nodes],
        "slots": [asdict(slot) for slot in packed],
        "makespan": makespan(packed),
    }


def makespan(packed: list[Packed]) -> float:
    """Return the seconds until all is done, the start of the workers included."""
    from harness.forecast.cost import START_SECONDS

    longest = max((slot.seconds for slot in packed), default=0.0)
    return longest + START_SECONDS if longest else 0.0


def show_packing(packed: list[Packed]) -> None:
    """Print a line per machine: its slots, what is packed onto them, and when it would be done."""
    from harness.cli import tables

    out = tables.console()
    rows = []
    for name in dict.fromkeys(slot.node for slot in packed):
        own = [slot for slot in packed if slot.node == name]
        used = [slot for slot in own if slot.jobs]
        longest = max(slot.seconds for slot in own)
        rows.append(
            [
                name, own[0].hardware, f"{len(used)} of {len(own)}", str(sum(len(slot.jobs) for slot in own)),
                tables.duration(longest),
            ]
        )  # fmt: skip
    columns = [("Node", "left"), ("Hardware", "left"), ("Slots used", "right"), ("Runs", "right"), ("Busy", "right")]
    out.print()
    out.print(tables.table(columns, rows))
    kinds = len({slot.hardware for slot in packed})
    placed = "; the runs of a seed stay on one kind of hardware, taken to be equally fast" if kinds > 1 else ""
    out.print(f"\nDone after about {tables.duration(makespan(packed))}, the start of workers included{placed}")


def as_json(made: Plan, expected: Forecast) -> dict[str, Any]:
    """Return the plan as the documented JSON."""
    from harness.forecast.remarks import left_out, remarks

    return {
        "study": made.study.study,
        "question": made.study.question,
        "key": made.study_step.key,
        "variants": [
            {
                "name": v.name,
                "rows": round(v.rows),
                "tokens": None if v.tokens is None else round(v.tokens),
                "sources": {name: round(n) for name, n in v.sources.items()},
                "cut": None if v.tokens is None else v.cut,
                "key": v.key,
                "tests": v.tests,
                "control": v.control,
                "sampled": v.sampled,
            }
            for v in made.variants
        ],
        "runs": [{"variant": r.variant, "seed": r.seed, "key": r.key, "state": r.state} for r in made.runs],
        "sources": {o.step.name: o.data for o in made.outputs if o.step.kind == "source"},
        "suite": {
            "name": made.suite.step.name,
            "items": made.suite.data["items"],
            "digest": made.suite.digest,
        },
        "model": {
            "name": made.model.name,
            "digest": made.model.digest,
            "ready": made.model.folder is not None,
        },
        "decontamination": expected.contamination.as_json(),
        "power": expected.power.model_dump(mode="json"),
        "cost": expected.cost.as_json(),
        "match": made.study.match,
        "left_out": left_out(made),
        "remarks": [f"{name}: {text}" for name, text in remarks(made)],
        "unchanged": unchanged(made),
        "rule": made.study.decide.identity(),
        "resolved": made.study.identity(),
    }


def show(made: Plan, expected: Forecast) -> None:
    """Print the plan for people."""
    from harness.cli import tables
    from harness.forecast.remarks import remarks

    out = tables.console()
    study = made.study
    out.print(f"[bold]{tables.markup(study.study)}[/bold] · {tables.markup(study.question)}\n")
    sources = sorted({name for v in made.variants for name in v.sources}, key=list(study.sources).index)
    rows = []
    for v in made.variants:
        uneven = len({o.data["rows"] for o in v.outputs.values()}) > 1
        cells = [v.name, tables.count(v.rows, uneven)]
        cells += [tables.count(v.sources.get(s), uneven) for s in sources]
        cells += [tables.kilo(v.tokens, uneven), v.tests or "-", _states(made, v.name)]
        rows.append(cells)
    columns = [("Variant", "left"), ("Rows", "right"), *((tables.markup(s), "right") for s in sources)]
    columns += [("Tokens", "right"), ("Tests", "left"), ("Runs", "left")]
    out.print(tables.table(columns, rows))
    out.print()
    matched = {
        "steps": f"every arm trains {study.recipe.steps} steps of {study.recipe.batch} rows",
        "rows": "dropped rows are refilled from the rest of the pool; every arm trains the same number of epochs",
        "tokens": "every arm holds as many tokens as it asks for and trains the same number of epochs",
        "additive": "an arm without a source is smaller and trains fewer steps",
    }[study.match]
    facts = [
        *_read(made),
        ("Match", f"{study.match}: {matched}"),
        ("Decontamination", expected.contamination.text),
        ("Power", expected.power.text),
        ("Cost", expected.cost.text),
    ]
    facts[1:1] = remarks(made)
    if study.waive:
        facts.append(("Waived", "; ".join(study.waive)))
    if idle := unchanged(made):
        facts.append(("Unchanged", f"{', '.join(idle)}: the operations drop no row, so this is the baseline once more"))
    if expected.unused:
        facts.append(("Unused", f"no variant draws from {', '.join(expected.unused)}"))
    out.print(tables.table([("", "left"), ("", "left")], facts))


def _read(made: Plan) -> list[tuple[str, str]]:
    """Return a line for each source that left columns out or was not told what its columns are."""
    from harness.data.layouts import listed

    lines = []
    for output in made.outputs:
        name, fields = output.step.name, output.data.get("fields")
        if output.step.kind != "source" or not fields:
            continue
        left_out = output.data["left_out"]
        told = made.study.sources[name].fields.keys() >= fields.keys()
        if told and not left_out:
            continue
        said = [] if told else [", ".join(f"{field} {template!r}" for field, template in fields.items())]
        said += [f"left out: {listed(left_out)}"] if left_out else []
        lines.append((f"Read {name}", "; ".join(said)))
    return lines


def unchanged(made: Plan) -> list[str]:
    """Return the arms whose training sets are the baseline's at every seed."""
    sets = {v.name: [output.data["content_digest"] for output in v.outputs.values()] for v in made.variants}
    return [v.name for v in made.variants if v.name in made.study.arms and sets[v.name] == sets["baseline"]]


def _states(made: Plan, variant: str) -> str:
    states = [run.state for run in made.runs if run.variant == variant]
    return ", ".join(
        f"{states.count(state)} {state}" for state in ("done", "trained", "failed", "to do") if state in states
    )
