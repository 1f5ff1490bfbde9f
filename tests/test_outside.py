"""What is kept under a digest was made of what has it, however files are swapped; what is hidden does not count."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import models, outside, suites
from harness.data.partitions import PartitionedPools
from harness.data.pools import LocalPools, Pools
from harness.engines.worker import Worker
from harness.errors import RequestError
from harness.identity import file_digest
from harness.loading import load_study
from harness.outside import Changed, digest, tree_digest, walk, watched
from harness.store import Store
from harness.study import encoding
from harness.study.plan import Plan, make_plan, publish
from tests.command import HANGS, harness
from tests.data.partitions.here import Here
from tests.jobs import base_job

Swap = Callable[[Path, bytes], None]


def rename_over(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


def rename_over_with_the_old_date(path: Path, content: bytes) -> None:
    new, old = path.with_name(f".{path.name}.new"), path.stat()
    new.write_bytes(content)
    os.utime(new, ns=(old.st_atime_ns, old.st_mtime_ns))
    new.replace(path)


def rewrite(path: Path, content: bytes) -> None:
    with path.open("r+b") as stream:
        stream.write(content)
        stream.truncate()


def rewrite_with_the_old_date(path: Path, content: bytes) -> None:
    old = path.stat()
    rewrite(path, content)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


def delete(path: Path, content: bytes) -> None:
    path.unlink()


SWAPS: list[Swap] = [rename_over, rename_over_with_the_old_date, rewrite, rewrite_with_the_old_date, delete]


# ------------------------------------------------------------------------------------------------------- watching


def watching(path: Path, then: Callable[[], Any]) -> None:
    """Digest a file or a folder; then something is done that may change it."""
    with watched():
        assert digest(path) == digest(path)
        then()


@pytest.mark.parametrize("swap", SWAPS)
def test_a_file_that_changes_after_its_digest_is_noticed(tmp_path: Path, swap: Swap) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"one")
    with pytest.raises(Changed, match=r"a\.jsonl changed while it was read; .*run again"):
        watching(file, lambda: swap(file, b"two"))


@pytest.mark.parametrize("swap", SWAPS)
def test_a_file_that_is_put_back_is_noticed(tmp_path: Path, swap: Swap) -> None:
    """What was read in between was another file, though its content shows nothing of it."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"one")

    def there_and_back() -> None:
        old = file.stat()
        swap(file, b"two")
        file.write_bytes(b"one")
        os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))

    with pytest.raises(Changed):
        watching(file, there_and_back)


def test_a_link_that_is_moved_is_noticed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jsonl").write_text(name)
    link = tmp_path / "current"
    link.symlink_to("one")

    def move() -> None:
        link.unlink()
        link.symlink_to("two")

    with pytest.raises(Changed):
        watching(link / "a.jsonl", move)


def test_nothing_is_said_of_what_stays_and_of_what_nobody_digested(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    watching(tmp_path / "a", lambda: (tmp_path / "b").write_text((tmp_path / "a").read_text()))
    (tmp_path / "a").write_text("later")  # no longer watched
    outside.check()


def test_a_change_takes_the_place_of_the_error_that_it_led_to(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("a")

    def torn(content: str) -> None:
        if content:
            file.write_text(content)
        raise ValueError("unterminated string")

    with pytest.raises(Changed):
        watching(file, lambda: torn("torn"))
    with pytest.raises(ValueError, match="unterminated"):
        watching(file, lambda: torn(""))


def test_what_is_watched_within_may_change_after_it(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)

    def within(changed: str) -> None:
        watching(tmp_path / "b", lambda: None)
        (tmp_path / changed).write_text("c")

    watching(tmp_path / "a", lambda: within("b"))
    with pytest.raises(Changed, match="a changed"):
        watching(tmp_path / "a", lambda: within("a"))


def test_a_new_file_is_read_again_where_times_are_coarse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that counts in seconds, a change within the second leaves the same stamp."""
    stamp, second = outside._stamp, 10**9

    def coarse(path: Path) -> outside.Stamp:
        found = stamp(path)
        return replace(found, modified=found.modified // second * second, changed=found.changed // second * second)

    monkeypatch.setattr(outside, "_stamp", coarse)
    file = tmp_path / "a"
    while time.time() % 1 > 0.5:
        time.sleep(0.01)
    file.write_text("one")
    with pytest.raises(Changed):
        watching(file, lambda: rewrite(file, b"two"))


# ------------------------------------------------------------------------------------------------------- folders

NAME = st.sampled_from([*"abc", ".a", "._b", "__pycache__", ".git"])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.lists(NAME, min_size=1, max_size=3).map("/".join), max_size=8))
def test_what_is_hidden_changes_no_digest(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    there, plain = tmp_path_factory.mktemp("all"), tmp_path_factory.mktemp("plain")
    for name in sorted(names):
        for folder in (there, plain) if not outside.hidden(Path(name)) else (there,):
            path = folder / name
            if not path.exists() and not any(parent.is_file() for parent in path.parents):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(name)
    found = walk(there, "")
    assert [path.relative_to(there) for path in found] == [path.relative_to(plain) for path in walk(plain, "")]
    assert tree_digest(there, "") == tree_digest(plain, "")
    if found:
        found[0].write_text("other")
        assert tree_digest(there, "") != tree_digest(plain, "")


def test_names_and_bytes_of_a_tree_count(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_text("two")
    whole = tree_digest(tmp_path, "")
    (tmp_path / "sub" / "b").rename(tmp_path / "sub" / "c")
    assert tree_digest(tmp_path, "") != whole


def test_a_file_that_comes_to_a_tree_and_goes_again_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    @watched()
    def passing(name: str) -> None:
        tree_digest(tmp_path, "")
        (tmp_path / name).touch()
        (tmp_path / name).unlink()

    for name in ("a.jsonl", "empty/a.jsonl"):
        with pytest.raises(Changed):
            passing(name)


def strange(folder: Path) -> Iterator[tuple[str, str]]:
    """Make what is neither a file nor a folder; yield its name and what is said of it."""
    os.mkfifo(folder / "pipe.jsonl")
    yield "pipe.jsonl", "is a named pipe, expected a file"
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket may be no longer than 107 bytes
        one.bind("socket.jsonl")
        os.chdir(here)
    yield "socket.jsonl", "is a socket, expected a file"
    (folder / "device.jsonl").symlink_to("/dev/null")
    yield "device.jsonl", "is a device, expected a file"
    (folder / "gone.jsonl").symlink_to("nowhere/gone.jsonl")
    yield "gone.jsonl", "is a link to nowhere/gone.jsonl, which is not there"
    (folder / "one.jsonl").symlink_to("two.jsonl")
    (folder / "two.jsonl").symlink_to("one.jsonl")
    yield "one.jsonl", "is a link that leads in a circle"
    (folder / "back").symlink_to(".")
    yield "back", "is a link that leads back to a folder above it"


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for name, said in strange(tmp_path):
        with pytest.raises(RequestError, match=rf"^place: {name} {said}$"):
            walk(tmp_path, "place: ")
        for path in tmp_path.iterdir():
            path.unlink()
    assert walk(tmp_path, "") == []


# ---------------------------------------------------------------------------------------------------- in a study

STUDY = """\
study: swapped
question: Which file is it?
model: model
recipe: {lora: {r: 4, alpha: 8}, learning_rate: 1.0e-2, batch: 4, steps: 4, max_length: 64}
suite:
  suite: held-out
  tasks:
    sums: {generator: reasoning-gym, task: chain_sum, config: {max_terms: 2, max_digits: 2}, items: 8, seed: 3,
           question: "Q: {expression} =\\nA:"}
    own: {task: own, path: task}
sources:
  one: {path: one.jsonl}
  many: {path: ["many/*.jsonl", folder], operations: [{filter: {function: "mine:keep"}}]}
  hub: {hub: <hub>, revision: main}
baseline: {mix: {one: 4, many: 4, hub: 4}}
arms:
  more: {tests: one, mix: {one: 8}}
seeds: 2
match: steps
decide: {metric: sums/exact_match, smallest_effect: 0.05}
"""


def lines(word: str, count: int = 12) -> bytes:
    rows = ({"prompt": f"{word} of {number}?", "completion": f" {word}{number}"} for number in range(count))
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Path:
    shutil.copytree(tiny, tmp_path / "model")
    (tmp_path / "study.yaml").write_text(STUDY.replace("<hub>", str(tmp_path / "hub")))
    for name in ("one.jsonl", "many/a.jsonl", "many/b.jsonl", "folder/c.jsonl", "hub/train.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(lines(name.replace("/", "-")))
    (tmp_path / "mine.py").write_text("def keep(row):\n    return True\n")
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "own.yaml").write_text("task: own\n")
    return tmp_path


def planned(folder: Path, pools: Pools | None = None, store: str = "store") -> Plan:
    """Plan the study and write what was built; a suite of lm-eval is listed without it."""

    def materialize(suite: Any, target: Path) -> list[dict[str, Any]]:
        read = (target / "tasks" / "own" / "own.yaml").read_text()
        (target / "metrics.json").write_text('{"own": ["acc"]}')
        (target / "lower.json").write_text('{"own": []}')
        (target / "asked.json").write_text("{}")
        item = {"task": "own", "subtask": "own", "index": 0, "doc_digest": read, "question": read, "answer": ""}
        return [item | {"choices": [], "slice": None, "group": None}]

    made = make_plan(load_study(folder / "study.yaml"), Store(folder / store), materialize, pools=pools)
    publish(made)
    return made


@pytest.fixture(params=["in memory", "in parts"])
def pools(request: pytest.FixtureRequest, tmp_path: Path) -> Pools:
    return LocalPools() if request.param == "in memory" else PartitionedPools(Here(), tmp_path / "work" / "scratch")


def around(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, before: Callable[[], None], after: Any) -> None:
    """Have something done before and after a function is called."""
    original = getattr(owner, name)

    def wrapped(*given: Any, **named: Any) -> Any:
        before()
        try:
            return original(*given, **named)
        finally:
            after()

    monkeypatch.setattr(owner, name, wrapped)


WHERE = {  # file -> where it is read
    "one.jsonl": "read",
    "many/b.jsonl": "read",
    "folder/c.jsonl": "read",
    "hub/train.jsonl": "read",
    "mine.py": "read",
    "task/own.yaml": "copy_local",
    "model/tokenizer.json": "encode",
}


def place(where: str, pools: Pools) -> Any:
    return {"read": type(pools), "copy_local": suites, "encode": encoding.Counter}[where]


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("name", WHERE)
def test_a_study_is_not_planned_with_a_file_that_changes_while_it_is_read(
    folder: Path, pools: Pools, name: str, back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = (folder / name).read_bytes()
    other = original.replace(b"1", b"2") if name.endswith(".jsonl") else original + b"\n"

    def swap() -> None:
        rename_over_with_the_old_date(folder / name, other)

    def restore() -> None:
        if back:
            rename_over_with_the_old_date(folder / name, original)

    with monkeypatch.context() as patch:
        around(patch, place(WHERE[name], pools), WHERE[name], swap, restore)
        with pytest.raises(Changed, match=rf"{name.split('/')[0]}.* changed while it was read"):
            planned(folder, pools)
    assert not (folder / "store").exists()
    encoding._encoder.cache_clear()
    made = planned(folder, LocalPools())  # and then it is
    assert made.pools["one"].data["rows"] == 12


@pytest.mark.parametrize("name", ["many/x.jsonl", "folder/x.jsonl", "hub/x.jsonl"])
def test_a_file_that_is_there_for_a_moment_is_no_part_of_a_source(
    folder: Path, pools: Pools, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def come() -> None:
        (folder / name).write_bytes(lines("passing"))

    around(monkeypatch, type(pools), "read", come, lambda: (folder / name).unlink())
    try:
        made = planned(folder, pools)
    except Changed:
        assert not (folder / "store").exists()
    else:
        for source in made.pools.values():
            assert not source.table("rows")["prompt"].str.contains("passing").any()


def test_sources_are_what_their_keys_say_while_somebody_swaps_files(folder: Path, pools: Pools) -> None:
    """The owner's script rewrites the files all the time: whatever is stored holds the rows of its digest."""
    file = folder / "one.jsonl"
    contents = {lines(word, 1000): word for word in ("red", "new", "old")}
    digests: dict[str, str] = {}
    for content, word in contents.items():
        file.write_bytes(content)
        digests[file_digest(file)] = word
    ended = threading.Event()

    def swapping() -> None:
        rng = random.Random(5)
        while not ended.wait(rng.choice([0, 0.001, 0.01, 0.02, 0.2])):
            content = rng.choice(list(contents))
            rng.choice(SWAPS[:4])(file, content)

    thread = threading.Thread(target=swapping)
    thread.start()
    refused = stored = 0
    until = time.monotonic() + HANGS
    try:
        while min(refused, stored) < 3 and time.monotonic() < until:
            try:
                made = planned(folder, pools, f"store-{refused + stored}")
            except Changed:
                refused += 1
                continue
            stored += 1
            source = next(o for o in made.outputs if (o.step.kind, o.step.name) == ("source", "one"))
            word = digests[source.step.inputs["files/one.jsonl"]]
            assert source.table("rows")["prompt"].to_list() == [f"{word} of {number}?" for number in range(1000)]
    finally:
        ended.set()
        thread.join()
    assert min(refused, stored) == 3


@pytest.mark.parametrize("name", ["one.jsonl", "many/b.jsonl", "hub/train.jsonl", "mine.py"])
def test_a_machine_with_other_files_makes_no_part_of_a_source(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = (folder / name).read_bytes()

    class Elsewhere(Here):
        def map(self, work: Callable[[Any], Any], given: Sequence[Any]) -> list[Any]:
            rename_over(folder / name, original.replace(b"1", b"2") + b"\n")
            try:
                return super().map(work, given)
            finally:
                rename_over(folder / name, original)

    with monkeypatch.context() as patch:
        patch.setattr(outside, "check", lambda **_: None)  # that the file is another one is all there is to see
        with pytest.raises(Changed, match=rf"{name} changed .*, or is another file on .*; nothing"):
            planned(folder, PartitionedPools(Elsewhere(), folder / "work" / "scratch"))
    assert not (folder / "store").exists()


def test_a_model_that_is_swapped_while_a_worker_loads_it_is_not_trained(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.resolve("model", folder, Store(folder / "store"))
    job = base_job("0" * 16, folder / "store", model)
    weights = folder / "model" / "model.safetensors"
    original = weights.read_bytes()
    around(
        monkeypatch, models, "load",
        lambda: rename_over_with_the_old_date(weights, original),
        lambda: rename_over_with_the_old_date(weights, original),
    )  # fmt: skip
    with (folder / "events").open("w") as out, pytest.raises(Changed, match=r"model\.safetensors changed"):
        Worker(out)._base_model(job)


def test_the_command_says_it_in_one_sentence_and_keeps_nothing(folder: Path) -> None:
    """A file that grows all the while, as a log does."""
    text = (folder / "study.yaml").read_text().replace("    own: {task: own, path: task}\n", "")
    (folder / "study.yaml").write_text(text)
    ended = threading.Event()

    def growing() -> None:
        with (folder / "one.jsonl").open("ab", buffering=0) as stream:
            while not ended.wait(0.0005):
                stream.write(lines("more", 1))

    thread = threading.Thread(target=growing)
    thread.start()
    try:
        done = harness("plan", "study.yaml", "--store", folder / "store", cwd=folder)
    finally:
        ended.set()
        thread.join()
    assert done.code == 2, done.out
    assert done.err.strip().splitlines()[-1] == (
        "one.jsonl changed while it was read; nothing was kept of it, run again"
    )
    assert not (folder / "store").exists()
