"""``harness.data.dedupe`` and ``decontaminate``: what is in memory comes out as the commands write it from files."""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import data
from harness.cli.data import decontaminate as decontaminate_command
from harness.cli.data import dedupe as dedupe_command
from harness.data import decontaminated, deduped
from harness.errors import RequestError
from tests.forms import FORMS, Rows

ASKED = (
    "Which of the three rivers of the valley is the longest one?",
    "A farmer has 12 sheep and buys 7 more of them at the market, how many does he have then?",
    "Name the colour of the old lighthouse on the northern shore of the island.",
    "Why?",
)
WORDS = st.sampled_from(
    [*ASKED, "which of the THREE rivers of the valley is the longest one", "Something else, about bread.", "", "!"]
)  # fmt: skip


def lines(rows: Rows, file: Path) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def read(file: Path) -> Rows:
    return [json.loads(line) for line in file.read_text().splitlines()]


def said_by(command: Callable[..., None], **options: Any) -> dict[str, Any] | str:
    """Run a command in this process, and return its JSON, or why it refused."""
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            command(**options, json=True)
    except RequestError as error:
        return str(error)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def as_in_memory(message: str, file: Path, stem: str = "row ") -> str:
    """What a command says, as a function says it of the same rows in memory."""
    message = message.replace(f"{file}:", stem).replace(f"{file.name}:", stem)
    message = message.replace(" Nothing was written; --on-bad-row drop", ' on_bad_row="drop"')
    for ending in (" Nothing was written.", " Nothing was started."):
        message = message.removesuffix(ending)
    return message.replace("--train", "rows").replace("with --field.", "with field.")


@st.composite
def tables(draw: st.DrawFn) -> Rows:
    """Rows of text, or of questions and answers, with ids or without; perhaps one has no text."""
    count = draw(st.integers(1, 7))
    layout = draw(st.sampled_from(["text", "question"]))
    rows: Rows = []
    for number in range(count):
        row: dict[str, Any] = {"id": f"r{number}"} if draw(st.booleans()) else {"id": None}
        row |= {"text": draw(WORDS)} if layout == "text" else {"question": draw(WORDS), "answer": f"It is {number}."}
        rows.append(row | {"extra": number / 2})
    if draw(st.integers(0, 5)) == 0:
        rows[draw(st.integers(0, count - 1))]["text" if layout == "text" else "question"] = None
    return rows


# ---------------------------------------------------------------------------------------------------------- dedupe


@given(tables(), st.sampled_from(list(FORMS)), st.sampled_from(["exact", "near"]), st.sampled_from(["stop", "drop"]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_in_memory_are_deduped_as_those_of_a_file(
    tmp_path: Path, rows: Rows, form: str, method: Any, on_bad_row: Any
) -> None:
    file = lines(rows, tmp_path / "rows.jsonl")
    kept, clusters = tmp_path / "kept.jsonl", tmp_path / "clusters.jsonl"
    options: dict[str, Any] = {"method": method, "on_bad_row": on_bad_row}
    said = said_by(dedupe_command.dedupe, given=file, out=kept, clusters=clusters, **options)
    if isinstance(said, str):
        with pytest.raises(RequestError) as refused:
            data.dedupe(FORMS[form](rows), **options)
        assert str(refused.value) == as_in_memory(said.replace(f"--in: {file}: ", "rows: "), file)
        return
    found = data.dedupe(FORMS[form](rows), **options)
    place = f"{file}:"
    assert found.kept.to_dicts() == read(kept)
    written = [{name: value.replace(place, "row ") for name, value in line.items()} for line in read(clusters)]
    assert found.clusters.to_dicts() == written
    figures = json.loads(json.dumps(found.summary).replace("row ", place))
    assert figures | {"out": str(kept), "clusters": str(clusters)} == said
    assert found.bad.height == said["bad"]
    of_file = data.dedupe(file, **options)
    assert of_file.clusters.to_dicts() == read(clusters)
    assert of_file.kept.to_dicts() == read(kept)


def test_what_is_kept_has_all_columns_in_their_own_types() -> None:
    frame = pl.DataFrame(
        {
            "text": ["one and two", "One and two!", "three"],
            "small": pl.Series([1, 2, 3], dtype=pl.Int8),
            "kind": pl.Series(["a", "b", "a"], dtype=pl.Categorical),
            "talk": [[{"role": "user", "content": "hi"}]] * 3,
        }
    )
    found = data.dedupe(frame, method="exact", field="text")
    assert found.kept.equals(frame[[0, 2]])
    assert found.clusters.rows() == [("row 1", "row 1"), ("row 2", "row 1"), ("row 3", "row 3")]
    assert found.clusters.columns == ["id", "cluster"]


def test_objects_with_members_of_their_own_lose_none() -> None:
    rows = [{"text": "first", "more": {"a": 1}}, {"text": "second", "more": {"b": "x"}}, {"text": "third"}]
    assert data.dedupe(rows).kept["more"].to_list() == [{"a": 1, "b": None}, {"a": None, "b": "x"}, None]


def test_ids_of_several_types_are_text() -> None:
    rows = [{"id": 7, "text": "same words"}, {"id": "b", "text": "Same words"}]
    with pytest.raises(RequestError, match=r'^rows: the values of column "id" \(int and str\) make no column'):
        data.dedupe([*rows, {"id": 8, "text": "others"}, {"id": "c", "text": "further"}])
    found = data.dedupe([{"text": "same words"}, {"id": 7, "text": "Same words"}], method="exact")
    assert found.clusters.rows() == [("row 1", "row 1"), ("7", "row 1")]


def test_bad_rows_are_listed_with_their_place() -> None:
    rows = [{"text": "fine"}, {"text": None}, {"text": "Fine!"}, "nothing", {"text": float("nan")}]
    found = data.dedupe(rows, on_bad_row="drop")
    assert found.kept.to_dicts() == [{"text": "fine"}]
    assert found.bad["place"].to_list() == ["row 2", "row 4", "row 5"]
    assert found.bad["reason"][1] == "not an object but text"
    assert "3 rows left out, which cannot be compared; the first, row 2: " in repr(found)
    with pytest.raises(RequestError, match=r'^row 2: "text" is null, .*\. on_bad_row="drop" leaves such rows out\.$'):
        data.dedupe(rows)


def test_a_notebook_shows_the_summary_and_no_markup_of_the_data() -> None:
    found = data.dedupe([{"text": "a"}, {"text": "b", "<b>": 1}, {"text": "a", "<b>": 1}])
    shown = found._repr_html_()
    assert "1 of 3 rows repeat an earlier one (near, 0.7), in 1 cluster; 2 stay." in shown
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert repr(found).startswith("Deduped: 1 of 3 rows repeat an earlier one (near, 0.7), in 1 cluster; 2 stay.\n")


def test_values_of_numpy_are_what_they_hold() -> None:
    """As rows of pandas have them."""
    talk = np.array([{"role": "user", "content": "hi"}, {"role": "assistant", "content": np.str_("yes")}], dtype=object)
    rows = [
        {"messages": talk, "n": np.int64(number), "x": np.float64(0.5), "mark": np.bool_(True)} for number in (1, 2)
    ]
    said = {"messages": talk.tolist(), "n": 1, "x": 0.5, "mark": True}
    for form in (rows, pd.DataFrame(rows)):
        assert data.dedupe(form).kept.to_dicts() == [said]


def test_a_column_of_pandas_may_mix_kinds_where_the_rows_that_stay_do_not() -> None:
    frame = pd.DataFrame(
        {"text": ["one and two", "One and two!", "three"], "n": pd.Series([1, "x", None], dtype=object)}
    )
    assert data.dedupe(frame).kept.rows() == [("one and two", 1), ("three", None)]


def test_types_of_pandas_come_along() -> None:
    frame = pd.DataFrame(
        {
            "text": pd.array(["one and two", "One and two!", "three"], dtype="string"),
            "n": pd.array([1, None, 3], dtype="Int64"),
            "day": pd.to_datetime(["2020-01-01", "2020-01-02", None], utc=True),
            "price": [Decimal("1.10"), Decimal("2.20"), Decimal("3.30")],
        }
    )
    day = datetime(2020, 1, 1, tzinfo=UTC)
    assert data.dedupe(frame, field="text").kept.rows() == [
        ("one and two", 1, day, Decimal("1.10")), ("three", 3, None, Decimal("3.30")),
    ]  # fmt: skip


TEXT = [{"text": "a"}, {"text": "b"}]


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        (TEXT, {"method": "nere"}, 'method: "nere" is not one of its values. Did you mean "near"?'),
        (TEXT, {"on_bad_row": "skip"}, 'on_bad_row: "skip" is not one of its values.'),
        (TEXT, {"threshold": 0}, "threshold: expected more than 0"),
        (TEXT, {"threshold": 1.5}, "threshold: 1.5 is no similarity; expected a number from 0 to 1"),
        (TEXT, {"threshold": "high"}, "threshold: 'high' is no similarity"),
        (TEXT, {"threshold": 0.5, "method": "exact"}, 'threshold: exact needs none; it goes with method="near" or sem'),
        (TEXT, {"field": "txet"}, 'field: the rows have no column or field "txet". Did you mean "text"?'),
        ([{"body": "a"}], {}, "row 1: its columns (body) hold nothing that is recognized. Name the column to compare"),
        ([], {}, "rows: there are none."),
        (pl.DataFrame({"text": []}), {}, "rows: there are none."),
        (["a", "b"], {"on_bad_row": "drop"}, "rows: all 2 rows are bad; the first, row 1: not an object but text."),
        (pl.LazyFrame(TEXT), {}, "rows: a value of type LazyFrame, expected a polars or pandas frame, a list of"),
        ({"text": ["a"]}, {}, 'rows: a dict ("text"), expected'),
        (7, {}, "rows: a value of type int, expected"),
        ([{"text": "a", 1: 2}], {}, "row 1: the name of a column is 1, expected text. on_bad_row="),
        ("absent.jsonl", {}, "absent.jsonl: no such file."),
        ([{"text": "a", "n": 1}, {"text": "b", "n": "x"}], {}, 'rows: the values of column "n" (int and str) make no'),
    ],
)  # fmt: skip
def test_what_cannot_be_deduped_is_refused_in_a_sentence(rows: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError) as refused:
        data.dedupe(rows, **options)
    check_sentence(str(refused.value), words)


def check_sentence(said: str, words: str) -> None:
    assert said.startswith(words)
    assert not [part for part in ("--", "\n", "sources.", "Nothing was") if part in said]


# --------------------------------------------------------------------------------------------------- decontaminate


@given(tables(), tables(), st.sampled_from(list(FORMS)), st.sampled_from(["keep", "drop"]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_in_memory_are_decontaminated_as_those_of_files(
    tmp_path: Path, rows: Rows, items: Rows, form: str, templates: Any
) -> None:
    train, evals = lines(rows, tmp_path / "rows.jsonl"), lines(items, tmp_path / "items.jsonl")
    out, clean = tmp_path / "out.jsonl", tmp_path / "clean.jsonl"
    options: dict[str, Any] = {"ngram": 8, "fuzzy": 0.7, "templates": templates}
    paths = {"train": train, "evals": evals, "out": out, "clean": clean}
    said = said_by(decontaminate_command.decontaminate, **paths, **options, semantic=None)
    if isinstance(said, str):
        with pytest.raises(RequestError) as refused:
            data.decontaminate(FORMS[form](rows), FORMS[form](items), **options)
        assert str(refused.value) == as_in_memory(as_in_memory(said, train), evals, "item ")
        return
    found = data.decontaminate(FORMS[form](rows), FORMS[form](items), **options)
    assert found.kept.to_dicts() == read(clean)
    written = [
        line
        | {
            "train_id": line["train_id"].replace("rows.jsonl:", "row "),
            "eval_id": line["eval_id"].replace(f"{evals}:", "item "),
        }
        for line in read(out)
    ]
    assert found.overlaps.to_dicts() == written
    assert found.summary | {"flags": str(out), "clean": str(clean)} == said
    of_files = data.decontaminate(train, str(evals), **options)
    assert of_files.overlaps.to_dicts() == read(out)
    assert of_files.summary == found.summary


def test_rows_that_hold_items_go_and_the_others_keep_their_columns() -> None:
    frame = pl.DataFrame({"text": [f"Quiz: {ASKED[1]} 19", "Bread is baked."], "n": pl.Series([1, 2], dtype=pl.Int8)})
    found = data.decontaminate(frame, pd.DataFrame({"id": ["q"], "question": [ASKED[1]], "answer": ["19"]}))
    assert found.kept.equals(frame[[1]])
    assert found.overlaps.columns == ["train_id", "eval_id", "kind", "score", "span"]
    assert found.overlaps.select("train_id", "eval_id").rows() == [("row 1", "q")]
    assert repr(found) == "Decontaminated: 1 of 2 rows overlap 1 of 1 item; 1 stay."
    assert found._repr_html_() == "<p><strong>Decontaminated</strong><br>1 of 2 rows overlap 1 of 1 item; 1 stay.</p>"


def test_templates_are_listed_and_stay_unless_they_shall_go() -> None:
    rows, items = [{"text": ASKED[1].replace("12", "31").replace("7", "5")}], [{"question": ASKED[1]}]
    found = data.decontaminate(rows, items)
    assert found.overlaps["kind"].to_list() == ["template"]
    assert found.kept.height == 1
    assert 'template overlaps are listed and stay, in 1 row; templates="drop" removes them.' in repr(found)
    assert data.decontaminate(rows, items, templates="drop").kept.height == 0


def test_nothing_found_is_a_table_with_all_columns() -> None:
    found = data.decontaminate(TEXT, [{"question": ASKED[0]}])
    assert found.kept.to_dicts() == TEXT
    assert found.overlaps.schema == pl.Schema(decontaminated.COLUMNS)


@pytest.mark.parametrize(
    ("rows", "items", "options", "words"),
    [
        (TEXT, TEXT, {"ngram": 2}, "ngram: must be greater than or equal to 3 (it is 2)"),
        (TEXT, TEXT, {"fuzzy": 2}, "fuzzy: must be less than or equal to 1 (it is 2"),
        (TEXT, TEXT, {"templates": "kep"}, 'templates: "kep" is not one of its values. Did you mean "keep"?'),
        (TEXT, TEXT, {"semantic": -1}, "semantic: "),
        ([], TEXT, {}, "rows: it has no rows."),
        (TEXT, [], {}, "items: holds no items."),
        (TEXT, [{"id": 1, "text": "a"}, {"id": 1, "text": "b"}], {}, 'item 2: the id "1" is there twice.'),
        (TEXT, [{"text": "a"}, {"text": ""}], {}, "item 2: neither a question nor an answer."),
        (TEXT, [{"body": "a"}], {}, "item 1: its columns (body) hold nothing that is recognized. Rename them: "),
        ([{"body": "a"}], TEXT, {}, "row 1: its columns (body) hold nothing that is recognized. Rename them: "),
        ([*TEXT, {"text": None}], TEXT, {}, 'row 3: "text" is null, expected text or a number. 2 good rows before it.'),
        (TEXT, 3, {}, "items: a value of type int, expected a polars"),
        (TEXT, "absent.jsonl", {}, "absent.jsonl: no such file."),
        ("absent.jsonl", TEXT, {}, "absent.jsonl: no such file."),
    ],
)  # fmt: skip
def test_what_cannot_be_decontaminated_is_refused_in_a_sentence(
    rows: Any, items: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(RequestError) as refused:
        data.decontaminate(rows, items, **options)
    check_sentence(str(refused.value), words)


# ------------------------------------------------------------------------------------------------------------ names


def test_the_functions_come_when_they_are_asked_for() -> None:
    code = (
        "import sys, harness.data as data\n"
        "heavy = ('polars', 'torch', 'numpy', 'pandas', 'datasets')\n"
        "assert not [name for name in heavy if name in sys.modules]\n"
        "assert set(data.__all__) <= set(dir(data))\n"
        "data.dedupe([{'text': 'a'}])\n"
        "assert not [name for name in ('torch', 'datasets') if name in sys.modules]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert data.dedupe is deduped.dedupe
    with pytest.raises(AttributeError, match="has no attribute 'dedup'"):
        data.dedup  # noqa: B018


@pytest.mark.parametrize("module", [deduped, decontaminated])
def test_the_examples_in_the_documentation_are_true(module: Any) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed
