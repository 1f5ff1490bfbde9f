"""``harness ui``: opens MLflow's user interface on the store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import processes
from harness.cli.arguments import DEFAULT_STORE, StorePlace, note, open_store


def ui(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY]", help="study file: the address of its page is printed")
    ] = None,
    store: StorePlace = DEFAULT_STORE,
    host: Annotated[
        str, typer.Option("--host", help="address to listen on; only this machine by default")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="port to listen on")] = 5000,
    uri: Annotated[str | None, typer.Option("--uri", help="another tracking URI")] = None,
) -> None:
    """Open MLflow on the store's experiments (Ctrl-C ends it)."""
    from harness import tracking

    opened = open_store(store)
    command = tracking.ui_command(opened.root, host, port, uri)
    page = f"http://{host}:{port}"
    if study is not None:
        from harness.loading import load_study

        page = tracking.experiment_page(page, load_study(study).study.study, opened.root, uri)
    note(f"Open {page} (it takes some seconds to start; Ctrl-C ends it)")
    try:
        code = subprocess.run(command, check=False, env=processes.environment()).returncode
    except KeyboardInterrupt:
        code = 0
    sys.exit(code)
