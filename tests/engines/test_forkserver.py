"""Workers that are forked: what becomes of them, and of the driver, when the fork server or the driver ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from harness.engines.local import LocalEngine
from harness.engines.slots import Slots
from tests.command import HANGS, environment
from tests.jobs import cheap

DRIVER = """
import sys, time
from pathlib import Path
from harness.engines.local import LocalEngine
from harness.engines.slots import Slots
from tests.jobs import cheap

engine = LocalEngine(Slots(1, 1, "cpu"), Path(sys.argv[1]))
engine.call(cheap(Path(sys.argv[1]), "model"))
print("called", flush=True)
time.sleep(1000)
"""


@pytest.fixture(autouse=True)
def _from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


def servers(of: int) -> list[psutil.Process]:
    """Return the fork servers of a driver."""
    found = []
    for child in psutil.Process(of).children():
        try:
            found += [child] if "harness.engines.forkserver" in child.cmdline() else []
        except psutil.Error:
            continue
    return found


def test_calls_and_runs_have_one_server(tmp_path: Path) -> None:
    engine = LocalEngine(Slots(2, 1, "cpu"), tmp_path)
    engine.call(cheap(tmp_path, "first"))
    (server,) = servers(os.getpid())
    engine.call(cheap(tmp_path, "second"))
    seen: list[list[psutil.Process]] = []
    engine.run([cheap(tmp_path, f"job-{i}") for i in range(4)], lambda *_: seen.append(servers(os.getpid())))
    assert all(one == [server] for one in seen)
    assert not servers(os.getpid())


def test_without_its_server_an_engine_starts_another(tmp_path: Path) -> None:
    engine = LocalEngine(Slots(1, 1, "cpu"), tmp_path)
    engine.call(cheap(tmp_path, "first"))
    (server,) = servers(os.getpid())
    server.kill()
    while server.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    heard: list[str] = []
    assert (
        engine.run([cheap(tmp_path, f"job-{i}") for i in range(3)], lambda _, __, event: heard.append(event.event))
        == []
    )
    assert heard.count("done") == 3


def test_jobs_go_on_without_a_server(tmp_path: Path) -> None:
    engine = LocalEngine(Slots(2, 1, "cpu"), tmp_path)
    done: list[str] = []

    def kill(slot: int, job: object, event: object) -> None:
        for server in servers(os.getpid()):
            server.kill()
        done.append(getattr(event, "event", ""))

    assert engine.run([cheap(tmp_path, f"job-{i}") for i in range(6)], kill) == []
    assert done.count("done") == 6


def test_stopped_while_the_server_imports_it_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is held where it imports, so that nobody could wait for its end."""
    (tmp_path / "polars").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "polars" / "__init__.py").write_text(f"open({str(tmp_path / 'pipe')!r}).read()")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ['PYTHONPATH']}")
    engine = LocalEngine(Slots(2, 1, "cpu"), tmp_path)

    def stop() -> None:
        while not servers(os.getpid()):
            time.sleep(0.01)
        engine.stop()

    stopper = threading.Thread(target=stop, daemon=True)
    stopper.start()
    with pytest.raises(KeyboardInterrupt):
        engine.run([cheap(tmp_path, f"job-{i}") for i in range(4)], lambda *_: None)
    assert not servers(os.getpid())


def test_where_a_tool_starts_threads_in_every_python_workers_are_no_forks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ['PYTHONPATH']}")
    engine = LocalEngine(Slots(2, 1, "cpu"), tmp_path)
    heard: list[str] = []
    assert (
        engine.run([cheap(tmp_path, f"job-{i}") for i in range(4)], lambda _, __, event: heard.append(event.event))
        == []
    )
    assert heard.count("done") == 4
    assert not engine._forks


def test_a_killed_driver_leaves_no_server(tmp_path: Path) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, tmp_path], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == "called\n"
    left = servers(driver.pid)
    assert left
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    _, alive = psutil.wait_procs(left, timeout=HANGS)
    assert not alive
