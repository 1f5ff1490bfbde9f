"""Several drivers on one store: each run is trained once, all end alike, and none needs the others, or a lock."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.store import Step, Store
from tests import faults, long
from tests.nursery import Child, Nursery
from tests.test_faults import RUNS, STUDY

RUN = ("run", "study.yaml", "--workers", "1")
OTHER = STUDY.replace("study: tiny", "study: other").replace("  sums-8: {tests: sums, mix: {sums: 8}}\n", "")
OTHER_RUNS = 4  # all of which the first study has too


@pytest.fixture
def reference(undisturbed: dict[str, Any]) -> dict[str, Any]:
    return undisturbed


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Path:
    return faults.prepare(tmp_path / "study", tiny, STUDY)


def beside(folder: Path, number: int, study: str = STUDY) -> Path:
    """A folder like this one, for a driver of its own, on the same store."""
    other = folder.parent / f"driver-{number}"
    faults.prepare(other, folder / "model", study)
    (other / ".harness").symlink_to(folder / ".harness")
    return other


def trainings(folder: Path) -> Counter[str]:
    return Counter((folder.parent / "trainings").read_text().split())


def start(nursery: Nursery, folder: Path, **more: str) -> Child:
    return nursery.start(*RUN, cwd=folder, NURSERY_TRAININGS=str(folder.parent / "trainings"), **more)


@pytest.mark.slow
@pytest.mark.parametrize("drivers", [2, 5])
def test_drivers_share_a_study(nursery: Nursery, reference: dict[str, Any], folder: Path, drivers: int) -> None:
    """All start at once, on nothing: data, runs and MLflow are made once; all end well; one of them may be killed."""
    (folder / ".harness").mkdir()
    started = [start(nursery, beside(folder, number)) for number in range(drivers)]
    if drivers > 2:
        while not faults.stamps(folder):
            time.sleep(0.01)
        os.kill(started[0].pid, signal.SIGKILL)
        assert started.pop(0).wait() == -signal.SIGKILL
    for number, driver in enumerate(started, drivers - len(started)):
        assert driver.wait(300) == 0, (folder.parent / f"driver-{number}" / "err").read_text()
    begun = trainings(folder)
    assert len(begun) == RUNS
    # The killed driver was at one run, which another one took over; every other was trained once.
    assert sum(begun.values()) <= RUNS + (drivers > 2)
    faults.check_whole(nursery, folder, reference)


@pytest.mark.slow
def test_two_studies_share_what_they_have_in_common(nursery: Nursery, reference: dict[str, Any], folder: Path) -> None:
    """Of another study, every run is one of the first's: nothing is trained twice, both are compared and logged."""
    (folder / ".harness").mkdir()
    one, other = beside(folder, 1), beside(folder, 2, OTHER)
    started = [start(nursery, one), start(nursery, other)]
    assert [driver.wait(300) for driver in started] == [0, 0], [(f / "err").read_text() for f in (one, other)]
    begun = trainings(folder)
    assert (len(begun), set(begun.values())) == (RUNS, {1})
    synced = [nursery.start("sync", "study.yaml", "--json", cwd=place) for place in (one, other)]
    assert [sync.wait() for sync in synced] == [0, 0]
    assert len(faults.mlflow_keys(folder)) == len(set(faults.mlflow_keys(folder)))
    plan = nursery.call("plan", "study.yaml", "--json", cwd=other).json
    assert [run["state"] for run in plan["runs"]] == ["done"] * OTHER_RUNS
    assert faults.answers(nursery, one) == reference["answers"]
    adapters = faults.digests(folder)["adapter"]
    assert adapters == reference["digests"]["adapter"]
    assert nursery.call("store", "verify", cwd=one).code == 0


@pytest.mark.slow
def test_where_nothing_can_be_locked(nursery: Nursery, reference: dict[str, Any], folder: Path) -> None:
    """A file system without locks: work is done twice, several attempts end at once, and the outcome is the same."""
    (folder / ".harness").mkdir()
    places = [beside(folder, number) for number in range(3)]
    more = {"NURSERY_NO_LOCKS": "1", "NURSERY_TRAININGS": str(folder.parent / "trainings")}
    started = [nursery.start(*RUN, "--no-track", cwd=place, **more) for place in places]
    assert [driver.wait(300) for driver in started] == [0, 0, 0], [(p / "err").read_text() for p in places]
    begun = trainings(folder)
    assert len(begun) == RUNS
    assert sum(begun.values()) > RUNS  # there really was no lock
    faults.check_whole(nursery, folder, reference, tracked=False)


# --------------------------------------------------------------------------------------- publication, by rename only


def test_attempts_that_end_at_once(tmp_path: Path) -> None:
    """Threads that publish the same keys over and over: one of each arrives, whole, and nobody is told off."""
    store = Store(tmp_path / "store")
    steps = [Step("variant", f"step {number}", f"{number:016x}", 1) for number in range(25)]
    wrong: list[BaseException] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        try:
            for step in steps:
                barrier.wait()  # all at the same moment
                with store.attempt(step) as attempt:
                    (attempt.folder / "part").mkdir()
                    (attempt.folder / "part" / "rows").write_text(step.key * 100)
                    attempt.digest = "d"
        except BaseException as error:
            wrong.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sorted(artifact.record.key for artifact in store.artifacts("variant")) == [step.key for step in steps]
    assert not any((store.root / "work").iterdir())
    for artifact in store.artifacts("variant"):
        assert (artifact.folder / "part" / "rows").read_text() == artifact.record.key * 100


def test_what_lost_its_record_is_made_again(tmp_path: Path) -> None:
    """A folder in the way that is no artifact does not keep the artifact from arriving."""
    store = Store(tmp_path)
    step = Step("variant", "step", "0" * 16, 1)
    for _ in range(2):
        with store.attempt(step) as attempt:
            (attempt.folder / "rows").write_text("rows")
            attempt.digest = "d"
        found = store.find("variant", step.key)
        assert found is not None
        (found.folder / "record.json").unlink()
        assert store.find("variant", step.key) is None


def test_what_the_killed_left_goes_with_the_next_attempt(tmp_path: Path) -> None:
    store = Store(tmp_path)
    step = Step("variant", "step", "0" * 16, 1)
    work = tmp_path / "work" / step.key
    with store.attempt(step) as attempt:
        host, _, random = attempt.folder.name.rsplit("-", 2)
        dead = work / f"{host}-{2**22 - 1}-{random}"  # no process has this number
        elsewhere = work / f"another-machine-{os.getpid()}-{random}"
        for left in (dead, elsewhere):
            left.mkdir()
            (left / "half").write_text("ha")
        attempt.digest = "d"
    assert not dead.exists()
    assert elsewhere.exists()  # whether that one lives cannot be told from here


# --------------------------------------------------------------------------------------------------------- endurance


@pytest.mark.slow
def test_many_runs_in_one_go(tiny: Path, tmp_path: Path) -> None:
    """The study of scripts/bench_long, small: what is kept per run does not grow in memory or in open files."""
    found = long.figures(long.watch(tmp_path / "study", tiny, seeds=14), warm=0.3)
    assert found["runs"] == 14 * long.VARIANTS + 1  # and the base model
    assert all(growth < 0.05 for growth in found["growth"].values()), found
    assert all(files <= 2 for files in found["files"].values()), found
    first, second = found["store per run, first and second half"]
    assert second < 1.2 * first, found
