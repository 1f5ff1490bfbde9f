"""MLflow databases to write to, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.records import StudyView
from harness.tracking import SyncReport, sync
from tests.tracking.shown import make_view


@pytest.fixture(autouse=True)
def _no_server_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with MLflow's tables: making them takes seconds."""
    import mlflow

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path.read_bytes()


@pytest.fixture
def store(tmp_path: Path, empty_database: bytes) -> Path:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "mlflow.db").write_bytes(empty_database)
    return tmp_path / "store"


@pytest.fixture
def empty_uri(tmp_path: Path, empty_database: bytes) -> str:
    """An MLflow without any run, such as after deleting the store's."""
    (tmp_path / "empty.db").write_bytes(empty_database)
    return f"sqlite:///{tmp_path}/empty.db"


@pytest.fixture
def view(store: Path) -> StudyView:
    return make_view(store)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_database: bytes) -> tuple[SyncReport, str]:
    """A study shown once, for tests that only look: the report and the URI."""
    store = tmp_path_factory.mktemp("finished")
    (store / "mlflow.db").write_bytes(empty_database)
    return sync(make_view(store), store, f"sqlite:///{store}/mlflow.db"), f"sqlite:///{store}/mlflow.db"
