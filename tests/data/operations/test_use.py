"""``use``: rows as a function of the user's own returns them; what is no row is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data.operations import changed, inputs
from harness.data.rows import frame, row_id
from harness.errors import RequestError
from harness.loading import load_study
from harness.spec import Use
from tests.conftest import TINY_STUDY
from tests.data.operations.made import conversation, do, module, places, table


def used(folder: Path, body: str, *completions: str, **columns: Any) -> Any:
    module(folder, f"def fix(row):\n    {body}\n")
    return do(table(*completions, **columns), Use(function="mine:fix"), folder=folder)


def test_rows_are_rewritten_and_dropped(tmp_path: Path) -> None:
    body = 'return None if row["completion"] == "no" else row | {"completion": row["completion"].strip("\'")}'
    before = table("'a'", "b", "no")
    built = used(tmp_path, body, "'a'", "b", "no")
    assert built.rows["completion"].to_list() == ["a", "b"]
    assert built.rows["row_id"][0] == row_id(built.rows.row(0, named=True)) != before["row_id"][0]
    assert built.rows["row_id"][1] == before["row_id"][1]
    assert changed(built.rows) == {"use": 1}
    assert places(built.rows) == [0, 1]
    assert built.drops.rows() == [
        (before["row_id"][2], "s", "use(function=mine:fix)", "mine:fix returns None", "f:2")
    ]  # fmt: skip


def test_conversations_and_columns_are_rewritten(tmp_path: Path) -> None:
    body = (
        'turns = [turn | {"content": turn["content"].upper()} for turn in row["messages"]]\n'
        '    return row | {"messages": turns, "columns": {**(row["columns"] or {}), "turns": len(turns)}}'
    )
    module(tmp_path, f"def fix(row):\n    {body}\n")
    rows = frame([conversation("hi", "hé"), conversation("HI", "HÉ")])
    built = do(rows, Use(function="mine:fix"), folder=tmp_path)
    assert [json.loads(text)[1]["content"] for text in built.rows["messages"]] == ["HÉ", "HÉ"]
    assert [json.loads(text) for text in built.rows["columns"]] == [{"turns": 2}] * 2
    assert built.rows["row_id"][1] == rows["row_id"][1]
    assert changed(built.rows) == {"use": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return True", r"expected the row \(a dict\) or None, and got True"),
        ("return [row]", r"expected the row \(a dict\) or None"),
        ('return row | {"completion": 3}', "completion is 3, not text"),
        ('return row | {"completion": "\\ud800"}', "completion is .*not text"),
        ('return row | {"completoin": "a"}', '"completoin" is no column of a row. Did you mean "completion"'),
        ('return row | {3: "a"}', '"3" is no column of a row'),
        ('return {"completion": "a"}', "the row that comes back has no row_id; return all of it"),
        ('return row | {"source": "other"}', "source is not to be changed"),
        ('return row | {"meta": {}}', "meta is not to be changed"),
        ('return row | {"completion": None}', "comes back with no completion; a row keeps the content columns it has"),
        ('return row | {"text": "t"}', "comes back with a text; a row keeps"),
        ('return row | {"columns": [1]}', r"columns is \[1\], not a dict"),
        ('return row | {"columns": {"x": float("nan")}}', "columns cannot be written as JSON"),
        ('return row | {"columns": {"x": {1, 2}}}', "columns cannot be written as JSON"),
        ('return row | {"messages": [{"role": "user"}]}', r"messages\[0\] is .*expected \{role, content\}, both text"),
        ('return row | {"messages": []}', "messages is .*not a list of messages"),
        ('return row["answer"]', r"mine.py:2: the row f:0: KeyError: 'answer'"),
    ],
)
def test_what_is_no_row_is_refused(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        used(tmp_path, body, "a")
    assert str(caught.value).startswith("s: use(function=mine:fix): ")
    assert "the row f:0" in str(caught.value)


def test_a_study_uses_a_function_whose_file_is_in_the_key(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        TINY_STUDY.replace("arms:", "arms:\n  fixed: {operations: [{use: my_ops:fix}]}", 1)
    )
    chain = load_study(tmp_path / "study.yaml").study.arms["fixed"].operations
    assert chain == (Use(function="my_ops:fix"),)
    digests = set()
    for text in ("def fix(row): return row", "def fix(row): return None"):
        (tmp_path / "my_ops.py").write_text(text)
        digests.add(inputs(chain, tmp_path)["function/my_ops"])
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{use: my_ops}", "'my_ops' is not module:function"),
        ("{use: 3}", "use: expected text"),
        ("use", "function is missing"),
        ("{clean: my_ops:fix}", "expected one operation such as"),
    ],
)
def test_what_names_no_function_is_refused(tmp_path: Path, written: str, message: str) -> None:
    (tmp_path / "study.yaml").write_text(TINY_STUDY.replace("arms:", f"arms:\n  fixed: {{operations: [{written}]}}", 1))
    with pytest.raises(RequestError, match=f"study.yaml:17: arms.fixed.operations.*{message}"):
        load_study(tmp_path / "study.yaml")
