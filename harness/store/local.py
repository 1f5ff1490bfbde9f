"""A store in a folder: publish, find, lock, and clear away."""

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
SHARE = 0.05  # of the time may go into listing folders again: thousands of names take a while
RELISTED = 5.0  # s; two drivers that publish one key by two names within that time both do: the older one counts
SETTLED = 2_000_000_000  # ns; a folder that changed longer ago gets another time stamp when it changes again


@dataclass(frozen=True)
class Listing:
    """What a kind's folder held when it was looked at.

    Attributes:
        stamp: The folder's time stamp; 0 where another change may have the same one.
        at: When that was, by this process's clock in seconds.
        took: Seconds that it took.
        seen: All names that were there.
        folders: Key -> names of folders, of these at least: what is published here is added.
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
        """What another process opens this store by."""
        return str(self.root)

    def location_of(self, folder: Path) -> str:
        """Return where the files of an artifact are kept, for people and other programs; the same on every machine."""
        return str(folder)

    def reach(self) -> None:
        """Make sure that the place can be asked what is there: a folder can."""

    # ------------------------------------------------------------------------------------------------- reading

    def find(self, kind: str, key: str, name: str = "") -> Artifact | None:
        """Return the finished artifact of a key, or None. Its files are not looked at: see ``Artifact.checked``.

        Args:
            kind: Its kind.
            key: Its key.
            name: What it is called as a rule. One of that name is found at once; one that another study called
                otherwise a little late, where there are thousands: so that not all time goes into listing them.

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
            RequestError: There is none, or its record is damaged.
        """
        record = self._read(folder)
        if record is None:
            raise RequestError(f"{folder} is not there any more, or has lost its {RECORD}; run again to have it made")
        return self._artifact(folder, record)

    def _artifact(self, folder: Path, record: Record) -> Artifact:
        return Artifact(folder, record)

    def _first(self, kind: str, key: str, names: list[str]) -> Artifact | None:
        """Return the artifact among folders: the oldest, where drivers of two studies published one each."""
        folders = [self.root / kind / name for name in names]
        found = [self._artifact(path, record) for path in folders if (record := self._read(path)) and record.key == key]
        return min(found, key=lambda one: (one.record.created, one.folder.name), default=None)

    def _listing(self, kind: str, within: float) -> dict[str, list[str]]:
        """Return a kind's folders by key; listed again only when one came or went: a sweep asks thousands of times.

        Args:
            kind: The kind.
            within: Seconds for which an older listing will do.
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
        # As a rule a few came and none went: only those are taken apart.
        folders, came = (last.folders, seen - last.seen) if last.seen <= seen else ({}, seen)
        for name in came:
            if (keyed := KEYED.match(name)) and name not in folders.setdefault(keyed["key"], []):
                folders[keyed["key"]].append(name)
        # Within a tick of the clock a folder can change twice and show one time stamp.
        settled = time.time_ns() - stamp > SETTLED
        now = time.monotonic()
        self._listings[kind] = Listing(stamp if settled else 0, now, now - began, seen, folders)
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
        """Return the kinds that there are artifacts of."""
        parents = sorted(path for path in folders_in(self.root) if path.name != WORK)
        return [parent.name for parent in parents if any(KEYED.match(path.name) for path in folders_in(parent))]

    def _folders(self, kind: str) -> list[Path]:
        return sorted(folders_in(self.root / kind))

    def prefetch(self, *kinds: str) -> None:
        """Be ready to be asked for many artifacts of some kinds: here, they are at hand anyway."""

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

    def probe(self) -> None:
        """Refuse a store that cannot be written, before anything is built for it.

        Raises:
            RequestError: With the place.
        """
        there = next(path for path in (self.root, *self.root.parents) if path.exists())
        if not os.access(there, os.W_OK):
            raise RequestError(f"--store: {there} cannot be written (a read-only file system, or permissions)")

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
        make_folder(work)
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
            flush(folder)  # names are in folders: without this a power cut could leave an artifact without its files
        target = self.root / step.kind / folder_name(step.name, step.key)
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            flush(self.root)
        # By another name it may have been published meanwhile. Who publishes thousands does not list them each time.
        listing = self._listing(step.kind, within=RELISTED)
        if self._first(step.kind, step.key, listing.get(step.key, [])) is None:
            self._arrive(attempt.folder, target)
            if step.kind in self._listings:
                self._listings[step.kind].folders.setdefault(step.key, []).append(target.name)
        self.forget_failure(step.key)

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
        flush(target.parent)

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

    def forget_failure(self, key: str) -> None:
        """Take back that a step failed: it succeeded."""
        path = self.root / WORK / key / "failure.json"
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else is in there, or nothing was
            path.parent.rmdir()

    def checkpoints(self, key: str) -> Path:
        """Return the folder for what a step in progress leaves on the way, on this machine."""
        return self.root / WORK / key / "checkpoints"

    # -------------------------------------------------------------------------------------------------- maintenance

    def places(self) -> dict[Path, int]:
        """Return what is in the folders of kinds, artifacts and whatever else, and how many bytes each has."""
        return {path: size(path) for kind in self.kinds() for path in sorted((self.root / kind).iterdir())}

    @contextlib.contextmanager
    def whole(self, folder: Path) -> Iterator[Path]:
        """Give a folder with all there is of an artifact, as it is kept, to be looked through."""
        yield folder

    def settled(self, record: Record) -> bool:
        """Tell whether an artifact that no study stands on may go: here locks tell whether a run is at work."""
        return True

    def remains(self, used: set[str]) -> dict[Path, int]:
        """Return what attempts left behind whose process is gone, and how many bytes it has.

        Failures and checkpoints stay whose key is used, and so does work of other machines: whether that goes on
        cannot be told from here.
        """
        folders = []
        for work in (path for path in sorted(folders_in(self.root / WORK)) if path.name != LOCKS):
            attempts = [path for path in folders_in(work) if ATTEMPT.match(path.name)]
            gone = [path for path in attempts if not is_alive(path.name)]
            folders += gone if work.name in used or len(gone) < len(attempts) else [work]
        return {folder: size(folder) for folder in folders}

    def remove(self, folder: Path) -> None:
        """Delete an artifact, or a folder in ``work``; of a link only the link.

        An artifact's record goes first: half deleted, it is none any more.
        """
        if folder.is_symlink():
            folder.unlink()
            return
        (folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder)
