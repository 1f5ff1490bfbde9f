"""Which files a source's paths name: none that is hidden, none that only describes others, none lost without a word."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import suites
from harness.data import files
from harness.data.sources import inputs, load, settled
from harness.errors import RequestError
from harness.scaffold.paths import splits
from harness.spec import Source, Suite
from tests.command import harness
from tests.data.test_sources import PAIRS, jsonl
from tests.test_outside import strange


def found(path: str | tuple[str, ...], base: Path) -> list[str]:
    return [file.shown for file in files.find("s", path, base)]


# --------------------------------------------------------------------------------------------------------- hidden

HIDDEN = (
    ".ipynb_checkpoints/train-checkpoint.jsonl",
    "data/.ipynb_checkpoints/train-checkpoint.jsonl",
    "._train.jsonl",
    "data/._train.jsonl",
    ".git/rows.jsonl",
    ".cache/huggingface/download/train.jsonl",
    "data/.hidden.parquet",
    "data/.part-0.jsonl.crc",
)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A folder as it looks after some days of work, with three rows in it."""
    jsonl(tmp_path / "hub" / "data" / "train.jsonl", PAIRS[:3])
    for name in HIDDEN:
        jsonl(tmp_path / "hub" / name, PAIRS)
    return tmp_path / "hub"


@pytest.mark.parametrize("path", ["hub", "hub/", "hub/data", "hub/**/*", "hub/**/*.jsonl", "hub/data/*", "h*b/data/*"])
def test_what_is_hidden_is_not_read(hub: Path, path: str) -> None:
    assert found(path, hub.parent) == ["hub/data/train.jsonl"]
    assert load("s", Source(path=path), hub.parent).rows.height == 3


def test_what_is_hidden_is_read_where_it_is_named(hub: Path) -> None:
    assert found("hub/._train.jsonl", hub.parent) == ["hub/._train.jsonl"]
    assert found("hub/.git", hub.parent) == ["hub/.git/rows.jsonl"]
    assert found("hub/.git/*", hub.parent) == ["hub/.git/rows.jsonl"]
    shutil.move(hub, hub.parent / ".all")
    assert found(".all", hub.parent) == [".all/data/train.jsonl"]


def test_what_is_hidden_changes_no_key(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    (hub / "README.md").write_text("hello")
    (hub / "own.yaml").write_text("task: own")
    source = Source(path="hub")
    folder = Source(hub=str(hub), revision="main")
    suite = Suite.model_validate({"suite": "mine", "tasks": {"own": {"task": "own", "path": "hub"}}})

    def keys() -> list[dict[str, str]]:
        both = [inputs("s", one, hub.parent) for one in (source, folder)]
        return [*both, suites.inputs(suite, hub.parent)]

    before = keys()
    for name in HIDDEN:
        (hub / name).write_text("something else")
    shutil.rmtree(hub / ".git")
    assert keys() == before
    assert load("s", folder, hub.parent).rows.height == 3
    suites.copy_local(suite, hub.parent, hub.parent / "copied")
    copied = [path for path in (hub.parent / "copied").rglob("*") if path.is_file()]
    assert sorted(path.name for path in copied) == ["README.md", "own.yaml", "train.jsonl"]
    jsonl(hub / "data" / "train.jsonl", PAIRS)
    assert all(one != other for one, other in zip(keys(), before, strict=True))


def test_a_dataset_that_names_hidden_files_of_its_own_is_refused(hub: Path) -> None:
    (hub / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: .git/rows.jsonl\n---\n")
    with pytest.raises(RequestError, match=r"sources\.s\.hub: .*its file \.git/rows\.jsonl is hidden"):
        load("s", Source(hub=str(hub), revision="main", rows=2), hub.parent)


def test_a_task_that_includes_a_hidden_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "own.yaml").write_text("task: own\ninclude: .base.yaml\n")
    (tmp_path / "task" / ".base.yaml").write_text("dataset_path: json\n")
    suite = Suite.model_validate({"suite": "mine", "tasks": {"own": {"task": "own", "path": "task"}}})
    with pytest.raises(RequestError, match=r"own\.yaml:2: include: no file \.base\.yaml in the folder \(hidden ones"):
        suites.copy_local(suite, tmp_path, tmp_path / "copied")


def test_init_splits_a_folder_by_what_is_not_hidden(hub: Path) -> None:
    jsonl(hub / ".ipynb_checkpoints" / "test-checkpoint.jsonl", PAIRS)
    assert splits([str(hub)], None) == ([(str(hub), (str(hub),))], ())


# ---------------------------------------------------------------------------------------------- what is not rows


@pytest.mark.parametrize("name", ["dataset_infos.json", "dataset_info.json"])
def test_what_describes_a_dataset_is_no_part_of_it(tmp_path: Path, name: str) -> None:
    jsonl(tmp_path / "data" / "train.jsonl", PAIRS)
    (tmp_path / "data" / name).write_text('{"default": {"features": {}, "splits": {"train": {"num_examples": 5}}}}')
    for path in ("data", "data/*"):
        assert found(path, tmp_path) == ["data/train.jsonl"]
    (tmp_path / "data" / name).write_text('[{"text": "a row"}]')
    assert load("s", Source(path=f"data/{name}"), tmp_path).rows["text"].to_list() == ["a row"]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("path", ["kept", "kept/", "."])
def test_what_save_to_disk_writes_gets_advice_that_works(
    tmp_path: Path, several: bool, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = datasets.Dataset.from_list(PAIRS)
    (datasets.DatasetDict({"train": one, "test": one.select([0])}) if several else one).save_to_disk(tmp_path / "kept")
    monkeypatch.chdir(tmp_path)
    for ask in (lambda: found(path, tmp_path), lambda: splits([path], None)):
        with pytest.raises(
            RequestError, match=r"written by save_to_disk, which is not read; write it as parquet"
        ) as no:
            ask()
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        exec(str(no.value).split("in Python: ")[1], {"datasets": datasets})
    written = "kept-train.parquet" if several else "kept.parquet"
    assert load("s", Source(path=written), tmp_path).rows["prompt"].to_list() == [row["prompt"] for row in PAIRS]


def test_a_table_in_a_folder_is_read_whole(tmp_path: Path) -> None:
    """As Spark writes one: a folder called like a file."""
    for name in ("day1.jsonl/part-0.jsonl", "day1.jsonl/part-1.jsonl", "day2.jsonl"):
        jsonl(tmp_path / "out" / name, PAIRS)
    (tmp_path / "out" / "day1.jsonl" / "_SUCCESS").touch()
    (tmp_path / "out" / "day1.jsonl" / ".part-0.jsonl.crc").touch()
    assert found("out/*.jsonl", tmp_path) == [
        "out/day1.jsonl/part-0.jsonl", "out/day1.jsonl/part-1.jsonl", "out/day2.jsonl"
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------ what is no file


@pytest.mark.parametrize(
    "named", [lambda name: "data", lambda name: "data/*", lambda name: "data/*.jsonl", lambda name: f"data/{name}"]
)
def test_nothing_vanishes_without_a_word(tmp_path: Path, named: Callable[[str], str]) -> None:
    jsonl(tmp_path / "data" / "a.jsonl", PAIRS)
    for name, said in strange(tmp_path / "data"):
        if "folder above it" in said and named(name) != "data":
            continue
        with pytest.raises(RequestError, match=rf"^sources\.s\.path: data/{name} {said}$"):
            found(named(name), tmp_path)
        for path in (tmp_path / "data").iterdir():
            if path.name != "a.jsonl":
                path.unlink()
    assert found(named("a.jsonl"), tmp_path) == ["data/a.jsonl"]


def test_folders_that_are_linked_are_read_and_circles_refused(tmp_path: Path) -> None:
    jsonl(tmp_path / "elsewhere" / "b.jsonl", PAIRS)
    jsonl(tmp_path / "data" / "a.jsonl", PAIRS)
    (tmp_path / "data" / "more").symlink_to("../elsewhere")
    for path in ("data", "data/**/*.jsonl"):
        assert found(path, tmp_path) == ["data/a.jsonl", "data/more/b.jsonl"]
    assert found(("data", "data"), tmp_path) == found("data", tmp_path)
    for name in ("back", "again"):
        (tmp_path / "data" / name).symlink_to(".")
    for path in ("data", "data/**/*.jsonl"):
        with pytest.raises(RequestError, match=r"data/again is a link that leads back to a folder above it"):
            found(path, tmp_path)


def test_a_folder_of_a_glob_that_is_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    jsonl(tmp_path / "data" / "v1" / "train.jsonl", PAIRS)
    (tmp_path / "data" / "v2").symlink_to("/mnt/not/mounted")
    with pytest.raises(RequestError, match=r"data/v2 is a link to /mnt/not/mounted, which is not there"):
        found("data/*/train.jsonl", tmp_path)
    with pytest.raises(RequestError, match=r'no file "data/v2/train.jsonl" .*There, v2 is a link to /mnt/not/mounted'):
        found("data/v2/train.jsonl", tmp_path)
    with pytest.raises(RequestError, match=r"There, train\.jsonl is a file, no folder"):
        found("data/v1/train.jsonl/train.jsonl", tmp_path)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jsonl(tmp_path / "data" / "closed" / "a.jsonl", PAIRS)
    jsonl(tmp_path / "data" / "b.jsonl", PAIRS)
    listed = Path.iterdir

    def iterdir(path: Path) -> object:
        if path.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(RequestError, match=r"sources\.s\.path: data/closed cannot be listed \(Permission denied\)"):
        found("data", tmp_path)


def test_a_name_that_no_file_can_have_is_a_sentence(tmp_path: Path) -> None:
    for name in ("x" * 5000 + ".jsonl", "a\0b.jsonl"):
        with pytest.raises(RequestError, match=r"sources\.s\.path: .* cannot be looked at \(.*\)"):
            found(name, tmp_path)


def test_commands_say_what_they_were_given(tmp_path: Path) -> None:
    for name, said in strange(tmp_path):
        if name not in ("pipe.jsonl", "one.jsonl"):
            continue
        for command in (
            ["data", "card", name], ["init", name, "--out", "o.yaml"],
            ["data", "dedupe", "--in", name, "--clusters", "x.jsonl", "--out", "y.jsonl"],
        ):  # fmt: skip
            done = harness(*command, cwd=tmp_path)
            assert done.code == 2, (command, done.err)
            assert done.err.strip().replace(": is", " is") == f"{name} {said}", command
        assert not (tmp_path / "o.yaml").exists()


# ------------------------------------------------------------------------------------------------- which are meant

NAMES = st.sampled_from(["a", "b*", "c[1]", "d e", "é", "sub/a", "sub/[x]/b", "sub/deep/c?"])


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(NAMES, min_size=1), st.sampled_from(["", "/"]), st.lists(st.sampled_from(["data", "data/*", "data/**/*"]))
)
def test_settled_paths_name_the_same_files_with_the_same_keys(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], root: str, patterns: list[str]
) -> None:
    base = tmp_path_factory.mktemp("study")
    for name in names:
        jsonl(base / "data" / f"{name}.jsonl", PAIRS)
    paths = tuple((f"{base}/" if root else "") + pattern for pattern in ["data", *patterns])
    source = Source(path=paths)
    later = settled("s", source, base)
    expected = inputs("s", source, base)
    assert list(inputs("s", later, base).items()) == list(expected.items())
    assert settled("s", later, base) == later
    jsonl(base / "data" / "later.jsonl", PAIRS)
    assert inputs("s", later, base) == expected
