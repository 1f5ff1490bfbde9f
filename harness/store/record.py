"""The record of an artifact, and the record of a failed attempt."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from harness.records import Data


class StoredFile(Data):
    """One file of an artifact."""

    sha256: str
    bytes: int


class Record(Data):
    """``record.json`` of an artifact: written last, the only mark of success."""

    kind: str
    version: int
    key: str
    name: str
    spec: dict[str, Any]
    inputs: dict[str, str]
    digest: str = Field(description="content digest, on which later steps depend")
    data: dict[str, Any] = Field(default={}, description="small facts: counts, metrics, durations")
    files: dict[str, StoredFile] = {}
    provenance: dict[str, Any] = {}
    created: str = ""
    seal: str = Field("", description="digest of the record's own text without this line")


class Failure(Data):
    """``work/<key>/failure.json``: why the last attempt at a step failed."""

    key: str
    kind: str
    name: str
    stage: str
    message: str
    detail: str = ""
    created: str = ""
