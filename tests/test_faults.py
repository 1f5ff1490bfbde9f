"""Whatever happens to a study, running it again ends it as if nothing had happened. Nothing is lost or done twice."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import faults
from tests.command import HANGS, argv, environment
from tests.nursery import Child, Nursery, alive

pytestmark = pytest.mark.slow
RUN = ("run", "study.yaml", "--workers", "2")
RUNS = 6
STUDY = faults.SMALL  # every test ends one


@pytest.fixture
def reference(undisturbed: dict[str, Any]) -> dict[str, Any]:
    return undisturbed


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Path:
    return faults.prepare(tmp_path / "study", tiny, STUDY)


def until(condition: Callable[[], bool], child: Child, limit: float = HANGS) -> None:
    began = time.monotonic()
    while not condition():
        assert child.poll() is None, "it ended before that"
        assert time.monotonic() - began < limit
        time.sleep(0.002)


def kill_all(nursery: Nursery, driver: Child) -> None:
    """Kill a driver and its workers at once: left alone, a worker may end a short training before it notices."""
    workers = [pid for pid, (_, _, parent) in nursery.at().items() if parent == driver.pid]
    driver.kill()
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    driver.wait()
    while nursery.at():
        time.sleep(0.01)


def in_stage(nursery: Nursery, child: Child, stage: str) -> list[int]:
    return [pid for pid, (_, at, parent) in nursery.at().items() if at == stage and child.pid in (pid, parent)]


def reach(nursery: Nursery, child: Child, stage: str) -> list[int]:
    """Wait until a process of this driver is in a stage; return which are."""
    found: list[int] = []
    until(lambda: bool(found.extend(in_stage(nursery, child, stage)) or found), child)
    return found


def finish(nursery: Nursery, folder: Path, reference: dict[str, Any], tracked: bool = True) -> None:
    """Run the study again: it ends as the undisturbed one did."""
    done = nursery.call(*RUN, *([] if tracked else ["--no-track"]), cwd=folder)
    assert done.code == 0, done.err
    faults.check_whole(nursery, folder, reference, tracked)


# ----------------------------------------------------------------------------------------------------------- kill -9


def test_killed_in_every_stage(nursery: Nursery, reference: dict[str, Any], tiny: Path, tmp_path: Path) -> None:
    """The campaign of scripts/bench_faults, small: drivers and workers, in every stage."""
    campaign = faults.Campaign(
        nursery, lambda number: faults.prepare(tmp_path / str(number), tiny, STUDY), reference, random.Random(7)
    )
    moments = [
        ("build", "driver"), ("publish", "driver"), ("train", "worker"), ("evaluate", "driver"), ("train", "driver"),
        ("publish", "driver"), ("evaluate", "worker"), ("train", "driver"), ("sync", "driver"), ("report", "driver"),
        ("sync", "driver"), ("report", "driver"),
    ]  # fmt: skip
    campaign.study(moments)
    assert sum(campaign.kills.values()) >= 10  # one or two may have come too late to hit anything
    assert len(campaign.stages()) >= 5


def test_a_killed_training_goes_on_from_its_checkpoint(
    nursery: Nursery, reference: dict[str, Any], folder: Path
) -> None:
    """Killed between two steps, it goes on after the last checkpoint and ends with the same adapter, bit for bit."""
    log = folder / "trainings"
    more = {"NURSERY_TRAININGS": str(log), "HARNESS_CHECKPOINT_SECONDS": "0"}
    work = folder / ".harness" / "work"
    for _ in range(3):
        driver = nursery.start(*RUN, "--no-track", cwd=folder, **more)
        until(lambda: len({p.parents[2] for p in work.glob("*/checkpoints/checkpoint-*/curve.json")}) >= 2, driver)
        kill_all(nursery, driver)
    done = nursery.call(*RUN, "--no-track", cwd=folder, **more)
    assert done.code == 0, done.err
    assert log.read_text().split().count("resumed") >= 2
    faults.check_whole(nursery, folder, reference, tracked=False)
    curves = [a.record.data["curve"] for a in faults.store_of(folder).artifacts("adapter")]
    assert all([entry["step"] for entry in curve] == list(range(1, 13)) for curve in curves)


def test_a_torn_checkpoint_is_not_gone_on_from(nursery: Nursery, reference: dict[str, Any], folder: Path) -> None:
    """After a power cut files may be empty that were renamed in good order."""
    driver = nursery.start(*RUN, "--no-track", cwd=folder, HARNESS_CHECKPOINT_SECONDS="0")
    work = folder / ".harness" / "work"
    until(lambda: len({p.parents[2] for p in work.glob("*/checkpoints/checkpoint-*/curve.json")}) >= 2, driver)
    kill_all(nursery, driver)
    torn = list(work.glob("*/checkpoints/checkpoint-*/optimizer.pt"))
    assert torn
    for path in torn:
        path.write_bytes(path.read_bytes()[:100])
    finish(nursery, folder, reference, tracked=False)


# ----------------------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_in_good_order(
    nursery: Nursery, reference: dict[str, Any], folder: Path, number: int, code: int
) -> None:
    """Nothing new is started, runs in progress leave a checkpoint, the command that goes on is printed."""
    log = folder / "trainings"
    driver = nursery.start(*RUN, cwd=folder, NURSERY_TRAININGS=str(log))
    until(lambda: len(faults.stamps(folder, "result")) >= 2 and bool(in_stage(nursery, driver, "train")), driver)
    os.kill(driver.pid, number)
    assert driver.wait() == code
    said = (folder / "err").read_text()
    assert said.splitlines()[-1].startswith("Stopped. ")
    assert said.splitlines()[-1].endswith("steps of this call are done and kept. Go on: harness run study.yaml")
    assert "Stopping: nothing new is started" in said
    assert "Traceback" not in said
    assert not nursery.at()
    work = folder / ".harness" / "work"
    assert not [p for p in work.rglob("*") if p.is_file() and not {"checkpoints", "locks", "mlflow"} & {*p.parts}]
    kept = faults.stamps(folder)
    assert 0 < len(kept) < RUNS
    finish(nursery, folder, reference)
    assert kept.items() <= faults.stamps(folder).items()


def test_a_stopped_training_goes_on_where_it_was(nursery: Nursery, reference: dict[str, Any], folder: Path) -> None:
    """Stopped in mid-training, a run leaves a checkpoint although no minute has passed."""
    log = folder / "trainings"
    checkpoints: list[Path] = []
    while not checkpoints:  # a signal in the last step of a training finds nothing to go on with
        driver = nursery.start(*RUN, "--no-track", cwd=folder, NURSERY_TRAININGS=str(log))
        reach(nursery, driver, "train")
        time.sleep(0.2)
        os.kill(driver.pid, signal.SIGINT)
        assert driver.wait() == 130
        checkpoints = list((folder / ".harness" / "work").glob("*/checkpoints/checkpoint-*/curve.json"))
    done = nursery.call(*RUN, "--no-track", cwd=folder, NURSERY_TRAININGS=str(log))
    assert done.code == 0, done.err
    assert log.read_text().split().count("resumed") >= len(checkpoints)
    faults.check_whole(nursery, folder, reference, tracked=False)


def test_the_second_signal_does_not_wait(nursery: Nursery, reference: dict[str, Any], folder: Path) -> None:
    driver = nursery.start(*RUN, cwd=folder)
    reach(nursery, driver, "train")
    for pid in in_stage(nursery, driver, "train"):
        os.kill(pid, signal.SIGSTOP)  # a step that takes for ever
    os.kill(driver.pid, signal.SIGINT)
    until(lambda: "Stopping" in (folder / "err").read_text(), driver)
    time.sleep(0.2)
    assert driver.poll() is None  # it waits for the step
    os.kill(driver.pid, signal.SIGINT)
    began = time.monotonic()
    assert driver.wait() == 130
    assert time.monotonic() - began < 5
    assert not nursery.at()
    finish(nursery, folder, reference)


@pytest.mark.parametrize("stage", ["build", "sync"])
def test_a_signal_outside_training_ends_at_once(
    nursery: Nursery, reference: dict[str, Any], folder: Path, stage: str
) -> None:
    driver = nursery.start(*RUN, cwd=folder)
    reach(nursery, driver, stage)
    time.sleep(0.05)
    os.kill(driver.pid, signal.SIGTERM)
    assert driver.wait() == 143
    assert (folder / "err").read_text().splitlines()[-1].endswith("Go on: harness run study.yaml")
    finish(nursery, folder, reference)


def test_a_terminal_that_closes(folder: Path) -> None:
    """The ordinary command on a terminal that goes away: it ends by itself, and leaves no process."""
    main, other = pty.openpty()
    child = subprocess.Popen(
        argv("run", "study.yaml", "--workers", "1", "--no-track"), cwd=folder, stdin=other, stdout=other, stderr=other,
        env=environment(), start_new_session=True, preexec_fn=lambda: _own_terminal(),
    )  # fmt: skip
    os.close(other)
    began = time.monotonic()
    while not faults.stamps(folder, "adapter"):
        assert child.poll() is None
        assert time.monotonic() - began < HANGS
        os.set_blocking(main, False)
        try:
            os.read(main, 1 << 16)
        except BlockingIOError:
            time.sleep(0.02)
    workers = psutil.Process(child.pid).children(recursive=True)  # and what forks them
    os.close(main)  # the kernel sends SIGHUP
    assert child.wait(60) == 129
    psutil.wait_procs(workers, timeout=20)
    assert not [worker for worker in workers if alive(worker.pid)]


def _own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


# -------------------------------------------------------------------------------------------------- disk and memory


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Callable[[str], None]]:
    """A file system of a few MB under the store; calling it with a size makes it larger."""
    store = folder / ".harness"
    store.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", store], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield lambda size: subprocess.run(["mount", "-o", f"remount,{size}", store], check=True) and None
    subprocess.run(["umount", "-l", store], check=True)


@pytest.mark.parametrize("size", ["size=40k", "size=700k"])
def test_the_disk_is_full(
    nursery: Nursery, reference: dict[str, Any], folder: Path, small_disk: Callable[[str], None], size: str
) -> None:
    """From no room for the data to room for some runs: one sentence, exit code 1, and all goes on with more room."""
    small_disk(size)
    full = nursery.call(*RUN, cwd=folder)
    assert full.code == 1, full.err
    assert "the disk is full" in full.err
    assert "Traceback" not in full.err
    assert "unexpected" not in full.err
    # Where runs failed, the others are not trained only to fail at the same place.
    states = [run["state"] for run in nursery.call("status", "study.yaml", "--json", cwd=folder).json["runs"]]
    failed = full.err.count("failed while")
    assert failed <= 2
    # Who failed is told by what was said: of a disk that is full to the last byte, the store may not say it.
    open_runs, named = len(states) - states.count("done"), len(re.findall(r"/seed \d+ failed while", full.err))
    assert states.count("failed") <= named
    assert ("were not started (the disk is full" in full.err) == (failed > 0 and open_runs > named)
    kept = faults.stamps(folder)
    small_disk("size=200m")
    finish(nursery, folder, reference)
    assert kept.items() <= faults.stamps(folder).items()


def test_files_may_not_grow(nursery: Nursery, reference: dict[str, Any], folder: Path) -> None:
    """The same by a limit of the process (ulimit -f), in the middle of a training."""
    driver = nursery.start(*RUN, "--no-track", cwd=folder)
    reach(nursery, driver, "train")
    for pid, (_, _, parent) in nursery.at().items():
        if parent == driver.pid:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, 4096))
    assert driver.wait() == 1
    said = (folder / "err").read_text()
    assert "a file grew larger than the system allows" in said
    assert "Traceback" not in said
    finish(nursery, folder, reference, tracked=False)


def test_a_store_that_cannot_be_written(nursery: Nursery, reference: dict[str, Any], folder: Path) -> None:
    """Read-only: a run is refused before anything is built; what is finished can still be read."""
    store = folder / ".harness"
    finish(nursery, folder, reference)
    if subprocess.run(["mount", "--bind", store, store], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", store], check=True)
        refused = nursery.call(*RUN, cwd=folder)
        assert refused.code == 2
        assert refused.err == f"--store: {store} cannot be written (a read-only file system, or permissions)\n"
        assert faults.answers(nursery, folder) == reference["answers"]
        synced = nursery.call("sync", "study.yaml", cwd=folder)
        assert synced.code == 1
        assert "read-only" in synced.err
        assert len(synced.err.splitlines()) == 1
    finally:
        subprocess.run(["umount", "-l", store], check=True)
    finish(nursery, folder, reference)


def test_a_worker_without_memory(nursery: Nursery, reference: dict[str, Any], folder: Path) -> None:
    """An allocation that is refused fails the run in words, and leaves the worker to others."""
    driver = nursery.start(*RUN, "--no-track", cwd=folder)
    reach(nursery, driver, "train")
    worker = in_stage(nursery, driver, "train")[0]
    used = psutil.Process(worker).memory_info().vms
    resource.prlimit(worker, resource.RLIMIT_AS, (used // 2, used // 2))
    code = driver.wait()
    said = (folder / "err").read_text()
    assert "Traceback" not in said
    if code:  # a tiny model may do with what it has
        assert code == 1
        assert "out of memory" in said.lower() or "the worker" in said
        assert "Continue: harness run study.yaml" in said
    finish(nursery, folder, reference, tracked=False)


def test_a_worker_that_the_kernel_kills_twice(nursery: Nursery, reference: dict[str, Any], folder: Path) -> None:
    """As the kernel does when memory is short: the run is reported and written down, the others go on."""
    driver = nursery.start("run", "study.yaml", "--workers", "1", "--no-track", cwd=folder)
    for _ in range(2):
        reach(nursery, driver, "train")
        (worker,) = in_stage(nursery, driver, "train")
        os.kill(worker, signal.SIGKILL)
        while alive(worker):
            time.sleep(0.002)
    assert driver.wait() == 1
    said = (folder / "err").read_text()
    assert "(the worker was killed (out of memory?))." in said
    assert f"The other {RUNS - 1} runs are done. Continue: harness run study.yaml" in said
    status = nursery.call("status", "study.yaml", "--json", cwd=folder).json
    assert [run["state"] for run in status["runs"]].count("failed") == 1
    decided = nursery.call("decide", "study.yaml", "--json", cwd=folder)
    assert decided.code == 1
    assert any("/seed " in check["text"] and not check["ok"] for check in decided.json["trust"])
    finish(nursery, folder, reference, tracked=False)


# ------------------------------------------------------------------------------------------------------------- clock


def test_the_clock_goes_back(nursery: Nursery, reference: dict[str, Any], folder: Path) -> None:
    """Half of the study, and MLflow's picture of it, are from a day that has not come yet."""
    ahead = nursery.start(*RUN, cwd=folder, NURSERY_CLOCK=str(3 * 86400))
    until(lambda: len(faults.stamps(folder, "result")) >= 4, ahead)
    os.kill(ahead.pid, signal.SIGINT)
    ahead.wait()
    assert nursery.call("sync", "study.yaml", cwd=folder, NURSERY_CLOCK=str(3 * 86400)).code == 0
    finish(nursery, folder, reference)
    # Exactly what a sync into an empty MLflow gives, although the first one's values carry later times.
    before = picture(folder / ".harness" / "mlflow.db")
    (folder / ".harness" / "mlflow.db").unlink()
    shutil.rmtree(folder / ".harness" / "mlflow-artifacts")
    assert nursery.call("sync", "study.yaml", cwd=folder).code == 0
    assert picture(folder / ".harness" / "mlflow.db") == before


def picture(database: Path) -> dict[str, dict[str, float]]:
    """Return key -> metric -> value as MLflow shows it: the newest."""
    query = (
        "select tags.value, latest_metrics.key, latest_metrics.value from latest_metrics "
        "join runs on runs.run_uuid = latest_metrics.run_uuid join tags on tags.run_uuid = runs.run_uuid "
        "where tags.key = 'harness.key' and runs.lifecycle_stage = 'active'"
    )
    shown: dict[str, dict[str, float]] = {}
    with contextlib.closing(sqlite3.connect(database)) as connection:
        for key, metric, value in connection.execute(query):
            shown.setdefault(key, {})[metric] = value
    return shown


def test_what_is_said_is_json_all_the_same(nursery: Nursery, folder: Path) -> None:
    """--json: what went wrong is on standard error; standard output stays empty or one document."""
    driver = nursery.start(*RUN, "--no-track", "--json", cwd=folder)
    reach(nursery, driver, "train")
    os.kill(driver.pid, signal.SIGINT)
    assert driver.wait() == 130
    assert (folder / "out").read_text() == ""
    done = nursery.call(*RUN, "--no-track", "--json", cwd=folder)
    assert done.code == 0
    assert json.loads(done.out)["failed"] == []
