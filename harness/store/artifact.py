"""A step, the attempt at it, and the artifact that comes of it."""

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
    """A keyed step: what it is, what it is made from, and how it is called on disk."""

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
        folder: Where its files are, or where copies of them come to be.
        record: What it is.
        fetch: Brings files into the folder, where they are kept elsewhere.
    """

    folder: Path
    record: Record
    fetch: Callable[[Artifact, Sequence[str]], None] | None = field(default=None, repr=False, compare=False)

    def checked(self, *names: str) -> Path:
        """Return the folder, having compared files (all, where none is named) with the record.

        Raises:
            StepError: One is missing, or is not what was published: what is damaged is not used.
        """
        self.fetched(*names)
        for name in names or self.record.files:
            problem = file_problem(self.folder, name, self.record.files.get(name))
            if problem and self.fetch is not None:
                (self.folder / name).unlink(missing_ok=True)
                raise StepError(
                    f"{self.folder} is damaged: {problem}. It was a copy, and is gone: run again; where it comes back "
                    "like that, `harness store verify` says what to delete"
                )
            if problem:
                raise StepError(
                    f"{self.folder} is damaged: {problem}. Delete the folder and run again: it is made anew "
                    "(`harness store verify` lists all damage)"
                )
        return self.folder

    def file(self, name: str) -> Path:
        """Return one file, having compared it with the record.

        Raises:
            StepError: It is missing, or is not what was published.
        """
        return self.checked(name) / name

    @property
    def files(self) -> dict[Path, int]:
        """The files and their bytes, by the record: not all need be at hand (see ``file``)."""
        return {self.folder / name: stored.bytes for name, stored in sorted(self.record.files.items())}

    @property
    def curve(self) -> list[dict[str, float]]:
        """The training curve of an adapter: step, loss, learning_rate, grad_norm, tokens_per_second."""
        return list(self.record.data.get("curve", []))

    def fetched(self, *names: str) -> Path:
        """Return the folder, with files (all, where none is named) at hand but not compared with the record.

        Raises:
            StepError: One cannot be had.
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
