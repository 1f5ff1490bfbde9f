"""Where rows went, and what decontamination found, from the ledgers of a build."""

from __future__ import annotations

import polars as pl

from harness.data.card.model import Contamination, Dropped, Ledger, Overlap, Share
from harness.escaping import excerpt

REASONS = 3  # shown per operation
EXAMPLES = 5  # overlaps shown


def ledger(drops: pl.DataFrame, *, read: int, kept: int, not_drawn: int = 0, repeated: int = 0) -> Ledger:
    """Return a ledger's counts, operations in the order in which they dropped rows.

    Args:
        drops: Columns ``records.DROP_COLUMNS``, stage after stage.
        read: Number of rows at first, broken ones included.
        kept: Number of rows that remain.
        not_drawn: Number of rows that the mixture left out.
        repeated: Number of further copies of rows that the mixture took.

    Raises:
        ValueError: The numbers do not add up: a row was lost, or counted twice.
    """
    if read + repeated != kept + not_drawn + drops.height:
        raise ValueError(f"{read:,} + {repeated:,} rows in, {kept:,} + {not_drawn:,} + {drops.height:,} out")
    listed = []
    for (operation,), lines in drops.group_by("operation", maintain_order=True):
        reasons = lines.group_by("reason", maintain_order=True).len().sort("len", descending=True, maintain_order=True)
        top = [
            Share(name=excerpt(reason, 160), rows=count, share=count / lines.height)
            for reason, count in reasons.head(REASONS).iter_rows()
        ]
        listed.append(
            Dropped(
                operation=str(operation),
                rows=lines.height,
                share=lines.height / read if read else 0.0,
                sources=dict(lines.group_by("source").len().sort("source").iter_rows()),
                reasons=top,
                other_reasons=lines.height - sum(reason.rows for reason in top),
            )
        )
    return Ledger(read=read, repeated=repeated, drops=listed, not_drawn=not_drawn, kept=kept)


def contamination(suite: str, items: int, rows: int, overlaps: pl.DataFrame, drops: pl.DataFrame) -> Contamination:
    """Return the counts of what decontamination found.

    Args:
        suite: Name of the suite.
        items: Number of items of the suite.
        rows: Number of rows checked.
        overlaps: Columns ``records.OVERLAP_COLUMNS``: every row and item that overlap, the best item first.
        drops: Lines of the ledger; those of ``decontaminate`` are the rows removed.
    """
    removed = drops.filter(pl.col("operation").str.starts_with("decontaminate")).select("row_id", "source")
    first = overlaps.unique(["row_id", "source"], keep="first", maintain_order=True)
    kinds = removed.join(first, on=["row_id", "source"], how="inner", maintain_order="left")
    kept = first.join(removed, on=["row_id", "source"], how="anti", maintain_order="left")
    return Contamination(
        suite=suite,
        rows=rows,
        removed=removed.height,
        kinds=_by_kind(kinds),
        kept=_by_kind(kept),
        items=items,
        touched=overlaps["item_id"].n_unique(),
        examples=[
            Overlap(
                source=line["source"], task=line["task"], kind=line["kind"], score=line["score"],
                span=excerpt(line["span"]),
            )
            for line in kinds.unique(["kind", "row_id"], keep="first", maintain_order=True).head(EXAMPLES).iter_rows(
                named=True
            )
        ],
    )  # fmt: skip


def _by_kind(lines: pl.DataFrame) -> dict[str, int]:
    return dict(lines.group_by("kind").len().sort("len", "kind", descending=[True, False]).iter_rows())
