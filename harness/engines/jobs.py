"""Messages between a driver and its workers: one JSON object per line."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, TypeAdapter

from harness.errors import StepError
from harness.models import Model
from harness.spec import Recipe, Suite
from harness.store import Step, located
from harness.store.record import Failure
from harness.study.plan import Plan

STOP = "stop\n"  # sent to a worker in place of a job: write a checkpoint, then end
UNKEPT = (OSError, StepError)  # errors that keep a failure from being recorded: of the disk, or of the object store
LOST = "lost"  # in the data of a failed event: the worker's device fails at everything from now on, and the worker ends
COMMON = "common"  # in the data of a failed event: other runs would fail alike (a full disk, the suite itself)


class Message(BaseModel):
    """Base of all messages."""

    model_config = ConfigDict(extra="forbid")


def _written(model: Model) -> dict[str, Any]:
    return asdict(model) | {"folder": str(model.folder or "")}


def _read(value: Any) -> Any:
    return value | {"folder": value["folder"] or None} if isinstance(value, dict) else value


BaseModelField = Annotated[Model, PlainSerializer(_written), BeforeValidator(_read)]


class _Job(Message):
    """Fields of every job.

    Attributes:
        id: Name of the job; for a run and for the base model, the key under which a failure is stored.
        label: Name of the job for people.
        store: Where the job's inputs are, and where its outputs go.
        block: Group of runs that are compared pairwise (the runs of a seed): they belong on equal hardware.
        hardware: Hardware on which finished runs of the block were trained.
    """

    id: str
    label: str
    store: str
    block: str = ""
    hardware: str = ""


class ModelJob(_Job):
    """Prepare the base model."""

    job: Literal["model"] = "model"
    model: BaseModelField


class SuiteJob(_Job):
    """Read the items of a suite's lm-eval tasks into a folder."""

    job: Literal["suite"] = "suite"
    suite: Suite
    folder: Path


class PerplexityJob(_Job):
    """Measure the perplexity, under the base model, of the training sequences in a folder."""

    job: Literal["perplexity"] = "perplexity"
    model: BaseModelField
    folder: Path


class _Evaluation(_Job):
    """Fields of jobs that evaluate a model on a stored suite."""

    model: BaseModelField
    suite: Suite
    suite_key: str
    suite_digest: str
    recipe: Recipe


class BaseJob(_Evaluation):
    """Evaluate the base model, untrained."""

    job: Literal["base"] = "base"


class RunJob(_Evaluation):
    """Train, unless the adapter is in the store, and evaluate, unless the result is."""

    job: Literal["run"] = "run"
    seed: int
    tokens_key: str
    adapter: Step
    system_metrics: bool = False  # whether they are sampled during training, for the record


Job = RunJob | BaseJob | ModelJob | SuiteJob | PerplexityJob
_JOBS: TypeAdapter[Job] = TypeAdapter(Annotated[Job, Field(discriminator="job")])


def read_job(line: str) -> Job:
    """Return the job that a line of JSON describes."""
    return _JOBS.validate_json(line)


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
    """Write to the store why a run failed; ``harness status`` shows it.

    Raises:
        OSError: When the store cannot be written.
        StepError: When an object store cannot be written.
    """
    if isinstance(job, RunJob | BaseJob):
        failure = Failure(
            key=job.id, kind=job.job, name=job.label, stage=event.stage, message=event.message, detail=event.detail,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip
        located(job.store).fail(failure)


def jobs_to_do(plan: Plan, *, system_metrics: bool = False) -> list[RunJob | BaseJob]:
    """Return the jobs that are still to be done: first the untrained model, then the runs, seed by seed.

    Jobs read their inputs from the store: call ``plan.publish`` before they run.
    """
    jobs: list[RunJob | BaseJob] = [] if plan.store.find("result", plan.base.key) else [base_job(plan)]
    begun: dict[int, str] = {}
    for run in plan.runs:
        if run.state in ("done", "trained") and run.seed not in begun:
            adapter = plan.store.find("adapter", run.adapter.key)
            begun[run.seed] = adapter.record.provenance.get("hardware", "") if adapter else ""
    for run in plan.runs:
        if run.state not in ("done", "not needed"):
            jobs.append(
                RunJob(
                    id=run.key, label=f"{run.variant}/seed {run.seed}", store=plan.store.location,
                    block=f"seed {run.seed}", hardware=begun.get(run.seed, ""), model=plan.model,
                    suite=plan.study.suite, suite_key=plan.suite.step.key, suite_digest=plan.suite.digest,
                    recipe=plan.study.recipe, seed=run.adapter.spec["seed"], tokens_key=run.tokens.key,
                    adapter=run.adapter, system_metrics=system_metrics,
                )
            )  # fmt: skip
    return jobs


def base_job(plan: Plan) -> BaseJob:
    """Return the job that evaluates the base model, untrained."""
    return BaseJob(
        id=plan.base.key, label="base model", store=plan.store.location, model=plan.model, suite=plan.study.suite,
        suite_key=plan.suite.step.key, suite_digest=plan.suite.digest, recipe=plan.study.recipe,
    )  # fmt: skip
