"""The data card of every variant, and the result of decontamination on every pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.data.card.ledger import contamination
from harness.data.card.measure import measure
from harness.study.accounting import account
from harness.study.build import PlannedVariant
from harness.study.plan import Plan
from harness.study.steps import Output

if TYPE_CHECKING:
    from harness.data.card import Card
    from harness.data.card.model import Contamination

MEASURED = 100_000  # the most rows, over all variants, that a report measures; `harness data card` has no such limit
SAMPLE = 500  # rows for languages and n-grams: a report shows only a line of them
NEAR = 20_000  # rows of a variant up to which a report looks for near-duplicates


def variant_card(plan: Plan, variant: PlannedVariant) -> Card:
    """Return the card of a variant's rows at its first seed, with the ledger of the rows that were dropped."""
    seed, output = next(iter(variant.outputs.items()))
    found = account(plan, variant, seed)
    near = found.rows.height <= NEAR
    return measure(
        f"{plan.study.study}:{variant.name}",
        found.rows,
        facts={"digest": output.digest[:16]},
        ledger=found.ledger(),
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
    """Return the sums of a source's overlaps with the suite."""
    checked = pool.data["rows"] + pool.data["removed"]
    items = plan.suite.data["items"]
    return contamination(plan.study.suite.suite, items, checked, pool.table("overlaps"), pool.table("drops"))
