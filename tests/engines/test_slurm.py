"""The recipe for Slurm, as far as one machine goes: its two commands are stood in for, Ray is used for real."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness.store import Store
from tests import planted
from tests.command import ROOT, environment
from tests.conftest import SMALL_STUDY
from tests.engines.conftest import gone

RECIPE = ROOT / "configs" / "engines" / "slurm.sbatch"
SRUN = """\
#!/bin/sh
# One node: what is to run on each of them is run here.
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""


@pytest.mark.ray
@pytest.mark.slow
def test_the_slurm_recipe_on_one_machine(study_folder: Path, alone: dict[str, str]) -> None:
    """Ray is started on the node, the study is run on it, and Ray is stopped."""
    pytest.importorskip("ray", reason="needs the ray extra")
    if any(process.name() == "gcs_server" for process in psutil.process_iter()):
        pytest.skip(
            "another Ray runs on this machine: `ray symmetric-run` wants it to itself, and stops all at its end"
        )
    tools = study_folder / "tools"
    tools.mkdir()
    (tools / "srun").write_text(SRUN)
    (tools / "scontrol").write_text(f"#!/bin/sh\n[ \"$1 $2\" = 'show hostnames' ] && echo {os.uname().nodename}\n")
    (tools / "harness").write_text(f'#!/bin/sh\nexec {sys.executable} -m harness "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    (study_folder / "engine.yaml").write_text("engine: ray\nworker: {cpus: 1}\n")
    planted.plan(planted.folder_with(study_folder, study_folder / "model", SMALL_STUDY))
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "node1", "SLURM_JOB_NUM_NODES": "1"}
    done = subprocess.run(
        ["bash", RECIPE, "study.yaml", "--no-track", "--json"], cwd=study_folder, capture_output=True, text=True,
        env=environment(**alone, **slurm, PATH=path, HARNESS_ENGINE="engine.yaml"), timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"^Ray at [0-9.]+:{20_000 + os.getpid() % 10_000}: ", done.stderr, re.MULTILINE), done.stderr
    start = done.stdout.index("\n{") + 1  # symmetric-run says what it does on standard output too
    found, _ = json.JSONDecoder().raw_decode(done.stdout[start:])
    assert not found["failed"]
    assert len(Store(study_folder / ".harness").artifacts("result")) == 7
    gone(study_folder)
