"""A step, an attempt at it, and the artifact that a finished attempt becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import StepError
from harness.store.integrity import file_problem
from harness.store.record import Record


@dataclass(frozen=True)
class Step:
    """A step with its key, specification, inputs, and name on disk."""

    kind: str
    name: str
    key: str
    version: int
    spec: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifact:
    """A finished step.

    Attributes:
        folder: Where its files are, or where copies of them are fetched to.
        record: Its record.
        fetch: Copies files into the folder, when they are kept elsewhere.
    """

    folder: Path
    record: Record
    fetch: Callable[[Artifact, Sequence[str]], None] | None = field(default=None, repr=False, compare=False)

    def checked(self, *names: str) -> Path:
        """Compare files (all, when none is named) with the record and return the folder.

        Raises:
            StepError: A file is missing, or differs from what was published: a damaged file is not used.
        """
        self.fetched(*names)
        for name in names or self.record.files:
            problem = file_problem(self.folder, name, self.record.files.get(name))
            if problem and self.fetch is not None:
                (self.folder / name).unlink(missing_ok=True)
                raise StepError(
                    f"{self.folder} is damaged: {problem}. The damaged copy was deleted: run again; if the new copy is "
                    "damaged too, `harness store verify` says what to delete"
                )
            if problem:
                raise StepError(
                    f"{self.folder} is damaged: {problem}. Delete the folder and run again: it is then made again "
                    "(`harness store verify` lists all damage)"
                )
        return self.folder

    def file(self, name: str) -> Path:
        """Compare one file with the record and return its path.

        Raises:
            StepError: The file is missing, or differs from what was published.
        """
        return self.checked(name) / name

    @property
    def files(self) -> dict[Path, int]:
        """File -> bytes, from the record; not all files need be on this machine (see ``file``)."""
        return {self.folder / name: stored.bytes for name, stored in sorted(self.record.files.items())}

    @property
    def curve(self) -> list[dict[str, float]]:
        """The training curve of an adapter: step, loss, learning_rate, grad_norm, tokens_per_second."""
        return list(self.record.data.get("curve", []))

    def fetched(self, *names: str) -> Path:
        """Fetch files (all, when none is named) and return the folder; they are not compared with the record.

        Raises:
            StepError: A file cannot be fetched.
        """
        if self.fetch is not None:
            self.fetch(self, names or tuple(self.record.files))
        return self.folder


@dataclass
class Attempt:
    """A folder being filled; ``digest``, ``data`` and ``provenance`` go into the record."""

    folder: Path
    digest: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
