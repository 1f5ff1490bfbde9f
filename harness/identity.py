"""Digests and keys: two steps with one key are the same step.

``key = sha256(canonical_json({kind, version, spec, inputs}))[:16]``. Every field of a spec counts. Inputs enter by
content digest, so a step whose inputs have the same content, whatever produced them, is not run again. A value that
cannot be serialized deterministically raises an error.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

KEY_LENGTH = 16


def canonical_json(value: Any) -> str:
    """Serialize to JSON with one spelling per value: sorted keys, no spaces, UTF-8, finite numbers only.

    Raises:
        TypeError: For anything but dicts with string keys, lists, tuples, strings, finite numbers, booleans and None.
        ValueError: For NaN and infinities.
    """
    _check(value, "$")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _check(value: Any, place: str) -> None:
    if value is None or isinstance(value, str | bool | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{place}: {value} has no canonical form")
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{place}: key {key!r} is not a string")
            _check(item, f"{place}.{key}")
        return
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check(item, f"{place}[{index}]")
        return
    raise TypeError(f"{place}: {type(value).__name__} has no canonical form")


def digest(value: Any) -> str:
    """Return the SHA-256 (64 hex digits) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sequence_digest(parts: Iterable[str]) -> str:
    """Return the SHA-256 over strings in order; ``["ab"]`` and ``["a", "b"]`` differ."""
    total = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        total.update(f"{len(raw)}:".encode())
        total.update(raw)
    return total.hexdigest()


def step_key(kind: str, version: int, spec: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return the 16-digit key of a step.

    Args:
        kind: Short name of the kind of step (``variant``, ``adapter``, ``result``, ...).
        version: Raised when the meaning of the step's code changes, so that old outputs are not reused.
        spec: Every field the user or the study chose.
        inputs: Content digests of what the step reads, by role.
    """
    return digest({"kind": kind, "version": version, "spec": dict(spec), "inputs": dict(inputs)})[:KEY_LENGTH]


def unit_hash(*parts: object) -> int:
    """Return a 64-bit integer that depends only on the parts: the source of every random choice about rows."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
