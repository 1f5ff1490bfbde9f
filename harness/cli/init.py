"""``harness init``: writes a first study from files of rows, ready for ``harness plan``."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import formats
from harness.cli.arguments import (
    DEFAULT_STORE,
    AsJson,
    StorePlace,
    note,
    open_store,
    prepared,
    print_json,
    shown_store,
)
from harness.terminal.working import working

if TYPE_CHECKING:
    from rich.console import Console

    from harness.scaffold import Machine, Written
    from harness.store import Store

MODEL = "smollm2-135m-instruct"
MINUTES = 25.0
FILES = "jsonl, json, csv, parquet (.gz, .zst), a folder, a 'glob*', or owner/name@commit"


def init(
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE...", help=FILES)] = None,
    example: Annotated[
        bool, typer.Option("--example", help="write the quickstart study instead, which makes its own rows")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="the study file to write (default: study.yaml, or quickstart.yaml)")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="the study's name (default: the file's)")] = None,
    model: Annotated[str, typer.Option("--model", help="embedded name, owner/name@commit, or a folder")] = MODEL,
    evaluation: Annotated[
        str | None, typer.Option("--eval", help="a file of rows to test on (default: some of yours are held out)")
    ] = None,
    suite: Annotated[Path | None, typer.Option("--suite", help="a suite file to test on instead")] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="with --suite: TASK/METRIC that decides, such as arc_easy/acc")
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option("--field", metavar="NAME=COLUMN", help="which column (or template) is prompt, completion, ..."),
    ] = None,
    minutes: Annotated[float, typer.Option("--minutes", min=1, help="how long the study may take here")] = MINUTES,
    force: Annotated[bool, typer.Option("--force", help="replace the study and its data if they are there")] = False,
    store: StorePlace = DEFAULT_STORE,
    json: AsJson = False,
) -> None:
    """Look at your data and write a first study, with comments: sources, arms, and a suite of held-out rows.

    Every FILE becomes a source. Nothing is trained, and your files are not changed.

    Without data at hand, [b]--example[/b] writes a study to try.
    """
    from harness.cli.data.targets import declared_fields
    from harness.errors import RequestError
    from harness.scaffold import Asked, first_study
    from harness.terminal import tables

    if example:
        given = {
            "FILE": files, "--name": name, "--eval": evaluation, "--suite": suite, "--metric": metric, "--field": field,
            "--model": model != MODEL, "--minutes": minutes != MINUTES,
        }  # fmt: skip
        if superfluous := [word for word, value in given.items() if value]:
            raise RequestError(
                f"harness init: --example writes the quickstart study as it is; leave {superfluous[0]} out"
            )
        _example(out or Path("quickstart.yaml"), force, store, json)
        return
    if not files:
        raise RequestError(
            f"harness init: FILE... is missing ({FILES}). See harness init --help, or try --example, which needs none"
        )
    out = out or Path("study.yaml")
    opened = open_store(store)
    asked = Asked(
        tuple(files), out, name, model, evaluation, suite, metric, declared_fields(field), minutes, force
    )  # fmt: skip
    with working("Reading") as tell:
        made = first_study(asked, opened, _machine(opened), tell, partial(prepared, store=opened))
    if json:
        print_json(_as_json(made))
        return
    shown = tables.console()
    with shown:  # written in one piece: a reader that closes the pipe early must not make the command fail
        _show(made, minutes, shown)
    with contextlib.suppress(BrokenPipeError):
        spend = f" --minutes {minutes:g}" if made.draft.size.seconds > 60 * minutes else ""
        note(f"\nNext: harness plan {out}{shown_store(store)}, then harness run {out}{spend}{shown_store(store)}")


def _example(out: Path, force: bool, store: str, json: bool) -> None:
    """Write the quickstart study and print what to do with it."""
    from harness import models
    from harness.errors import RequestError
    from harness.scaffold import write_example

    opened = open_store(store)
    written = write_example(out, force=force)
    needed = ""
    try:
        models.resolve(MODEL, out.absolute().parent, opened)
    except RequestError as error:
        needed = str(error)
    if json:
        print_json({"study": "quickstart", "files": [str(path) for path in written], "needed": needed or None})
        return
    with contextlib.suppress(BrokenPipeError):
        print(
            "Half the answers in a scraped pool are wrong. Is it better to verify them, or to pay for clean rows?\n"
            "18 short runs answer that: about 9 minutes on two cores. Rows and test items are made, none are needed.\n"
            f"Written     {', '.join(str(path) for path in written)}"
        )
        if needed:
            note(f"\nFirst: {needed}")
        note(f"\nNext: harness plan {out}{shown_store(store)}, then harness run {out}{shown_store(store)}")


def _machine(store: Store) -> Machine:
    """Return the speed of this machine: measured by runs in the store, else assumed."""
    import statistics

    from harness.engines.slots import find_slots
    from harness.forecast.cost import ASSUMED_EVAL_TOKENS_PER_SECOND, ASSUMED_TOKENS_PER_SECOND, START_SECONDS
    from harness.scaffold import Machine

    slots = find_slots()
    rates = [
        float(artifact.record.data["tokens_per_second"])
        for artifact in store.artifacts("adapter")
        if str(artifact.record.provenance.get("device", "cpu")).split(":")[0] == slots.device
    ]
    training = statistics.median(rates) if rates else ASSUMED_TOKENS_PER_SECOND[slots.device]
    evaluating = ASSUMED_EVAL_TOKENS_PER_SECOND[slots.device]
    return Machine(slots.workers, training, evaluating, bool(rates), START_SECONDS, slots.device)


def _as_json(made: Written) -> dict[str, Any]:
    draft = made.draft
    held = draft.held
    return {
        "study": draft.study,
        "files": [str(path) for path in made.files],
        "sources": {
            pool.name: {
                "rows": pool.rows.height,
                "unusable": len(pool.unusable),
                "left_out": pool.mapping.left_out,
                "objective": pool.objective.name,
                "fields": pool.source.fields,
                "languages": pool.languages,
                "findings": pool.findings,
            }
            for pool in draft.pools
        },
        "suite": {"items": held.items, "kind": held.kind} if held else {"file": draft.suite},
        "metric": draft.metric,
        "baseline": draft.size.mix,
        "arms": list(draft.filters),
        "left_out": list(draft.size.left_out),
        "fractions": list(draft.size.fractions),
        "seeds": draft.size.seeds,
        "steps": draft.size.steps,
        "runs": draft.size.runs,
        "first_look_seconds": round(draft.size.first),
        "seconds": round(draft.size.seconds),
    }


FEW_CLUSTERS = 0.5  # clusters per item: with fewer it is said what they do


def _sees(made: Written) -> str:
    """Return in words which effects the study can detect, as ``harness plan`` computes it before anything has run."""
    from harness.forecast.power import RIGHT_OR_WRONG, assumed, known_after, power
    from harness.scaffold.size import FIRST

    draft = made.draft
    assert draft.held is not None
    if draft.held.metric not in RIGHT_OR_WRONG:
        return known_after((FIRST,), draft.size.seeds, draft.metric, draft.size.first / FIRST)
    deciding = round(0.7 * len(draft.held.docs))
    arms = draft.size.runs // draft.size.seeds
    questions = len(draft.size.left_out) + bool(draft.size.fractions) + len(draft.filters)
    clusters, size = draft.held.clusters()
    found = power(
        assumed(size), seeds=draft.size.seeds, items=deciding, clusters=round(0.7 * clusters), cluster_size=size,
        arms=arms, comparisons=max(1, questions), smallest_effect=0.05,
    )  # fmt: skip
    least = found.minimum_effect
    if clusters < FEW_CLUSTERS * len(draft.held.docs):
        seen = "hardly any effect" if least is None or least > 0.5 else f"effects of about {least:.2f} or more"
        return (
            f"{seen}: the {len(draft.held.docs)} items fall into {clusters} clusters of like wording, which count as "
            "one item each; if they are independent all the same, write group: none below the task"
        )
    if least is None or least > 0.5:
        return f"next to nothing: {deciding} items decide, which are too few; hold out more with --eval FILE"
    return f"effects of about {least:.2f} or more, four times in five; more seeds and items see smaller ones"


def _show(made: Written, minutes: float, out: Console) -> None:
    """Print what was found, what was assumed, and what to check."""
    from harness.scaffold.heldout import WORDS
    from harness.scaffold.size import FIRST
    from harness.terminal import tables

    draft = made.draft
    rows = []
    for pool in draft.pools:
        languages = ", ".join(code for code, share in pool.languages.items() if share >= 0.05)
        taken = draft.held.items.get(pool.name, 0) if draft.held else 0
        mixed = draft.size.mix.get(pool.name, 0)
        counts = (pool.rows.height, taken, draft.available[pool.name], mixed)
        rows.append([pool.name, *(f"{count:,}" for count in counts), pool.objective.name, languages or "-"])
    columns = [
        ("Source", "left"), ("Rows", "right"), ("Held out", "right"), ("To train on", "right"),
        ("In the baseline", "right"), ("Objective", "left"), ("Language", "left"),
    ]  # fmt: skip
    out.print(tables.table(columns, rows))
    out.print()
    for pool in draft.pools:
        for finding in pool.findings:
            out.print(tables.markup(f"{pool.name}: {finding}"))
    size, machine = draft.size, draft.machine
    if draft.held:
        number = sum(draft.held.items.values())
        out.print(f"\nTested on   {formats.plural(number, 'held-out row')} of yours. {WORDS[draft.held.kind]}")
    else:
        out.print(tables.markup(f"\nTested on   {draft.suite}; {draft.metric} decides"))
    arms = [f"{', '.join(size.left_out)} left out in turn"] if size.left_out else []
    arms += [f"{' and '.join(f'{f:.0%}' for f in size.fractions)} of the rows"] if size.fractions else []
    arms += list(draft.filters)
    out.print(tables.markup(f"Compared    {'; '.join(arms) or 'nothing yet: add arms'}; against the baseline"))
    speed = "measured here" if machine.measured else "assumed until measured"
    each = f"{FIRST} to {size.seeds} seeds of every arm, {size.steps} steps each"
    runs, workers = formats.plural(size.runs, "run"), formats.plural(machine.workers, "worker")
    first, most = formats.duration(size.first), formats.duration(size.seconds)
    out.print(
        f"Takes       about {first} to the first look, {most} at most: arms whose questions are settled end early"
    )
    out.print(f"            {runs} at most ({each}) on {workers} ({machine.device}; speed {speed})")
    if size.first > 66 * minutes:
        out.print(f"            more than the {minutes:g} min asked for: already the smallest study that says anything")
    elif size.seconds > 66 * minutes:
        out.print(f"            run --minutes {minutes:g} stops after the first look; run again goes on")
    if draft.held:
        out.print(f"Sees        {_sees(made)}")
    out.print(tables.markup(f"Written     {', '.join(str(path) for path in made.files)}"))
    check = ["the fields of every source"]
    check += ["ten of the held-out items"] if draft.held else []
    check += ["smallest_effect: the gain that would matter to you"]
    out.print(f"Check       {', '.join(check)}")
