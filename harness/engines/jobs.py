"""What a driver and its workers say to each other: one JSON object per line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from harness import models
from harness.errors import StepError
from harness.object_store import located
from harness.plan import Plan, PlannedRun
from harness.records import Failure

STOP = "stop\n"  # said to a worker in place of a job: leave, once what is worth keeping is kept
UNKEPT = (OSError, StepError)  # why a failure could not be written down: the disk, or the object store
COMMON = "common"  # in the data of a failed event: other runs would fail at the same (a full disk, the suite itself)


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

    ``block`` names the runs that are compared pairwise (those of a seed): they belong on equal hardware. ``hardware``
    is what finished runs of the block were trained on.
    """

    job: Literal["run", "base", "model", "suite", "perplexity"]
    id: str
    label: str
    store: str
    model: dict[str, Any] = {}
    suite: dict[str, Any] = {}
    suite_key: str = ""
    suite_digest: str = ""
    recipe: dict[str, Any] = {}
    seed: int = 0
    rows_digest: str = ""
    tokens_key: str = ""
    adapter: StepSpec | None = None
    folder: str = ""
    system_metrics: bool = False  # sampled while training, for the record
    block: str = ""
    hardware: str = ""

    def base_model(self) -> models.Model:
        """Return the base model the job is about."""
        folder = self.model["folder"]
        return models.Model(
            self.model["name"], self.model["kind"], self.model["digest"], Path(folder) if folder else None,
            self.model.get("trust_remote_code", False),
        )  # fmt: skip


class Event(Message):
    """What a worker reports."""

    event: Literal["ready", "stage", "step", "items", "note", "done", "failed"]
    id: str = ""
    stage: str = ""
    done: int = 0
    total: int = 0
    loss: float | None = None
    rate: float | None = None  # tokens per second of the step
    message: str = ""
    detail: str = ""
    data: dict[str, Any] = {}


def keep_failure(job: Job, event: Event) -> None:
    """Write down in the store why a run failed, for ``status`` and for whoever looks later.

    Raises:
        OSError: When the store cannot be written.
        StepError: When an object store cannot be written.
    """
    if job.job in ("run", "base"):
        failure = Failure(
            key=job.id, kind=job.job, name=job.label, stage=event.stage, message=event.message, detail=event.detail,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip
        located(job.store).fail(failure)


def model_fields(model: models.Model) -> dict[str, Any]:
    """Return a model as JSON values."""
    folder = str(model.folder) if model.folder else ""
    return {
        "name": model.name, "kind": model.kind, "digest": model.digest, "folder": folder,
        "trust_remote_code": model.trust_remote_code,
    }  # fmt: skip


def run_job(plan: Plan, run: PlannedRun) -> Job:
    """Return the job of a planned run. Everything it needs is in the store: ``plan.publish`` comes first."""
    step = run.adapter
    return _suite_job(plan, "run", run.key, f"{run.variant}/seed {run.seed}").model_copy(
        update={
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


def jobs_to_do(plan: Plan) -> list[Job]:
    """Return a job for all that is still to do: first the untrained model, then the runs, seed by seed."""
    jobs = [] if plan.store.find("result", plan.base.key) else [base_job(plan)]
    begun: dict[int, str] = {}
    for run in plan.runs:
        if run.state in ("done", "trained") and run.seed not in begun:
            adapter = plan.store.find("adapter", run.adapter.key)
            begun[run.seed] = adapter.record.provenance.get("hardware", "") if adapter else ""
    for run in plan.runs:
        if run.state != "done":
            place = {"block": f"seed {run.seed}", "hardware": begun.get(run.seed, "")}
            jobs.append(run_job(plan, run).model_copy(update=place))
    return jobs


def base_job(plan: Plan) -> Job:
    """Return the job that evaluates the base model, untrained."""
    return _suite_job(plan, "base", plan.base.key, "base model")


def _suite_job(plan: Plan, kind: Literal["run", "base"], key: str, label: str) -> Job:
    return Job(
        job=kind,
        id=key,
        label=label,
        store=plan.store.location,
        model=model_fields(plan.model),
        suite=plan.study.suite.identity(),
        suite_key=plan.suite.step.key,
        suite_digest=plan.suite.digest,
        recipe=plan.study.recipe.identity(),
    )
