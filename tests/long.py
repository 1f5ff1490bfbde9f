"""Many tiny runs in one go, with an eye on what grows: memory, open files, the store, the time that a run takes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.command import argv, environment
from tests.conftest import SMALL_STUDY
from tests.faults import prepare

VARIANTS = 3


def study_of(seeds: int) -> str:
    """Return a study of three variants at this many seeds, without controls."""
    return SMALL_STUDY.replace("seeds: 2", f"seeds: {seeds}")


def watch(folder: Path, tiny: Path, seeds: int, workers: int = 2) -> list[dict[str, float]]:
    """Run a study by the ordinary command; return what was seen about twice a second.

    Each sample has ``seconds``, ``runs`` (results in the store), ``store`` (bytes), and per process ``driver`` and
    ``worker <pid>``: resident bytes and, under ``files ...``, open files.
    """
    prepare(folder, tiny, study_of(seeds))
    command = argv("run", "study.yaml", "--workers", str(workers), "--no-track")
    samples: list[dict[str, float]] = []
    with (folder / "err").open("w") as err:
        child = subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=err)
    began = time.monotonic()
    driver = psutil.Process(child.pid)
    try:
        while child.poll() is None:
            with contextlib.suppress(psutil.Error):  # it is just ending
                samples.append({"seconds": time.monotonic() - began, **_sample(folder, driver)})
            time.sleep(0.5)
    finally:
        child.kill()
    assert child.wait() == 0, (folder / "err").read_text()[-2000:]
    return samples


def _sample(folder: Path, driver: psutil.Process) -> dict[str, float]:
    results = list((folder / ".harness" / "result").glob("*/record.json"))
    seen: dict[str, float] = {"runs": len(results), "store": _bytes(folder / ".harness")}
    for process in (driver, *driver.children(recursive=True)):
        words = process.cmdline()
        if process is driver or ("harness.engines.forkserver" in words and process.ppid() != driver.pid):
            name = "driver" if process is driver else f"worker {process.pid}"
            seen[name] = process.memory_info().rss
            seen[f"files {name}"] = process.num_fds()
    return seen


def _bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder in which others are at work."""
    total = 0
    for parent, _, names in os.walk(folder):  # unlike Path.rglob it goes on when a folder goes away
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += (Path(parent) / name).stat().st_size
    return total


def figures(samples: list[dict[str, float]], warm: float = 0.2) -> dict[str, Any]:
    """Return what grew after the warm-up (a share of the runs): last tenth against the tenth after the warm-up.

    ``growth`` is relative, of resident memory; ``files`` a difference; ``bytes per run`` of the store in both halves;
    ``seconds per run`` likewise.
    """
    runs = max(sample["runs"] for sample in samples)
    start = warm * runs
    steady = [sample for sample in samples if sample["runs"] >= start and any(n.startswith("worker") for n in sample)]
    first = [s for s in steady if s["runs"] <= start + 0.1 * runs]
    last = [s for s in steady if s["runs"] >= 0.9 * runs]
    found: dict[str, Any] = {"runs": int(runs), "seconds": round(samples[-1]["seconds"], 1), "growth": {}, "files": {}}
    for name in sorted({n for s in steady for n in s if n.startswith(("driver", "worker"))}):
        before, after = ([s[name] for s in part if name in s] for part in (first, last))
        if before and after:
            found["growth"][name] = round(float(np.median(after) / np.median(before) - 1), 4)
            files = [[s[f"files {name}"] for s in part if name in s] for part in (first, last)]
            found["files"][name] = float(np.median(files[1]) - np.median(files[0]))
            found[f"{name} MiB"] = round(float(np.median(after)) / 2**20, 1)
    middle = (start + runs) / 2
    halves = [[s for s in steady if s["runs"] <= middle], [s for s in steady if s["runs"] >= middle]]
    for name in ("store", "seconds"):
        slopes = [float(np.polyfit([s["runs"] for s in half], [s[name] for s in half], 1)[0]) for half in halves]
        found[f"{name} per run, first and second half"] = [round(slope, 3) for slope in slopes]
    return found
