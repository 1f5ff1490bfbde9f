"""Whatever rows there are, ``init`` ends with a study that ``plan`` takes, or with exit code 2 and one sentence."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.sources import load
from harness.loading import load_study
from tests.cli import made
from tests.cli.layouts import LAYOUTS
from tests.nursery import Nursery

Row = dict[str, Any]
MAKERS: dict[str, Callable[[int], Row]] = {
    **{name: known.make for name, known in LAYOUTS.items() if not known.registry},
    "sums": lambda i: made.sums(1, i)[0],
    "words": lambda i: made.words(i + 1)[i],
    "solutions": lambda i: made.solutions(i + 1)[i],
    "labelled": lambda i: made.labelled(i + 1)[i],
    "texts": lambda i: made.texts(i + 1)[i],
    "pairs": lambda i: made.pairs(i + 1)[i],
}
ASKING = ("prompt", "question", "instruction", "problem", "text")


def spoil(rows: list[Row], how: str, at: list[int]) -> list[Row]:
    """Return rows with something odd about them."""
    if how == "repeat":
        return [rows[i % max(1, len(rows) // 3)] for i in range(len(rows))]
    if how == "ask the same":
        return [row | {name: "Write a line about the sea" for name in ASKING if name in row} for row in rows]
    for place in at:
        row = rows[place % len(rows)]
        name = list(row)[place % len(row)]
        value = {"null": None, "blank": "", "number": 7, "true": True, "list": [1]}.get(how)
        rows[place % len(rows)] = {k: v for k, v in row.items() if k != name} if how == "lack" else row | {name: value}
        if how == "long" and isinstance(row[name], str):
            rows[place % len(rows)] = row | {name: row[name] * 400}
    return rows


def write(folder: Path, rows: list[Row], form: str) -> str:
    """Write rows, perhaps in a way that cannot be read; return the file's name."""
    name = {"list": "rows.jsonl", "latin-1": "rows.csv", "semicolons": "rows.csv", "broken": "rows.jsonl"}.get(
        form, form
    )
    if name.endswith(".csv"):
        columns = list(dict.fromkeys(column for row in rows for column in row))
        encoding, mark = "latin-1" if form == "latin-1" else "utf-8", ";" if form == "semicolons" else ","
        with (folder / name).open("w", newline="", encoding=encoding, errors="replace") as stream:
            table = csv.DictWriter(stream, columns, delimiter=mark)
            table.writeheader()
            for row in rows:
                table.writerow({k: json.dumps(v) if isinstance(v, list | dict) else f"{v}é" for k, v in row.items()})
        return name
    lines = [json.dumps(row) for row in rows]
    whole = "[" + ",\n".join(lines) + "]" if form in ("list", "rows.json") else "\n".join(lines)
    (folder / name).write_text(whole + ("\n{oops\n" if form == "broken" else "\n"))
    return name


ROWS = st.builds(
    lambda name, count, how, at: spoil([MAKERS[name](i) for i in range(count)], how, at),
    st.sampled_from(list(MAKERS)),
    st.integers(1, 70),
    st.sampled_from(["", "", "repeat", "ask the same", "lack", "null", "blank", "number", "true", "list", "long"]),
    st.lists(st.integers(0, 200), min_size=1, max_size=30),
)
FORM = st.sampled_from(["rows.jsonl", "rows.jsonl", "rows.json", "rows.csv", "list", "latin-1", "semicolons", "broken"])
MINUTES = st.sampled_from([1, 2, 5, 25, 120])


def begin(cli: Any, folder: Path, rows: list[Row], form: str, minutes: int) -> bool:
    """Call ``init``; return whether there is a study, having looked at it, or at the sentence."""
    name = write(folder, rows, form)
    (folder / "study.yaml").unlink(missing_ok=True)
    done = cli("init", name, "--model", "model", "--minutes", str(minutes), "--force", "--json", cwd=folder)
    assert "unexpected" not in done.err
    if done.code:
        assert (done.code, done.err.strip().count("\n"), done.out) == (2, 0, ""), done.err
        assert not (folder / "study.yaml").exists()
        return False
    source = done.json["sources"]["rows"]
    assert source["rows"] + source["unusable"] == len(rows) + (form == "broken")  # nothing is lost
    study = load_study(folder / "study.yaml").study
    built = load("rows", study.sources["rows"], folder)
    items = done.json["suite"]["items"]["rows"]
    assert built.rows.height <= source["rows"] - items
    asked = [json.loads(line) for line in (folder / "study-data" / "own" / "own.jsonl").read_text().splitlines()]
    assert all(len(set(item.get("choices", ["a", "b"]))) > 1 for item in asked)
    return True


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Path:
    shutil.copytree(tiny, tmp_path / "model")
    return tmp_path


def test_a_study_or_a_sentence(cli: Any, folder: Path) -> None:
    @settings(deadline=None, max_examples=40)
    @given(ROWS, FORM, MINUTES)
    def ends_well(rows: list[Row], form: str, minutes: int) -> None:
        begin(cli, folder, rows, form, minutes)

    ends_well()


@pytest.mark.slow
def test_plan_takes_every_study(cli: Any, nursery: Nursery, folder: Path) -> None:
    @settings(deadline=None, max_examples=12)
    @given(ROWS.filter(lambda rows: len(rows) > 17), st.sampled_from(["rows.jsonl", "rows.json", "rows.csv"]), MINUTES)
    def is_planned(rows: list[Row], form: str, minutes: int) -> None:
        if begin(cli, folder, rows, form, minutes):
            planned = nursery.call("plan", "study.yaml", "--json", cwd=folder)
            assert planned.code == 0, planned.err

    is_planned()
