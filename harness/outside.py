"""Files outside the store: lists the files of a folder, digests files, and checks that they have not changed since.

Others may change such files at any time. A result is stored under the digest of the files it was made of, so the files
must not change between digest and result: ``watched`` checks every file that was digested within it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from harness.errors import RequestError
from harness.identity import sequence_digest

LEFT_OUT = "__pycache__"  # left out of folders like hidden files
TICK = 20_000_000  # nanoseconds; Linux gives all changes within one tick of its clock (1 to 10 ms) the same time
COARSE = 2_000_000_000  # nanoseconds; the coarsest unit in which a file system counts time
KINDS = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))


class Changed(RequestError):
    """A file changed while a result was made of it."""


# ------------------------------------------------------------------------------------------------ what there is


def problem(path: Path) -> str:
    """Return what a path is if it exists and is neither file nor folder, for a message; else an empty string."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"is a link to {path.readlink()}, which is not there" if path.is_symlink() else ""
    except NotADirectoryError:
        return ""
    except (OSError, ValueError) as error:
        circle = isinstance(error, OSError) and error.errno == errno.ELOOP
        why = error.strerror if isinstance(error, OSError) else error
        return "is a link that leads in a circle" if circle else f"cannot be looked at ({why})"
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    kind = next((name for is_one, name in KINDS if is_one(mode)), "a device")
    return f"is {kind}, expected a file"


def real(path: Path) -> Path:
    """Return the path that a path leads to; unlike ``Path.resolve``, also for links that lead in a circle."""
    return Path(os.path.realpath(path))


def circle(folder: Path) -> str:
    """Return the problem of a folder that is a link to a folder above it, for a message; else an empty string."""
    leads_back = folder.is_symlink() and folder.is_dir() and folder.parent.resolve().is_relative_to(folder.resolve())
    return "is a link that leads back to a folder above it" if leads_back else ""


def hidden(path: Path) -> bool:
    """Return whether a path has a part that is left out of folders: ``.git``, ``._rows.jsonl``, ``__pycache__``."""
    return any(part.startswith(".") or part == LEFT_OUT for part in path.parts)


def walk(folder: Path, place: str) -> list[Path]:
    """Return the files below a folder in order, links followed, without hidden ones.

    Args:
        folder: The folder, which may itself be hidden.
        place: The beginning of messages, before a path in the folder.

    Raises:
        RequestError: An entry is neither a file nor a folder, such as a link to nothing, whose content would otherwise
            be missing without notice.
    """
    return sorted(file for _, files in _folders(folder, place) for file in files)


def _folders(folder: Path, place: str, inner: Path = Path()) -> Iterator[tuple[Path, list[Path]]]:
    """Yield a folder and the folders below it, each with the files directly in it."""
    try:
        names = _listed(folder / inner)
    except OSError as error:
        raise RequestError(f"{place}{inner} cannot be listed ({error.strerror})") from error
    paths = [folder / inner / name for name in names]
    for path in paths:
        if trouble := problem(path) or circle(path):
            raise RequestError(f"{place}{inner / path.name} {trouble}")
    yield folder / inner, [path for path in paths if path.is_file()]
    for path in paths:
        if path.is_dir():
            yield from _folders(folder, place, inner / path.name)


def _listed(folder: Path) -> list[str]:
    """Return the names of the entries directly in a folder, without hidden ones."""
    return sorted(path.name for path in folder.iterdir() if not hidden(Path(path.name)))


# ------------------------------------------------------------------------------------------ digests, and watching


@dataclass(frozen=True)
class Stamp:
    """Facts from the system about a file or folder, of which at least one differs after a change of its content.

    No program can set ``changed``, so it differs even if a file was replaced by one with the old size and date.
    """

    mode: int
    inode: int
    size: int
    modified: int
    changed: int


@dataclass(frozen=True)
class Seen:
    """The state of a file or folder when it was digested.

    Attributes:
        stamp: Its stamp, taken before it was read.
        digest: Digest of its bytes; for a folder, of the names in it.
        fresh: Whether it was so new that, if times are coarse, a change could have kept the same stamp.
    """

    stamp: Stamp
    digest: str
    fresh: bool


_watch: ContextVar[dict[Path, Seen] | None] = ContextVar("watch", default=None)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; of a folder, a digest of the names in it.

    Raises:
        RequestError: There is no such file, or it cannot be read.
    """
    try:
        seen = _look(path)
    except OSError as error:
        raise RequestError(f"{path}: {problem(path) or f'cannot be read ({error.strerror})'}") from error
    if (watch := _watch.get()) is not None:
        first = watch.setdefault(path.absolute(), seen)
        if (first.stamp, first.digest) != (seen.stamp, seen.digest):
            raise _changed(path)
    return seen.digest


def tree_digest(folder: Path, place: str) -> str:
    """Return a digest over the names and bytes of the files that ``walk`` finds.

    Raises:
        RequestError: As ``walk`` and ``digest`` do.
    """
    found = list(_folders(folder, place))
    for inner, _ in found:
        digest(inner)  # so that a file that is added while they are read, and removed again, is noticed too
    if list(_folders(folder, place)) != found:
        raise _changed(folder)
    files = sorted(file for _, files in found for file in files)
    return sequence_digest(f"{file.relative_to(folder).as_posix()}={digest(file)}" for file in files)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Check at the end that every file digested within is still what it was when it was digested.

    An outer ``watched`` does not check the files of an inner one, whose reading is over.

    Raises:
        Changed: A file changed, so the result may not belong to its digest. Raised also in place of another error, as
            the change may be its cause.
    """
    token = _watch.set({})
    try:
        yield
        check(wholly=True)
    except Changed:
        raise
    except Exception:
        check()
        raise
    finally:
        _watch.reset(token)


def digested(suffix: str = "") -> dict[Path, str]:
    """Return path -> digest of the files that ``watched`` watches, for another machine that reads them.

    Args:
        suffix: Only files whose names end with it.
    """
    there = (_watch.get() or {}).items()
    return {path: seen.digest for path, seen in there if stat.S_ISREG(seen.stamp.mode) and path.name.endswith(suffix)}


@contextlib.contextmanager
def same(held: Mapping[Path, str]) -> Iterator[None]:
    """Check that files on this machine are, and stay, those that were digested on another machine.

    Raises:
        Changed: A file differs.
    """
    with watched():
        for path, expected in held.items():
            if digest(path) != expected:
                raise _changed(path, f", or is another file on {socket.gethostname()}")
        yield


def check(*, wholly: bool = False) -> None:
    """Check that the files that ``watched`` watches have not changed; outside of ``watched`` there are none.

    Args:
        wholly: Whether to read those files again that were fresh when they were digested.

    Raises:
        Changed: A file changed.
    """
    files_first = sorted((_watch.get() or {}).items(), key=lambda item: stat.S_ISDIR(item[1].stamp.mode))
    for path, seen in files_first:
        try:
            same = _stamp(path) == seen.stamp and not (wholly and seen.fresh and _look(path).digest != seen.digest)
        except OSError:
            same = False
        if not same:
            raise _changed(path)


def _changed(path: Path, besides: str = "") -> Changed:
    with contextlib.suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return Changed(f"{path} changed while it was read{besides}; nothing was kept of it, run again")


def _look(path: Path) -> Seen:
    stamp = _stamp(path)
    age = time.time_ns() - stamp.changed
    if 0 <= age < TICK:  # until the clock's next tick, another change would leave the same stamp
        time.sleep((TICK - age) / 1e9)
        stamp = _stamp(path)
    fresh = time.time_ns() - stamp.changed < COARSE
    if stat.S_ISDIR(stamp.mode):
        return Seen(stamp, sequence_digest(_listed(path)), fresh)
    descriptor = _open(path)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a file")
        return Seen(stamp, hashlib.file_digest(stream, "sha256").hexdigest(), fresh)


def _stamp(path: Path) -> Stamp:
    # The file is opened because only then does a network file system ask its server. Opening does not wait for the
    # writer of a pipe (O_NONBLOCK).
    descriptor = _open(path)
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return Stamp(found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
