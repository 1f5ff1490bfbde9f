"""The planted truth of the shipped study is found: half the scraped answers are wrong, the sums are all right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.command import ROOT, Called, harness

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(2400)]
STUDY = ROOT / "experiments" / "quickstart.yaml"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> Path:
    """Where the study is run: the checkout's own store when there is one, as it may be finished there."""
    chosen = os.environ.get("HARNESS_TEST_STORE")
    if chosen:
        return Path(chosen)
    kept = ROOT / ".harness"
    return kept if kept.is_dir() else tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="module")
def finished(store: Path) -> Called:
    return harness("run", STUDY, "--no-track", "--store", store, cwd=ROOT, timeout=3600)


def test_exit_code_and_table(finished: Called) -> None:
    assert finished.code == 0, finished.err
    assert "TRUST" in finished.out
    assert "ADOPT" in finished.out
    assert "Next: harness report" in finished.err


def test_the_planted_truth_is_found(finished: Called, store: Path) -> None:
    assert finished.code == 0, finished.err
    decided = harness("decide", STUDY, "--json", "--store", store, cwd=ROOT)
    assert decided.code == 0, decided.err
    verdicts = {d["subject"]: d["verdict"] for d in decided.json["decisions"]}
    assert verdicts == {"verify(scraped)": "ADOPT", "sums": "GROW", "scraped": "CUT"}
    assert decided.json["trusted"]
    assert not decided.json["withheld"]
    checks = {check["check"]: check for check in decided.json["trust"]}
    assert checks["aa"]["ok"]
    assert checks["random_subset"]["ok"]
    # No decision is about a control.
    assert not any("aa" in d["subject"] or "random" in d["subject"] for d in decided.json["decisions"])


def test_effects_are_as_measured_before(finished: Called, store: Path) -> None:
    """Signs and order of the prototype's effects; their size depends on the machine's rounding and the suite."""
    assert finished.code == 0, finished.err
    compared = harness("compare", STUDY, "--json", "--store", store, cwd=ROOT).json
    effect = {arm["variant"]: arm["effect"] for arm in compared["arms"]}
    assert effect["sums-160"] > 0.05
    assert effect["verified"] > 0.05
    assert effect["sums-160"] > effect["sums-40"]
    for arm in compared["arms"]:
        low, high = arm["ci"]
        if arm["variant"] == "aa":
            assert low <= 0 <= high
        assert (arm["effect"] > 0) == (arm["effect_confirmation"] > 0) or abs(arm["effect"]) < 0.05


def test_a_finished_study_is_answered_in_seconds(finished: Called, store: Path) -> None:
    assert finished.code == 0, finished.err
    again = harness("run", STUDY, "--no-track", "--json", "--store", store, cwd=ROOT)
    assert again.code == 0
    assert again.json["seconds"] < 15
    assert again.json["failed"] == []
