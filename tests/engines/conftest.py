"""A Ray cluster of several nodes on this machine, and what tells one call's processes from all others."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.command import HANGS, environment

# A node takes 30 s to start at most, says Ray, and a busy machine of two cores takes longer for all its helpers.
SMALL = {
    "object_store_memory": 80 * 2**20, "include_dashboard": False, "include_log_monitor": False, "no_monitor": True,
}  # fmt: skip
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0"}
PATIENCE = 180  # seconds: starting a node takes two, on a machine that has nothing else to do


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with one core each, labelled as unlike hardware; this process is connected to the first."""
    pytest.importorskip("ray", reason="needs the ray extra")
    import ray
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    os.environ.update(environment(**QUIET))
    first = {"num_cpus": 1, "labels": {"hardware": "big"}, "resources": {"spot": 1}}
    made = Cluster()
    try:
        made.add_node(wait=False, **first, **SMALL)
        made.add_node(wait=False, num_cpus=1, labels={"hardware": "small"}, **SMALL)
        made.wait_for_nodes(timeout=PATIENCE)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        os.environ.clear()
        os.environ.update(before)


def of_ray(folder: Path) -> list[psutil.Process]:
    """Return the processes of Ray that belong to calls made in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("HARNESS_TEST_FOLDER") == str(folder)
            found += [process] if mine and process.status() != psutil.STATUS_ZOMBIE else []
        except psutil.Error:
            continue
    return found


@pytest.fixture
def alone(study_folder: Path) -> Iterator[dict[str, str]]:
    """Environment of a call whose processes can be told from all others."""
    yield {**QUIET, "HARNESS_TEST_FOLDER": str(study_folder)}
    for process in of_ray(study_folder):
        process.kill()


def gone(folder: Path, limit: float = HANGS) -> None:
    """Wait until nothing of Ray is left of calls made in a folder.

    Ray's agents, or a worker that was just starting, may look for a cluster that is gone for a minute before they end.
    """
    started = time.monotonic()
    while left := of_ray(folder):
        assert time.monotonic() - started < limit, [process.cmdline() for process in left]
        time.sleep(0.1)
