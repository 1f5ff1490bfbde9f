"""MLflow as a projection of the store: one experiment per study, one run per variant and seed.

Nothing is read back from MLflow to compute a result: it can be deleted and rebuilt at any time. Every run
has its identity in the tag ``harness.key`` (``<study key>``, ``<study key>/<variant>``,
``<study key>/<variant>/<seed>``, ``<study key>/base``); a sync looks it up before it creates anything.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness import processes
from harness.errors import RequestError, StepError, storage_problem
from harness.escaping import redacted
from harness.records import StudyView
from harness.store import Store, artifact_in
from harness.tracking.entry import PLACE_TAGS, TEXT_LIMIT, Dataset, Entry
from harness.tracking.notes import escaped
from harness.tracking.projection import project, projected

DIGEST_LENGTH = 36  # MLflow's limit for a dataset digest; the whole digest is in the profile and in tags
METRICS_PER_CALL, PARAMS_PER_CALL = 800, 100  # with up to 100 tags, MLflow's limit of 1000
SCHEMA_TYPES = {"str": "string", "int": "long", "float": "double", "list[str]": "string"}
# Set before MLflow is imported, unless the user has set them: an absent server is reported within a minute, not after
# four; MLflow prints nothing between our lines; no usage data leave the machine without consent.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True)
class SyncReport:
    """The result of ``sync``: how many runs it created, changed (in place or by a new run), left unchanged."""

    experiment: str
    experiment_id: str
    uri: str
    created: int
    updated: int
    unchanged: int


# ----------------------------------------------------------------------------------------------- where it is


def default_uri(store: Path) -> str:
    """Return ``MLFLOW_TRACKING_URI`` if it is set, else the URI of a sqlite file in the store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _own(store)


def public_uri(uri: str) -> str:
    """Return a URI that may be printed: without user, password and query (drivers take passwords there too)."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    if scheme in ("sqlite", "file") and rest.startswith(
        "/"
    ):  # a path, in which these characters have no special meaning
        return re.sub(r"\?[\w.-]+=.*", "", uri)
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def ui_command(store: Path, host: str = "127.0.0.1", port: int = 5000, uri: str | None = None) -> list[str]:
    """Return the command that shows the store's MLflow in a browser, on this machine only by default.

    The command holds the URI unchanged, with its password: do not print it.

    Raises:
        RequestError: For an HTTP tracking server, which has its own pages.
    """
    uri = uri or default_uri(store)
    if uri.startswith(("http://", "https://")):
        raise RequestError(f"{public_uri(uri)} is an MLflow server already: open it in a browser")
    where = ["--backend-store-uri", _reachable(uri, store), "--default-artifact-root", _artifacts(store).as_uri()]
    # The server that MLflow starts would look for modules in the current folder: give it an empty place instead.
    nowhere = ["--uvicorn-opts", f"--app-dir {os.devnull}"]
    server = processes.python("mlflow", "server", "--host", host, "--port", str(port), "--workers", "1")
    return [*server, *nowhere, *where]


def _own(store: Path) -> str:
    """Return the URI of the database in the store, for people."""
    return f"sqlite:///{store.resolve()}/mlflow.db"


def _reachable(uri: str, store: Path) -> str:
    """Return a tracking URI for MLflow: for the database in the store, a URI in plain characters."""
    return f"sqlite:///{_plain(store.resolve())}/mlflow.db" if uri == _own(store) else uri


@cache
def _plain(folder: Path) -> Path:
    """Return a path to a folder that is valid in a URI, for the lifetime of this process.

    In a database's URI ``?`` ends the path and ``%41`` may be a letter; MLflow creates the folder that it then reads.
    """
    if not re.search(r"[?%]", str(folder)):
        return folder
    links = tempfile.mkdtemp(prefix="harness-mlflow-")
    atexit.register(shutil.rmtree, links, ignore_errors=True)
    link = Path(links) / "store"
    link.symlink_to(folder)
    return link


def experiment_page(server: str, study: str, store: Path, uri: str | None = None) -> str:
    """Return the page of a study's experiment on a server that shows a tracking URI.

    Raises:
        RequestError: MLflow has no such study yet.
        StepError: If MLflow does not answer.
    """
    uri = uri or default_uri(store)
    with _mlflow_errors(uri):
        found = _client(uri, store).get_experiment_by_name(study)
    if found is None:
        raise RequestError(f'MLflow has no experiment "{study}" yet: `harness run` or `harness sync` makes it')
    return f"{server.rstrip('/')}/#/experiments/{found.experiment_id}/runs"


def _artifacts(store: Path) -> Path:
    return store.resolve() / "mlflow-artifacts"


# --------------------------------------------------------------------------------------------------- syncing


def sync(
    view: StudyView,
    store: Path,
    uri: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    report: str = "",
    cards: dict[str, dict[str, str]] | None = None,
) -> SyncReport:
    """Make MLflow show a study as the store holds it; runs that already do are left alone.

    A changed run is updated in place. Where MLflow cannot change what is written (params, curves, inputs, a
    metric that no longer exists) a new run is created and the old one goes to MLflow's trash.

    Args:
        view: The study, read from the store. Runs that are still to do are left out.
        store: The store's folder: it holds the default database, the artifacts and a lock.
        uri: Tracking URI; default: ``default_uri(store)``.
        on_progress: Called with (MLflow runs done, all MLflow runs).
        report: HTML for the study's run (``report.html``).
        cards: Variant -> file name -> text: data cards for the variants' runs.

    Raises:
        StepError: If MLflow does not answer or refuses. A later sync continues.
    """
    uri = uri or default_uri(store)
    ids: dict[str, str] = {}
    did = {"created": 0, "updated": 0, "unchanged": 0}
    store.mkdir(parents=True, exist_ok=True)
    # Two syncs at once would both look, find nothing, and both create.
    with Store(store).lock("mlflow"), _mlflow_errors(uri):
        client = _client(uri, store)
        experiment_id = _experiment(client, view, store, uri)
        present = _present(client, experiment_id, view.key)
        total = projected(view)
        for number, entry in enumerate(project(view, report, cards), 1):
            if entry.parent is not None:
                entry.tags["mlflow.parentRunId"] = ids[entry.parent]
            ids[entry.key], what = _put(client, experiment_id, entry, present.get(entry.key))
            did[what] += 1
            if on_progress is not None:
                on_progress(number, total)
        if did["created"]:
            # MLflow's client repeats a request whose answer was lost: remove runs that were created twice.
            _present(client, experiment_id, view.key)
    return SyncReport(experiment=view.study, experiment_id=experiment_id, uri=public_uri(uri), **did)


def _client(uri: str, store: Path) -> Any:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow
    import mlflow.store.db.utils
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # Errors are raised as sentences; these logs are only about created tables and retries.
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)
    mlflow.store.db.utils.MAX_RETRY_COUNT = 3  # an absent database fails within 0.7 s instead of 100 s
    if uri == _own(store):
        root = _plain(store.resolve())
        own = root / "mlflow.db"
        if not own.exists():
            # Hundreds of statements: a kill in the middle would leave a database that MLflow refuses for ever.
            with Store(root).scratch("mlflow") as scratch:
                # A client would write the current folder into it, in SQL that a quote in the folder's name breaks.
                SqlAlchemyStore(f"sqlite:///{scratch / own.name}", _artifacts(store).as_uri())
                (scratch / own.name).rename(own)
        # Twice as fast, and a user interface that reads at the same time neither waits nor makes us wait.
        with contextlib.closing(sqlite3.connect(own)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            _follow(database, _artifacts(store).as_uri())
    return mlflow.MlflowClient(tracking_uri=_reachable(uri, store))


def _follow(database: sqlite3.Connection, here: str) -> None:
    """Update the places of artifacts in the database of a store that was moved or copied."""
    for number, place in database.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall():
        there, _, name = (place or "").rpartition("/")
        if there.startswith("file:") and there.endswith("/mlflow-artifacts") and there != here:
            database.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (f"{here}/{name}", number)
            )
            database.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (here, len(there) + 1, number, len(there) + 1, f"{there}/"),
            )
    database.commit()


def _experiment(client: Any, view: StudyView, store: Path, uri: str) -> str:
    """Return the id of the study's experiment; create it, or take it out of the trash, if needed."""
    found, question = client.get_experiment_by_name(view.study), escaped(view.question)[:TEXT_LIMIT]
    # With a database MLflow would put artifacts into the current folder; a server has its own place.
    database = uri.partition(":")[0].partition("+")[0] in ("sqlite", "postgresql", "mysql", "mssql")
    if found is None:
        place = (_artifacts(store) / view.study).as_uri() if database else None
        tags = {"mlflow.experimentKind": "custom_model_development", "mlflow.note.content": question}
        return str(client.create_experiment(view.study, artifact_location=place, tags=tags))
    there, here = found.artifact_location or "", _artifacts(store).as_uri()
    if database and there.rpartition("/")[0].endswith("/mlflow-artifacts") and not there.startswith(f"{here}/"):
        # The database is not the store's own, so it is not updated: other stores may have artifacts there.
        raise StepError(
            f'MLflow at {public_uri(uri)} keeps the artifacts of experiment "{view.study}" in {there}, and the store '
            f"is at {store.resolve()}: nothing is written. Rename that experiment in MLflow, or give another --uri"
        )
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    if found.tags.get("mlflow.note.content") != question:
        client.set_experiment_tag(found.experiment_id, "mlflow.note.content", question)
    return str(found.experiment_id)


def _present(client: Any, experiment_id: str, study_key: str) -> dict[str, Any]:
    """Return the runs MLflow has of this study by key; a second run under one key goes to the trash."""
    where = f"tags.`harness.study_key` = '{study_key}'"
    page = client.search_runs([experiment_id], where, max_results=1000)
    runs = list(page)
    while page.token:
        page = client.search_runs([experiment_id], where, max_results=1000, page_token=page.token)
        runs += page
    found: dict[str, Any] = {}
    for run in sorted(runs, key=lambda run: "harness.digest" not in run.data.tags):  # finished ones first
        if found.setdefault(run.data.tags.get("harness.key", ""), run) is not run:
            client.delete_run(run.info.run_id)
    return found


def _put(client: Any, experiment_id: str, entry: Entry, old: Any | None) -> tuple[str, str]:
    """Create, update or leave one run; return its MLflow id and what was done."""
    begin, end = entry.times
    content, fixed, artifacts = (digest[:16] for digest in (entry.content(), entry.fixed(), entry.artifacts()))
    tags = old.data.tags if old is not None else {}
    placed = all(tags.get(name) == entry.tags.get(name) for name in PLACE_TAGS)
    before = dict(part.split(":") for part in tags.get("harness.digest", "").split() if ":" in part)
    if old is not None and before.get("all") == content and placed:
        return old.info.run_id, "unchanged"
    shown = {*entry.metrics, *(name for name, *_ in entry.curve)}
    marks = {"harness.digest": f"all:{content} fixed:{fixed} artifacts:{artifacts}"}
    stale = True
    if old is not None and before.get("fixed") == fixed and set(old.data.metrics) <= shown:
        run_id, what = old.info.run_id, "updated"
        stale = before.get("artifacts") != artifacts
        known = old.data.metrics
        new = {name: value for name, value in entry.metrics.items() if name not in known}
        changed = {name: value for name, value in entry.metrics.items() if known.get(name, value) != value}
        # MLflow shows the value with the newest time. A clock that was ahead may have written a time in the future.
        told = [point.timestamp for name in changed for point in client.get_metric_history(run_id, name)]
        moment = max([int(time.time() * 1000), *(past + 1 for past in told)])
        points, params = [*_points(new, end), *_points(changed, moment)], {}
        for name in tags:
            if name.startswith("harness.") and name not in {*entry.tags, *marks}:
                client.delete_tag(run_id, name)
    else:
        if old is not None:
            client.delete_run(old.info.run_id)
        run = client.create_run(experiment_id, start_time=begin, tags=entry.tags, run_name=entry.name)
        run_id, what = run.info.run_id, "updated" if old is not None else "created"
        points, params = [*_points(entry.metrics, end), *_curve(entry)], entry.params
        if entry.datasets:
            client.log_inputs(run_id, datasets=[_input(dataset) for dataset in entry.datasets])
    if stale:
        marks |= _log_artifacts(client, run_id, entry)
    if entry.status == "RUNNING":
        client.update_run(run_id, status="RUNNING", name=entry.name)
    else:
        client.set_terminated(run_id, status=entry.status, end_time=end)
    # The marks are written last: a run without them was interrupted, and the next sync replaces it.
    _log_batches(client, run_id, points, params, (entry.tags if what == "updated" else {}) | marks)
    return run_id, what


# --------------------------------------------------------------------------------------------- MLflow's forms


def _points(metrics: dict[str, float], moment: int) -> list[Any]:
    from mlflow.entities import Metric

    return [Metric(name, value, moment, 0) for name, value in metrics.items()]


def _curve(entry: Entry) -> list[Any]:
    from mlflow.entities import Metric

    return [Metric(name, value, moment, step) for name, value, step, moment in entry.curve]


def _log_batches(client: Any, run_id: str, points: list[Any], params: dict[str, str], tags: dict[str, str]) -> None:
    """Log in as few calls as MLflow allows: each call waits for the disk several times."""
    from mlflow.entities import Param, RunTag

    rest = [Param(name, value) for name, value in params.items()]
    calls = max(1, -(-len(points) // METRICS_PER_CALL), -(-len(rest) // PARAMS_PER_CALL))
    for call in range(calls):
        client.log_batch(
            run_id,
            metrics=points[call * METRICS_PER_CALL : (call + 1) * METRICS_PER_CALL],
            params=rest[call * PARAMS_PER_CALL : (call + 1) * PARAMS_PER_CALL],
            tags=[RunTag(name, value) for name, value in tags.items()] if call == calls - 1 else [],
        )


def _input(dataset: Dataset) -> Any:
    from mlflow.entities import Dataset as MlflowDataset
    from mlflow.entities import DatasetInput, InputTag

    schema = [
        {"name": name, "type": SCHEMA_TYPES[kind.rstrip("?")], "required": not kind.endswith("?")}
        for name, kind in dataset.columns.items()
    ]
    marks = {"mlflow.data.context": dataset.context, "harness.digest": dataset.digest}
    marks |= {"harness.seeds": ", ".join(map(str, dataset.seeds))} if dataset.seeds else {}
    return DatasetInput(
        MlflowDataset(
            name=dataset.name,
            digest=dataset.digest[:DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": dataset.folder}),
            schema=json.dumps({"mlflow_colspec": schema}),
            profile=json.dumps({"digest": dataset.digest, **dataset.profile}),
        ),
        tags=[InputTag(name, value) for name, value in marks.items()],
    )


def _log_artifacts(client: Any, run_id: str, entry: Entry) -> dict[str, str]:
    """Write all artifacts, over existing ones of the same name; return the tag that lists the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, value in entry.documents.items():
            _write(folder / path, json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True))
        for path, text in entry.texts.items():
            _write(folder / path, text)
        for path, rows in entry.tables.items():
            columns = list(rows[0]) if rows else []
            data = [[row[column] for column in columns] for row in rows]
            _write(folder / path, json.dumps({"columns": columns, "data": data}))
        for path, (file, _) in entry.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(artifact_in(file.parent).file(file.name).resolve())
        if any(folder.iterdir()):
            client.log_artifacts(run_id, name)
    # As MlflowClient.log_table does; but that would append to the table of an earlier sync.
    tables = [{"path": path, "type": "table"} for path in entry.tables]
    return {"mlflow.loggedArtifacts": json.dumps(tables)} if tables else {}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _mlflow_errors(uri: str) -> Iterator[None]:
    """Turn errors of MLflow and its database into one sentence without credentials."""
    try:
        yield
    except Exception as error:
        # ImportError: a database driver that is not installed. OSError: artifacts that cannot be written.
        theirs = type(error).__module__.startswith(("mlflow.", "sqlalchemy.", "alembic.", "sqlite3"))
        if not theirs and not isinstance(error, ImportError | OSError):
            raise
        lines = [line for line in str(error).replace(uri, public_uri(uri)).splitlines() if line.strip()]
        reason = storage_problem(error) or (redacted(lines[0])[:300] if lines else type(error).__name__)
        secret = uri.partition("://")[2].rpartition("@")[0]
        if secret:
            reason = type(error).__name__  # the message may spell the password differently
        # Not `from error`: the cause repeats the URI in its own words, password included.
        raise StepError(
            f"MLflow at {public_uri(uri)} could not be written ({reason.rstrip('. ')}); all runs are kept in the store"
        ) from None
