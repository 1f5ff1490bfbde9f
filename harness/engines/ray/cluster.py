"""Finds a Ray cluster, or starts one on this machine."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

from harness.engines.config import RayConfig
from harness.engines.slots import cores
from harness.errors import RequestError, StepError

# Bytes, for a cluster started here. Events are too small to be put there; data are, some blocks at a time.
OBJECT_STORE = {"local": 100 * 2**20, "ray": 512 * 2**20}
REACH = 10.0  # seconds in which a cluster's address has to answer
JOIN_ATTEMPTS = 4  # to connect through ray://: the proxy may lose a server it has just started (ray-project/ray#63202)
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}


def connect(config: RayConfig) -> str:
    """Connect this process to a cluster, or start one here when no address is set and none runs; return its address."""
    wanted, named = config.address or "auto", config.address is not None or "RAY_ADDRESS" in os.environ
    started = ""
    if not ray.is_initialized():
        # Ray's workers look for modules in the folder that is current here: it must not be one that holds data.
        with _own_signals(), contextlib.chdir(os.sep):
            try:
                if wanted != "local":
                    _reach(os.environ.get("RAY_ADDRESS", "auto") if wanted == "auto" else wanted)
                    _join(wanted)
            except (OSError, ImportError, RuntimeError, ValueError) as error:
                if named or not isinstance(error, ConnectionError):
                    reason = _reason(error) + _token_hint(error, wanted)
                    raise RequestError(f"--address: {wanted}: no Ray cluster can be reached ({reason})") from error
            if not ray.is_initialized():
                _start_here(config)
                started = " (started here)"
    return wanted if "://" in wanted else f"{ray.get_runtime_context().gcs_address}{started}"


def _join(address: str) -> None:
    for _ in range(JOIN_ATTEMPTS - 1):
        with contextlib.suppress(ConnectionAbortedError):
            ray.init(address=address, **QUIET)
            return
    ray.init(address=address, **QUIET)


def _reason(error: Exception) -> str:
    """Return the line that says why: Ray's server sends its clients a traceback, whose last line is the cause."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().split("\n")
    return lines[-1 if isinstance(error, ConnectionAbortedError) else 0].strip()


def _token_hint(error: Exception, wanted: str) -> str:
    """Return a hint at a cause that Ray does not name: nodes require a token, and Ray sends none to a given address."""
    given = wanted != "auto" or "RAY_ADDRESS" in os.environ
    nobody = isinstance(error, (ConnectionRefusedError, socket.gaierror))
    there = "RAY_AUTH_MODE" not in os.environ and (Path.home() / ".ray" / "auth_token").is_file()
    if not given or nobody or not there:
        return ""
    return "; if it was started on a machine with ~/.ray/auth_token, as this one is, set RAY_AUTH_MODE=token"


def _reach(address: str) -> None:
    """Check that an address answers: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH).close()


def _start_here(config: RayConfig) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cpus = max(cores(), math.ceil((config.workers or 0) * config.worker.cpus))
    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            object_store_memory=OBJECT_STORE[config.data],
            include_dashboard=False,
            **QUIET,
        )
    except Exception as error:  # Ray has no narrower class for a machine too busy to start it in 30 s
        reason = str(error).strip().split("\n")[0]
        raise StepError(f"Ray could not be started on this machine: {reason}") from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Restore this process's SIGTERM handler, which Ray replaces."""
    kept = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, kept)


def node_name(node: dict[str, Any], *, alone: bool) -> str:
    """Return a node's name: its host, and more when several nodes share the host."""
    host = str(node["NodeManagerHostname"])
    return host if alone else f"{host}/{node['NodeID'][:8]}"
