"""``leave_one_out``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from harness.errors import RequestError
from harness.spec.designs.base import Arm, BaseDesign, Counts, apportion, baseline_counts, chosen, known_counts, mixed

if TYPE_CHECKING:
    from harness.spec.study import Study


class LeaveOneOut(BaseDesign):
    """One arm per source of the baseline, without that source. With ``match: rows`` the others replace its rows.

    Example::

        designs:
          - leave_one_out
          - leave_one_out: {sources: [forum]} # this one only
    """

    design: Literal["leave_one_out"] = "leave_one_out"
    sources: tuple[str, ...] | None = Field(None, min_length=1, description="default: every source of the baseline")

    def arms(self, study: Study, index: int) -> Iterator[Arm]:
        """Yield the baseline without each source; the others take its place in proportion unless ``match`` is additive.

        If the baseline takes whole pools, the others have no further rows. With ``match: steps`` such an arm still
        trains for as many steps as the baseline, on fewer rows.
        """
        place = f"designs[{index}]"
        held = baseline_counts(study)
        if len(held) < 2:
            raise RequestError(f"{place}: the baseline has one source, and nothing is left without it")
        for source in chosen(study, self.sources, held, f"{place}.sources", "the baseline has no rows of"):
            rest: Counts = {name: count for name, count in held.items() if name != source}
            if study.match in ("rows", "tokens") or (study.match == "steps" and None not in held.values()):
                whole = sum(known_counts(held, place).values())
                rest = apportion(known_counts(rest, place), whole)
            yield f"without-{source}", mixed(study, rest, source)
