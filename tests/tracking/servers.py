"""A real ``mlflow server`` that tests start, kill and start again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from harness.tracking import ui_command
from tests.command import HANGS
from tests.tracking.shown import free_port


@dataclass
class Server:
    """A server on a database of its own; starting it again finds what it had."""

    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def prepared(cls, home: Path, database: bytes) -> Server:
        home.mkdir()
        (home / "mlflow.db").write_bytes(database)
        return cls(home, free_port())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = ui_command(self.home, port=self.port, uri=f"sqlite:///{self.home}/mlflow.db")
        with (self.home / "log").open("a") as log:
            self.process = subprocess.Popen(command, cwd=self.home, stdout=log, stderr=log, start_new_session=True)
        for _ in range(1800):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, (self.home / "log").read_text()
            time.sleep(0.1)
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(HANGS)
            self.process = None
