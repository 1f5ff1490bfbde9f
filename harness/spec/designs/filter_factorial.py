"""``filter_factorial``."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from harness.errors import RequestError
from harness.spec.base import NAME, NO_NAME
from harness.spec.data import Variant
from harness.spec.designs.base import SIZE, Arm, BaseDesign, Contrast
from harness.spec.operations import Operation, operation

if TYPE_CHECKING:
    from harness.spec.study import Study


class FilterFactorial(BaseDesign):
    """Operations on and off in all combinations, or in a fraction of them.

    Example::

        designs:
          - filter_factorial:
              factors: {right: verify, once: dedupe, short: {filter: {max_words: 200}}}
    """

    design: Literal["filter_factorial"] = "filter_factorial"
    factors: dict[str, tuple[Operation, ...]] = Field(
        min_length=2, max_length=7, description="name -> the operation, or operations, switched on and off together"
    )
    fraction: Literal["full", "half"] = Field(
        "full", description="all combinations, or half of them, which cannot separate some effects"
    )

    balanced = True  # main effects need every combination

    @field_validator("factors", mode="before")
    @classmethod
    def _operations(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        listed = {name: chain if isinstance(chain, list | tuple) else [chain] for name, chain in value.items()}
        return {name: [operation(item) for item in chain] for name, chain in listed.items()}

    def arms(self, study: Study, index: int) -> Iterator[Arm]:
        """Yield an arm for every combination of factors; its operations are in the order of the factors."""
        place = f"designs[{index}]"
        taken = {one.subject for earlier in study.designs[:index] for one in earlier.contrasts()}
        seen: list[tuple[object, str]] = []
        for factor, chain in self.factors.items():
            where = f"{place}.factors.{factor}"
            if not NAME.match(factor):
                raise RequestError(f"{where}: {NO_NAME.format(factor)}")
            if factor in study.sources or factor == SIZE:
                raise RequestError(
                    f'{where}: {"a source" if factor != SIZE else "another subject"} is named "{factor}"'
                )
            if factor in taken:
                raise RequestError(f'{where}: an earlier design has a factor "{factor}"; one factor is one question')
            if not chain:
                raise RequestError(f"{where}: it has no operation, so on and off are the same")
            for same in (name for other, name in seen if other == chain):
                raise RequestError(f'{where}: it does the same as the factor "{same}"')
            seen.append((chain, factor))
        if self.fraction == "half" and len(self.factors) < 3:
            raise RequestError(f"{place}.fraction: half of two factors cannot tell one from the other; it needs three")
        for name, on in self.combinations().items():
            if on:
                chain = tuple(operation for factor in on for operation in self.factors[factor])
                yield name, Variant(operations=chain, tests=" + ".join(on))

    def contrasts(self) -> list[Contrast]:
        """Return the main effect of every factor: all combinations with it, and all without."""
        chosen, found = self.combinations(), []
        for factor, note in self.aliases().items():
            on = tuple(name for name, factors in chosen.items() if factor in factors)
            found.append(Contrast(factor, on, tuple(name for name in chosen if name not in on), note))
        return found

    def controlled(self, rows: Mapping[str, float]) -> Collection[str]:
        """Return all arms of others, and of its own only the one that drops most: more would double the study."""
        own = [name for name in rows if name in self.combinations()]
        kept = min(own, key=lambda name: (rows[name], name), default=None)
        return [name for name in rows if name not in own or name == kept]

    def combinations(self) -> dict[str, tuple[str, ...]]:
        """Return variant -> the factors that are on in it; the baseline, with none, comes first.

        A half fraction takes the combinations with an even number of factors on, which include the baseline. Its
        defining relation is the product of all factors, the longest possible, so that a main effect is confounded only
        with the interaction of all other factors (Box, Hunter and Hunter 2005, chapter 6).
        """
        chosen: dict[str, tuple[str, ...]] = {"baseline": ()}
        for number in range(1, len(self.factors) + 1):
            if self.fraction == "full" or number % 2 == 0:
                for on in itertools.combinations(self.factors, number):
                    chosen["filters-" + ".".join(on)] = on
        return chosen

    def aliases(self) -> dict[str, str]:
        """Return factor -> the effect that the design cannot separate from its main effect, as a sentence, or empty."""
        if self.fraction == "full":
            return dict.fromkeys(self.factors, "")
        words = {}
        for factor in self.factors:
            *first, last = [other for other in self.factors if other != factor]
            words[factor] = f"half fraction: cannot be told from what {', '.join(first)} and {last} do only together"
        return words
