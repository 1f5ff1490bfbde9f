"""``harness doctor``: is this machine ready, and what to change if not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from typing import Annotated

import typer

from harness.cli.arguments import (
    DEFAULT_STORE,
    AsJson,
    StoreFolder,
    note,
    open_engine,
    open_store,
    print_json,
)

NEEDED = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "lm_eval",
    "mlflow",
    "polars",
    "pydantic",
)


def doctor(
    store: StoreFolder = DEFAULT_STORE,
    json: AsJson = False,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="also make the embedded model ready (once, about half a minute)")
    ] = False,
) -> None:
    """Check device, memory, disk, versions and the embedded model, and say what to change.

    Exit code 1 when something must be changed.
    """
    from harness import models
    from harness.engines.jobs import Job, model_fields
    from harness.engines.local import find_slots
    from harness.errors import HarnessError

    opened = open_store(store)
    slots = find_slots()
    checks: list[tuple[str, bool, str]] = [
        (
            "python",
            (3, 11) <= sys.version_info < (3, 14),
            f"{platform.python_version()} (3.11 to 3.13 are supported)",
        )
    ]
    for package in NEEDED:
        try:
            checks.append((package, True, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            checks.append((package, False, "not installed; scripts/quickstart sets everything up"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    checks.append(("memory", memory >= 6, f"{memory:.1f} GiB (a worker with a 135M model takes about 2)"))
    free = models.free_space(opened.root) / 2**30
    checks.append(("disk", free >= 2, f"{free:.0f} GiB free for {opened.root}"))
    checks.append(("slots", True, f"{slots.workers} workers x {slots.threads} threads on {slots.device}"))
    name = next(iter(models.EMBEDDED))
    try:
        model = models.resolve(name, opened.root, opened)
        if model.folder is None and prepare:
            note(f"Preparing {name} (once, about half a minute)")
            job = Job(job="model", id="model", label=name, store=str(opened.root), model=model_fields(model))
            open_engine(opened).call(job)
            model = models.resolve(name, opened.root, opened)
        ready = f"ready in {model.folder}" if model.folder else "installed; prepared at the first run (or: --prepare)"
        checks.append(("model", True, f"{name}: {ready}"))
    except HarnessError as error:
        checks.append(("model", False, str(error)))
    if json:
        print_json(
            {
                "ok": all(ok for _, ok, _ in checks),
                "checks": [{"check": c, "ok": ok, "text": t} for c, ok, t in checks],
            }
        )
    else:
        from harness.cli import tables

        rows = [[check, "ok" if ok else "CHANGE", text] for check, ok, text in checks]
        tables.console().print(tables.table([("Check", "left"), ("", "left"), ("", "left")], rows))
    if not all(ok for _, ok, _ in checks):
        sys.exit(1)
