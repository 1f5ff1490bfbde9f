"""What every engine keeps to, shown for each: the same jobs, the same words, the same study to the last digest."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import answer
from harness.engines import Engine, slots
from harness.engines.config import RayConfig
from harness.engines.jobs import Event, Job, jobs_to_do
from harness.engines.local import LocalEngine
from harness.engines.slots import Slots
from harness.errors import StepError
from harness.store import Store, located, maintenance
from harness.study.plan import commit
from harness.tracking.projection import project
from tests import planted
from tests.bucket import CREDENTIALS
from tests.command import HANGS, environment
from tests.conftest import SMALL_STUDY
from tests.engines.conftest import PATIENCE, SMALL
from tests.jobs import base_folder, base_job, broken, cheap

Make = Callable[[Path], Engine]  # folder for logs -> an engine with two slots, which tries a lost run once more
ENGINES = ["local", pytest.param("ray", marks=pytest.mark.ray)]
TIMES = ("seconds", "tokens_per_second", "peak_memory", "created")  # what no two runs have alike


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find the package wherever they are started, and no Hub."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "local":
        return lambda logs: LocalEngine(Slots(2, 1, "cpu"), logs)
    cluster = request.getfixturevalue("cluster")
    from harness.engines.ray import RayEngine

    return lambda logs: RayEngine(RayConfig(address=cluster.address, workers=2, retries=1), logs)


@dataclass
class Held:
    """A job at which a worker stops: the record it asks the store for is a pipe that nobody writes to."""

    job: Job
    pipe: Path

    def reached(self, limit: float = HANGS) -> tuple[int, int]:
        """Wait until a worker is at the pipe; return its process, and our end of the pipe."""
        started = time.monotonic()
        while time.monotonic() - started < limit:
            try:
                end = os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # no reader yet
                time.sleep(0.02)
                continue
            while time.monotonic() - started < limit:
                for process in (entry for entry in Path("/proc").iterdir() if entry.name.isdigit()):
                    with contextlib.suppress(OSError):  # it has ended since
                        for link in (process / "fd").iterdir():
                            if link.readlink() == self.pipe and _reads(process, link.name):
                                return int(process.name), end
        raise AssertionError("no worker came")

    def kill(self) -> int:
        """Kill the worker that comes next, and wait until it is gone."""
        process, end = self.reached()
        watched = os.pidfd_open(process)
        os.kill(process, signal.SIGKILL)
        # A zombie may have threads that still hold its files; this waits for the last of them.
        select.select([watched], [], [], HANGS)
        os.close(watched)
        os.close(end)
        return process


def _reads(process: Path, descriptor: str) -> bool:
    """Return whether a process has a file open for reading.

    A process that is being started holds what its parent holds, our end of the pipe too, until it becomes the worker.
    """
    flags = (process / "fdinfo" / descriptor).read_text().split("flags:", 1)[1].split(maxsplit=1)[0]
    return int(flags, 8) & os.O_ACCMODE == os.O_RDONLY


@pytest.fixture
def held(tmp_path: Path) -> Held:
    job = base_job("held", tmp_path / "store")
    pipe = base_folder(job) / "record.json"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    return Held(job, pipe)


# ----------------------------------------------------------------------------------------------------------- jobs


@pytest.mark.parametrize("make", ENGINES, indirect=True)
def test_every_job_is_done_once_and_a_failure_stops_nothing(make: Make, tmp_path: Path) -> None:
    jobs = [cheap(tmp_path, f"job-{i}", f"seed {i // 10}") for i in range(40)]
    jobs[7] = broken(tmp_path, "job-7")
    heard: list[tuple[int, Job, Event]] = []
    failed = make(tmp_path / "logs").run(jobs, lambda *event: heard.append(event))
    done = [event for _, _, event in heard if event.event == "done"]
    assert sorted(event.id for event in done) == sorted({f"job-{i}" for i in range(40)} - {"job-7"})
    assert all(event.data == {"folder": str(tmp_path / event.id)} for event in done)
    assert {slot for slot, _, _ in heard} <= {0, 1}
    assert all(job.id == event.id for _, job, event in heard)
    ((job, event),) = failed
    assert (job.id, event.stage) == ("job-7", "preparing the model")
    assert "could not be downloaded" in event.message
    assert "Traceback" in event.detail


@pytest.mark.parametrize("make", ENGINES, indirect=True)
def test_further_jobs_come_when_all_have_ended_and_their_number_may_grow(make: Make, tmp_path: Path) -> None:
    """One job, then five: the worker that is there goes on, another joins it, and the end is asked for once."""
    further = [[cheap(tmp_path, f"later-{i}") for i in range(5)], [broken(tmp_path, "bad")], []]
    heard: list[tuple[int, Job, Event]] = []
    ended: list[int] = []

    def more() -> list[Job]:
        ended.append(sum(event.event in ("done", "failed") for *_, event in heard))
        return further.pop(0)

    failed = make(tmp_path / "logs").run([cheap(tmp_path, "first")], lambda *event: heard.append(event), more)
    assert [job.id for job, _ in failed] == ["bad"]
    assert ended == [1, 6, 7]
    assert not further
    done = [event.id for *_, event in heard if event.event == "done"]
    assert done[0] == "first"
    assert sorted(done[1:]) == [f"later-{i}" for i in range(5)]


@pytest.mark.parametrize("make", ENGINES, indirect=True)
def test_one_job_gives_its_data_or_its_words_and_none_takes_no_worker(make: Make, tmp_path: Path) -> None:
    engine = make(tmp_path / "logs")
    assert engine.call(cheap(tmp_path, "model")) == {"folder": str(tmp_path / "model")}
    with pytest.raises(StepError, match=r"no/model@0+ could not be downloaded"):
        engine.call(broken(tmp_path, "bad"))
    assert engine.run([], lambda *_: None) == []
    assert sum(node.slots for node in engine.nodes) == engine.slots.workers == 2


@pytest.mark.parametrize("make", ENGINES, indirect=True)
def test_slots_that_somebody_chose_are_kept_whatever_is_to_do(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(slots, "layouts", lambda: [(2, 1), (1, 2)])  # there would be something to measure
    engine = make(tmp_path / "logs")
    before, said = engine.slots, list[str]()
    for count in (0, 1, 40):
        engine.choose_slots([cheap(tmp_path, f"job-{i}") for i in range(count)], said.append)
        assert engine.slots == before
        assert sum(node.slots for node in engine.nodes) == before.workers
    assert not said
    assert not (tmp_path / "ablation-harness").exists()


@pytest.mark.parametrize("make", ENGINES, indirect=True)
def test_a_worker_that_dies_twice_is_reported_and_kept_and_the_rest_is_done(
    make: Make, tmp_path: Path, held: Held
) -> None:
    killed: list[int] = []
    killer = threading.Thread(target=lambda: killed.extend(held.kill() for _ in range(2)), daemon=True)
    killer.start()
    heard: list[tuple[int, Job, Event]] = []
    jobs = [held.job, *(cheap(tmp_path, f"job-{i}") for i in range(5))]
    failed = make(tmp_path / "logs").run(jobs, lambda *event: heard.append(event))
    killer.join(HANGS)
    assert len(set(killed)) == 2
    ((job, event),) = failed
    assert job.id == "held"
    assert event.message
    assert "\n" not in event.message
    kept = Store(tmp_path / "store").failure("held")
    assert kept is not None
    assert kept.message == event.message
    assert len([event for _, _, event in heard if event.event == "done"]) == 5


@pytest.mark.parametrize("make", ENGINES, indirect=True)
def test_asked_to_stop_it_starts_nothing_and_leaves_nobody(make: Make, tmp_path: Path, held: Held) -> None:
    engine = make(tmp_path / "logs")
    found: list[int] = []

    def ask() -> None:
        process, end = held.reached()
        found.append(process)
        engine.stop()
        time.sleep(2)
        os.close(end)

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    heard: list[Event] = []
    waiting = [held.job.model_copy(update={"id": f"held-{i}"}) for i in range(4)]
    with pytest.raises(KeyboardInterrupt):
        engine.run([held.job, *waiting], lambda *event: heard.append(event[2]))
    asker.join(HANGS)
    assert not {event.id for event in heard if event.event == "done"}
    deadline = time.monotonic() + 20
    while _running(found[0]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _running(found[0])


def _running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# -------------------------------------------------------------------------------------------------------- a study


@dataclass(frozen=True)
class Outcome:
    """What came of a study, without what depends on where and when."""

    digests: dict[str, str]
    decisions: dict[str, Any]
    comparison: dict[str, Any]
    entries: list[dict[str, Any]]
    places: list[dict[str, Any]]


def study_on(
    folder: Path, tiny: Path, engine: Engine, listen: Callable[[int, Job, Event], None], store: Store | None = None
) -> Outcome:
    """Run the small study on an engine, from sources to MLflow entries."""
    folder.mkdir(exist_ok=True)
    study = planted.folder_with(folder, tiny, SMALL_STUDY)
    made = planted.plan(study, store)
    commit(made)
    assert engine.run(jobs_to_do(made), listen) == []
    made = planted.plan(study, store)
    assert not jobs_to_do(made)
    view = answer.view(made)
    assert view.decisions is not None
    assert view.comparison is not None
    artifacts = made.store.artifacts()
    return Outcome(
        digests={f"{one.record.kind}/{one.record.key}": one.record.digest for one in artifacts},
        decisions=_timeless(view.decisions.model_dump(mode="json")),
        comparison=_timeless(view.comparison.model_dump(mode="json")),
        entries=[_shown(entry) for entry in project(view)],
        places=[one.record.provenance["place"] for one in artifacts if "place" in one.record.provenance],
    )


def _timeless(value: Any) -> Any:
    """Leave out of documents what is measured in seconds, and how long more seeds would take."""
    if isinstance(value, dict):
        return {name: _timeless(item) for name, item in value.items() if not any(time in name for time in TIMES)}
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    return re.sub(r"\(about [^)]*\)", "", value) if isinstance(value, str) else value


def _shown(entry: Any) -> dict[str, Any]:
    metrics = {n: v for n, v in entry.metrics.items() if not any(time in n for time in TIMES)}
    curve = [point[:3] for point in entry.curve if not any(time in point[0] for time in TIMES)]
    datasets = [(one.name, one.digest, one.context, one.profile) for one in entry.datasets]
    wanted = ("harness.study_key", "harness.key", "harness.run_key", "harness.verdict", "harness.trust")
    return {
        "key": entry.key, "name": entry.name, "level": entry.level, "parent": entry.parent, "status": entry.status,
        "params": entry.params, "metrics": metrics, "curve": curve, "datasets": datasets,
        "tags": {name: entry.tags[name] for name in wanted if name in entry.tags},
        "documents": {n: _timeless(entry.documents[n]) for n in ("decisions.json", "comparison.json", "variant.json")
                      if n in entry.documents},
        "files": sorted(entry.files),
    }  # fmt: skip


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Outcome:
    """The study on this machine: what the local engine makes of it is what every other has to make of it."""
    folder = tmp_path_factory.mktemp("reference")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        return study_on(folder, tiny, LocalEngine(Slots(2, 1, "cpu"), folder / "logs"), lambda *_: None)


def check(found: Outcome, reference: Outcome) -> None:
    assert found.digests == reference.digests
    assert found.decisions == reference.decisions
    assert found.comparison == reference.comparison
    assert [entry["key"] for entry in found.entries] == [entry["key"] for entry in reference.entries]
    for mine, theirs in zip(found.entries, reference.entries, strict=True):
        assert mine == theirs


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("make", ENGINES[1:], indirect=True)
def test_a_study_comes_out_the_same(make: Make, tmp_path: Path, tiny: Path, reference: Outcome) -> None:
    """Two nodes of unlike hardware: the runs of a seed are all on one of them, and their records say so."""
    assert not reference.places
    found = study_on(tmp_path / "study", tiny, make(tmp_path / "logs"), lambda *_: None)
    check(found, reference)
    seeds: dict[str, set[str]] = {}
    for place in found.places:
        if place["block"]:
            seeds.setdefault(place["block"], set()).add(place["hardware"])
    import ray

    whole, left = ray.cluster_resources(), ray.available_resources()
    assert left["object_store_memory"] == whole["object_store_memory"]  # everything went through the store of files
    assert sorted(seeds) == ["seed 1", "seed 2"]
    assert all(len(kinds) == 1 for kinds in seeds.values())


@pytest.mark.slow
@pytest.mark.ray
def test_a_study_comes_out_the_same_through_an_object_store(
    cluster: Any, tmp_path: Path, tiny: Path, reference: Outcome, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Driver and workers share no folder: each has copies of its own, and S3 between them."""
    from harness.engines.ray import RayEngine

    monkeypatch.setenv("HARNESS_COPIES", str(tmp_path / "of-the-driver"))
    config = RayConfig(
        address=cluster.address, workers=2,
        env={"HARNESS_COPIES": str(tmp_path / "of-the-workers"), **{n: os.environ[n] for n in CREDENTIALS}},
    )  # fmt: skip
    store = located(bucket)
    engine = RayEngine(config, store.root / "logs", url=store.location)
    found = study_on(tmp_path / "study", tiny, engine, lambda *_: None, store)
    check(found, reference)
    assert not maintenance.verify(store)
    assert len(list((tmp_path / "of-the-workers").rglob("worker-*.log"))) == 2
    weights = [path.parts for path in (tmp_path / "of-the-driver").rglob("*.safetensors")]
    assert not weights  # nobody on the driver asked for them


@pytest.mark.slow
@pytest.mark.ray
def test_a_study_comes_out_the_same_when_a_node_is_lost(
    cluster: Any, tmp_path: Path, tiny: Path, reference: Outcome
) -> None:
    """Two nodes for two workers; one is taken away, without a word, while it is at a run."""
    from harness.engines.ray import RayEngine

    doomed = cluster.add_node(wait=False, num_cpus=1, labels={"hardware": "big"}, resources={"spot": 1}, **SMALL)
    cluster.wait_for_nodes(timeout=PATIENCE)
    config = RayConfig.model_validate(
        {"engine": "ray", "address": cluster.address, "worker": {"resources": {"spot": 1}}, "retries": 2}
    )
    engine = RayEngine(config, tmp_path / "logs")
    assert [node.hardware for node in engine.nodes] == ["big", "big"]
    training: set[int] = set()
    lost: list[str] = []

    def listen(slot: int, job: Job, event: Event) -> None:
        if event.event == "note":
            lost.append(event.message)
        if event.event == "step" and training != {0, 1}:
            training.add(slot)
            if training == {0, 1}:  # both are at a run now, one of them there
                cluster.remove_node(doomed, allow_graceful=False)

    found = study_on(tmp_path / "study", tiny, engine, listen)
    check(found, reference)
    assert len(lost) == 1
    assert lost[0].endswith("; tried again")
    again = [place for place in found.places if "tried_again_after" in place]
    assert again, "the record of the run that was tried again does not say so"
    assert all(len(place["tried_again_after"]) == 1 for place in again)
