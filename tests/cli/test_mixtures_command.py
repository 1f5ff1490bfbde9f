"""``harness mixtures fit``: any table of mixtures fitted, and every way to get it wrong told with its line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from harness.__main__ import main
from harness.cli.schemas import schema
from harness.records import MixtureFits
from harness.stats import mixtures as fits
from tests.command import Called, harness

Run = Callable[..., Called]
EFFECTS = {"web": 2.0, "code": 1.0, "books": 0.0}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return what calls ``harness mixtures fit`` on x.csv and y.csv in this process, as the command line does."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, tables: tuple[str, str] = ("x.csv", "y.csv")) -> Called:
        line = ["harness", "mixtures", "fit", "--mixtures", tables[0], "--scores", tables[1], *arguments]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        return Called(code if isinstance(code, int) else 0, said.out, said.err)

    return call


def made(
    count: int = 14, seed: int = 0, index: str | None = "run", effects: dict[str, float] = EFFECTS, noise: float = 0.01
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Mixtures, and an accuracy that rises and a loss that falls with what is good."""
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.ones(len(effects)), count)
    good = weights @ np.array(list(effects.values())) + generator.normal(0, noise, count)
    first, second = pl.DataFrame(weights, schema=list(effects)), pl.DataFrame({"acc": good, "loss": 9 - good})
    if index is not None:
        names = pl.Series(index, [f"r{seed}-{at}" for at in range(count)])
        first, second = (frame.insert_column(0, names) for frame in (first, second))
    return first, second


def write(folder: Path, frames: tuple[pl.DataFrame, pl.DataFrame], names: tuple[str, str] = ("x.csv", "y.csv")) -> None:
    for frame, name in zip(frames, names, strict=True):
        file = folder / name
        {".csv": frame.write_csv, ".jsonl": frame.write_ndjson, ".parquet": frame.write_parquet}[file.suffix](file)


# --------------------------------------------------------------------------------------------------------- answers


def test_the_good_source_is_proposed_either_way_round(run: Run, tmp_path: Path) -> None:
    write(tmp_path, made())
    up = MixtureFits.model_validate(run("--target", "acc", "--propose", "--json").json)
    down = MixtureFits.model_validate(run("--target", "loss", "--propose", "--lower-is-better", "--json").json)
    for found in (up, down):
        (one,) = found.targets
        assert one.inconclusive == ""
        assert one.proposal is not None
        low, high = one.proposal.interval
        assert low < one.proposal.score < high
        assert max(one.proposal.weights, key=lambda name: one.proposal.weights[name]) == "web"  # type: ignore[union-attr]
        assert sum(one.proposal.weights.values()) == pytest.approx(1)
        assert one.rank_interval[0] < one.rank <= one.rank_interval[1]
        assert (found.count, found.sources, found.matched_by) == (14, ["web", "code", "books"], "run")
    assert (up.lower_is_better, down.lower_is_better) == (False, True)
    assert up.targets[0].best_tried == down.targets[0].best_tried
    assert up.targets[0].proposal.score == pytest.approx(9 - down.targets[0].proposal.score, abs=1e-4)  # type: ignore[union-attr]


def test_people_see_how_well_it_predicts_and_which_way(run: Run, tmp_path: Path) -> None:
    write(tmp_path, made())
    said = run("--target", "loss", "--propose", "--lower-is-better").out
    for words in ("14 mixtures of 3 sources", 'matched by column "run"', "lower is better", "loss: try ", "% web",
                  "90% interval", "best tried r0-", "before you believe it", "Spread"):  # fmt: skip
        assert words in said
    said = run("--target", "loss").out
    assert "higher is better" in said
    assert '"loss" reads like a loss; see --lower-is-better' in said
    assert "try" not in said.replace("tried", "")


def test_every_target_has_a_line_and_text_is_not_one(run: Run, tmp_path: Path) -> None:
    first, second = made()
    write(tmp_path, (first, second.with_columns(pl.lit("a100").alias("machine"))))
    found = run("--json").json
    assert [one["target"] for one in found["targets"]] == ["acc", "loss"]
    assert 'column "machine" of y.csv is not read' in found["notes"]
    assert [one["target"] for one in run("--target", "loss", "--target", "acc", "--json").json["targets"]] == [
        "loss", "acc",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_other_formats_and_memory_give_the_same(run: Run, tmp_path: Path, suffix: str) -> None:
    frames, names = made(), (f"x{suffix}", f"y{suffix}")
    write(tmp_path, frames)
    write(tmp_path, frames, names)
    one, other = run("--propose", "--json").json, run("--propose", "--json", tables=names).json
    held = fits.fit(*frames, propose=True).model_dump(mode="json")
    for found in (one, other, held):
        for table in ("mixtures", "scores"):
            found.pop(table)
    assert one == other
    assert one == held


def test_rows_are_matched_by_their_index_and_else_by_order(run: Run, tmp_path: Path) -> None:
    first, second = made()
    write(tmp_path, (first, second))
    before = run("--target", "acc", "--json").json
    write(tmp_path, (first, second.sample(fraction=1, shuffle=True, seed=1)))
    assert run("--target", "acc", "--json").json == before
    write(tmp_path, made(index=None))
    ordered = run("--target", "acc", "--json").json
    assert ordered["matched_by"] is None
    assert ordered["targets"][0]["rank"] == pytest.approx(before["targets"][0]["rank"])
    assert ordered["targets"][0]["best_tried"].startswith("x.csv:")
    assert "matched by order" in run("--target", "acc").out


def test_an_index_of_numbers_is_matched_however_it_is_written(run: Run, tmp_path: Path) -> None:
    first, second = (frame.with_row_index("index") for frame in made(index=None))
    write(tmp_path, (first, second.with_columns(pl.col("index").cast(pl.Float64)).reverse()))
    found = run("--target", "acc", "--json").json
    assert found["matched_by"] == "index"
    assert found["targets"][0]["rank"] > 0.9


def test_a_target_named_like_a_source_is_no_index(run: Run, tmp_path: Path) -> None:
    first, second = made(index=None)
    write(tmp_path, (first, second.rename({"acc": "web"})))
    found = run("--json").json
    assert found["matched_by"] is None
    assert found["sources"] == ["web", "code", "books"]
    assert [one["target"] for one in found["targets"]] == ["web", "loss"]


def test_an_index_of_one_table_is_no_source(run: Run, tmp_path: Path) -> None:
    first, second = made(index=None)
    write(tmp_path, (first.with_row_index("id"), second))
    found = run("--json").json
    assert found["sources"] == ["web", "code", "books"]
    assert found["matched_by"] is None
    assert 'column "id" of x.csv is not read' in found["notes"]
    write(tmp_path, (first.with_row_index("step"), second.with_row_index("step")))
    assert run("--json", "--index", "step").json["sources"] == ["web", "code", "books"]


def test_percent_and_rows_are_weights_too(run: Run, tmp_path: Path) -> None:
    first, second = made()
    write(tmp_path, (first, second))
    before = run("--target", "acc", "--json").json["targets"]
    write(tmp_path, (first.with_columns(pl.col("web", "code", "books") * 100), second))
    found = run("--target", "acc", "--json").json
    assert found["targets"][0]["rank"] == pytest.approx(before[0]["rank"])
    assert any("scaled to sum 1" in note for note in found["notes"])


def test_held_out_mixtures_are_predicted(run: Run, tmp_path: Path) -> None:
    write(tmp_path, made(20))
    write(tmp_path, made(40, seed=1), ("tx.csv", "ty.csv"))
    tests = ("--test-mixtures", "tx.csv", "--test-scores", "ty.csv", "--lower-is-better", "--target", "loss")
    held = run(*tests, "--json").json["targets"][0]["held_out"]
    assert held["mixtures"] == 40
    assert held["rank"] > 0.95
    assert held["error"] < 0.2
    assert held["covered"] > 0.6
    assert "% of 40" in run(*tests).out


# ------------------------------------------------------------------------------------------------------ inconclusive


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (made(6, effects={f"s{at}": at for at in range(9)}), "6 mixtures are too few to tell 9 sources apart"),
        (made(30, effects=dict.fromkeys("abc", 0.0), noise=1.0), "the weights of the 30 mixtures tell next to nothing"),
    ],
)
def test_what_says_nothing_is_inconclusive_and_proposes_nothing(
    run: Run, tmp_path: Path, frames: tuple[pl.DataFrame, pl.DataFrame], said: str
) -> None:
    write(tmp_path, frames)
    called = run("--target", "acc", "--propose", "--json")
    assert called.code == 0  # an answer, as in other verbs
    (one,) = called.json["targets"]
    assert one["inconclusive"].startswith(said)
    assert one["proposal"] is None
    assert f"INCONCLUSIVE acc: {said}" in run("--target", "acc", "--propose").out


# ----------------------------------------------------------------------------------------------------------- refused


def edited(folder: Path, name: str, line: int, text: str | None) -> None:
    file = folder / name
    lines = file.read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("name", "line", "text", "said"),
    [
        ("x.csv", 3, "r0-1,0.5,much,0.1", 'x.csv:3: the weight of "code" is "much", not a number'),
        ("x.csv", 3, "r0-1,0.5,,0.1", 'x.csv:3: the weight of "code" is empty'),
        ("x.csv", 3, "r0-1,0.5,-0.1,0.1", 'x.csv:3: the weight of "code" is -0.1; expected 0 or more'),
        ("x.csv", 3, "r0-1,0,0,0", "x.csv:3: all weights are 0; a mixture has one above 0"),
        ("x.csv", 3, "r0-1,1,0", "x.csv:3: 3 fields where the header has 4"),
        ("x.csv", 3, "r0-0,1,0,0", 'x.csv:3: "run" "r0-0" stands here again; rows are matched by it'),
        ("x.csv", 3, ",1,0,0", 'x.csv:3: "run" is empty; rows are matched by it'),
        ("y.csv", 3, "r0-1,nan,2", 'y.csv:3: the score "acc" is nan, not a finite number'),
        ("y.csv", 3, "r0-1,1,high", 'y.csv:3: the score "loss" is "high", not a number'),
        ("y.csv", 3, "zz,1,2", 'x.csv:3: y.csv has no row with "run" = "r0-1"; rows are matched by this column'),
        ("y.csv", 3, None, 'x.csv:3: y.csv has no row with "run" = "r0-1"; rows are matched by this column'),
        ("x.csv", 3, None, 'y.csv:3: x.csv has no row with "run" = "r0-1"; rows are matched by this column'),
    ],
)
def test_a_wrong_row_is_told_with_its_line(
    run: Run, tmp_path: Path, name: str, line: int, text: str | None, said: str
) -> None:
    write(tmp_path, made())
    edited(tmp_path, name, line, text)
    refused = run()
    assert refused.code == 2
    assert refused.out == ""
    assert said in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target", "los"), '--target: y.csv has no column "los". Did you mean "loss"?'),
        (("--index", "rnu"), '--index: x.csv has no column "rnu". Did you mean "run"?'),
        (("--test-scores", "y.csv"), "--test-scores needs --test-mixtures too"),
        (("--test-mixtures", "x.csv"), "--test-mixtures needs --test-scores too"),
        (("--test-mixtures", "y.csv", "--test-scores", "y.csv"), 'y.csv: there is no column "web", which x.csv has'),
        (("--test-mixtures", "no.csv", "--test-scores", "y.csv"), "--test-mixtures: there is no file no.csv"),
    ],
)
def test_wrong_options_are_one_sentence(run: Run, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    write(tmp_path, made())
    refused = run(*arguments)
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err
    assert refused.err.count("\n") == 1


def test_tables_that_do_not_fit_are_refused(run: Run, tmp_path: Path) -> None:
    first, second = made(index=None)
    write(tmp_path, (first, second.head(12)))
    assert "y.csv: 12 rows, and x.csv has 14; without a column of both that numbers rows" in run().err
    write(tmp_path, (first.head(3), second.head(3)))
    assert "x.csv: 3 mixtures; it takes 4 or more" in run().err
    write(tmp_path, (first.select("web"), second))
    assert "x.csv: a mixture needs two columns of weights or more" in run().err
    write(tmp_path, (first, second.select(pl.col("acc").cast(pl.String) + " points")))
    assert "y.csv: no column holds numbers" in run().err
    (tmp_path / "y.csv").write_text("")
    assert "y.csv: no rows in it; expected one row per mixture" in run().err
    assert "--scores: y.xls is no .csv, .jsonl or .parquet file" in run(tables=("x.csv", "y.xls")).err


# ------------------------------------------------------------------------------------------------------------ schema


def test_the_output_fits_its_schema(tmp_path: Path) -> None:
    write(tmp_path, made())
    files = ("--mixtures", "x.csv", "--scores", "y.csv", "--test-mixtures", "x.csv", "--test-scores", "y.csv")
    called = harness("mixtures", "fit", *files, "--propose", "--json", cwd=tmp_path)
    assert called.code == 0, called.err
    document: dict[str, Any] = called.json
    assert set(document) == set(schema("MixtureFits")["properties"])
    assert MixtureFits.model_validate(document).model_dump(mode="json") == document
    json.dumps(document, allow_nan=False)


def test_the_example_of_the_documentation_holds() -> None:
    import doctest

    assert doctest.testmod(fits).attempted == 4
    assert doctest.testmod(fits).failed == 0
