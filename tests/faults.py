"""Kills a study again and again, and compares what comes out with a study that was left alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.store import Store, located
from tests.conftest import SMALL_STUDY, TINY_STUDY
from tests.nursery import Child, Nursery, alive

KINDS = ("source", "suite", "pool", "variant", "tokens", "adapter", "result", "study")
# (stage that a process is in, who is killed then). Workers leave by themselves when their driver is gone.
EARLY = (("build", "driver"), ("publish", "driver"))
MIDDLE = (
    ("train", "worker"), ("train", "driver"), ("evaluate", "worker"), ("evaluate", "driver"), ("publish", "worker"),
    ("publish", "driver"), ("load", "worker"),
)  # fmt: skip
LATE = (("sync", "driver"), ("report", "driver"))
STAGES = ("build", "publish", "train", "evaluate", "sync", "report")
# More steps than the study of the other tests has, so that a kill in mid-training leaves something to resume.
STUDY = TINY_STUDY.replace("steps: 4", "steps: 12")
SMALL = SMALL_STUDY.replace("steps: 4", "steps: 12")


def prepare(folder: Path, tiny: Path, study: str = STUDY) -> Path:
    """Make a folder with a study and the model that it names."""
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(study)
    shutil.copytree(tiny, folder / "model")
    return folder


def store_of(folder: Path) -> Store:
    return located(os.environ.get("HARNESS_STORE", folder / ".harness"))


def digests(folder: Path) -> dict[str, dict[str, str]]:
    """Return kind -> key -> content digest of all that is in the store."""
    return {kind: {a.record.key: a.record.digest for a in store_of(folder).artifacts(kind)} for kind in KINDS}


def stamps(folder: Path, kind: str = "adapter") -> dict[str, int]:
    """Return when each artifact's record was written, in nanoseconds."""
    found = {}
    for artifact in store_of(folder).artifacts(kind):
        found[artifact.record.key] = (artifact.folder / "record.json").stat().st_mtime_ns
    return found


def answers(nursery: Nursery, folder: Path) -> dict[str, Any]:
    """Return comparison and decisions as a user gets them, without how long something would take."""
    said = {}
    for verb in ("compare", "decide"):
        called = nursery.call(verb, "study.yaml", "--json", cwd=folder)
        assert called.code == 0, called.err
        said[verb] = re.sub(r"\(about [^)]*\)", "", called.out)
    return said


def check_whole(nursery: Nursery, folder: Path, reference: dict[str, Any], tracked: bool = True) -> None:
    """Assert that a study which has ended is the one that was left alone, and that nothing else is left."""
    assert digests(folder) == reference["digests"]
    assert answers(nursery, folder) == reference["answers"]
    verified = nursery.call("store", "verify", "--json", cwd=folder)
    assert verified.code == 0, verified.out
    check_nothing_left(nursery, folder)
    if tracked:
        again = nursery.call("sync", "study.yaml", "--json", cwd=folder)
        assert again.code == 0, again.err
        assert (again.json["created"], again.json["updated"]) == (0, 0), again.out
        assert again.json["unchanged"] == reference["mlflow"]
        assert len(mlflow_keys(folder)) == len(set(mlflow_keys(folder))) == reference["mlflow"]


def mlflow_keys(folder: Path) -> list[str]:
    """Return the keys of all MLflow runs that are not in the trash, straight from the database."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(store_of(folder).root / "mlflow.db")) as database:
        query = (
            "select tags.value from tags join runs on runs.run_uuid = tags.run_uuid "
            "where tags.key = 'harness.key' and runs.lifecycle_stage = 'active'"
        )
        return [value for (value,) in database.execute(query)]


def check_nothing_left(nursery: Nursery, folder: Path) -> None:
    """Assert that no process is alive, no lock is held, and no work is left behind."""
    assert not nursery.at(), "a process is left"
    work = store_of(folder).root / "work"
    left = [path for path in work.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert not left, f"left behind: {left}"
    for lock in (work / "locks").glob("*.lock"):
        with lock.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises when somebody holds it


def undisturbed(nursery: Nursery, folder: Path) -> dict[str, Any]:
    """Run a study without disturbing it; return its outcome and how long its stages take."""
    driver = nursery.start("run", "study.yaml", "--workers", "2", cwd=folder)
    seconds: dict[str, float] = Counter()
    episodes: Counter[str] = Counter()
    before: dict[int, str] = {}
    last = time.monotonic()
    while driver.poll() is None:
        time.sleep(0.001)
        now, here = time.monotonic(), {pid: stage for pid, (_, stage, _) in nursery.at().items()}
        for pid, stage in here.items():
            seconds[stage] += now - last
            episodes[stage] += before.get(pid) != stage
        before, last = here, now
    assert driver.wait() == 0, (folder / "err").read_text()
    again = nursery.call("sync", "study.yaml", "--json", cwd=folder)
    return {
        "digests": digests(folder),
        "answers": answers(nursery, folder),
        "mlflow": again.json["unchanged"],
        "seconds": {stage: seconds[stage] / episodes[stage] for stage in seconds},
    }


@dataclass
class Campaign:
    """Kills studies until enough have been; every study must end as ``reference`` did.

    Attributes:
        kills: (stage hit, who was killed) -> how often.
        studies: Studies that were killed and in the end compared.
        trainings: Trainings begun, of which ``resumed`` went on from a checkpoint.
        slowest_exit: Longest time that a worker outlived its driver, in seconds.
    """

    nursery: Nursery
    prepare: Callable[[int], Path]
    reference: dict[str, Any]
    random: random.Random
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    studies: int = 0
    trainings: int = 0
    resumed: int = 0
    starts: int = 0
    slowest_exit: float = 0.0

    def stages(self) -> Counter[str]:
        """Return how often each stage was hit."""
        found: Counter[str] = Counter()
        for (stage, _), number in self.kills.items():
            found[stage] += number
        return found

    def run(self, kills: int, each: int, say: Callable[[str], None] = lambda text: None) -> None:
        """Go on until there are enough kills, and enough of each stage."""
        while sum(self.kills.values()) < kills or min(self.stages()[stage] for stage in STAGES) < each:
            self.study(self._moments())
            say(f"{self.studies} studies, {sum(self.kills.values())} kills: {dict(self.stages())}")

    def _moments(self) -> list[tuple[str, str]]:
        """Choose when to kill one study: in every stage, at random moments and in random order within its third."""
        early = [self.random.choice(EARLY) for _ in range(8)]
        middle = [self.random.choice(MIDDLE) for _ in range(26)]
        late = [self.random.choice(LATE) for _ in range(14)]
        return [*early, *middle, *late]

    def study(self, moments: list[tuple[str, str]]) -> None:
        """Kill one study at these moments, let it end, and compare."""
        folder = self.prepare(self.studies)
        log = folder / "trainings"
        log.touch()
        driver: Child | None = None
        done: dict[str, int] = {}
        read = 0
        for stage, victim in moments:
            driver = driver or self._start(folder)
            if not self._kill(driver, stage, victim):
                assert driver.wait() in (0, 1), (folder / "err").read_text()
            driver = driver if driver.poll() is None else None
            done, read = self._nothing_twice(folder, log, done, read)
        for _ in range(3):  # a run whose worker was killed twice has failed: it is done when asked again
            driver = driver or self._start(folder)
            if driver.wait(300) == 0:
                break
            driver = None
        assert driver is not None, (folder / "err").read_text()
        self._nothing_twice(folder, log, done, read)
        lines = log.read_text().split()
        self.trainings += len([line for line in lines if line != "resumed"])
        self.resumed += lines.count("resumed")
        check_whole(self.nursery, folder, self.reference)
        self.studies += 1
        shutil.rmtree(folder)

    def _start(self, folder: Path) -> Child:
        self.starts += 1
        more = {"NURSERY_TRAININGS": str(folder / "trainings"), "HARNESS_CHECKPOINT_SECONDS": "0"}
        return self.nursery.start("run", "study.yaml", "--workers", "2", cwd=folder, **more)

    def _kill(self, driver: Child, stage: str, victim: str) -> bool:
        """Wait until a process of this driver is in a stage, and a random while longer; then kill. False: it ended."""
        while driver.poll() is None:
            mine = {p: at for p, (_, at, parent) in self.nursery.at().items() if driver.pid in (p, parent)}
            found = [pid for pid, at in mine.items() if at == stage and (victim == "driver" or pid != driver.pid)]
            if not found:
                time.sleep(0.0005)
                continue
            # Long stages are hit at their start, too: some last far shorter the second time.
            time.sleep(1.5 * self.reference["seconds"].get(stage, 0.1) * self.random.random() ** 3)
            watched = self.random.choice(found)
            killed = driver.pid if victim == "driver" else watched
            with contextlib.suppress(ProcessLookupError):
                os.kill(killed, signal.SIGSTOP)
                hit = self.nursery.at().get(watched)
                os.kill(killed, signal.SIGKILL)
                if hit is not None and hit[1] not in ("wait", "idle"):
                    self.kills[hit[1], victim] += 1
            if victim == "driver":
                driver.wait()
                self._workers_leave(driver)
            else:
                while alive(killed):
                    time.sleep(0.001)
            return True
        return False

    def _workers_leave(self, driver: Child) -> None:
        began = time.monotonic()
        while any(parent == driver.pid for _, _, parent in self.nursery.at().values()):
            assert time.monotonic() - began < 30, "a worker outlived its driver"
            time.sleep(0.002)
        self.slowest_exit = max(self.slowest_exit, time.monotonic() - began)

    def _nothing_twice(self, folder: Path, log: Path, done: dict[str, int], read: int) -> tuple[dict[str, int], int]:
        """Assert that no run that was finished before has been trained or written again since."""
        now = stamps(folder)
        begun = log.read_text().split()[read:]
        assert not set(begun) & set(done), "a finished run was trained again"
        assert done.items() <= now.items(), "a finished run was written again"
        return now, read + len(begun)
