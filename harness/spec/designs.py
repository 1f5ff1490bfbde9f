"""Designs: patterns that expand to arms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.spec.base import Spec
from harness.spec.operations import Operation, operation


class LeaveOneOut(Spec):
    """One arm per source of the baseline: without it. With ``match: rows`` the rest is refilled to the same size.

    Example::

        designs:
          - leave_one_out
          - leave_one_out: {sources: [forum]} # this one only
    """

    design: Literal["leave_one_out"] = "leave_one_out"
    sources: tuple[str, ...] | None = Field(None, min_length=1, description="default: every source of the baseline")


class AddOneIn(Spec):
    """One arm per source that the baseline lacks: with ``rows`` rows of it beside, or instead of, the baseline's.

    Example::

        designs:
          - add_one_in: {rows: 200}
          - add_one_in: {sources: [forum], rows: 200, replace: true}
    """

    design: Literal["add_one_in"] = "add_one_in"
    sources: tuple[str, ...] | None = Field(None, min_length=1, description="default: every source not in the baseline")
    rows: int = Field(ge=1, description="rows of the added source")
    replace: bool = Field(False, description="take as many rows away from the baseline's sources, in proportion")


class SizeLadder(Spec):
    """Nested arms of growing size: of one source, or of the whole baseline.

    Example::

        designs:
          - size_ladder: {fractions: [0.25, 0.5]}
          - size_ladder: {source: forum, rows: [100, 400]}
    """

    design: Literal["size_ladder"] = "size_ladder"
    source: str | None = Field(None, description="default: every source of the baseline, in proportion")
    rows: tuple[int, ...] | None = Field(None, min_length=1, description="sizes of the rungs; or give fractions")
    fractions: tuple[float, ...] | None = Field(
        None, min_length=1, description="sizes of the rungs, as shares of the baseline's rows"
    )
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
        "full", description="all combinations, or half of them: then some effects cannot be told apart"
    )

    @field_validator("factors", mode="before")
    @classmethod
    def _operations(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        listed = {name: chain if isinstance(chain, list | tuple) else [chain] for name, chain in value.items()}
        return {name: [operation(item) for item in chain] for name, chain in listed.items()}


class MixtureDirichlet(Spec):
    """Random mixtures around a prior (Dirichlet), and the prior itself; all of the same size.

    Example::

        designs:
          - mixture_dirichlet: {draws: 16, rows: 400}
          - mixture_dirichlet: {draws: 16, rows: 400, prior: {forum: 0.7, manual: 0.3}}
    """

    design: Literal["mixture_dirichlet"] = "mixture_dirichlet"
    draws: int = Field(ge=1, le=512, description="random mixtures, each an arm")
    rows: int = Field(ge=1, description="total rows of every mixture")
    prior: dict[str, float] | None = Field(None, description="weights; default: every source alike")
    concentration: float = Field(5.0, gt=0, description="large: draws stay near the prior")
    seed: int = Field(0, description="of the random mixtures")


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
