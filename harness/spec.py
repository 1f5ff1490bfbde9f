"""What users write: studies and their nouns (sources, operations, variants, recipes, suites, decision rules).

Every field here is part of the identity of the steps it enters (``identity.py``); how something runs (device,
workers, paths, tracking URI) lives elsewhere and never enters a spec. Unknown fields are refused.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from harness.errors import did_you_mean

COMMIT = re.compile(r"^[0-9a-f]{40}$")  # a revision that cannot move
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_NO_NAME = "{!r} is not a name: letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"
Origin = Literal["production", "annotation", "public", "augmented", "synthetic"]
Control = Literal["aa", "random_subset"]
CANONICAL_FIELDS = (
    "prompt", "completion", "messages", "text", "chosen", "rejected", "answer", "group", "slice", "id", "license",
)  # fmt: skip


class Spec(BaseModel):
    """Base of all specs: immutable, unknown fields refused, defaults spelled out in the identity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """Return every field as plain JSON values, the form that enters a key."""
        return self.model_dump(mode="json")


# ---------------------------------------------------------------------------------------------------- operations


class Filter(Spec):
    """Keep rows whose text passes every bound given.

    Lengths are of prompt and completion together unless ``field`` says otherwise.
    """

    op: Literal["filter"] = "filter"
    field: str | None = Field(None, description="prompt, completion, text, ...; default: all of the row's text")
    min_chars: int | None = Field(None, ge=0)
    max_chars: int | None = Field(None, ge=0)
    min_words: int | None = Field(None, ge=0)
    max_words: int | None = Field(None, ge=0)
    pattern: str | None = Field(None, description="Python regular expression; rows that match are kept")
    exclude: str | None = Field(None, description="Python regular expression; rows that match are dropped")

    @field_validator("pattern", "exclude")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"not a regular expression ({error})") from error
        return value

    @model_validator(mode="after")
    def _says_something(self) -> Filter:
        bounds = (self.min_chars, self.max_chars, self.min_words, self.max_words, self.pattern, self.exclude)
        if all(bound is None for bound in bounds):
            raise ValueError(
                "a filter needs at least one of min_chars, max_chars, min_words, max_words, pattern, exclude"
            )
        return self


class Dedupe(Spec):
    """Drop rows whose text repeats an earlier row's, after normalization of case, white space and Unicode form."""

    op: Literal["dedupe"] = "dedupe"
    field: str | None = None


class Verify(Spec):
    """Keep rows whose completion the row's verifier finds right (reasoning-gym's scorer, or a numeric answer)."""

    op: Literal["verify"] = "verify"
    min_score: float = Field(1.0, ge=0, le=1, description="partial credit below this is dropped")


class Sample(Spec):
    """Keep ``rows`` rows (or a ``fraction``) by seeded rank: smaller samples are prefixes of larger ones."""

    op: Literal["sample"] = "sample"
    rows: int | None = Field(None, ge=1)
    fraction: float | None = Field(None, gt=0, le=1)

    @model_validator(mode="after")
    def _one_size(self) -> Sample:
        if (self.rows is None) == (self.fraction is None):
            raise ValueError("a sample needs either rows or fraction")
        return self


Operation = Annotated[Filter | Dedupe | Verify | Sample, Field(discriminator="op")]
OPERATIONS: dict[str, type[Spec]] = {"filter": Filter, "dedupe": Dedupe, "verify": Verify, "sample": Sample}


def _operation(value: Any) -> Any:
    """Read ``verify`` and ``{filter: {...}}`` as ``{op: ..., ...}``."""
    if isinstance(value, str):
        return {"op": value}
    if isinstance(value, dict) and "op" not in value and len(value) == 1:
        name, parameters = next(iter(value.items()))
        if parameters is None or isinstance(parameters, dict):
            return {"op": name, **(parameters or {})}
    return value


Operations = Annotated[tuple[Operation, ...], Field(default=())]


# ------------------------------------------------------------------------------------------------------- sources


class Source(Spec):
    """A named pool of rows: local files, a Hub dataset at a pinned revision, or a generator."""

    path: str | tuple[str, ...] | None = Field(
        None, description="jsonl, json, csv or parquet; globs; relative to the study"
    )
    hub: str | None = Field(None, description="owner/name of a Hub dataset")
    revision: str | None = None
    split: str = "train"
    generator: Literal["reasoning-gym"] | None = None
    task: str | None = Field(None, description="the generator's task")
    config: dict[str, Any] | str | None = Field(None, description="the generator's settings, or the Hub configuration")
    seed: int = 0
    rows: int | None = Field(
        None, ge=1, description="rows to generate, or at most this many rows of the pool, from the top"
    )
    corrupt: float = Field(0.0, ge=0, le=1, description="share of numeric answers made wrong (off by 1, 2 or 10)")
    fields: dict[str, str] = Field(
        default={}, description="canonical field -> column, or a template such as 'Q: {question}'"
    )
    license: str | None = None
    origin: Origin | None = None
    cost_per_row: float | None = Field(None, ge=0)
    on_bad_row: Literal["stop", "drop"] = "stop"
    operations: Operations

    @field_validator("operations", mode="before")
    @classmethod
    def _operations(cls, value: Any) -> Any:
        return [_operation(item) for item in value] if isinstance(value, list | tuple) else value

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


# ------------------------------------------------------------------------------------------------------ variants


class Variant(Spec):
    """The rule for a training set: a mixture of sources, then operations on the drawn rows."""

    mix: dict[str, int | float | Literal["all"]] | None = Field(
        None,
        description="rows per source, `all`, or weights between 0 and 1 together with `rows`; default: the baseline's",
    )
    rows: int | None = Field(None, ge=1, description="total rows when the mix gives weights")
    operations: Operations
    tests: str | None = Field(None, description="the subject: a source's name, or a treatment such as verify(scraped)")

    @field_validator("operations", mode="before")
    @classmethod
    def _operations(cls, value: Any) -> Any:
        return [_operation(item) for item in value] if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _consistent(self) -> Variant:
        if self.mix is not None:
            if not self.mix:
                raise ValueError("mix names no source")
            weighted = [isinstance(share, float) for share in self.mix.values()]
            if any(weighted) != (self.rows is not None):
                raise ValueError("weights (numbers with a decimal point) and rows (the total) go together")
            if any(weighted) and not all(weighted):
                raise ValueError("a mix gives either weights or row counts, not both")
            for name, share in self.mix.items():
                if share != "all" and share <= 0:
                    raise ValueError(f"mix.{name} must be more than 0")
                if isinstance(share, float) and share > 1:
                    raise ValueError(f"mix.{name}: a weight is at most 1; a number of rows has no decimal point")
        elif self.rows is not None:
            raise ValueError("rows needs a mix of weights")
        return self

    def counts(self) -> dict[str, int | None]:
        """Return rows per source; None means all. Weights are rounded so that the total is met exactly."""
        assert self.mix is not None
        if self.rows is None:
            return {name: None if share == "all" else int(share) for name, share in self.mix.items()}
        total = sum(float(share) for share in self.mix.values())
        exact = {name: self.rows * float(share) / total for name, share in self.mix.items()}
        counts = {name: int(value) for name, value in exact.items()}
        short = self.rows - sum(counts.values())
        by_remainder = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
        for name in by_remainder[:short]:
            counts[name] += 1
        return dict(counts)


# ------------------------------------------------------------------------------------------------ recipe, suite


class Lora(Spec):
    """Low-rank adapters on every linear layer (or the named ones)."""

    r: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"


class Recipe(Spec):
    """How a variant is trained. The micro-batch is chosen at run time and does not change the result."""

    objective: Literal["sft"] = "sft"
    lora: Lora = Lora()
    learning_rate: float = Field(2e-4, gt=0)
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    batch: int = Field(8, ge=1, description="global batch: rows per optimizer step")
    steps: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0)
    max_length: int = Field(1024, ge=8, description="tokens; longer rows are cut at the end")
    chat_template: bool = Field(False, description="render rows through the model's chat template")

    @model_validator(mode="after")
    def _one_budget(self) -> Recipe:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("a recipe needs either steps or epochs")
        return self


class Task(Spec):
    """One lm-eval task: by registry name, from a folder of YAML files, or made by a generator."""

    task: str = Field(description="the lm-eval task (or group) name; for a generator, its task")
    path: str | None = Field(None, description="folder with the task's YAML and data, relative to the suite file")
    generator: Literal["reasoning-gym"] | None = None
    config: dict[str, Any] | None = None
    items: int | None = Field(None, ge=1, description="items to generate")
    seed: int = 0
    question: str = Field("{question}", description="template of a generated item's question")
    answer: str = Field(" {answer}", description="template of a generated item's answer")
    append_eos: bool = Field(True, description="a generated item's answer must end where the model's turn ends")
    limit: int | None = Field(None, ge=1, description="only the first items")
    fewshot: int | None = Field(None, ge=0, description="default: what the task says")
    metric: str | None = Field(None, description="primary metric; default: exact_match if there is one, else acc")
    slice: str | None = Field(None, description="the item's field that names its slice")
    group: str | None = Field(None, description="the item's field that names its cluster")

    @model_validator(mode="after")
    def _one_kind(self) -> Task:
        if self.generator and self.path:
            raise ValueError("a task comes from a generator or from a path, not both")
        if bool(self.generator) != (self.items is not None):
            raise ValueError("items (how many to generate) goes with generator; use limit for other tasks")
        return self


class Suite(Spec):
    """Held-out tasks, pinned to the item, split into a selection and a confirmation half."""

    suite: str
    tasks: dict[str, Task] = Field(min_length=1)
    chat_template: bool = False
    confirmation: float = Field(0.5, ge=0, lt=1, description="share of items kept for confirmation, by item digest")

    @field_validator("suite")
    @classmethod
    def _name(cls, value: str) -> str:
        return _named(value)


# --------------------------------------------------------------------------------------------------------- study


class Decide(Spec):
    """The decision rule, fixed before anything runs."""

    metric: str = Field(description="task/metric, such as sums/exact_match")
    smallest_effect: float = Field(gt=0, description="effects below this do not matter in practice")
    alpha: float = Field(0.05, gt=0, lt=0.5)

    @field_validator("metric")
    @classmethod
    def _two_parts(cls, value: str) -> str:
        if value.count("/") != 1 or not all(value.split("/")):
            raise ValueError("a metric is written task/metric, such as sums/exact_match")
        return value


class Decontaminate(Spec):
    """How rows are matched with suite items: word n-grams after normalization; items shorter than that as a whole."""

    ngram: int = Field(13, ge=3, le=50)


class Study(Spec):
    """A question about data, and everything needed to answer it."""

    study: str
    question: str
    hypothesis: str = ""
    outcome: str = Field("", description="written after the study has run: what was found")
    model: str = Field(description="smollm2-135m-instruct, owner/name@revision, or a folder")
    recipe: Recipe
    suite: Suite
    sources: dict[str, Source] = Field(min_length=1)
    baseline: Variant
    arms: dict[str, Variant] = Field(min_length=1)
    controls: tuple[Control, ...] = ("aa", "random_subset")
    seeds: int | tuple[int, ...] = 3
    match: Literal["steps", "rows", "additive"] = "steps"
    decide: Decide
    decontaminate: Decontaminate = Decontaminate()
    waive: tuple[str, ...] = Field(
        default=(), description="comparability rules waived in writing; shown in every output"
    )

    @field_validator("study")
    @classmethod
    def _name(cls, value: str) -> str:
        return _named(value)

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(value, int) and not 1 <= value <= 100:
            raise ValueError("expected between 1 and 100")
        if isinstance(value, tuple) and (not value or len(set(value)) != len(value)):
            raise ValueError("expected a number of seeds, or a list of different seeds")
        return value

    @model_validator(mode="after")
    def _names_agree(self) -> Study:
        if self.baseline.mix is None:
            raise ValueError("baseline.mix: the baseline needs a mix of sources")
        for place, names in (("sources", self.sources), ("arms", self.arms), ("suite.tasks", self.suite.tasks)):
            for name in names:
                if not NAME.match(name):
                    raise ValueError(f"{place}.{name}: {_NO_NAME.format(name)}")
        for name in self.arms:
            if name in ("baseline", "aa", "base") or name.startswith("random-subset"):
                raise ValueError(f'arms.{name}: "{name}" is taken (baseline, base and the controls have these names)')
        for place, variant in (
            ("baseline", self.baseline),
            *((f"arms.{n}", a) for n, a in self.arms.items()),
        ):
            for source in variant.mix or {}:
                if source not in self.sources:
                    raise ValueError(f'{place}.mix: no source is named "{source}".{did_you_mean(source, self.sources)}')
        for name, arm in self.arms.items():
            if arm.mix is None and not arm.operations:
                raise ValueError(f"arms.{name}: the arm is the baseline; give it a mix or operations")
        if self.match == "steps" and self.recipe.steps is None:
            raise ValueError("match: steps needs recipe.steps, so that every arm trains equally long")
        if self.match != "steps" and self.recipe.epochs is None:
            raise ValueError(f"match: {self.match} needs recipe.epochs instead of recipe.steps")
        return self

    def seed_list(self) -> tuple[int, ...]:
        """Return the seeds every arm is run with."""
        return tuple(range(1, self.seeds + 1)) if isinstance(self.seeds, int) else self.seeds


def _named(value: str) -> str:
    if not NAME.match(value):
        raise ValueError(_NO_NAME.format(value))
    return value
