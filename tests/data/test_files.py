import csv
import gzip
import io
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import unpacking
from harness.data import files, reading, tabular
from harness.data.sources import load
from harness.errors import RequestError
from harness.spec import Source

ROWS = [{"id": f"r{i}", "prompt": f'p{i}, "so"\n', "completion": f"c{i} é"} for i in range(30)]
TEXT = [f"a{form}{pack}" for form in (".jsonl", ".ndjson", ".json", ".csv", ".tsv") for pack in ("", ".gz", ".zst")]
NAMES = [*TEXT, "a.parquet"]


def values(path: Path) -> list[Any]:
    return [record.value for record in files.records(path)]


def packed(content: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(content)
    return pa.compress(content, "zstd", asbytes=True) if suffix == ".zst" else content


# ------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    assert files.write(iter(ROWS), tmp_path / name) == 30
    assert values(tmp_path / name) == ROWS
    assert [path.name for path in tmp_path.iterdir()] == [name]


SCALAR = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(SCALAR | st.text(st.characters(exclude_categories=["Cs"])), lambda x: st.lists(x, max_size=3))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), JSON), max_size=6))
def test_any_json_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    for name in ("a.jsonl.zst", "a.json"):
        path = tmp_path_factory.getbasetemp() / name
        files.write(rows, path)
        assert values(path) == rows


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    for name in TEXT:
        for copy in ("x", "y"):
            files.write(ROWS, tmp_path / f"{copy}-{name}")
        assert (tmp_path / f"x-{name}").read_bytes() == (tmp_path / f"y-{name}").read_bytes()


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    files.write(ROWS[:2], path)
    with pytest.raises(RequestError, match=r"a.jsonl: row 2 cannot be written as JSON \(.*not JSON compliant"):
        files.write([{"x": 1.0}, {"x": float("nan")}], path)
    assert values(path) == ROWS[:2]
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("a.txt", [], "a.txt: the name does not end in .jsonl"),
        ("a.parquet.gz", [], "a.parquet.gz: the name does not end in"),
        ("no/a.jsonl", [], "no/a.jsonl: there is no folder"),
        ("a.jsonl", [{"x": b"b"}], "row 1 cannot be written as JSON"),
        ("a.jsonl", [{"x": "\ud800"}], "row 1 cannot be written as JSON"),
        ("a.csv", [{"x": [1]}], 'row 1: "x" is a list or an object, which CSV cannot hold'),
        ("a.csv", [{"x": 1}, {"y": 1}], "row 2 cannot be written"),
        ("a.parquet", [{"x": 1}, {"x": object()}], "the rows make no table"),
    ],
)  # fmt: skip
def test_what_cannot_be_written(tmp_path: Path, name: str, rows: list[Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        files.write(rows, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_no_rows(tmp_path: Path, name: str) -> None:
    assert files.write([], tmp_path / name) == 0
    assert values(tmp_path / name) == [] if ".json" not in name or "jsonl" in name else True


# ------------------------------------------------------------------------------------------------- files as a whole


def test_records_says_which_file_is_not_there(tmp_path: Path) -> None:
    files.write(ROWS, tmp_path / "train.jsonl")
    with pytest.raises(RequestError, match=r'trian.jsonl: no such file. Did you mean "train.jsonl"'):
        files.records(tmp_path / "trian.jsonl")
    with pytest.raises(RequestError, match="is a folder"):
        files.records(tmp_path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(RequestError, match=r"a.txt: the name does not end in \.jsonl"):
        files.records(tmp_path / "a.txt")


@pytest.mark.parametrize("name", [name for name in TEXT if unpacking.packing_of(Path(name))])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    files.write(ROWS, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for size in range(len(whole)):
        (tmp_path / name).write_bytes(whole[:size])
        with pytest.raises(RequestError, match=f"^{tmp_path}/{name}"):
            values(tmp_path / name)


def test_a_cut_off_file_says_after_which_line(tmp_path: Path) -> None:
    lines = [json.dumps({"text": random.Random(i).randbytes(20).hex()}) for i in range(2000)]
    whole = gzip.compress("\n".join(lines).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RequestError, match=r"a.jsonl.gz: cannot be read after line [\d,]+ \(Compressed file ended"):
        values(tmp_path / "a.jsonl.gz")
    # What was asked for is before the damage.
    assert load("s", Source(path="a.jsonl.gz", rows=5), tmp_path).rows.height == 5


def test_frames_and_members_that_follow_each_other_are_one_file(tmp_path: Path) -> None:
    for suffix in (".gz", ".zst"):
        parts = [packed(json.dumps(row).encode() + b"\n", suffix) for row in ROWS]
        (tmp_path / f"a.jsonl{suffix}").write_bytes(b"".join(parts))
        assert values(tmp_path / f"a.jsonl{suffix}") == ROWS


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_bomb_is_refused(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED", 1 << 20)
    (tmp_path / f"a.jsonl{suffix}").write_bytes(packed(b" " * (32 << 20), suffix))
    with pytest.raises(RequestError, match=r"unpacks to more than \d+ MiB"):
        values(tmp_path / f"a.jsonl{suffix}")


OTHERS = {
    "a.jsonl": (gzip.compress(b"{}"), "a.jsonl: holds gzip data"),
    "a.csv": (packed(b"a,b\n1,2\n", ".zst"), "a.csv: holds zstd data"),
    "a.json": (b"PK\x03\x04.....", "a.json: holds a zip archive"),
    "b.csv": ("a,b\n".encode("utf-16"), r"b.csv: holds UTF-16 text \(save it as UTF-8\)"),
    "b.jsonl.gz": (b'{"a": 1}\n', "b.jsonl.gz: cannot be read .*Not a gzipped file"),
    "b.jsonl.zst": (b'{"a": 1}\n', "b.jsonl.zst: cannot be read"),
    "c.jsonl.gz": (gzip.compress(gzip.compress(b"{}")), "c.jsonl.gz: holds gzip data"),
    "d.parquet": (b'{"a": 1}\n', "d.parquet: not a parquet file"),
    "e.parquet": (b"", "e.parquet: not a parquet file"),
    "f.jsonl.gz": (b"", "f.jsonl.gz: the file is empty"),
    "g.json": (b" \n", "g.json: the file is empty"),
    "h.json": (b'[{"a": 1}, {"b": \n}]', r"h.json#2: not JSON \(expecting value at line 2, column 1\)"),
    "i.json": (b'[{"a": 1} {"b": 2}]', r"i.json#2: not JSON \(expecting ',' delimiter"),
    "j.json": (b'[{"a": 1}]]', r"j.json: not JSON \(extra data"),
    "k.json": (b'[{"a": 1},\n{"a": "\xff"}]', r"k.json:2: not UTF-8 text \(byte 19 of the file\)"),
    "q.json": (b'[{"a": 1}, {"a": NaN0}]', r"q.json#2: not JSON \(expecting ',' delimiter"),
    "l.json": (b'[{"a": 1}', r"l.json#2: not JSON"),
    "m.csv": (b'"a,b\n1,2\n', "m.csv:1: not CSV"),
    "n.csv": (b"a,b\xff\n1,2\n", r"n.csv:1: the name of column 2 is not UTF-8 text \(byte 2"),
    "o.csv": (b"a,b\xff,b\xff\n1,2,3\n", r"o.csv:1: column .* is there twice"),
    "p.csv": (b'a,b\n1,2\n3,"4\n5,6\n7,8\n', r"p.csv:3: not CSV \(a quote is opened here and not closed in the 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_that_is_something_else_is_named(tmp_path: Path, name: str) -> None:
    content, message = OTHERS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=message) as error:
        values(tmp_path / name)
    str(error.value).encode()  # can be printed


def test_parquet_of_all_kinds(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["a", "b"], "tags": [["x"], []], "by": [{"n": 1}, {"n": None}]})
    frame.write_parquet(tmp_path / "a.parquet")
    assert values(tmp_path / "a.parquet") == frame.to_dicts()
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress(whole))
    assert values(tmp_path / "b.parquet.gz") == frame.to_dicts()
    (tmp_path / "c.parquet").write_bytes(whole[:-20])
    with pytest.raises(RequestError, match=r"c.parquet: not a parquet file that can be read \("):
        values(tmp_path / "c.parquet")
    twice = pa.table([pa.array(["x"]), pa.array(["y"])], names=["text", "text"])
    pq.write_table(twice, tmp_path / "d.parquet")
    with pytest.raises(RequestError, match=r'd.parquet: column "text" is there twice'):
        values(tmp_path / "d.parquet")
    broken = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\2\0\0\0\4\0\0\0"), pa.py_buffer(b"ok\xff\xfe"))
    pq.write_table(pa.table([broken], names=["text"]), tmp_path / "e.parquet")
    good, bad = files.records(tmp_path / "e.parquet")
    assert good.value == {"text": "ok"}
    assert bad.value is None
    assert '"text" cannot be read' in bad.problem


@pytest.mark.acceptance
def test_every_file_of_the_acceptance_data_is_read_whole(acceptance_data: Path) -> None:
    listed = json.loads((acceptance_data / "MANIFEST.json").read_text())
    seen = 0
    for entry in listed:
        path = acceptance_data / entry["file"]
        if unpacking.format_of(path) in (".jsonl", ".csv"):
            found = list(files.records(path))
            assert [record.problem for record in found if record.problem] == []
            assert len(found) == entry["rows"]
            seen += 1
    assert seen > 40


# ------------------------------------------------------------------------------------------------- single records


def problems(path: Path, content: bytes) -> dict[str, str]:
    path.write_bytes(content)
    return {r.place.removeprefix(str(path)): r.problem for r in files.records(path) if r.problem}


def test_problems_of_records(tmp_path: Path) -> None:
    lines = b'\xef\xbb\xbf{"a": 1}\r\n\n{"a": 1, "a": 2}\n{"a": {"b": 1, "b": 2}}\r\n{"a": "x\0y"}\n{"a": 1}'
    assert problems(tmp_path / "a.jsonl", lines) == {
        ":3": 'not JSON (the key "a" is there twice)',
        ":4": 'not JSON (the key "b" is there twice)',
        ":5": "not JSON (invalid control character at column 9)",
    }
    assert values(tmp_path / "a.jsonl")[0] == {"a": 1}
    assert problems(tmp_path / "b.jsonl", b'{"a": -Infinity}\n{"a": 1' + b"0" * 5000 + b"}\n") == {
        ":1": "not JSON (-Infinity is not a number)",
        ":2": "not JSON (Exceeds the limit (4300 digits) for integer string conversion: value has 5001 digits)",
    }
    assert problems(tmp_path / "c.jsonl", b'[\n{"a": 1},\n') == {
        ":1": "not JSON (expecting value at column 2); a file that is one list is called .json",
        ":2": "not JSON (extra data at column 9)",
    }
    assert problems(tmp_path / "d.json", b'[{"a": 1, "a": 2}, {"a": NaN}, {"a": 3}, 4]') == {
        "#1": 'not JSON (the key "a" is there twice)',
        "#2": "not JSON (NaN is not a number)",
        "#4": "not an object but a number",
    }
    assert problems(tmp_path / "e.csv", b'\xef\xbb\xbfa,b\r\n1,2\r3\n\n"x\ny",4\r\n5,\xc3\xa9\xff\n6,"7" \n') == {
        ":3": "1 cell where the header has 2",
        ":7": '"b" is not UTF-8 text (byte 3 of the cell)',
        ":8": "not CSV (',' expected after '\"')",
    }
    assert values(tmp_path / "e.csv")[2] == {"a": "x\ny", "b": "4"}


def test_a_line_of_50_megabytes(tmp_path: Path) -> None:
    long = "x" * 50_000_000
    (tmp_path / "a.jsonl").write_text(json.dumps(ROWS[0]) + "\n" + json.dumps({"id": long}) + "\n" + '{"id": "' + long)
    first, second, third = files.records(tmp_path / "a.jsonl")
    assert first.value == ROWS[0]
    assert second.value == {"id": long}
    assert (third.place[-2:], third.problem) == (":3", "not JSON (unterminated string at column 8)")
    (tmp_path / "a.csv").write_text(f"id\n{long}\n")
    assert values(tmp_path / "a.csv") == [{"id": long}]


def test_a_name_that_is_no_text_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a\xff.jsonl")
    path.write_text('{"text": "x"}\n')
    rows = load("s", Source(path="*.jsonl"), tmp_path).rows
    assert json.loads(rows["meta"][0])["place"] == "a\\udcff.jsonl:1"


def test_batches_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH_RECORDS", 7)
    for name in NAMES:
        files.write(ROWS, tmp_path / name)
        sizes = [len(list(batch.records())) for batch in files.batches(reading.SourceFile(tmp_path / name, name, name))]
        assert sizes == ([30] if "jsonl" in name or "ndjson" in name else [7, 7, 7, 7, 2])
    monkeypatch.setattr(reading, "BATCH_SIZE", 100)
    for name in ("a.jsonl", "a.jsonl.gz", "a.json"):
        found = list(files.batches(reading.SourceFile(tmp_path / name, name, name)))
        assert len(found) > 10
        assert [record.value for batch in found for record in batch.records()] == ROWS


# ---------------------------------------------------------------------------------------------------------- fuzz


def content_of(name: str) -> bytes:
    rows: list[dict[str, Any]] = [{"prompt": f"p{i}", "completion": f"ç{i}", "score": i / 4} for i in range(6)]
    match unpacking.format_of(Path(name)):
        case ".json":
            content = json.dumps(rows).encode()
        case ".csv":
            text = io.StringIO()
            table = csv.DictWriter(text, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
            content = text.getvalue().encode()
        case ".parquet":
            sink = io.BytesIO()
            pl.DataFrame(rows).write_parquet(sink)
            content = sink.getvalue()
        case _:
            content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    return packed(content, unpacking.packing_of(Path(name)))


PIECE = st.sampled_from(
    [b"", b'"', b"\n", b"\r", b"\0", b"\xff", b",", b"{", b"}", b"[", b"]", b"\\ud800", b"NaN", b"1e999",
     b"\xef\xbb\xbf", b'"prompt"', b"null", b"PAR1", b"\\", b"{}", b"9" * 20, b'"p": 1, "p": 2']
) | st.binary(max_size=4)  # fmt: skip
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 6), PIECE), min_size=1, max_size=4)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.jsonl.gz", "a.csv.zst"])
def test_whatever_the_bytes_are_nothing_is_lost_and_nothing_but_a_request_error_is_raised(
    tmp_path: Path, name: str
) -> None:
    original = content_of(name)

    @settings(deadline=None, max_examples=150)
    @given(EDITS)
    def mutated(edits: list[tuple[float, int, bytes]]) -> None:
        content = original
        for where, cut, piece in edits:
            at = round(where * len(content))
            content = content[:at] + piece + content[at + cut :]
        (tmp_path / name).write_bytes(content)
        fields = {"prompt": "prompt", "completion": "completion"}
        dropping = Source(path=name, fields=fields, columns=("score",), on_bad_row="drop")
        try:
            records = list(files.read(reading.SourceFile(tmp_path / name, name, name)))
        except RequestError as error:
            str(error).encode()
            with pytest.raises(RequestError):
                load("s", dropping, tmp_path)
            return
        sound = 0
        try:
            built = load("s", dropping, tmp_path)
        except RequestError as error:
            assert not records or "rows are bad" in str(error)  # noqa: PT017
        else:
            sound = built.rows.height
            assert sound + built.drops.height == len(records)
            assert built.drops["reason"].null_count() == built.drops["place"].null_count() == 0
        stopping = dropping.model_copy(update={"on_bad_row": "stop"})
        if records and sound == len(records):
            assert load("s", stopping, tmp_path).rows.height == sound
        else:
            with pytest.raises(RequestError):
                load("s", stopping, tmp_path)

    mutated()


# ---------------------------------------------------------------------------------------------- numbers of 32 bits

SINGLE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=60)
@given(st.lists(SINGLE | st.none(), min_size=1, max_size=20), st.sampled_from(["", "dictionary", "struct", "list"]))
def test_numbers_of_32_bits_are_read_as_they_are_written(numbers: list[float | None], inside: str) -> None:
    """As numpy, pandas and polars show them: the shortest number that is the same in 32 bits."""
    expected = [None if number is None else float(str(np.float32(number))) for number in numbers]
    column = pa.array(numbers, pa.float32())
    if inside == "dictionary":
        column = column.dictionary_encode()
    elif inside in ("struct", "list"):
        column = pa.StructArray.from_arrays([column, column], ["x", "y"])
    if inside == "list":
        column = pa.ListArray.from_arrays(list(range(len(numbers) + 1)), column)
    batch = pa.record_batch([column], ["value"])
    read: list[Any] = [value["value"] for _, value, _ in tabular.arrow_rows(batch) if value is not None]
    if inside == "list":
        read = [value for (value,) in read]
    if inside in ("struct", "list"):
        assert [value["y"] for value in read] == expected
        read = [value["x"] for value in read]
    assert read == expected
    assert [None if value is None else np.float32(value) for value in read] == numbers


def test_numbers_of_16_and_64_bits_and_vectors() -> None:
    table = {
        "half": pa.array([0.1, None, 44.98], pa.float16()),
        "double": pa.array([0.1, None, 44.9900016784668]),
        "vector": pa.array([[0.5, 0.25], None, []], pa.list_(pa.float32())),
        "odd": pa.array([float("nan"), float("inf"), -0.0], pa.float32()),
    }
    read = [value for _, value, _ in tabular.arrow_rows(pa.record_batch(table)) if value is not None]
    assert [value["half"] for value in read] == [0.1, None, 44.97]
    assert [value["double"] for value in read] == [0.1, None, 44.9900016784668]
    assert [value["vector"] for value in read] == [[0.5, 0.25], None, []]
    assert str([value["odd"] for value in read]) == "[nan, inf, -0.0]"


def test_a_broken_row_leaves_the_numbers_of_the_others_alone() -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")]
    )
    read = list(tabular.arrow_rows(pa.record_batch([broken, pa.array([44.99, 0.1], pa.float32())], ["text", "value"])))
    assert read[0][1] == {"text": "a", "value": 44.99}
    assert read[1][1] is None


def test_a_price_of_32_bits_is_trained_as_it_is_shown(tmp_path: Path) -> None:
    """In a template and among further columns, from parquet, from a dataset's folder, whole and streamed."""
    prices = pl.DataFrame({"item": ["a", "b"], "price": pl.Series([44.99, 37.5], dtype=pl.Float32)})
    (tmp_path / "repo").mkdir()
    prices.write_parquet(tmp_path / "repo" / "train.parquet")
    fields = {"prompt": "What does {item} cost?", "completion": "{price}"}
    for where in ({"path": "repo/*.parquet"}, {"hub": str(tmp_path / "repo"), "revision": "main"}):
        for rows in (None, 2):
            source = Source.model_validate({**where, "fields": fields, "columns": ["price"], "rows": rows})
            built = load("s", source, tmp_path).rows
            assert built["completion"].to_list() == ["44.99", "37.5"]
            assert built["columns"].to_list() == ['{"price":44.99}', '{"price":37.5}']


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet", "a.jsonl"])
def test_many_columns_are_looked_at_once(tmp_path: Path, name: str) -> None:
    """40,000 columns took a minute where each was compared with all others."""
    columns = [f"column {number}" for number in range(40_000)]
    row = dict.fromkeys(columns, "x")
    started = time.process_time()
    files.write([row], tmp_path / name)
    assert values(tmp_path / name) == [row]
    if name != "a.parquet":
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace("column 39999", "column 39998", 1))
        twice = r'"column 39998" is there twice'
        if name == "a.jsonl":
            assert [record.problem for record in files.records(tmp_path / name)] == [f"not JSON (the key {twice})"]
        else:
            with pytest.raises(RequestError, match=rf"{name}:1: column {twice}"):
                values(tmp_path / name)
    assert time.process_time() - started < 20
