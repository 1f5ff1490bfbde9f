"""Reads a source of a study into its pool of rows; every row that cannot be used is in the ledger."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from harness import outside
from harness.data import columnar, fields, files, generators, layouts, operations
from harness.data.fields import BadRow, Template
from harness.data.operations.context import Untrainable
from harness.data.reading import Batch, Block, Record, batched
from harness.data.rows import Built, drops, frame, json_objects, table
from harness.data.tabular import Item, arrow_rows
from harness.errors import RequestError, did_you_mean
from harness.identity import canonical_json
from harness.records import CONTENT_COLUMNS
from harness.spec import COMMIT, Source
from harness.unpacking import printable, said

STREAM_FROM = 2 << 30  # bytes: larger Hub datasets are streamed
HUB_BATCH = 1000


def settled(name: str, source: Source, base: Path) -> Source:
    """Return a source whose paths name the files that match now, so that the files digested are the files read.

    Raises:
        RequestError: A path names nothing.
    """
    if source.path is None:
        return source
    return source.model_copy(update={"path": files.settled(name, source.path, base)})


def inputs(name: str, source: Source, base: Path) -> dict[str, str]:
    """Return role -> content digest of everything that a source reads.

    Args:
        name: The source's name in the study.
        source: Its spec.
        base: The folder its relative paths start from.

    Returns:
        ``{"files/<path>": sha256}`` for local files, ``{"hub": "owner/name@revision"}`` for a Hub dataset,
        ``{"generator": "reasoning-gym==version"}`` for a generator, whose rows may change with its version; and the
        inputs of the source's operations (``operations.inputs``).

    Raises:
        RequestError: A path names nothing.
    """
    found = operations.inputs(source.operations, base)
    if source.path is not None:
        return {file.role: outside.digest(file.path) for file in files.find(name, source.path, base)} | found
    if source.hub is not None:
        folder = Path(source.hub)
        if folder.is_dir():
            return {"hub": outside.tree_digest(folder, f"sources.{name}.hub: ")} | found
        if not COMMIT.match(source.revision or ""):
            raise RequestError(
                f"sources.{name}.revision: {source.revision} is not a commit hash of 40 hex digits (a branch can move)"
            )
        return {"hub": f"{source.hub}@{source.revision}"} | found
    return {"generator": f"reasoning-gym=={version('reasoning-gym')}"} | found


def load(
    name: str,
    source: Source,
    base: Path,
    tokens: Callable[[pl.DataFrame], Sequence[int]] | None = None,
    perplexity: Callable[[pl.DataFrame], Sequence[float]] | None = None,
    untrainable: Untrainable | None = None,
    read: Generator[Batch | Block, None, None] | None = None,
) -> Built:
    """Read, map and operate on a source's rows.

    Args:
        name: The source's name in the study.
        source: Its spec.
        base: The folder its relative paths start from, and where its functions are.
        tokens: Counts the tokens of rows as the model sees them, for filters that need it.
        perplexity: Perplexity of rows under the base model, for filters that need it.
        untrainable: Why rows cannot be trained on, or teach nothing when they are cut.
        read: The source's records, if they are in memory; default: the records that the source names.

    Returns:
        The pool in the order it was read, and the ledger: rows that cannot be used (operation ``read``, only with
        ``on_bad_row: drop``), then rows that the source's operations dropped, then rows that cannot be trained on
        (``encode``, only with ``on_bad_row: drop``) and rows that teach nothing (``cut``).

    Raises:
        RequestError: A row cannot be used, the columns are not those that the study declares, or no row is left.
    """
    given = batches(name, source, base) if read is None else read
    parts = [Built(frame([]), drops([])), *tables(name, source, given)]
    lost = pl.concat(built.drops for built in parts)
    if not any(built.rows.height for built in parts):
        refuse_none(name, lost, lost.height)
    context = operations.Context(
        f"sources.{name}", source.seed, base, tokens=tokens, perplexity=perplexity, untrainable=untrainable
    )
    chain = operations.trainable.of_source(source.operations, context)
    built = operations.apply_all(pl.concat(one.rows for one in parts), chain, context)
    if source.on_bad_row == "stop":
        bad = built.drops.filter(operation=operations.trainable.ENCODE.op)
        operations.trainable.refuse(name, bad, bad.height)
    return Built(built.rows, pl.concat([lost, built.drops]))


def refuse_none(name: str, lost: pl.DataFrame, count: int) -> NoReturn:
    """Raise an error that explains why a source has no rows.

    Args:
        name: The source.
        lost: The ledger of bad rows, or its first lines.
        count: Number of lines of the whole ledger.

    Raises:
        RequestError: Always.
    """
    why = "it has no rows"
    if count:
        first = lost.row(0, named=True)
        why = f"all {count:,} rows are bad; the first, {first['place']}: {first['reason']}"
    raise RequestError(f"sources.{name}: {_ended(why)} Nothing was started.")


@dataclass(frozen=True)
class Layout:
    """How a source's records are read, as its first sound record shows.

    Attributes:
        first: That record; None if all records are bad, or a bad record that stops the study comes before it.
        templates: Canonical field -> template of columns.
        sample: Records that show which columns there are.
    """

    first: Record | None = None
    templates: Mapping[str, Template] = field(default_factory=dict)
    sample: Sequence[Mapping[str, Any]] = ()


def layout(name: str, source: Source, base: Path) -> Layout:
    """Return the layout of a source, reading as far as its first sound record.

    Raises:
        RequestError: The source's columns are not those that the study declares.
    """
    with closing(batches(name, source, base)) as read:
        for batch in read:
            batch = batch.batch() if isinstance(batch, Block) else batch
            if first := _first(source, batch):
                sample = _sample(batch)
                return Layout(first, _templates(name, source, first, sample), sample)
            if source.on_bad_row == "stop":
                break
    return Layout()


def read_as(source: Source, found: Layout) -> dict[str, Any]:
    """Return, for the record of the step, the source's fields and the columns that are in none of them."""
    shown = {field: template.written for field, template in found.templates.items()}
    left_out = layouts.left_out(shown, source.columns, layouts.columns_of(found.sample))
    return {"fields": shown, "left_out": left_out}


def tables(
    name: str, source: Source, read: Generator[Batch | Block, None, None], known: Layout | None = None
) -> Generator[Built, None, None]:
    """Yield the rows of batches, and the ledger of bad rows, until the source has the number of rows it declares.

    Args:
        name: The source's name in the study.
        source: Its spec.
        read: All records of the source; or, if ``known`` is given, a part of them.
        known: The layout of the whole source; default: the layout that the batches show.

    Raises:
        RequestError: A row cannot be used, or the columns are not those that the study declares.
    """
    first, templates = (known.first, known.templates) if known else (None, {})
    good = 0
    with closing(read):
        for batch in read:
            rows = _quick_table(name, source, batch, templates, first) if first and isinstance(batch, Block) else None
            gone: list[dict[str, str | None]] = []
            if rows is None:
                batch = batch.batch() if isinstance(batch, Block) else batch
                if first is None and (first := _first(source, batch)):
                    templates = _templates(name, source, first, _sample(batch))
                try:
                    rows = _table(name, source, batch, templates)
                except (BadRow, UnicodeEncodeError):  # something is odd: find what, record by record
                    batch, gone = _sound(name, source, batch, templates, good)
                    rows = _table(name, source, batch, templates)
            rows = rows if source.rows is None else rows.head(source.rows - good)
            good += rows.height
            yield Built(rows, drops(gone))
            if good == source.rows:
                return


class BadRecord(RequestError):
    """A record that cannot be used, in a source without ``on_bad_row: drop``.

    Args:
        name: The source.
        place: Where the record is.
        reason: What is wrong with it.
        good: Number of sound rows before it.
    """

    def __init__(self, name: str, place: str, reason: str, good: int) -> None:
        super().__init__(name, place, reason, good)  # an exception is pickled by these
        self.name, self.place, self.reason, self.good = name, place, reason, good

    def __str__(self) -> str:
        rows = f"{self.good:,} good row{'' if self.good == 1 else 's'} before it"
        fix = f"Fix the line, or set sources.{self.name}.on_bad_row: drop."
        return f"{self.place}: {_ended(self.reason)} {rows}. {fix}"

    def after(self, rows: int) -> BadRecord:
        """Return the same error with a number of further sound rows before the record."""
        return BadRecord(self.name, self.place, self.reason, self.good + rows)


def _sound(
    name: str, source: Source, batch: Batch, templates: Mapping[str, Template], before: int
) -> tuple[Batch, list[dict[str, str | None]]]:
    """Return the sound records of a batch, up to the source's number of rows, and the ledger's lines for the others.

    Raises:
        RequestError: A record is not sound, and the source does not drop bad rows.
    """
    kept: list[int] = []
    gone: list[dict[str, str | None]] = []
    for index, record in enumerate(batch.records()):
        if source.rows is not None and before + len(kept) == source.rows:
            break
        try:
            if record.value is None:
                raise BadRow(record.problem)
            fields.canonical(record.value, templates)
            fields.carried(record.value, source.columns, batch.typed)
            fields.identifier(record.value)
            kept.append(index)
        except BadRow as error:
            reason = printable(str(error))
            if source.on_bad_row == "stop":
                raise BadRecord(name, record.place, reason, before + len(kept)) from error
            gone.append({"source": name, "operation": "read", "reason": reason, "place": record.place})
    return batch.chosen(kept), gone


def _quick_table(
    name: str, source: Source, block: Block, templates: Mapping[str, Template], first: Record
) -> pl.DataFrame | None:
    """Return the rows of a block, or None where a line needs a closer look."""
    assert first.value is not None
    texts = [column for column, value in first.value.items() if isinstance(value, str)]
    values = columnar.fields(block, templates, source.columns, texts)
    if values is None:
        return None
    numbers = pl.int_range(block.first, block.first + values.height, eager=True)
    return _rows(name, source, values.to_dict(), pl.select(pl.lit(block.stem) + numbers.cast(pl.String)).to_series())


def _table(name: str, source: Source, batch: Batch, templates: Mapping[str, Template]) -> pl.DataFrame:
    """Return the rows of a batch.

    Raises:
        BadRow: One of its records is not sound.
        UnicodeEncodeError: The text of one of its records is no UTF-8.
    """
    records = [value for value in batch.values if value is not None]
    if len(records) < len(batch.values):
        raise BadRow("a record without columns")
    values: dict[str, Any] = dict(fields.canonical_columns(records, templates))
    if "id" not in values:
        values["id"] = [fields.identifier(record) for record in records]
    if source.columns:
        values["columns"] = [fields.carried(record, source.columns, batch.typed) for record in records]
    if "answer" in values:
        values["verifier"] = [canonical_json({"scorer": "numeric", "answer": answer}) for answer in values["answer"]]
    if source.generator:
        task, place = str(source.task), f"sources.{name}"
        values["verifier"] = [generators.verifier(place, task, record["entry"]) for record in records]
    return _rows(name, source, values, [f"{batch.stem}{number}" for number in batch.numbers])


def _rows(name: str, source: Source, values: Mapping[str, Any], places: Sequence[str] | pl.Series) -> pl.DataFrame:
    """Return the table of rows from their fields."""
    own = {column: values.get(column) for column in (*CONTENT_COLUMNS, "group", "slice", "columns", "verifier")}
    own |= {"source": name, "origin": source.origin, "license": source.license}
    if "license" in values:
        own["license"] = [license or source.license for license in values["license"]]
    meta = {"place": places, **{key: values[key] for key in ("id", "answer") if key in values}}
    own["meta"] = json_objects(pl.DataFrame(meta, dict.fromkeys(meta, pl.String())))
    return table(own, len(places))


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith("?") else sentence + "."


def records(name: str, source: Source, base: Path) -> Generator[Record, None, None]:
    """Yield a source's records as they are read, before any field is mapped; a broken record with its problem.

    Raises:
        RequestError: As ``load`` does, if the source cannot be read at all.
    """
    for batch in batches(name, source, base):
        yield from batch.records()


def batches(name: str, source: Source, base: Path) -> Generator[Batch | Block, None, None]:
    """Yield all records of a source in order, in batches."""
    if source.path is not None:
        for file in files.find(name, source.path, base):
            yield from files.batches(file)
    elif source.hub is not None:
        yield from batched(_hub(name, source), f"{source.hub}@{source.revision}#")
    else:
        assert source.task is not None
        assert source.rows is not None
        place = f"sources.{name}"
        if isinstance(source.config, str):
            raise RequestError(f"{place}.config: expected the task's settings, such as {{max_terms: 2}}, not text")
        made = generators.generate(place, source.task, source.config or {}, source.rows, source.seed, source.corrupt)
        yield from batched(((i, 0, row, "") for i, row in enumerate(made)), f"{source.generator}/{source.task}#")


def _hub(name: str, source: Source) -> Iterator[Item]:
    import datasets
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    if isinstance(source.config, dict):
        raise RequestError(f"sources.{name}.config: expected the name of the Hub dataset's configuration")
    if source.hub in _PACKAGED_DATASETS_MODULES:  # they read whatever files are in the current folder
        raise RequestError(f"sources.{name}.hub: {source.hub} is a file format, no dataset; name files with path")
    local = Path(str(source.hub)).is_dir()
    number = 0
    try:
        with _cache(local) as cache:
            builder = datasets.load_dataset_builder(
                str(source.hub), name=source.config, revision=source.revision, cache_dir=cache
            )
            _check_inside(Path(str(source.hub)), builder)
            # Streaming reads only the rows needed and fills no disk, but cannot use files downloaded before.
            wanted = source.rows is not None or (builder.info.download_size or 0) > STREAM_FROM
            if wanted and (local or not datasets.config.HF_HUB_OFFLINE):
                rows = builder.as_streaming_dataset(split=source.split)
            else:
                builder.download_and_prepare()
                rows = builder.as_dataset(split=source.split)
            for part in rows.with_format("arrow").iter(batch_size=HUB_BATCH):
                for batch in part.to_batches():
                    for size, value, problem in arrow_rows(batch):
                        yield number, size, value, problem
                        number += 1
    except Exception as error:  # the library raises whatever its file systems, parsers and HTTP clients raise
        place = f"{source.hub}@{source.revision}, split {source.split}"
        where = f"cannot be read beyond row {number:,}" if number else "cannot be loaded"
        raise RequestError(f"sources.{name}.hub: {place}, {where} ({said(error)})") from error


@contextmanager
def _cache(local: bool) -> Iterator[str | None]:
    """Yield a temporary cache for a local folder: the datasets library recognizes a folder only by its files' dates."""
    import datasets

    if not local:
        yield None
        return
    usual = Path(datasets.config.HF_DATASETS_CACHE)
    usual.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="harness-", dir=usual) as cache:
        yield cache


def _check_inside(folder: Path, builder: Any) -> None:
    """Refuse a dataset's folder whose README names files outside it, or hidden ones: its digest does not cover them.

    Raises:
        ValueError: A file is outside, or hidden.
    """
    if folder.is_dir():
        for files_ in (builder.config.data_files or {}).values():
            for file in files_:
                inner = Path(file).resolve()
                if not inner.is_relative_to(folder.resolve()):
                    raise ValueError(f"its file {printable(os.path.relpath(file, folder))} is outside the folder")
                if outside.hidden(inner.relative_to(folder.resolve())):
                    raise ValueError(f"its file {printable(os.path.relpath(file, folder))} is hidden")


def _first(source: Source, batch: Batch) -> Record | None:
    """Return the first sound record; None if there is none, or a bad record that stops the study comes before it."""
    for record in batch.records():
        if record.value is not None or source.on_bad_row == "stop":
            return record if record.value is not None else None
    return None


def _sample(batch: Batch) -> list[Mapping[str, Any]]:
    return layouts.telling(value for value in batch.values if value is not None)


def _templates(name: str, source: Source, record: Record, sample: Sequence[Mapping[str, Any]]) -> dict[str, Template]:
    assert record.value is not None
    declared = source.fields
    if source.generator and not set(declared) & set(CONTENT_COLUMNS):
        declared = fields.QUESTION | declared
    templates = fields.declared(
        name, declared, list(record.value), record.place, optional=source.optional, sample=sample
    )
    if source.on_bad_row == "stop":  # the first row would be bad anyway; the declaration is what the user must change
        named = [(f"fields.{field}", column) for field in source.fields for _, column in templates[field].parts]
        for field, column in (*named, *(("columns", column) for column in source.columns)):
            if column is not None and column not in record.value and column not in source.optional:
                near = did_you_mean(column, map(printable, map(str, record.value)))
                raise RequestError(f'sources.{name}.{field}: {record.place}: no column "{column}".{near}')
    return templates
