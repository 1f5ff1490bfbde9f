"""Files from outside the store: which ones a folder holds, their digests, and whether they are still the same.

Others may change such files at any moment. What is made of them is kept under their digest, so it must have been made
of what was digested: ``watched`` holds every file that is digested in it against what it is afterwards.
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

LEFT_OUT = "__pycache__"  # beside all that is hidden: nobody means it when they name the folder it is in
TICK = 20_000_000  # nanoseconds; Linux gives all changes within one tick of its clock (1 to 10 ms) the same time
COARSE = 2_000_000_000  # nanoseconds; what file systems of other systems count in, at most
KINDS = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))


class Changed(RequestError):
    """A file changed while something was made of it."""


# ------------------------------------------------------------------------------------------------ what there is


def problem(path: Path) -> str:
    """Say what a path is that is there and neither a file nor a folder; empty if it is one, or is not there at all."""
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
    """Return where a path leads; unlike ``Path.resolve``, for links that lead in a circle too."""
    return Path(os.path.realpath(path))


def circle(folder: Path) -> str:
    """Say so where a folder is a link to one above it; empty otherwise."""
    leads_back = folder.is_symlink() and folder.is_dir() and folder.parent.resolve().is_relative_to(folder.resolve())
    return "is a link that leads back to a folder above it" if leads_back else ""


def hidden(path: Path) -> bool:
    """Tell whether a path leads through what is left out of a folder: ``.git``, ``._rows.jsonl``, ``__pycache__``."""
    return any(part.startswith(".") or part == LEFT_OUT for part in path.parts)


def walk(folder: Path, place: str) -> list[Path]:
    """Return the files below a folder in order, links followed, without what is hidden.

    Args:
        folder: The folder, which may itself be hidden.
        place: What messages begin with, before a path in the folder.

    Raises:
        RequestError: Something in it is neither a file nor a folder, such as a link to nothing: it stands for content
            that would be missing without a word.
    """
    return sorted(file for _, files in _folders(folder, place) for file in files)


def _folders(folder: Path, place: str, inner: Path = Path()) -> Iterator[tuple[Path, list[Path]]]:
    """Yield a folder and those below it, each with the files that are directly in it."""
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
    """Return what is directly in a folder, without what is hidden."""
    return sorted(path.name for path in folder.iterdir() if not hidden(Path(path.name)))


# ------------------------------------------------------------------------------------------ digests, and watching


@dataclass(frozen=True)
class Stamp:
    """What the system says of a file or folder, and what differs after any change of its content.

    Nobody can set ``changed``: a file that was swapped and got the old size and date back shows it.
    """

    mode: int
    inode: int
    size: int
    modified: int
    changed: int


@dataclass(frozen=True)
class Seen:
    """A file or folder when it was digested.

    Attributes:
        stamp: Taken before it was read.
        digest: Of its bytes; of a folder, of the names in it.
        fresh: Whether it was so new that, where times are coarse, a change could have left it the same stamp.
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
        digest(inner)  # so that a file that comes while they are read, and goes again, is noticed too
    if list(_folders(folder, place)) != found:
        raise _changed(folder)
    files = sorted(file for _, files in found for file in files)
    return sequence_digest(f"{file.relative_to(folder).as_posix()}={digest(file)}" for file in files)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Make sure that every file digested within is, in the end, what it was when it was digested.

    What is watched within is no longer watched around it: what was read of it has been read.

    Raises:
        Changed: One is not: what was made of it may be of something else than its digest says. Also in place of
            another error, which then is no wonder.
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
    """Return the digests of the files that ``watched`` watches, for another machine that is to read them.

    Args:
        suffix: Only of files whose names end so.
    """
    there = (_watch.get() or {}).items()
    return {path: seen.digest for path, seen in there if stat.S_ISREG(seen.stamp.mode) and path.name.endswith(suffix)}


@contextlib.contextmanager
def same(held: Mapping[Path, str]) -> Iterator[None]:
    """Make sure that files on this machine are, and stay, those that were digested on another one.

    Raises:
        Changed: One is not.
    """
    with watched():
        for path, expected in held.items():
            if digest(path) != expected:
                raise _changed(path, f", or is another file on {socket.gethostname()}")
        yield


def check(*, wholly: bool = False) -> None:
    """See whether the files that ``watched`` watches are still what they were; outside of it there are none.

    Args:
        wholly: Read again those that were fresh when they were digested.

    Raises:
        Changed: One is not.
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
    if 0 <= age < TICK:  # until the clock has moved on, another change would leave no trace
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
    # Opened, because only then does a network file system ask its server; not to wait for whoever writes to a pipe.
    descriptor = _open(path)
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return Stamp(found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
