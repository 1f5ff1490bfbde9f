"""``harness init`` ends with a study, or with exit code 2 and one sentence that says what is wrong with the rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli import made

CSV = "question,answer\n" + "".join(f"{made.asked(i)},It is {2 * i}.\n" for i in range(40))
SAME = json.dumps({"prompt": "A line about tea\n", "completion": "Tea."}) + "\n"


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Path:
    shutil.copytree(tiny, tmp_path / "model")
    return tmp_path


def talk(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": f"{role} says {place}"} for place, role in enumerate(roles)]}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("broken.csv", CSV.replace("It is", "Dann höchstens").encode("latin-1"), ':2: "answer" is not UTF-8'),
        ("marked.csv", CSV.replace(",", ";").encode(), "the columns are separated by semicolons"),
        ("excel.csv", b"sep=;\n" + CSV.replace(",", ";").encode(), "the columns are separated by semicolons"),
        ("tabs.csv", CSV.replace(",", "\t").encode(), "the columns are separated by tabs"),
        ("bars.csv", CSV.replace(",", "|").encode(), "the columns are separated by bars"),
        ("commas.tsv", CSV.encode(), "the columns are separated by commas"),
        ("list.jsonl", json.dumps(made.sums(40)).encode(), "a file that is one list is called .json"),
        ("pretty.jsonl", json.dumps(made.sums(40), indent=1).encode(), "a file that is one list is called .json"),
        ("lines.json", "".join(json.dumps(row) + "\n" for row in made.sums(40)).encode(), "is called .jsonl"),
        ("roles.jsonl", json.dumps(talk("customer", "agent")).encode(), ':1: messages[0].role is "customer"'),
        ("nothing.jsonl", b"", "no row of it can be read: it is empty"),
        ("bare.jsonl", b"{}\n{}\n", "none of its 2 rows can be read; the first, bare.jsonl:1: an object"),
        ("numbers.jsonl", b"1\n2\n", "the first, numbers.jsonl:1: not an object but a number"),
        ("same.jsonl", SAME.encode() * 60, "all ask the same"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(cli: Any, folder: Path, name: str, content: bytes, said: str) -> None:
    (folder / name).write_bytes(content)
    refused = cli("init", name, "--model", "model", cwd=folder)
    assert refused.code == 2, refused.err
    assert said in refused.err
    assert refused.err.count("\n") == 1
    assert refused.out == ""


@pytest.mark.parametrize("rows", [*range(1, 25), 33])
def test_few_rows_make_a_study_or_a_sentence(cli: Any, folder: Path, rows: int) -> None:
    made.lines(folder / "few.jsonl", made.sums(rows))
    for minutes in ("1", "25"):
        done = cli("init", "few.jsonl", "--model", "model", "--minutes", minutes, "--force", cwd=folder)
        assert (done.code, done.err.count("\n")) in ((0, 2), (2, 1)), done.err
        assert done.code == 0 or "too few to compare anything" in done.err or "were held out" in done.err, done.err
        assert rows < 18 or done.code == 0, done.err


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
def test_a_registry_that_cannot_be_read_is_said(cli: Any, folder: Path, content: bytes) -> None:
    made.lines(folder / "rows.jsonl", made.sums(40))
    (folder / "dataset_info.json").write_bytes(content)
    refused = cli("init", "rows.jsonl", "--model", "model", cwd=folder)
    assert refused.code == 2, refused.err
    assert "dataset_info.json: not JSON" in refused.err
    assert refused.err.count("\n") == 1
