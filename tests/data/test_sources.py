import csv
import gzip
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.data import files
from harness.data.rows import pool_digest
from harness.data.sources import inputs, load
from harness.errors import RequestError
from harness.spec import Source

PAIRS = [{"prompt": f"p{i}", "completion": f"c{i}"} for i in range(5)]


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def meta(rows: pl.DataFrame) -> list[dict[str, Any]]:
    return [json.loads(value) for value in rows["meta"]]


def write_gz(path: Path) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in PAIRS)


def write_csv(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["prompt", "completion"])
        writer.writeheader()
        writer.writerows(PAIRS)


FORMATS: dict[str, Callable[[Path], Any]] = {
    "a.jsonl": lambda path: jsonl(path, PAIRS),
    "a.jsonl.gz": write_gz,
    "a.json": lambda path: path.write_text(json.dumps(PAIRS)),
    "b.json": lambda path: path.write_text(json.dumps({"data": PAIRS, "version": 1})),
    "a.csv": write_csv,
    "a.parquet": lambda path: pl.DataFrame(PAIRS).write_parquet(path),
    "a.tsv.zst": lambda path: files.write(PAIRS, path),
    "a.json.gz": lambda path: files.write(PAIRS, path),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    FORMATS[name](tmp_path / name)
    built = load("s", Source(path=name, license="MIT", origin="public"), tmp_path)
    assert built.rows.select("prompt", "completion").to_dicts() == PAIRS
    assert built.rows["license"].unique().to_list() == ["MIT"]
    assert built.rows["origin"].unique().to_list() == ["public"]
    assert built.drops.is_empty()
    assert meta(built.rows)[0]["place"].startswith(name)


def test_files_globs_and_folders(tmp_path: Path) -> None:
    for name in ("x/b.jsonl", "x/a.jsonl", "y/c.jsonl"):
        jsonl(tmp_path / name, [{"prompt": name, "completion": "c"}])
    (tmp_path / "x" / "notes.txt").write_text("not data")

    def read(path: str | tuple[str, ...]) -> list[str]:
        return load("s", Source(path=path), tmp_path).rows["prompt"].to_list()

    assert read("x") == ["x/a.jsonl", "x/b.jsonl"]
    assert read("**/*.jsonl") == ["x/a.jsonl", "x/b.jsonl", "y/c.jsonl"]
    assert read(("y/c.jsonl", "x/*.jsonl", "y")) == ["y/c.jsonl", "x/a.jsonl", "x/b.jsonl"]
    assert read(str(tmp_path / "y" / "*.jsonl")) == ["y/c.jsonl"]


def test_inputs_are_the_digests_of_what_is_read(tmp_path: Path) -> None:
    jsonl(tmp_path / "data/a.jsonl", PAIRS)
    source = Source(path="../data/a.jsonl")
    base = tmp_path / "experiments"
    base.mkdir()
    before = inputs("s", source, base)
    assert list(before) == ["files/../data/a.jsonl"]
    assert list(inputs("s", Source(path=str(tmp_path / "data/a.jsonl")), base)) == ["files/a.jsonl"]
    jsonl(tmp_path / "data/a.jsonl", PAIRS[:4])
    assert inputs("s", source, base) != before
    commit = "c0ffee" + "0" * 34
    assert inputs("s", Source(hub="a/b", revision=commit), base) == {"hub": f"a/b@{commit}"}
    with pytest.raises(RequestError, match=r"sources.s.revision: main is not a commit hash"):
        inputs("s", Source(hub="a/b", revision="main"), base)
    made = inputs("s", Source(generator="reasoning-gym", task="chain_sum", rows=1), base)
    assert made == {"generator": f"reasoning-gym=={version('reasoning-gym')}"}


def test_two_absolute_files_of_one_name_are_two_inputs(tmp_path: Path) -> None:
    paths = tuple(str(jsonl(tmp_path / folder / "a.jsonl", PAIRS)) for folder in "xy")
    assert list(inputs("s", Source(path=paths), tmp_path)) == ["files/a.jsonl", "files/a.jsonl#2"]


def test_rows_caps_the_pool_from_the_top(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [*PAIRS, "broken"])
    assert load("s", Source(path="a.jsonl", rows=3), tmp_path).rows["prompt"].to_list() == ["p0", "p1", "p2"]


# -------------------------------------------------------------------------------------------------------- fields

MESSAGES = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"instruction": "do", "input": "this", "output": "o"}, {"prompt": "do\nthis\n", "completion": "o"}),
        ({"instruction": "do", "input": "", "output": "o"}, {"prompt": "do\n", "completion": "o"}),
        ({"instruction": "do", "input": None, "output": "o"}, {"prompt": "do\n", "completion": "o"}),
        ({"instruction": "do", "output": 7}, {"prompt": "do\n", "completion": "7"}),
        ({"question": "q", "answer": 4}, {"prompt": "Q: q\nA:", "completion": " 4"}),
        ({"text": "t", "id": 9}, {"text": "t"}),
        ({"prompt": "p", "chosen": "c", "rejected": "r"}, {"prompt": "p", "chosen": "c", "rejected": "r"}),
        ({"messages": MESSAGES}, {"messages": MESSAGES}),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            {"messages": MESSAGES},
        ),
    ],
)
def test_layouts_are_detected(tmp_path: Path, record: dict[str, Any], expected: dict[str, Any]) -> None:
    jsonl(tmp_path / "a.jsonl", [record])
    row = load("s", Source(path="a.jsonl"), tmp_path).rows.row(0, named=True)
    content = {name: row[name] for name in ("prompt", "completion", "text", "messages", "chosen", "rejected")}
    if content["messages"]:
        content["messages"] = json.loads(content["messages"])
    assert {name: value for name, value in content.items() if value is not None} == expected


def test_declared_fields_and_templates(tmp_path: Path) -> None:
    record = {
        "q": "2 + 3",
        "a": "so #### 1,005",
        "gold": "1,005",
        "key": 7,
        "topic": None,
        "by": "CC0",
        "prompt": "no",
    }
    jsonl(tmp_path / "a.jsonl", [record])
    fields = {
        "prompt": "{{Q}}: {q} =\nA:", "completion": "a", "answer": "gold",
        "id": "key", "slice": "topic", "license": "by",
    }  # fmt: skip
    row = load("s", Source(path="a.jsonl", fields=fields, license="MIT"), tmp_path).rows.row(0, named=True)
    assert (row["prompt"], row["completion"]) == ("{Q}: 2 + 3 =\nA:", "so #### 1,005")
    assert json.loads(row["verifier"]) == {"scorer": "numeric", "answer": "1,005"}
    assert json.loads(row["meta"]) == {"place": "a.jsonl:1", "id": "7", "answer": "1,005"}
    assert (row["slice"], row["license"]) == (None, "CC0")


def test_an_answer_beside_detected_content(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{**PAIRS[0], "answer": 4}])
    assert load("s", Source(path="a.jsonl"), tmp_path).rows["verifier"].to_list() == [None]
    row = load("s", Source(path="a.jsonl", fields={"answer": "answer"}), tmp_path).rows.row(0, named=True)
    assert row["prompt"] == "p0"
    assert json.loads(row["verifier"])["answer"] == "4"


# --------------------------------------------------------------------------------------------------- wrong input

GOOD = b'{"prompt": "p", "completion": "c"}\n'
BAD_LINES: dict[str, tuple[bytes, str]] = {
    "not JSON": (
        b'{"prompt": "p, "completion": "c"}\n',
        r"not JSON \(expecting ',' delimiter at column 17\)",
    ),
    "cut off": (b'{"prompt": "p\n', r"not JSON \(unterminated string at column 12\)"),
    "not a number": (b'{"prompt": NaN, "completion": "c"}\n', "NaN is not a number"),
    "too deep": (b'{"prompt": ' + b"[" * 100_000 + b"\n", "not JSON"),
    "list": (b'["p", "c"]\n', "not an object but a list"),
    "null line": (b"null\n", "not an object but null"),
    "bytes": (b'{"prompt": "\xff", "completion": "c"}\n', "not UTF-8 text \\(byte 13 of the line\\)"),
    "surrogate": (b'{"prompt": "\\ud800", "completion": "c"}\n', '"prompt" is not UTF-8 text'),
    "missing column": (b'{"promt": "p", "completion": "c"}\n', 'no column "prompt". Did you mean "promt"'),
    "null": (b'{"prompt": null, "completion": "c"}\n', '"prompt" is null'),
    "object": (b'{"prompt": {"a": 1}, "completion": "c"}\n', '"prompt" is an object'),
    "list value": (b'{"prompt": "p", "completion": ["c"]}\n', '"completion" is a list'),
    "boolean": (b'{"prompt": true, "completion": "c"}\n', '"prompt" is True'),
    "infinite": (b'{"prompt": 1e999, "completion": "c"}\n', '"prompt" is inf'),
    "empty": (b'{"prompt": " ", "completion": ""}\n', "empty prompt and completion"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_stops_with_its_place_or_goes_to_the_ledger(tmp_path: Path, case: str) -> None:
    line, message = BAD_LINES[case]
    (tmp_path / "a.jsonl").write_bytes(GOOD * 2 + b"\n" + line + GOOD)
    with pytest.raises(RequestError, match=message) as error:
        load("s", Source(path="a.jsonl"), tmp_path)
    assert str(error.value).startswith("a.jsonl:4: ")
    assert "2 good rows before it. Fix the line, or set sources.s.on_bad_row: drop." in str(error.value)
    built = load("s", Source(path="a.jsonl", on_bad_row="drop"), tmp_path)
    assert built.rows.height == 3
    (drop,) = built.drops.to_dicts()
    assert (drop["operation"], drop["place"], drop["row_id"]) == ("read", "a.jsonl:4", None)


BAD_MESSAGES: list[tuple[Any, str]] = [
    ([], "not a list of messages"),
    ("hello", "not JSON"),
    (["hello"], r"messages\[0\] is not an object"),
    ([{"role": "usr", "content": "x"}], r'messages\[0\].role is "usr". Did you mean "user"'),
    ([{"role": "user", "content": None}], r"messages\[0\].content is null"),
    ([{"role": "user", "content": ""}], "empty"),
    ([{"role": "assistant", "content": "", "tool_calls": [1]}], "tool_calls"),
]


@pytest.mark.parametrize(("value", "message"), BAD_MESSAGES)
def test_bad_conversations(tmp_path: Path, value: Any, message: str) -> None:
    jsonl(tmp_path / "a.jsonl", [{"messages": value}])
    with pytest.raises(RequestError, match=message):
        load("s", Source(path="a.jsonl"), tmp_path)


BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "no rows": ("a.jsonl", b"\n\n", "sources.s: it has no rows"),
    "all bad": ("a.jsonl", b"{\n", "not JSON"),
    "lines called json": ("a.json", GOOD * 2, "extra data at line 2.*called .jsonl"),
    "json bytes": ("a.json", b'["\xff"]', "not UTF-8 text"),
    "json object": ("a.json", b'{"rows": []}', "expected a list of objects"),
    "json item": (
        "a.json",
        b'[{"prompt": "p", "completion": "c"}, 3]',
        "a.json#2: not an object but a number",
    ),
    "csv cells": ("a.csv", b"prompt,completion\np,c\np,c,d\n", "a.csv:3: 3 cells where the header has 2"),
    "csv quote": ("a.csv", b'prompt,completion\np,"c"d\n', "a.csv:2: not CSV"),
    "csv bytes": ("a.csv", b"prompt,completion\np\xe9,c\n", 'a.csv:2: "prompt" is not UTF-8 text'),
    "csv twice": ("a.csv", b"prompt,prompt\np,c\n", 'a.csv:1: column "prompt" is there twice'),
    "parquet": ("a.parquet", b"PAR1", "a.parquet: not a parquet file"),
    "gzip": ("a.jsonl.gz", b"plain text", "a.jsonl.gz: cannot be read"),
    "format": ("a.txt", b"text", "a.txt is not .jsonl"),
    "nothing known": (
        "a.jsonl",
        b'{"title": "x", "body": "y"}\n',
        r"a.jsonl:1: its columns \(title, body\) hold nothing",
    ),
    "ambiguous": (
        "a.jsonl",
        b'{"prompt": "p", "completion": "c", "text": "t"}\n',
        "could be read as completion",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named(tmp_path: Path, case: str) -> None:
    name, content, message = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=message):
        load("s", Source(path=name), tmp_path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("suport.jsonl", 'sources.s.path: no file "suport.jsonl".*Did you mean "support.jsonl"'),
        ("dta/support.jsonl", 'Did you mean "data"'),
        ("data/*.csv", r"data/\*.csv.*\(data/ is searched"),
        ("empty", "The folder has no"),
    ],
)
def test_a_missing_file_names_the_nearest(tmp_path: Path, path: str, message: str) -> None:
    jsonl(tmp_path / "support.jsonl", PAIRS)
    jsonl(tmp_path / "data" / "x.jsonl", PAIRS)
    (tmp_path / "empty").mkdir()
    for function in (load, inputs):
        with pytest.raises(RequestError, match=message):
            function("s", Source(path=path), tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"prompt": "quest", "completion": "answer"},
            'a.jsonl:1: no column "quest". Did you mean "question"',
        ),
        ({"prompt": "Q: {quest}", "completion": "answer"}, 'no column "quest"'),
        ({"prompt": "{question", "completion": "answer"}, "sources.s.fields.prompt: .* is not a template"),
        ({"prompt": "{question.x}", "completion": "answer"}, "plain column names"),
        ({"prompt": "{question[0]}", "completion": "answer"}, "plain column names"),
        ({"prompt": "{}", "completion": "answer"}, "plain column names"),
        ({"prompt": "{question!r}", "completion": "answer"}, "plain column names"),
        ({"prompt": "{question:>9}", "completion": "answer"}, "plain column names"),
        ({"prompt": "question"}, "sources.s.fields: prompt make no training row"),
        ({"messages": "{question}"}, "sources.s.fields.messages: expected the name of a column"),
        ({"answer": "question"}, 'the answer "why" is not a number'),
    ],
)
def test_wrong_fields(tmp_path: Path, fields: dict[str, str], message: str) -> None:
    jsonl(tmp_path / "a.jsonl", [{"question": "why", "answer": "so"}])
    with pytest.raises(RequestError, match=message):
        load("s", Source(path="a.jsonl", fields=fields), tmp_path)


def test_operations_that_leave_nothing_say_which_and_why(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"text": "one two three"}, {"text": "one"}])
    source = Source.model_validate({"path": "a.jsonl", "operations": ["dedupe", {"filter": {"min_words": 4000}}]})
    with pytest.raises(RequestError, match=r"s: 0 of 2 rows are left after filter\(min_words=4000\).*has 3 words"):
        load("s", source, tmp_path)


def test_bad_rows_and_dropped_rows_share_one_ledger(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"text": "a b"}, {"txt": "x"}, {"text": "A  b"}, {"text": "c"}])
    source = Source.model_validate({"path": "a.jsonl", "operations": ["dedupe"], "on_bad_row": "drop"})
    built = load("s", source, tmp_path)
    assert built.rows["text"].to_list() == ["a b", "c"]
    assert built.drops["operation"].to_list() == ["read", "dedupe"]
    assert built.drops["place"].to_list() == ["a.jsonl:2", "a.jsonl:3"]


# -------------------------------------------------------------------------------------------- columns and licences


def test_columns_are_carried_along(tmp_path: Path) -> None:
    rows = [{"text": "a", "score": 0.5, "label": "x"}, {"text": "b", "score": None, "label": True}]
    expected = ['{"label":"x","score":0.5}', '{"label":true,"score":null}']
    for name in ("a.jsonl", "a.json", "a.csv"):
        files.write(rows, tmp_path / name)
        built = load("s", Source(path=name, columns=("score", "label")), tmp_path)
        assert built.rows["columns"].to_list() == [
            e.replace("true", '"True"' if "csv" in name else "true") for e in expected
        ]
        assert load("s", Source(path=name), tmp_path).rows["columns"].to_list() == [None, None]
    with pytest.raises(RequestError, match=r'sources.s.columns: a.jsonl:1: no column "scor". Did you mean "score"'):
        load("s", Source(path="a.jsonl", columns=("scor",)), tmp_path)


def test_a_score_that_is_no_number_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "score": 1}\n{"text": "b"}\n{"text": "c", "score": 1e999}\n')
    with pytest.raises(RequestError, match=r'a.jsonl:2: no column "score". Valid here: text. 1 good row before it'):
        load("s", Source(path="a.jsonl", columns=("score",)), tmp_path)
    built = load("s", Source(path="a.jsonl", columns=("score",), on_bad_row="drop"), tmp_path)
    assert built.rows["columns"].to_list() == ['{"score":1}']
    assert built.drops["reason"].to_list() == [
        'no column "score". Valid here: text',
        '"score" is inf, expected text or a number',
    ]
    pl.DataFrame({"text": ["a", "b"], "score": [0.5, float("nan")]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(RequestError, match=r'a.parquet#2: "score" is nan'):
        load("s", Source(path="a.parquet", columns=("score",)), tmp_path)
    (tmp_path / "a.csv").write_text("text,score\na,1\nb,NaN\n")
    with pytest.raises(RequestError, match=r'a.csv:3: "score" is NaN'):
        load("s", Source(path="a.csv", columns=("score",)), tmp_path)


def test_a_row_s_own_licence_wins(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"text": "a", "by": "CC0"}, {"text": "b", "by": None}, {"text": "c", "by": ""}])
    source = Source(path="a.jsonl", fields={"license": "by"}, license="MIT", origin="annotation")
    rows = load("s", source, tmp_path).rows
    assert rows["license"].to_list() == ["CC0", "MIT", "MIT"]
    assert rows["origin"].to_list() == ["annotation"] * 3


def test_functions_of_operations_are_inputs(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", PAIRS)
    (tmp_path / "mine.py").write_text("def odd(row): return row['prompt'][1:] in '13'\n")
    source = Source.model_validate({"path": "a.jsonl", "operations": [{"filter": {"function": "mine:odd"}}]})
    before = inputs("s", source, tmp_path)
    assert sorted(before) == ["files/a.jsonl", "function/mine"]
    assert load("s", source, tmp_path).rows["prompt"].to_list() == ["p1", "p3"]
    (tmp_path / "mine.py").write_text("def odd(row): return True\n")
    assert inputs("s", source, tmp_path)["function/mine"] != before["function/mine"]


def test_what_operations_ask_for_is_passed_on(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", PAIRS)
    bounds = {"min_tokens": 3, "max_perplexity": 50}
    source = Source.model_validate({"path": "a.jsonl", "operations": [{"filter": bounds}]})
    tokens, perplexity = {"p0": 1}, {"p4": 90.0}
    built = load(
        "s",
        source,
        tmp_path,
        tokens=lambda rows: [tokens.get(prompt, 9) for prompt in rows["prompt"]],
        perplexity=lambda rows: [perplexity.get(prompt, 9.0) for prompt in rows["prompt"]],
    )
    assert built.rows["prompt"].to_list() == ["p1", "p2", "p3"]


def test_pools_are_the_same_wherever_the_files_are(tmp_path: Path) -> None:
    for folder in "xy":
        jsonl(tmp_path / folder / f"{folder}.jsonl", PAIRS)
    pools = [load("s", Source(path=f"{folder}.jsonl"), tmp_path / folder).rows for folder in "xy"]
    assert pool_digest(pools[0]) == pool_digest(pools[1])
