from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import RequestError
from tests.command import harness

LONG = "A plane travels 1200 miles in 3 hours. How many more hours would another 2000 miles take at that rate?"
SHORT = "What is the largest organ of the human body?"
ITEMS = [
    {"id": "e1", "task": "math", "text": LONG, "answer": "5"},
    {"id": "e2", "task": "bio", "text": SHORT, "answer": "skin", "choices": ["skin", "liver"]},
]
ROWS = [
    {"id": "a", "text": "An honest row about nothing in particular.", "note": 1},
    {"id": "b", "text": f"Q: {SHORT.upper()}", "note": 2},
    {"id": "c", "text": LONG.replace("1200", "900").replace("2000", "1500"), "note": 3},
    {"id": "d", "text": f"Q: {SHORT.upper()}", "note": 4},
]


def write(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path / "train.jsonl", ROWS)
    write(tmp_path / "eval.jsonl", ITEMS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments(*more: str, train: str = "train.jsonl", evals: str = "eval.jsonl") -> list[str]:
    return ["data", "decontaminate", "--train", train, "--eval", evals, "--out", "flags.jsonl", *more]


def call(*more: str, train: str = "train.jsonl") -> str:
    """Run the verb in this process, and return what it prints."""
    done = CliRunner().invoke(app, arguments(*more, train=train), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_flags_and_clean_rows_are_written(folder: Path) -> None:
    done = harness(*arguments("--clean", "clean.jsonl", "--json"), cwd=folder)
    assert done.code == 0, done.err
    flags = read(folder / "flags.jsonl")
    assert [(f["train_id"], f["eval_id"], f["kind"]) for f in flags] == [
        ("b", "e2", "whole"), ("c", "e1", "template"), ("d", "e2", "whole"),
    ]  # fmt: skip
    assert set(flags[0]) == {"train_id", "eval_id", "kind", "score", "span"}
    assert read(folder / "clean.jsonl") == [ROWS[0], ROWS[2]]
    summary = done.json
    assert (summary["rows"], summary["items"], summary["removed"], summary["kept"]) == (4, 2, 2, 2)
    assert summary["kinds"]["template"] == {"rows": 1, "items": 1, "removed": False}
    assert summary["kinds"]["whole"] == {"rows": 2, "items": 1, "removed": True}
    assert summary["rule"] == {"ngram": 13, "fuzzy": 0.6, "templates": "keep", "semantic": 0.7}


def test_templates_can_be_dropped_and_people_get_a_table(folder: Path) -> None:
    said = call("--clean", "clean.jsonl", "--templates", "drop", "--fuzzy", "0.7", "--ngram", "8")
    assert "3 of 4 rows overlap 2 of 2 items; 1 stay." in said
    assert read(folder / "clean.jsonl") == [ROWS[0]]
    assert "kept" in call()


def test_other_layouts_and_formats_are_read(folder: Path) -> None:
    pl.DataFrame({"instruction": [SHORT, "Sing."], "input": ["", ""], "output": ["skin", "la"]}).write_parquet(
        folder / "train.parquet"
    )
    write(
        folder / "eval.jsonl",
        [
            {"question": SHORT, "choices": ["liver", "skin"], "label": 1},
            {"prompt": "Who sang it first, and where was that?", "completion": "nobody"},
            {"messages": [{"role": "user", "content": LONG}, {"role": "assistant", "content": "5"}]},
        ],
    )
    call(train="train.parquet")
    (flag,) = read(folder / "flags.jsonl")
    assert (flag["train_id"], flag["eval_id"]) == ("train.parquet#1", "eval.jsonl:1")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("train.jsonl", '{"text": "x"}\n{"text": ', "train.jsonl:2: not JSON"),
        ("train.jsonl", '{"texts": "x"}\n', "train.jsonl:1: its columns (texts) hold nothing that is recognized"),
        ("train.jsonl", "", "it has no rows"),
        ("eval.jsonl", '{"text": "x"}\nnull\n', "eval.jsonl:2: not an object but null"),
        ("eval.jsonl", '{"text": ["x"]}\n', 'eval.jsonl:1: "text" is neither text nor a number'),
        ("eval.jsonl", '{"text": " "}\n', "eval.jsonl:1: neither a question nor an answer"),
        ("eval.jsonl", '{"id": 1, "text": "x"}\n{"id": 1, "text": "y"}\n', 'eval.jsonl:2: the id "1" is there twice'),
        ("eval.jsonl", '{"text": "x", "choices": "ab"}\n', 'eval.jsonl:1: "choices" is not a list'),
        ("eval.jsonl", "", "eval.jsonl: holds no items"),
    ],
)
def test_wrong_input_writes_nothing(folder: Path, file: str, text: str, said: str) -> None:
    (folder / file).write_text(text)
    with pytest.raises(RequestError) as caught:
        call("--clean", "clean.jsonl")
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert "sources." not in str(caught.value)
    assert not (folder / "flags.jsonl").exists()
    assert not (folder / "clean.jsonl").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--clean", "train.jsonl"), "--clean: train.jsonl is --train as well"),
        (("--clean", "flags.jsonl"), "--clean: flags.jsonl is --out as well"),
        (("--clean", "none/clean.jsonl"), "--clean: none/clean.jsonl: expected a file in an existing folder"),
        (("--clean", "clean.txt"), "--clean: clean.txt: expected a file"),
    ],
)
def test_wrong_places_write_nothing(folder: Path, more: tuple[str, ...], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        call(*more)
    assert not (folder / "flags.jsonl").exists()
    assert read(folder / "train.jsonl") == ROWS


@pytest.mark.parametrize("more", [("--ngram", "2"), ("--fuzzy", "1.5"), ("--templates", "some")])
def test_wrong_options_are_named(folder: Path, more: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, arguments(*more))
    assert done.exit_code == 2
    assert more[0] in done.stderr
    assert not (folder / "flags.jsonl").exists()


def test_a_file_that_is_not_there(folder: Path) -> None:
    done = harness(*arguments(train="trian.jsonl"), cwd=folder)
    assert done.code == 2
    assert done.err.strip() == 'trian.jsonl: no such file. Did you mean "train.jsonl"?'
