"""A folder in which files are named as modules are: none of them is run by a study that holds no code."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import processes
from tests.command import HANGS, environment
from tests.conftest import SMALL_STUDY
from tests.tracking.shown import free_port

# Read by ``python -m`` itself before it looks at what it is to run: nothing that is run can keep it from them.
BY_PYTHON_ITSELF = {"__main__", "pkgutil", "runpy", "sitecustomize", "usercustomize", "harness"}


def module_names() -> set[str]:
    """Return the names under which Python finds modules: its own, and what is installed."""
    installed = {
        path.stem if path.suffix == ".py" else path.name for path in Path(pytest.__file__).parents[1].iterdir()
    }
    names = {*sys.stdlib_module_names, *installed, "sitecustomize", "usercustomize", "harness"}
    return {name for name in names if name.isidentifier()}


def poison(folder: Path, names: set[str]) -> Path:
    """Lay a module or a package of each name; return the file in which each that is run leaves its name."""
    trace = folder.parent / f"{folder.name}.trace"
    code = f"open({str(trace)!r}, 'a').write(f'{{__name__}}\\n')\nraise ImportError(__name__)\n"
    for number, name in enumerate(sorted(names)):
        file = folder / f"{name}.py" if number % 2 else folder / name / "__init__.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
    return trace


def ran(trace: Path) -> list[str]:
    return trace.read_text().splitlines() if trace.exists() else []


def command(folder: Path, *arguments: str, way: tuple[str, ...] = ("-P", "-m", "harness")) -> str:
    """Run ``harness`` in a folder as the console script does, without that folder on its path; return what it notes."""
    done = subprocess.run(
        [sys.executable, *way, *arguments], cwd=folder, capture_output=True, text=True, timeout=2 * HANGS, check=False,
        env=environment(XDG_CACHE_HOME=str(folder.parent / "cache"), HF_HOME=str(folder.parent / "hub")),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture
def poisoned(study_folder: Path) -> tuple[Path, Path]:
    """A study's folder in which every name of a module is taken, and the trace of those that are run."""
    (study_folder / "study.yaml").write_text(SMALL_STUDY)
    (study_folder / "rows.jsonl").write_text(
        "".join(json.dumps({"prompt": f"What is {n}?", "completion": f"A number, {n}."}) + "\n" for n in range(300))
    )
    return study_folder, poison(study_folder, module_names())


@pytest.mark.slow
def test_no_command_runs_what_lies_in_the_current_folder(poisoned: tuple[Path, Path]) -> None:
    folder, trace = poisoned
    noted = ""
    for arguments in (
        "plan study.yaml", "run study.yaml --json", "sync study.yaml", "decide study.yaml", "compare study.yaml",
        "report study.yaml --out report.html", "status study.yaml", "power study.yaml", "store verify", "store gc",
        "data card rows.jsonl --out card.html", "init rows.jsonl --model model --out first.yaml", "doctor",
        "data dedupe --in rows.jsonl --out less.jsonl --clusters clusters.csv --method semantic",
    ):  # fmt: skip
        noted += command(folder, *arguments.split())
        assert ran(trace) == [], arguments
    assert "Measuring how many workers" in noted  # a probe is a process of its own


@pytest.mark.slow
def test_run_as_a_module_only_python_itself_looks_into_the_current_folder(study_folder: Path) -> None:
    (study_folder / "study.yaml").write_text(SMALL_STUDY)
    trace = poison(study_folder, module_names() - BY_PYTHON_ITSELF)
    for arguments in ("plan study.yaml --json", "run study.yaml --no-track --workers 1"):
        command(study_folder, *arguments.split(), way=("-m", "harness"))
        assert ran(trace) == [], arguments


@pytest.mark.slow
def test_the_user_interface_does_not_run_it_either(poisoned: tuple[Path, Path]) -> None:
    folder, trace = poisoned
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", "harness", "ui", "--port", str(port)], cwd=folder, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + HANGS
        with_it = False
        while not with_it and time.monotonic() < until and server.poll() is None:
            time.sleep(0.2)
            with socket.socket() as probe:
                with_it = probe.connect_ex(("127.0.0.1", port)) == 0
        assert with_it, server.communicate()[1]
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()
    assert ran(trace) == []


@pytest.mark.slow
@pytest.mark.ray
def test_a_cluster_started_here_does_not_run_it_either(poisoned: tuple[Path, Path]) -> None:
    pytest.importorskip("ray")
    folder, trace = poisoned
    command(folder, *["run", "study.yaml", "--no-track", "--engine", "ray", "--address", "local", "--workers", "1"])
    assert ran(trace) == []


def test_an_empty_entry_of_pythonpath_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "HOME", "/checkout")
    for given, made in (
        ("", "/checkout"), (":/more", "/checkout:/more"), ("/more:", "/checkout:/more"),
        ("/more:/checkout", "/more:/checkout"),
    ):  # fmt: skip
        monkeypatch.setenv("PYTHONPATH", given)
        assert processes.environment(A="b")["PYTHONPATH"] == made
    monkeypatch.setattr(processes, "HOME", "/usr/lib/python3/site-packages")
    assert processes.search_path() == "/more:/checkout"
    assert processes.environment(A="b")["A"] == "b"
    assert processes.environment()["PYTHONSAFEPATH"] == "1"
