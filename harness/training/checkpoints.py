"""Checkpoints of a run in progress: written now and then, so that a killed run goes on where it was.

Adapter, optimizer, scheduler and random states, as ``transformers.Trainer`` saves them; beside them the curve so far.
A checkpoint counts when its ``curve.json`` is there, which is renamed into place last, and its files are as it says.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from harness.identity import file_digest

# Seconds of training between two checkpoints, at least. Fewer suit machines that are taken away without warning.
PERIOD = float(os.environ.get("HARNESS_CHECKPOINT_SECONDS", "60"))
SHARE = 0.01  # of the time goes into saving, at most


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: where it is, the curve up to it, and the seconds of training it took."""

    folder: Path
    entries: list[dict[str, float]]
    seconds: float


class Checkpoints(TrainerCallback):  # type: ignore[misc]
    """Asks the trainer for a checkpoint when the last one is long enough ago for what saving costs, and adds the curve.

    Args:
        entries: The training curve, which grows with every step.
        seconds: Wall time that earlier processes have trained.
        device: Kind of device. Training resumes only from a checkpoint of the same kind.
        stop: Called after each step. When it returns True, a checkpoint is saved and training ends.
    """

    def __init__(
        self, entries: list[dict[str, float]], seconds: float, device: str, stop: Callable[[], bool] = lambda: False
    ) -> None:
        self._entries, self._device, self._stop = entries, device, stop
        self._started = time.perf_counter() - seconds
        self._asked = self._saved = time.perf_counter()
        self._cost = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a checkpoint when the last one is long enough ago for what it cost."""
        if state.global_step >= state.max_steps:
            return
        now, stop = time.perf_counter(), self._stop()
        if stop or now - self._saved >= max(PERIOD, self._cost / SHARE):
            control.should_save = True
            self._asked = now
        if stop:
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the curve into the checkpoint that was just saved: from now on it counts."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        written = {
            "entries": self._entries, "seconds": time.perf_counter() - self._started, "device": self._device,
            "files": {path.name: file_digest(path) for path in folder.iterdir() if path.is_file()},
        }  # fmt: skip
        (folder / "curve.part").write_text(json.dumps(written))
        (folder / "curve.part").rename(folder / "curve.json")
        self._saved = time.perf_counter()
        self._cost = self._saved - self._asked


def latest(folder: Path, device: str) -> Checkpoint | None:
    """Return the newest whole checkpoint in a folder that was made on this kind of device; None without one."""
    newest_first = sorted(
        (path.parent for path in folder.glob("checkpoint-*/curve.json")),
        key=lambda path: -int(path.name.removeprefix("checkpoint-")),
    )
    for checkpoint in newest_first:
        try:
            written = json.loads((checkpoint / "curve.json").read_text())
        except ValueError:
            continue
        if written["device"] == device and _whole(checkpoint, written.get("files", {})):
            return Checkpoint(checkpoint, written["entries"], written["seconds"])
    return None


def _whole(checkpoint: Path, files: dict[str, str]) -> bool:
    """Tell whether all files are as they were written: a power cut, or a second attempt at the run, may have torn them.

    Checkpoints are not flushed to disk: it would cost more than what is lost now and then.
    """
    there = all((checkpoint / name).is_file() for name in files)
    return there and all(file_digest(checkpoint / name) == digest for name, digest in files.items())
