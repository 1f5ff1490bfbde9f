import json
import shutil
from pathlib import Path

import pytest

from harness.data import files
from harness.data.sources import inputs, load
from harness.errors import RequestError
from harness.spec import Source
from tests.data.test_sources import PAIRS, jsonl


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.usefixtures("offline")
def test_a_hub_dataset_in_a_local_folder(tmp_path: Path) -> None:
    jsonl(tmp_path / "repo" / "train.jsonl", PAIRS)
    hub = str(tmp_path / "repo")
    source = Source(hub=hub, revision="c0ffee", rows=4)
    assert load("s", source, tmp_path).rows["prompt"].to_list() == ["p0", "p1", "p2", "p3"]
    before = inputs("s", source, tmp_path)
    jsonl(tmp_path / "repo" / "train.jsonl", PAIRS[1:])
    assert inputs("s", source, tmp_path) != before
    with pytest.raises(RequestError, match=r"sources.s.hub: .*split tset"):
        load("s", Source(hub=hub, revision="c0ffee", split="tset"), tmp_path)
    with pytest.raises(RequestError, match=r"sources.s.config: expected the name"):
        load("s", Source(hub=hub, revision="c0ffee", config={"a": 1}), tmp_path)


@pytest.mark.usefixtures("offline")
def test_a_hub_dataset_is_streamed_where_few_rows_are_asked_for(tmp_path: Path) -> None:
    rows = [{"id": i, "prompt": f"p{i}", "completion": f"c{i}", "score": i / 4} for i in range(2500)]
    (tmp_path / "repo").mkdir()
    files.write(rows, tmp_path / "repo" / "train.parquet")
    source = Source(hub=str(tmp_path / "repo"), revision="c0ffee", columns=("score",))
    whole = load("s", source, tmp_path).rows
    assert (whole["prompt"].to_list(), whole.height) == ([row["prompt"] for row in rows], 2500)
    assert json.loads(whole["meta"][2001]) == {"place": f"{source.hub}@c0ffee#2001", "id": "2001"}
    shutil.rmtree(tmp_path / "cache")
    streamed = load("s", source.model_copy(update={"rows": 1200}), tmp_path).rows
    assert streamed.equals(whole.head(1200))
    assert not list((tmp_path / "cache").rglob("*.arrow"))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("cap", [None, 10])
def test_a_broken_hub_dataset_is_named(tmp_path: Path, cap: int | None) -> None:
    jsonl(tmp_path / "repo" / "train.jsonl", [{"text": "a"}, {"text": "b"}])
    with (tmp_path / "repo" / "train.jsonl").open("a") as stream:
        stream.write('{"text": "c')
    with pytest.raises(
        RequestError, match=r"sources.s.hub: .*, split train, cannot be (loaded|read beyond row \d+) \("
    ):
        load("s", Source(hub=str(tmp_path / "repo"), revision="c0ffee", rows=cap), tmp_path)


@pytest.mark.usefixtures("offline")
def test_a_hub_dataset_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"sources.s.hub: nobody/nothing@c0ffee, split train, cannot be loaded"):
        load("s", Source(hub="nobody/nothing", revision="c0ffee"), tmp_path)
