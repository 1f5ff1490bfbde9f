"""Follows the rows of a variant's sources: which were kept, and where all others were dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.study.build import PlannedVariant
from harness.study.plan import Plan
from harness.study.steps import Output

if TYPE_CHECKING:
    import polars as pl

    from harness.data.card.model import Ledger


@dataclass(frozen=True)
class Account:
    """The rows of a variant at a seed, and the dropped rows of its sources.

    Attributes:
        rows: The rows, in columns ``records.ROW_COLUMNS``.
        drops: The dropped rows, in columns ``records.DROP_COLUMNS``: those of the sources, then of decontamination,
            then
            of the variant.
        lost: The lines of ``drops`` for rows that were drawn before they were dropped.
        read: Number of rows read, valid or not.
        sources: The sources in the order of the mix.
        pools: The pools of the sources, in the same order.
    """

    rows: pl.DataFrame
    drops: pl.DataFrame
    lost: pl.DataFrame
    read: int
    sources: list[Output]
    pools: list[Output]

    def ledger(self) -> Ledger:
        """Return counts of rows: read, dropped by reason, not drawn, drawn more than once, kept."""
        import polars as pl

        from harness.data.card.ledger import ledger

        taken = pl.concat([self.rows["source"], self.lost["source"]])
        not_drawn = repeated = 0
        for pool in self.pools:
            drawn = int((taken == pool.step.name).sum())
            not_drawn += max(pool.data["rows"] - drawn, 0)
            repeated += max(drawn - pool.data["rows"], 0)
        return ledger(self.drops, read=self.read, kept=self.rows.height, not_drawn=not_drawn, repeated=repeated)


def account(plan: Plan, variant: PlannedVariant, seed: int) -> Account:
    """Return the rows of a variant, and the rows that were dropped on the way.

    Args:
        plan: The study.
        variant: One of its variants.
        seed: One of its seeds.
    """
    import polars as pl

    output = variant.outputs[seed]
    names = list(variant.spec.mix or {})
    made = {kind: [one for name in names for one in _outputs(plan, kind, name)] for kind in ("source", "pool")}
    lost = [output.table("drops")]
    if output.step.spec.get("random_subset"):  # rows of the baseline, after its operations
        lost.insert(0, plan.variants[0].outputs[seed].table("drops"))
    return Account(
        rows=output.table("rows"),
        drops=pl.concat([*(one.table("drops") for kind in made.values() for one in kind), *lost]),
        lost=pl.concat(lost),
        read=sum(one.data["rows"] + one.data["dropped"] for one in made["source"]),
        sources=made["source"],
        pools=made["pool"],
    )


def _outputs(plan: Plan, kind: str, name: str) -> list[Output]:
    return [output for output in plan.outputs if (output.step.kind, output.step.name) == (kind, name)]
