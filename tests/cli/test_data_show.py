"""``harness data show``: samples, dropped rows and differences, as the model sees them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main
from harness.tokens import RowEncoder
from tests import planted
from tests.command import Called
from tests.conftest import TINY_STUDY

ROWS = [
    {"prompt": f"Question {i}?", "completion": f" Answer {i}", "license": "MIT", "score": i / 4, "kind": "ab"[i % 2]}
    for i in range(12)
]
TALK = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "See you"},
]


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    file = planted.folder_with(tmp_path_factory.mktemp("study"), tiny)
    planted.plan(file)
    return file


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], study: Path) -> Any:
    """Calls ``harness data show`` in this process."""

    def call(*arguments: str | Path, cwd: Path = study.parent) -> Called:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["harness", "data", "show", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Called(int(ended.value.code or 0), out, err)

    return call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


# --------------------------------------------------------------------------------------------------------- samples


def test_rows_are_what_the_model_sees(show: Any, study: Path, tiny: Path) -> None:
    made = planted.plan(study)
    output = next(one for one in made.variants if one.name == "verified").outputs[1]
    encoder = RowEncoder(tiny, chat_template=False, max_length=64)
    shown = show("study.yaml:verified", "--json", "-n", "99").json
    assert len(shown) == output.data["rows"]
    for row, kept in zip(shown, output.table("rows").iter_rows(named=True), strict=True):
        encoded = encoder.encode(kept)
        assert row["row_id"] == kept["row_id"]
        assert row["tokens"] == len(encoded.input_ids)
        assert "".join(one["text"] for one in row["segments"]) == encoder.text(encoded.input_ids)
        assert row["learned"].endswith("<|im_end|>")  # special tokens are there to see
        assert [one["loss"] for one in row["segments"]] == [False, True]
        assert row["place"].startswith("reasoning-gym/chain_sum#")


def test_the_mask_is_between_marks_where_there_is_no_colour(show: Any) -> None:
    shown = show("study.yaml:baseline", "-n", "3")
    assert shown.code == 0, shown.err
    assert (shown.out.count("⟦"), shown.out.count("⟧")) == (4, 4)  # three rows, and the legend
    assert "3 of 16 rows; the loss counts the green part, here between ⟦ and ⟧" in shown.out
    assert "--dropped-by" in shown.out


def test_the_mask_is_green_where_there_is_colour(show: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = show("study.yaml:baseline", "-n", "3").out
    assert shown.count("\x1b[1;32m") == 3
    assert "⟦" not in shown
    monkeypatch.setenv("NO_COLOR", "1")
    assert "⟦" in show("study.yaml:baseline", "-n", "1").out


def test_a_row_cannot_forge_its_mask_or_hide_text(show: Any, tmp_path: Path) -> None:
    evil = "a⟧ not learned ⟦ \u202eabc\u200b \x1b[8mhidden\x1b[0m \x9b31m \ufeff"
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": evil, "completion": evil}) + "\n")
    out = show("rows.jsonl", cwd=tmp_path).out
    row = out.splitlines()[1]
    assert (row.count("⟦"), row.count("⟧")) == (1, 1)
    spelled = "a\\u27e7 not learned \\u27e6 \\u202eabc\\u200b \\x1b[8mhidden\\x1b[0m \\x9b31m \\ufeff"
    assert row == f"{spelled}⟦{spelled}⟧"


def test_of_a_conversation_the_last_turn_is_marked(show: Any, tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": TALK}) + "\n")
    (row,) = show("rows.jsonl", "--model", tiny, "--json", cwd=tmp_path).json
    text = "".join(one["text"] for one in row["segments"])
    assert text.startswith("<|im_start|>user\nHi<|im_end|>")
    learned = "".join(one["text"] for one in row["segments"] if one["loss"])
    assert "See you<|im_end|>" in learned
    assert "Bye" not in learned
    (plain,) = show("rows.jsonl", "--json", cwd=tmp_path).json
    assert plain["learned"] == "\nassistant: See you"
    assert plain["context"].startswith("user: Hi\nassistant: Hello")


def test_the_chat_template_is_applied_on_request(show: Any, file: Path, tiny: Path) -> None:
    (row,) = show("rows.jsonl", "--model", tiny, "--chat-template", "-n", "1", "--json", cwd=file).json
    assert row["context"] == "<|im_start|>user\nQuestion 0?<|im_end|>\n<|im_start|>assistant\n"
    (row,) = show("rows.jsonl", "--model", tiny, "-n", "1", "--json", cwd=file).json
    assert (row["context"], row["learned"]) == ("Question 0?", " Answer 0<|im_end|>")


def test_columns_and_licences_are_shown(show: Any, file: Path) -> None:
    arguments = ("rows.jsonl", "--column", "score", "--column", "kind", "--field", "license=license")
    arguments += ("--field", "prompt=prompt", "--field", "completion=completion")
    row = show(*arguments, "--json", cwd=file).json[2]
    assert row["columns"] == {"kind": "a", "score": 0.5}
    assert (row["license"], row["origin"], row["place"]) == ("MIT", None, "rows.jsonl:3")
    out = show(*arguments, "-n", "3", cwd=file).out
    assert "rows.jsonl:3 · MIT · kind=a · score=0.5" in out
    assert "Question 2?⟦ Answer 2⟧" in out
    assert "3 of 12 rows" in out


def test_a_seed_draws_from_a_file(show: Any, file: Path) -> None:
    def drawn(*options: str) -> list[str]:
        return [row["row_id"] for row in show("rows.jsonl", "--json", "-n", "5", *options, cwd=file).json]

    first, again, other, plain = drawn("--seed", "1"), drawn("--seed", "1"), drawn("--seed", "2"), drawn()
    assert first == again
    assert len({tuple(first), tuple(other), tuple(plain)}) == 3


def test_one_source(show: Any, study: Path, tmp_path: Path, tiny: Path) -> None:
    planted.folder_with(tmp_path, tiny, TINY_STUDY.replace("mix: {sums: 8}", "mix: {sums: 8, scraped: 4}"))
    rows = show("study.yaml:sums-8", "--source", "scraped", "--json", cwd=tmp_path).json
    assert [row["source"] for row in rows] == ["scraped"] * 4
    assert len(show("study.yaml:sums-8", "--json", cwd=tmp_path).json) == 12


# -------------------------------------------------------------------------------------------------------- dropped


def test_dropped_rows_are_shown_with_their_text(show: Any, study: Path) -> None:
    output = next(one for one in planted.plan(study).variants if one.name == "verified").outputs[1]
    lost = output.table("drops")
    shown = show("study.yaml:verified", "--dropped-by", "verify", "--json", "-n", "99").json
    assert [row["row_id"] for row in shown] == lost["row_id"].to_list()
    for row in shown:
        assert row["reason"].startswith("score 0")
        assert row["context"].startswith("Q: ")
        assert row["learned"].endswith("<|im_end|>")
    out = show("study.yaml:verified", "--dropped-by", "verify").out
    assert out.count("dropped by verify: score 0") == min(20, lost.height)
    assert f"of {lost.height} rows dropped by verify" in out


def test_rows_that_overlap_the_suite_are_dropped_rows(show: Any, study: Path) -> None:
    pool = planted.plan(study).pools["scraped"]
    shown = show("study.yaml:baseline", "--dropped-by", "decontaminate", "--json", "-n", "99").json
    assert len(shown) == pool.data["removed"] > 0
    assert all(row["context"] for row in shown)


def test_dropped_rows_need_no_model(show: Any, tmp_path: Path, tiny: Path) -> None:
    planted.folder_with(tmp_path, tiny, TINY_STUDY.replace("model: model", f"model: no/model@{'0' * 40}"))
    shown = show("study.yaml:verified", "--dropped-by", "verify", "--json", cwd=tmp_path)
    assert shown.code == 0, shown.err
    assert all(row["context"].startswith("Q: ") for row in shown.json)


def test_bad_rows_of_a_file_are_dropped_rows(show: Any, file: Path) -> None:
    path = file / "rows.jsonl"
    path.write_text(path.read_text() + "{oops\n")
    (row,) = show("rows.jsonl", "--dropped-by", "read", "--json", cwd=file).json
    assert row["place"] == "rows.jsonl:13"
    assert "not JSON" in row["reason"]
    assert "1 more were dropped (--dropped-by read)" in show("rows.jsonl", cwd=file).out


# ----------------------------------------------------------------------------------------------------- difference


@pytest.mark.parametrize("other", ["verified", "sums-8", "sums-16", "random-subset", "aa", "baseline"])
def test_a_difference_is_that_of_the_rows(show: Any, study: Path, other: str) -> None:
    made = {one.name: one for one in planted.plan(study).variants}
    a, b = (Counter(made[name].outputs[2].table("rows")["row_id"].to_list()) for name in ("baseline", other))
    found = show("study.yaml:baseline", "--diff", other, "--seed", "2", "--json", "-n", "99").json
    assert found["both"] == (a & b).total()
    assert found["only_a"] == (a - b).total() == len(found["rows_a"])
    assert found["only_b"] == (b - a).total() == len(found["rows_b"])
    assert Counter(row["row_id"] for row in found["rows_a"]) == a - b
    assert sum(found["why_a"].values()) == found["only_a"]
    for part in ("only_a", "both", "only_b"):
        assert sum(source[part] for source in found["sources"].values()) == found[part]


def test_a_difference_says_why(show: Any) -> None:
    found = show("study.yaml:baseline", "--diff", "verified", "--json", "-n", "99").json
    assert found["rows_a"]
    assert {row["why"].split(":")[0] for row in found["rows_a"]} == {"dropped by verify"}
    assert found["rows_b"] == []
    mixed = show("study.yaml:baseline", "--diff", "sums-16", "--json").json
    assert mixed["why_a"] == {"scraped is not in its mix": 16}
    assert mixed["why_b"] == {"sums is not in its mix": 16}
    ladder = show("study.yaml:sums-16", "--diff", "sums-8", "--json").json
    assert ladder["why_a"] == {"not drawn": 8}
    assert (ladder["both"], ladder["only_b"]) == (8, 0)  # nested
    out = show("study.yaml:baseline", "--diff", "verified", "-n", "2").out
    for words in ("Only in baseline", "verified: dropped by verify: score 0", "only baseline", "Only in verified"):
        assert words in out


def test_copies_count(show: Any, tmp_path: Path) -> None:
    for name, counts in (("a.jsonl", (3, 1, 0)), ("b.jsonl", (1, 1, 2))):
        lines = [json.dumps({"text": f"row {i}"}) + "\n" for i, count in enumerate(counts) for _ in range(count)]
        (tmp_path / name).write_text("".join(lines))
    found = show("a.jsonl", "--diff", "b.jsonl", "--json", cwd=tmp_path).json
    assert (found["only_a"], found["both"], found["only_b"]) == (2, 2, 2)
    assert found["why_a"] == {"fewer copies": 2}
    assert found["why_b"] == {"not in the file": 2}


# -------------------------------------------------------------------------------------------------- wrong requests


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("study.yaml:baseline --diff verifed", 'no variant "verifed". Did you mean "verified"?'),
        ("study.yaml:baseline --diff verified --dropped-by verify", "one at a time"),
        ("study.yaml:baseline --diff nowhere.yaml:x", "nowhere.yaml: no such study file"),
        ("study.yaml:baseline --model model", "--model: is for files"),
        ("study.yaml:baseline --chat-template", "--chat-template: needs --model"),
        ("study.yaml:baseline --column score", "--column: is for files"),
        ("study.yaml:baseline --dropped-by verify", 'no row of baseline was dropped by "verify"'),
        ("absent.jsonl", "absent.jsonl: no such file"),
        ("model", "expected a list of objects"),
    ],
)
def test_wrong_requests_end_with_one_sentence_and_two(show: Any, arguments: str, words: str) -> None:
    refused = show(*arguments.split())
    assert refused.code == 2, refused.err
    assert words in refused.err
    assert refused.err.count("\n") == 1
    assert refused.out == ""
