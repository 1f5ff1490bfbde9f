"""What holds for every operation, and what the operations say about themselves."""

import hashlib
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from harness.data.operations import Context, apply_all, changed, inputs, label, needs_embeddings, needs_model
from harness.data.rows import DROP_SCHEMA, SCHEMA, Built, frame, row_id
from harness.errors import RequestError
from harness.records import CONTENT_COLUMNS
from harness.spec import OPERATIONS, Clean, Dedupe, Filter, Operation, Pii, Sample, Use, Verify
from tests.data.operations.made import conversation, do, module, places, table

WORDS = (
    "1",
    "no",
    "a cat",
    "call 212-555-0123",
    "bob@example.com",
    "cafÃ©",
    "&amp;",
    "10.0.0.7 ",
    "\x00",
    "the café\n",
)
TEXT = st.one_of(
    st.text(alphabet="aAbé ﬁ\u00a0\t\n\x07&1@.", max_size=8), st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
)
STEADY: tuple[Operation, ...] = (
    Clean(),
    Clean(repair=False),
    Filter(min_chars=2, max_words=2),
    Filter(exclude="b"),
    Filter(pattern="[a1]", field="completion"),
    Filter(licenses=("mit",), exclude_origins=("synthetic",)),
    Filter(score="quality", min_score=0.5),
    Filter(min_tokens=2, max_tokens=9),
    Filter(max_perplexity=3),
    Filter(languages=("en",)),
    Filter(datatrove="gopher_repetition"),
    Filter(function="mine:keep"),
    Dedupe(),
    Dedupe(field="completion"),
    Dedupe(method="near"),
    Dedupe(method="near", threshold=0.4),
    Verify(),
    Verify(keep="wrong"),
    Verify(keep="all", label="right"),
    Verify(function="mine:grade", min_score=0.5, label="grade"),
    Pii(),
    Pii(action="drop"),
    Pii(kinds=("email", "ip")),
    Use(function="mine:lower"),
)
EVERY = (*STEADY, Sample(fraction=0.4))
FUNCTIONS = """
def keep(row):
    return "b" not in row["completion"]

def grade(row):
    return len(row["completion"]) % 3 / 2

def lower(row):
    return None if "1" in row["completion"] else row | {"completion": row["completion"].lower()}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return module(tmp_path_factory.mktemp("study"), FUNCTIONS)


def run(rows: pl.DataFrame, operation: Operation, folder: Path, seed: int = 0) -> Built:
    return do(
        rows,
        operation,
        seed,
        folder=folder,
        tokens=lambda frame: frame["completion"].str.len_chars().to_list(),
        perplexity=lambda frame: [1.0 + len(text) / 4 for text in frame["completion"]],
    )


def made(texts: list[str]) -> pl.DataFrame:
    """Rows of these texts that differ in all else an operation may look at."""
    rows = table(*texts)
    number = pl.int_range(pl.len())
    return rows.with_columns(
        pl.when(number % 3 > 0).then(pl.lit("MIT")).otherwise(None).alias("license"),
        pl.when(number % 2 > 0).then(pl.lit("public")).otherwise(pl.lit("synthetic")).alias("origin"),
        pl.concat_str(pl.lit('{"quality":'), number % 5 / 4, pl.lit("}")).alias("columns"),
    )


def test_every_operation_is_tried() -> None:
    assert {operation.op for operation in EVERY} == set(OPERATIONS)


@pytest.mark.parametrize("operation", EVERY, ids=label)
@settings(deadline=None, max_examples=12)
@given(texts=st.lists(TEXT, max_size=12), seed=st.integers(0, 3))
def test_rows_are_kept_in_order_or_in_the_ledger(
    texts: list[str], seed: int, operation: Operation, folder: Path
) -> None:
    rows = made(texts)
    before = rows.clone()
    built = run(rows, operation, folder, seed)
    assert rows.equals(before)
    kept, gone = places(built.rows), [int(place.split(":")[1]) for place in built.drops["place"]]
    assert kept == sorted(kept)
    assert gone == sorted(gone)
    assert sorted(kept + gone) == list(range(len(texts)))
    assert (built.rows.schema, built.drops.schema) == (SCHEMA, DROP_SCHEMA)
    assert built.drops["row_id"].to_list() == rows["row_id"].gather(gone).to_list()
    assert set(built.drops["source"]) <= {"s"}
    assert set(built.drops["operation"]) <= {label(operation)}
    assert built.drops["reason"].null_count() == 0
    assert all(row["row_id"] == row_id(row) for row in built.rows.iter_rows(named=True))


@pytest.mark.parametrize("operation", STEADY, ids=label)
@settings(deadline=None, max_examples=12)
@given(texts=st.lists(TEXT, max_size=12))
def test_doing_it_again_changes_nothing(texts: list[str], operation: Operation, folder: Path) -> None:
    once = run(made(texts), operation, folder).rows
    again = run(once, operation, folder)
    assert again.rows.equals(once)
    assert not again.drops.height


@pytest.mark.parametrize("operation", STEADY, ids=label)
@settings(deadline=None, max_examples=8)
@given(texts=st.lists(TEXT, min_size=1, max_size=8), kept=st.integers(1, 8))
def test_what_happens_to_a_row_does_not_depend_on_later_rows(
    texts: list[str], kept: int, operation: Operation, folder: Path
) -> None:
    if isinstance(operation, Dedupe) and operation.method == "near":
        return  # a later row may join two clusters
    rows = made(texts)
    all_of_them, first = run(rows, operation, folder).rows, run(rows.head(kept), operation, folder).rows
    assert all_of_them.head(first.height).equals(first)


@settings(deadline=None, max_examples=40)
@given(st.lists(TEXT, min_size=3, max_size=25), st.data(), st.integers(0, 3))
def test_smaller_samples_are_prefixes_of_larger_ones(texts: list[str], data: st.DataObject, seed: int) -> None:
    rows = table(*texts)
    small = data.draw(st.integers(1, len(texts)))
    large = data.draw(st.integers(small, len(texts)))
    few, many = (do(rows, Sample(rows=size), seed) for size in (small, large))
    assert few.rows.height == small
    assert set(places(few.rows)) <= set(places(many.rows))
    ranks = {place: int(reason.split()[1]) for place, reason in few.drops.select("place", "reason").iter_rows()}
    left_out = {place: int(reason.split()[1]) for place, reason in many.drops.select("place", "reason").iter_rows()}
    assert sorted(ranks.values()) == list(range(small + 1, len(texts) + 1))
    assert left_out == {place: rank for place, rank in ranks.items() if rank > large}


def test_seeds_draw_different_samples() -> None:
    rows = table(*map(str, range(50)))
    assert places(do(rows, Sample(rows=10), 1).rows) != places(do(rows, Sample(rows=10), 2).rows)
    assert do(rows, Sample(fraction=0.5)).rows.height == 25


def test_operations_on_no_rows(folder: Path) -> None:
    for operation in EVERY:
        assert run(frame([]), operation, folder).rows.equals(frame([]))


def test_operations_work_on_conversations(folder: Path) -> None:
    rows = frame([conversation("mail bob@example.com", "caf\u00c3\u00a9 "), conversation("hello there", "hi")])
    masked = do(rows, Pii()).rows
    assert json.loads(masked["messages"][0])[0] == {"role": "user", "content": "mail <EMAIL>"}
    assert masked["messages"][1] == rows["messages"][1]
    cleaned = do(rows, Clean()).rows
    assert json.loads(cleaned["messages"][0])[1] == {"role": "assistant", "content": "café"}
    assert do(rows, Filter(min_words=3)).rows.equals(rows)
    assert do(rows, Filter(min_words=4)).drops["reason"].to_list() == ["3 words, fewer than 4"] * 2
    assert do(rows, Dedupe(field="messages")).rows.equals(rows)


def test_how_many_rows_changed_is_known() -> None:
    rows = table("fine", "caf\u00c3\u00a9", "bob@example.com \x07", "")
    built = apply_all(rows, [Clean(), Pii()], Context("s", 0))
    assert changed(built.rows) == {"clean": 2, "pii": 1}
    assert changed(rows) == {}
    assert json.loads(built.rows["meta"][2]) == {"place": "f:2", "changed": ["clean", "pii"]}
    assert built.rows["row_id"][0] == rows["row_id"][0]
    assert built.drops["row_id"].to_list() == [rows["row_id"][3]]


def test_further_columns_are_carried_along(folder: Path) -> None:
    rows = made(["caf\u00c3\u00a9", "b", "x@example.org"])
    for operation in EVERY:
        built = run(rows.with_row_index("rank"), operation, folder)
        assert built.rows["rank"].to_list() == places(built.rows)


@pytest.mark.parametrize(
    ("row", "operation", "message"),
    [
        ({"text": "t"}, Verify(), r"s: verify: the row a.jsonl:7 has no verifier.*sources.x.fields.answer"),
        ({"text": "t", "verifier": '{"scorer": "numeric", "answer": "1"}'}, Verify(), "neither a completion"),
        ({"text": "t"}, Filter(field="completion", max_chars=3), "the row a.jsonl:7 has no completion; it has text"),
        ({"text": "t"}, Filter(field="txt", max_chars=3), 'no field "txt". Did you mean "text"'),
        ({"text": "t"}, Dedupe(field="source"), r"dedupe\(field=source\): no field"),
        ({"text": "t"}, Sample(rows=2), r"s: sample\(rows=2\): only 1 rows to sample from"),
        ({"text": "t"}, Filter(min_tokens=2), r"s: filter\(min_tokens=2\): the model is not ready"),
        ({"text": "t"}, Filter(max_perplexity=2), "the model is not ready"),
    ],
)
def test_what_rows_lack_is_named(row: dict[str, str], operation: Operation, message: str) -> None:
    rows = frame([{"source": "x", "meta": '{"place": "a.jsonl:7"}', **row}])
    with pytest.raises(RequestError, match=message):
        do(rows, operation)


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ({"op": "verify"}, "verify"),
        ({"op": "filter", "max_words": 400}, "filter(max_words=400)"),
        ({"op": "sample", "fraction": 0.5}, "sample(fraction=0.5)"),
    ],
)
def test_labels(operation: dict[str, Any], text: str) -> None:
    assert label(TypeAdapter[Operation](Operation).validate_python(operation)) == text


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (Filter(min_words=9), r"s: 0 of 2 rows are left after filter\(min_words=9\); the largest row has 3 words"),
        (Filter(max_chars=1), "the smallest row has 2 words"),
        (Filter(pattern="zz"), r"after filter\(pattern=zz\); f:0: does not match zz\. Nothing was started"),
        (Verify(), "0 of 2 rows are left after verify; f:0: score 0, below 1"),
    ],
)
def test_nothing_left_is_an_error(operation: Operation, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        apply_all(table("a b", "a"), [operation], Context("s", 0))


def test_what_operations_need_is_known_before_they_run(folder: Path) -> None:
    assert needs_model([Clean(), Filter(max_tokens=3)])
    assert needs_model([Filter(min_perplexity=1)])
    assert not needs_model([Filter(max_words=3), Sample(rows=1)])
    assert needs_embeddings([Clean(), Dedupe(method="semantic")])
    assert not needs_embeddings([Dedupe(method="near")])
    digest = hashlib.sha256((folder / "mine.py").read_bytes()).hexdigest()
    assert inputs([Use(function="mine:lower")], folder) == {"function/mine": digest}
    assert inputs([Filter(function="mine:keep"), Verify(function="mine:grade")], folder) == {"function/mine": digest}
    assert inputs([Clean(), Filter(languages=("en",)), Filter(datatrove="c4_quality")], None) == {
        f"library/{name}": version(name) for name in ("ftfy", "py3langid", "datatrove", "spacy")
    }
    assert inputs([Verify()], None) == {"library/reasoning-gym": version("reasoning-gym")}
    assert inputs([Clean(repair=False), Filter(max_words=3), Dedupe(), Pii(), Sample(rows=3)], None) == {}
    with pytest.raises(RequestError, match=r'function mien:keep: no file .*mien.py. Did you mean "mine"'):
        inputs([Filter(function="mien:keep")], folder)


def test_operations_never_import_torch() -> None:
    """Planning does operations, and must not pay for torch (nor for spacy's import of it)."""
    program = """
import sys
from harness.data.operations import Context, apply
from harness.data.rows import frame
from harness.spec import Clean, Dedupe, Filter, Pii
text = "The children were playing with their friends in the garden \\u00e2\\u20ac\\u201c all the morning."
rows = frame([{"source": "s", "text": text}])
chain = [Clean(), Pii(), Filter(languages=("en",)), Filter(datatrove="gopher_quality", settings={"min_doc_words": 3}),
         Dedupe(method="near")]
for operation in chain:
    rows = apply(rows, operation, Context("s", 0)).rows
assert rows.height == 1, rows
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_content_columns_are_the_ones_rewritten() -> None:
    """An address in any column that the model sees is masked."""
    for name in CONTENT_COLUMNS:
        row = conversation("a@example.com") if name == "messages" else {"source": "s", name: "a@example.com"}
        assert "@" not in do(frame([row]), Pii()).rows[name][0]
