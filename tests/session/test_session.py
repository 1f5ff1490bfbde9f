"""A study in Python: what the commands do, with what they say, and the file read once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import harness
from harness import formats
from harness.errors import RequestError, StepError
from harness.loading import load_study
from harness.session.answer import Answer
from harness.session.deadline import Deadline
from tests import planted
from tests.command import HANGS, environment
from tests.conftest import TINY_STUDY


@pytest.fixture
def done(tmp_path: Path, tiny: Path) -> Path:
    """The file of a finished study that a test may change."""
    study = planted.folder_with(tmp_path, tiny)
    planted.plant(study)
    return study


def answer(study: Path) -> Answer:
    return harness.open_study(study, store=study.parent / ".harness").answer()


# ------------------------------------------------------------------------------------------------ as the commands do


def test_the_plan_is_what_the_command_prints(cli: Any, tmp_path: Path, tiny: Path) -> None:
    study = planted.folder_with(tmp_path, tiny)
    planned = harness.open_study(study, store=tmp_path / ".harness").plan()
    assert json.loads(json.dumps(planned.as_json())) == cli("plan", "study.yaml", "--json", cwd=tmp_path).json
    assert str(planned).splitlines() == [
        line.rstrip() for line in cli("plan", "study.yaml", cwd=tmp_path).out.rstrip().splitlines()
    ]
    assert planned.variants["name"].to_list() == [variant.name for variant in planned.plan.variants]
    assert set(planned.runs["state"]) == {"to do"}


def test_the_answer_is_what_the_commands_print(cli: Any, done: Path) -> None:
    found = answer(done)
    decided = cli("decide", "study.yaml", "--json", cwd=done.parent).json
    compared = cli("compare", "study.yaml", "--json", cwd=done.parent).json
    assert found.verdicts.model_dump(mode="json") == decided
    assert found.comparison.model_dump(mode="json") == compared
    assert str(found) == "\n".join(
        line.rstrip() for line in cli("decide", "study.yaml", cwd=done.parent).out.rstrip().splitlines()
    )
    assert found.decisions.select("subject", "verdict").rows() == [
        (one["subject"], one["verdict"]) for one in decided["decisions"]
    ]
    declared = found.effects.filter(~pl.col("exploratory"))
    assert declared.select("variant", "effect", "ci_low", "ci_high").rows() == [
        (arm["variant"], arm["effect"], *arm["ci"]) for arm in compared["arms"]
    ]
    assert found.growth["source"].to_list() == [line["source"] for line in decided["growth"]]
    assert found.trust["text"].to_list() == [check["text"] for check in decided["trust"]]
    assert found.complete


def test_tables_hold_every_run_and_item(done: Path) -> None:
    found = answer(done)
    runs, items, curves = found.runs, found.items, found.curves
    assert runs.height == 12
    assert set(runs["state"]) == {"done"}
    assert items.height == 12 * found.view.suite_items
    means = items.group_by("variant", "seed").agg(pl.col("exact_match").mean())
    both = runs.join(means, on=["variant", "seed"])
    assert (both["exact_match"] - both["sums/exact_match"]).abs().max() < 1e-12
    assert curves.select("variant", "seed").unique().height == 12
    assert_frame_equal(pl.from_pandas(runs.to_pandas()), runs, check_dtypes=False)


def test_any_two_variants_are_compared(done: Path) -> None:
    found = answer(done)
    declared = {row["variant"]: row for row in found.effects.filter(~pl.col("exploratory")).to_dicts()}
    for name in ("verified", "sums-16"):
        one = found.compare(name)
        assert (one.effect, one.se, one.df) == tuple(declared[name][key] for key in ("effect", "se", "df"))
    there, back = found.compare("sums-16", "verified"), found.compare("verified", "sums-16")
    assert there.effect == pytest.approx(0.2, abs=0.02)
    assert back.effect == pytest.approx(-there.effect)
    assert back.ci == pytest.approx((-there.ci[1], -there.ci[0]))
    with pytest.raises(RequestError, match=r'the study has no variant "verifed"\. Did you mean "verified"\?'):
        found.compare("verifed")
    assert str(there).startswith("sums-16 - verified: Effect ")
    shown = there._repr_html_()
    assert "sums-16 - verified" in shown
    assert formats.effect(there.effect, there.ci) in shown
    with pytest.raises(RequestError, match="compared with itself"):
        found.compare("aa", "aa")


def test_before_there_are_runs_it_is_said(tmp_path: Path, tiny: Path) -> None:
    study = planted.folder_with(tmp_path, tiny)
    found = answer(study)
    assert str(found).endswith("0 of 12 runs are done (12 to do)")
    for asked in ("decisions", "effects", "growth", "trust", "slices"):
        with pytest.raises(StepError, match=r"nothing to (decide|compare) yet: 0 of 12 runs are done"):
            getattr(found, asked)
    assert found.items.is_empty()
    with pytest.raises(RequestError, match="has no result at every seed"):
        found.compare("verified")


def test_a_report_is_written_as_what_its_name_says(done: Path, cli: Any) -> None:
    found = answer(done)
    for name in ("page.html", "page.md", "page.json"):
        made = found.report(done.parent / name)
        kind = name.rpartition(".")[2]
        cli("report", "study.yaml", "--format", kind, "--out", f"by-command.{kind}", cwd=done.parent)
        assert made.read_text() == (done.parent / f"by-command.{kind}").read_text()
    with pytest.raises(RequestError, match=r"page\.pdf: a report is a \.html, \.md or \.json file"):
        found.report("page.pdf")
    with pytest.raises(RequestError, match="cannot be written"):
        found.report(done.parent / "nowhere" / "page.html")


@pytest.mark.parametrize(
    ("old", "new"),
    [("study: tiny", "studie: tiny"), ("mix: {sums: 16}", "mix: {summs: 16}"), ("model: model", "model: nowhere")],
)
def test_what_is_wrong_is_said_as_the_commands_say_it(cli: Any, study_folder: Path, old: str, new: str) -> None:
    file = study_folder / "study.yaml"
    file.write_text(TINY_STUDY.replace(old, new))
    with pytest.raises(RequestError) as raised:
        harness.open_study(file, store=study_folder / ".harness").plan()
    said = cli("plan", file, cwd=study_folder)
    assert (said.code, said.err.strip()) == (2, str(raised.value))


# ------------------------------------------------------------------------------------------------- the file, once


def test_a_file_is_read_when_it_is_opened_and_never_again(done: Path) -> None:
    opened = harness.open_study(done, store=done.parent / ".harness")
    before = opened.answer().verdicts
    done.write_text("not: a study")
    assert opened.answer().verdicts == before
    assert opened.plan().plan.study.study == "tiny"
    assert opened.run(track=False).verdicts == before
    with pytest.raises(RequestError):
        harness.open_study(done)


def test_what_finished_meanwhile_is_seen(done: Path) -> None:
    opened = harness.open_study(done, store=done.parent / ".harness")
    planted.forget(opened.resolved(), "sums-16", 1)
    assert not opened.answer().complete
    assert opened.answer().runs.filter(pl.col("state") == "to do").height == 1
    planted.plant(done)
    assert opened.answer().complete


def test_a_study_built_in_python_is_the_one_in_the_file(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = load_study(done).study
    store = done.parent / ".harness"
    assert harness.open_study(built, store=store, folder=done.parent).answer().verdicts == answer(done).verdicts
    monkeypatch.chdir(done.parent)
    assert harness.open_study(built, store=store).resolved().study_step == answer(done)._plan.study_step
    opened = harness.open_study(built.model_copy(update={"model": "nowhere"}), store=store)
    with pytest.raises(RequestError, match=r"tiny: model: nowhere is no embedded model"):
        opened.plan()


# ------------------------------------------------------------------------------------------------------- for real


@pytest.mark.slow
def test_a_study_is_stopped_and_goes_on(study_folder: Path) -> None:
    script = (
        "import harness\n"
        "answer = harness.open_study('study.yaml', workers=1).run(track=False)\n"
        "print(answer.work.steps, answer.complete, answer.decisions.height)\n"
    )

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", script], cwd=study_folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(),
        )  # fmt: skip

    running = start()
    until = time.monotonic() + HANGS
    while not (study_folder / ".harness" / "adapter").exists():
        assert time.monotonic() < until
        assert running.poll() is None, running.communicate()
        time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=HANGS)
    assert "Stopping: nothing new is started, runs in progress leave a checkpoint" in said
    assert "steps of this call are done and kept" in said.splitlines()[-1]
    again = start()
    out, said = again.communicate(timeout=HANGS)
    assert again.returncode == 0, said
    steps, complete, questions = out.split()
    assert (int(steps) < 13, complete, questions) == (True, "True", "3")
    assert "done before" in said
    assert json.loads(next((study_folder / ".harness" / "study").glob("*/record.json")).read_text())["name"] == "tiny"


def test_a_run_ends_when_its_time_is_over_and_goes_on_later(study_folder: Path) -> None:
    """Verdicts are made from what is done; nothing of it is done again."""
    script = (
        "import harness, sys\n"
        "opened = harness.open_study('study.yaml', workers=1)\n"
        "answer = opened.run(track=False, minutes=float(sys.argv[1]) if len(sys.argv) > 1 else None)\n"
        "print(answer.work.steps, answer.left, len(answer.work.failed), answer.complete)\n"
    )

    def run(*minutes: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", script, *minutes], cwd=study_folder, capture_output=True, text=True, timeout=HANGS,
            env=environment(), check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    steps, left, failed, complete = run("0.01")
    assert int(left) == 12
    assert (steps, failed, complete) == ("0", "0", "False")
    steps, left, failed, complete = run()
    assert (int(steps), left, failed, complete) == (13, "0", "0", "True")


def test_a_deadline_stops_once_and_only_what_is_going_on() -> None:
    stopped: list[float] = []
    started = time.monotonic()
    deadline = Deadline(0.1 / 60)
    with deadline.stopping(lambda: stopped.append(time.monotonic() - started)):
        time.sleep(0.3)
    assert len(stopped) == 1
    assert stopped[0] >= 0.1
    assert (deadline.over, deadline.left) == (True, 0.0)
    early, never = Deadline(10 / 60), Deadline(None)
    for one in (early, never):
        with one.stopping(lambda: stopped.append(0.0)):
            pass
        assert not one.over
    assert 0 < early.left < 10
    assert never.left == float("inf")
    assert len(stopped) == 1
