"""Whatever is written in studies, models, suites and records: it works, or it is a request error that names the place.

Studies as text are in ``test_loading.py``, data files in ``data/test_files.py``; here is what comes behind the reading.
``HARNESS_FUZZ`` multiplies the examples.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import models, suites
from harness.data import files
from harness.data.sources import load
from harness.errors import RequestError
from harness.loading import load_study
from harness.spec import Source, Study, Suite
from harness.store import Store
from harness.store.integrity import parsed
from harness.study.plan import make_plan
from harness.tokens import RowEncoder
from tests.conftest import TINY_STUDY

TIMES = int(os.environ.get("HARNESS_FUZZ", "1"))
STUDY = yaml.safe_load(TINY_STUDY)
VALUES = st.one_of(
    st.sampled_from(
        [None, True, 0, -1, 3, 2.5, 0.5, -0.0, "", "all", "x", "sums", "scraped", "verify", "steps", "rows", "tokens",
         "additive", "sums/exact_match", "{expression}", "{nothing}", "{0}", "{", "{a.b}", "(", "[a", "..", "/", "*",
         "a\nb", "é\u202e", "x" * 300, [], {}, [[]], {"a": 1}, ["verify", "dedupe"], [{"filter": {"min_words": 2}}],
         {"sums": 8}, {"sums": 0.5}, {"scraped": "all"}, "lm-eval", "main", "reasoning-gym", "cat_dog", "model",
         "study.yaml", "somebody/else", "a/b@" + "0" * 40, "..@x/y", "spell_backward"]
    ),
    st.integers(-3, 40),
    st.floats(-2, 2),
    st.text(max_size=8).filter(lambda text: "\0" not in text),
)  # fmt: skip


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of every value in nested dicts and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(one for key, child in inner for one in places(child, (*place, key)))]


FIELDS = sorted({name for model in (Study, Source, Suite) for name in model.model_fields})
CHANGES = st.lists(
    st.tuples(st.integers(0, 10_000), st.sampled_from(["set", "set", "set", "delete", "add"]), VALUES,
              st.sampled_from(FIELDS)),
    min_size=1, max_size=3,
)  # fmt: skip


def changed(study: dict[str, Any], changes: list[tuple[int, str, Any, str]]) -> dict[str, Any]:
    study = copy.deepcopy(study)
    for where, what, value, name in changes:
        value = copy.deepcopy(value)  # the same list in two places could come to hold itself
        found = [place for place in places(study) if place]
        *parents, last = found[where % len(found)]
        owner: Any = study
        for part in parents:
            owner = owner[part]
        if what == "delete":
            del owner[last]
        elif what == "add" and isinstance(owner, dict):
            owner[name] = value
        else:
            owner[last] = value
    return study


def placed(said: str, starts: tuple[str, ...]) -> None:
    """Check that a message is one sentence which begins with a place."""
    assert said.startswith(starts), said
    assert "\n" not in said
    assert not set(said) & set("\x00\x1b\u202e")


@settings(max_examples=60 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(CHANGES)
def test_a_changed_study_is_planned_or_refused_with_its_place(
    study_folder: Path, changes: list[tuple[int, str, Any, str]]
) -> None:
    """Through everything that ``harness plan`` does but its printing: sources, decontamination, variants, tokens."""
    file = study_folder / "study.yaml"
    file.write_text(yaml.safe_dump(changed(STUDY, changes), sort_keys=False, allow_unicode=True), encoding="utf-8")
    before = set(study_folder.rglob("*"))

    def listed(suite: object, folder: Path) -> list[dict[str, Any]]:
        raise RequestError("suite.tasks: lm-eval's tasks are not asked for here")

    try:
        loaded = load_study(file)
    except RequestError as error:
        placed(str(error), (f"{file}:",))
        return
    try:
        make_plan(loaded, Store(study_folder / "store"), listed)
    except RequestError as error:
        said = loaded.placed(str(error))
        starts = (f"{file}:", "study.yaml", "model/", "reasoning-gym/", str(study_folder / "model"))
        placed(said, starts)
    assert set(study_folder.rglob("*")) == before


# --------------------------------------------------------------------------------------------------------- data files

NAMES = ["a.jsonl", "a.ndjson", "a.json", "a.csv", "a.tsv", "a.parquet", "a.jsonl.gz", "a.json.zst", "a.tsv.gz",
         "a.parquet.zst"]  # fmt: skip
ROWS: list[dict[str, Any]] = [{"prompt": f"p{i}", "completion": f"ç{i}", "score": i / 4} for i in range(5)]


@pytest.mark.parametrize("name", NAMES)
def test_any_bytes_are_rows_or_a_request_error(tmp_path: Path, name: str) -> None:
    if name == "a.parquet.zst":  # nobody writes it, and it is read
        import pyarrow as pa

        files.write(ROWS, tmp_path / "a.parquet")
        with pa.CompressedOutputStream(str(tmp_path / name), "zstd") as stream:
            stream.write((tmp_path / "a.parquet").read_bytes())
    else:
        files.write(ROWS, tmp_path / name)
    original = (tmp_path / name).read_bytes()

    def read() -> None:
        for policy in ("drop", "stop"):
            source = Source.model_validate({"path": name, "on_bad_row": policy, "columns": ["score"]})
            try:
                assert load("s", source, tmp_path).rows.height
            except RequestError as error:
                placed(str(error), (f"{name}:", f"{name}#", "sources.s"))

    read()

    @settings(max_examples=40 * TIMES, deadline=None)
    @given(st.data())
    def flipped(data: st.DataObject) -> None:
        raw = bytearray(original)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(raw) - 1))
            raw[at] = data.draw(st.integers(0, 255))
        (tmp_path / name).write_bytes(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
        read()

    @settings(max_examples=20 * TIMES, deadline=None)
    @given(st.binary(max_size=80), st.sampled_from([b"", original[:4], original[:12]]))
    def invented(content: bytes, start: bytes) -> None:
        (tmp_path / name).write_bytes(start + content)
        read()

    flipped()
    invented()


# ------------------------------------------------------------------------------------------------- models and suites

MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
ROW = {"source": "s", "row_id": "r", "prompt": "Q: 1 + 1 =\nA:", "completion": " 2"}


@settings(max_examples=60 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_changed_model_folder_is_used_or_refused(tmp_path: Path, tiny: Path, data: st.DataObject) -> None:
    """What the driver reads of a model: its configuration, its tokenizer, its chat template."""
    folder = tmp_path / "model"
    if not folder.exists():
        shutil.copytree(tiny, folder)
    name = data.draw(st.sampled_from(MODEL_FILES))
    original = (tiny / name).read_bytes()
    if name.endswith(".json") and data.draw(st.booleans()):
        value = changed(json.loads(original), data.draw(CHANGES))
        (folder / name).write_text(json.dumps(value))
    else:
        at = data.draw(st.integers(0, len(original)))
        piece = data.draw(st.sampled_from([b"", b"{", b"}", b'"', b"\xff", b"{{", b"{% for %}", b"[]", b"null", b"\0"]))
        (folder / name).write_bytes(original[:at] + piece + original[at + data.draw(st.integers(0, 9)) :])
    try:
        model = models.resolve("model", tmp_path, Store(tmp_path / "store"))
        assert model.folder is not None
        RowEncoder(model.folder, chat_template=True, max_length=64).encode(ROW)
    except RequestError as error:
        placed(str(error), ("model: model: ", str(folder), "the model's chat template "))
    finally:
        (folder / name).write_bytes(original)


@settings(max_examples=100 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: f"task: a\n{text}".encode()))
def test_any_yaml_of_a_task_is_copied_or_refused(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "quiz"
    folder.mkdir(exist_ok=True)
    (folder / "a.yaml").write_bytes(content)
    suite = Suite.model_validate({"suite": "mine", "tasks": {"quiz": {"task": "a", "path": "quiz"}}})
    try:
        suites.copy_local(suite, tmp_path, tmp_path / "copy")
    except RequestError as error:
        assert str(error).startswith("suite mine: tasks.quiz.path: a.yaml")  # noqa: PT017


# ------------------------------------------------------------------------------------------------------------ records


@settings(max_examples=300 * TIMES, deadline=None)
@given(st.data())
def test_any_bytes_are_a_record_or_damaged(data: st.DataObject) -> None:
    record = {"kind": "a", "version": 1, "key": "k", "name": "n", "spec": {}, "inputs": {}, "digest": "d"}
    raw = bytearray(json.dumps(record).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    found, problem = parsed(bytes(raw) + data.draw(st.binary(max_size=3)))
    assert (found is None) == bool(problem)
