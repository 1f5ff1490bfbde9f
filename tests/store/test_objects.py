"""A store in an object store keeps what a store in a folder promises: a server that speaks S3, machines in folders."""

from __future__ import annotations

import json
import random
import shutil
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import RequestError, StepError
from harness.store import Artifact, Step, Store, located, maintenance
from harness.store.integrity import RECORD
from harness.store.objects import COPY_OF, ObjectStore
from harness.store.record import Failure
from harness.study.steps import make_step
from tests import faults
from tests.command import harness
from tests.nursery import Nursery

STEP = make_step("result", "some thing", {"size": 1}, {})
FILES = {"items.parquet": b"items", "deep/er/notes.txt": b"", "large": bytes(range(256)) * 40_000}


@pytest.fixture
def here(bucket: str) -> ObjectStore:
    return of(located(bucket))


@pytest.fixture
def there(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The same store, as another machine sees it."""
    monkeypatch.setenv("HARNESS_COPIES", str(tmp_path / "elsewhere"))
    store = of(located(bucket))
    monkeypatch.setenv("HARNESS_COPIES", str(tmp_path / "copies"))
    return store


def of(store: Store) -> ObjectStore:
    assert isinstance(store, ObjectStore)
    return store


def publish(store: Store, step: Step = STEP, files: dict[str, bytes] = FILES, **data: Any) -> Artifact:
    with store.attempt(step) as attempt:
        for name, content in files.items():
            (attempt.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (attempt.folder / name).write_bytes(content)
        attempt.digest, attempt.data = "digest", data
    found = store.find(step.kind, step.key)
    assert found is not None
    return found


def objects(store: ObjectStore) -> set[str]:
    return {"/".join(parts) for parts, _ in store._objects()}


# ------------------------------------------------------------------------------------------------------- promises


def test_another_machine_finds_what_was_published_and_copies_what_it_asks_for(
    here: ObjectStore, there: ObjectStore
) -> None:
    assert there.find("result", STEP.key) is None
    mine = publish(here)
    found = there.find("result", STEP.key)
    assert found is not None
    assert found.record == mine.record
    assert {path.name for path in found.folder.iterdir()} == {RECORD}
    assert (found.checked("items.parquet") / "items.parquet").read_bytes() == b"items"
    assert not (found.folder / "large").exists()
    found.checked()
    assert {name: (found.folder / name).read_bytes() for name in FILES} == FILES
    assert [one.record for one in there.artifacts()] == [mine.record]
    assert not [path for path in (here.root / "work").rglob("*") if path.is_file()]


def test_an_attempt_that_is_cut_short_before_its_record_does_not_exist(
    here: ObjectStore, there: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "_create", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(here)
    assert len(objects(here)) == len(FILES)
    for store in (here, there):
        assert store.find("result", STEP.key) is None
        assert store.find("result", STEP.key, STEP.name) is None
        assert not store.artifacts()
    assert publish(there, number=2).checked()
    assert not maintenance.verify(here)  # what is left of an attempt is no damage
    assert set(here.remains(set())) == set()  # it might still be on its way
    monkeypatch.setattr("harness.store.objects.KEPT", timedelta(0))
    (left,) = here.remains({STEP.key})
    here.remove(left)
    assert len(objects(here)) == len(FILES) + 1
    assert not maintenance.verify(there)


def test_of_attempts_that_end_at_once_one_is_published_and_whole(bucket: str, tmp_path: Path) -> None:
    """Every attempt writes other bytes: files of two would not go together."""
    machines = [ObjectStore(bucket, tmp_path / str(number)) for number in range(8)]
    barrier = threading.Barrier(len(machines))

    def attempt(number: int) -> None:
        with machines[number].attempt(STEP) as made:
            for name in ("a", "b"):
                (made.folder / name).write_text(f"{name} of {number}")
            made.digest, made.data = "digest", {"number": number}
            barrier.wait()

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(len(machines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = [machine.find("result", STEP.key) for machine in machines]
    records = {one.record.data["number"] for one in seen if one is not None}
    assert len(records) == 1
    (winner,) = records
    for one in seen:
        assert one is not None
        assert {name: (one.checked() / name).read_text() for name in "ab"} == {n: f"{n} of {winner}" for n in "ab"}
    assert not maintenance.verify(machines[0])


@pytest.mark.parametrize("refused", [NotImplementedError("mode"), OSError(5, "A header you provided is not supported")])
def test_without_conditional_writes_what_is_there_is_whole_all_the_same(
    here: ObjectStore, there: ObjectStore, monkeypatch: pytest.MonkeyPatch, refused: Exception
) -> None:
    plain = type(here._fs).pipe_file

    def pipe_file(self: Any, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> Any:
        if mode == "create":
            raise refused
        return plain(self, path, value, **more)

    monkeypatch.setattr(type(here._fs), "pipe_file", pipe_file)
    publish(here, number=1)
    there._listings.clear()
    assert publish(there, number=2).record.data == {"number": 1}
    assert not maintenance.verify(here)


def test_what_was_deleted_and_made_anew_is_taken_anew(here: ObjectStore, there: ObjectStore) -> None:
    publish(here, number=1)
    old = there.find("result", STEP.key)
    assert old is not None
    here.remove(here.root / "result" / old.folder.name)
    assert not objects(here)
    publish(here, files={"items.parquet": b"others"}, number=2)
    with pytest.raises(StepError, match="made anew meanwhile, so run again"):
        old.checked("items.parquet")
    again = there.find("result", STEP.key)
    assert again is not None
    assert again.record.data == {"number": 2}
    assert (again.checked() / "items.parquet").read_bytes() == b"others"


def test_copies_may_be_deleted_at_any_time(here: ObjectStore) -> None:
    publish(here)
    shutil.rmtree(here.root)
    found = here.find("result", STEP.key)
    assert found is not None
    assert (found.checked() / "large").read_bytes() == FILES["large"]


def test_a_failure_is_told_to_all_machines_until_success(here: ObjectStore, there: ObjectStore) -> None:
    secret = "postgres://me:sesame@db/x"
    here.fail(Failure(key=STEP.key, kind="run", name="n", stage="training", message=f"no {secret}"))
    assert "sesame" not in "".join(str(here._get(place)) for place in objects(here))
    kept = there.failure(STEP.key)
    assert kept is not None
    assert kept.stage == "training"
    publish(there)
    here._listings.clear()
    assert here.failure(STEP.key) is None
    assert not [place for place in objects(here) if place.startswith("work/")]


# --------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("what", ["changed", "truncated", "missing", "added", "record changed", "record missing"])
def test_damage_is_found_and_not_used(here: ObjectStore, there: ObjectStore, what: str) -> None:
    mine = publish(here)
    place = f"result/{mine.folder.name}"
    file = here._path(place, mine.record.seal[:16], "items.parquet")
    record = here._path(place, RECORD)
    if what in ("changed", "truncated"):
        here._fs.pipe_file(file, b"itemz" if what == "changed" else b"item")
    elif what == "missing":
        here._fs.rm_file(file)
    elif what == "added":
        here._fs.pipe_file(here._path(place, "notes.txt"), b"mine")
    elif what == "record changed":
        here._fs.pipe_file(record, here._fs.cat_file(record).replace(b': "digest"', b': "digesT"'))
    else:
        here._fs.rm_file(record)
    problems = maintenance.verify(there)
    assert problems or what == "record missing"  # without its record, an artifact is what an upload looks like
    assert {problem.artifact for problem in problems} <= {place}
    if what == "added":
        return
    if what.startswith("record"):
        if what == "record missing":
            assert there.find("result", STEP.key) is None
        else:
            with pytest.raises(RequestError, match=r"record\.json is not as it was written"):
                there.find("result", STEP.key)
        return
    found = there.find("result", STEP.key)
    assert found is not None
    with pytest.raises(StepError, match=r"is damaged|lacks items\.parquet:"):
        found.checked()


@pytest.mark.parametrize("name", ["../../../../../evil", "..", "a/../../../../../../evil", "./x", "//x"])
def test_names_of_objects_do_not_lead_out_of_the_folder_of_copies(here: ObjectStore, tmp_path: Path, name: str) -> None:
    mine = publish(here)
    before = {path for path in tmp_path.rglob("*") if here.root not in path.parents}
    for place in (
        f"result/{mine.folder.name}/{name}",
        f"result/{name}",
        f"{name}/x",
        f"{name}/x-{STEP.key}/record.json",
    ):
        here._fs.pipe_file(f"{here._located[1]}/{place}", b"{}")
    found = maintenance.verify(here)
    assert any("does not belong here" in problem.text for problem in found)
    here.artifacts(damaged=[])
    here.remains(set())
    assert {path for path in tmp_path.rglob("*") if here.root not in path.parents} == before
    assert not (tmp_path / "evil").exists()


def test_a_folder_from_elsewhere_does_not_choose_whom_to_ask(tmp_path: Path, bucket: str) -> None:
    (tmp_path / COPY_OF).write_text(f"{bucket}\n")
    assert not isinstance(located(tmp_path), ObjectStore)
    mine = of(located(bucket))
    publish(mine)
    assert of(located(mine.root)).url == bucket


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s4://bucket/x", "--store: s4://bucket/x: s4 is no kind of object store"),
        ("s3://", "--store: s3:// is no place for a store: expected a folder, or a URL such as s3://bucket/studies"),
        ("s3://bucket/x?version=1", "is no place for a store"),
        ("memory://x", "what is in memory is seen by one process only"),
        ("gs://bucket/x", "gcsfs"),
        ("s3://no-such-bucket/x", "--store: s3://no-such-bucket/x: there is no such bucket"),
    ],
)
def test_wrong_urls_are_one_sentence_and_nothing_is_written(
    study_folder: Path, bucket: str, url: str, words: str
) -> None:
    before = sorted(study_folder.rglob("*"))
    called = harness("run", "study.yaml", "--store", url, cwd=study_folder)
    assert called.code == 2, called.err
    assert words in called.err
    assert called.err.count("\n") == 1
    assert sorted(study_folder.rglob("*")) == before


def test_an_object_store_that_is_away_is_one_sentence(
    study_folder: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    called = harness("run", "study.yaml", "--store", bucket, cwd=study_folder)
    assert called.code == 2, called.err
    assert called.err.startswith(f"--store: {bucket}: ")
    assert called.err.count("\n") == 1


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    store = located(f"file://{tmp_path}/store")
    assert not isinstance(store, ObjectStore)
    assert store.root == tmp_path / "store"


# -------------------------------------------------------------------------------------------------------- studies


@pytest.fixture
def store_in_bucket(bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HARNESS_STORE", bucket)
    return bucket


@pytest.mark.slow
def test_killed_at_any_moment_a_study_comes_out_as_in_a_folder(
    nursery: Nursery, undisturbed: dict[str, Any], tiny: Path, tmp_path: Path, store_in_bucket: str
) -> None:
    """kill -9 of drivers and workers; then digests, comparison, decisions and MLflow are those of a folder's study."""
    campaign = faults.Campaign(
        nursery,
        lambda number: faults.prepare(tmp_path / str(number), tiny, faults.SMALL),
        undisturbed,
        random.Random(3),
    )
    moments = [
        ("build", "driver"), ("publish", "driver"), ("publish", "worker"), ("train", "driver"), ("publish", "worker"),
        ("evaluate", "worker"), ("publish", "driver"), ("sync", "driver"),
    ]  # fmt: skip
    campaign.study(moments)
    assert sum(campaign.kills.values()) >= 6
    assert {"build", "publish"} <= set(campaign.stages())


@pytest.mark.slow
def test_every_verb_takes_an_object_store(
    nursery: Nursery, tiny: Path, tmp_path: Path, store_in_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A second machine, on which nothing was run, sees the finished study, and may clean up."""
    folder = faults.prepare(tmp_path / "study", tiny, faults.SMALL)
    done = nursery.call("run", "study.yaml", "--workers", "2", cwd=folder)
    assert done.code == 0, done.err
    assert not (folder / ".harness").exists()
    for verb in (
        ("status", "study.yaml", "--json"), ("plan", "study.yaml", "--json"), ("report", "study.yaml"),
        ("data", "show", "study.yaml:sums-16"), ("data", "card", "study.yaml:sums-16"), ("store", "ls", "--json"),
        ("power", "study.yaml", "--json"),
    ):  # fmt: skip
        called = nursery.call(*verb, cwd=folder, HARNESS_COPIES=str(tmp_path / "elsewhere"))
        assert called.code == 0, (verb, called.err)
        if verb[0] in ("status", "plan"):
            assert {run["state"] for run in called.json["runs"]} == {"done"}
        if verb[:2] == ("store", "ls"):
            kinds = [row["kind"] for row in called.json]
            assert (kinds.count("adapter"), kinds.count("result")) == (6, 7)
    store = of(located(store_in_bucket))
    (study,) = store.artifacts("study")
    store.remove(study.folder)
    there = len(store.artifacts())
    kept = nursery.call("store", "gc", "--json", cwd=folder)
    assert kept.code == 0, kept.err
    assert (kept.json["young"], kept.json["folders"], len(store.artifacts())) == (there, {}, there)
    monkeypatch.setattr("harness.store.objects.KEPT", timedelta(0))  # as if it were a day later
    gc = ["store", "gc", "--json", "--store", store.url]
    dry = json.loads(CliRunner().invoke(app, [*gc, "--dry-run"]).stdout)
    assert (dry["young"], len(dry["folders"])) == (0, there)
    assert dry["bytes"] > 0
    assert json.loads(CliRunner().invoke(app, gc).stdout)["folders"] == dry["folders"]
    assert not objects(store)
    assert nursery.call("store", "verify", "--json", cwd=folder).json["ok"]
