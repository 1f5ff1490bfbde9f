"""``harness data card``: of files and of every variant of a study."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.__main__ import main
from harness.data.card import Card
from harness.study.plan import Plan
from tests import planted
from tests.command import Called, environment
from tests.conftest import TINY_STUDY

Call = Callable[..., Called]
MakeCard = Callable[..., Card]
EVERY = ("baseline", "verified", "sums-16", "sums-8", "random-subset", "aa")
ROWS = [
    {"prompt": f"Question {i}: how many legs do {i} spiders have?", "completion": f"{8 * i}", "kind": "ab"[i % 2]}
    for i in range(30)
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A study whose data is in its store."""
    file = planted.folder_with(tmp_path_factory.mktemp("study"), tiny)
    planted.plan(file)
    return file


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls ``harness data card`` in this process."""
    for name in ("FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str | Path, cwd: Path) -> Called:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["harness", "data", "card", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Called(int(ended.value.code or 0), out, err)

    return call


@pytest.fixture
def card(call: Call) -> MakeCard:
    """Returns the card of a target."""

    def card(target: str, cwd: Path, *options: str) -> Card:
        done = call(target, "--json", *options, cwd=cwd)
        assert done.code == 0, done.err
        return Card.model_validate(done.json)

    return card


def jsonl(folder: Path, name: str = "rows.jsonl", rows: list[dict[str, Any]] | None = None) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in (ROWS if rows is None else rows)))
    return path


def variant(made: Plan, name: str) -> Any:
    return next(one for one in made.variants if one.name == name)


# --------------------------------------------------------------------------------------------------------- studies


@pytest.mark.parametrize("name", EVERY)
def test_every_variant_has_a_card_that_adds_up(card: MakeCard, study: Path, name: str) -> None:
    made = planted.plan(study)
    found = card(f"study.yaml:{name}", study.parent, "--seed", "2")
    output = variant(made, name).outputs[2]
    assert found.rows == output.data["rows"]
    assert found.name == f"study.yaml:{name}"
    assert {one.name: one.rows for one in found.shares[0].top} == output.data["sources"]
    assert found.tokens is not None
    run = next(run for run in made.runs if (run.variant, run.seed) == (name, 2))
    tokens = next(one for one in made.outputs if one.step.key == run.tokens.key)
    assert found.tokens.total == tokens.data["tokens"]  # no row of this study is cut
    assert found.ledger is not None
    ledger = found.ledger
    assert ledger.read + ledger.repeated == ledger.kept + ledger.not_drawn + sum(one.rows for one in ledger.drops)
    assert (ledger.kept, ledger.repeated) == (found.rows, 0)
    by_operation = {one.operation: one.rows for one in ledger.drops}
    assert by_operation.items() >= output.data["dropped"].items()
    (source,) = output.data["sources"]
    pool = made.pools[source]
    assert by_operation.get("decontaminate", 0) == pool.data["removed"]
    assert found.contamination is not None
    assert found.contamination.removed == pool.data["removed"]
    assert found.contamination.touched == len(pool.data["items_touched"])
    assert found.contamination.items == 24
    assert found.contamination.rows == 60


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("batch: 4, steps: 4", "batch: 4, epochs: 1", "verified"),
        ("sums-8: {tests: sums, mix: {sums: 8}}", "sums-8: {tests: sums, mix: {sums: 90, scraped: 4}, max_repeats: 3}",
         "sums-8"),
        ("rows: 60, seed: 1", "rows: 60, operations: [{filter: {exclude: '9'}}], seed: 1", "verified"),
    ],
)  # fmt: skip
def test_ledgers_add_up_whatever_the_study_does(
    card: MakeCard, tmp_path: Path, tiny: Path, old: str, new: str, name: str
) -> None:
    """Rows refilled (match: rows), rows repeated, rows dropped by the source's own operations."""
    assert old in TINY_STUDY
    text = TINY_STUDY.replace(old, new)
    if "epochs" in new:
        text = text.replace("match: steps", "match: rows")
    planted.folder_with(tmp_path, tiny, text)
    found = card(f"study.yaml:{name}", tmp_path)
    assert found.ledger is not None
    operations = [one.operation for one in found.ledger.drops]
    if "max_repeats" in new:
        (removed,) = found.ledger.drops
        assert found.ledger.repeated == 90 - (60 - removed.sources["sums"])
        assert found.exact is not None
        assert found.exact.repeats >= found.ledger.repeated
    elif "filter" in new:
        assert operations == ["filter(exclude=9)", "decontaminate", "verify"]
    else:
        assert found.rows == 16


def test_a_model_that_is_not_ready_leaves_tokens_unmeasured(card: MakeCard, tmp_path: Path, tiny: Path) -> None:
    planted.folder_with(tmp_path, tiny, TINY_STUDY.replace("model: model", f"model: no/model@{'0' * 40}"))
    found = card("study.yaml:baseline", tmp_path)
    assert found.tokens is None
    assert "not ready yet" in found.unmeasured["tokens"]


def test_a_terminal_table_and_a_page(call: Call, study: Path, tmp_path: Path) -> None:
    page = tmp_path / "card.html"
    done = call("study.yaml:verified", "--out", page, cwd=study.parent)
    assert done.code == 0, done.err
    for words in ("study.yaml:verified", "Near-duplicates", "Where rows went", "verify", "completion (tokens)"):
        assert words in done.out
    assert "\x1b" not in done.out + done.err
    assert done.err == f"Written: {page}\n"
    assert "<h1>study.yaml:verified</h1>" in page.read_text()
    assert [one.name for one in tmp_path.iterdir()] == ["card.html"]
    as_data = tmp_path / "card.json"
    call("study.yaml:verified", "--out", as_data, cwd=study.parent)
    assert Card.model_validate_json(as_data.read_text()).rows > 0


def test_the_card_imports_nothing_heavy(study: Path) -> None:
    script = (
        "import sys\nsys.argv = ['harness', 'data', 'card', 'study.yaml:verified', '--out', 'light.html']\n"
        "from harness.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "names = ('torch', 'transformers', 'datasets', 'mlflow', 'lm_eval', 'matplotlib')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=study.parent, capture_output=True, text=True, env=environment(), check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


# ----------------------------------------------------------------------------------------------------------- files


def test_a_file(card: MakeCard, tmp_path: Path, tiny: Path) -> None:
    jsonl(tmp_path)
    found = card("rows.jsonl", tmp_path, "--column", "kind", "--model", str(tiny))
    assert found.rows == 30
    assert found.tokens is not None
    assert {one.of for one in found.labels} == {"completion", "kind"}
    assert found.facts["file"] == "rows.jsonl"
    assert "harness data decontaminate" in found.unmeasured["contamination"]
    assert found.ledger is not None
    assert (found.ledger.read, found.ledger.kept) == (30, 30)
    assert "no tokenizer was given" in card("rows.jsonl", tmp_path).unmeasured["tokens"]


def test_rows_that_cannot_be_read_are_in_the_ledger(card: MakeCard, tmp_path: Path) -> None:
    path = jsonl(tmp_path)
    path.write_text(path.read_text() + '{"prompt": "x"\n' + '{"prompt": "x"}\n' + "\n")
    found = card("rows.jsonl", tmp_path)
    assert found.ledger is not None
    (lost,) = found.ledger.drops
    assert (found.ledger.read, found.rows, lost.rows, lost.operation) == (32, 30, 2, "read")
    assert any("not JSON" in str(one.name) for one in lost.reasons)


def test_other_formats_and_declared_fields(card: MakeCard, tmp_path: Path) -> None:
    pl.DataFrame({"q": ["one two", "three"], "a": ["x", "y z"]}).write_parquet(tmp_path / "rows.parquet")
    found = card("rows.parquet", tmp_path, "--field", "prompt=q", "--field", "completion=a")
    assert (found.rows, found.words, found.shapes) == (2, 6, {"prompt+completion": 2})


def test_text_of_a_file_cannot_style_the_output(call: Call, tmp_path: Path) -> None:
    evil = "[red]x[/red] \x1b[31mred\x1b[0m \u202e :smile: yes"
    jsonl(tmp_path, rows=[{"prompt": f"{evil} {i}", "completion": evil, "kind": evil} for i in range(4)])
    done = call("rows.jsonl", "--column", "kind", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "[red]x[/red] \\x1b[31mred\\x1b[0m \\u202e :smile: yes" in done.out
    for hidden in ("\x1b", "\u202e"):
        assert hidden not in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("absent.jsonl", "absent.jsonl: no such file."),
        ("row.jsonl", 'Did you mean "rows.jsonl"?'),
        ("study", "expected STUDY:VARIANT"),
        ("rows.jsonl --field promt=x", 'is not a field of a row. Did you mean "prompt"?'),
        ("rows.jsonl --field prompt", "expected NAME=COLUMN"),
        ("rows.jsonl --column kid", "kid"),
        ("rows.jsonl --out card.pdf", "ending in .html or .json"),
        ("rows.jsonl --out nowhere/card.html", "in an existing folder"),
        ("odd.jsonl", "--field"),
        ("empty.jsonl", "has no rows"),
        ("rows.jsonl --model .", "no tokenizer.json"),
    ],
)
def test_wrong_requests_end_with_one_sentence_and_two(call: Call, tmp_path: Path, arguments: str, words: str) -> None:
    jsonl(tmp_path)
    jsonl(tmp_path, "odd.jsonl", [{"a": 1, "b": 2}])
    (tmp_path / "empty.jsonl").write_text("")
    refused = call(*arguments.split(), cwd=tmp_path)
    assert refused.code == 2, refused.err
    assert words in refused.err
    assert refused.err.count("\n") == 1
    assert refused.out == ""
    assert not list(tmp_path.glob("*card*"))


@pytest.mark.parametrize("option", ["--field prompt=question", "--column kind", "--model model"])
def test_options_of_files_are_no_options_of_studies(call: Call, study: Path, option: str) -> None:
    refused = call("study.yaml:baseline", *option.split(), cwd=study.parent)
    assert refused.code == 2
    assert option.split()[0] in refused.err
