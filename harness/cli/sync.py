"""``harness sync``: rebuild the MLflow projection from the store."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, StudyFile, print_json


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
    from harness.session import open_study

    report = open_study(study, store=store).answer().sync(uri)
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
