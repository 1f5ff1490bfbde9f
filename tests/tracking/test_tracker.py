"""MLflow while a study goes on: finished runs are there, verdicts are not yet, and no server holds anything up."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import answer
from harness.cli.sync import write
from harness.cli.tracker import Tracker
from harness.plan import refreshed
from harness.tracking import default_uri
from tests import planted
from tests.tracking.shown import assert_same, by_key, free_port, snapshot

# MLflow uses what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def study(tmp_path: Path, tiny: Path, empty_database: bytes) -> Path:
    """A study with all results in its store, and an empty MLflow beside it."""
    file = planted.folder_with(tmp_path, tiny)
    planted.plant(file)
    (tmp_path / ".harness" / "mlflow.db").write_bytes(empty_database)
    return file


def until(uri: str, runs: int, limit: float = 300) -> None:
    started = time.monotonic()
    while sum("harness.digest" in run.data.tags for run in by_key(uri).values()) < runs:
        assert time.monotonic() - started < limit, f"{len(by_key(uri))} of {runs} runs"
        time.sleep(0.1)


def test_finished_runs_are_there_while_others_go_on(study: Path, empty_uri: str) -> None:
    made = planted.plan(study)
    store = made.store.root
    hidden = [run for run in made.runs if run.seed == 2]
    away = study.parent / "away"
    away.mkdir()
    moved = []
    for run in hidden:
        found = made.store.find("adapter", run.adapter.key)
        assert found is not None
        found.folder.rename(away / found.folder.name)
        moved.append(found.folder)
    going = refreshed(made)
    assert {run.state for run in going.runs if run.seed == 2} == {"to do"}
    with Tracker(going, period=0.1, share=1.0) as tracker:
        tracker.hear()
        until(default_uri(store), 1 + 1 + len(made.variants) + 6)
        shown = by_key(default_uri(store))
        level = {key: run.data.tags["harness.level"] for key, run in shown.items()}
        assert sum(one == "seed" for one in level.values()) == 6
        for run in shown.values():
            assert "harness.verdict" not in run.data.tags
            assert "effect" not in run.data.metrics
        for folder in moved:
            (away / folder.name).rename(folder)
        tracker.hear()
        until(default_uri(store), 1 + 1 + len(made.variants) + 12)
    write(refreshed(made), answer.view(refreshed(made)), study, store)
    write(refreshed(made), answer.view(refreshed(made)), study, store, empty_uri)
    live, rebuilt = snapshot(default_uri(store)), snapshot(empty_uri)
    assert_same(live, rebuilt)
    best = max(
        (run for run in rebuilt.values() if "effect" in run["metrics"]), key=lambda run: run["metrics"]["effect"]
    )
    assert best["name"] == "sums-16"
    assert {"report.html", "study.json", "tables/comparison.json"} <= set(rebuilt[made.study_step.key]["artifacts"])
    assert {"data/card.html", "data/card.json"} <= set(best["artifacts"])


def test_a_server_that_is_away_is_said_once(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    made = planted.plan(study)
    tries = []
    real = Tracker._write

    def count(self: Tracker) -> str:
        tries.append(1)
        return real(self)

    monkeypatch.setattr(Tracker, "_write", count)
    with Tracker(made, period=0.01, share=1.0) as tracker:
        started = time.monotonic()
        while len(tries) < 3:
            tracker.hear()
            time.sleep(0.05)
            assert time.monotonic() - started < 120
    said = capsys.readouterr().err
    assert said.count("could not be written") == 1
    assert "Runs go on, and it is tried again." in said


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        calls: list[socket.socket] = []

        def take() -> None:
            try:
                while True:
                    calls.append(server.accept()[0])
            except OSError:  # closed
                return

        taker = threading.Thread(target=take, daemon=True)
        taker.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
        yield
        server.shutdown(socket.SHUT_RDWR)
        for call in calls:
            call.close()
    taker.join(5)


@pytest.mark.usefixtures("deaf")
def test_a_server_that_hangs_holds_nothing_up(study: Path) -> None:
    made = planted.plan(study)
    tracker = Tracker(made, period=0.01, share=1.0)

    ended = 0.0
    with pytest.raises(KeyboardInterrupt), tracker:  # noqa: PT012
        started = time.monotonic()
        for _ in range(100):
            tracker.hear()
        assert time.monotonic() - started < 0.5
        time.sleep(0.5)
        ended = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - ended < 2.5
    assert tracker._thread is not None
    tracker._thread.join(30)  # else it would still be at it in the next test


def test_without_tracking_nothing_is_written(study: Path) -> None:
    made = planted.plan(study)
    with Tracker(made, enabled=False) as tracker:
        tracker.hear()
    assert not by_key(default_uri(made.store.root))


def test_a_large_study_is_looked_at_less_often(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand runs take a minute to look at: not every half minute."""
    looks: list[float] = []

    def look(self: Tracker) -> str:
        looks.append(time.monotonic())
        time.sleep(0.1)
        return ""

    monkeypatch.setattr(Tracker, "_write", look)
    with Tracker(planted.plan(study), period=0.0, share=0.1) as tracker:
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            tracker.hear()
            time.sleep(0.01)
    assert 2 <= len(looks) <= 3  # one a second: a tenth of the time
    assert min(later - earlier for earlier, later in itertools.pairwise(looks)) > 0.95
