"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.command import harness
from tests.tiny import tiny_model

if TYPE_CHECKING:
    from tests.nursery import Nursery

ROOT = Path(__file__).parent.parent

# No test may reach for a hub, or for somebody's store. Here rather than in a fixture: libraries read it when imported.
os.environ["HF_HUB_OFFLINE"] = "1"
# Tests that share the cores have one each: threads of all of them would be in each other's way.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
for _name in ("HARNESS_STORE", "MLFLOW_TRACKING_URI"):
    os.environ.pop(_name, None)


# The same examples everywhere, and no limit of time for one, so that a commit does not fail by chance or on a busy
# machine; campaigns (HARNESS_FUZZ) look for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
if "HARNESS_FUZZ" not in os.environ:
    settings.load_profile("same")

# A shell that starts the tests in the background has them ignore Ctrl-C, nohup has them ignore SIGHUP, and what they
# start would inherit that.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share tests as ``tests.sharing`` says, unless another way is asked for (``--dist``)."""
    if config.getoption("dist") != "load":
        return None
    from tests.sharing import Sharing

    config.option.loadscopereorder = False  # by the number of tests; a file's place says how long it takes
    return Sharing(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        from tests.sharing import in_order

        items[:] = in_order(items)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny randomly initialized model with a tokenizer."""
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Starts ``harness`` commands without the price of their imports."""
    from tests.nursery import Nursery

    made = Nursery(tmp_path_factory.mktemp("nursery"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a server that speaks S3, on this machine."""
    from tests.bucket import serve

    with serve() as address:
        yield address


@pytest.fixture
def bucket(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a store in an empty bucket; copies are kept in the test's folder."""
    from tests.bucket import CREDENTIALS, make_bucket

    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": s3, "HARNESS_COPIES": str(tmp_path / "copies")}.items():
        monkeypatch.setenv(name, value)
    return f"s3://{make_bucket(s3)}/studies"


@pytest.fixture(scope="session")
def acceptance_data() -> Path:
    """Folder of the acceptance data, or a skip that says where it was looked for."""
    folder = Path(os.environ.get("HARNESS_ACCEPTANCE_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "MANIFEST.json").is_file():
        pytest.skip(f"no acceptance data in {folder} (set HARNESS_ACCEPTANCE_DATA)")
    return folder


def folder_for_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that all processes have which share these tests."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def undisturbed(nursery: Nursery, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of the study of the fault tests when nothing happened to it."""
    from tests import faults

    return faults.undisturbed(
        nursery, faults.prepare(tmp_path_factory.mktemp("undisturbed") / "study", tiny, faults.SMALL)
    )


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of SmolLM2-135M-Instruct, prepared from its package, or a skip where that is not installed."""
    from harness import models
    from harness.errors import RequestError
    from harness.store import Store

    # The checkout's own store is used when the quickstart has been run: preparing takes half a minute.
    kept = Path(os.environ.get("HARNESS_TEST_STORE", ROOT / ".harness"))
    root = kept if kept.is_dir() else folder_for_all(tmp_path_factory) / "smollm2"
    try:
        model = models.resolve("smollm2-135m-instruct", ROOT, Store(root))
    except RequestError as error:
        pytest.skip(str(error))
    return models.prepare(model, Store(root))


SECRETS = {
    "HF_TOKEN": "hf_PlantedSecretOfTheHub0123456789",
    "AWS_SECRET_ACCESS_KEY": "planted/Secret+OfTheCloud0123456789abcdef",
    "MLFLOW_TRACKING_PASSWORD": "planted-secret-password",
    "MLFLOW_TRACKING_URI": "http://somebody:planted-secret-in-uri@127.0.0.1:9/mlflow",
}


@dataclass(frozen=True)
class Ran:
    """A small study that was really run, then written to MLflow, with secrets in the environment of both commands.

    Attributes:
        folder: The study's folder, whose name is a secret too.
        store: The store, which is elsewhere.
        printed: All that the commands said.
    """

    folder: Path
    store: Path
    printed: str


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Ran:
    """A finished store: do not change it but to put it right again."""
    base = tmp_path_factory.mktemp("ran")
    folder = base / "planted-secret-in-path"
    folder.mkdir()
    text = TINY_STUDY[: TINY_STUDY.index("  sums-16:")] + "controls: []\nseeds: 1\nmatch: steps\n"
    (folder / "study.yaml").write_text(text + TINY_STUDY[TINY_STUDY.index("decide:") :])
    shutil.copytree(tiny, folder / "model")
    store = base / "store"
    done = harness("run", "study.yaml", "--store", store, cwd=folder, **SECRETS)
    assert done.code == 1, done.err  # there is no such MLflow; the runs are kept
    without = {name: value for name, value in SECRETS.items() if name != "MLFLOW_TRACKING_URI"}
    synced = harness("sync", "study.yaml", "--store", store, cwd=folder, **without)
    assert synced.code == 0, synced.err
    return Ran(folder, store, done.out + done.err + synced.out + synced.err)


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
# Six runs instead of twelve, where it is not the arms that a test is about.
SMALL_STUDY = TINY_STUDY.replace("  verified: {tests: verify(scraped), operations: [verify]}\n", "") + (
    "controls: []\nwaive: ['controls: a test of the harness']\n"
)
