"""Checks an artifact on disk: it must have a sealed record, and exactly the files that the record lists."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from harness.identity import KEY_LENGTH, file_digest, step_key
from harness.store.record import Record, StoredFile

RECORD = "record.json"
KEYED = re.compile(rf"^(?P<name>.+)-(?P<key>[0-9a-f]{{{KEY_LENGTH}}})$")  # name of an artifact's folder
SEAL = re.compile(
    rb'^ "seal": "[0-9a-f]{64}",\n', re.MULTILINE
)  # the seal's line in record.json; JSON values hold no line ends


def folder_name(name: str, key: str) -> str:
    """Return the name of an artifact's folder: readable, and valid in any file system."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "unnamed"
    return f"{readable}-{key}"


def content(record: Record) -> bytes:
    """Return the bytes of ``record.json``: the record with its seal."""
    bare = json_bytes(record.model_dump(mode="json", exclude={"seal"}))
    return json_bytes(record.model_dump(mode="json") | {"seal": _seal(bare)})


def json_bytes(value: Any) -> bytes:
    """Return JSON as it is written to files: one line per value, sorted keys."""
    return (json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n").encode()


def parsed(raw: bytes) -> tuple[Record | None, str]:
    """Return a record (None if it cannot be read) and what is wrong with it; old records have no seal."""
    try:
        record = Record.model_validate_json(raw)
    except ValueError:
        return None, "not readable"
    return record, "not as it was written" if record.seal and record.seal != _seal(raw) else ""


def problems(folder: Path) -> list[str]:
    """Return what is wrong with an artifact: missing, truncated, changed and extra files."""
    if not KEYED.match(folder.name) or folder.is_symlink() or not folder.is_dir():
        return ["does not belong here"]
    try:
        record, problem = parsed((folder / RECORD).read_bytes())
    except FileNotFoundError:
        return [f"{RECORD} is missing"]
    except OSError as error:
        return [f"{RECORD} cannot be read ({error.strerror})"]
    if record is None:
        return [f"{RECORD} is {problem}"]
    texts = [f"{RECORD} is {problem}"] if problem else []
    place = f"{record.kind}/{folder_name(record.name, record.key)}"
    if place != f"{folder.parent.name}/{folder.name}":
        texts.append(f"{RECORD} is that of {place}")
    elif record.key != step_key(record.kind, record.version, record.spec, record.inputs):
        texts.append(f"{RECORD}: the key is not that of its spec and inputs")
    texts += [text for name, stored in record.files.items() if (text := file_problem(folder, name, stored))]
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()}
    return texts + [f"{name} does not belong here" for name in sorted(there - {*record.files, RECORD})]


def file_problem(folder: Path, name: str, stored: StoredFile | None) -> str:
    """Return what is wrong with a file of an artifact; empty when it is intact."""
    path = folder / name
    if stored is None:
        return f"{name} is not in its record"
    if path.is_symlink():
        return f"{name} is a link now"
    if not path.is_file():
        return f"{name} is missing"
    if path.stat().st_size != stored.bytes:
        return f"{name} has {path.stat().st_size:,} bytes, {stored.bytes:,} expected"
    return f"{name} was changed (its SHA-256 differs)" if file_digest(path) != stored.sha256 else ""


def _seal(raw: bytes) -> str:
    """Return the digest of a record's bytes without the line of the seal."""
    return hashlib.sha256(SEAL.sub(b"", raw, count=1)).hexdigest()
