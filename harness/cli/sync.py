"""``harness sync``: rebuild the MLflow projection from the store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, StudyFile, open_plan, print_json, shown_store
from harness.cli.working import working

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.records import StudyView
    from harness.tracking import SyncReport


def sync(
    study: StudyFile,
    store: StorePlace = DEFAULT_STORE,
    json: AsJson = False,
    uri: Annotated[
        str | None,
        typer.Option("--uri", help="tracking URI (default: MLFLOW_TRACKING_URI, else beside the store)"),
    ] = None,
) -> None:
    """Write a study's runs, metrics, verdicts and report to MLflow.

    Repeating it changes nothing; MLflow may be deleted first.
    """
    from harness import answer

    made = open_plan(study, store)
    with working("Comparing"):
        view = answer.view(made)
    report = write(made, view, study, store, uri)
    if json:
        print_json(
            {
                "experiment": report.experiment,
                "uri": report.uri,
                "created": report.created,
                "updated": report.updated,
                "unchanged": report.unchanged,
            }
        )
    else:
        print(
            f"{report.experiment} at {report.uri}: {report.created} runs created, {report.updated} updated, "
            f"{report.unchanged} unchanged"
        )


def write(made: Plan, view: StudyView, study: Path, store: str, uri: str | None = None) -> SyncReport:
    """Write a study to MLflow, with its report, and show how far it is where there is a terminal.

    Args:
        made: The study.
        view: The same, as the store shows it.
        study: The study's file, for the command that tries again.
        store: The store's folder, as the user gave it.
        uri: Tracking URI, where the user gave one.

    Raises:
        StepError: If MLflow does not answer or refuses, with the command that tries again.
    """
    from harness import tracking
    from harness.data.card import render
    from harness.errors import StepError
    from harness.report import gather, html

    told = gather(made, view)
    measured = {variant.name: variant.card for variant in told.variants if variant.card is not None}
    cards = {
        name: {"card.html": render(card), "card.json": card.model_dump_json(indent=1)}
        for name, card in measured.items()
    }
    try:
        with _progress() as show:
            return tracking.sync(view, made.store.root, uri, show, html(told), cards)
    except StepError as error:
        again = f"harness sync {study}{shown_store(store)}{f' --uri {tracking.public_uri(uri)}' if uri else ''}"
        raise StepError(f"{error}. When it can be reached: {again}") from error


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("Writing to MLflow"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("runs", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
