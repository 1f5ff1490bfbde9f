"""The data card of every variant, and what decontamination found in every pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.build import PlannedVariant
from harness.data.card.ledger import contamination, ledger
from harness.data.card.measure import measure
from harness.plan import Plan
from harness.steps import Output

if TYPE_CHECKING:
    from harness.data.card import Card
    from harness.data.card.model import Contamination, Ledger

MEASURED = 100_000  # rows of all variants together that a report measures; `harness data card` has no such limit
SAMPLE = 500  # rows for languages and n-grams: a report shows no more of them than a line
NEAR = 20_000  # rows of a variant up to which near-duplicates are looked for


def variant_card(plan: Plan, variant: PlannedVariant) -> Card:
    """Measure the rows of a variant at its first seed, and say where rows went on the way there."""
    output = next(iter(variant.outputs.values()))
    rows = output.table("rows")
    near = rows.height <= NEAR
    return measure(
        f"{plan.study.study}:{variant.name}",
        rows,
        facts={"digest": output.digest[:16]},
        ledger=_ledger(plan, variant, output),
        near=near,
        sample=SAMPLE,
        unmeasured={
            "tokens": "counted per training set, see the table of variants",
            "contamination": "see the section on contamination",
            "perplexity": "harness data card shows it, where it is known",
            "embeddings": "not asked for",
            "near": f"more than {NEAR:,} rows; harness data card looks for them",
        },
    )


def pool_contamination(plan: Plan, pool: Output) -> Contamination:
    """Sum up what overlapped the suite in one source."""
    checked = pool.data["rows"] + pool.data["removed"]
    items = plan.suite.data["items"]
    return contamination(plan.study.suite.suite, items, checked, pool.table("overlaps"), pool.table("drops"))


def _ledger(plan: Plan, variant: PlannedVariant, output: Output) -> Ledger:
    """Follow the rows of a variant's sources: read, dropped and why, not drawn, kept."""
    import polars as pl

    names = list(variant.spec.mix or {})
    pools = [plan.pools[name] for name in names]
    sources = [one for name in names for one in plan.outputs if (one.step.kind, one.step.name) == ("source", name)]
    lost = [output.table("drops")]
    if output.step.spec.get("random_subset"):  # rows of the baseline, after its operations
        first = next(iter(variant.outputs))
        lost.insert(0, plan.variants[0].outputs[first].table("drops"))
    taken = pl.concat([output.table("rows")["source"], *(drops["source"] for drops in lost)])
    drawn = {name: int((taken == name).sum()) for name in names}
    return ledger(
        pl.concat([one.table("drops") for one in (*sources, *pools)] + lost),
        read=sum(one.data["rows"] + one.data["dropped"] for one in sources),
        kept=output.data["rows"],
        not_drawn=sum(max(pool.data["rows"] - drawn[pool.step.name], 0) for pool in pools),
        repeated=sum(max(drawn[pool.step.name] - pool.data["rows"], 0) for pool in pools),
    )
