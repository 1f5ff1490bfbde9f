"""A store in a folder: finds, publishes, locks and cleans up."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import RequestError
from harness.escaping import redacted
from harness.identity import file_digest
from harness.store.artifact import Artifact, Attempt, Step
from harness.store.atomic import (
    ATTEMPT,
    attempt_name,
    flush,
    folders_in,
    is_alive,
    make_folder,
    size,
    write_bytes,
    write_json,
)  # fmt: skip
from harness.store.integrity import KEYED, RECORD, content, folder_name, parsed
from harness.store.record import Failure, Record, StoredFile

WORK = "work"
LOCKS = "locks"
SHARE = 0.05  # share of the time that new listings of folders may take: thousands of names take a while
RELISTED = (
    5.0  # s; when two drivers publish one key by two names within that time, both succeed and the older one counts
)
SETTLED = 2_000_000_000  # ns; a change to a folder that last changed longer ago is sure to change its time stamp


@dataclass(frozen=True)
class Listing:
    """A listing of a kind's folder.

    Attributes:
        stamp: The folder's time stamp; 0 when a later change may have the same one.
        at: Time of the listing, by this process's clock in seconds.
        took: Duration of the listing in seconds.
        seen: All names in the folder.
        folders: Key -> names of folders; artifacts that this process publishes are added.
    """

    stamp: int = -1
    at: float = -math.inf
    took: float = 0.0
    seen: frozenset[str] = frozenset()
    folders: dict[str, list[str]] = field(default_factory=dict)


class Store:
    """A folder of artifacts. Creating the object touches nothing on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listings: dict[str, Listing] = {}  # by kind

    @property
    def location(self) -> str:
        """The folder or URL by which another process opens this store."""
        return str(self.root)

    def location_of(self, folder: Path) -> str:
        """Return where the files of an artifact are kept, for people and other programs; the same on every machine."""
        return str(folder)

    def reach(self) -> None:
        """Check that the place can be listed; a folder always can."""

    # ------------------------------------------------------------------------------------------------- reading

    def find(self, kind: str, key: str, name: str = "") -> Artifact | None:
        """Return the finished artifact of a key, or None. Its files are not checked: see ``Artifact.checked``.

        Args:
            kind: Its kind.
            key: Its key.
            name: Its usual name. An artifact of this name is found at once. Among thousands of artifacts, one that
                another study published by another name may be found a little late, since listing them all takes long.

        Raises:
            RequestError: Its record is damaged.
        """
        last = self._listings.get(kind, Listing())
        usual = [folder_name(name, key)] if name else []
        found = self._first(kind, key, last.folders.get(key, [])) or self._first(kind, key, usual)
        return found or self._first(kind, key, self._listing(kind, last.took / SHARE if name else 0.0).get(key, []))

    def at(self, folder: Path) -> Artifact:
        """Return the artifact in a folder.

        Raises:
            RequestError: There is no artifact, or its record is damaged.
        """
        record = self._read(folder)
        if record is None:
            raise RequestError(f"{folder} is not there any more, or has lost its {RECORD}; run again to have it made")
        return self._artifact(folder, record)

    def _artifact(self, folder: Path, record: Record) -> Artifact:
        return Artifact(folder, record)

    def _first(self, kind: str, key: str, names: list[str]) -> Artifact | None:
        """Return the artifact among folders: the oldest, when drivers of two studies published one each."""
        folders = [self.root / kind / name for name in names]
        found = [self._artifact(path, record) for path in folders if (record := self._read(path)) and record.key == key]
        return min(found, key=lambda one: (one.record.created, one.folder.name), default=None)

    def _listing(self, kind: str, within: float) -> dict[str, list[str]]:
        """Return a kind's folders by key. The folder is listed again only after a change: a sweep calls this often.

        Args:
            kind: The kind.
            within: A listing at most this many seconds old is used again.
        """
        last = self._listings.get(kind, Listing())
        began = time.monotonic()
        if began - last.at < within:
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
        # Usually a few folders are new and none is gone: only new names are parsed.
        folders, came = (last.folders, seen - last.seen) if last.seen <= seen else ({}, seen)
        for name in came:
            if (keyed := KEYED.match(name)) and name not in folders.setdefault(keyed["key"], []):
                folders[keyed["key"]].append(name)
        # Within a tick of the clock a folder can change twice with one time stamp.
        settled = time.time_ns() - stamp > SETTLED
        now = time.monotonic()
        self._listings[kind] = Listing(stamp if settled else 0, now, now - began, seen, folders)
        return folders

    def artifacts(self, kind: str | None = None, damaged: list[Path] | None = None) -> list[Artifact]:
        """Return all finished artifacts (of one kind), sorted by kind and name.

        Args:
            kind: Only artifacts of this kind.
            damaged: List to which folders with a damaged record are added; without it they are an error.

        Raises:
            RequestError: A record is damaged, and ``damaged`` is None.
        """
        found = []
        for path in (path for one in ([kind] if kind else self.kinds()) for path in self._folders(one)):
            try:
                record = self._read(path)
            except RequestError:
                if damaged is None:
                    raise
                damaged.append(path)
            else:
                found += [self._artifact(path, record)] if record is not None else []
        return found

    def kinds(self) -> list[str]:
        """Return the kinds with artifacts."""
        parents = sorted(path for path in folders_in(self.root) if path.name != WORK)
        return [parent.name for parent in parents if any(KEYED.match(path.name) for path in folders_in(parent))]

    def _folders(self, kind: str) -> list[Path]:
        return sorted(folders_in(self.root / kind))

    def prefetch(self, *kinds: str) -> None:
        """Prepare for reading many artifacts of some kinds; in a folder there is nothing to do."""

    def failure(self, key: str) -> Failure | None:
        """Return why the last attempt at a key failed; None when it did not fail."""
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

    def probe(self) -> None:
        """Check that the store can be written, before anything is built for it.

        Raises:
            RequestError: It cannot; the message names the place.
        """
        there = next(path for path in (self.root, *self.root.parents) if path.exists())
        if not os.access(there, os.W_OK):
            raise RequestError(f"--store: {there} cannot be written (a read-only file system, or permissions)")

    @contextlib.contextmanager
    def attempt(self, step: Step) -> Iterator[Attempt]:
        """Fill a folder and publish it under the step's key when the block ends without an error.

        The first attempt to finish wins; a later one is discarded, because equal keys mean equal contents.
        """
        with self.scratch(step.key) as work:
            attempt = Attempt(work)
            yield attempt
            self._publish(step, attempt)

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Yield a folder of this process in ``work/<name>``; afterwards remove it, and those of dead processes."""
        work = self.root / WORK / name / attempt_name()
        make_folder(work)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
            with contextlib.suppress(OSError):  # others may be doing the same
                for left in folders_in(work.parent):
                    if ATTEMPT.match(left.name) and not is_alive(left.name):
                        shutil.rmtree(left, ignore_errors=True)
                work.parent.rmdir()  # fails while another attempt or a failure.json is in it

    def _publish(self, step: Step, attempt: Attempt) -> None:
        if not attempt.digest:
            raise ValueError(f"{step.kind} {step.name}: no content digest was set")
        files = {}
        for path in sorted(p for p in attempt.folder.rglob("*") if p.is_file()):
            flush(path)
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
        write_bytes(attempt.folder / RECORD, content(record))
        for folder in (*(p for p in attempt.folder.rglob("*") if p.is_dir()), attempt.folder):
            flush(folder)  # a folder holds the names of files: unflushed, a power cut could lose them
        target = self.root / step.kind / folder_name(step.name, step.key)
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            flush(self.root)
        # It may have been published meanwhile by another name. A recent listing is used again: listing takes long.
        listing = self._listing(step.kind, within=RELISTED)
        if self._first(step.kind, step.key, listing.get(step.key, [])) is None:
            self._arrive(attempt.folder, target)
            if step.kind in self._listings:
                self._listings[step.kind].folders.setdefault(step.key, []).append(target.name)
        self.forget_failure(step.key)

    def _arrive(self, folder: Path, target: Path) -> None:
        """Rename a filled folder to its place; another attempt may have published before."""
        if target.is_dir() and not (target / RECORD).exists():
            # The record was deleted by hand: the rest is no artifact, and would block the place for ever.
            target.rename(folder.with_name(attempt_name()))
        try:
            folder.rename(target)
        except OSError:
            # Equal keys, equal contents. Also when a network file system repeats a rename that it has already done.
            if self._read(target) is None:
                raise
        flush(target.parent)

    def clear_dead(self) -> None:
        """Remove the remains of attempts whose process has ended; failures and checkpoints are kept."""
        for work in (path for path in folders_in(self.root / WORK) if path.name != LOCKS):
            with contextlib.suppress(OSError):  # others may be doing the same
                for left in folders_in(work):
                    if ATTEMPT.match(left.name) and not is_alive(left.name):
                        shutil.rmtree(left, ignore_errors=True)
                work.rmdir()

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Lock a step while the block runs, so that others do not do it too. It saves work; nothing depends on it.

        The kernel releases the lock when its holder dies. On a file system without locks, none is taken.
        """
        folder = self.root / WORK / LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{key}.lock").open("a") as stream:
            with contextlib.suppress(OSError):
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def fail(self, failure: Failure) -> None:
        """Write why a step failed, without passwords and tokens, for ``status`` and the next run's message."""
        hidden = {"message": redacted(failure.message), "detail": redacted(failure.detail)}
        with self.scratch(failure.key) as work:  # a partial file is removed with its process's folder
            path = work / "failure.json"
            write_json(path, failure.model_copy(update=hidden).model_dump(mode="json"))
            path.replace(work.parent / path.name)

    def forget_failure(self, key: str) -> None:
        """Delete the record of a step's failure, after it succeeded."""
        path = self.root / WORK / key / "failure.json"
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the folder is not empty, or does not exist
            path.parent.rmdir()

    def checkpoints(self, key: str) -> Path:
        """Return the folder on this machine for the checkpoints of a step in progress."""
        return self.root / WORK / key / "checkpoints"

    # -------------------------------------------------------------------------------------------------- maintenance

    def places(self) -> dict[Path, int]:
        """Return path -> bytes of everything in the folders of kinds, artifacts or not."""
        return {path: size(path) for kind in self.kinds() for path in sorted((self.root / kind).iterdir())}

    @contextlib.contextmanager
    def whole(self, folder: Path) -> Iterator[Path]:
        """Yield a folder with all files of an artifact, unchecked, for inspection."""
        yield folder

    def settled(self, record: Record) -> bool:
        """Return whether an unused artifact may be deleted: here always, since locks show whether a run is at work."""
        return True

    def remains(self, used: set[str]) -> dict[Path, int]:
        """Return path -> bytes of the remains of attempts whose process has ended.

        Failures and checkpoints of used keys are not among them, nor is the work of other machines: this machine cannot
        know whether their processes still run.
        """
        folders = []
        for work in (path for path in sorted(folders_in(self.root / WORK)) if path.name != LOCKS):
            attempts = [path for path in folders_in(work) if ATTEMPT.match(path.name)]
            gone = [path for path in attempts if not is_alive(path.name)]
            folders += gone if work.name in used or len(gone) < len(attempts) else [work]
        return {folder: size(folder) for folder in folders}

    def remove(self, folder: Path) -> None:
        """Delete an artifact, or a folder in ``work``; for a link, only the link.

        An artifact's record is deleted first: a partly deleted folder is no artifact.
        """
        if folder.is_symlink():
            folder.unlink()
            return
        (folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder)
