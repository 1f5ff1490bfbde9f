"""Engine files: the examples are right, and what is wrong is said with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.engines.config import LocalConfig, RayConfig, load_engine
from harness.errors import RequestError
from tests.command import ROOT

EXAMPLES = sorted((ROOT / "configs" / "engines").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_can_be_used(path: Path) -> None:
    found = load_engine(str(path))
    assert isinstance(found, LocalConfig if path.stem == "local" else RayConfig)


def test_names() -> None:
    assert load_engine("local") == LocalConfig()
    assert load_engine("ray") == RayConfig()
    gpus = load_engine(str(ROOT / "configs" / "engines" / "ray-gpus.yaml"))
    assert isinstance(gpus, RayConfig)
    assert (gpus.device_class, RayConfig().device_class) == ("cuda", "cpu")
    assert (gpus.worker.gpus, gpus.address) == (0.5, "auto")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("engine: rey\n", 'wrong.yaml:1: engine: no engine is named "rey". Did you mean "ray"?'),
        ("workers: 2\n", "wrong.yaml: expected a mapping with `engine: <local or ray>`"),
        ("engine: ray\nworker:\n  cpu: 2\n",
         'wrong.yaml:3: worker.cpu is not a field of a worker config. Did you mean "cpus"?'),
        ("engine: local\nretries: 2\n", "wrong.yaml:2: retries is not a field of a local config."),
        ("engine: ray\nretries: -1\n", "wrong.yaml:2: retries: must be greater than or equal to 0"),
        ("engine: ray\ndevice: tpu\n", 'wrong.yaml:2: device: "tpu" is not one of its values.'),
        ("engine: [ray\n", "not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.yaml").write_text(text)
    with pytest.raises(RequestError) as caught:
        load_engine("wrong.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rya", '--engine: "rya" is no engine and no engine file (.yaml). Did you mean "ray"?'),
        ("gone/ray.yaml", "--engine: no such file: gone/ray.yaml."),
    ],
)
def test_what_is_no_engine(name: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_engine(name)
    assert words in str(caught.value)


def test_the_nearest_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("engine: ray\n")
    with pytest.raises(RequestError, match=r'Did you mean "cluster.yaml"\?'):
        load_engine(str(tmp_path / "clusters.yaml"))
