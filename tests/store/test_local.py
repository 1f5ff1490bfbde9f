"""The store: whole or absent, first attempt wins, damage is found and never used, what a study stands on is kept."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import RequestError, StepError
from harness.spec import Recipe
from harness.store import Artifact, Step, Store, maintenance
from harness.store.integrity import parsed
from harness.store.record import Failure
from harness.study.steps import make_step, result_step

STEP = make_step("variant", "a study/with odd: name", {"seed": 1}, {"rows": "x"})
FRESH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def fill(store: Store, text: str = "rows", step: Step = STEP, digest: str = "d", **data: Any) -> Artifact:
    with store.attempt(step) as attempt:
        (attempt.folder / "part").mkdir()
        (attempt.folder / "part" / "rows.txt").write_text(text)
        attempt.digest = digest
        attempt.data = {"rows": 3, **data}
    found = store.find(step.kind, step.key)
    assert found is not None
    return found


def texts(store: Store) -> list[str]:
    return [problem.text for problem in maintenance.verify(store)]


# ------------------------------------------------------------------------------------------------------- publishing


def test_a_published_artifact_is_found_with_its_record(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.find("variant", STEP.key) is None
    assert not store.root.exists()  # looking creates nothing
    found = fill(store)
    assert found.folder.name == f"a-study-with-odd-name-{STEP.key}"
    assert found.record.spec == {"seed": 1}
    assert found.record.data == {"rows": 3}
    assert (found.checked() / "part" / "rows.txt").read_text() == "rows"
    assert not maintenance.verify(store)
    assert not any((store.root / "work").iterdir())


def test_what_is_published_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut there is the whole artifact or none: files, then folders, then the name, then its folder."""
    store, synced, arrived = Store(tmp_path), [], []
    fsync, rename = os.fsync, os.rename

    def flushed(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_ino)  # a file keeps it when it is renamed

    def named(source: Any, target: Any, **given: Any) -> None:
        if Path(source).is_dir():
            arrived.append(len(synced))
            there = [Path(source), *Path(source).rglob("*")]
            assert {path.stat().st_ino for path in there} <= set(synced)
            folders = [synced.index(path.stat().st_ino) for path in there if path.is_dir()]
            files = [synced.index(path.stat().st_ino) for path in there if path.is_file()]
            assert max(files) < min(folders)
        rename(source, target, **given)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "rename", named)
    found = fill(store)
    assert len(arrived) == 1
    assert found.folder.parent.stat().st_ino in synced[arrived[0] :]
    assert store.root.stat().st_ino in synced  # the first artifact of a kind makes its folder


def test_an_attempt_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(FileNotFoundError), store.attempt(STEP) as attempt:
        ((attempt.folder / "half").mkdir() or attempt.folder / "gone").read_text()
    assert store.find("variant", STEP.key) is None
    assert store.artifacts() == []


def test_the_first_attempt_wins(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.attempt(STEP) as slow:
        (slow.folder / "rows.txt").write_text("slow")
        slow.digest = "d"
        fill(store, "fast")
    found = store.find("variant", STEP.key)
    assert found is not None
    assert (found.folder / "part" / "rows.txt").read_text() == "fast"
    assert len(list((tmp_path / "variant").iterdir())) == 1


def test_many_attempts_at_once_publish_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    threads = [threading.Thread(target=fill, args=(Store(tmp_path), f"text {i}")) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.artifacts("variant")) == 1
    assert not maintenance.verify(store)


def test_the_same_step_under_another_name_is_not_published_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store, "first")
    again = fill(Store(tmp_path), "second", Step("variant", "other", STEP.key, STEP.version, STEP.spec, STEP.inputs))
    assert (again.folder / "part" / "rows.txt").read_text() == "first"
    # Two that came in the same moment all the same: everybody finds the same one, whatever they looked at before.
    copy = again.folder.with_name(f"other-{STEP.key}")
    shutil.copytree(again.folder, copy)
    record = json.loads((copy / "record.json").read_text()) | {"created": "2999-01-01T00:00:00+00:00"}
    del record["seal"]
    (copy / "record.json").write_text(json.dumps(record))
    for seen in (store, Store(tmp_path)):
        found = seen.find("variant", STEP.key)
        assert found is not None
        assert found.folder == again.folder


def test_what_others_publish_and_delete_is_seen_at_once(tmp_path: Path) -> None:
    mine, other = Store(tmp_path), Store(tmp_path)
    steps = [make_step("variant", f"v{number}", {"seed": number}, {}) for number in range(30)]
    for step in steps:
        assert mine.find("variant", step.key) is None
        fill(other, step=step)
        found = mine.find("variant", step.key)
        assert found is not None
        shutil.rmtree(found.folder)
        assert mine.find("variant", step.key) is None


def test_a_kinds_folder_that_another_makes_at_that_moment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Path.is_dir

    def made_just_after(path: Path, **options: Any) -> bool:
        if path != tmp_path / "variant" or there(path):
            return there(path, **options)
        path.mkdir(parents=True)
        return False

    monkeypatch.setattr(Path, "is_dir", made_just_after)
    assert fill(Store(tmp_path)).folder.parent == tmp_path / "variant"


def test_a_folder_without_a_record_does_not_exist(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (fill(store).folder / "record.json").unlink()
    assert store.find("variant", STEP.key) is None
    assert texts(store) == ["record.json is missing"]
    fill(store, "made again")
    assert texts(store) == []


def test_an_artifact_without_a_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no content digest"), Store(tmp_path).attempt(STEP):
        pass


def test_a_failure_is_kept_until_success(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.failure(STEP.key) is None
    store.fail(Failure(key=STEP.key, kind="run", name="n", stage="training", message="out of memory"))
    failure = store.failure(STEP.key)
    assert failure is not None
    assert failure.message == "out of memory"
    fill(store)
    assert store.failure(STEP.key) is None


def test_killed_while_it_says_why_it_failed_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    failure = Failure(key=STEP.key, kind="run", name="n", stage="training", message="out of memory")
    monkeypatch.setattr(os, "fsync", lambda _: os._exit(9))  # as kill -9 would end it: nothing is tidied up
    child = os.fork()
    if not child:
        store.fail(failure)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert store.failure(STEP.key) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()], "it was killed before it had written anything"
    store.clear_dead()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# ----------------------------------------------------------------------------------------------------------- damage


@settings(FRESH, max_examples=60)
@given(st.data())
def test_every_flipped_byte_of_a_file_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    found = fill(store, "some rows, some more rows")
    flip(found.folder / "part" / "rows.txt", data.draw(st.integers(0, 24)), data.draw(st.integers(1, 255)))
    assert texts(store) == ["part/rows.txt was changed (its SHA-256 differs)"]
    with pytest.raises(StepError, match=r"rows\.txt was changed.*Delete the folder and run again"):
        found.checked()


def flip(path: Path, position: int, bits: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[position] ^= bits
    path.write_bytes(raw)


def test_every_flipped_byte_of_a_record_is_found(tmp_path: Path) -> None:
    """White space, the seal itself, a digit of a number that means the same: whatever it is."""
    found = fill(Store(tmp_path), note='a "quoted" line\nand\tanother', number=1.5)
    raw = (found.folder / "record.json").read_bytes()
    assert parsed(raw) == (found.record, "")
    for position in range(len(raw)):
        for bit in range(8):
            damaged = bytearray(raw)
            damaged[position] ^= 1 << bit
            assert parsed(bytes(damaged))[1], (position, bit)


def test_a_damaged_record_is_not_used(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = fill(store).folder / "record.json"
    record.write_text(record.read_text().replace('"rows": 3', '"rows": 4'))
    with pytest.raises(RequestError, match="is not as it was written; `harness store verify`"):
        store.find("variant", STEP.key)
    assert texts(store) == ["record.json is not as it was written"]
    record.write_text(json.dumps({"kind": "variant"}))
    with pytest.raises(RequestError, match="is not readable; `harness store verify`"):
        store.find("variant", STEP.key)
    assert texts(store) == ["record.json is not readable"]
    damaged: list[Path] = []
    assert store.artifacts(damaged=damaged) == []
    assert damaged == [record.parent]


def test_records_of_older_versions_are_read_and_their_key_is_checked(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = fill(store).folder / "record.json"
    record = json.loads(path.read_text())
    del record["seal"]
    path.write_text(json.dumps(record))
    assert store.find("variant", STEP.key) is not None
    assert texts(store) == []
    path.write_text(json.dumps(record | {"spec": {"seed": 2}}))
    assert texts(store) == ["record.json: the key is not that of its spec and inputs"]


def test_truncated_missing_extra_and_moved_files_are_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    found = fill(store)
    target = found.folder / "part" / "rows.txt"
    target.write_text("ro")
    assert texts(store) == ["part/rows.txt has 2 bytes, 4 expected"]
    target.unlink()
    assert texts(store) == ["part/rows.txt is missing"]
    with pytest.raises(StepError, match=r"rows\.txt is missing"):
        found.checked("part/rows.txt")
    (tmp_path / "elsewhere").write_text("rows")
    target.symlink_to(tmp_path / "elsewhere")
    assert texts(store) == ["part/rows.txt is a link now"]
    target.unlink()
    target.write_text("rows")
    assert texts(store) == []
    (found.folder / "more.txt").write_text("x")
    (found.folder / "dangling").symlink_to("nowhere")
    assert texts(store) == ["dangling does not belong here", "more.txt does not belong here"]
    (found.folder / "more.txt").unlink()
    (found.folder / "dangling").unlink()
    (tmp_path / "variant" / "notes.txt").write_text("x")
    (tmp_path / "variant" / "copy").mkdir()
    assert texts(store) == ["does not belong here"] * 2
    (tmp_path / "variant" / "notes.txt").unlink()
    (tmp_path / "variant" / "copy").rmdir()
    found.folder.rename(found.folder.with_name(f"renamed-{STEP.key}"))
    assert texts(store) == [f"record.json is that of variant/{found.folder.name}"]


def test_a_record_may_not_name_files_outside(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    found = fill(store)
    with pytest.raises(StepError, match="is not in its record"):
        found.checked("../../../elsewhere")


def test_progress_of_verify_is_in_bytes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store)
    fill(store, "x" * 1000, make_step("variant", "large", {"seed": 2}, {}))
    seen: list[tuple[int, int]] = []
    assert not maintenance.verify(store, lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 1000
    assert sorted(seen) == seen


# ----------------------------------------------------------------------------------------------- garbage collection

DATA = [make_step("variant", f"data{number}", {"seed": number}, {}) for number in range(4)]
ADAPTERS = [make_step("adapter", f"run{number}", {"seed": number}, {}) for number in range(4)]
SUITES = [make_step("suite", f"suite{number}", {"seed": number}, {}) for number in range(2)]
MODEL = Step("model", "base", "0" * 16, 1)


def digest_of(step: Step) -> str:
    return f"content of {step.kind} {step.name}"


@st.composite
def studies(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return studies: what each stands on, and which of its runs were trained and evaluated."""
    made = []
    for number in range(draw(st.integers(0, 3))):
        runs = draw(st.lists(st.sampled_from(range(4)), unique=True))
        made.append(
            {
                "name": f"study{number}",
                "data": draw(st.lists(st.sampled_from(range(4)), unique=True)),
                "suite": draw(st.integers(0, 1)),
                "runs": runs,
                "trained": [run for run in runs if draw(st.booleans())],
            }
        )
    return made


@settings(FRESH, max_examples=20)
@given(studies(), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), unique=True))
def test_garbage_is_exactly_what_no_study_stands_on(
    tmp_path_factory: pytest.TempPathFactory, made: list[dict[str, Any]], others: list[tuple[int, int]]
) -> None:
    """``others``: results of studies that are gone, on adapters and suites that may still be in use."""
    store = Store(tmp_path_factory.mktemp("store"))
    for step in (*DATA, *SUITES, MODEL):
        fill(store, step=step, digest=digest_of(step))
    wanted = {MODEL.key}
    trained = {run for study in made for run in study["trained"]} | {run for run, _ in others}
    for run in trained:
        fill(store, step=ADAPTERS[run], digest=digest_of(ADAPTERS[run]))

    def result(run: int, suite: int) -> Step:
        return result_step(f"run{run}", Recipe(steps=1), digest_of(SUITES[suite]), "m", digest_of(ADAPTERS[run]))

    for run, suite in others:
        fill(store, step=result(run, suite), digest="r")
    for study in made:
        stands = {DATA[i].key for i in study["data"]} | {ADAPTERS[i].key for i in study["runs"]}
        stands |= {SUITES[study["suite"]].key}
        step = make_step("study", study["name"], {"study": study["name"]}, {})
        fill(store, step=step, references=sorted(stands))
        wanted |= stands | {step.key}
        for run in study["trained"]:
            fill(store, step=result(run, study["suite"]), digest="r")
        # A run of another study with the same suite and adapter is the same run: its result serves both.
        wanted |= {result(run, study["suite"]).key for run in study["runs"]}
    there = {one.record.key for one in store.artifacts()}
    gone = {folder.name.rpartition("-")[2] for folder in maintenance.garbage(store)}
    assert gone == there - wanted
    uses = maintenance.uses(store)
    for study in made:
        stands = {DATA[i].key for i in study["data"]} | {ADAPTERS[i].key for i in study["runs"]}
        stands |= {SUITES[study["suite"]].key, make_step("study", study["name"], {"study": study["name"]}, {}).key}
        stands |= {result(i, study["suite"]).key for i in study["runs"]} & there
        assert {key for key, names in uses.items() if study["name"] in names} == stands


def test_nothing_is_garbage_while_a_record_cannot_be_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store)
    study = fill(store, step=make_step("study", "mine", {"study": "mine"}, {}), references=[STEP.key])
    (study.folder / "record.json").write_text("{")
    with pytest.raises(RequestError, match="not readable"):
        maintenance.garbage(store)


def test_failures_and_checkpoints_of_a_studys_runs_stay(tmp_path: Path) -> None:
    store = Store(tmp_path)
    adapter, run, other = "a" * 16, "b" * 16, "c" * 16
    step = make_step("study", "mine", {"study": "mine"}, {"runs/baseline/1": run})
    fill(store, step=step, references=[adapter])
    work = tmp_path / "work"
    with subprocess.Popen(["true"]) as child:
        child.wait()
    dead = f"{socket.gethostname()}-{child.pid}-01234567"
    for key in (adapter, run, other):
        (work / key / "checkpoints").mkdir(parents=True)
        (work / key / dead).mkdir()
    mine = f"{socket.gethostname()}-{os.getpid()}-01234567"
    elsewhere = "another-machine-17-01234567"
    (work / ("d" * 16) / mine).mkdir(parents=True)
    (work / ("e" * 16) / elsewhere).mkdir(parents=True)
    assert list(maintenance.garbage(store)) == [work / adapter / dead, work / run / dead, work / other]


def test_a_held_lock_is_a_run_at_work(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not maintenance.at_work(store)
    with store.lock(STEP.key):
        assert maintenance.at_work(store)
    assert not maintenance.at_work(store)
