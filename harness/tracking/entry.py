"""What an MLflow run shall hold, as plain data: an entry, its datasets, and the forms MLflow takes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.identity import digest

TEXT_LIMIT = 5000  # characters of a tag or a param: the lowest limit among the MLflow versions we allow
PLACE_TAGS = ("harness.adapter", "mlflow.parentRunId")  # where things are, not what they are
Level = Literal["study", "variant", "seed", "base"]
Status = Literal["FINISHED", "FAILED", "RUNNING"]
Table = list[dict[str, Any]]


@dataclass
class Dataset:
    """A dataset input of a run. It stays the same dataset when its folder moves.

    MLflow keeps one dataset per name and digest: what describes it may not depend on the run that it is an input of,
    which is what ``seeds`` is for.
    """

    name: str
    digest: str
    context: Literal["training", "evaluation"]
    columns: dict[str, str]
    profile: dict[str, Any]
    folder: str
    seeds: list[int] = field(default_factory=list)


@dataclass
class Entry:
    """One MLflow run as it should be. Times are in milliseconds since 1970."""

    key: str
    name: str
    level: Level
    parent: str | None
    status: Status
    times: tuple[int, int]
    params: dict[str, Any] = field(default_factory=dict)
    curve: list[tuple[str, float, int, int]] = field(default_factory=list)  # name, value, step, time
    metrics: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)
    datasets: list[Dataset] = field(default_factory=list)
    documents: dict[str, Any] = field(default_factory=dict)  # artifact path -> JSON value
    texts: dict[str, str] = field(default_factory=dict)  # artifact path -> text
    tables: dict[str, Table] = field(default_factory=dict)  # artifact path -> rows
    files: dict[str, tuple[Path, int]] = field(default_factory=dict)  # artifact path -> file in the store, bytes

    def __post_init__(self) -> None:
        """Bring names and values into the form MLflow stores; what is empty or unknown is left out."""
        self.params = _named({k: text for k, v in self.params.items() if (text := spelled(v))})
        self.metrics = _named({k: float(v) for k, v in self.metrics.items() if v is not None})
        self.tags = {k: text for k, v in self.tags.items() if (text := spelled(v))}

    def fixed(self) -> str:
        """Return a digest of what MLflow cannot change once it is written: begin, params, curve, inputs."""
        inputs = [(d.name, d.digest, d.context, d.profile, d.seeds) for d in self.datasets]
        return _digest([self.times[0], self.params, [point[:3] for point in self.curve], inputs])

    def artifacts(self) -> str:
        """Return a digest of all artifacts: of a file in the store, the name of its keyed folder and its size."""
        files = [(path, file.parent.name, size) for path, (file, size) in sorted(self.files.items())]
        return _digest([self.documents, self.texts, self.tables, files])

    def content(self) -> str:
        """Return a digest of everything shown, except where it lies."""
        tags = {key: value for key, value in self.tags.items() if key not in PLACE_TAGS}
        end = self.times[1] if self.status != "RUNNING" else None
        return _digest([self.fixed(), self.artifacts(), self.name, self.status, end, self.metrics, tags])


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted names."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        found |= flat(item, f"{prefix}{name}.") if isinstance(item, Mapping) else {f"{prefix}{name}": item}
    return found


def named(name: str) -> str:
    """Return a name MLflow accepts: letters, digits and ``_ - . / :`` and space."""
    return re.sub(r"[^\w\-./ :]", "_", name, flags=re.ASCII)[:250]


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    """Bring all names into MLflow's form; two that come out the same stay two."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = named(key)
        while name in found:
            name += "_"
        found[name] = value
    return found


def spelled(value: Any) -> str:
    """Return a value as the text of a param or tag, cut where MLflow would refuse it."""
    if value is None or isinstance(value, str):
        text = value or ""
    elif isinstance(value, list | tuple):
        text = ", ".join(spelled(item) for item in value)
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"


def _digest(value: Any) -> str:
    # A diverged loss is NaN, which has no canonical JSON: spell the value first.
    return digest(json.dumps(value, sort_keys=True, default=str))
