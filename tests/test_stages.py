"""Studies with stages: which arms go on, whatever is there already, and verdicts that hold at every look."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import special

import harness
from harness.decisions import Course, Evidence, course, decide
from harness.decisions.stages import chance
from harness.spec import Study
from harness.statistics.paired import contrast
from harness.statistics.scores import Scores
from tests import faults, planted
from tests.conftest import TINY_STUDY
from tests.nursery import Nursery
from tests.test_designs import study

ARMS = ("baseline", "better", "same", "unclear", "aa")
MEANS = {"better": 0.3, "unclear": 0.09}


def staged(**changes: Any) -> Study:
    arms = {name: {"tests": name, "mix": {"a": 50 + at}} for at, name in enumerate(ARMS[1:4])}
    return study(**{"arms": arms, "seeds": {"from": 2, "to": 8}, "controls": ["aa"]} | changes)


def scores(seed: int, means: dict[str, float] = MEANS, run_sd: float = 0.03, items: int = 40) -> Scores:
    """Scores of all arms at 8 seeds."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.4, 0.3, items) + rng.normal(0, run_sd, (len(ARMS), 8, 1))
    values = values + rng.normal(0, 0.1, values.shape) + rng.normal(0, 0.05, (len(ARMS), 1, items))
    values += np.array([means.get(arm, 0.0) for arm in ARMS])[:, None, None]
    names = tuple(map(str, range(1, 9))), tuple(map(str, range(items)))
    return Scores(values, ARMS, *names, twins=("baseline", "aa"), noise="balanced", stages=(2, 3, 5, 8))


def followed(one: Study, table: Scores, runs: dict[str, int], lost: tuple[str, ...] = ()) -> Course:
    """Follow a study with some of its runs done."""
    there = {arm: count for arm, count in runs.items() if count >= 2}
    known = table.ending(there) if "baseline" in there and len(there) > 1 else None
    return course(one, Evidence(known), runs, lost)


def carried_out(one: Study, table: Scores, lost: tuple[str, ...] = ()) -> tuple[Course, dict[str, int]]:
    """Do the runs that each look needs, and no others."""
    runs = dict.fromkeys(ARMS, 0)
    for _ in one.stages:
        now = followed(one, table, runs, lost)
        for arm, count in now.needed.items():
            runs[arm] = max(runs[arm], 0 if arm in lost else count)
    return followed(one, table, runs, lost), runs


# ---------------------------------------------------------------------------------------------------------- the study


@pytest.mark.parametrize(
    ("seeds", "stages"), [((2, 8), (2, 3, 5, 8)), ((2, 3), (2, 3)), ((3, 20), (3, 5, 8, 12, 18, 20))]
)
def test_a_range_of_seeds_makes_stages(seeds: tuple[int, int], stages: tuple[int, ...]) -> None:
    one = staged(seeds={"from": seeds[0], "to": seeds[1]})
    assert (one.stages, one.seed_list()) == (stages, tuple(range(1, seeds[1] + 1)))
    assert one == staged(seeds=None, stages=list(stages)) == staged(seeds=seeds[1], stages=list(stages))
    assert one.rule()["stages"] == list(stages)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": {"from": 1, "to": 8}}, "seeds: expected"),
        ({"seeds": {"from": 3, "to": 3}}, "seeds: expected"),
        ({"seeds": {"from": 2}}, "seeds: expected"),
        ({"seeds": {"from": 2, "to": 5}, "stages": [2, 5]}, "give one of the two"),
        ({"seeds": 5, "stages": [2, 3]}, "the last has 3 seeds, but the study has 5"),
        ({"seeds": 3, "stages": [3, 2, 3]}, "increasing"),
        ({"seeds": 3, "stages": [1, 3]}, "from 2 on"),
    ],
)
def test_stages_that_cannot_be_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        staged(**changes)


# --------------------------------------------------------------------------------------------------------- the course


def test_a_large_effect_ends_its_arm_and_the_others_go_on() -> None:
    one, table = staged(), scores(1)
    found, runs = carried_out(one, table)
    assert found.states["better"] == "settled"
    assert found.seen["better"] < found.seen["unclear"]
    assert runs["better"] == found.seen["better"] < runs["baseline"] == runs["aa"] == max(found.seen.values())
    assert found.needed == {}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.0, 0.2), st.floats(0.01, 0.2), st.data())
def test_the_course_depends_on_results_only(seed: int, effect: float, run_sd: float, data: st.DataObject) -> None:
    one, table = staged(), scores(seed, {"better": effect}, run_sd)
    whole, _ = carried_out(one, table)
    assert followed(one, table, dict.fromkeys(ARMS, 8)) == whole  # runs that nobody needed change nothing
    runs = {arm: data.draw(st.integers(0, 8)) for arm in ARMS}
    part = followed(one, table, runs)
    for subject, state in part.states.items():  # what was settled with some of the runs stays settled
        if state != "open":
            assert (whole.states[subject], whole.seen[subject]) == (state, part.seen[subject])
    assert part.looks <= whole.looks
    if not part.needed:
        assert part == whole


def test_an_arm_whose_run_failed_holds_nothing_up() -> None:
    one, table = staged(), scores(3)
    found, runs = carried_out(one, table, lost=("same",))
    assert (found.states["same"], runs["same"]) == ("open", 0)
    assert found.states["better"] == "settled"
    assert found.needed == {}
    assert followed(one, table, dict.fromkeys(ARMS, 0), ("baseline",)).looks == 0


def test_what_the_last_look_cannot_settle_ends_early() -> None:
    one = staged(decide={"metric": "a/acc", "smallest_effect": 0.001})
    found, _ = carried_out(one, scores(5, {}, run_sd=0.005))  # items make nearly all of the noise
    assert "futile" in found.states.values()
    for subject, seen in found.seen.items():
        if found.states[subject] == "futile":
            assert seen < 8


@given(st.floats(-0.5, 0.5), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_the_chance_is_a_probability_and_large_effects_have_one(effect: float, seed: int) -> None:
    one = staged()
    table = scores(seed, {"better": effect}).ending(dict.fromkeys(ARMS, 2))
    found = contrast(table, "better", "baseline")
    assert 0 <= chance(one, found, 3) <= 1
    if abs(found.effect) > 0.4:
        assert chance(one, found, 3) > 0.5


# ------------------------------------------------------------------------------------------------------------ verdicts


def test_verdicts_are_those_of_the_look_at_which_an_arm_ended() -> None:
    one, table = staged(), scores(1)
    found, _ = carried_out(one, table)
    used = Evidence(table.ending(found.runs), states=found.states, seen=found.seen, runs=20, planned=40)
    decided = decide(one, used)
    by_subject = {d.subject: d for d in decided.decisions}
    for subject, seen in found.seen.items():
        assert by_subject[subject].seeds == seen
        assert by_subject[subject].state == found.states[subject]
        alone = contrast(table.ending(dict.fromkeys(ARMS, seen)), subject, "baseline", 0.05)
        assert by_subject[subject].effect == pytest.approx(alone.effect)
    assert by_subject["better"].verdict == "ADOPT"
    assert [stage.seeds for stage in decided.stages] == [n for n in one.stages if n <= max(found.seen.values())]
    assert "20 of 40 runs were not needed" in decided.stages_in_words()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 0.2), st.integers(1, 4))
def test_interval_and_p_value_agree_at_every_look(seed: int, effect: float, look: int) -> None:
    table = scores(seed, {"better": effect}).first((2, 3, 5, 8)[look - 1])
    found = contrast(table, "better", "baseline", 0.05)
    assert len(found.looks) == look
    assert found.p is not None
    assert found.ci_low is not None
    assert found.ci_high is not None
    if not found.ci_low <= 0 <= found.ci_high:
        assert found.p < 0.05 * (1 + 1e-3)
    assert found.p >= min(one.p for one in found.looks)  # looking more often costs
    assert found.se is not None
    assert found.df is not None
    assert found.ci_high - found.effect >= float(special.stdtrit(found.df, 0.975)) * found.se * (1 - 1e-9)


# -------------------------------------------------------------------------------------------------------- a real store


@pytest.fixture
def done(tmp_path: Path, tiny: Path) -> Path:
    file = planted.folder_with(tmp_path, tiny, TINY_STUDY.replace("seeds: 2", "seeds: {from: 2, to: 5}"))
    planted.plant(file)
    return file


def test_an_answer_says_what_was_not_needed(done: Path) -> None:
    answer = harness.open_study(done, store=done.parent / ".harness").answer()
    assert answer.complete
    assert {one.state for one in answer.verdicts.decisions} == {"settled"}
    states = answer.runs.group_by("state").len().to_dicts()
    assert {one["state"]: one["len"] for one in states} == {"done": 12, "not needed": 18}
    assert "18 of 30 runs were not needed" in str(answer)
    assert "18 not needed" in answer.progress
    assert answer.verdicts.trusted
    assert "Stages" in answer.text("md")


def test_between_two_looks_nothing_is_missing(tmp_path: Path, tiny: Path) -> None:
    """A study whose time was over after its first look: its verdicts are those of that look, and it is not complete."""

    def noisy(variant: str, seed: int, items: int) -> np.ndarray:
        return (np.random.default_rng([len(variant), ord(variant[-1]), seed]).random(items) < 0.5).astype(float)

    file = planted.folder_with(tmp_path, tiny, TINY_STUDY.replace("seeds: 2", "seeds: {from: 2, to: 5}"))
    made = planted.plant(file, noisy)
    for run in made.runs:
        if run.seed > 2 and run.variant != "baseline":  # the next look has begun
            planted.forget(made, run.variant, run.seed, "result")
            planted.forget(made, run.variant, run.seed)
    answer = harness.open_study(file, store=file.parent / ".harness").answer()
    assert "open" in {one.state for one in answer.verdicts.decisions}
    check = next(one for one in answer.verdicts.trust if one.check == "runs")
    assert (check.ok, check.text) == (True, "12 of 12 runs to this look")
    assert not answer.complete
    assert not answer.verdicts.complete
    assert answer.left > 0
    assert answer.verdicts.stages_in_words() == "Stages: 2 seeds: nothing settled."
    assert answer.verdicts.advice.startswith("With 2 of 5 seeds this study sees effects of ")
    assert harness.open_study(file, store=file.parent / ".harness").decided() == answer.verdicts


def test_other_stages_after_results_are_told(done: Path) -> None:
    done.write_text(done.read_text().replace("{from: 2, to: 5}", "5"))
    said = str(harness.open_study(done, store=done.parent / ".harness").answer())
    assert "the rule was changed after results existed" in said
    assert "stages was [2, 3, 5] and is not in the rule" in " ".join(said.split())


@pytest.mark.slow
def test_a_staged_study_that_is_killed_ends_as_one_that_was_not(nursery: Nursery, tiny: Path, tmp_path: Path) -> None:
    text = faults.SMALL.replace("seeds: 2", "seeds: {from: 2, to: 3}")
    text = text.replace("exact_match, smallest_effect: 0.05", "gold_logprob_per_token, smallest_effect: 9")
    reference = faults.undisturbed(nursery, faults.prepare(tmp_path / "reference", tiny, text))
    decided = json.loads(reference["answers"]["decide"])
    assert len(reference["digests"]["adapter"]) == decided["runs"] < decided["planned_runs"]
    campaign = faults.Campaign(
        nursery, lambda number: faults.prepare(tmp_path / str(number), tiny, text), reference, random.Random(3)
    )
    campaign.study([("train", "driver"), ("evaluate", "worker"), ("train", "worker"), ("evaluate", "driver")])
    assert sum(campaign.kills.values()) >= 3
