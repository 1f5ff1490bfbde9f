"""Tests that share the cores: a file's tests go to one process, for its fixtures, and what takes long begins first."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

# Files whose tests go to one process together.
TOGETHER = {
    # One cluster at a time: `ray symmetric-run` wants no other Ray on the machine, and stops all at its end.
    "Ray": (
        "tests/engines/test_contract.py", "tests/engines/test_ray.py", "tests/engines/test_ray_data.py",
        "tests/engines/test_slurm.py", "tests/test_poisoned.py",
    ),
    # A study that is run once for all of them.
    "undisturbed": ("tests/test_faults.py", "tests/store/test_objects.py", "tests/test_concurrency.py"),
    "ran": ("tests/test_places.py", "tests/test_surroundings.py", "tests/test_hostile.py", "tests/cli/test_store.py"),
}  # fmt: skip
# What takes half a minute or more, the longest first: when it begins late, a core waits for it at the end.
LONG = (
    *TOGETHER["Ray"], *TOGETHER["undisturbed"],
    "tests/acceptance/test_gsm8k.py", "tests/data/test_scale.py", *TOGETHER["ran"], "tests/test_pipeline.py",
    "tests/tracking/test_server.py", "tests/cli/test_init.py", "tests/tracking/test_browser.py",
    "tests/acceptance/test_decontam.py", "tests/test_templates.py", "tests/evaluation/test_evaluation_acceptance.py",
    "tests/report/test_browser.py", "tests/test_trusted.py", "tests/test_other_models.py",
    "tests/training/test_sft.py", "tests/study/test_accounting.py", "tests/evaluation/test_attention.py",
    "tests/cli/test_layouts.py", "tests/data/test_embeddings.py", "tests/cli/test_init_fuzz.py",
)  # fmt: skip
_GROUPS = {file: name for name, files in TOGETHER.items() for file in files}


class Sharing(LoadScopeScheduling):
    """Gives out files in the order of ``in_order``; files that go together are one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return _GROUPS.get(file, file)


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Put long files before all others, which stay as they are."""
    places = {file: place for place, file in enumerate(LONG)}
    return sorted(items, key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))
