"""``harness data dedupe``: files in, files out, and what it says when something is wrong."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.cli.data import dedupe as verb
from harness.errors import RequestError
from tests.command import Called, harness

ROWS = [
    {"id": "a", "text": "The quick brown fox jumps over the lazy dog near the river.", "extra": [1, {"x": None}]},
    {"id": "b", "text": "Something else altogether, of no relation to foxes.", "extra": []},
    {"id": "c", "text": "THE QUICK   brown fox\njumps over the lazy dog near the river!", "extra": [2]},
    {"id": "d", "text": "The quick brown fox leaps over the lazy dog near the river.", "extra": None},
    {"text": "", "extra": None},
    {"id": 7, "text": "What is 3 + 4?", "extra": None},
    {"id": 8, "text": "What is 3 - 4?", "extra": None},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def dedupe(cwd: Path, *more: str, given: str = "rows.jsonl") -> Called:
    return harness(
        "data", "dedupe", "--in", given, "--out", "kept.jsonl", "--clusters", "clusters.jsonl", *more, cwd=cwd
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in this process: a call of the command takes a second to start."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(given: str, capsys: pytest.CaptureFixture[str], **more: Any) -> Any:
    paths = {"out": Path("kept.jsonl"), "clusters": Path("clusters.jsonl")}
    verb.dedupe(Path(given), **paths | {"method": "exact", "json": True} | more)
    return json.loads(capsys.readouterr().out)


def test_near_is_the_default_and_rows_stay_as_they_were(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", ROWS)
    called = dedupe(tmp_path)
    assert called.code == 0, called.err
    assert "2 of 7 rows repeat an earlier one (near, 0.7), in 1 cluster; 5 stay." in called.out
    assert "The quick brown fox" in called.out
    assert called.err == ""
    clusters = read(tmp_path / "clusters.jsonl")
    assert clusters == [
        {"id": "a", "cluster": "a"}, {"id": "b", "cluster": "b"}, {"id": "c", "cluster": "a"},
        {"id": "d", "cluster": "a"}, {"id": "rows.jsonl:5", "cluster": "rows.jsonl:5"}, {"id": 7, "cluster": 7},
        {"id": 8, "cluster": 8},
    ]  # fmt: skip
    assert read(tmp_path / "kept.jsonl") == [ROWS[0], ROWS[1], ROWS[4], ROWS[5], ROWS[6]]


def test_exact_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here / "rows.jsonl", ROWS)
    fox = "The quick brown fox jumps over the lazy dog near the river."
    assert run("rows.jsonl", capsys) == {
        "rows": 7, "kept": 6, "dropped": 1, "repeated": 1, "method": "exact", "threshold": None,
        "largest": [{"cluster": "a", "rows": 2, "excerpt": fox}],
        "out": "kept.jsonl", "clusters": "clusters.jsonl",
        "bad": 0, "bad_rows": [], "compared": ["text"], "left_out": ["extra"],
    }  # fmt: skip


def test_a_threshold_of_ones_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here / "rows.jsonl", ROWS)
    assert run("rows.jsonl", capsys, method="near", threshold=0.95)["dropped"] == 1
    assert run("rows.jsonl", capsys, method="near", threshold=0.5)["dropped"] == 3


def test_layouts_formats_and_fields(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"question": f"What is a {animal}, exactly, in your own words?", "answer": answer}
        for animal, answer in [("fox", "A clever mammal"), ("carp", "A fish"), ("fox", "Something with red fur")]
    ]
    pl.DataFrame(rows).write_parquet("rows.parquet")
    Path("rows.csv.gz").write_bytes(gzip.compress(pl.DataFrame(rows).write_csv().encode()))
    for given in ("rows.parquet", "rows.csv.gz"):
        assert run(given, capsys)["dropped"] == 0
        for field in ("question", "prompt"):
            assert run(given, capsys, field=field)["dropped"] == 1
            assert read(here / "kept.jsonl") == rows[:2]
    run("rows.parquet", capsys, field="question", out=Path("kept.parquet"), clusters=Path("clusters.parquet"))
    assert pl.read_parquet("kept.parquet").to_dicts() == rows[:2]
    places = pl.read_parquet("clusters.parquet")["cluster"].to_list()
    assert places == ["rows.parquet#1", "rows.parquet#2", "rows.parquet#1"]


def test_conversations(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = [[{"role": "user", "content": f"Hello {name}"}, {"role": "assistant", "content": "Hi"}] for name in "aba"]
    write(here / "rows.jsonl", [{"messages": messages} for messages in said])
    assert run("rows.jsonl", capsys)["dropped"] == 1
    assert run("rows.jsonl", capsys, field="messages")["dropped"] == 1


def test_a_wrong_request_is_one_sentence(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", ROWS)
    called = dedupe(tmp_path, "--field", "txet")
    assert (called.code, called.out) == (2, "")
    expected = '--field: the rows of rows.jsonl:1 have no column or field "txet". Did you mean "text"?'
    assert called.err.strip() == expected


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"threshold": 0.0}, "--threshold: expected more than 0"),
        ({"method": "exact", "threshold": 0.5}, "--threshold: exact needs none"),
        ({"given": Path("missing.jsonl")}, "missing.jsonl: no such file"),
        ({"out": Path("rows.jsonl")}, "--out: rows.jsonl is --in as well"),
        ({"clusters": Path("kept.jsonl")}, "--clusters: kept.jsonl is --out as well"),
        ({"out": Path("no/where.jsonl")}, "--out: no/where.jsonl: expected a file in an existing folder"),
        ({"out": Path("kept.txt")}, "--out: kept.txt: expected a file"),
        ({"given": Path("empty.jsonl")}, "--in: empty.jsonl has no rows"),
        ({"given": Path("broken.jsonl")}, "broken.jsonl:2: not JSON"),
        ({"given": Path("null.jsonl")}, 'null.jsonl:2: "text" is null'),
        ({"given": Path("strange.jsonl")}, "Name the column to compare with --field."),
    ],
)
def test_wrong_requests_write_nothing(here: Path, more: dict[str, Any], says: str) -> None:
    write(here / "rows.jsonl", ROWS)
    Path("empty.jsonl").write_text("\n")
    Path("broken.jsonl").write_text('{"text": "a"}\n{"text": \n')
    Path("null.jsonl").write_text('{"text": "a"}\n{"text": null}\n')
    Path("strange.jsonl").write_text('{"body": "a"}\n')
    before = {path: path.read_bytes() for path in here.iterdir()}
    sound = {"given": Path("rows.jsonl"), "out": Path("kept.jsonl"), "clusters": Path("clusters.jsonl")}
    with pytest.raises(RequestError, match=re.escape(says)):
        verb.dedupe(**sound | {"method": "near"} | more)
    assert {path: path.read_bytes() for path in here.iterdir()} == before


def talk(*messages: tuple[str, Any]) -> dict[str, Any]:
    return {"conversations": [{"from": speaker, "value": said} for speaker, said in messages]}


def test_who_speaks_makes_no_difference(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows with tools, or with roles that nobody knows, are compared like all others, call by call."""
    rows = [
        talk(("human", "Where is it?"), ("gpt", "In the hall.")),
        talk(("human", "Where is it?"), ("function_call", '{"find": 1}'), ("observation", "hall"), ("gpt", "There.")),
        talk(("Customer", "Where is it?"), ("Agent", "In the hall.")),
        talk(("human", "Where is it?"), ("function_call", '{"find": 2}'), ("observation", "hall"), ("gpt", "There.")),
        {"conversations": [{"role": "assistant", "content": None, "tool_calls": [{"name": "find", "of": 3}]}]},
        {"conversations": [{"role": "assistant", "content": None, "tool_calls": [{"name": "find", "of": 4}]}]},
    ]
    write(here / "rows.jsonl", rows)
    said = run("rows.jsonl", capsys)
    assert (said["rows"], said["dropped"], said["bad"]) == (6, 1, 0)
    assert [line["cluster"] for line in read(here / "clusters.jsonl")] == [
        f"rows.jsonl:{number}" for number in (1, 2, 1, 4, 5, 6)
    ]


@pytest.mark.parametrize("odd", ["{broken", "[1]", '{"text": null}', '{"text": [1]}', "{}"])
def test_rows_that_cannot_be_compared_are_left_out_when_asked(
    here: Path, capsys: pytest.CaptureFixture[str], odd: str
) -> None:
    lines = [json.dumps(row) for row in ROWS]
    (here / "rows.jsonl").write_text("\n".join([*lines[:2], odd, *lines[2:]]) + "\n")
    with pytest.raises(RequestError, match="--on-bad-row drop leaves such rows out") as refused:
        run("rows.jsonl", capsys)
    assert str(refused.value).startswith("rows.jsonl:3: ")
    assert not (here / "kept.jsonl").exists()
    said = run("rows.jsonl", capsys, on_bad_row="drop")
    assert (said["rows"], said["bad"], said["kept"]) == (7, 1, 6)
    assert said["bad_rows"][0]["place"] == "rows.jsonl:3"
    assert read(here / "kept.jsonl") == [row for at, row in enumerate(ROWS) if at != 2]
    assert len(read(here / "clusters.jsonl")) == 7
    assert "1 row left out" in re.sub(r"\s+", " ", harness_text(here))


def harness_text(cwd: Path) -> str:
    called = dedupe(cwd, "--on-bad-row", "drop", "--method", "exact")
    assert called.code == 0, called.err
    return called.out
