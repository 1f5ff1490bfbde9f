"""What is under way, said where there is a terminal to say it on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def working(first: str) -> Iterator[Callable[[str], None]]:
    """Show what is under way; the function that is handed over says what comes next. Not to be nested."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    from harness.cli.tables import markup

    with Console(stderr=True).status(markup(first)) as status:
        yield lambda text: status.update(markup(text))
