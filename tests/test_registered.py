"""A study is judged by the rule that was registered before there were results, or the change is said first."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from harness import answer
from harness.records import TrustCheck
from harness.study.plan import commit
from tests import planted
from tests.command import HANGS, harness
from tests.conftest import TINY_STUDY
from tests.nursery import Nursery

RULE = "decide: {metric: sums/exact_match, smallest_effect: 0.05}"


def checks(study: Path) -> list[TrustCheck]:
    decisions = answer.view(planted.plan(study)).decisions
    assert decisions is not None
    return decisions.trust


@pytest.fixture
def finished(tmp_path: Path, tiny: Path) -> Path:
    study = planted.folder_with(tmp_path, tiny)
    planted.plant(study)
    return study


def edited(study: Path, old: str, new: str, name: str = "study.yaml") -> Path:
    text = study.read_text()
    assert old in text
    (study.parent / name).write_text(text.replace(old, new))
    return study.parent / name


def test_the_registered_rule_is_said_nothing_of(finished: Path) -> None:
    assert "registered" not in {check.check for check in checks(finished)}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (RULE.replace("0.05", "0.9"), "smallest_effect was 0.05 and is 0.9"),
        (RULE.replace("}", ", alpha: 0.2}"), "alpha was 0.05 and is 0.2"),
    ],
)
def test_a_rule_that_changed_after_results_is_the_first_thing_said(finished: Path, rule: str, words: str) -> None:
    first = checks(edited(finished, RULE, rule))[0]
    assert (first.check, first.ok) == ("registered", False)
    assert first.text.startswith("the rule was changed after results existed: registered 2")
    assert words in first.text


def test_a_copy_under_another_name_is_found_out_and_stays_so_when_it_is_registered(finished: Path) -> None:
    copy = edited(finished, "study: tiny", "study: another", "copy.yaml")
    copy = edited(copy, RULE, RULE.replace("0.05", "0.9"), "copy.yaml")
    assert checks(copy)[0].check == "registered"
    time.sleep(1.1)  # records tell seconds
    commit(planted.plan(copy))
    assert checks(copy)[0].check == "registered"
    assert "registered" not in {check.check for check in checks(finished)}


def test_other_words_and_further_arms_change_no_rule(finished: Path) -> None:
    study = edited(finished, "Half the answers are wrong. Verify them?", "Is it so?")
    study = edited(study, "  sums-8:", "  sums-12: {tests: sums, mix: {sums: 12}}\n  sums-8:")
    assert "registered" not in {check.check for check in checks(study)}


def test_a_study_that_shares_only_the_baseline_has_a_rule_of_its_own(finished: Path) -> None:
    text = TINY_STUDY.replace("study: tiny", "study: another").replace(RULE, RULE.replace("0.05", "0.9"))
    arms = text.index("  verified:"), text.index("seeds: 2")
    study = finished.parent / "another.yaml"
    study.write_text(text[: arms[0]] + "  sums-4: {tests: sums, mix: {sums: 4}}\n" + text[arms[1] :])
    planted.plant(study, lambda variant, seed, items: planted.scores("sums-8", seed, items))
    assert "registered" not in {check.check for check in checks(study)}


@pytest.mark.slow
def test_a_file_that_is_edited_while_runs_go_on_is_not_what_is_judged_by(nursery: Nursery, study_folder: Path) -> None:
    study = study_folder / "study.yaml"
    running = nursery.start("run", study, "--workers", "1", "--no-track", "--json", cwd=study_folder)
    until = time.monotonic() + HANGS
    while not (study_folder / ".harness" / "adapter").exists():
        assert time.monotonic() < until
        time.sleep(0.2)
    edited(study, RULE, RULE.replace("0.05", "0.9"))
    assert running.wait() == 0
    registered = json.loads(next((study_folder / ".harness" / "study").glob("*/record.json")).read_text())
    assert registered["data"]["rule"]["smallest_effect"] == 0.05
    judged = json.loads((study_folder / "out").read_text())["decisions"]
    later = harness("decide", study, "--json", cwd=study_folder).json
    assert not any(check["check"] == "registered" for check in judged["trust"])
    first = later["trust"][0]
    assert (first["check"], first["ok"]) == ("registered", False)
    shown = harness("decide", study, cwd=study_folder)
    assert shown.out.startswith("TRUST     the rule was changed after results existed")
