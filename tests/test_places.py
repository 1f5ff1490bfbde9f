"""Stores and studies in folders whose names mean something to a shell, a URI, a pattern; stores that were moved."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.command import harness
from tests.conftest import ROOT, TINY_STUDY, Ran
from tests.nursery import Nursery

NAMES = ["a[b]c*", "what? #1", "100%20sure %41", "$HOME {x}", "~", "größe q\"uo'te a=1 b::c back\\slash", "-v"]
EVERYTHING = "".join(NAMES).replace("~", "")

TASK = """\
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: ["ite*.jsonl"]}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_choice: ["yes", "no"]
doc_to_target: 0
metric_list: [{metric: acc}]
"""


def test_no_table_is_read_by_a_pattern() -> None:
    """By its syntax: polars takes a path for a pattern unless it is told not to."""
    for path in sorted((ROOT / "harness").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and re.fullmatch(r"pl\.(read|scan)_\w+", ast.unparse(node.func)):
                said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert said.get("glob") == "False", (path, node.lineno)


def study_in(folder: Path, tiny: Path) -> None:
    """Write a study with all that it may read from files: a model, rows, a task."""
    shutil.copytree(tiny, folder / "model")
    (folder / "task").mkdir()
    (folder / "task" / "mine.yaml").write_text(TASK)
    items = "".join(json.dumps({"text": f"Is {number} even?"}) + "\n" for number in range(12))
    (folder / "task" / "items.jsonl").write_text(items)
    rows = "".join(json.dumps({"prompt": f"Q: {n}\nA:", "completion": f" {n + 1}"}) + "\n" for n in range(30))
    (folder / "rows.jsonl").write_text(rows)
    text = TINY_STUDY[: TINY_STUDY.index("arms:")] + "arms: {other: {tests: mine, mix: {mine: 16}}}\ncontrols: []\n"
    text = text.replace("sources:\n", "sources:\n  mine: {path: rows.jsonl}\n")
    text = text.replace("  tasks:\n", "  tasks:\n    own: {task: mine, path: task, metric: acc}\n")
    (folder / "study.yaml").write_text(
        text + "seeds: 1\nmatch: steps\ndecide: {metric: own/acc, smallest_effect: 0.05}\n"
    )


def around(folder: Path) -> list[str]:
    """Return what there is in a folder and its parent, but for the test's own files."""
    return sorted(path.name for place in (folder, folder.parent) for path in place.iterdir())


@pytest.mark.slow
def test_a_study_and_its_store_may_be_anywhere(tmp_path: Path, tiny: Path) -> None:
    folder = tmp_path / EVERYTHING
    folder.mkdir()
    study_in(folder, tiny)
    before = around(folder)
    for command in (
        "run study.yaml --workers 1 --json", "decide study.yaml", "compare study.yaml", "report study.yaml",
        "sync study.yaml", "status study.yaml", "power study.yaml", "store verify", "store gc",
    ):  # fmt: skip
        done = harness(*command.split(), cwd=folder)
        assert done.code == 0, (command, done.err)
        assert "Traceback" not in done.err
    store = folder / ".harness"
    assert (store / "mlflow.db").is_file()
    assert len(list((store / "mlflow-artifacts").rglob("report.html"))) == 1
    made = sorted({*around(folder)} - {*before})
    assert made == [".harness", *(name for name in made if name.endswith(".html"))]
    assert not (Path.home() / "mlflow.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_mlflow_is_written_inside_the_store(nursery: Nursery, ran: Ran, tmp_path: Path, name: str) -> None:
    """Where the store was copied to, too: its artifacts are those of the copy, and the first store's are left alone."""
    store = Path(shutil.copytree(ran.store, tmp_path / name / "store"))
    artifacts = store / "mlflow-artifacts"
    assert len(list(artifacts.rglob("report.html"))) == 1
    for report in artifacts.rglob("report.html"):
        report.unlink()
    before = {path: path.stat().st_mtime_ns for path in ran.store.rglob("*")}
    with sqlite3.connect(store / "mlflow.db") as database:  # as if what is to be shown had changed
        database.execute("UPDATE tags SET value = 'all:x fixed:x artifacts:x' WHERE key = 'harness.digest'")
    database.close()
    synced = nursery.call("sync", "study.yaml", f"--store={store}", cwd=ran.folder)
    assert synced.code == 0, synced.err
    assert len(list(artifacts.rglob("report.html"))) == 1
    assert {path: path.stat().st_mtime_ns for path in ran.store.rglob("*")} == before
    with sqlite3.connect(store / "mlflow.db") as database:
        places = [place for (place,) in database.execute("SELECT artifact_uri FROM runs")]
    database.close()
    here = f"file://{quote(str(artifacts), safe='/~')}/"
    assert all(place.startswith(here) for place in places if "/mlflow-artifacts/" in place)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    verified = nursery.call("store", "verify", f"--store={store}", cwd=ran.folder)
    assert verified.code == 0, verified.err


@pytest.mark.slow
def test_artifacts_do_not_go_to_another_stores_place(nursery: Nursery, ran: Ran, tmp_path: Path) -> None:
    """In a database that is not the store's own nothing can be put right."""
    shared = f"sqlite:///{shutil.copy(ran.store / 'mlflow.db', tmp_path / 'shared.db')}"
    store = Path(shutil.copytree(ran.store, tmp_path / "store"))
    before = {path: path.stat().st_mtime_ns for path in ran.store.rglob("*")}
    synced = nursery.call("sync", "study.yaml", "--store", store, "--uri", shared, cwd=ran.folder)
    assert synced.code == 1
    assert 'keeps the artifacts of experiment "tiny" in file://' in synced.err
    assert "Traceback" not in synced.err
    assert {path: path.stat().st_mtime_ns for path in ran.store.rglob("*")} == before
