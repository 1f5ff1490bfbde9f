"""``harness stats compare``: scores of any tool judged, and every way to get them wrong told with its line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from harness.__main__ import main
from harness.cli.schemas import schema
from harness.decisions.table import judge, naive
from harness.records import ScoreComparison
from harness.statistics.paired import contrast
from harness.statistics.scores import Scores
from tests.command import Called, harness

Run = Callable[..., Called]
EFFECTS = {"base": 0.0, "better": 0.15, "same": 0.0}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what calls ``harness stats compare`` in this process, as the command line does."""

    def call(file: Path, *arguments: str) -> Called:
        line = ["harness", "stats", "compare", "--scores", str(file), "--baseline", "base", *arguments]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        return Called(code if isinstance(code, int) else 0, said.out, said.err)

    return call


def rows(
    effects: dict[str, float] = EFFECTS, seeds: int = 3, items: int = 60, sd: float = 0.02, draw: int = 0
) -> list[dict[str, Any]]:
    """A row per cell; the effects are planted exactly."""
    rng = np.random.default_rng(draw)
    values = 0.4 + rng.normal(0, sd, (len(effects), seeds, items))
    values -= values.mean(axis=(1, 2), keepdims=True) - 0.4
    return [
        {"arm": arm, "seed": str(s), "item": f"i{i}", "score": float(values[a, s, i] + effect)}
        for a, (arm, effect) in enumerate(effects.items())
        for s in range(seeds)
        for i in range(items)
    ]


def write(folder: Path, made: list[dict[str, Any]], name: str = "scores.csv") -> Path:
    frame, file = pl.DataFrame(made), folder / name
    {".csv": frame.write_csv, ".jsonl": frame.write_ndjson, ".parquet": frame.write_parquet}[file.suffix](file)
    return file


def edited(folder: Path, line: int, text: str | None) -> Path:
    """A sound file with one line (1 is the header) replaced, or taken out."""
    file = write(folder, rows())
    lines = file.read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    file.write_text("\n".join(lines) + "\n")
    return file


# --------------------------------------------------------------------------------------------------------- answers


def test_planted_effects_get_their_verdicts(run: Run, tmp_path: Path) -> None:
    called = run(write(tmp_path, rows()), "--smallest-effect", "0.05", "--json")
    assert called.code == 0
    found = ScoreComparison.model_validate(called.json)
    arms = {arm.arm: arm for arm in found.arms}
    assert {name: arm.verdict for name, arm in arms.items()} == {"better": "ADOPT", "same": "NEUTRAL"}
    assert arms["better"].effect == pytest.approx(0.15)
    assert (found.seeds, found.items, found.groups, found.smallest_effect) == (["0", "1", "2"], 60, None, 0.05)
    assert found.noise["seed_share"] is not None
    assert found.notes == []


def test_the_three_formats_give_the_same_figures(run: Run, tmp_path: Path) -> None:
    made = [
        row | {"group": f"g{int(row['item'][1:]) // 4}", "slice": "odd" if row["item"][-1] in "13579" else "even"}
        for row in rows()
    ]
    found = [run(write(tmp_path, made, f"scores{suffix}"), "--json").json for suffix in (".csv", ".jsonl", ".parquet")]
    for one in found:
        one.pop("scores")
    assert found[0] == found[1] == found[2]
    assert found[0]["groups"] == 15
    assert {one["slice"] for one in found[0]["slices"]} == {"odd", "even"}


@given(st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_rows_does_not_matter(run: Run, tmp_path: Path, random: Any) -> None:
    made = rows(items=8)
    first = run(write(tmp_path, made), "--json").json
    random.shuffle(made)
    again = run(write(tmp_path, made), "--json").json
    for arm in first["arms"]:
        other = next(one for one in again["arms"] if one["arm"] == arm["arm"])
        assert [other[name] for name in ("effect", "se", "p")] == pytest.approx(
            [arm[name] for name in ("effect", "se", "p")]
        )


def test_the_figures_are_those_of_the_statistics(tmp_path: Path, run: Run) -> None:
    made = rows(sd=0.3)
    found = {arm["arm"]: arm for arm in run(write(tmp_path, made), "--json").json["arms"]}
    scores = table(made)
    one = contrast(scores, "better", "base")
    assert [found["better"][name] for name in ("effect", "se", "df", "p")] == pytest.approx(
        [one.effect, one.se, one.df, one.p]
    )
    a, b = (scores.values[scores.arm(name)] for name in ("better", "base"))
    z = (a.mean() - b.mean()) / (a.var(ddof=1) / a.size + b.var(ddof=1) / b.size) ** 0.5
    assert found["better"]["naive_z_p"] == pytest.approx(2 * scipy_stats.norm.sf(abs(z)))
    paired = scipy_stats.ttest_rel(a.mean(axis=0), b.mean(axis=0))
    assert found["better"]["naive_t_p"] == pytest.approx(paired.pvalue)


def table(made: list[dict[str, Any]]) -> Scores:
    frame = pl.DataFrame(made)
    names = [frame[axis].unique(maintain_order=True).to_list() for axis in ("arm", "seed", "item")]
    values = frame["score"].to_numpy().reshape([len(each) for each in names])
    return Scores(values, *(tuple(each) for each in names))


def test_people_see_verdicts_naive_tests_noise_and_slices(run: Run, tmp_path: Path) -> None:
    made = [row | {"slice": "odd" if row["item"][-1] in "13579" else "even"} for row in rows()]
    said = run(write(tmp_path, made)).out
    for words in (
        "ADOPT",
        "unpaired z says",
        "items-only t says",
        "Slice, weakest first",
        "Noise of a difference: seeds",
    ):
        assert words in said
    assert "no smallest effect is given" in said


def test_what_is_inconclusive_says_what_would_settle_it(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path, rows({"base": 0.0, "near": 0.06}, sd=0.4))
    arm = run(file, "--smallest-effect", "0.05", "--json").json["arms"][0]
    assert arm["verdict"] == "INCONCLUSIVE"
    assert arm["reason"].startswith("noise may do this: p = ")
    assert arm["resolve"].startswith("needs ")


def test_an_arm_far_noisier_than_the_others_is_flagged(run: Run, tmp_path: Path) -> None:
    made = rows({"base": 0, "wild": 0, "calm": 0, "quiet": 0}, seeds=5)
    for row in made:
        row["score"] += {"wild": 0.3}.get(row["arm"], 0.0) * (int(row["seed"]) - 2)
    called = run(write(tmp_path, made), "--json")
    assert {arm["arm"]: arm["noisier"] for arm in called.json["arms"]} == {"wild": True, "calm": False, "quiet": False}
    assert any("seed noise differs: wild" in note for note in called.json["notes"])


def test_the_naive_tests_are_wrong_where_seeds_matter(tmp_path: Path) -> None:
    """No arm differs; items-only tests see effects in most studies, ours in few."""
    rng = np.random.default_rng(3)
    wrong = np.zeros(2)
    studies = 300
    for _ in range(studies):
        values = 0.4 + rng.normal(0, 0.08, (4, 3, 1)) + rng.normal(0, 0.2, (4, 3, 100))
        scores = Scores(values, tuple("abcd"), tuple("123"), tuple(map(str, range(100))))
        p, (_, t) = contrast(scores, "b", "a").p, naive(scores, "b", "a")
        assert p is not None
        assert t is not None
        wrong += [p < 0.05, t < 0.05]
    assert wrong[0] / studies < 0.09
    assert wrong[1] / studies > 0.3


# -------------------------------------------------------------------------------------- a number can still be given


def test_one_seed_is_item_noise_only(run: Run, tmp_path: Path) -> None:
    called = run(write(tmp_path, rows(seeds=1)), "--json")
    assert called.code == 0
    assert "one seed: intervals hold item noise only, and no verdict can come from them" in called.json["notes"]
    assert {arm["verdict"] for arm in called.json["arms"]} == {"INCONCLUSIVE"}
    assert all(arm["p"] is None and arm["ci"][0] < arm["ci"][1] for arm in called.json["arms"])
    assert called.json["arms"][0]["resolve"] == "needs at least 2 more seeds"


def test_one_item_has_a_difference_and_nothing_else(run: Run, tmp_path: Path) -> None:
    called = run(write(tmp_path, rows(items=1)), "--json")
    assert called.code == 0
    assert called.json["arms"][0]["effect"] == pytest.approx(0.15)
    assert called.json["arms"][0]["ci"] == [None, None]
    assert any(note.startswith("one item: ") for note in called.json["notes"])


def test_one_group_is_one_observation(run: Run, tmp_path: Path) -> None:
    called = run(write(tmp_path, [row | {"group": "text 1"} for row in rows()]), "--json")
    assert called.code == 0
    assert called.json["arms"][0]["ci"] == [None, None]
    assert any("one cluster" in note for note in called.json["notes"])


@pytest.mark.parametrize("level", [0.0, 1.0, 0.37])
def test_constant_scores_are_no_proof_of_anything(run: Run, tmp_path: Path, level: float) -> None:
    made = [row | {"score": level} for row in rows()]
    called = run(write(tmp_path, made), "--smallest-effect", "0.2", "--json")
    assert called.code == 0
    for arm in called.json["arms"]:
        assert arm["verdict"] == "INCONCLUSIVE"
        assert f"every score is {level:g}" in arm["reason"]
        assert arm["ci"][0] < arm["ci"][1]
    assert any("every score is" in note for note in called.json["notes"])


def test_all_right_against_all_wrong_is_not_certainty(run: Run, tmp_path: Path) -> None:
    made = [row | {"score": float(row["arm"] == "better")} for row in rows(items=12)]
    arm = run(write(tmp_path, made), "--json").json["arms"][0]
    assert arm["effect"] == 1
    assert arm["ci"][0] < 1
    assert arm["naive_z_p"] == 0  # what the usual test makes of it


def test_an_arm_without_one_of_the_seeds_is_left_out_and_named(run: Run, tmp_path: Path) -> None:
    made = [row for row in rows() if (row["arm"], row["seed"]) != ("same", "2")]
    called = run(write(tmp_path, made), "--json")
    assert called.code == 0
    better, left_out = called.json["arms"]
    assert (left_out["arm"], left_out["verdict"], left_out["effect"]) == ("same", "INCONCLUSIVE", None)
    assert left_out["reason"] == 'lacks seed "2" of the baseline: it cannot be paired'
    assert "after 2 comparisons" in better["reason"]  # it still counts


def test_what_is_not_read_is_said(run: Run, tmp_path: Path) -> None:
    made = [row | {"model": "x"} for row in rows()]
    made += [row | {"seed": "9", "model": "x"} for row in rows() if row["arm"] == "same" and row["seed"] == "0"]
    notes = run(write(tmp_path, made), "--json").json["notes"]
    assert 'column "model" is not read' in notes
    assert 'seed "9" of same is not used: the baseline lacks it' in notes


# ----------------------------------------------------------------------------------------------------------- refused

HEADER = "arm,seed,item,score"


@pytest.mark.parametrize(
    ("line", "text", "words"),
    [
        (1, "arm,seed,itm,score", ':2: there is no column "item". Did you mean "itm"?'),
        (1, "arm;seed;item;score", ":1: columns are separated by ';', expected commas"),
        (1, "arm,seed,item,item", ':1: two columns are named "item"'),
        (5, "base,0,i3,nan", ":5: score is nan, not a finite number"),
        (5, "base,0,i3,inf", ":5: score is inf"),
        (5, "base,0,i3,", ":5: score is empty"),
        (5, "base,0,i3,yes", ':5: score is "yes", not a number'),
        (5, "base,0,i3,0,5", ":5: 5 fields where the header has 4"),
        (5, "base,0,,0.5", ":5: item is empty"),
        (5, " ,0,i3,0.5", ":5: arm is empty"),
        (5, "base,0,i2,0.5", ':5: arm "base", seed "0", item "i2" has a second score; the first is at'),
        (5, 'base,0,"i3,0.5', ": not CSV ("),
        (70, None, 'seed "1" ends here without item "i8", which the baseline, seed "0" has (1 of 60 missing)'),
        (200, "better,0,i999,0.5", 'seed "0" ends here without item "i18"'),
        (185, "better,0,i3,0.5\nbetter,0,new,0.5", ':186: arm "better", seed "0" has item "new", which the baseline'),
    ],
)  # fmt: skip
def test_a_malformed_file_is_refused_with_its_line(
    run: Run, tmp_path: Path, line: int, text: str | None, words: str
) -> None:
    called = run(edited(tmp_path, line, text))
    assert (called.code, called.out) == (2, "")
    assert words in called.err
    assert str(tmp_path / "scores.csv") in called.err
    assert called.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "no scores in it"),
        ("a.csv", HEADER + "\n", "no scores in it"),
        ("a.csv", HEADER + "\nbase,1,a,0.5\n", 'only the arm "base" is in it'),
        ("a.csv", HEADER + "\nbase,1,a,1\nx,2,a,1\n", "no arm has all seeds of the baseline (1)"),
        ("a.csv", HEADER + ",group\nbase,1,a,1,g\nx,1,a,1,h\n", ':3: item "a" has group "h" here and "g" at'),
        ("a.csv", HEADER + ",group\nbase,1,a,1,g\nbase,1,b,1,\nx,1,a,1,g\nx,1,b,1,\n", 'item "b" has no group'),
        ("a.csv", b"arm,seed,item,score\nbase,1,\xff,1\n", "not UTF-8 text"),
        ("a.jsonl", '{"arm": "base"\n', ":1: not JSON"),
        ("a.jsonl", "[1]\n", ":1: expected an object with arm, seed, item, score"),
        ("a.jsonl", '{"arm": "base", "seed": 1, "item": 2}\n', ':1: there is no column "score"'),
        ("a.jsonl", '{"arm": "base", "seed": 1, "item": 2, "score": null}\n', ":1: score is empty"),
        ("a.parquet", "PAR1", "not a parquet file"),
        ("a.xlsx", "", "is no .csv, .jsonl or .parquet file"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(
    run: Run, tmp_path: Path, name: str, content: str | bytes, words: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    called = run(file)
    assert (called.code, called.out) == (2, "")
    assert words in called.err
    assert called.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--baseline", "bass"], 'has no arm "bass". Did you mean "base"?'),
        (["--alpha", "0.7"], "--alpha: 0.7 is no level"),
        (["--smallest-effect", "0"], "--smallest-effect: 0 is not above 0"),
        (["--smallest-effect", "nan"], "--smallest-effect: nan is not above 0"),
    ],
)
def test_a_wrong_option_is_refused(run: Run, tmp_path: Path, arguments: list[str], words: str) -> None:
    called = run(write(tmp_path, rows(items=4)), *arguments)
    assert called.code == 2
    assert words in called.err


def test_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    called = run(tmp_path / "absent.csv")
    assert (called.code, called.err) == (2, f"--scores: there is no file {tmp_path / 'absent.csv'}\n")


@given(st.integers(2, 4), st.integers(1, 3), st.integers(1, 6), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_small_tables_never_crash_and_are_never_certain(
    arms: int, seeds: int, items: int, rate: float, draw: int
) -> None:
    values = (np.random.default_rng(draw).random((arms, seeds, items)) < rate).astype(float)
    names = [tuple(f"{axis}{i}" for i in range(n)) for axis, n in zip("asi", (arms, seeds, items), strict=True)]
    found = judge(Scores(values, *names), "a0", 0.05, 0.1)
    assert ScoreComparison.model_validate_json(found.model_dump_json()) == found
    for arm in found.arms:
        low, high = arm.ci
        assert (low is None) == (items == 1)
        assert low is None or high is None or low < high
        assert arm.p is None or arm.p > 0
        if seeds == 1 or items == 1:
            assert arm.verdict == "INCONCLUSIVE"


# ------------------------------------------------------------------------------------------------------------ schema


@pytest.mark.parametrize(
    "arguments", [("stats", "compare"), ("mixtures", "fit"), ("decide",), ("compare",), ("power",)]
)
def test_schemas_are_printed_without_a_study(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    called = harness(*arguments, "--json-schema", cwd=tmp_path)
    assert called.code == 0, called.err
    assert called.json["version"] == called.json["properties"]["schema_version"]["default"]
    assert called.json["type"] == "object"


def test_the_output_fits_its_schema(run: Run, tmp_path: Path) -> None:
    made = [row | {"slice": row["item"][-1], "group": row["item"]} for row in rows(items=20)]
    document = run(write(tmp_path, made), "--json").json
    assert set(document) == set(schema("ScoreComparison")["properties"])
    assert ScoreComparison.model_validate(document).model_dump(mode="json") == document
    json.dumps(document, allow_nan=False)
