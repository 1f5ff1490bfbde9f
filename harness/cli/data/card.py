"""``harness data card``: the data card of a variant, or of a file of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, note, print_json
from harness.cli.data.targets import Columns, Fields, Opened, OpenedVariant, open_target
from harness.terminal.working import working

if TYPE_CHECKING:
    from harness.data.card import Card

UNCUT = 1_000_000_000  # tokens; a length that no row reaches


def card(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE|STUDY:VARIANT", help="rows.jsonl, or such as experiments/quickstart.yaml:verified"
        ),
    ],
    store: StorePlace = DEFAULT_STORE,
    json: AsJson = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="write the card as a page (.html) or as data (.json)")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="which seed's draw (default: the first); samples are drawn by it too")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="of a file: a model's folder, to count tokens with its tokenizer")
    ] = None,
    field: Fields = None,
    column: Columns = None,
    near: Annotated[bool, typer.Option("--near/--no-near", help="look for near-duplicates")] = True,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="look at variety of meaning, by sentence embeddings")
    ] = False,
    sample: Annotated[
        int, typer.Option("--sample", min=1, help="rows drawn for tokens, languages and n-grams")
    ] = 10_000,
) -> None:
    """Print the data card of a variant or a file: size, lengths, sources, duplicates, languages, variety, drops."""
    from harness.data.card import measure, render
    from harness.errors import RequestError

    if out is not None and (out.suffix not in (".html", ".json") or not out.absolute().parent.is_dir()):
        raise RequestError(f"--out: {out}: expected a file in an existing folder, ending in .html or .json")
    opened = open_target(target, store, seed, field, column)
    with working("Measuring") as show:
        given = _of_variant(opened, model) if isinstance(opened, OpenedVariant) else _of_file(opened, model)
        made = measure(
            Path(target).name, opened.rows, near=near, embeddings=embeddings, sample=sample, seed=seed or 0,
            progress=lambda stage: show(f"Measuring {stage}"), **given,
        )  # fmt: skip
    if out is not None:
        page = render(made) if out.suffix == ".html" else made.model_dump_json(indent=1) + "\n"
        scratch = out.with_name(f".{out.name}.partial")
        scratch.write_text(page, encoding="utf-8")
        scratch.replace(out)
    if json:
        print_json(made.model_dump(mode="json"))
    else:
        _print(made)
    if out is not None:
        note(f"Written: {out}")


def _of_file(opened: Opened, model: Path | None) -> dict[str, Any]:
    from harness.data.card import ledger
    from harness.tokens import RowEncoder

    path = Path(opened.name)
    facts = {
        "file": opened.name,
        "tokenizer": str(model or ""),
        "fields": ", ".join(f"{name}: {template!r}" for name, template in opened.fields.items()),
        "left out": ", ".join(opened.left_out),
    }
    return {
        "facts": {name: value for name, value in facts.items() if value},
        "encoder": RowEncoder(model, chat_template=False, max_length=UNCUT) if model else None,
        "ledger": ledger(opened.drops, read=opened.read, kept=opened.rows.height),
        "unmeasured": {
            "tokens": "no tokenizer was given (--model FOLDER)",
            "perplexity": "the rows carry no perplexity (--column perplexity, where the file has it)",
            "contamination": f"check it with harness data decontaminate --train {path.name} --eval ... --out ...",
            "embeddings": "not asked for (--embeddings)",
            "near": "left out (--no-near)",
        },
    }


def _of_variant(opened: OpenedVariant, model: Path | None) -> dict[str, Any]:
    import polars as pl

    from harness.data import operations
    from harness.data.card import contamination
    from harness.errors import RequestError
    from harness.tokens import RowEncoder

    if model is not None:
        raise RequestError("--model: is for files; rows of a study are counted in the tokens of its own model")
    made, variant, recipe = opened.plan, opened.variant, opened.plan.study.recipe
    pools = opened.account.pools
    own = variant.outputs[opened.seed]
    found = pl.concat([pool.table("overlaps") for pool in pools])
    facts = {
        "study": made.study.study,
        "variant": variant.name,
        "seed": str(opened.seed) if variant.sampled else "all seeds have these rows",
        "mix": ", ".join(f"{name} {share}" for name, share in (variant.spec.mix or {}).items()),
        "match": made.study.match,
        "operations": ", ".join(operations.label(one) for one in variant.spec.operations) or "none",
        "tests": variant.tests,
        "model": made.model.name,
        "suite": made.study.suite.suite,
        "digest": own.digest[:16],
    }
    folder = made.model.folder
    return {
        "facts": {name: value for name, value in facts.items() if value},
        "encoder": folder
        and RowEncoder(folder, chat_template=recipe.chat_template, max_length=UNCUT, date=recipe.date),
        "max_length": recipe.max_length,
        "perplexity": _perplexities(opened),
        "ledger": opened.account.ledger(),
        "contamination": contamination(
            made.study.suite.suite, made.suite.data["items"], sum(p.data["rows"] + p.data["removed"] for p in pools),
            found, opened.drops,
        ),
        "pool": pl.concat([pool.table("rows") for pool in pools]),
        "unmeasured": {
            "tokens": f"{made.model.name} is not ready yet (harness doctor --prepare)",
            "perplexity": "no operation asked for it, and the rows carry no column named perplexity",
            "embeddings": "not asked for (--embeddings)",
            "near": "left out (--no-near)",
        },
    }  # fmt: skip


def _perplexities(opened: OpenedVariant) -> Any:
    """Return the perplexity of every row if an operation has just measured it, else None."""
    import polars as pl

    tables = [one.table("perplexity") for one in opened.plan.outputs if one.step.kind == "perplexity"]
    if not tables:
        return None
    known = pl.concat(tables).unique("row_id", keep="first")
    return opened.rows.select("row_id").join(known, on="row_id", how="left", maintain_order="left")["perplexity"]


def _print(made: Card) -> None:
    """Print the card as a table: one line per measure."""
    from harness.formats import number
    from harness.terminal import tables

    out = tables.console()
    out.print(f"[bold]{tables.markup(made.name)}[/bold]", soft_wrap=True)
    for name, value in made.facts.items():
        out.print(f"[dim]{name}[/dim] {tables.markup(value)}", soft_wrap=True)
    out.print()
    out.print(tables.table((("Measure", "left"), ("", "left")), list(_lines(made))))
    lengths = []
    for one in made.lengths:
        points = (one.mean, one.minimum, one.p5, one.median, one.p95, one.maximum)
        lengths.append((f"{one.of} ({one.unit})", *map(number, points)))
    heads = [("Length", "left"), *((head, "right") for head in ("mean", "min", "5%", "median", "95%", "max"))]
    out.print()
    out.print(tables.table(heads, lengths))
    if made.ledger and made.ledger.drops:
        dropped = [
            (one.operation, f"{one.rows:,}", f"{one.reasons[0].rows:,} x {one.reasons[0].name}")
            for one in made.ledger.drops
        ]
        out.print()
        out.print(tables.table((("Dropped by", "left"), ("rows", "right"), ("most often because", "left")), dropped))
    for line in made.notes:
        out.print(f"[dim]{tables.markup(line)}[/dim]", soft_wrap=True)


def _lines(made: Card) -> Iterator[tuple[str, str]]:
    from harness.formats import percent

    def listed(shares: list[Any], most: int = 4) -> str:
        names = ["unknown" if one.name is None else one.name or "empty" for one in shares[:most]]
        shown = [f"{name} {percent(one.share)}" for name, one in zip(names, shares, strict=False)]
        return ", ".join(shown) + (", ..." if len(shares) > most else "")

    yield "Rows", f"{made.rows:,} ({', '.join(made.shapes)})"
    yield "Words, characters", f"{made.words:,}, {made.characters:,}"
    if made.tokens:
        learned = f"{made.tokens.total:,}, {percent(made.tokens.learned)} learned"
        cut = f"; {made.tokens.cut:,} rows cut at {made.tokens.limit:,}" if made.tokens.cut else ""
        yield "Tokens", ("" if made.tokens.exact else "about ") + learned + cut
    for one in made.shares:
        yield one.of.capitalize().replace("License", "Licence"), listed(one.top)
    for found in (made.exact, made.near):
        if found:
            name = "Exact repeats" if found.method == "exact" else "Near-duplicates"
            more = "at least " if found.at_least else ""
            yield name, f"{more}{found.repeats:,} rows ({percent(found.rate)}) in {found.groups:,} groups"
    if made.languages:
        yield "Languages", listed(made.languages.top)
    for label in made.labels:
        even = "" if label.evenness is None else f", evenness {label.evenness:.2f}"
        yield f"Labels: {label.of}", f"{label.distinct:,} different{even}: {listed(label.top)}"
    for values in made.numbers:
        yield values.of, f"median {values.median:.4g}, from {values.minimum:.4g} to {values.maximum:.4g}"
    if made.perplexity:
        seen = made.perplexity
        beyond = f"{seen.above:,} rows above {seen.high:.4g}, {seen.below:,} below {seen.low:.4g}"
        yield "Perplexity", f"median {seen.values.median:.4g}; {beyond}"
    if made.ngrams:
        it = made.ngrams
        distinct = ", ".join(percent(one) for one in (it.distinct_1, it.distinct_2, it.distinct_3))
        yield "Different 1-, 2-, 3-grams", f"{distinct} of {it.words:,} words"
        yield f"Different per {it.window:,} words", percent(it.type_token)
        if it.frequent:
            yield "Most frequent 4-grams", "; ".join(f"{one.name} ({percent(one.share)})" for one in it.frequent[:3])
    if made.embeddings:
        same = made.embeddings
        cover = "" if same.coverage is None else f", coverage of the pools {same.coverage:.2f}"
        yield "Meaning", f"{same.effective:.3g} effective rows of {same.rows:,}, nearest {same.nearest:.2f}{cover}"
    if made.contamination:
        touched = made.contamination
        removed = f"{touched.removed:,} of {touched.rows:,} rows removed"
        yield "Contamination", f"{removed}, {touched.touched:,} of {touched.items:,} items of {touched.suite} touched"
    if made.ledger:
        went = made.ledger
        parts = [f"{went.read:,} read", *(f"-{one.rows:,} {one.operation}" for one in went.drops)]
        parts += [f"-{went.not_drawn:,} not drawn"] if went.not_drawn else []
        parts += [f"+{went.repeated:,} further copies"] if went.repeated else []
        yield "Where rows went", ", ".join(parts) + f" = {went.kept:,}"
    for field, reason in made.unmeasured.items():
        yield field.capitalize(), f"not measured: {reason}"
