"""``harness store``: what is kept, whether it is intact, and what can go."""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer

from harness.cli.arguments import DEFAULT_STORE, AsJson, StoreFolder, open_store, print_json

app = typer.Typer(no_args_is_help=True, help="List, verify and clean the store.")


@app.command("ls")
def ls(store: StoreFolder = DEFAULT_STORE, json: AsJson = False) -> None:
    """List every artifact with its kind, size and time."""
    artifacts = open_store(store).artifacts()
    rows = [
        {
            "kind": a.record.kind,
            "name": a.record.name,
            "key": a.record.key,
            "bytes": sum(f.bytes for f in a.record.files.values()),
            "created": a.record.created,
        }
        for a in artifacts
    ]
    if json:
        print_json(rows)
        return
    from harness.cli import tables

    cells = [
        [
            str(r["kind"]),
            str(r["name"]),
            str(r["key"]),
            tables.size(float(str(r["bytes"]))),
            str(r["created"]),
        ]
        for r in rows
    ]
    columns = [("Kind", "left"), ("Name", "left"), ("Key", "left"), ("Size", "right"), ("Created", "left")]
    tables.console().print(tables.table(columns, cells))
    total = sum(int(str(r["bytes"])) for r in rows)
    print(f"\n{len(rows)} artifacts, {tables.size(total)}")


@app.command("verify")
def verify(store: StoreFolder = DEFAULT_STORE, json: AsJson = False) -> None:
    """Compare every file with its recorded digest. Exit code 1 when something is missing or changed."""
    opened = open_store(store)
    problems = opened.verify()
    broken = {problem.artifact.rsplit("-", 1)[-1] for problem in problems}
    studies = [
        artifact.record.name
        for artifact in opened.artifacts("study")
        if broken & set(artifact.record.data.get("references", []))
    ]
    if json:
        found = [{"artifact": p.artifact, "problem": p.text} for p in problems]
        print_json({"ok": not problems, "problems": found, "studies": sorted(set(studies))})
    else:
        for problem in problems:
            print(f"{problem.artifact}: {problem.text}")
        if problems:
            affected = f" Studies affected: {', '.join(sorted(set(studies)))}." if studies else ""
            print(f"{len(problems)} problems.{affected} Delete the folders named; `harness run` makes them again.")
        else:
            print("Everything is as it was written.")
    if problems:
        sys.exit(1)


@app.command("gc")
def gc(
    store: StoreFolder = DEFAULT_STORE,
    json: AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
) -> None:
    """Delete what no study in the store stands on, and work that was abandoned."""
    opened = open_store(store)
    keep = {artifact.record.key for artifact in opened.artifacts("model")}
    adapters: set[str] = set()
    for artifact in opened.artifacts("study"):
        keep |= {artifact.record.key, *artifact.record.data.get("references", [])}
    for artifact in opened.artifacts("adapter"):
        if artifact.record.key in keep:
            adapters.add(artifact.record.digest)
    # A result's key depends on the adapter's contents, so it is found from the adapter rather than listed by the study.
    keep |= {a.record.key for a in opened.artifacts("result") if a.record.inputs["adapter"] in adapters}
    folders = opened.unreferenced(keep)
    sizes = {
        str(f.relative_to(opened.root)): sum(p.stat().st_size for p in f.rglob("*") if p.is_file()) for f in folders
    }
    if not dry_run:
        for folder in folders:
            shutil.rmtree(folder)
    if json:
        print_json({"removed": not dry_run, "folders": sizes})
        return
    from harness.cli import tables

    for name, size in sizes.items():
        print(f"{name}  {tables.size(size)}")
    print(f"{len(sizes)} folders, {tables.size(sum(sizes.values()))} {'would be removed' if dry_run else 'removed'}")
