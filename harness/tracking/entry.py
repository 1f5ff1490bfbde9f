"""The content of an MLflow run as plain data: an entry, its datasets, and names and values that MLflow accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.identity import digest

TEXT_LIMIT = 5000  # characters of a tag or a param: the lowest limit among the supported MLflow versions
NAME_LIMIT = 250  # characters of a name
STDERR = "_stderr"
PLACE_TAGS = ("harness.adapter", "mlflow.parentRunId")  # tags with places, which are not content
_REFUSED = re.compile(r"[^\w\-./ :]")
_CODE = re.compile(r"_x[0-9A-F]+")
Level = Literal["study", "variant", "seed", "base"]
Status = Literal["FINISHED", "FAILED", "RUNNING"]
Table = list[dict[str, Any]]


@dataclass
class Dataset:
    """A dataset input of a run. It remains the same dataset when its folder moves.

    MLflow keeps one dataset per name and digest, so its description must not depend on the run: the run's seeds are in
    ``seeds``.
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
    """One MLflow run. Times are in milliseconds since 1970."""

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
        """Convert names and values to MLflow's forms; drop empty and unknown values."""
        self.params = {named(k): text for k, v in self.params.items() if (text := spelled(v))}
        self.metrics = {named(k): float(v) for k, v in self.metrics.items() if v is not None}
        self.tags = {k: text for k, v in self.tags.items() if (text := spelled(v))}

    def fixed(self) -> str:
        """Return a digest of the parts that MLflow cannot change once written: begin, params, curve, inputs."""
        inputs = [(d.name, d.digest, d.context, d.profile, d.seeds) for d in self.datasets]
        return _digest([self.times[0], self.params, [point[:3] for point in self.curve], inputs])

    def artifacts(self) -> str:
        """Return a digest of all artifacts; a file in the store enters with its keyed folder's name and its size."""
        files = [(path, file.parent.name, size) for path, (file, size) in sorted(self.files.items())]
        return _digest([self.documents, self.texts, self.tables, files])

    def content(self) -> str:
        """Return a digest of everything shown, except places."""
        tags = {key: value for key, value in self.tags.items() if key not in PLACE_TAGS}
        end = self.times[1] if self.status != "RUNNING" else None
        return _digest([self.fixed(), self.artifacts(), self.name, self.status, end, self.metrics, tags])


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted names."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        found |= flat(item, f"{prefix}{name}.") if isinstance(item, Mapping) else {f"{prefix}{name}": item}
    return found


class Name(str):
    """A name that MLflow accepts."""


def named(name: str) -> Name:
    """Return a name MLflow accepts; different names stay different.

    MLflow takes letters and digits of all scripts, ``_ - . / :`` and space, as long as the name is a plain relative
    path. Any other character is written as XML encoders do, by its code in hexadecimal digits: ``C#`` is ``C_x23_``. A
    name that is too long ends in a digest.
    """
    return name if isinstance(name, Name) else _written(name, set())


def of_slice(score: str, name: str) -> Name:
    """Return the name of a slice's score. No slice ends in ``STDERR``, so the standard error's name is unique.

    Not ``task/metric/slice``: a file-based MLflow would need ``task/metric`` to be both a file and a folder.
    """
    whole = f"{score}:{name}"
    refused = {at for at in range(len(score) + 1, len(whole)) if whole[at] == "/"}
    return _written(whole, refused | ({len(whole) - len(STDERR) + 1} if name.endswith(STDERR) else set()))


def of_stderr(name: str) -> Name:
    """Return the name of the standard error of the metric with this name."""
    return _short(f"{named(name)}{STDERR}")


def _written(name: str, refused: set[int]) -> Name:
    """Return a name with characters replaced by their codes: those at the given places, and all that MLflow refuses."""
    refused = refused | {found.start() for found in _REFUSED.finditer(name)}
    start = 0
    if name.startswith(".."):  # MLflow would read it as a path out of the folder
        refused.add(0)
    for segment in name.split("/"):  # "", "." and ".." would make it another path
        if segment in ("", ".", ".."):
            refused |= set(range(start, start + len(segment))) or {min(start, len(name) - 1)}
        start += len(segment) + 1
    return _short("".join(_escaped(name, at, refused) for at in range(len(name))) or "_x00_")


def _escaped(name: str, at: int, refused: set[int]) -> str:
    """Return a character of a name, or its code; ``_`` gets a code too when it would look like the begin of one."""
    if at in refused:
        return f"_x{ord(name[at]):X}_"
    code = _CODE.match(name, at)
    if code is not None and (name[code.end() : code.end() + 1] == "_" or code.end() in refused):
        return "_x5F_"
    return name[at]


def _short(written: str) -> Name:
    if len(written) <= NAME_LIMIT:
        return Name(written)
    stem = written.removesuffix(STDERR)
    ending = f" {digest(written)[:16]}{written[len(stem) :]}"
    return Name(written[: NAME_LIMIT - len(ending)].rstrip("/.") + ending)


def spelled(value: Any) -> str:
    """Return a value as the text of a param or tag, cut to MLflow's limit."""
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
