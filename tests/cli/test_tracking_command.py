"""``harness sync`` and ``harness ui``."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests import planted
from tests.command import HANGS, argv, environment


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow with SQLAlchemy 2.1
def test_sync_writes_once(cli: Any, tmp_path: Path, tiny: Path) -> None:
    planted.plant(planted.folder_with(tmp_path, tiny))
    first = cli("sync", "study.yaml", "--uri", f"sqlite:///{tmp_path}/mine.db", cwd=tmp_path)
    assert first.code == 0, first.err
    assert f"tiny at sqlite:///{tmp_path}/mine.db: 20 runs created, 0 updated, 0 unchanged" in first.out
    again = cli("sync", "study.yaml", "--json", "--uri", f"sqlite:///{tmp_path}/mine.db", cwd=tmp_path).json
    assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, 20)


def test_ui_of_a_server_is_a_wrong_request(cli: Any) -> None:
    refused = cli("ui", "--uri", "http://me:secret@localhost:5000")
    assert refused.code == 2
    assert "open it in a browser" in refused.err
    assert "secret" not in refused.err


@pytest.mark.slow
def test_ui_opens_mlflow_until_interrupted(tmp_path: Path, tiny: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen(
            argv("ui", "--port", str(port)), cwd=tmp_path, env=environment(), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        started = time.monotonic()
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30) as answer:
                    assert answer.status == 200
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert child.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() - started < HANGS
                time.sleep(0.2)
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait(HANGS) == 0
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    log_text = (tmp_path / "log").read_text()
    assert f"Open http://127.0.0.1:{port} (" in log_text
