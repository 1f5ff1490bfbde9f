"""The store: where finished steps live, found by key and by nothing else.

``<root>/<kind>/<readable-name>-<key>/`` holds a finished artifact; its ``record.json`` is written last and the folder
arrives by rename, so an artifact is either whole or absent. Work in progress is in ``<root>/work/<key>/``; several
attempts at one key may run at once and the first rename wins. Locks only save duplicate work.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import RequestError
from harness.identity import KEY_LENGTH, file_digest
from harness.records import Failure, Record, StoredFile

RECORD = "record.json"
WORK = "work"
LOCKS = "locks"


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
    """A finished step: its folder and its record."""

    folder: Path
    record: Record


@dataclass
class Attempt:
    """A folder being filled; ``digest``, ``data`` and ``provenance`` go into the record."""

    folder: Path
    digest: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """One thing ``verify`` found wrong."""

    artifact: str
    text: str


class Store:
    """A folder of artifacts. Creating the object touches nothing on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # ------------------------------------------------------------------------------------------------- reading

    def find(self, kind: str, key: str) -> Artifact | None:
        """Return the finished artifact of a key, or None."""
        folder = self.root / kind
        for path in folder.glob(f"*-{key}") if folder.is_dir() else ():
            record = self._read(path)
            if record is not None and record.key == key:
                return Artifact(path, record)
        return None

    def artifacts(self, kind: str | None = None) -> list[Artifact]:
        """Return all finished artifacts (of one kind), by kind and name."""
        found = []
        kinds = [self.root / kind] if kind else sorted(p for p in _folders(self.root) if p.name != WORK)
        for parent in kinds:
            for path in sorted(_folders(parent)):
                record = self._read(path)
                if record is not None:
                    found.append(Artifact(path, record))
        return found

    def failure(self, key: str) -> Failure | None:
        """Return why the last attempt at a key failed, or None when none failed since."""
        path = self.root / WORK / key / "failure.json"
        try:
            return Failure.model_validate_json(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            return Failure(key=key, kind="?", name="?", stage="?", message=f"{path.name} is not readable")

    def _read(self, folder: Path) -> Record | None:
        try:
            return Record.model_validate_json((folder / RECORD).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise RequestError(
                f"{folder / RECORD} is damaged ({type(error).__name__}); "
                f"`harness store verify` lists what is affected; delete the folder to have it made again"
            ) from error

    # ------------------------------------------------------------------------------------------------- writing

    @contextlib.contextmanager
    def attempt(self, step: Step) -> Iterator[Attempt]:
        """Fill a folder and publish it under the step's key when the block ends without an error.

        The first attempt to finish wins; a later one is thrown away, because equal keys mean equal contents.
        """
        work = self.root / WORK / step.key / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        work.mkdir(parents=True)
        attempt = Attempt(work)
        try:
            yield attempt
            self._publish(step, attempt)
        finally:
            shutil.rmtree(work, ignore_errors=True)
            with contextlib.suppress(OSError):
                work.parent.rmdir()  # stays while another attempt or a failure.json is in it

    def _publish(self, step: Step, attempt: Attempt) -> None:
        if not attempt.digest:
            raise ValueError(f"{step.kind} {step.name}: no content digest was set")
        files = {}
        for path in sorted(p for p in attempt.folder.rglob("*") if p.is_file()):
            _sync(path)
            files[path.relative_to(attempt.folder).as_posix()] = StoredFile(
                sha256=file_digest(path), bytes=path.stat().st_size
            )
        record = Record(
            kind=step.kind,
            version=step.version,
            key=step.key,
            name=step.name,
            spec=step.spec,
            inputs=step.inputs,
            digest=attempt.digest,
            data=attempt.data,
            files=files,
            provenance=attempt.provenance,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_json(attempt.folder / RECORD, record.model_dump(mode="json"))
        target = self.root / step.kind / f"{_readable(step.name)}-{step.key}"
        target.parent.mkdir(parents=True, exist_ok=True)
        # An earlier attempt that is already there makes the rename fail: keys equal, contents equal, nothing to do.
        with contextlib.suppress(FileExistsError, OSError) if target.exists() else contextlib.nullcontext():
            attempt.folder.rename(target)
            _sync(target.parent)
        (self.root / WORK / step.key / "failure.json").unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Keep others from doing the same step at the same time. It saves work; nothing depends on it."""
        from filelock import FileLock

        folder = self.root / WORK / LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{key}.lock"):
            yield

    def fail(self, failure: Failure) -> None:
        """Write why a step failed, for ``status`` and for the next run's message."""
        folder = self.root / WORK / failure.key
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "failure.json", failure.model_dump(mode="json"))

    # ---------------------------------------------------------------------------------------------- maintenance

    def verify(self) -> list[Problem]:
        """Compare every file of every artifact with its record: missing, truncated and changed files are listed."""
        problems = []
        for parent in sorted(p for p in _folders(self.root) if p.name != WORK):
            for folder in sorted(_folders(parent)):
                label = f"{parent.name}/{folder.name}"
                try:
                    record = self._read(folder)
                except RequestError:
                    problems.append(Problem(label, f"{RECORD} is not readable"))
                    continue
                if record is None:
                    if re.search(rf"-[0-9a-f]{{{KEY_LENGTH}}}$", folder.name):
                        problems.append(Problem(label, f"{RECORD} is missing"))
                    continue
                problems += [Problem(label, text) for text in _file_problems(folder, record)]
        return problems

    def unreferenced(self, keep: set[str]) -> list[Path]:
        """Return the folders that hold none of the keys to keep, plus work whose process is gone.

        Work of another machine is left alone: whether it goes on cannot be told from here.
        """
        folders = [a.folder for a in self.artifacts() if a.record.key not in keep]
        for work in sorted(_folders(self.root / WORK)):
            if work.name != LOCKS and not any(_alive(attempt.name) for attempt in _folders(work)):
                folders.append(work)
        return folders


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}")
    with temporary.open("w") as stream:
        json.dump(value, stream, indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _file_problems(folder: Path, record: Record) -> list[str]:
    texts = []
    for name, stored in record.files.items():
        path = folder / name
        if not path.is_file():
            texts.append(f"{name} is missing")
        elif path.stat().st_size != stored.bytes:
            texts.append(f"{name} has {path.stat().st_size:,} bytes, {stored.bytes:,} expected")
        elif file_digest(path) != stored.sha256:
            texts.append(f"{name} was changed (its SHA-256 differs)")
    extra = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {
        *record.files,
        RECORD,
    }
    return texts + [f"{name} does not belong here" for name in sorted(extra)]


def _folders(parent: Path) -> list[Path]:
    return [p for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []


def _alive(attempt: str) -> bool:
    """Tell whether the process of an attempt's folder (``<host>-<pid>-<random>``) may still be running."""
    parts = re.match(r"^(.*)-(\d+)-[0-9a-f]{8}$", attempt)
    if parts is None:
        return False
    if parts[1] != socket.gethostname():
        return True
    try:
        os.kill(int(parts[2]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _readable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "unnamed"


def _sync(path: Path) -> None:
    """Flush a file or folder to disk, so that a published artifact survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
