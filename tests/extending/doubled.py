"""A design: an arm for every source of the baseline, with twice as many rows of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from harness.spec.designs.base import Arm, BaseDesign, baseline_counts, known_counts, mixed

if TYPE_CHECKING:
    from harness.spec.study import Study


class Doubled(BaseDesign):
    """One arm per source of the baseline: with twice the rows of it."""

    design: Literal["doubled"] = "doubled"

    def arms(self, study: Study, index: int) -> Iterator[Arm]:
        """Yield the arms."""
        counts = known_counts(baseline_counts(study), f"designs[{index}]")
        for source, rows in counts.items():
            yield f"twice-{source}", mixed(study, {**counts, source: 2 * rows}, source)
