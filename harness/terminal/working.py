"""Messages about work in progress: transient ones in a terminal, and lines that stay."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def working(first: str) -> Iterator[Callable[[str], None]]:
    """Show a message while the block runs; the yielded function replaces it. Must not be nested."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    from harness.terminal.tables import markup

    with Console(stderr=True).status(markup(first)) as status:
        yield lambda text: status.update(markup(text))


@contextlib.contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a progress bar in a terminal; yield the function that updates it with (done, total), else None."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def note(text: str) -> None:
    """Print a line to standard error, so that standard output holds only ``--json``."""
    print(text, file=sys.stderr, flush=True)
