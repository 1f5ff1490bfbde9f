"""Jobs for tests that are about engines, not about what a run does."""

from __future__ import annotations

from pathlib import Path

from harness.engines.jobs import BaseJob, ModelJob, RunJob
from harness.models import Model
from harness.spec import Recipe, Suite
from harness.store import Step
from harness.study.steps import result_step

MODEL = Model("m", "folder", "digest", Path("m"))
RECIPE = Recipe(steps=1)
SUITE = Suite.model_validate(
    {"suite": "s", "tasks": {"sums": {"generator": "reasoning-gym", "task": "chain_sum", "items": 4, "seed": 1}}}
)


def run_job(name: str, label: str = "", store: Path | str = "", block: str = "", hardware: str = "") -> RunJob:
    """A run that nothing is known of but its name."""
    return RunJob(
        id=name, label=label or name, store=str(store), block=block, hardware=hardware, model=MODEL, suite=SUITE,
        suite_key="suite", suite_digest="suite", recipe=RECIPE, seed=1, tokens_key="tokens",
        adapter=Step("adapter", name, name, 1),
    )  # fmt: skip


def base_job(name: str, store: Path, model: Model = MODEL) -> BaseJob:
    return BaseJob(
        id=name, label=name, store=str(store), model=model, suite=SUITE, suite_key="suite", suite_digest="suite",
        recipe=RECIPE,
    )  # fmt: skip


def base_folder(job: BaseJob) -> Path:
    """Where the result that a job is about will be."""
    step = result_step(f"base-{job.suite.suite}", job.recipe, job.suite_digest, job.model.digest, None)
    return Path(job.store) / "result" / f"{step.name}-{step.key}"


def cheap(folder: Path, name: str, block: str = "") -> ModelJob:
    """A job that is done at once: a folder is ready as it is."""
    model = Model(name, "folder", "digest", folder / name)
    return ModelJob(id=name, label=name, store=str(folder / "store"), model=model, block=block)


def broken(folder: Path, name: str) -> ModelJob:
    """A job that fails at once: offline, a model that is not in the Hub's cache."""
    model = Model(f"no/model@{'0' * 40}", "hub", "digest", None)
    return ModelJob(id=name, label=name, store=str(folder / "store"), model=model)
