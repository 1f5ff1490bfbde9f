"""A store in an object store (S3, or any that fsspec reaches), for machines that share no folder.

An object store has no renames, so only the record makes an artifact whole:

    <url>/<kind>/<readable-name>-<key>/<seal>/<files>     the files of one attempt; the seal is that of its record
    <url>/<kind>/<readable-name>-<key>/record.json        one object, written last; it says whose files count

Two attempts never write the same object, unless with the same bytes. When the object store can refuse to overwrite a
record, the first record wins; else the last one does. Either names whole files. Files of an attempt that lost, or was
interrupted, belong to no artifact: ``remains`` returns them.

On every machine a folder holds copies of the records that were read, of the files that were fetched, and of everything
that this machine makes. It is a store like any other, without the artifacts that were never fetched. To delete it loses
only work in progress (checkpoints), logs and MLflow's default database, which are nowhere else.
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, RequestError, StepError
from harness.escaping import redacted
from harness.store.artifact import Artifact
from harness.store.atomic import make_folder, write_bytes
from harness.store.integrity import KEYED, RECORD, parsed
from harness.store.local import RELISTED, WORK, Listing, Store
from harness.store.record import Failure, Record

COPY_OF = "copy-of.txt"  # file in a folder of copies that holds the URL of the store
FAILURE = "failure.json"
KEPT = timedelta(days=1)  # a younger artifact may be in use on another machine: a study being planned, an upload
PREFIX = 16  # digits of a seal


def _harmless(parts: Sequence[str]) -> list[str]:
    """Return parts of an object's name as safe names of files: an object's name may lead out of a folder."""
    return [part if part.strip(".") else part.replace(".", "%2E") or "%" for part in parts]


class ObjectStore(Store):
    """A store in an object store.

    Args:
        url: Where it is.
        root: The folder of copies.
    """

    def __init__(self, url: str, root: Path) -> None:
        super().__init__(root)
        self.url = url

    @property
    def location(self) -> str:
        """The folder or URL by which another process opens this store."""
        return self.url

    def location_of(self, folder: Path) -> str:
        """Return where the files of an artifact are kept, for people and other programs; the same on every machine."""
        record = self._read(folder)
        return f"{self.url}/{self._place(folder)}" + (f"/{record.seal[:PREFIX]}" if record else "")

    def reach(self) -> None:
        """Check that the place can be listed.

        Raises:
            StepError: It cannot, because of the address, the credentials or the bucket.
        """
        with self._asking():
            try:
                self._fs.ls(self._located[1], detail=False)
            except FileNotFoundError:  # the place is empty, or does not exist
                self._fs.info(self._located[1].split("/")[0])

    # ------------------------------------------------------------------------------------------------- reading

    def kinds(self) -> list[str]:
        """Return the kinds with artifacts."""
        return sorted(name for name in self._list("") if name != WORK and name.strip("."))

    def prefetch(self, *kinds: str) -> None:
        """Copy the records of some kinds to this machine, many at once, which is faster than one by one."""
        for kind in kinds:
            folders = [path for path in self._folders(kind) if not (path / RECORD).exists()]
            wanted = {self._path(self._place(path), RECORD): path for path in folders}
            with self._asking():
                found = self._fs.cat(list(wanted), on_error="omit") if wanted else {}
            for place, raw in found.items():
                if parsed(raw)[1] == "":
                    self._keep(wanted[place], raw)

    def artifacts(self, kind: str | None = None, damaged: list[Path] | None = None) -> list[Artifact]:
        """Return all finished artifacts (of one kind), sorted by kind and name (see ``Store.artifacts``)."""
        self.prefetch(*([kind] if kind else self.kinds()))
        return super().artifacts(kind, damaged)

    def failure(self, key: str) -> Failure | None:
        """Return why the last attempt at a key failed; None when it did not fail."""
        self._listing(WORK, RELISTED)
        raw = self._get(f"{WORK}/{key}/{FAILURE}") if key in self._listings[WORK].seen else None
        if raw is None:
            return None
        make_folder(self.root / WORK / key)
        write_bytes(self.root / WORK / key / FAILURE, raw)
        return super().failure(key)

    def _artifact(self, folder: Path, record: Record) -> Artifact:
        return Artifact(folder, record, self._fetch)

    def _folders(self, kind: str) -> list[Path]:
        names = sorted(name for names in self._listing(kind).values() for name in names)
        return [self.root / kind / name for name in names]

    def _listing(self, kind: str, within: float = 0.0) -> dict[str, list[str]]:
        """Return a kind's folders by key; a listing at most ``within`` seconds old is used again."""
        last, began = self._listings.get(kind), time.monotonic()
        if last is None or began - last.at >= within:
            names = self._list(kind)
            folders: dict[str, list[str]] = {}
            for name in names:
                if keyed := KEYED.match(name):
                    folders.setdefault(keyed["key"], []).append(name)
            now = time.monotonic()
            last = self._listings[kind] = Listing(at=now, took=now - began, seen=frozenset(names), folders=folders)
        return last.folders

    def _read(self, folder: Path) -> Record | None:
        record = super()._read(folder)
        if record is not None:
            return record
        raw = self._get(f"{self._place(folder)}/{RECORD}")
        if raw is None:
            return None
        record, problem = parsed(raw)
        if record is None or problem:
            place = f"{self.url}/{self._place(folder)}"
            raise RequestError(
                f"{place}/{RECORD} is {problem}; `harness store verify` lists what is affected; "
                f"delete {place} to have it made again"
            )
        self._keep(folder, raw)
        return record

    def _fetch(self, artifact: Artifact, names: Sequence[str]) -> None:
        """Copy files of an artifact to this machine, unless they are there."""
        files, folder = artifact.record.files, artifact.folder
        missing = [name for name in names if name in files and not (folder / name).exists()]
        if not missing:
            return
        home = self._home(folder, artifact.record)
        with self.scratch("copies") as work:
            here = [work / str(number) for number in range(len(missing))]
            with self._asking():
                try:
                    self._fs.get([f"{home}/{name}" for name in missing], [str(path) for path in here])
                except FileNotFoundError as error:
                    (folder / RECORD).unlink(missing_ok=True)  # the next read takes the current record
                    gone = [name for name in missing if not self._fs.exists(f"{home}/{name}")]
                    place = f"{self.url}/{self._place(folder)}"
                    raise StepError(
                        f"{place} lacks {', '.join(gone) or 'nothing any more'}: it may have been made anew meanwhile, "
                        "so run again; where that does not help, delete it there (`harness store verify` lists all "
                        "damage)"
                    ) from error
            for name, path in zip(missing, here, strict=True):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                path.replace(folder / name)

    # ------------------------------------------------------------------------------------------------- writing

    def _arrive(self, folder: Path, target: Path) -> None:
        """Copy a filled folder to the object store, the record last; another attempt may have published before."""
        raw = (folder / RECORD).read_bytes()
        record = parsed(raw)[0]
        assert record is not None
        home = self._home(target, record)
        with self._asking():
            if record.files:
                names = list(record.files)
                self._fs.put([str(folder / name) for name in names], [f"{home}/{name}" for name in names])
            first = self._create(self._path(self._place(target), RECORD), raw)
        if first:
            (target / RECORD).unlink(missing_ok=True)  # a copy of a record that has been deleted
            self._mark()
            super()._arrive(folder, target)

    def _create(self, path: str, raw: bytes) -> bool:
        """Write an object unless it exists; return whether it was written."""
        try:
            self._fs.pipe_file(path, raw, mode="create")
        except FileExistsError:
            return False
        except (OSError, TypeError, ValueError, NotImplementedError):
            # Not every object store has conditional writes. The last record names whole files, like the first.
            if self._fs.exists(path):
                return False
            self._fs.pipe_file(path, raw)
        return True

    def fail(self, failure: Failure) -> None:
        """Write why a step failed, for all machines."""
        super().fail(failure)
        raw = (self.root / WORK / failure.key / FAILURE).read_bytes()
        with self._asking():
            self._fs.pipe_file(self._path(WORK, failure.key, FAILURE), raw)

    def forget_failure(self, key: str) -> None:
        """Delete the record of a step's failure, after it succeeded."""
        super().forget_failure(key)
        self._listing(WORK, RELISTED)
        if key in self._listings[WORK].seen:
            with self._asking(), contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(self._path(WORK, key, FAILURE))

    def probe(self) -> None:
        """Check that the object store can be written and read, before anything is built for it.

        Raises:
            RequestError: It cannot; the message has the reason.
        """
        super().probe()
        path, raw = self._path(WORK, f"probe-{uuid.uuid4().hex}"), b"harness"
        try:
            with self._asking():
                self._fs.pipe_file(path, raw)
                read = self._fs.cat_file(path)
                self._fs.rm_file(path)
        except StepError as error:
            raise RequestError(f"--store: {error}") from error
        if read != raw:
            raise RequestError(f"--store: {self.url}: objects do not come back as they were written")

    # -------------------------------------------------------------------------------------------------- maintenance

    def places(self) -> dict[Path, int]:
        """Return folder -> bytes of everything in the folders of kinds (see ``Store.places``)."""
        found: dict[Path, int] = {}
        for parts, info in self._objects():
            if parts[0] != WORK and len(parts) > 1:
                place = self.root.joinpath(*_harmless(parts[:2]))
                found[place] = found.get(place, 0) + int(info["size"] or 0)
        return dict(sorted(found.items()))

    @contextlib.contextmanager
    def whole(self, folder: Path) -> Iterator[Path]:
        """Yield a folder with all files that the object store has of an artifact (see ``Store.whole``)."""
        with self.scratch("copies") as work:
            copy = work / self._place(folder)
            raw = self._get(f"{self._place(folder)}/{RECORD}")
            record = parsed(raw)[0] if raw is not None else None
            home = record.seal[:PREFIX] if record is not None else ""
            taken: dict[str, Path] = {}
            for parts, info in self._objects(self._place(folder)):
                if parts[0] in (home, RECORD) or not re.fullmatch(rf"[0-9a-f]{{{PREFIX}}}", parts[0]):
                    name = "/".join(parts[1:] if parts[0] == home else parts)
                    taken[info["name"]] = copy.joinpath(*_harmless(name.split("/")))
            for path in taken.values():
                path.parent.mkdir(parents=True, exist_ok=True)
            with self._asking():
                self._fs.get(list(taken), [str(path) for path in taken.values()])
            yield copy

    def settled(self, record: Record) -> bool:
        """Return whether an unused artifact may be deleted: a young one may belong to a plan on another machine."""
        try:
            return datetime.fromisoformat(record.created) < datetime.now(UTC) - KEPT
        except (ValueError, TypeError):  # no date, or one without a time zone: not written by the harness
            return True

    def remains(self, used: set[str]) -> dict[Path, int]:
        """Return the remains of attempts (see ``Store.remains``), on this machine and in the object store."""
        found = super().remains(used)
        homes: dict[tuple[str, ...], str] = {}
        old = datetime.now(UTC) - KEPT
        for parts, info in self._objects():
            modified = info.get("LastModified") or info.get("updated") or info.get("last_modified")
            if not isinstance(modified, datetime) or modified > old:
                continue
            folder = None
            if parts[0] == WORK and len(parts) > 1:
                folder = self.root / WORK / parts[1] if parts[1] not in used else None
            elif len(parts) > 2:
                if parts[:2] not in homes:
                    record = self._read(self.root / parts[0] / parts[1])
                    homes[parts[:2]] = record.seal[:PREFIX] if record else ""
                lost = re.fullmatch(rf"[0-9a-f]{{{PREFIX}}}", parts[2]) and parts[2] != homes[parts[:2]]
                folder = self.root.joinpath(*parts[:3]) if lost else None
            if folder is not None:
                found[folder] = found.get(folder, 0) + int(info["size"] or 0)
        return found

    def remove(self, folder: Path) -> None:
        """Delete an artifact, or remains of an attempt, here and in the object store; a record is deleted first."""
        place = self._path(self._place(folder))
        with self._asking():
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(f"{place}/{RECORD}")
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm(place, recursive=True)
        if folder.exists():
            super().remove(folder)

    # ---------------------------------------------------------------------------------------- the object store

    @cached_property
    def _located(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        with self._asking():
            files, path = url_to_fs(self.url)
        return files, str(path).rstrip("/")

    @property
    def _fs(self) -> Any:
        return self._located[0]

    def _path(self, *parts: str) -> str:
        return "/".join((self._located[1], *parts))

    def _place(self, folder: Path) -> str:
        return folder.relative_to(self.root).as_posix()

    def _home(self, folder: Path, record: Record) -> str:
        """Return the place of a record's files; no other record has the same place."""
        return self._path(self._place(folder), record.seal[:PREFIX])

    def _list(self, kind: str) -> list[str]:
        with self._asking():
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._path(kind) if kind else self._located[1], detail=False)
            except FileNotFoundError:
                return []
        return [name for path in found if (name := str(path).rstrip("/").rpartition("/")[2])]

    def _objects(self, place: str = "") -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
        """Yield all objects below a place: the parts of their names below it, and their metadata."""
        root = self._path(place) if place else self._located[1]
        with self._asking():
            self._fs.invalidate_cache()
            found = self._fs.find(root, detail=True)
        for path, info in found.items():
            yield tuple(str(path)[len(root) :].strip("/").split("/")), info

    def _get(self, place: str) -> bytes | None:
        with self._asking(), contextlib.suppress(FileNotFoundError):
            return bytes(self._fs.cat_file(self._path(place)))
        return None

    def _keep(self, folder: Path, raw: bytes) -> None:
        """Keep a copy of a record."""
        self._mark()
        make_folder(folder)
        write_bytes(folder / RECORD, raw)

    def _mark(self) -> None:
        """Write the store's URL into the folder of copies."""
        if not (self.root / COPY_OF).exists():
            make_folder(self.root)
            write_bytes(self.root / COPY_OF, f"{self.url}\n".encode())

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn errors of a library about its object store into one sentence.

        Raises:
            StepError: The object store cannot be reached, or refuses, or lacks the bucket.
        """
        try:
            yield
        except HarnessError:
            raise
        except FileNotFoundError as error:
            raise StepError(f"{self.url}: there is no such bucket ({error})") from error
        except Exception as error:  # libraries of object stores share no narrower class
            reason = redacted(" ".join(str(error).split()) or type(error).__name__)
            raise StepError(f"{self.url}: {reason}") from error
