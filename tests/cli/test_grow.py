"""``harness grow``: what it prints, its JSON, the same from Python, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness.cli.schemas import schema
from harness.records import Allocation
from tests import planted
from tests.conftest import TINY_STUDY

POOL = TINY_STUDY[TINY_STUDY.index("  sums: {", TINY_STUDY.index("sources:")) : TINY_STUDY.index("baseline:")]
LADDERS = (
    TINY_STUDY[: TINY_STUDY.index("baseline:")].replace("steps: 4", "epochs: 1")
    + POOL.replace("  sums:", "  notes:").replace("seed: 2", "seed: 5").replace("0.08", "0.5")
    + """baseline: {mix: {scraped: 16, sums: 16, notes: 20}}
designs:
  - size_ladder: {source: sums, rows: [4, 8]}
  - size_ladder: {source: notes, rows: [5, 10]}
controls: [aa]
seeds: 3
match: additive
decide: {metric: sums/exact_match, smallest_effect: 0.05}
"""
)
GAINED = {"sums-4": -0.3, "sums-8": -0.15, "notes-5": -0.02, "notes-10": -0.01}  # against the baseline: 0.15 a doubling


def scores(variant: str, seed: int, items: int) -> np.ndarray:
    rng = np.random.default_rng([seed, *variant.encode()])
    level = 0.4 + 0.2 * (np.arange(items) % 3) / 2 + GAINED.get(variant, 0.0)
    return level + rng.normal(0, 0.03, items) + rng.normal(0, 0.004)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """The folder of a finished study with two ladders: one that gains, one that may gain nothing."""
    study = planted.folder_with(tmp_path_factory.mktemp("ladders"), tiny, LADDERS)
    planted.plant(study, scores)
    return study.parent


def test_it_says_what_to_buy_and_what_would_tell(cli: Any) -> None:
    done = cli("grow", "study.yaml", "--budget", "20")
    assert (done.code, done.err) == (0, "")
    said = " ".join(done.out.split())
    assert re.search(
        r"BUY 11\.28 of 20 spent, 8\.72 left\. Expected gain \+1\d\.\d \[.+\] points \(intervals: 95%\)", said
    )
    assert re.search(r"sums GROW 16 \+16 1\.28 \+1\d\.\d \[\S+ \S+\] twice its largest rung", said)
    assert re.search(r"notes HOLD 20 \+20 10 \+0\.\d+ \[-\S+ \S+\] may be nothing", said)
    assert "Cannot tell scraped: it was never tried at two sizes." in said
    assert re.search(
        r"Cannot tell notes: 20 more rows may gain nothing: .* with these rungs about ±\S+, not ±\S+\.", said
    )
    assert "\n  - size_ladder: {source: notes, rows: [28, 40]}\n" in done.out
    assert "gains of sources are taken to add" in said
    assert "beyond 2 times its largest rung" in said


def test_units_and_supplies_are_the_callers(cli: Any) -> None:
    rows = cli("grow", "study.yaml", "--budget", "6", "--unit", "rows", "--json").json
    assert (rows["spent"], rows["unit"]) == (6, "rows")
    assert {one["source"]: one["rows"] for one in rows["shares"]} == {"sums": 6, "notes": 0}
    few = cli("grow", "study.yaml", "--budget", "6", "--unit", "rows", "--supply", "sums=2", "--json").json
    assert {one["source"]: one["rows"] for one in few["shares"]} == {"sums": 2, "notes": 4}
    tokens = cli("grow", "study.yaml", "--budget", "100", "--unit", "tokens").out
    assert re.search(r"BUY +\d+ of 100 tokens spent", tokens)


def test_json_is_described_and_is_what_python_returns(cli: Any, finished: Path) -> None:
    document = cli("grow", "study.yaml", "--budget", "20", "--json").json
    assert set(document) == set(schema("Allocation")["properties"])
    assert Allocation.model_validate(document).model_dump(mode="json") == document
    assert cli("grow", "--json-schema").json["version"] == document["schema_version"]
    opened = harness.open_study(finished / "study.yaml", store=finished / ".harness")
    assert opened.grow(20).model_dump(mode="json") == document
    assert opened.grow(6, unit="rows", supply={"sums": 2}).shares[0].rows == 2
    growth = {line.source: line for line in opened.answer().verdicts.growth}
    for one in document["shares"]:  # both go to twice the rung: the table of `decide` says the same
        assert one["gain"] == pytest.approx(growth[one["source"]].next_gain)
        assert one["ci"] == pytest.approx(growth[one["source"]].next_ci)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("", "harness grow: --budget is missing"),
        ("--budget 0", "--budget: 0 is not a number above 0\n"),
        ("--budget nan", "--budget: nan is not a number above 0\n"),
        ("--budget much", "harness grow: --budget: expected a valid number."),
        ("--budget 5 --supply sum=3", '--supply: no source is named "sum". Did you mean "sums"?\n'),
        ("--budget 5 --supply sums", '--supply: "sums" is not SOURCE=ROWS, such as forum=1000\n'),
        ("--budget 5 --supply sums=1.5", '--supply: "sums=1.5" is not SOURCE=ROWS, such as forum=1000\n'),
    ],
)
def test_a_wrong_request_is_one_sentence(cli: Any, options: str, words: str) -> None:
    refused = cli("grow", "study.yaml", *options.split())
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(words)
    assert refused.err.count("\n") == 1


def test_a_price_that_lacks_is_named_with_its_line(cli: Any, finished: Path) -> None:
    (finished / "unpriced.yaml").write_text(LADDERS.replace(", cost_per_row: 0.5", ""))
    refused = cli("grow", "unpriced.yaml", "--budget", "20")
    assert refused.code == 2
    line = next(at for at, text in enumerate(LADDERS.splitlines(), 1) if text.startswith("  notes:"))
    assert refused.err.startswith(f"unpriced.yaml:{line}: sources.notes.cost_per_row: missing; ")
    assert cli("grow", "unpriced.yaml", "--budget", "20", "--unit", "rows").code == 0


def test_missing_runs_are_said(cli: Any, tmp_path: Path, tiny: Path) -> None:
    study = planted.folder_with(tmp_path, tiny, LADDERS)
    before = cli("grow", "study.yaml", "--budget", "20", cwd=tmp_path)
    assert (before.code, before.out) == (1, "")
    assert before.err.startswith("nothing to decide yet: 0 of 18 runs are done (18 to do). Run: harness run study.yaml")
    made = planted.plant(study, scores)
    planted.forget(made, "notes-10", 1)
    some = cli("grow", "study.yaml", "--budget", "20", "--json", cwd=tmp_path)
    assert some.code == 1
    assert "17 of 18 runs are done" in some.err
    assert some.json["complete"] is False
    assert {one["source"] for one in some.json["shares"]} == {"sums"}
    assert {one["source"]: one["reason"] for one in some.json["unclear"]}["notes"].startswith(
        "a learning curve needs 3"
    )


def test_a_study_without_ladders_is_told_which_would_do(cli: Any, tmp_path: Path, tiny: Path) -> None:
    planted.plant(planted.folder_with(tmp_path, tiny))
    done = cli("grow", "study.yaml", "--budget", "20", cwd=tmp_path)
    assert done.code == 0
    said = " ".join(done.out.split())
    assert "No source has a learning curve: nothing can be said about 20." in said
    assert "Cannot tell sums: a learning curve needs 3 sizes above 0 rows; there are 2." in said
    assert "\n  - size_ladder: {source: sums, rows: [23, 32], alone: true}\n" in done.out
