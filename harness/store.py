"""The store: where finished steps live, found by key and by nothing else.

``<root>/<kind>/<readable-name>-<key>/`` holds a finished artifact; its ``record.json`` is written last and the folder
arrives by rename, so an artifact is either whole or absent. Work in progress is in ``<root>/work/<key>/``; several
attempts at one key may run at once and the first rename wins. Locks only save duplicate work.

A record holds the digest of every file beside it and a seal over itself. The seal is compared whenever a record is
read, a file's digest before the file is used (``Artifact.checked``), and all of them by ``upkeep.verify``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import RequestError, StepError
from harness.identity import file_digest
from harness.records import Failure, Record, StoredFile
from harness.seals import KEYED, RECORD, content, file_problem, folder_name, json_bytes, parsed
from harness.visible import redacted

WORK = "work"
LOCKS = "locks"
RELISTED = 5.0  # s; two drivers that publish one key by two names within that time both do: the older one counts
SETTLED = 2_000_000_000  # ns; a folder that changed longer ago gets another time stamp when it changes again
ATTEMPT = re.compile(r"^(.*)-(\d+)-[0-9a-f]{8}$")  # folder of an attempt: host, process, random


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

    def checked(self, *names: str) -> Path:
        """Return the folder, having compared files (all, where none is named) with the record.

        Raises:
            StepError: One is missing, or is not what was published: what is damaged is not used.
        """
        for name in names or self.record.files:
            problem = file_problem(self.folder, name, self.record.files.get(name))
            if problem:
                raise StepError(
                    f"{self.folder} is damaged: {problem}. Delete the folder and run again: it is made anew "
                    "(`harness store verify` lists all damage)"
                )
        return self.folder


@dataclass
class Attempt:
    """A folder being filled; ``digest``, ``data`` and ``provenance`` go into the record."""

    folder: Path
    digest: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Listing:
    """What a kind's folder held when it was looked at.

    Attributes:
        stamp: The folder's time stamp; 0 where another change may have the same one.
        at: When that was, by this process's clock in seconds.
        seen: All names that were there.
        folders: Key -> names of folders, of these at least: what is published here is added.
    """

    stamp: int = -1
    at: float = -math.inf
    seen: frozenset[str] = frozenset()
    folders: dict[str, list[str]] = field(default_factory=dict)


class Store:
    """A folder of artifacts. Creating the object touches nothing on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listings: dict[str, _Listing] = {}  # by kind

    # ------------------------------------------------------------------------------------------------- reading

    def find(self, kind: str, key: str) -> Artifact | None:
        """Return the finished artifact of a key, or None. Its files are not looked at: see ``Artifact.checked``.

        Raises:
            RequestError: Its record is damaged.
        """
        known = self._listings.get(kind, _Listing()).folders.get(key, [])
        return self._first(kind, key, known) or self._first(kind, key, self._listing(kind).get(key, []))

    def at(self, folder: Path) -> Artifact:
        """Return the artifact in a folder.

        Raises:
            RequestError: There is none, or its record is damaged.
        """
        record = self._read(folder)
        if record is None:
            raise RequestError(f"{folder} is not there any more, or has lost its {RECORD}; run again to have it made")
        return Artifact(folder, record)

    def _first(self, kind: str, key: str, names: list[str]) -> Artifact | None:
        """Return the artifact among folders: the oldest, where drivers of two studies published one each."""
        folders = [self.root / kind / name for name in names]
        found = [Artifact(path, record) for path in folders if (record := self._read(path)) and record.key == key]
        return min(found, key=lambda one: (one.record.created, one.folder.name), default=None)

    def _listing(self, kind: str, within: float = 0.0) -> dict[str, list[str]]:
        """Return a kind's folders by key; listed again only when one came or went: a sweep asks thousands of times.

        Args:
            kind: The kind.
            within: Seconds for which an older listing will do.
        """
        last = self._listings.get(kind, _Listing())
        if time.monotonic() - last.at < within:
            return last.folders
        folder = self.root / kind
        try:
            stamp = folder.stat().st_mtime_ns
            if last.stamp == stamp:
                return last.folders
            with os.scandir(folder) as entries:
                seen = frozenset(entry.name for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        # As a rule a few came and none went: only those are taken apart.
        folders, came = (last.folders, seen - last.seen) if last.seen <= seen else ({}, seen)
        for name in came:
            if (keyed := KEYED.match(name)) and name not in folders.setdefault(keyed["key"], []):
                folders[keyed["key"]].append(name)
        # Within a tick of the clock a folder can change twice and show one time stamp.
        settled = time.time_ns() - stamp > SETTLED
        self._listings[kind] = _Listing(stamp if settled else 0, time.monotonic(), seen, folders)
        return folders

    def artifacts(self, kind: str | None = None, damaged: list[Path] | None = None) -> list[Artifact]:
        """Return all finished artifacts (of one kind), by kind and name.

        Args:
            kind: One kind only.
            damaged: Takes the folders whose record is damaged.

        Raises:
            RequestError: A record is damaged, and ``damaged`` was not given.
        """
        found = []
        kinds = [self.root / kind] if kind else sorted(p for p in folders_in(self.root) if p.name != WORK)
        for parent in kinds:
            for path in sorted(folders_in(parent)):
                try:
                    record = self._read(path)
                except RequestError:
                    if damaged is None:
                        raise
                    damaged.append(path)
                else:
                    found += [Artifact(path, record)] if record is not None else []
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
            record, problem = parsed((folder / RECORD).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        if record is None or problem:
            raise RequestError(
                f"{folder / RECORD} is {problem}; `harness store verify` lists what is affected; "
                "delete the folder to have it made again"
            )
        return record

    # ------------------------------------------------------------------------------------------------- writing

    @contextlib.contextmanager
    def attempt(self, step: Step) -> Iterator[Attempt]:
        """Fill a folder and publish it under the step's key when the block ends without an error.

        The first attempt to finish wins; a later one is thrown away, because equal keys mean equal contents.
        """
        with self.scratch(step.key) as work:
            attempt = Attempt(work)
            yield attempt
            self._publish(step, attempt)

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Give a folder of this process in ``work/<name>``, and remove it, with those of dead processes, when left."""
        work = self.root / WORK / name / attempt_name()
        _make(work)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
            with contextlib.suppress(OSError):  # others may be doing the same
                for left in folders_in(work.parent):
                    if ATTEMPT.match(left.name) and not is_alive(left.name):
                        shutil.rmtree(left, ignore_errors=True)
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
        _write(attempt.folder / RECORD, content(record))
        for folder in (*(p for p in attempt.folder.rglob("*") if p.is_dir()), attempt.folder):
            _sync(folder)  # names are in folders: without this a power cut could leave an artifact without its files
        target = self.root / step.kind / folder_name(step.name, step.key)
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            _sync(self.root)
        # By another name it may have been published meanwhile. Who publishes thousands does not list them each time.
        listing = self._listing(step.kind, within=RELISTED)
        if self._first(step.kind, step.key, listing.get(step.key, [])) is None:
            self._arrive(attempt.folder, target)
            if step.kind in self._listings:
                self._listings[step.kind].folders.setdefault(step.key, []).append(target.name)
        (self.root / WORK / step.key / "failure.json").unlink(missing_ok=True)

    def _arrive(self, folder: Path, target: Path) -> None:
        """Rename a filled folder to its place; another attempt may have come first."""
        if target.is_dir() and not (target / RECORD).exists():
            # Somebody deleted the record: what is left is no artifact, and would be in the way for ever.
            target.rename(folder.with_name(attempt_name()))
        try:
            folder.rename(target)
        except OSError:
            # Keys equal, contents equal. Also when a network file system repeats a rename that it has done already.
            if self._read(target) is None:
                raise
        _sync(target.parent)

    def clear_dead(self) -> None:
        """Remove what attempts left behind whose process is gone; failures and checkpoints stay."""
        for work in (path for path in folders_in(self.root / WORK) if path.name != LOCKS):
            with contextlib.suppress(OSError):  # others may be doing the same
                for left in folders_in(work):
                    if ATTEMPT.match(left.name) and not is_alive(left.name):
                        shutil.rmtree(left, ignore_errors=True)
                work.rmdir()

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Keep others from doing the same step at the same time. It saves work; nothing depends on it.

        The kernel gives the lock back when its holder dies. Where a file system has no locks, none is taken.
        """
        folder = self.root / WORK / LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{key}.lock").open("a") as stream:
            with contextlib.suppress(OSError):
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def fail(self, failure: Failure) -> None:
        """Write why a step failed, for ``status`` and for the next run's message; without passwords and tokens."""
        hidden = {"message": redacted(failure.message), "detail": redacted(failure.detail)}
        with self.scratch(failure.key) as work:  # a half-written one goes with its process
            path = work / "failure.json"
            write_json(path, failure.model_copy(update=hidden).model_dump(mode="json"))
            path.replace(work.parent / path.name)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    _write(path, json_bytes(value))


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # there only when something went wrong, such as a full disk


def folders_in(parent: Path) -> list[Path]:
    """Return the folders in a folder; none when that is not there."""
    return [p for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []


def attempt_name() -> str:
    """Return a name for a folder of this process in ``work/<name>``, which is removed when the process is gone."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _make(folder: Path) -> None:
    """Make a folder and its parents, of which another attempt may be removing an empty one at this moment."""
    for _ in range(100):
        with contextlib.suppress(FileNotFoundError):
            return folder.mkdir(parents=True, exist_ok=True)
    raise StepError(f"{folder} cannot be made: its parent goes away each time")


def is_alive(attempt: str) -> bool:
    """Tell whether the process of an attempt's folder (``<host>-<pid>-<random>``) may still be running."""
    parts = ATTEMPT.match(attempt)
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


def _sync(path: Path) -> None:
    """Flush a file or folder to disk, so that a published artifact survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)
