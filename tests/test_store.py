"""The store: whole or absent, first attempt wins, damage is found."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import RequestError
from harness.records import Failure
from harness.store import Step, Store

STEP = Step("variant", "a study/with odd: name", "0123456789abcdef", 1, {"seed": 1}, {"rows": "x"})


def fill(store: Store, text: str = "rows", step: Step = STEP) -> None:
    with store.attempt(step) as attempt:
        (attempt.folder / "part").mkdir()
        (attempt.folder / "part" / "rows.txt").write_text(text)
        attempt.digest = "d"
        attempt.data = {"rows": 3}


def test_a_published_artifact_is_found_with_its_record(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.find("variant", STEP.key) is None
    assert not store.root.exists()  # looking creates nothing
    fill(store)
    found = store.find("variant", STEP.key)
    assert found is not None
    assert found.folder.name == f"a-study-with-odd-name-{STEP.key}"
    assert found.record.spec == {"seed": 1}
    assert found.record.data == {"rows": 3}
    assert (found.folder / "part" / "rows.txt").read_text() == "rows"
    assert not store.verify()
    assert not any((store.root / "work").iterdir())


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
    threads = [threading.Thread(target=fill, args=(store, f"text {i}")) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.artifacts("variant")) == 1
    assert not store.verify()


def test_a_folder_without_a_record_does_not_exist(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store)
    found = store.find("variant", STEP.key)
    assert found is not None
    (found.folder / "record.json").unlink()
    assert store.find("variant", STEP.key) is None
    assert [p.text for p in store.verify()] == ["record.json is missing"]


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


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_every_flipped_byte_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    fill(store, "some rows, some more rows")
    found = store.find("variant", STEP.key)
    assert found is not None
    target = found.folder / "part" / "rows.txt"
    raw = bytearray(target.read_bytes())
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    target.write_bytes(raw)
    assert [p.text for p in store.verify()] == ["part/rows.txt was changed (its SHA-256 differs)"]


def test_truncated_missing_and_extra_files_are_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store)
    found = store.find("variant", STEP.key)
    assert found is not None
    target = found.folder / "part" / "rows.txt"
    target.write_text("ro")
    assert "2 bytes, 4 expected" in store.verify()[0].text
    target.unlink()
    assert "is missing" in store.verify()[0].text
    (found.folder / "more.txt").write_text("x")
    assert {p.text for p in store.verify()} == {"part/rows.txt is missing", "more.txt does not belong here"}


def test_a_damaged_record_is_said_in_words(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store)
    found = store.find("variant", STEP.key)
    assert found is not None
    record = found.folder / "record.json"
    record.write_text(json.dumps({"kind": "variant"}))
    with pytest.raises(RequestError, match="harness store verify"):
        store.find("variant", STEP.key)
    assert store.verify()[0].text == "record.json is not readable"
