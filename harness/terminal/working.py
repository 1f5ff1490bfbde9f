"""What is under way, said where there is a terminal to say it on, and lines that stay."""

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

    from harness.terminal.tables import markup

    with Console(stderr=True).status(markup(first)) as status:
        yield lambda text: status.update(markup(text))


@contextlib.contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar where there is a terminal: what is handed over takes how many are done, of how many."""
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
    """Tell the person what is going on, on standard error, so that ``--json`` stays clean."""
    print(text, file=sys.stderr, flush=True)
