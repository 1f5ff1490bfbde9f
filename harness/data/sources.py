"""From a source in a study to its pool of rows, with every row that could not be used in the ledger."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from harness.data import fields, files, generators, operations
from harness.data.fields import BadRow, Template
from harness.data.files import Record
from harness.data.rows import Built, drops, frame
from harness.errors import RequestError, did_you_mean
from harness.identity import canonical_json, file_digest, tree_digest
from harness.records import CONTENT_COLUMNS
from harness.spec import COMMIT, Source


def inputs(name: str, source: Source, base: Path) -> dict[str, str]:
    """Return the content digest of everything a source reads, by role.

    Args:
        name: The source's name in the study.
        source: Its spec.
        base: The folder its relative paths start from.

    Returns:
        ``{"files/<path>": sha256}`` for local files, ``{"hub": "owner/name@revision"}`` for a Hub dataset,
        ``{"generator": "reasoning-gym==version"}`` for a generator: what it makes may change with its version.

    Raises:
        RequestError: A path names nothing.
    """
    if source.path is not None:
        return {file.role: file_digest(file.path) for file in files.find(name, source.path, base)}
    if source.hub is not None:
        folder = Path(source.hub)
        if folder.is_dir():
            return {"hub": tree_digest(folder)}
        if not COMMIT.match(source.revision or ""):
            raise RequestError(
                f"sources.{name}.revision: {source.revision} is not a commit hash of 40 hex digits (a branch can move)"
            )
        return {"hub": f"{source.hub}@{source.revision}"}
    return {"generator": f"reasoning-gym=={version('reasoning-gym')}"}


def load(name: str, source: Source, base: Path) -> Built:
    """Read, map and operate on a source's rows.

    Args:
        name: The source's name in the study.
        source: Its spec.
        base: The folder its relative paths start from.

    Returns:
        The pool in the order it was read, and the ledger of rows that were bad (operation ``read``) or
        dropped by the source's own operations.

    Raises:
        RequestError: Something cannot be read, a row is bad and ``on_bad_row`` is ``stop``, or nothing is
            left.
    """
    rows: list[dict[str, Any]] = []
    bad: list[dict[str, str | None]] = []
    templates: dict[str, Template] | None = None
    with closing(_records(name, source, base)) as records:
        for record in records:
            try:
                if record.value is None:
                    raise BadRow(record.problem)
                templates = templates or _templates(name, source, record)
                rows.append(_row(name, source, record, templates))
            except BadRow as error:
                if source.on_bad_row == "stop":
                    before = f"{len(rows):,} good row{'' if len(rows) == 1 else 's'} before it"
                    fix = f"Fix the line, or set sources.{name}.on_bad_row: drop."
                    raise RequestError(f"{record.place}: {_ended(str(error))} {before}. {fix}") from error
                bad.append({"source": name, "operation": "read", "reason": str(error), "place": record.place})
            if len(rows) == source.rows:
                break
    if not rows:
        why = (
            f"all {len(bad):,} rows are bad; the first, {bad[0]['place']}: {bad[0]['reason']}"
            if bad
            else "it has no rows"
        )
        raise RequestError(f"sources.{name}: {_ended(why)} Nothing was started.")
    built = operations.apply_all(frame(rows), source.operations, place=f"sources.{name}", seed=source.seed)
    return Built(built.rows, pl.concat([drops(bad), built.drops]))


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith("?") else sentence + "."


def _records(name: str, source: Source, base: Path) -> Generator[Record, None, None]:
    if source.path is not None:
        for file in files.find(name, source.path, base):
            yield from files.read(file)
    elif source.hub is not None:
        yield from _hub(name, source)
    else:
        assert source.task is not None
        assert source.rows is not None
        place = f"sources.{name}"
        if isinstance(source.config, str):
            raise RequestError(f"{place}.config: expected the task's settings, such as {{max_terms: 2}}, not text")
        made = generators.generate(place, source.task, source.config or {}, source.rows, source.seed, source.corrupt)
        for index, row in enumerate(made):
            yield Record(f"{source.generator}/{source.task}#{index}", row)


def _hub(name: str, source: Source) -> Iterator[Record]:
    import datasets

    if isinstance(source.config, dict):
        raise RequestError(f"sources.{name}.config: expected the name of the Hub dataset's configuration")
    place = f"{source.hub}@{source.revision}"
    try:
        table = datasets.load_dataset(source.hub, name=source.config, split=source.split, revision=source.revision)
    except Exception as error:  # the library raises whatever its file systems, parsers and HTTP clients raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RequestError(
            f"sources.{name}.hub: {place}, split {source.split}, cannot be loaded ({lines[0]})"
        ) from error
    for index, row in enumerate(table):
        yield Record(f"{place}#{index}", dict(row))


def _templates(name: str, source: Source, record: Record) -> dict[str, Template]:
    assert record.value is not None
    declared = source.fields
    if source.generator and not set(declared) & set(CONTENT_COLUMNS):
        declared = fields.QUESTION | declared
    templates = fields.declared(name, declared, list(record.value), record.place)
    if source.on_bad_row == "stop":  # the first row would be bad anyway: the declaration is the place to mend
        for field in source.fields:
            for _, column in templates[field].parts:
                if column is not None and column not in record.value:
                    near = did_you_mean(column, map(str, record.value))
                    raise RequestError(f'sources.{name}.fields.{field}: {record.place}: no column "{column}".{near}')
    return templates


def _row(name: str, source: Source, record: Record, templates: Mapping[str, Template]) -> dict[str, Any]:
    assert record.value is not None
    values = fields.canonical(record.value, templates)
    meta: dict[str, Any] = {"place": record.place}
    if "id" in values or record.value.get("id") is not None:
        meta["id"] = values["id"] if "id" in values else str(record.value["id"])
    verifier = None
    if (answer := values.get("answer")) is not None:
        meta["answer"] = answer
        verifier = canonical_json({"scorer": "numeric", "answer": answer})
    if source.generator:
        verifier = generators.verifier(f"sources.{name}", str(source.task), record.value["entry"])
    return {
        **{column: values.get(column) for column in (*CONTENT_COLUMNS, "group", "slice")},
        "source": name,
        "license": values.get("license", source.license),
        "origin": source.origin,
        "verifier": verifier,
        "meta": json.dumps(meta, ensure_ascii=False),
    }
