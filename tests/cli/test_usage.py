"""Wrong command lines: one sentence with the nearest valid name, and exit code 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import __version__
from tests import planted
from tests.command import harness


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("plan study.yaml --store study.yaml", "--store: study.yaml is a file, expected a folder"),
        ("plan study.yaml --device tpu", '--device: "tpu" is no device'),
        ("plan stdy.yaml", 'Did you mean "study.yaml"?'),
        ("plan model", "model: a folder, expected a study file"),
        ("status model/config.json", "a study is a .yaml file"),
    ],
)
def test_wrong_requests_end_with_one_sentence_and_two(cli: Any, arguments: str, words: str) -> None:
    refused = cli(*arguments.split())
    assert refused.code == 2
    assert words in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("plam study.yaml", 'harness: there is no command "plam". Did you mean "plan"?'),
        (
            "study.yaml",
            "harness study.yaml: what is to be done with it? harness plan study.yaml, or harness run study.yaml",
        ),
        (
            "absent.yaml",
            "harness absent.yaml: what is to be done with it? harness plan absent.yaml, or harness run ...",
        ),
        (
            "rows.jsonl",
            'harness: there is no command "rows.jsonl". Valid here: compare, data, decide, doctor, grow, ...',
        ),
        ("model", "harness model: what is to be done with it? harness init model writes a first study of these rows"),
        ("--verison", 'harness: there is no option "--verison". Did you mean "--version"?'),
        ("--store x plan", 'harness: there is no option "--store". Valid here: --help, --version.'),
        (
            "plan",
            "harness plan: STUDY is missing (study file (.yaml, or .py with a function study())). See harness ...",
        ),
        ("plan a.yaml b.yaml", "harness plan: got unexpected extra argument(s) (b.yaml). See harness plan --help"),
        ("plan study.yaml --wokers 2", 'harness plan: there is no option "--wokers". Did you mean "--workers"?'),
        ("plan study.yaml --workers", "harness plan: --workers needs a value. See harness plan --help"),
        ("plan study.yaml --workers 0", "harness plan: --workers: expected greater than or equal to 1."),
        ("plan study.yaml --workers two", "harness plan: --workers: expected a valid integer."),
        ("plan study.yaml --json=1", "harness plan: --json takes no value. See harness plan --help"),
        ("init", "harness init: FILE... is missing (jsonl, json, csv, ..."),
        ("init a.jsonl --force=1", "harness init: --force takes no value. See harness init --help"),
        ("data crad x", 'harness data: there is no command "crad". Did you mean "card"?'),
        ("data card", "harness data card: FILE|STUDY:VARIANT is missing (rows.jsonl, or such as ..."),
        ("data dedupe", "harness data dedupe: --in is missing (..."),
        ("store lss", 'harness store: there is no command "lss". Did you mean "ls"?'),
        ("store ls --jsn", 'harness store ls: there is no option "--jsn". Did you mean "--json"?'),
        ("stats comare", 'harness stats: there is no command "comare". Did you mean "compare"?'),
        ("stats compare --scores", "harness stats compare: --scores needs a value. See harness stats compare --help"),
    ],
)
def test_wrong_command_lines_are_one_sentence(cli: Any, arguments: str, said: str) -> None:
    refused = cli(*arguments.split())
    assert refused.code == 2
    assert refused.out == ""
    assert refused.err.count("\n") == 1
    start = said.removesuffix("...")
    assert refused.err.startswith(start) if start != said else refused.err == f"{said}\n"


def test_a_wrong_word_cannot_steer_the_terminal(cli: Any) -> None:
    for word in ("\x1b[31mplan", "--\x1b[31m"):
        assert "\x1b" not in cli(word).err


@pytest.mark.parametrize("arguments", ["", "data", "store", "stats", "mixtures"])
def test_nothing_asked_is_help_given(cli: Any, arguments: str) -> None:
    shown = cli(*arguments.split())
    assert (shown.code, shown.err) == (0, "")
    assert "Usage: harness" in shown.out or "Usage: " in shown.out


def test_the_version(cli: Any) -> None:
    assert cli("--version").out == f"harness {__version__}\n"


def test_debug_shows_the_traceback_of_a_wrong_command_line(finished: Path) -> None:
    debug = harness("plam", "--debug", cwd=finished)
    assert debug.code != 0
    assert "Traceback" in debug.err


def test_debug_shows_the_traceback(finished: Path) -> None:
    plain = harness("plan", "absent.yaml", cwd=finished)
    debug = harness("plan", "absent.yaml", "--debug", cwd=finished)
    assert "Traceback" not in plain.err
    assert "Traceback" in debug.err
    assert "RequestError" in debug.err


def test_what_nobody_foresaw_is_one_sentence_too(cli: Any, tmp_path: Path, tiny: Path) -> None:
    planted.plan(planted.folder_with(tmp_path, tiny))
    record = next((tmp_path / ".harness" / "source").glob("*/record.json"))
    record.unlink()
    record.mkdir()
    failed = cli("store", "ls", cwd=tmp_path)
    assert failed.code == 1
    assert "unexpected IsADirectoryError" in failed.err
    assert "--debug" in failed.err
