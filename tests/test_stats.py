"""``harness.stats.compare``: scores in memory are judged as the command judges the file they would be written to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import formats, stats
from harness.errors import RequestError
from harness.records import ScoreComparison
from tests.command import harness
from tests.forms import FORMS, Rows


def made(gain: float = 0.25, seeds: int = 3, items: int = 12) -> Rows:
    return [
        {"arm": arm, "seed": seed, "item": f"q{item}", "score": 0.5 + more + ((seed * 7 + item * 5) % 11) / 100}
        for arm, more in (("plain", 0.0), ("cleaned", gain))
        for seed in range(seeds)
        for item in range(items)
    ]


def lines(rows: Rows, file: Path) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def without_source(found: ScoreComparison) -> dict[str, Any]:
    return found.model_dump(exclude={"scores"})


def test_the_command_says_the_same(tmp_path: Path) -> None:
    file = lines(made(), tmp_path / "scores.jsonl")
    options = ("--baseline", "plain", "--alpha", "0.1", "--smallest-effect", "0.05", "--json")
    said = harness("stats", "compare", "--scores", "scores.jsonl", *options, cwd=tmp_path)
    assert said.code == 0, said.err
    found = stats.compare(made(), "plain", alpha=0.1, smallest_effect=0.05)
    assert found.arms[0].verdict == "ADOPT"
    assert found.model_dump(mode="json") | {"scores": "scores.jsonl"} == said.json
    assert found.scores == "in memory"
    of_file = stats.compare(file, "plain", alpha=0.1, smallest_effect=0.05)
    assert of_file.scores == str(file)
    assert without_source(of_file) == without_source(found)
    assert stats.compare(str(file), "plain", alpha=0.1, smallest_effect=0.05) == of_file


scores = st.floats(-2, 2).map(lambda value: round(value, 3))
labels = st.sampled_from(["a", "b", None])


@st.composite
def tables(draw: st.DrawFn) -> Rows:
    """Scores of a few arms, with groups and slices or without; perhaps one row is not what it should be."""
    arms, seeds, items = draw(st.integers(2, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 4))
    of_items = [{name: draw(labels) for name in ("group", "slice")} for _ in range(items)]
    further = draw(st.sampled_from([(), ("slice",), ("group", "slice")]))
    rows = [
        {"arm": "plain" if not arm else f"a{arm}", "seed": seed, "item": f"i{item}", "score": draw(scores)}
        | {name: of_items[item][name] for name in further}
        for arm in range(arms)
        for seed in range(seeds)
        for item in range(items)
    ]
    wrong = draw(st.sampled_from([*[""] * 4, "score", "arm", "item", "twice", "lacking"]))
    at = draw(st.integers(0, len(rows) - 1))
    if wrong == "twice":
        rows.append(dict(rows[at]))
    elif wrong == "lacking":
        del rows[at]
    elif wrong:
        rows[at][wrong] = None
    return draw(st.permutations(rows))


def outcome(given: Any) -> Any:
    """What comes out, or the refusal."""
    try:
        return without_source(stats.compare(given, "plain", smallest_effect=0.1))
    except RequestError as error:
        return str(error)


@given(rows=tables(), form=st.sampled_from(list(FORMS)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_in_memory_are_judged_and_refused_as_those_of_a_file(tmp_path: Path, rows: Rows, form: str) -> None:
    file = lines(rows, tmp_path / "scores.jsonl")
    of_file, held = outcome(file), outcome(FORMS[form](rows))
    if isinstance(of_file, str):
        of_file = of_file.replace(f"{file}:", "row ").replace(str(file), "scores").replace("row  ", "scores: ")
    assert held == of_file


def test_arms_may_be_numbers() -> None:
    rows = [row | {"arm": ["plain", "cleaned"].index(row["arm"])} for row in made()]
    found = stats.compare(rows, 0)  # type: ignore[arg-type]
    assert (found.baseline, [arm.arm for arm in found.arms]) == ("0", ["1"])


def test_items_of_pandas_may_be_named_by_text_and_numbers() -> None:
    rows = [row | {"item": int(row["item"][1:]) if row["item"] < "q5" else row["item"]} for row in made()]
    frame = pd.DataFrame(rows)
    assert {type(name) for name in frame["item"]} == {int, str}
    assert stats.compare(frame, "plain") == stats.compare(rows, "plain")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"score": None}, "row 5: score is empty"),
        ({"arm": ""}, "row 5: arm is empty"),
        ({"item": "q3"}, 'row 5: arm "plain", seed "0", item "q3" has a second score; the first is at row 4'),
    ],
)
def test_a_row_that_is_wrong_is_named(form: str, change: dict[str, Any], words: str) -> None:
    rows = made()
    rows[4] |= change
    with pytest.raises(RequestError) as refused:
        stats.compare(FORMS[form](rows), "plain")
    assert str(refused.value).startswith(words)


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        (made(), {"baseline": "plane"}, 'baseline: scores has no arm "plane". Did you mean "plain"?'),
        (made(), {"alpha": 0.9}, "alpha: 0.9 is no level; expected a number between 0 and 0.5"),
        (made(), {"alpha": "low"}, "alpha: 'low' is no level"),
        (made(), {"alpha": True}, "alpha: True is no level"),
        (made(), {"smallest_effect": True}, "smallest_effect: True is not above 0"),
        (made(), {"smallest_effect": 0}, "smallest_effect: 0 is not above 0"),
        (made(), {"smallest_effect": float("nan")}, "smallest_effect: nan is not above 0"),
        ([], {}, "scores: no scores in it; expected one row per arm, seed and item"),
        (pl.DataFrame(), {}, "scores: no scores in it"),
        (made()[:36], {}, 'scores: only the arm "plain" is in it'),
        ([{"arm": "plain", "sede": 1, "item": 2, "score": 3}], {}, 'row 1: there is no column "seed". Did you mean "s'),
        ([{1: "plain"}], {}, "row 1: expected an object with arm, seed, item, score"),
        ([made()[0], "second"], {}, "row 2: expected an object with arm, seed, item, score"),
        (made()[0], {}, 'scores: a dict ("arm", "seed", "item"), expected a polars or pandas frame'),
        (datasets.DatasetDict({"test": datasets.Dataset.from_list(made())}), {}, 'scores: a value of type Data'),
        (pl.LazyFrame(made()), {}, "scores: a value of type LazyFrame, expected a polars or pandas frame"),
        (7, {}, "scores: a value of type int, expected a polars"),
        (pd.DataFrame([[1, 2]], columns=["arm", "arm"]), {}, 'scores: column "arm" is there twice'),
        ("absent.csv", {}, "scores: there is no file absent.csv"),
        (Path("scores.xlsx"), {}, "scores: scores.xlsx is no .csv, .jsonl or .parquet file"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_in_a_sentence(given: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError) as refused:
        stats.compare(given, **{"baseline": "plain"} | options)
    assert str(refused.value).startswith(words)
    assert "--" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_example_in_the_documentation_is_true() -> None:
    import doctest

    assert doctest.testmod(stats).attempted == 3
    assert doctest.testmod(stats).failed == 0


def test_it_prints_as_the_command_does_and_shows_itself_in_a_notebook(tmp_path: Path) -> None:
    file = lines(made(), tmp_path / "<scores>.jsonl")
    found = stats.compare(file, "plain", smallest_effect=0.05)
    options = ("--scores", file.name, "--baseline", "plain", "--smallest-effect", "0.05")
    printed = harness("stats", "compare", *options, cwd=tmp_path)
    assert printed.out.split() == str(found).replace(str(file), file.name).split()
    shown = found._repr_html_()
    assert "&lt;scores&gt;" in shown
    assert "<scores>" not in shown
    for arm in found.arms:
        assert arm.verdict in shown
        assert formats.effect(arm.effect, arm.ci) in shown
