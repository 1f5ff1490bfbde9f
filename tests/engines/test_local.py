"""The local engine with real worker processes: every job once, deaths in words, nothing left behind."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml

from harness import processes, suites
from harness.engines import local
from harness.engines import worker as worker_module
from harness.engines.jobs import LOST, Event, Job, SuiteJob
from harness.engines.local import ATTEMPTS, LocalEngine, _Process
from harness.engines.slots import Slots, find_slots
from harness.engines.worker import git_commit
from harness.errors import StepError
from harness.session import Choice, open_engine
from harness.spec import Suite
from harness.store import Store
from tests.command import HANGS, environment
from tests.jobs import base_folder, base_job, broken, cheap

Heard = list[tuple[int, Job, Event]]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find the package wherever they are started, and no Hub."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def engine(tmp_path: Path) -> LocalEngine:
    return LocalEngine(Slots(2, 1, "cpu"), tmp_path / "logs")


def children() -> list[psutil.Process]:
    """Return this process's workers that are alive: children of its fork server."""
    found, me = [], os.getpid()
    for child in psutil.Process().children(recursive=True):
        try:
            found += [child] if "harness.engines.forkserver" in child.cmdline() and child.ppid() != me else []
        except psutil.Error:
            continue
    return found


@dataclass
class Held:
    """A job at which a worker stops: the record it asks the store for is a pipe that nobody writes to."""

    job: Job
    pipe: Path

    def reached(self, limit: float = HANGS) -> int:
        """Wait until a worker is at the pipe; return our end of it."""
        started = time.monotonic()
        while True:
            try:
                return os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # no reader yet
                assert time.monotonic() - started < limit, "no worker came"
                time.sleep(0.02)


@pytest.fixture
def held(tmp_path: Path) -> Held:
    job = base_job("held", tmp_path / "store")
    pipe = base_folder(job) / "record.json"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    return Held(job, pipe)


# ---------------------------------------------------------------------------------------------------------- slots


def test_slots_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cores = len(os.sched_getaffinity(0))
    assert find_slots(1, "cpu") == Slots(1, cores, "cpu")
    many = find_slots(4 * cores, "cpu")
    assert (many.workers, many.threads) == (4 * cores, 1)
    chosen = find_slots(device="cpu")
    assert 1 <= chosen.workers <= cores
    assert chosen.workers * chosen.threads <= cores


def test_the_commit_is_that_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() == ""


# ----------------------------------------------------------------------------------------------------------- jobs


def test_every_job_is_done_once_and_a_failure_stops_nothing(engine: LocalEngine, tmp_path: Path) -> None:
    jobs = [cheap(tmp_path, f"job-{i}") for i in range(40)]
    jobs[7] = broken(tmp_path, "job-7")
    heard: Heard = []

    def hear(*event: Any) -> None:
        heard.append(event)
        if [one.event for _, _, one in heard].count("done") == 1:  # the other worker may start late
            ends = time.monotonic() + HANGS
            while engine._events.empty() and time.monotonic() < ends:
                time.sleep(0.01)

    failed = engine.run(jobs, hear)
    done = [event for _, _, event in heard if event.event == "done"]
    assert sorted(event.id for event in done) == sorted({f"job-{i}" for i in range(40)} - {"job-7"})
    assert all(event.data == {"folder": str(tmp_path / event.id)} for event in done)
    assert {slot for slot, _, _ in heard} == {0, 1}
    assert all(job.id == event.id for _, job, event in heard)
    ((job, event),) = failed
    assert (job.id, event.stage) == ("job-7", "preparing the model")
    assert "Traceback" in event.detail
    assert not children()


@pytest.mark.parametrize(
    ("count", "found", "measures"),
    [
        (3, Slots(2, 1, "cpu"), False),  # too few jobs to earn it back
        (4, Slots(2, 1, "cpu"), True),
        (4, Slots(2, 1, "cuda"), False),  # one worker per GPU
    ],
)
def test_where_nobody_chose_the_machine_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, found: Slots, measures: bool
) -> None:
    best, done, said = Slots(1, 2, "cpu"), list[Slots](), list[str]()

    def fastest() -> Slots:
        done.append(best)
        return best

    monkeypatch.setattr(local, "is_known", lambda: bool(done))
    monkeypatch.setattr(local, "fastest", fastest)
    for turn in range(2):
        engine = LocalEngine(found, tmp_path / "logs", chosen=False)
        engine.choose_slots([cheap(tmp_path, f"job-{i}") for i in range(count)], said.append)
        assert engine.slots == (best if measures and turn == 0 else found)  # the second is opened with what is known
    assert len(done) == measures
    assert [line.startswith("Measuring how many workers") for line in said] == [True] * measures


@pytest.mark.parametrize(
    ("content", "workers", "chosen"),
    [("engine: local\n", None, False), ("engine: local\nworkers: 3\n", None, True), ("engine: local\n", 3, True)],
)
def test_a_number_of_workers_is_chosen_in_the_engine_file_or_on_the_command_line(
    tmp_path: Path, content: str, workers: int | None, chosen: bool
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    engine = open_engine(Store(tmp_path / "store"), Choice(str(file), workers=workers, device="cpu"))
    assert isinstance(engine, LocalEngine)
    assert engine.chosen is chosen


def test_on_a_busy_machine_the_layout_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "is_known", lambda: False)
    monkeypatch.setattr(local, "fastest", lambda: None)
    engine, said = LocalEngine(Slots(2, 1, "cpu"), tmp_path / "logs", chosen=False), list[str]()
    engine.choose_slots([cheap(tmp_path, f"job-{i}") for i in range(4)], said.append)
    assert engine.slots == Slots(2, 1, "cpu")
    assert "another time" in said[-1]


def test_no_more_workers_than_jobs(engine: LocalEngine, tmp_path: Path) -> None:
    heard: Heard = []
    assert engine.run([cheap(tmp_path, "only")], lambda *event: heard.append(event)) == []
    assert {slot for slot, _, _ in heard} == {0}
    assert engine.run([], lambda *event: heard.append(event)) == []


def test_one_job_gives_its_data_or_its_words(engine: LocalEngine, tmp_path: Path) -> None:
    assert engine.call(cheap(tmp_path, "model")) == {"folder": str(tmp_path / "model")}
    with pytest.raises(StepError, match=r"no/model@0+ could not be downloaded"):
        engine.call(broken(tmp_path, "bad"))


# --------------------------------------------------------------------------------------------------------- deaths


def test_a_worker_that_dies_twice_is_reported_in_words(tmp_path: Path, held: Held) -> None:
    engine = LocalEngine(Slots(1, 1, "cpu"), tmp_path / "logs")
    killed: list[int] = []

    def kill() -> None:
        for _ in range(ATTEMPTS):
            end = held.reached()
            while len(workers := children()) != 1:  # one that another test left may take a moment to go
                time.sleep(0.02)
            (child,) = workers
            killed.append(child.pid)
            child.kill()
            os.close(end)
            # A zombie would not do: its threads may still be dying, and until then the pipe has a reader.
            while psutil.pid_exists(child.pid):
                time.sleep(0.01)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    heard: Heard = []
    jobs = [held.job, *(cheap(tmp_path, f"job-{i}") for i in range(5))]
    failed = engine.run(jobs, lambda *event: heard.append(event))
    killer.join(HANGS)
    assert len(set(killed)) == ATTEMPTS == 2
    assert [(job.id, event.message) for job, event in failed] == [("held", "the worker was killed (out of memory?)")]
    assert len([event for _, _, event in heard if event.event == "done"]) == 5


def test_a_worker_that_cannot_start_says_why(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pydantic.py").write_text("raise RuntimeError('half an installation')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(StepError, match=r"a worker cannot start: RuntimeError: half an installation \(whole log: "):
        engine.run([cheap(tmp_path, "job")], lambda *_: None)


def test_a_worker_killed_while_it_starts_is_replaced(engine: LocalEngine, tmp_path: Path) -> None:
    """Unlike one that cannot start: that would not get better."""

    def kill() -> None:
        while not (found := children()):
            time.sleep(0.002)
        found[0].kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    heard: Heard = []
    assert engine.run([cheap(tmp_path, f"job-{i}") for i in range(4)], lambda *event: heard.append(event)) == []
    assert len([event for _, _, event in heard if event.event == "done"]) == 4


LOSING = """
import sys
from pathlib import Path
print('{"event": "ready"}', flush=True)
for line in sys.stdin:
    if Path("lost").exists():
        print('{"event": "done"}', flush=True)
    else:
        Path("lost").touch()
        print('{"event": "failed", "message": "device-side assert", "data": {"lost": true}}', flush=True)
        sys.exit(4)
"""


def test_a_worker_whose_device_is_lost_gets_no_further_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job that lost it has failed; another worker does the others, each at its first attempt."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(processes, "python", lambda module: [sys.executable, "-c", LOSING])
    engine = LocalEngine(Slots(1, 1, "cpu"), tmp_path / "logs")
    engine._forks = False
    heard: Heard = []
    jobs = [cheap(tmp_path, f"job-{i}") for i in range(4)]
    failed = engine.run(jobs, lambda *event: heard.append(event))
    assert [(job.id, event.message) for job, event in failed] == [("job-0", "device-side assert")]
    assert [job.id for _, job, event in heard if event.event == "done"] == ["job-1", "job-2", "job-3"]


@pytest.mark.parametrize(
    ("initialized", "works", "lost"), [(False, False, False), (True, True, False), (True, False, True)]
)
def test_a_device_is_lost_when_it_fails_at_nothing_in_particular(
    monkeypatch: pytest.MonkeyPatch, initialized: bool, works: bool, lost: bool
) -> None:
    def synchronize() -> None:
        if not works:
            raise RuntimeError("CUDA error: device-side assert triggered")

    cuda = SimpleNamespace(is_initialized=lambda: initialized, synchronize=synchronize)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert worker_module._device_lost() is lost


def test_a_failure_says_that_the_device_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_device_lost", lambda: True)
    said = io.StringIO()
    one = worker_module.Worker(said)
    one.do(broken(tmp_path, "bad"))
    event = Event.model_validate_json(said.getvalue().splitlines()[-1])
    assert (one.lost, event.event, event.data) == (True, "failed", {LOST: True})


def test_memory_that_ran_out_is_that_of_the_device() -> None:
    gpu = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.72 GiB"
    assert worker_module._words(type("OutOfMemoryError", (RuntimeError,), {})(gpu.partition(": ")[2])) == gpu
    assert re.fullmatch(
        r"MemoryError \(out of memory\); [\d.]+ of [\d.]+ GiB in use", worker_module._words(MemoryError())
    )


def test_half_an_event_is_no_event(engine: LocalEngine) -> None:
    """A worker that is killed while it speaks: the rest of the line never comes, and nobody waits for it."""
    process = _Process(0, None)  # type: ignore[arg-type]
    engine._read(process, io.StringIO('chatter\n{"event": "ready"}\n{"event": "failed", "detail": "hal'))
    assert engine._events.get() == (process, Event(event="ready"))
    assert engine._events.get() == (process, None)
    assert engine._events.empty()


def test_stopped_it_starts_nothing_new(engine: LocalEngine, tmp_path: Path) -> None:
    heard: Heard = []

    def hear(*event: object) -> None:
        heard.append(event)  # type: ignore[arg-type]
        engine.stop()

    with pytest.raises(KeyboardInterrupt):
        engine.run([cheap(tmp_path, f"job-{i}") for i in range(40)], hear)
    assert len([event for _, _, event in heard if event.event == "done"]) < 40
    assert not children()


# --------------------------------------------------------------------------------------------------- the protocol


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-m", "harness.engines.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=environment(), cwd=tmp_path,
    )  # fmt: skip
    assert child.stdout is not None
    assert json.loads(child.stdout.readline())["event"] == "ready"
    yield child
    child.kill()
    child.communicate()


def test_a_worker_leaves_when_its_input_closes(worker: subprocess.Popen[str], tmp_path: Path) -> None:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(cheap(tmp_path, "job").model_dump_json() + "\n")
    worker.stdin.close()
    worker.stdin = None
    assert worker.wait(timeout=30) in (0, 3)  # 3: the input closed while it was still at the job
    events = [Event.model_validate_json(line) for line in worker.stdout]
    assert {event.id for event in events} <= {"job"}


def test_a_busy_worker_leaves_too(worker: subprocess.Popen[str], held: Held) -> None:
    assert worker.stdin is not None
    worker.stdin.write(held.job.model_dump_json() + "\n")
    worker.stdin.flush()
    end = held.reached()
    worker.stdin.close()
    worker.stdin = None
    assert worker.wait(timeout=30) == 3
    os.close(end)


NOISY = """\
import os
import sys

print('{"event": "done", "id": "suite"}')
os.write(1, b"and past Python's streams\\n")
sys.stdout.write("no line end")


def question(doc):
    print("asked again")
    return doc["question"]
"""


@pytest.mark.slow
def test_what_libraries_print_is_not_taken_for_an_event(engine: LocalEngine, tmp_path: Path) -> None:
    """A task folder with Python that prints: on import, past Python, and for every item."""
    source = tmp_path / "noisy"
    source.mkdir()
    (source / "noisy.jsonl").write_text("".join(json.dumps({"question": f"q{i}", "label": 0}) + "\n" for i in range(4)))
    config = {
        "task": "local_noisy", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "noisy.jsonl"}},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_target": "label",
        "doc_to_choice": ["yes", "no"], "metric_list": [{"metric": "acc"}],
    }  # fmt: skip
    (source / "noisy.yaml").write_text(yaml.safe_dump(config) + "doc_to_text: !function words.question\n")
    (source / "words.py").write_text(NOISY)
    suite = Suite.model_validate({"suite": "s", "tasks": {"noisy": {"task": "local_noisy", "path": "noisy"}}})
    folder = tmp_path / "suite"
    suites.copy_local(suite, tmp_path, folder)
    job = SuiteJob(id="suite", label="suite", store=str(tmp_path), suite=suite, folder=folder)
    items = json.loads(Path(engine.call(job)["file"]).read_text())
    assert [item["question"] for item in items] == ["q0", "q1", "q2", "q3"]
    log = (tmp_path / "logs" / "worker-0.log").read_text()
    assert "past Python's streams" in log
    assert "asked again" in log
