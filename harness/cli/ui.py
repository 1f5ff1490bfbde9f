"""``harness ui``: the MLflow user interface on the store."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from harness.cli.arguments import DEFAULT_STORE, StoreFolder, note, open_store


def ui(
    store: StoreFolder = DEFAULT_STORE,
    host: Annotated[
        str, typer.Option("--host", help="address to listen on; only this machine by default")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="port to listen on")] = 5000,
    uri: Annotated[str | None, typer.Option("--uri", help="another tracking URI")] = None,
) -> None:
    """Open MLflow on the store's experiments (Ctrl-C ends it)."""
    from harness import tracking

    opened = open_store(store)
    note(f"MLflow on http://{host}:{port} (Ctrl-C ends it)")
    try:
        code = subprocess.run(tracking.ui_command(opened.root, host, port, uri), check=False).returncode
    except KeyboardInterrupt:
        code = 0
    sys.exit(code)
