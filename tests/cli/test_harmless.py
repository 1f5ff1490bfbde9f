"""What data would have the command line print: it stays what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import planted

EVIL = "[red]x[/red] :smile: \x1b[31mred\x1b[0m \x1b]0;title\x07 [bold \\ 漢字🙂"
EVIL_STUDY = """\
study: evil
question: "Does [blink]this[/blink] style anything?"
model: model
recipe: {lora: {r: 4, alpha: 8}, learning_rate: 1.0e-2, batch: 4, steps: 4, max_length: 256}
suite:
  suite: held-out
  tasks:
    sums: {generator: reasoning-gym, task: chain_sum, config: {max_terms: 2, max_digits: 2}, items: 24, seed: 3,
           question: "Q: {expression} =\\nA:"}
sources:
  mine: {path: rows.jsonl}
baseline: {mix: {mine: all}}
arms:
  short: {tests: length, operations: [{filter: {max_chars: 200}}]}
controls: []
seeds: 1
decide: {metric: sums/exact_match, smallest_effect: 0.05}
"""


@pytest.fixture
def evil(tmp_path: Path, tiny: Path) -> Path:
    """A study whose rows would style and forge the output."""
    rows = [{"prompt": f"{EVIL} {i}:", "completion": f" {EVIL} {'long ' * 60 * (i % 2)}"} for i in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    planted.plan(planted.folder_with(tmp_path, tiny, EVIL_STUDY))
    return tmp_path


def test_rows_cannot_style_or_forge_the_output(cli: Any, evil: Path) -> None:
    shown = cli("data", "show", "study.yaml:baseline", "-n", "2", cwd=evil)
    assert shown.code == 0, shown.err
    assert "\x1b" not in shown.out
    assert "\x07" not in shown.out
    spelled = EVIL.replace("\x1b", "\\x1b").replace("\x07", "\\x07")
    assert shown.out.count(f"{spelled} ") == 4  # prompt and completion of two rows, as they are
    assert "2 of 6 rows; the loss counts the green part" in shown.out
    assert "Does [blink]this[/blink] style anything?" in cli("plan", "study.yaml", cwd=evil).out
    dropped = cli("data", "show", "study.yaml:short", "--dropped-by", "filter", cwd=evil)
    assert dropped.out.count("dropped by filter(max_chars=200)") == 3


def test_json_holds_rows_as_they_are(cli: Any, evil: Path) -> None:
    shown = cli("data", "show", "study.yaml:baseline", "--json", "-n", "6", cwd=evil)
    assert "\x1b" not in shown.out  # escaped by JSON
    for row in shown.json:
        assert row["context"].startswith(EVIL)
        assert row["learned"].startswith(f" {EVIL}")
        assert row["place"].startswith("rows.jsonl:")


def test_a_terminal_gets_colours_and_rows_still_no_say(cli: Any, evil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = cli("data", "show", "study.yaml:baseline", "-n", "1", cwd=evil).out
    assert "\x1b[1;32m" in shown  # ours: what the loss counts
    assert "\x1b[31m" not in shown
    assert "\x1b]0;" not in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("study.yaml", "expected STUDY:VARIANT"),
        ("study.yaml:verifed", 'no variant "verifed". Did you mean "verified"?'),
        ("study.yaml:verified --seed 9", "--seed: 9 is not a seed of the study (1, 2)"),
        ("study.yaml:verified --source sums", '--source: verified has no rows of "sums"'),
        ("study.yaml:verified --dropped-by verfy", 'Did you mean "verify"?'),
        ("absent.yaml:verified", "absent.yaml: no such study file"),
    ],
)
def test_data_that_is_not_there_is_a_wrong_request(cli: Any, arguments: str, words: str) -> None:
    refused = cli("data", "show", *arguments.split())
    assert refused.code == 2
    assert words in refused.err
    assert refused.err.count("\n") == 1
    assert refused.out == ""


def test_rows_of_a_model_that_is_not_ready(cli: Any, evil: Path) -> None:
    text = (evil / "study.yaml").read_text().replace("model: model", f"model: no/model@{'0' * 40}")
    (evil / "study.yaml").write_text(text)
    refused = cli("data", "show", "study.yaml:baseline", cwd=evil)
    assert refused.code == 1
    assert "is not ready yet" in refused.err
    assert "-" in cli("plan", "study.yaml", cwd=evil).out  # tokens are not known
