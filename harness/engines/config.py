"""Engine files (``configs/engines/*.yaml``): how and where a study runs. Nothing here is ever part of a key."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness import outside
from harness.errors import RequestError, did_you_mean

NAMES = ("local", "ray")


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LocalConfig(_Config):
    """Worker processes on this machine."""

    engine: Literal["local"] = "local"
    workers: int | None = Field(None, ge=1, description="default: one per GPU, else what suits the machine")
    device: Literal["cpu", "cuda"] | None = Field(None, description="default: cuda when there is one")


class WorkerConfig(_Config):
    """What one worker takes of its node. Ray places workers by it, so it is also what limits their number."""

    cpus: float = Field(1, gt=0, description="also the worker's number of threads, rounded down")
    gpus: float = Field(0, ge=0, description="0.5: two workers share a GPU")
    memory_gib: float | None = Field(None, gt=0, description="Ray counts it, and does not enforce it")
    resources: dict[str, float] = Field(default={}, description="custom resources that nodes were started with")
    labels: dict[str, str] = Field(default={}, description="labels that a node must have, such as a kind of GPU")

    def amounts(self) -> dict[str, float]:
        """Return the resources by the names that Ray gives them; memory in bytes."""
        memory = {} if self.memory_gib is None else {"memory": self.memory_gib * 2**30}
        return {"CPU": self.cpus, "GPU": self.gpus, **memory, **self.resources}

    def shown(self) -> str:
        """Return the resources in words."""
        parts = [f"{self.cpus:g} CPU"]
        parts += [f"{self.gpus:g} GPU"] if self.gpus else []
        parts += [f"{self.memory_gib:g} GiB"] if self.memory_gib else []
        parts += [f"{amount:g} {name}" for name, amount in self.resources.items()]
        return ", ".join(parts + [f"{name}={value}" for name, value in self.labels.items()])


class RayConfig(_Config):
    """Workers as actors of a Ray cluster."""

    engine: Literal["ray"] = "ray"
    address: str | None = Field(
        None, description="host:port, ray://host:port, auto, or local; default: a running cluster, else local"
    )
    workers: int | None = Field(
        None, ge=1, description="default: as many as the cluster has room for now; more where an autoscaler adds nodes"
    )
    device: Literal["cpu", "cuda"] | None = Field(None, description="default: cuda when a worker has gpus")
    worker: WorkerConfig = Field(WorkerConfig(), description="what each worker takes of its node")
    data: Literal["local", "ray"] = Field(
        "local", description="where sources are read and rows drawn: in this process's memory, or in parts by Ray Data"
    )
    env: dict[str, str] = Field(default={}, description="environment of every worker, beside the harness's own")
    retries: int = Field(3, ge=0, description="how often a run is tried again when its worker or node was lost")
    patience: float = Field(
        300, gt=0, description="seconds to wait for a worker to start, and for lost hardware to come back"
    )

    @property
    def device_class(self) -> Literal["cpu", "cuda"]:
        """The device of all workers: arms on a CPU and on a GPU are not compared."""
        return self.device or ("cuda" if self.worker.gpus else "cpu")


def load_engine(name: str) -> LocalConfig | RayConfig:
    """Return what ``--engine`` names.

    Args:
        name: ``local``, ``ray``, or an engine file.

    Raises:
        RequestError: With file, line, field and the nearest valid name.
    """
    from harness.loading import load_part

    if name == "local":
        return LocalConfig()
    if name == "ray":
        return RayConfig()
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        near = did_you_mean(name, NAMES)
        raise RequestError(f'--engine: "{name}" is no engine and no engine file (.yaml).{near}')
    if trouble := outside.problem(path):
        raise RequestError(f"--engine: {name} {trouble}")
    if not path.is_file():
        here = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = did_you_mean(path.name, [file for file in here if file.endswith((".yaml", ".yml"))])
        raise RequestError(f"--engine: no such file: {name}.{near}")
    found = load_part(path, "engine", {"local": LocalConfig, "ray": RayConfig})
    assert isinstance(found, LocalConfig | RayConfig)
    return found
