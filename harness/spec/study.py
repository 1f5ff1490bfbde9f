"""A study: a question about data, and everything needed to answer it."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from harness.errors import did_you_mean
from harness.spec.base import A_NAME, BY_NAME, NAME, NO_NAME, Spec, named
from harness.spec.data import Source, Variant
from harness.spec.designs import Design, design
from harness.spec.training import Recipe, Suite

Control = Literal["aa", "random_subset"]
Seeds = Annotated[
    int | tuple[int, ...],
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 100},
                {"type": "array", "items": {"type": "integer"}},
                {
                    "type": "object",
                    "properties": {name: {"type": "integer", "minimum": 2, "maximum": 100} for name in ("from", "to")},
                    "required": ["from", "to"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
MOST_SEEDS = 100
STEP = 1.5  # a stage has this many times the seeds of the one before, unless the study lists its stages
PARAPHRASE = 0.7  # cosine from which a row that gives an item's answer is a paraphrase of it
FEW = 2000  # items; in a smaller suite, looking for paraphrases costs little


def spread(first: int, last: int) -> tuple[int, ...]:
    """Return stages from ``first`` to ``last`` seeds: each has about half as many seeds again as the one before."""
    looks = [first]
    while looks[-1] < last:
        looks.append(min(last, math.ceil(STEP * looks[-1])))
    return tuple(looks)


def _from_to(seeds: dict[str, Any]) -> tuple[int, ...]:
    """Return the stages of ``{from, to}``."""
    first, last = seeds.get("from"), seeds.get("to")
    whole = isinstance(first, int) and isinstance(last, int) and not isinstance(first, bool)
    if set(seeds) != {"from", "to"} or not whole or not 2 <= first < last <= MOST_SEEDS:  # type: ignore[operator]
        raise ValueError("seeds: expected {from: 2, to: 8}, two whole numbers from 2 to 100, the second larger")
    return spread(int(first), int(last))  # type: ignore[arg-type]


class Decide(Spec):
    """The decision rule, fixed before anything runs."""

    metric: str = Field(
        description="task/metric, such as sums/exact_match", json_schema_extra={"pattern": "^[^/]+/[^/]+$"}
    )
    smallest_effect: float = Field(gt=0, description="effects below this do not matter in practice")
    alpha: float = Field(0.05, gt=0, lt=0.5, description="how often, at most, a study without any effect finds one")
    noise: Literal["balanced", "careful"] = Field(
        "balanced",
        description="how seed noise is judged. balanced: the A/A arm's runs count as runs of the baseline, and false "
        "findings stay within alpha up to twice the noise in one arm; careful: up to three times, for half the power",
    )

    @field_validator("metric")
    @classmethod
    def _two_parts(cls, value: str) -> str:
        if value.count("/") != 1 or not all(value.split("/")):
            raise ValueError("a metric is written task/metric, such as sums/exact_match")
        return value


class Decontaminate(Spec):
    """How rows are matched with suite items, and which matches are removed.

    Always on. Rows are matched by word n-grams after normalization, with shorter items as a whole, by a fuzzy match for
    edited copies, and as paraphrases in suites of fewer than 2,000 items.
    """

    ngram: int = Field(13, ge=3, le=50, description="consecutive words, shared with an item, that are a match")
    fuzzy: float | None = Field(0.6, gt=0, le=1, description="share of an item that an edited copy keeps; null: off")
    templates: Literal["keep", "drop"] = Field(
        "keep", description="rows that ask the same as an item with other numbers; reported either way"
    )
    semantic: float | Literal["auto"] | None = Field(
        "auto",
        description="cosine of sentence embeddings from which a row that gives an item's answer is a paraphrase of it; "
        f"auto: {PARAPHRASE} for suites of fewer than {FEW:,} items; null: off",
    )

    @field_validator("semantic", mode="before")
    @classmethod
    def _cosine(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1
        if value is not None and value != "auto" and not number:
            raise ValueError(f"expected auto, null, or a number above 0 and up to 1 (it is {value})")
        return value

    def settled(self, items: int) -> Self:
        """Return the rule with ``auto`` replaced by its value for a suite of ``items`` items."""
        if self.semantic != "auto":
            return self
        return self.model_copy(update={"semantic": PARAPHRASE if items < FEW else None})


class Track(Spec):
    """Which artifacts of the study MLflow gets besides numbers and tables. Never part of a key."""

    adapters: Literal["reference", "copy"] = Field(
        "reference", description="adapters stay in the store and are named in a tag, or are uploaded too"
    )


class Study(Spec):
    """A question about data, and everything needed to answer it."""

    study: str = Field(description="its name", json_schema_extra=A_NAME)
    question: str = Field(description="what you want to know, in words; heads every output")
    hypothesis: str = Field("", description="what you expect, written before the study runs")
    outcome: str = Field("", description="what was found, written after the study has run")
    model: str = Field(description="smollm2-135m-instruct, owner/name@revision, or a folder")
    recipe: Recipe = Field(description="how every arm is trained")
    suite: Suite = Field(description="what every arm is tested on")
    sources: dict[str, Source] = Field(min_length=1, description="name -> a pool of rows", json_schema_extra=BY_NAME)
    baseline: Variant = Field(description="the training set that every arm is compared with")
    arms: dict[str, Variant] = Field(
        {}, description="name -> a training set to compare with the baseline", json_schema_extra=BY_NAME
    )
    designs: tuple[Design, ...] = Field(default=(), description="patterns that expand to further arms")
    controls: tuple[Control, ...] = Field(
        ("aa", "random_subset"),
        description="arms that must show no effect: the baseline under other seeds, and with rows dropped at random",
    )
    seeds: Seeds = Field(
        3,
        description="how often every arm is trained (1 to 100), or the seeds themselves; {from: 2, to: 8} makes stages",
    )
    stages: tuple[int, ...] = Field(
        default=(),
        description="numbers of seeds at which the study is looked at, the last being all of them: arms whose "
        "questions are settled end there, and verdicts are valid at each; empty: looked at once",
    )
    match: Literal["steps", "rows", "tokens", "additive"] = Field(
        "steps",
        description="what all arms have in common: steps of training; rows or tokens (dropped rows are replaced from "
        "the pool); additive: nothing, smaller arms train for fewer steps",
    )
    decide: Decide = Field(description="the rule of decision, fixed before the study runs")
    decontaminate: Decontaminate = Field(Decontaminate(), description="how copies of test items are found among rows")
    track: Track = Field(Track(), description="which artifacts MLflow gets besides numbers and tables")
    trust_remote_code: bool = Field(
        default=False, description="run Python code that comes with the model: only for a model you trust"
    )
    waive: tuple[str, ...] = Field(
        default=(), description="comparability rules that the study waives; shown in every output"
    )

    @model_validator(mode="before")
    @classmethod
    def _seeds_from_to(cls, values: Any) -> Any:
        """Write ``seeds: {from, to}`` as a number of seeds and stages."""
        if not isinstance(values, dict):
            return values
        seeds, stages = values.get("seeds"), values.get("stages")
        if isinstance(seeds, dict):
            if stages:
                raise ValueError("stages: seeds: {from, to} makes the stages; give one of the two")
            looks = _from_to(seeds)
            return values | {"seeds": looks[-1], "stages": looks}
        if seeds is None and isinstance(stages, list | tuple) and stages and isinstance(stages[-1], int):
            return values | {"seeds": stages[-1]}
        return values

    @field_validator("stages")
    @classmethod
    def _stages(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(one < 2 for one in value) or any(a >= b for a, b in pairwise(value)):
            raise ValueError("expected increasing numbers of seeds, from 2 on: one seed says nothing of its noise")
        return value

    @field_validator("study")
    @classmethod
    def _name(cls, value: str) -> str:
        return named(value)

    @field_validator("designs", mode="before")
    @classmethod
    def _designs(cls, value: Any) -> Any:
        return [design(item) for item in value] if isinstance(value, list | tuple) else value

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(value, int) and not 1 <= value <= MOST_SEEDS:
            raise ValueError("expected between 1 and 100")
        if isinstance(value, tuple) and (not value or len(set(value)) != len(value)):
            raise ValueError("expected a number of seeds, or a list of different seeds")
        if isinstance(value, tuple) and not all(0 <= seed < 2**31 for seed in value):
            raise ValueError("a seed is a whole number from 0 to 2,147,483,647")
        return value

    @model_validator(mode="after")
    def _names_agree(self) -> Study:
        if self.baseline.mix is None:
            raise ValueError("baseline.mix: the baseline needs a mix of sources")
        if not self.arms and not self.designs:
            raise ValueError("a study needs arms or designs, else there is nothing to compare")
        for place, names in (("sources", self.sources), ("arms", self.arms), ("suite.tasks", self.suite.tasks)):
            for name in names:
                if not NAME.match(name):
                    raise ValueError(f"{place}.{name}: {NO_NAME.format(name)}")
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
        if self.match == "tokens":
            for place, variant in (("baseline", self.baseline), *((f"arms.{n}", a) for n, a in self.arms.items())):
                if variant.mix is not None and not variant.in_tokens:
                    raise ValueError(
                        f"{place}: match: tokens needs mixes in tokens (unit: tokens, or a total of tokens)"
                    )
        if self.stages and self.stages[-1] != len(self.seed_list()):
            raise ValueError(
                f"stages: the last has {self.stages[-1]} seeds, but the study has {len(self.seed_list())} (seeds)"
            )
        if self.match == "steps" and self.recipe.steps is None:
            raise ValueError("match: steps needs recipe.steps, so that every arm trains equally long")
        if self.match != "steps" and self.recipe.epochs is None:
            raise ValueError(f"match: {self.match} needs recipe.epochs instead of recipe.steps")
        return self

    def seed_list(self) -> tuple[int, ...]:
        """Return the seeds with which every arm is trained."""
        return tuple(range(1, self.seeds + 1)) if isinstance(self.seeds, int) else self.seeds

    def rule(self) -> dict[str, Any]:
        """Return the rule that is registered before anything runs: how it is decided, and when it is looked at."""
        return self.decide.identity() | ({"stages": list(self.stages)} if self.stages else {})
