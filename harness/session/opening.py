"""Opens the store and the engine that a user names."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.terminal.working import note, working

if TYPE_CHECKING:
    from harness.engines import Engine
    from harness.models import Model
    from harness.store import Store

DEFAULT_STORE = ".harness"


@dataclass(frozen=True)
class Choice:
    """The user's choice of an engine.

    Attributes:
        engine: ``local``, ``ray``, or an engine file.
        workers: Number of worker processes; None: the engine file's, else as many as suit the machine.
        device: ``cpu`` or ``cuda``; None: CUDA when there is a GPU.
        address: Address of a Ray cluster.
    """

    engine: str = "local"
    workers: int | None = None
    device: str | None = None
    address: str | None = None


def open_store(place: str) -> Store:
    """Return the store in a folder, or in an object store; nothing is created.

    Raises:
        RequestError: The place is a file, cannot be reached, or is not a valid URL.
    """
    from harness import outside
    from harness.errors import RequestError, StepError
    from harness.store import located

    if "://" in place:
        try:
            found = located(place)
            found.reach()
        except (RequestError, StepError) as error:
            raise RequestError(f"--store: {error}") from error
        return found
    folder = Path(place)
    if trouble := outside.problem(folder):
        raise RequestError(f"--store: {folder} {trouble}")
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise RequestError(f"--store: {there} is a file, expected a folder")
    return located(folder.resolve())


def open_engine(store: Store, choice: Choice = Choice()) -> Engine:
    """Return the engine that carries out a store's jobs; a Ray engine is connected to its cluster.

    Raises:
        RequestError: There is no such engine or device, or Ray is not installed.
    """
    from harness.engines.config import LocalConfig, load_engine
    from harness.engines.gpus import cpu_only, gpus
    from harness.engines.local import LocalEngine
    from harness.engines.slots import find_slots
    from harness.engines.worker import git_commit
    from harness.errors import RequestError, did_you_mean

    device, address = choice.device, choice.address
    if device not in (None, "cpu", "cuda"):
        raise RequestError(f'--device: "{device}" is no device.{did_you_mean(device or "", ("cpu", "cuda"))}')
    config = load_engine(choice.engine)
    chosen = {name: value for name, value in (("workers", choice.workers), ("device", device)) if value is not None}
    logs = store.root / "logs"
    if isinstance(config, LocalConfig):
        if address is not None:
            raise RequestError("--address: the local engine has none; did you mean --engine ray?")
        config = config.model_copy(update=chosen)
        slots = find_slots(config.workers, config.device)
        if config.device is None and (built := cpu_only()) and gpus():
            note(f"A GPU is here, but torch {built} is built without CUDA: runs are on the CPU. https://pytorch.org")
        return LocalEngine(slots, logs, git_commit(), chosen=config.workers is not None)
    try:
        from harness.engines.ray import RayEngine
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise RequestError("--engine: Ray is not installed; pip install 'ablation-harness[ray]'") from error
    chosen |= {"address": address} if address is not None else {}
    url = "" if store.location == str(store.root) else store.location
    with working("Connecting to Ray"):
        made = RayEngine(config.model_copy(update=chosen), logs, git_commit(), url=url)
    note(f"Ray at {made.address}: {made.slots.workers} slots ({made.config.worker.shown()} each), {made.free} free now")
    return made


def prepared(model: Model, store: Store, engine: Engine | None = None) -> Model:
    """Make a base model ready, as the first run would, and return the ready model.

    Args:
        model: An embedded model, or a model of the Hub.
        store: Where a prepared embedded model is kept.
        engine: The engine whose worker does the work; default: a local one.
    """
    from harness import models
    from harness.engines.jobs import ModelJob

    note(f"Preparing {model.name} (once, about half a minute)")
    (engine or open_engine(store)).call(ModelJob(id="model", label=model.name, store=store.location, model=model))
    return models.resolve(model.name, store.root, store, trust_remote_code=model.trust_remote_code)


def shown_store(place: str) -> str:
    """Return the ``--store`` option for a suggested command; empty for the default store."""
    usual = "://" not in place and Path(place).resolve() == Path(DEFAULT_STORE).resolve()
    return "" if usual or os.environ.get("HARNESS_STORE") else f" --store {shlex.quote(place)}"
