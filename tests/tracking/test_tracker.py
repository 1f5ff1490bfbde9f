"""MLflow while a study goes on: finished runs are there, verdicts are not yet, and no server holds anything up."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.session import open_study
from harness.session.tracker import Tracker
from harness.study.plan import refreshed
from harness.tracking import default_uri
from tests import planted
from tests.command import HANGS
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


def until(uri: str, runs: int, limit: float = HANGS) -> None:
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
    open_study(study, store=store).answer().sync()
    open_study(study, store=store).answer().sync(empty_uri)
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
            assert time.monotonic() - started < HANGS
    said = capsys.readouterr().err
    assert said.count("could not be written") == 1
    assert "Runs go on, and it is tried again." in said


class Deaf:
    """A server that takes calls and never answers."""

    def __init__(self) -> None:
        self.calls: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._taker = threading.Thread(target=self._take, daemon=True)
        self._taker.start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                self.calls.append(self._server.accept()[0])

    def close(self) -> None:
        """Hang up on everybody."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._taker.join()
        for call in self.calls:
            call.close()


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deaf]:
    server = Deaf()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "600")
    yield server
    server.close()


def test_a_server_that_hangs_holds_nothing_up(study: Path, deaf: Deaf) -> None:
    """Who waited for it anywhere would wait for ten minutes."""
    started = time.monotonic()
    tracker = Tracker(planted.plan(study), period=0.01, share=1.0)
    with pytest.raises(KeyboardInterrupt), tracker:  # noqa: PT012
        while not deaf.calls:
            tracker.hear()
            time.sleep(0.01)
        tracker.hear()
        raise KeyboardInterrupt
    assert time.monotonic() - started < HANGS
    thread = tracker._thread
    assert thread is not None
    assert thread.is_alive()  # still waiting, alone
    deaf.close()
    thread.join(HANGS)  # else it would be at it in the next test
    assert not thread.is_alive()


def test_without_tracking_nothing_is_written(study: Path) -> None:
    made = planted.plan(study)
    with Tracker(made, enabled=False) as tracker:
        tracker.hear()
    assert not by_key(default_uri(made.store.root))


def test_a_large_study_is_looked_at_less_often(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand runs take a minute to look at: not every half minute."""
    looks: list[tuple[float, float]] = []

    def look(self: Tracker) -> str:
        began = time.monotonic()
        time.sleep(0.02)
        looks.append((began, time.monotonic()))
        return ""

    monkeypatch.setattr(Tracker, "_write", look)
    with Tracker(planted.plan(study), period=0.0, share=0.1) as tracker:
        until = time.monotonic() + HANGS
        while len(looks) < 4:
            tracker.hear()
            time.sleep(0.001)
            assert time.monotonic() < until
    for (began, ended), (again, _) in itertools.pairwise(looks):
        assert again - began > 0.95 * (ended - began) / 0.1  # at most a tenth of the time
