"""Designs: patterns that expand to arms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.spec.base import Spec
from harness.spec.operations import Operation, operation


class LeaveOneOut(Spec):
    """One arm per source of the baseline: without it. With ``match: rows`` the rest is refilled to the same size."""

    design: Literal["leave_one_out"] = "leave_one_out"
    sources: tuple[str, ...] | None = Field(None, min_length=1, description="default: every source of the baseline")


class AddOneIn(Spec):
    """One arm per source that the baseline lacks: with ``rows`` rows of it beside, or instead of, the baseline's."""

    design: Literal["add_one_in"] = "add_one_in"
    sources: tuple[str, ...] | None = Field(None, min_length=1, description="default: every source not in the baseline")
    rows: int = Field(ge=1)
    replace: bool = Field(False, description="take as many rows away from the baseline's sources, in proportion")


class SizeLadder(Spec):
    """Nested arms of growing size: of one source, or of the whole baseline."""

    design: Literal["size_ladder"] = "size_ladder"
    source: str | None = Field(None, description="default: every source of the baseline, in proportion")
    rows: tuple[int, ...] | None = Field(None, min_length=1)
    fractions: tuple[float, ...] | None = Field(None, min_length=1, description="of the baseline's rows")
    alone: bool = Field(False, description="the rungs hold this source only, without the rest of the baseline")

    @model_validator(mode="after")
    def _one_size(self) -> SizeLadder:
        if (self.rows is None) == (self.fractions is None):
            raise ValueError("a size_ladder needs either rows or fractions")
        sizes = self.rows or self.fractions or ()
        if any(size <= 0 for size in sizes) or len(set(sizes)) != len(sizes):
            raise ValueError("the rungs of a size_ladder are different numbers above 0")
        if self.alone and self.source is None:
            raise ValueError("alone needs a source")
        return self


class FilterFactorial(Spec):
    """Operations on and off in all combinations, or in a fraction of them."""

    design: Literal["filter_factorial"] = "filter_factorial"
    factors: dict[str, tuple[Operation, ...]] = Field(min_length=2, max_length=7)
    fraction: Literal["full", "half"] = "full"

    @field_validator("factors", mode="before")
    @classmethod
    def _operations(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        listed = {name: chain if isinstance(chain, list | tuple) else [chain] for name, chain in value.items()}
        return {name: [operation(item) for item in chain] for name, chain in listed.items()}


class MixtureDirichlet(Spec):
    """Random mixtures around a prior (Dirichlet), and the prior itself; all of the same size."""

    design: Literal["mixture_dirichlet"] = "mixture_dirichlet"
    draws: int = Field(ge=1, le=512)
    rows: int = Field(ge=1, description="total rows of every mixture")
    prior: dict[str, float] | None = Field(None, description="weights; default: every source alike")
    concentration: float = Field(5.0, gt=0, description="large: draws stay near the prior")
    seed: int = 0


Design = Annotated[
    LeaveOneOut | AddOneIn | SizeLadder | FilterFactorial | MixtureDirichlet, Field(discriminator="design")
]
DESIGNS: dict[str, type[Spec]] = {
    "leave_one_out": LeaveOneOut,
    "add_one_in": AddOneIn,
    "size_ladder": SizeLadder,
    "filter_factorial": FilterFactorial,
    "mixture_dirichlet": MixtureDirichlet,
}


def design(value: Any) -> Any:
    """Read ``leave_one_out`` and ``{size_ladder: {...}}`` as ``{design: ..., ...}``."""
    if isinstance(value, str):
        return {"design": value}
    if isinstance(value, dict) and "design" not in value and len(value) == 1:
        name, parameters = next(iter(value.items()))
        if parameters is None or isinstance(parameters, dict):
            return {"design": name, **(parameters or {})}
    return value
