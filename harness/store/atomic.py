"""Writes files and folders that are whole or absent; folders of attempts, whose names say which process owns them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import uuid
from pathlib import Path
from typing import Any

from harness.errors import StepError
from harness.store.integrity import json_bytes

ATTEMPT = re.compile(r"^(.*)-(\d+)-[0-9a-f]{8}$")  # name of an attempt's folder: host, process, random digits


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that readers see the old file or the new file, never a part."""
    write_bytes(path, json_bytes(value))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old file or the new file, and the new one survives a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # exists only after an error, such as a full disk


def folders_in(parent: Path) -> list[Path]:
    """Return the folders in a folder; empty when it does not exist."""
    return [p for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []


def size(path: Path) -> int:
    """Return the size in bytes of a file, or of all files below a folder."""
    return sum(p.lstat().st_size for p in (path, *path.rglob("*")) if p.is_symlink() or not p.is_dir())


def attempt_name() -> str:
    """Return a name for a folder of this process in ``work/<name>``, which is removed after the process has ended."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, even while another attempt removes an empty parent."""
    for _ in range(100):
        with contextlib.suppress(FileNotFoundError):
            return folder.mkdir(parents=True, exist_ok=True)
    raise StepError(f"{folder} cannot be made: its parent folder is removed again and again")


def is_alive(attempt: str) -> bool:
    """Return whether the process of an attempt's folder (``<host>-<pid>-<random>``) may still be running."""
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


def flush(path: Path) -> None:
    """Flush a file or folder to disk, so that a published artifact survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)
