"""Recipes and suites: how a variant is trained, and what it is checked on."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.errors import RequestError
from harness.spec.base import A_NAME, BY_NAME, Spec, named
from harness.spec.objectives import OBJECTIVES, ObjectiveName

# What Llama 3's own template falls back on where it cannot ask for the date.
DATE = datetime.date(2024, 7, 26)


class Lora(Spec):
    """Low-rank adapters on every linear layer (or the named ones)."""

    r: int = Field(16, ge=1, description="rank of the adapters")
    alpha: int = Field(32, ge=1, description="their strength: updates are scaled by alpha / r")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of an adapter's inputs left out while training")
    targets: tuple[str, ...] | Literal["all-linear"] = Field(
        "all-linear", description="names of the layers that get an adapter, or all linear ones"
    )


class Recipe(Spec):
    """How a variant is trained. The micro-batch is chosen at run time and does not change the result."""

    objective: ObjectiveName = Field(
        "sft", description="; ".join(f"{name}: {objective.about}" for name, objective in OBJECTIVES.items())
    )
    beta: float = Field(0.1, gt=0, description="dpo only: how strongly the model is held to the base model")
    lora: Lora = Field(Lora(), description="the low-rank adapters that are trained")
    learning_rate: float = Field(2e-4, gt=0, description="the highest of the schedule")
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = Field(
        "linear", description="how the learning rate goes on after warming up"
    )
    warmup_steps: int = Field(0, ge=0, description="steps in which the learning rate rises from 0")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    max_grad_norm: float = Field(1.0, gt=0, description="longer gradients are scaled down to this")
    batch: int = Field(8, ge=1, description="global batch: rows per optimizer step")
    steps: int | None = Field(None, ge=1, description="optimizer steps of every arm; goes with match: steps")
    epochs: float | None = Field(None, gt=0, description="passes over the training set; for the other kinds of match")
    max_length: int = Field(1024, ge=8, description="tokens; longer rows are cut at the end")
    chat_template: bool = Field(False, description="render rows through the model's chat template")
    date: datetime.date = Field(
        DATE, description="what a chat template that asks for the date is told, in training and in evaluation"
    )

    @field_validator("date", mode="before")
    @classmethod
    def _written_out(cls, value: Any) -> Any:
        if not isinstance(value, str | datetime.date):  # a number would be taken for seconds since 1970
            raise ValueError("expected a date such as 2024-07-26")
        return value

    @model_validator(mode="after")
    def _one_budget(self) -> Recipe:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("a recipe needs either steps or epochs")
        return self


INDEPENDENT = "none"


class Task(Spec):
    """One lm-eval task: by registry name, from a folder of YAML files, or made by a generator."""

    task: str = Field(description="the lm-eval task (or group) name; for a generator, its task")
    path: str | None = Field(None, description="folder with the task's YAML and data, relative to the suite file")
    generator: Literal["reasoning-gym"] | None = Field(None, description="makes the items")
    config: dict[str, Any] | None = Field(None, description="the generator's settings")
    items: int | None = Field(None, ge=1, description="items to generate")
    seed: int = Field(0, description="of the generator: another seed makes other items")
    question: str = Field("{question}", description="template of a generated item's question")
    answer: str = Field(" {answer}", description="template of a generated item's answer")
    append_eos: bool = Field(True, description="a generated item's answer must end where the model's turn ends")
    limit: int | None = Field(None, ge=1, description="only the first items")
    fewshot: int | None = Field(None, ge=0, description="default: what the task says")
    metric: str | None = Field(None, description="primary metric; default: exact_match if there is one, else acc")
    slice: str | None = Field(None, description="the item's field that names its slice")
    group: str | None = Field(
        None,
        description="the item's field that names its cluster, or none: items are independent; "
        "default: items that share a passage, a document or their wording but for numbers and names are one cluster",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Task:
        if self.generator and self.path:
            raise ValueError("a task comes from a generator or from a path, not both")
        if bool(self.generator) != (self.items is not None):
            raise ValueError("items (how many to generate) goes with generator; use limit for other tasks")
        return self

    def group_field(self, place: str, fields: Iterable[str]) -> str | None:
        """Return the field of items that names their cluster; None where none does.

        Args:
            place: The task, for the message.
            fields: What an item has.

        Raises:
            RequestError: When ``none`` may mean a field of that name as well as no clusters.
        """
        if self.group == INDEPENDENT and INDEPENDENT in fields:
            raise RequestError(
                f'{place}.group: "{INDEPENDENT}" says that items are independent, but they have a field of that name; '
                "rename the field, and name it here if it tells clusters"
            )
        return None if self.group == INDEPENDENT else self.group


class Suite(Spec):
    """Held-out tasks, pinned to the item, split into a selection and a confirmation half."""

    suite: str = Field(description="its name", json_schema_extra=A_NAME)
    tasks: dict[str, Task] = Field(
        min_length=1, description="name, used in decide.metric -> the task", json_schema_extra=BY_NAME
    )
    chat_template: bool = Field(False, description="ask questions through the model's chat template")
    confirmation: float = Field(0.5, ge=0, lt=1, description="share of items kept for confirmation, by digest")

    @field_validator("suite")
    @classmethod
    def _name(cls, value: str) -> str:
        return named(value)
