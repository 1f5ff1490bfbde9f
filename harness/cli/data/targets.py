"""The target of ``data card`` and ``data show``: a variant of a study, or a file of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.terminal.working import working

if TYPE_CHECKING:
    import polars as pl

    from harness.study.accounting import Account
    from harness.study.build import PlannedVariant
    from harness.study.plan import Plan

STUDIES = (".yaml", ".yml", ".py")
EXPECTED = "expected STUDY:VARIANT, such as experiments/quickstart.yaml:baseline, or a file of rows (jsonl, csv, ...)"
Fields = Annotated[
    list[str] | None,
    typer.Option("--field", metavar="NAME=COLUMN", help="of a file: which column (or template) is prompt, text, ..."),
]
Columns = Annotated[
    list[str] | None, typer.Option("--column", help="of a file: a further column to look at, such as label or score")
]


@dataclass(frozen=True)
class Opened:
    """Rows to look at, and the rows that were dropped before.

    Attributes:
        name: The target as the user wrote it.
        rows: The rows, in columns ``records.ROW_COLUMNS``.
        drops: The dropped rows, in columns ``records.DROP_COLUMNS``: those of the sources, then of decontamination,
            then
            of the variant.
        read: Number of rows read, valid or not.
        sources: Names of the sources of the rows.
        fields: For a file: canonical field -> column or template, as declared or recognized.
        left_out: For a file: columns that are in no field.
    """

    name: str
    rows: pl.DataFrame
    drops: pl.DataFrame
    read: int
    sources: tuple[str, ...]
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict, kw_only=True)
    left_out: Sequence[str] = dataclasses.field(default=(), kw_only=True)


@dataclass(frozen=True)
class OpenedVariant(Opened):
    """The training set of a variant at a seed."""

    account: Account
    plan: Plan
    variant: PlannedVariant
    seed: int


def open_target(
    target: str, store: str, seed: int | None, fields: Sequence[str] | None, columns: Sequence[str] | None
) -> Opened:
    """Read a file of rows, or build a variant.

    Raises:
        RequestError: There is no such target, or something about it is wrong.
    """
    from harness.errors import RequestError

    if names_rows(target):
        return _open_file(target, declared_fields(fields), tuple(columns or ()))
    file, _, name = target.rpartition(":")
    if not file:
        raise RequestError(f"{target}: {_absent(target) or EXPECTED}")
    for option, given in (("--field", fields), ("--column", columns)):
        if given:
            raise RequestError(f"{option}: is for files; a study says in sources what its columns are")
    from harness.session import open_study

    return open_variant(open_study(file, store=store).resolved(), file, name, seed)


def names_rows(target: str) -> bool:
    """Return whether a target is a file (or a folder) of rows."""
    path = Path(target)
    return path.is_dir() or (path.is_file() and path.suffix.lower() not in STUDIES)


def open_variant(made: Plan, file: str, name: str, seed: int | None) -> OpenedVariant:
    """Return a variant of a study.

    Raises:
        RequestError: The study has no such variant, or no such seed.
    """
    from harness.errors import RequestError, did_you_mean
    from harness.study.accounting import account

    variant = next((v for v in made.variants if v.name == name), None)
    if variant is None:
        raise RequestError(f'{file} has no variant "{name}".{did_you_mean(name, (v.name for v in made.variants))}')
    chosen = seed if seed is not None else made.study.seed_list()[0]
    if chosen not in variant.outputs:
        raise RequestError(f"--seed: {chosen} is not a seed of the study ({', '.join(map(str, variant.outputs))})")
    found = account(made, variant, chosen)
    return OpenedVariant(
        name=f"{file}:{name}",
        rows=found.rows,
        drops=found.drops,
        read=found.read,
        sources=tuple(variant.spec.mix or ()),
        account=found,
        plan=made,
        variant=variant,
        seed=chosen,
    )


def _open_file(target: str, fields: dict[str, str], columns: tuple[str, ...]) -> Opened:
    from harness.data import layouts, sources
    from harness.errors import RequestError
    from harness.spec import Source

    name = Path(target).name.split(".")[0] or "rows"
    spec = Source(path=target, fields=fields, columns=columns, on_bad_row="drop", operations=())
    try:
        with working(f"Reading {target}"):
            built = sources.load(name, spec, Path.cwd())
            layout = sources.layout(name, spec, Path.cwd())
    except RequestError as error:  # the message must not name fields of a study: there is none
        said = str(error).replace(f"sources.{name}.fields", "--field").replace(f"sources.{name}: ", f"{target}: ")
        raise RequestError(said) from error
    used = {field: template.written for field, template in layout.templates.items()}
    left_out = layouts.left_out(used, columns, layouts.columns_of(layout.sample))
    read = built.rows.height + built.drops.height
    return Opened(target, built.rows, built.drops, read, (name,), fields=used, left_out=left_out)


def declared_fields(fields: Sequence[str] | None) -> dict[str, str]:
    """Return the values of ``--field NAME=COLUMN`` as canonical field -> column or template.

    Raises:
        RequestError: A value has another form, or names no field of a row.
    """
    from harness.errors import RequestError, did_you_mean
    from harness.spec import CANONICAL_FIELDS

    mapping = {}
    for field in fields or ():
        name, equals, column = field.partition("=")
        if not equals or not column:
            raise RequestError(f"--field {field}: expected NAME=COLUMN, such as prompt=question")
        if name not in CANONICAL_FIELDS:
            near = did_you_mean(name, CANONICAL_FIELDS)
            raise RequestError(f'--field {field}: "{name}" is not a field of a row.{near}')
        mapping[name] = column
    return mapping


def _absent(target: str) -> str:
    """Return that a file does not exist, when the target can only be a file; else an empty string."""
    from harness import outside
    from harness.errors import did_you_mean

    path = Path(target)
    if trouble := outside.problem(path):
        return trouble
    if path.exists() or path.suffix in ("", *STUDIES):
        return ""
    there = [one.name for one in path.parent.iterdir() if one.is_file()] if path.parent.is_dir() else []
    return f"no such file.{did_you_mean(path.name, there)}"
