"""Commands without the price of their imports: forked from one process that has imported everything.

A driver imports for 2-5 seconds and a worker for 10. A campaign of hundreds of kills cannot pay that each time, and
most kills would fall into imports, where nothing can be lost. What runs after the imports is the real thing, in
processes and pipes of its own: the driver is ``harness ...``, its workers are ``harness.engines.worker``.

Children write down which stage they are in (``build``, ``train``, ...), so that whoever kills them knows what was hit.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from tests.bucket import CREDENTIALS
from tests.command import HANGS, ROOT, Called

# Of the test's environment, what says where the store is.
STORE = ("HARNESS_STORE", "HARNESS_COPIES", "AWS_ENDPOINT_URL", *CREDENTIALS)
WIDTH = 40  # bytes of a mark: "<who> <stage>"


class Child:
    """A process of the nursery: what a forked worker is to the engine."""

    def __init__(
        self, place: str, command: list[str], streams: tuple[int, int, int], cwd: str, environment: dict[str, str],
        stdin: IO[str] | None = None, stdout: IO[str] | None = None,
    ) -> None:  # fmt: skip
        self.stdin, self.stdout = stdin, stdout
        self._code: int | None = None
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.connect(place)
        asked = json.dumps({"command": command, "cwd": cwd, "environment": environment})
        socket.send_fds(self._line, [asked.encode()], list(streams))
        self.pid = int(self._line.recv(32))

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        if self._code is None:
            with contextlib.suppress(BlockingIOError):
                self._ended(self._line.recv(32, socket.MSG_DONTWAIT))
        return self._code

    def wait(self, timeout: float = HANGS) -> int:
        if self._code is None:
            self._line.settimeout(timeout)
            self._ended(self._line.recv(32))
        assert self._code is not None
        return self._code

    def _ended(self, code: bytes) -> None:
        self._code = int(code)
        self._line.close()

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class Nursery:
    """Starts ``harness`` commands in forked processes.

    Args:
        folder: For the socket, the marks of what processes are at, and what they say.
    """

    def __init__(self, folder: Path) -> None:
        from harness.engines.local import ALLOCATOR, REPRODUCIBLE

        self.folder = folder
        self.marks = folder / "marks"
        self.marks.mkdir(parents=True)
        self._place = tempfile.mktemp(prefix="nursery-", dir="/tmp")  # a socket's path may have 100 characters at most
        environment = {
            **os.environ, **ALLOCATOR, **REPRODUCIBLE, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "HARNESS_DEVICE": "cpu",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery", self._place, str(self.marks)], env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said == "ready\n", f"the nursery could not start: {said}"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        Path(self._place).unlink(missing_ok=True)

    def start(self, *arguments: str | Path, cwd: Path, **environment: str) -> Child:
        """Start ``harness <arguments>``; what it says goes to ``out`` and ``err`` in ``cwd``."""
        with (cwd / "out").open("w") as out, (cwd / "err").open("w") as err, Path(os.devnull).open() as nothing:
            streams = (nothing.fileno(), out.fileno(), err.fileno())
            store = {name: os.environ[name] for name in STORE if name in os.environ}
            return Child(self._place, ["driver", *map(str, arguments)], streams, str(cwd), store | environment)

    def call(self, *arguments: str | Path, cwd: Path, **environment: str) -> Called:
        """Run ``harness <arguments>`` to its end."""
        code = self.start(*arguments, cwd=cwd, **environment).wait(300)
        return Called(code, (cwd / "out").read_text(), (cwd / "err").read_text())

    def at(self) -> dict[int, tuple[str, str, int]]:
        """Return pid -> (who, stage, parent) of the processes that are alive: drivers and workers."""
        found = {}
        for path in self.marks.iterdir():
            with contextlib.suppress(FileNotFoundError, ValueError):
                who, stage, parent = path.read_bytes().decode().split()
                if alive(int(path.name)):
                    found[int(path.name)] = (who, stage, int(parent))
                else:
                    path.unlink()
        return found


def alive(pid: int) -> bool:
    """Return whether a process runs (one that is dead and not yet waited for does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


# ------------------------------------------------------------------------------------------------- in the nursery


def serve(place: str, marks: str) -> None:
    """Fork a process for everyone who asks, and tell each how it ended."""
    for heavy in (
        "torch", "transformers", "trl", "peft", "polars", "scipy.special", "lm_eval.models.huggingface", "mlflow",
        "mlflow.store.tracking.sqlalchemy_store", "harness.training.run", "harness.training.sft",
        "harness.evaluation.run", "harness.tracking", "harness.cli", "harness.study.build", "harness.answer",
        "harness.data.contamination", "harness.data.variants", "harness.data.sources", "reasoning_gym",
    ):  # fmt: skip
        __import__(heavy)
    # Allocators of polars and arrow have threads by now, and know how to be forked; Python must have none.
    assert threading.active_count() == 1, f"forking is not safe: {threading.enumerate()}"
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(place)
    server.listen(64)
    server.settimeout(0.01)
    print("ready", flush=True)
    lines: dict[int, socket.socket] = {}
    parent = os.getppid()
    while os.getppid() == parent:  # else who made the nursery was killed
        with contextlib.suppress(TimeoutError):
            line, _ = server.accept()
            asked, streams, _, _ = socket.recv_fds(line, 1 << 16, 3)
            if not asked:  # who came was killed before it could ask
                line.close()
                continue
            pid = os.fork()
            if pid == 0:
                server.close()
                for other in (*lines.values(), line):
                    other.close()
                become(json.loads(asked), streams, place, Path(marks))
            for stream in streams:
                os.close(stream)
            lines[pid] = line
            with contextlib.suppress(ConnectionError):  # who asked was killed; its worker finds its input closed
                line.send(str(pid).encode())
        while lines:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            with lines.pop(pid) as line, contextlib.suppress(ConnectionError):  # who asked was killed
                line.send(str(os.waitstatus_to_exitcode(status)).encode())


def become(asked: dict[str, Any], streams: list[int], place: str, marks: Path) -> None:
    """Be the process that was asked for, to its end."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["cwd"])
    os.environ.update(asked["environment"])
    who, *arguments = asked["command"]
    mark = _Marks(marks / str(os.getpid()), who)
    _bend(mark, place, who)
    code = 0
    try:
        if who == "driver":
            sys.argv = ["harness", *arguments]
            from harness.__main__ import main
        else:
            from harness.engines.worker import main
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


class _Marks:
    """What this process is at, in a file that others read."""

    def __init__(self, path: Path, who: str) -> None:
        self._who, self._parent = who, os.environ.get("NURSERY_PARENT", "0")
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC)
        self._at: dict[bool, str] = {}  # of the main thread, and of the one that keeps MLflow up to date meanwhile
        self.set("start" if who == "driver" else "idle")

    def set(self, stage: str) -> None:
        self._at[threading.current_thread() is threading.main_thread()] = stage
        shown = (self._at[True] == "wait" and self._at.get(False)) or self._at[True]
        os.pwrite(self._file, f"{self._who} {shown} {self._parent}".ljust(WIDTH).encode(), 0)

    @contextlib.contextmanager
    def during(self, stage: str) -> Iterator[None]:
        before = self._at.get(threading.current_thread() is threading.main_thread(), "")
        self.set(stage)
        try:
            yield
        finally:
            self.set(before)


def _bend(mark: _Marks, place: str, who: str) -> None:
    """Have the stages written down, workers forked too, and what the test asks for: no locks, another clock."""
    import harness.answer
    import harness.engines.local
    import harness.store
    import harness.study.plan
    import harness.tracking
    import harness.training.run
    from harness.engines.worker import Worker

    def during(owner: Any, name: str, stage: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with mark.during(stage):
                return original(*args, **kwargs)

        setattr(owner, name, wrapped)

    during(harness.store.Store, "_publish", "publish")
    if who == "driver":
        during(harness.study.plan, "make_plan", "build")
        during(harness.study.plan, "publish", "publish")
        during(harness.answer, "view", "report")
        during(harness.tracking, "sync", "sync")
        during(harness.engines.local.LocalEngine, "run", "wait")
        harness.engines.local.ForkServer = lambda *_: _ForkServer(place)  # type: ignore[assignment,misc]
    enter = Worker._enter

    def entered(self: Worker, job: Any, stage: str) -> None:
        mark.set({"training": "train", "evaluating": "evaluate"}.get(stage, "load"))
        if stage == "training" and (log := os.environ.get("NURSERY_TRAININGS")):
            with Path(log).open("a") as stream:
                stream.write(f"{job.adapter.key}\n")
        enter(self, job, stage)

    Worker._enter = entered  # type: ignore[method-assign]
    latest = harness.training.run.latest

    def found(*args: Any) -> Any:
        checkpoint = latest(*args)
        if checkpoint is not None and (log := os.environ.get("NURSERY_TRAININGS")):
            with Path(log).open("a") as stream:
                stream.write("resumed\n")
        return checkpoint

    harness.training.run.latest = found  # type: ignore[attr-defined]
    if period := os.environ.get("HARNESS_CHECKPOINT_SECONDS"):
        import harness.training.checkpoints

        harness.training.checkpoints.PERIOD = float(period)
        harness.training.checkpoints.SHARE = 1e9
    if os.environ.get("NURSERY_NO_LOCKS"):
        import errno
        import fcntl

        lock = fcntl.flock

        def refuse(stream: Any, operation: int) -> None:
            descriptor = stream if isinstance(stream, int) else stream.fileno()
            if "/.harness/" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):  # the store's file system, no other
                raise OSError(errno.ENOLCK, "No locks available")
            lock(stream, operation)

        fcntl.flock = refuse
    if shift := float(os.environ.get("NURSERY_CLOCK", "0")):
        _shift_clock(shift)


def _shift_clock(seconds: float) -> None:
    """Set this process's idea of the date, as far as Python asks for it."""
    import datetime as module

    import harness.store

    now, real = time.time, module.datetime

    class Shifted(real):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.now(tz) + module.timedelta(seconds=seconds)

    time.time = lambda: now() + seconds
    time.time_ns = lambda: int((now() + seconds) * 1e9)
    harness.store.datetime = Shifted  # type: ignore[attr-defined]


class _ForkServer:
    """Stands for the local engine's fork server: workers are forked from the nursery."""

    ready = True

    def __init__(self, place: str) -> None:
        self._place = place

    def start(self, environment: dict[str, str], log: IO[str]) -> Child:
        wanted = {name: value for name, value in environment.items() if os.environ.get(name) != value}
        below, down = os.pipe()
        up, above = os.pipe()
        try:
            return Child(
                self._place, ["worker"], (below, above, log.fileno()), str(Path.cwd()),
                {**{n: v for n, v in environment.items() if n.startswith(("NURSERY", "HARNESS", "AWS"))}, **wanted,
                 "NURSERY_PARENT": str(os.getpid())},
                os.fdopen(down, "w", encoding="utf-8"), os.fdopen(up, encoding="utf-8", errors="replace"),
            )  # fmt: skip
        finally:
            os.close(below)
            os.close(above)

    def close(self) -> None:
        """The nursery goes on for others."""


if __name__ == "__main__":
    serve(*sys.argv[1:])
