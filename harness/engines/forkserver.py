"""Workers forked from one process that has imported what they need.

A worker imports for about eight seconds, and a study needs several. The fork server imports once; a worker is then a
fork of it. The server computes nothing and has one thread, so a fork of it is as good as a new process. Workers on a
GPU are no forks: what CUDA sets up cannot be shared.

``python -m harness.engines.forkserver`` reads requests from the socket that is its standard input, and ends when the
driver does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Mapping
from typing import IO, NoReturn

from harness import processes

# What every worker of a study imports sooner or later. None of them runs code of a study or starts a thread of Python.
PRELOADED = (
    "polars",
    "harness.training.run",
    "harness.training.sft",
    "harness.evaluation.run",
    "harness.engines.worker",
)
LONGEST = 1 << 16  # bytes of a request
UNSAFE = 7  # exit code of a server that must not be forked: other threads would be missing in its forks


class Forked:
    """A forked worker: what ``subprocess.Popen`` is to the engine, as far as it uses one.

    Attributes:
        stdin: Where its jobs are written to.
        stdout: Where its events are read from.
    """

    def __init__(self, server: subprocess.Popen[bytes], line: socket.socket, stdin: IO[str], stdout: IO[str]) -> None:
        self.stdin, self.stdout = stdin, stdout
        self._server, self._line = server, line
        self._pid = 0

    @property
    def pid(self) -> int:
        """The process id, as soon as the server has imported and forked; 0 when the server ended before."""
        if not self._pid:
            self._pid = int(self._line.recv(32) or 0)
        return self._pid

    def wait(self) -> int:
        """Wait for the end; return the exit code, negative for a signal: the server's when it ended before."""
        told = self._line.recv(32) if self.pid else b""
        self._line.close()
        return int(told) if told else self._server.wait()

    def send_signal(self, number: int) -> None:
        """Send a signal to the worker unless it is known to have ended."""
        if not self.pid:
            return
        with contextlib.suppress(BlockingIOError):
            if self._line.recv(32, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the worker unless it has ended."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The fork server as the engine sees it: a process that starts with the object, and ends with it.

    Args:
        environment: The environment it imports in.
        log: Where it writes what libraries say while they are imported.
    """

    def __init__(self, environment: Mapping[str, str], log: IO[str]) -> None:
        self._environment = dict(environment)
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                processes.python("harness.engines.forkserver"), stdin=theirs.fileno(), stdout=log, stderr=log,
                env=self._environment, start_new_session=True,
            )  # fmt: skip
        self.close = weakref.finalize(self, _end, self._line, self._process)

    @property
    def ready(self) -> bool:
        """Whether it can fork at once: it is alive, and has imported."""
        return bool(select.select([self._line], [], [], 0)[0]) and self._process.poll() is None

    def start(self, environment: Mapping[str, str], log: IO[str]) -> Forked:
        """Fork a worker that runs in the current folder.

        Args:
            environment: Its whole environment.
            log: Where it writes what libraries say.

        Raises:
            ConnectionError: The server has ended.
        """
        below, down = os.pipe()
        up, above = os.pipe()
        line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        jobs = os.fdopen(down, "w", encoding="utf-8")
        events = os.fdopen(up, encoding="utf-8", errors="replace")  # one that is killed may leave half a character
        here = os.open(".", os.O_RDONLY)  # a path would not do where the folder has been moved or removed
        changed = {name: value for name, value in environment.items() if self._environment.get(name) != value}
        gone = {name: None for name in self._environment if name not in environment}
        try:
            request = json.dumps(changed | gone).encode()
            socket.send_fds(self._line, [request], [below, above, log.fileno(), here, theirs.fileno()])
        except ConnectionError:
            for one in (line, jobs, events):
                one.close()
            raise
        finally:
            theirs.close()
            for descriptor in (below, above, here):
                os.close(descriptor)
        return Forked(self._process, line, jobs, events)


def _end(line: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """End the server; its workers go on."""
    line.close()
    process.kill()
    process.wait()


# ------------------------------------------------------------------------------------------------- in the server


def main() -> None:
    """Import, then fork a worker for every request until the driver ends."""
    asked = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for module in PRELOADED:
        importlib.import_module(module)
    if threading.active_count() > 1:  # of a tool that starts with every Python here: a debugger, a tracer
        print(f"workers are no forks here: {threading.enumerate()}", file=sys.stderr, flush=True)
        os._exit(UNSAFE)
    asked.send(b"ready")
    gc.freeze()  # what is shared is not copied by a worker's garbage collection
    ended, bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    lines: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([asked.fileno(), ended], [], [])
        if ended in ready:
            os.read(ended, 1 << 12)
            _bury(lines)
        if asked.fileno() in ready:
            request, descriptors, _, _ = socket.recv_fds(asked, LONGEST, 5)
            if not request:
                os._exit(0)
            line = socket.socket(fileno=descriptors.pop())
            pid = os.fork()
            if pid == 0:
                for one in (asked, line, *lines.values()):
                    one.close()
                os.close(ended)
                signal.set_wakeup_fd(-1)
                os.close(bell)
                _become(json.loads(request), descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            lines[pid] = line
            _tell(line, pid)


def _bury(lines: dict[int, socket.socket]) -> None:
    """Tell how workers ended."""
    while lines:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with lines.pop(pid) as line:
            _tell(line, os.waitstatus_to_exitcode(status))


def _tell(line: socket.socket, number: int) -> None:
    with contextlib.suppress(ConnectionError):  # the driver was killed; the worker finds its input closed
        line.send(str(number).encode())


def _become(changed: dict[str, str | None], descriptors: list[int]) -> NoReturn:
    """Be a worker, to its end.

    Args:
        changed: What is to be set or removed in the environment.
        descriptors: Its standard input, output and error, and its folder.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()  # Ctrl-C is for the driver, which then ends its workers
    *streams, folder = descriptors
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for name, value in changed.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    code = 0
    try:
        os.fchdir(folder)
        for descriptor in descriptors:
            os.close(descriptor)
        from harness.engines import worker

        worker.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # as Python would at the end of a process
        traceback.print_exc()
        code = 1
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
