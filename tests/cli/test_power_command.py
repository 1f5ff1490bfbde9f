"""``harness power``: alone, and with a study; what ``decide`` and ``compare`` print fits its schema."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import records
from harness.__main__ import main
from harness.cli.schemas import schema
from harness.records import Power
from harness.statistics.power import minimum_effect
from tests import planted
from tests.command import Called

Run = Callable[..., Called]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what calls ``harness`` in this process, as the command line does."""

    def call(*arguments: str | Path) -> Called:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return Called(code if isinstance(code, int) else 0, said.out, said.err)

    return call


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    study = planted.folder_with(tmp_path_factory.mktemp("finished"), tiny)
    planted.plant(study)
    return study


def test_alone_it_takes_variances(run: Run) -> None:
    sds = ("--seed-sd", "0.03", "--item-sd", "0.1", "--residual-sd", "0.4")
    size = ("--seeds", "3", "--items", "200", "--arms", "6", "--comparisons", "4", "--effect", "0.04")
    found = Power.model_validate(run("power", *sds, *size, "--json").json)
    expected = minimum_effect(0.03, 0.1, 3, 200, 6, 0.05 / 4, 0.8, 0.4, noise="balanced", twin=True)
    assert found.minimum_effect == pytest.approx(expected)
    assert (found.noise, found.smallest_effect, found.comparisons) == ("variances as given", 0.04, 4)
    assert found.seeds_needed is not None
    again = run("power", *sds, *size, "--seeds", str(found.seeds_needed), "--json").json
    assert again["minimum_effect"] <= 0.04


def test_what_is_not_given_is_assumed_and_said(run: Run) -> None:
    called = run("power", "--seed-sd", "0.01")
    assert called.code == 0
    assert "variances as given; item_sd, residual_sd: noise assumed" in " ".join(called.out.split())
    assert "Smallest effect seen" in called.out
    assert "no verdict can come from one seed" in run("power", "--seeds", "1").out


def test_more_of_anything_sees_smaller_effects(run: Run) -> None:
    def least(*options: str) -> float:
        found: float = run("power", *options, "--json").json["minimum_effect"]
        return found

    usual = least()
    for options in (("--seeds", "6"), ("--items", "2000"), ("--arms", "9"), ("--power", "0.5"), ("--alpha", "0.2")):
        assert least(*options) < usual
    for options in (("--seeds", "2"), ("--items", "20"), ("--comparisons", "5"), ("--power", "0.95")):
        assert least(*options) > usual


def test_with_a_finished_study_it_takes_what_was_measured(run: Run, finished: Path) -> None:
    store = ("--store", finished.parent / ".harness")
    found = Power.model_validate(run("power", finished, *store, "--json").json)
    assert found.noise == "noise measured in this study"
    assert (found.seeds, found.items, found.arms, found.comparisons) == (2, 12, 6, 3)
    assert found.smallest_effect == 0.05
    plan = run("plan", finished, *store, "--json").json
    assert plan["power"]["minimum_effect"] == found.minimum_effect
    more = Power.model_validate(run("power", finished, *store, "--seeds", "9", "--json").json)
    assert more.minimum_effect is not None
    assert found.minimum_effect is not None
    assert more.minimum_effect < found.minimum_effect
    assert more.seed_sd == found.seed_sd


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--alpha", "0.9"), "--alpha: 0.9 is not between 0 and 0.5"),
        (("--power", "1"), "--power: 1 is not between 0 and 1"),
        (("--effect", "0"), "--effect: 0 is not between 0 and inf"),
    ],
)
def test_options_out_of_range_are_refused(run: Run, arguments: tuple[str, ...], words: str) -> None:
    called = run("power", *arguments)
    assert (called.code, called.err) == (2, words + "\n")


def test_plan_says_it_in_a_line(run: Run, finished: Path) -> None:
    said = " ".join(run("plan", finished, "--store", finished.parent / ".harness").out.split())
    assert "2 seeds x 12 items see an effect of" in said
    assert "four times in five in each of 3 comparisons" in said


@pytest.mark.parametrize(("verb", "record"), [("decide", "Decisions"), ("compare", "Comparison"), ("power", "Power")])
def test_json_fits_its_schema(run: Run, finished: Path, verb: str, record: str) -> None:
    document = run(verb, finished, "--store", finished.parent / ".harness", "--json").json
    described = schema(record)
    assert set(document) == set(described["properties"])
    assert document["schema_version"] == described["version"]
    kept = getattr(records, record).model_validate(document)  # unknown fields are refused, at every depth
    assert kept.model_dump(mode="json") == document


def test_decide_prints_growth_and_compare_prints_slices(run: Run, finished: Path) -> None:
    store = ("--store", finished.parent / ".harness")
    decided = run("decide", finished, *store).out
    for words in ("Rank", "points per 1,000 rows", "Cost per point", "not a curve", "Grow next: sums", "Weakest slice"):
        assert words in decided
    assert "Slice, weakest first" in run("compare", finished, *store, "--slices").out
    assert "Slice, weakest first" not in run("compare", finished, *store).out
