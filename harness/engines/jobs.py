"""What a driver and its workers say to each other: one JSON object per line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from harness import models
from harness.plan import Plan, PlannedRun


class Message(BaseModel):
    """Base of all messages."""

    model_config = ConfigDict(extra="forbid")


class StepSpec(Message):
    """A store step, as JSON."""

    kind: str
    name: str
    key: str
    version: int
    spec: dict[str, Any]
    inputs: dict[str, str]


class Job(Message):
    """One thing for a worker to do.

    ``run`` trains (unless the adapter is there) and evaluates (unless the result is there); ``base`` evaluates the
    base model; ``model`` prepares it; ``suite`` reads the items of lm-eval tasks into ``folder``; ``perplexity``
    measures the training sequences in ``folder`` with the base model.
    """

    job: Literal["run", "base", "model", "suite", "perplexity"]
    id: str
    label: str
    store: str
    model: dict[str, Any] = {}
    suite: dict[str, Any] = {}
    suite_folder: str = ""
    suite_digest: str = ""
    recipe: dict[str, Any] = {}
    seed: int = 0
    rows_digest: str = ""
    tokens_key: str = ""
    adapter: StepSpec | None = None
    folder: str = ""

    def base_model(self) -> models.Model:
        """Return the base model the job is about."""
        folder = self.model["folder"]
        return models.Model(
            self.model["name"], self.model["kind"], self.model["digest"], Path(folder) if folder else None
        )


class Event(Message):
    """What a worker reports."""

    event: Literal["ready", "stage", "step", "items", "done", "failed"]
    id: str = ""
    stage: str = ""
    done: int = 0
    total: int = 0
    loss: float | None = None
    message: str = ""
    detail: str = ""
    data: dict[str, Any] = {}


def model_fields(model: models.Model) -> dict[str, Any]:
    """Return a model as JSON values."""
    folder = str(model.folder) if model.folder else ""
    return {"name": model.name, "kind": model.kind, "digest": model.digest, "folder": folder}


def run_job(plan: Plan, run: PlannedRun) -> Job:
    """Return the job of a planned run. Everything it needs is in the store: ``plan.publish`` comes first."""
    step = run.adapter
    return _suite_job(plan, "run", run.key, f"{run.variant}/seed {run.seed}").model_copy(
        update={
            "recipe": plan.study.recipe.identity(),
            "seed": step.spec["seed"],
            "rows_digest": run.rows.data["content_digest"],
            "tokens_key": run.tokens.key,
            "adapter": StepSpec(
                kind=step.kind,
                name=step.name,
                key=step.key,
                version=step.version,
                spec=step.spec,
                inputs=step.inputs,
            ),
        }
    )


def base_job(plan: Plan) -> Job:
    """Return the job that evaluates the base model, untrained."""
    return _suite_job(plan, "base", plan.base.key, "base model")


def _suite_job(plan: Plan, kind: Literal["run", "base"], key: str, label: str) -> Job:
    assert plan.suite.stored is not None
    return Job(
        job=kind,
        id=key,
        label=label,
        store=str(plan.store.root),
        model=model_fields(plan.model),
        suite=plan.study.suite.identity(),
        suite_folder=str(plan.suite.stored.folder),
        suite_digest=plan.suite.digest,
    )
