"""MLflow in other places: a server over HTTP, killed and started again; a folder of files."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import StepError
from harness.records import StudyView
from harness.tracking import default_uri, sync
from tests.command import environment, harness
from tests.conftest import SMALL_STUDY
from tests.nursery import Nursery
from tests.tracking.servers import Server
from tests.tracking.shown import assert_same, by_key, snapshot

# MLflow uses what SQLAlchemy 2.1 deprecates; a server that was killed leaves connections half open.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@pytest.fixture
def server(tmp_path: Path, empty_database: bytes) -> Iterator[Server]:
    made = Server.prepared(tmp_path / "server", empty_database)
    made.start()
    yield made
    made.kill()


def test_killed_while_it_is_written_to_nothing_is_lost_and_nothing_doubled(
    view: StudyView, store: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def die(done: int, total: int) -> None:
        if done == 6:
            server.kill()

    with pytest.raises(StepError, match="could not be written"):
        sync(view, tmp_path / "other", server.url, on_progress=die)
    server.start()
    report = sync(view, tmp_path / "other", server.url)
    assert report.created + report.updated + report.unchanged == 11
    assert report.unchanged >= 6
    assert sync(view, tmp_path / "other", server.url).unchanged == 11
    sync(view, store)
    assert_same(snapshot(server.url), snapshot(default_uri(store)))  # snapshot fails where a key comes twice


def test_a_server_that_goes_in_the_middle_of_a_sweep(
    nursery: Nursery, study_folder: Path, server: Server, empty_uri: str
) -> None:
    (study_folder / "study.yaml").write_text(SMALL_STUDY)
    settings = {"MLFLOW_TRACKING_URI": server.url, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    running = nursery.start("run", "study.yaml", "--workers", "2", cwd=study_folder, **settings)
    results = study_folder / ".harness" / "result"
    while len(list(results.glob("*/record.json"))) < 3:
        assert running.poll() is None, (study_folder / "err").read_text()
        time.sleep(0.05)
    server.kill()
    code, err = running.wait(600), (study_folder / "err").read_text()
    assert code == 1, err
    assert "6 runs, 7 steps of work done now" in err  # no run waited for it, or was lost with it
    assert f"MLflow at {server.url} could not be written" in err
    assert "all runs are kept in the store. When it can be reached: harness sync study.yaml" in err
    assert err.count("Runs go on, and it is tried again") <= 1
    assert "Traceback" not in err
    server.start()
    synced = harness("sync", "study.yaml", cwd=study_folder, **settings)
    assert synced.code == 0, synced.err
    rebuilt = harness("sync", "study.yaml", "--uri", empty_uri, "--json", cwd=study_folder)
    assert rebuilt.json["created"] == 1 + 1 + 3 + 6
    assert_same(snapshot(server.url), snapshot(empty_uri))


def test_a_folder_of_files(view: StudyView, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    assert sync(view, tmp_path / "other", uri).created == 11
    assert sync(view, tmp_path / "other", uri).unchanged == 11
    sync(view, store)
    files, database = snapshot(uri), snapshot(default_uri(store))
    assert_same(files, database, without="inputs")
    for key in files:  # this store makes up its own ids of inputs: names, digests and contexts are the same
        digests = [{item["dataset"]["digest"] for item in one[key]["inputs"]} for one in (files, database)]
        assert digests[0] == digests[1]


def test_nobody_sees_the_key_of_a_run_twice(view: StudyView, store: Path) -> None:
    """Two that write at once, as two drivers of one study do."""
    code = (
        "import sys; from pathlib import Path\n"
        "from harness.records import StudyView; from harness.tracking import sync\n"
        "sync(StudyView.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))"
    )
    (store / "view.json").write_text(view.model_dump_json())
    command = [sys.executable, "-c", code, str(store / "view.json"), str(store)]
    both = [subprocess.Popen(command, env=environment()) for _ in range(2)]
    assert [one.wait(300) for one in both] == [0, 0]
    assert len(by_key(default_uri(store))) == 11
