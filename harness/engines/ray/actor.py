"""A worker on a Ray cluster: an actor that holds the base model."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import ray

from harness.engines.jobs import read_job
from harness.engines.placement import HARDWARE
from harness.engines.relay import Relay
from harness.engines.slots import processor
from harness.engines.worker import Worker
from harness.errors import RequestError, StepError

TAIL = 2**16  # bytes at the end of a log in which a worker looks for the driver's token


class Actor:
    """Runs a worker: the driver sends it jobs and polls it for events.

    Args:
        make: Makes the worker.
        log: Path of the file that takes the output of libraries; the driver reads it too. With ``url``, its name only.
        token: A random word that the driver writes to that file: the actor that finds it there sees the same store.
        device: ``cpu`` or ``cuda``.
        url: URL of the store when it is an object store.
    """

    def __init__(self, make: Callable[[TextIO], Worker], log: str, token: str, device: str, url: str = "") -> None:
        self._log, self._token, self._device, self._url = Path(log), token, device, url
        self._relay = Relay(make)

    def hello(self) -> dict[str, str]:
        """Return where this worker is. From now on the output of libraries goes to the store's logs.

        Raises:
            StepError: When this machine does not see the driver's store.
        """
        if self._url:
            self._log = self._reached() / "logs" / self._log
            self._log.parent.mkdir(parents=True, exist_ok=True)
        elif not self._log.is_file() or self._token.encode() not in self._log.read_bytes()[-TAIL:]:
            raise StepError(
                f"{socket.gethostname()} does not see {self._log.parent} as the driver does: "
                "the store must be in a folder that all nodes share"
            )
        with self._log.open("a") as stream:
            for descriptor in (1, 2):
                os.dup2(stream.fileno(), descriptor)
        context = ray.get_runtime_context()
        hardware = context.get_node_labels().get(HARDWARE)
        if hardware is None and self._device == "cuda":
            import torch

            hardware = torch.cuda.get_device_name()
        return {
            "node": socket.gethostname(),
            "node_id": context.get_node_id()[:8],
            "hardware": hardware or processor(),
        }

    def _reached(self) -> Path:
        """Return this machine's folder of copies, after a check that the object store answers."""
        from harness.store import located

        try:
            store = located(self._url)
            store.probe()
        except RequestError as error:
            raise StepError(f"{socket.gethostname()} cannot use the store: {error}") from error
        return store.root

    def work(self, job: str | None, place: dict[str, Any]) -> list[str]:
        """Take a job, if there is one, and return the events since the last call (see ``Relay.work``)."""
        return self._relay.work(read_job(job) if job else None, place)

    def stop(self) -> None:
        """Return when the worker can end without loss: after a training's checkpoint, or a result's publication."""
        self._relay.stop()
