"""``harness data``: look at rows the way the model will see them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.arguments import DEFAULT_STORE, AsJson, StoreFolder, open_plan, print_json

if TYPE_CHECKING:
    from harness.build import PlannedVariant
    from harness.plan import Plan

app = typer.Typer(no_args_is_help=True, help="Look at the data of a study.")


@app.command("show")
def show(
    target: Annotated[
        str, typer.Argument(metavar="STUDY:VARIANT", help="such as experiments/quickstart.yaml:verified")
    ],
    store: StoreFolder = DEFAULT_STORE,
    json: AsJson = False,
    number: Annotated[int, typer.Option("-n", min=1, help="rows to show")] = 10,
    seed: Annotated[int | None, typer.Option("--seed", help="which seed's draw (default: the first)")] = None,
    source: Annotated[str | None, typer.Option("--source", help="only rows of this source")] = None,
    dropped_by: Annotated[str | None, typer.Option("--dropped-by", help="rows this operation dropped, and why")] = None,
) -> None:
    """Print training rows with the part the loss counts marked, or the rows that were dropped and why."""
    from harness.errors import RequestError, did_you_mean

    file, _, name = target.rpartition(":")
    if not file:
        raise RequestError(f"{target}: expected STUDY:VARIANT, such as experiments/quickstart.yaml:baseline")
    made = open_plan(Path(file), store)
    variant = next((v for v in made.variants if v.name == name), None)
    if variant is None:
        raise RequestError(f'{file} has no variant "{name}".{did_you_mean(name, (v.name for v in made.variants))}')
    chosen = seed if seed is not None else made.study.seed_list()[0]
    if chosen not in variant.outputs:
        raise RequestError(f"--seed: {chosen} is not a seed of the study ({', '.join(map(str, variant.outputs))})")
    if source is not None and source not in variant.sources:
        raise RequestError(f'--source: {name} has no rows of "{source}".{did_you_mean(source, variant.sources)}')
    rows = _dropped(made, variant, chosen, dropped_by, source) if dropped_by else _kept(made, variant, chosen, source)
    if json:
        print_json(rows[:number])
        return
    from harness.cli import tables

    out = tables.console()
    for row in rows[:number]:
        head = " · ".join((row["row_id"], row["source"], row["place"] or ""))
        out.print(f"[dim]{tables.markup(head)}[/dim]")
        if dropped_by:
            out.print(f"  dropped by {tables.markup(row['operation'])}: {tables.markup(row['reason'])}\n")
        else:
            context, learned = tables.markup(row["context"]), tables.markup(row["learned"])
            out.print(f"{context}[bold green]{learned}[/bold green]\n", soft_wrap=True)
    what = f"rows dropped by {dropped_by}" if dropped_by else "rows; the loss counts the green part"
    print(f"{min(number, len(rows))} of {len(rows)} {what}")


def _kept(made: Plan, variant: PlannedVariant, seed: int, source: str | None) -> list[dict[str, Any]]:
    import json

    from harness.errors import StepError
    from harness.tokens import IGNORED, RowEncoder

    if made.model.folder is None:
        raise StepError(
            f"{made.model.name} is not ready yet, so rows cannot be shown as it sees them: harness doctor --prepare"
        )
    recipe = made.study.recipe
    encoder = RowEncoder(made.model.folder, chat_template=recipe.chat_template, max_length=recipe.max_length)
    shown = []
    for row in variant.outputs[seed].table("rows").iter_rows(named=True):
        if source is not None and row["source"] != source:
            continue
        encoded = encoder.encode(row)
        start = next((i for i, label in enumerate(encoded.labels) if label != IGNORED), len(encoded.labels))
        shown.append(
            {
                "row_id": row["row_id"],
                "source": row["source"],
                "place": json.loads(row["meta"]).get("place") if row["meta"] else None,
                "tokens": len(encoded.input_ids),
                "context": encoder.text(encoded.input_ids[:start]),
                "learned": encoder.text(encoded.input_ids[start:]),
            }
        )
    return shown


def _dropped(
    made: Plan, variant: PlannedVariant, seed: int, operation: str, source: str | None
) -> list[dict[str, Any]]:
    from harness.errors import RequestError, did_you_mean

    ledgers = [variant.outputs[seed].table("drops")]
    for output in made.outputs:
        if output.step.kind in ("source", "pool") and output.step.name in variant.sources:
            ledgers.append(output.table("drops"))
    rows = [row for ledger in ledgers for row in ledger.iter_rows(named=True)]
    names = {row["operation"].split("(")[0] for row in rows}
    if operation not in names:
        raise RequestError(
            f'--dropped-by: no row of {variant.name} was dropped by "{operation}".{did_you_mean(operation, names)}'
        )
    return [r for r in rows if r["operation"].split("(")[0] == operation and source in (None, r["source"])]
