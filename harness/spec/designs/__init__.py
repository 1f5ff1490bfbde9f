"""Designs: patterns that expand to arms, one module each. An import here makes a design available to studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from harness.spec.base import kinds, spelled_out

# The union of designs, one line for each; its members are the imported classes that have a name in a study.
from harness.spec.designs.add_one_in import AddOneIn as AddOneIn
from harness.spec.designs.base import BaseDesign
from harness.spec.designs.filter_factorial import FilterFactorial as FilterFactorial
from harness.spec.designs.leave_one_out import LeaveOneOut as LeaveOneOut
from harness.spec.designs.mixture_dirichlet import MixtureDirichlet as MixtureDirichlet
from harness.spec.designs.mixture_search import MixtureSearch as MixtureSearch
from harness.spec.designs.size_ladder import SizeLadder as SizeLadder

DESIGNS: dict[str, type[BaseDesign]] = kinds(list(globals().values()), BaseDesign, "design")
if TYPE_CHECKING:
    Design = BaseDesign
else:
    Design = Annotated[Union[tuple(DESIGNS.values())], Field(discriminator="design")]  # noqa: UP007


def design(value: Any) -> Any:
    """Read ``leave_one_out`` and ``{size_ladder: {...}}`` as ``{design: ..., ...}``."""
    return spelled_out(value, "design", {})
