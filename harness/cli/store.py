"""``harness store``: lists what is kept, checks it, and deletes what is not used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import formats
from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, open_store, print_json

if TYPE_CHECKING:
    from harness.store import Artifact, Store
    from harness.store.maintenance import Problem

app = typer.Typer(no_args_is_help=True, help="List, verify and clean the store.")

SORTS = ("kind", "name", "size", "age", "studies")


@app.command("ls")
def ls(
    store: StorePlace = DEFAULT_STORE,
    json: AsJson = False,
    kind: Annotated[str | None, typer.Option("--kind", help="only this kind: adapter, result, source, ...")] = None,
    sort: Annotated[
        str, typer.Option("--sort", help="kind, name, size (largest first), age (oldest first) or studies")
    ] = "kind",
) -> None:
    """List every artifact with its kind, size, age and the studies that use it."""
    from harness.errors import RequestError, did_you_mean
    from harness.store import maintenance

    opened = open_store(store)
    damaged: list[Path] = []
    uses = maintenance.uses(opened, damaged)
    damaged.clear()
    rows = [
        {
            "kind": one.record.kind,
            "name": one.record.name,
            "key": one.record.key,
            "bytes": sum(file.bytes for file in one.record.files.values()),
            "created": one.record.created,
            "age_seconds": _age(one.record.created),
            "studies": sorted(uses.get(one.record.key, ())),
        }
        for one in opened.artifacts(damaged=damaged)
    ]
    kinds = {str(row["kind"]) for row in rows}
    if kind is not None and kind not in kinds:
        raise RequestError(f'--kind: the store has no "{kind}".{did_you_mean(kind, kinds)}')
    order: dict[str, Callable[[Any], Any]] = {
        "kind": lambda row: (row["kind"], row["name"], row["key"]),
        "name": lambda row: (row["name"], row["kind"], row["key"]),
        "size": lambda row: (-row["bytes"], row["kind"], row["name"]),
        "age": lambda row: (row["created"], row["kind"], row["name"]),
        "studies": lambda row: (not row["studies"], row["studies"], row["kind"], row["name"]),
    }
    if sort not in order:
        raise RequestError(f'--sort: "{sort}" is no order.{did_you_mean(sort, SORTS)}')
    rows = sorted((row for row in rows if kind in (None, row["kind"])), key=order[sort])
    if json:
        print_json(rows)
    else:
        _show(rows)
    for folder in damaged:
        _say(f"{folder.parent.name}/{folder.name}: its record is damaged (harness store verify)", error=True)


def _show(rows: list[dict[str, Any]]) -> None:
    from harness.terminal import tables

    cells = [
        [
            row["kind"],
            row["name"],
            row["key"],
            formats.size(row["bytes"]),
            "-" if row["age_seconds"] is None else _ago(row["age_seconds"]),
            ", ".join(row["studies"]) or "-",
        ]
        for row in rows
    ]
    columns = [("Kind", "left"), ("Name", "left"), ("Key", "left"), ("Size", "right"), ("Age", "right")]
    tables.console().print(tables.table([*columns, ("Studies", "left")], cells))
    unused = sum(not row["studies"] for row in rows)
    rest = f"; {unused} that no study uses (harness store gc)" if unused else ""
    print(f"\n{len(rows)} artifacts, {formats.size(sum(row['bytes'] for row in rows))}{rest}")


def _age(created: str) -> int | None:
    """Return how many seconds ago an artifact was made; None when its record has no valid time."""
    try:
        made = datetime.fromisoformat(created)
    except ValueError:
        return None
    return max(0, int((datetime.now(UTC) - made).total_seconds())) if made.tzinfo else None


def _ago(seconds: int) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


@app.command("verify")
def verify(store: StorePlace = DEFAULT_STORE, json: AsJson = False) -> None:
    """Compare all files with their records. Exit code 1 when a file is missing, changed or does not belong there."""
    from harness.store import maintenance

    opened = open_store(store)
    with _progress() as report:
        problems = maintenance.verify(opened, report)
    studies = _affected(opened, problems)
    incomplete = _incomplete(opened)
    if json:
        found = [{"artifact": p.artifact, "problem": p.text} for p in problems]
        print_json({"ok": not problems, "problems": found, "studies": studies, "incomplete": incomplete})
    else:
        for problem in problems:
            _say(f"{problem.artifact}: {problem.text}")
        if problems:
            affected = f" Studies affected: {', '.join(studies)}." if studies else " No study uses them."
            one = len(problems) == 1
            _say(
                f"{len(problems)} problem{'' if one else 's'}.{affected} "
                f"Delete the {'folder or file' if one else 'folders and files'} named; `harness run` makes "
                f"{'it' if one else 'them'} again."
            )
        else:
            print("Everything is as it was written.")
        for study, missing in incomplete.items():
            _say(
                f"{study}: {missing} of its artifacts are missing (not run yet, or deleted); `harness run` makes them."
            )
    if problems:
        sys.exit(1)


def _affected(store: Store, problems: list[Problem]) -> list[str]:
    """Return the studies that use a damaged artifact."""
    from harness.store import maintenance
    from harness.store.integrity import KEYED

    damaged: list[Path] = []
    uses = maintenance.uses(store, damaged)
    names: dict[
        str, set[str]
    ] = {}  # an artifact without its record is identified by its name: all artifacts of a run have one name
    for one in store.artifacts(damaged=damaged):
        names.setdefault(one.folder.name.rpartition("-")[0], set()).update(uses.get(one.record.key, ()))
    found: set[str] = set()
    for problem in problems:
        kind, _, folder = problem.artifact.partition("/")
        if keyed := KEYED.match(folder):
            of_name = {keyed["name"]} if kind == "study" else names.get(keyed["name"], set())
            found |= uses.get(keyed["key"]) or of_name
    return sorted(found)


def _incomplete(store: Store) -> dict[str, int]:
    """Return study -> number of its artifacts that are missing."""
    damaged: list[Path] = []
    there = {one.record.key for one in store.artifacts(damaged=damaged)}
    there |= {folder.name.rpartition("-")[2] for folder in damaged}
    studies = {one.record.name: set(one.record.data.get("references", [])) for one in store.artifacts("study", damaged)}
    return {name: len(keys - there) for name, keys in sorted(studies.items()) if keys - there}


@app.command("gc")
def gc(
    store: StorePlace = DEFAULT_STORE,
    json: AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only print what would be deleted")] = False,
) -> None:
    """Delete artifacts that no study in the store uses, and abandoned work."""
    from harness.errors import RequestError
    from harness.store import maintenance

    opened = open_store(store)
    if not dry_run and maintenance.at_work(opened):
        raise RequestError(
            f"a run is at work in {opened.location}: wait for its end, or stop it; --dry-run lists what would go"
        )
    young: list[Artifact] = []
    found = maintenance.garbage(opened, young)
    sizes = {str(folder.relative_to(opened.root)): bytes_ for folder, bytes_ in found.items()}
    if not dry_run:
        kept = set(maintenance.uses(opened))  # looked up again: a study may have come since
        for folder in found:
            if folder.name.rpartition("-")[2] not in kept:
                opened.remove(folder)
    if json:
        print_json({"removed": not dry_run, "bytes": sum(sizes.values()), "folders": sizes, "young": len(young)})
        return

    for name, bytes_ in sizes.items():
        _say(f"{name}  {formats.size(bytes_)}")
    count = f"{len(sizes)} folder{'' if len(sizes) == 1 else 's'}"
    print(f"{count}, {formats.size(sum(sizes.values()))} {'would be removed' if dry_run else 'removed'}")
    if young:
        print(f"{len(young)} less than a day old are kept: a study on another machine may be about to use them")


def _say(text: str, *, error: bool = False) -> None:
    """Print a line that holds names of files, escaped so that they cannot control the terminal."""
    from harness.escaping import visible

    print(visible(text).replace("\n", "\\n"), file=sys.stderr if error else sys.stdout)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """Show the progress of a check in a terminal, once it takes more than a moment."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("Verifying"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Verifying", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
