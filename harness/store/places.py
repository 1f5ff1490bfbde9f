"""Finds the store at a place: in a folder, at a folder of copies, or in an object store."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from harness.errors import RequestError, did_you_mean
from harness.store.artifact import Artifact
from harness.store.local import Store
from harness.store.objects import COPY_OF, ObjectStore

URL = re.compile(r"^(?P<protocol>[A-Za-z][A-Za-z0-9+.-]+):/+(?P<rest>[^:?#]*)$")


def located(place: str | Path) -> Store:
    """Return the store at a place; nothing is written.

    Args:
        place: A folder, a folder of copies, or a URL such as ``s3://bucket/studies``.

    Raises:
        RequestError: The URL cannot be used.
    """
    if "://" in str(place):
        return _of_url(str(place))
    root = Path(place)
    try:
        url = (root / COPY_OF).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return Store(root)
    # Only for this machine's own folder of copies: a store from elsewhere must not choose which server is contacted.
    return ObjectStore(url, root) if root == _copies(url) else Store(root)


def _of_url(url: str) -> Store:
    import fsspec

    parts = URL.match(url)
    if parts is None or not parts["rest"].strip("/"):
        raise RequestError(f"{url} is no place for a store: expected a folder, or a URL such as s3://bucket/studies")
    protocol, rest = parts["protocol"].lower(), parts["rest"].rstrip("/")
    if protocol in ("file", "local"):
        return located("/" + rest)
    if protocol == "memory":
        raise RequestError(f"{url}: what is in memory is seen by one process only; give a folder or an object store")
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError:
        near = did_you_mean(protocol, fsspec.available_protocols())
        raise RequestError(f"{url}: {protocol} is no kind of object store.{near}") from None
    except ImportError as error:
        raise RequestError(f"{url}: {str(error).strip()}") from error
    url = f"{protocol}://{rest}"
    return ObjectStore(url, _copies(url))


def _copies(url: str) -> Path:
    """Return this machine's folder of copies of a store."""
    copies = os.environ.get("HARNESS_COPIES") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "ablation-harness", "stores"
    )
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", url.partition("://")[2]).strip("-.")[:40]
    return Path(copies).absolute() / f"{readable}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def artifact_in(folder: str | Path) -> Artifact:
    """Return the artifact in a folder, whatever store it is in.

    Raises:
        RequestError: There is no artifact, or its record is damaged.
    """
    folder = Path(folder)
    return located(folder.parent.parent).at(folder)
