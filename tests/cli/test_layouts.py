"""Layouts of public datasets are read as they are: what is part of the question is in it, and nothing goes unsaid."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.cli.data import dedupe
from harness.data import sources
from harness.data.rows import row_text
from harness.loading import load_study
from harness.spec import Source
from tests.cli.layouts import LAYOUTS, ROWS, Known
from tests.cli.made import lines
from tests.nursery import Nursery

FORMS = ("jsonl", "parquet")


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Path:
    shutil.copytree(tiny, tmp_path / "model")
    return tmp_path


def write(folder: Path, known: Known, form: str = "jsonl") -> str:
    """Write the rows of a layout, and its registry; return the file's name."""
    rows = [known.make(i) for i in range(ROWS)]
    if form == "parquet":
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(folder / "rows.parquet")
    else:
        lines(folder / "rows.jsonl", rows)
    if known.registry:
        listed = {"other": {"file_name": "other.json"}, "ours": {"file_name": f"rows.{form}", **known.registry}}
        (folder / "dataset_info.json").write_text(json.dumps(listed))
    return f"rows.{form}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_read_as_it_is(
    cli: Any, folder: Path, name: str, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = LAYOUTS[name]
    file = write(folder, known, form)

    said = cli("init", file, "--model", "model", "--json", cwd=folder)
    assert said.code == 0, said.err
    source = said.json["sources"]["rows"]
    assert source["rows"] + source["unusable"] == ROWS
    assert source["rows"] == known.used
    assert tuple(source["left_out"]) == known.left_out
    findings = "\n".join(source["findings"])
    assert known.said in findings
    assert known.reason in findings
    assert all(column in findings for column in known.left_out)

    study = load_study(folder / "study.yaml").study
    built = sources.load("rows", study.sources["rows"], folder)
    items = [json.loads(line) for line in (folder / "study-data" / "own" / "own.jsonl").read_text().splitlines()]
    assert built.drops.height == 0
    assert built.rows.height + len(items) == known.used
    asked = "\n".join(item["question"] for item in items)
    whole = asked + "\n".join(map(row_text, built.rows.iter_rows(named=True)))
    for i in range(ROWS):  # every passage, system prompt and earlier turn is in a row, or in an item
        kept = known.make(i)
        for column in ("context", "input", "about"):
            assert not kept.get(column) or kept[column] in whole

    # The study declares its fields; what declares nothing is read in the same way, but for the line break after a text.
    if not known.registry:
        monkeypatch.chdir(folder)
        alone = sources.load("rows", Source(path=file, on_bad_row="drop", operations=()), folder)
        assert alone.rows.height + alone.drops.height == ROWS
        assert alone.rows.height == known.used
        assert all(known.reason in reason for reason in alone.drops["reason"])
        first = next(row_text(row) for row in alone.rows.iter_rows(named=True))
        at = [first.find(part) for part in known.seen]
        assert at == sorted(at)
        assert -1 not in at

        carded = cli("data", "card", file, "--json", "--no-near", cwd=folder)
        assert carded.code == 0, carded.err
        assert carded.json["rows"] == known.used
        assert carded.json["ledger"]["read"] == ROWS
        assert carded.json["facts"].get("left out", "") == ", ".join(known.left_out)

        capsys.readouterr()
        dedupe.dedupe(Path(file), Path("kept.jsonl"), Path("clusters.jsonl"), "exact", json=True)
        compared = json.loads(capsys.readouterr().out)
        assert compared["rows"] == compared["kept"] == ROWS


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_plan_takes_what_init_writes(cli: Any, nursery: Nursery, folder: Path, name: str) -> None:
    file = write(folder, LAYOUTS[name])
    assert cli("init", file, "--model", "model", cwd=folder).code == 0
    planned = nursery.call("plan", "study.yaml", "--json", cwd=folder)
    assert planned.code == 0, planned.err
    assert planned.json["variants"][0]["rows"] > 0
    source = planned.json["sources"]["rows"]
    held = len((folder / "study-data" / "own" / "own.jsonl").read_text().splitlines())
    assert (source["rows"], source["dropped"]) == (LAYOUTS[name].used - held, 0)
    assert tuple(source["left_out"]) == LAYOUTS[name].left_out
    assert source["fields"].keys() == load_study(folder / "study.yaml").study.sources["rows"].fields.keys()
