"""Sources and variants: pools of rows, and the rule for a training set."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.errors import did_you_mean
from harness.spec.base import Origin, Spec
from harness.spec.operations import Operations, operation

CANONICAL_FIELDS = (
    "prompt", "completion", "messages", "text", "chosen", "rejected", "system", "good", "answer", "group", "slice",
    "id", "license",
)  # fmt: skip


class Source(Spec):
    """A named pool of rows: local files, a Hub dataset at a pinned revision, or a generator."""

    path: str | tuple[str, ...] | None = Field(
        None, description="jsonl, json, csv or parquet (.gz, .zst); globs; relative to the study"
    )
    hub: str | None = Field(None, description="owner/name of a Hub dataset")
    revision: str | None = Field(None, description="commit of the Hub dataset, 40 hex digits")
    split: str = Field("train", description="split of the Hub dataset")
    generator: Literal["reasoning-gym"] | None = Field(None, description="makes rows instead of reading them")
    task: str | None = Field(None, description="the generator's task, such as chain_sum")
    config: dict[str, Any] | str | None = Field(None, description="the generator's settings, or the Hub configuration")
    seed: int = Field(0, description="seed of the generator: another seed makes other rows")
    rows: int | None = Field(
        None, ge=1, description="rows to generate, or at most this many rows of the pool, from the top"
    )
    corrupt: float = Field(0.0, ge=0, le=1, description="share of numeric answers made wrong (off by 1, 2 or 10)")
    fields: dict[str, str] = Field(
        default={},
        description="canonical field -> column, or a template such as 'Q: {question}'",
        json_schema_extra={"propertyNames": {"enum": list(CANONICAL_FIELDS)}},
    )
    optional: tuple[str, ...] = Field(
        default=(),
        description="columns of templates that a row may lack; such a row gets neither them nor the text before them",
    )
    columns: tuple[str, ...] = Field(
        default=(), description="further columns to carry along: scores and labels that operations use"
    )
    license: str | None = Field(None, description="licence of rows that name none themselves")
    origin: Origin | None = Field(None, description="where the rows come from")
    cost_per_row: float | None = Field(None, ge=0, description="price of one further row, in any currency")
    on_bad_row: Literal["stop", "drop"] = Field(
        "stop", description="a row that cannot be used stops the study, or goes to the drop ledger"
    )
    operations: Operations

    @field_validator("operations", mode="before")
    @classmethod
    def _operations(cls, value: Any) -> Any:
        return [operation(item) for item in value] if isinstance(value, list | tuple) else value

    @field_validator("fields")
    @classmethod
    def _fields(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name not in CANONICAL_FIELDS:
                raise ValueError(f'"{name}" is not a field of a row.{did_you_mean(name, CANONICAL_FIELDS)}')
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        kinds = [name for name in ("path", "hub", "generator") if getattr(self, name) is not None]
        if len(kinds) != 1:
            given = " and ".join(kinds) or "none of them"
            raise ValueError(f"a source needs exactly one of path, hub, generator; it has {given}")
        if self.generator and (self.task is None or self.rows is None):
            raise ValueError("a generator needs a task and the number of rows")
        if self.hub and self.revision is None:
            raise ValueError("a Hub dataset needs a revision (a commit hash), so that the same rows come back")
        if self.corrupt and not self.generator:
            raise ValueError("corrupt applies to generated rows only")
        return self


class Variant(Spec):
    """The rule for a training set: a mixture of sources, then operations on the drawn rows."""

    mix: dict[str, int | float | Literal["all"]] | None = Field(
        None,
        description="rows per source, `all`, or weights between 0 and 1 together with `rows`; default: the baseline's",
    )
    rows: int | None = Field(None, ge=1, description="total rows when the mix gives weights")
    tokens: int | None = Field(None, ge=1, description="total tokens when the mix gives weights, instead of rows")
    unit: Literal["rows", "tokens"] = Field("rows", description="what whole numbers in the mix count")
    max_repeats: int = Field(1, ge=1, le=100, description="how often a row may be used if its source is too small")
    operations: Operations
    tests: str | None = Field(None, description="the subject: a source's name, or a treatment such as verify(scraped)")

    @field_validator("operations", mode="before")
    @classmethod
    def _operations(cls, value: Any) -> Any:
        return [operation(item) for item in value] if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _consistent(self) -> Variant:
        if self.mix is not None:
            if not self.mix:
                raise ValueError("mix names no source")
            weighted = [isinstance(share, float) for share in self.mix.values()]
            if self.rows is not None and self.tokens is not None:
                raise ValueError("a total is given in rows or in tokens, not both")
            if any(weighted) != (self.rows is not None or self.tokens is not None):
                raise ValueError("weights (numbers with a decimal point) and rows or tokens (the total) go together")
            if any(weighted) and self.unit == "tokens":
                raise ValueError("unit: tokens is for whole numbers in the mix; weights take tokens as the total")
            if any(weighted) and not all(weighted):
                raise ValueError("a mix gives either weights or row counts, not both")
            for name, share in self.mix.items():
                if share != "all" and share <= 0:
                    raise ValueError(f"mix.{name} must be more than 0")
                if isinstance(share, float) and share > 1:
                    raise ValueError(f"mix.{name}: a weight is at most 1; a number of rows has no decimal point")
        elif self.rows is not None or self.tokens is not None:
            raise ValueError("rows and tokens (a total) need a mix of weights")
        return self

    @property
    def in_tokens(self) -> bool:
        """Whether ``counts`` are tokens; the number of rows is then known only when the rows are drawn."""
        return self.unit == "tokens" or self.tokens is not None

    def counts(self) -> dict[str, int | None]:
        """Return source -> rows (or tokens, see ``in_tokens``); None means the whole source.

        Weights are rounded so that the total is exact.
        """
        assert self.mix is not None
        budget = self.rows if self.rows is not None else self.tokens
        if budget is None:
            return {name: None if share == "all" else int(share) for name, share in self.mix.items()}
        total = sum(float(share) for share in self.mix.values())
        exact = {name: budget * float(share) / total for name, share in self.mix.items()}
        counts = {name: int(value) for name, value in exact.items()}
        short = budget - sum(counts.values())
        by_remainder = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
        for name in by_remainder[:short]:
            counts[name] += 1
        return dict(counts)
