"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.tiny import tiny_model

ROOT = Path(__file__).parent.parent

# No test may reach for a hub, or for somebody's store. Here rather than in a fixture: libraries read it when imported.
os.environ["HF_HUB_OFFLINE"] = "1"
for _name in ("HARNESS_STORE", "MLFLOW_TRACKING_URI"):
    os.environ.pop(_name, None)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny randomly initialized model with a tokenizer."""
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def acceptance_data() -> Path:
    """Folder of the acceptance data, or a skip that says where it was looked for."""
    folder = Path(os.environ.get("HARNESS_ACCEPTANCE_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "MANIFEST.json").is_file():
        pytest.skip(f"no acceptance data in {folder} (set HARNESS_ACCEPTANCE_DATA)")
    return folder


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of SmolLM2-135M-Instruct, prepared from its package, or a skip where that is not installed."""
    from harness import models
    from harness.errors import RequestError
    from harness.store import Store

    # The checkout's own store is used when the quickstart has been run: preparing takes half a minute.
    kept = Path(os.environ.get("HARNESS_TEST_STORE", ROOT / ".harness"))
    root = kept if kept.is_dir() else tmp_path_factory.mktemp("smollm2")
    try:
        model = models.resolve("smollm2-135m-instruct", ROOT, Store(root))
    except RequestError as error:
        pytest.skip(str(error))
    return models.prepare(model, Store(root))


@pytest.fixture
def study_folder(tmp_path: Path, tiny: Path) -> Path:
    """A folder with a small study on the tiny model, ready to be changed by a test."""
    (tmp_path / "study.yaml").write_text(TINY_STUDY)
    shutil.copytree(tiny, tmp_path / "model")
    return tmp_path


TINY_STUDY = """\
study: tiny
question: Half the answers are wrong. Verify them?
model: model
recipe: {lora: {r: 4, alpha: 8}, learning_rate: 1.0e-2, batch: 4, steps: 4, max_length: 64}
suite:
  suite: held-out
  tasks:
    sums: {generator: reasoning-gym, task: chain_sum, config: {max_terms: 2, max_digits: 2}, items: 24, seed: 3,
           question: "Q: {expression} =\\nA:", slice: carries}
sources:
  scraped: {generator: reasoning-gym, task: chain_sum, config: {max_terms: 2, max_digits: 2}, rows: 60, seed: 1,
            corrupt: 0.5, fields: {prompt: "Q: {expression} =\\nA:", completion: " {answer}"}}
  sums: {generator: reasoning-gym, task: chain_sum, config: {max_terms: 2, max_digits: 2}, rows: 60, seed: 2,
         fields: {prompt: "Q: {expression} =\\nA:", completion: " {answer}"}, cost_per_row: 0.08}
baseline: {mix: {scraped: 16}}
arms:
  verified: {tests: verify(scraped), operations: [verify]}
  sums-16: {tests: sums, mix: {sums: 16}}
  sums-8: {tests: sums, mix: {sums: 8}}
seeds: 2
match: steps
decide: {metric: sums/exact_match, smallest_effect: 0.05}
"""
