import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.decisions import Evidence, compare, decide, questions, rule, subject
from harness.decisions.advice import sees
from harness.decisions.verdicts import findings
from harness.formats import duration, p_value, share_of_rows
from harness.records import Decision, Decisions, TrustCheck
from harness.spec import Study
from harness.statistics.scores import Scores

POOL = {"generator": "reasoning-gym", "task": "chain_sum", "rows": 450}
QUICKSTART: dict[str, Any] = {
    "study": "quickstart",
    "question": "Verify, or pay?",
    "model": "smollm2-135m-instruct",
    "recipe": {"steps": 40},
    "suite": {
        "suite": "sums",
        "tasks": {"sums": {"task": "chain_sum", "generator": "reasoning-gym", "items": 96}},
    },
    "sources": {"scraped": {**POOL, "corrupt": 0.5}, "sums": {**POOL, "cost_per_row": 0.08}},
    "baseline": {"mix": {"scraped": 160}},
    "arms": {
        "verified": {"tests": "verify(scraped)", "operations": ["verify"]},
        "sums-160": {"tests": "sums", "mix": {"sums": 160}},
        "sums-40": {"tests": "sums", "mix": {"sums": 40}},
    },
    "decide": {"metric": "sums/exact_match", "smallest_effect": 0.05},
}
ROWS = {
    "baseline": {"scraped": 160.0},
    "verified": {"scraped": 79.3},
    "sums-160": {"sums": 160.0},
    "sums-40": {"sums": 40.0},
    "random-subset": {"scraped": 79.3},
    "aa": {"scraped": 160.0},
}
PLANTED = {
    "baseline": 0.0,
    "verified": 0.12,
    "sums-160": 0.17,
    "sums-40": 0.02,
    "random-subset": -0.01,
    "aa": 0.01,
}


def study(**changes: Any) -> Study:
    return Study.model_validate(QUICKSTART | changes)


def scores(
    effects: dict[str, float] = PLANTED,
    seeds: int = 3,
    items: int = 96,
    noise: float = 0.05,
    draw: int = 0,
    seed_sd: float = 0.015,
) -> Scores:
    """Scores around .4 whose arm effects are planted exactly: noise is centred over seeds and items."""
    rng = np.random.default_rng(draw)
    run = rng.normal(0, seed_sd, (len(effects), seeds, 1))
    item = rng.normal(0, noise, (len(effects), seeds, items))
    run -= run.mean(axis=1, keepdims=True)
    item -= item.mean(axis=(1, 2), keepdims=True)
    values = 0.4 + np.array(list(effects.values()))[:, None, None] + run + item
    names = (tuple(map(str, range(seeds))), tuple(map(str, range(items))))
    return Scores(values, tuple(effects), *names)


def evidence(effects: dict[str, float] = PLANTED, **changes: Any) -> Evidence:
    usual: dict[str, Any] = {
        "selection": scores(effects),
        "confirmation": scores(effects, draw=1),
        "rows": ROWS,
        "supply": {"sums": 450, "scraped": 446},
        "runs": 18,
        "majority": 0.05,
        "base_mean": 0.0,
        "seconds_per_run": 15.0,
    }
    return Evidence(**(usual | changes))


def by_subject(found: Decisions) -> dict[str, Decision]:
    return {one.subject: one for one in found.decisions}


def verdicts(found: Decisions) -> dict[str, str]:
    return {one.subject: one.verdict for one in found.decisions}


def check(found: Decisions, name: str) -> TrustCheck:
    return next(one for one in found.trust if one.check == name)


def grouped(table: Scores, groups: tuple[str | None, ...]) -> Scores:
    return replace(table, groups=groups)


def test_the_clusters_of_the_deciding_items_are_said() -> None:
    alone = decide(study(), evidence())
    assert check(alone, "clusters").text == "96 independent items"
    many = decide(study(), evidence(selection=grouped(scores(PLANTED), tuple(f"g{i // 4}" for i in range(96)))))
    said = check(many, "clusters")
    assert said.ok
    assert re.fullmatch(r"96 items in 24 clusters \(intraclass correlation 0\.\d\d\)", said.text)
    assert by_subject(many)["sums"].facts["clusters"] == 24


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (tuple(f"g{i // 32}" for i in range(96)), r"96 items in 3 clusters .*: few to infer from, intervals are wide"),
        (("g",) * 96, r"96 items in 1 cluster: few to infer from, no verdict can come from them"),
        (("g",) * 90 + (None,) * 6, r"96 items in 7 clusters .*, which say as much as 1\.1 of one size: .* no verdict"),
    ],
)
def test_few_clusters_are_flagged_and_decide_nothing_they_cannot(groups: tuple[str | None, ...], said: str) -> None:
    found = decide(study(), evidence(selection=grouped(scores(PLANTED), groups)))
    one = check(found, "clusters")
    assert not one.ok
    assert re.match(said, one.text)
    assert one.text.endswith("if they are independent after all, say tasks.sums.group: none")
    assert not found.withheld
    if "no verdict" in one.text:
        assert set(verdicts(found).values()) == {"INCONCLUSIVE"}


# --- planted truth


def test_the_quickstart_gets_its_verdicts_in_its_words() -> None:
    found = decide(study(), evidence(slices=tuple("easy" if item % 2 else "hard" for item in range(96))))
    decided = by_subject(found)
    assert verdicts(found) == {"verify(scraped)": "ADOPT", "sums": "GROW", "scraped": "CUT"}
    verified, sums, scraped = decided["verify(scraped)"], decided["sums"], decided["scraped"]
    assert verified.effect == pytest.approx(0.12)
    assert verified.reason.startswith("half the rows, better model; p ")
    assert verified.reason.endswith(" after 3 comparisons")
    assert verified.facts["effect_over_random_subset"] == pytest.approx(0.13)
    assert (sums.contrast, sums.effect) == ("sums-160 - sums-40", pytest.approx(0.15))
    assert sums.reason in (f"40 -> 160 rows; {gain} points per 10 rows, 0.64 spent per point" for gain in (1.2, 1.3))
    assert sums.facts["rungs"] == {"sums-40": 40, "sums-160": 160}
    assert sums.facts["gain_per_1000_rows"] == pytest.approx(1.25)
    assert (scraped.contrast, scraped.effect) == ("baseline - sums-160", pytest.approx(-0.17))
    assert scraped.reason == "160 sums in its place score 17 points more"
    assert scraped.confirmation == pytest.approx(-0.17)
    assert all(one.resolve == "" for one in found.decisions)
    assert found.next == "Grow next: sums (290 rows left in the pool)."
    assert found.weakest_slice.startswith("Weakest slice of sums-160: ")
    assert found.weakest_slice.endswith(", 48 items).")
    assert (found.trusted, found.withheld, found.complete) == (True, False, True)
    assert [one.check for one in found.trust][:4] == ["aa", "random_subset", "runs", "comparability"]
    assert check(found, "aa").text.startswith("A/A +0.01 [-0.0")
    assert check(found, "runs").text == "18 of 18 runs"


@pytest.mark.parametrize(
    ("effect", "treatment", "source"),
    [(0.12, "ADOPT", "GROW"), (-0.12, "REJECT", "CUT"), (0.0, "NEUTRAL", "HOLD")],
)
def test_every_verdict_follows_from_a_planted_effect(effect: float, treatment: str, source: str) -> None:
    plan = study(arms={"verified": {"operations": ["verify"]}, "more": {"mix": {"scraped": 160, "sums": 80}}})
    arms = {"baseline": 0.0, "verified": effect, "more": effect, "random-subset": 0.0, "aa": 0.0}
    rows = {**ROWS, "more": {"scraped": 160.0, "sums": 80.0}}
    found = decide(plan, evidence(arms, rows=rows))
    assert verdicts(found) == {"verify(scraped)": treatment, "sums": source}


def test_a_source_left_out_speaks_for_or_against_it_in_mirror() -> None:
    plan = study(baseline={"mix": {"scraped": 160, "sums": 80}}, arms={"without": {"mix": {"scraped": 160}}})
    rows = {"baseline": {"scraped": 160.0, "sums": 80.0}, "without": {"scraped": 160.0}}
    found = decide(plan, evidence({"baseline": 0.0, "without": -0.1, "aa": 0.0}, rows=rows)).decisions
    assert [(one.subject, one.verdict, one.contrast) for one in found] == [("sums", "GROW", "baseline - without")]
    assert found[0].effect == pytest.approx(0.1)


def test_the_arm_listed_first_decides_and_the_others_are_facts() -> None:
    plan = study(arms={n: {"tests": "verify(scraped)", "operations": ["verify"]} for n in ("first", "second")})
    found = decide(plan, evidence({"baseline": 0, "first": 0.12, "second": -0.2, "random-subset": 0, "aa": 0}))
    (one,) = found.decisions
    assert (one.verdict, one.contrast) == ("ADOPT", "first - baseline")
    assert one.facts["others"] == {"second": pytest.approx(-0.2)}


def test_sources_to_grow_are_ranked_by_gain_per_row() -> None:
    sources = {"scraped": POOL, "slow": POOL, "fast": POOL}
    arms = {n: {"mix": {"scraped": 160, n: rows}} for n, rows in (("slow", 100), ("fast", 50))}
    rows = {"baseline": {"scraped": 160.0}, "slow": {"scraped": 160.0, "slow": 100.0}}
    rows["fast"] = {"scraped": 160.0, "fast": 50.0}
    found = decide(
        study(sources=sources, arms=arms),
        evidence({"baseline": 0, "slow": 0.1, "fast": 0.1, "aa": 0}, rows=rows, supply={"slow": 100, "fast": 60}),
    )
    assert found.next == "Grow next: fast (10 rows left in the pool), then slow (its pool is used up)."


# --- what stays open


def test_a_noisy_effect_is_inconclusive_and_says_what_would_settle_it() -> None:
    found = decide(study(), evidence(selection=scores(noise=0.3, seed_sd=0.1)))
    one = by_subject(found)["verify(scraped)"]
    assert one.verdict == "INCONCLUSIVE"
    assert one.reason.startswith("noise may do this: p = .")
    assert one.resolve.startswith("needs ")
    assert " more seeds (about " in one.resolve


@pytest.mark.parametrize(
    ("right", "said"), [(3, "noise may do this"), (2, "noise may do this"), (1, "neither an effect")]
)
def test_an_effect_as_large_as_the_smallest_that_counts_is_one_that_noise_may_make(right: int, said: str) -> None:
    """Of 8 items at 2 seeds, an arm has some right that the baseline has wrong; 2 are exactly the threshold of .25."""
    names = ("baseline", "verified", "other")
    values = np.zeros((3, 2, 8))
    values[1, :, :right] = 1
    values[2, 0, 4] = values[2, 1, 5] = values[1, 0, 6] = values[0, 1, 7] = values[0, 0, 6] = values[1, 1, 7] = 1
    table = Scores(values, names, ("1", "2"), tuple(map(str, range(8))))
    whole = study(
        arms={"verified": {"operations": ["verify"], "tests": "v"}}, controls=[], seeds=2,
        waive=["controls: none"], decide={"metric": "sums/exact_match", "smallest_effect": 0.25},
    )  # fmt: skip
    one = decide(whole, Evidence(selection=table, confirmation=table)).decisions[0]
    assert (one.subject, one.verdict, one.effect) == ("v", "INCONCLUSIVE", right / 8)
    assert one.reason.startswith(said), one.reason


def test_both_ways_to_settle_it_say_how_long_they_take() -> None:
    """A run takes 20 s, 5 of them for its items: more items cost only those 5 again, more seeds all 20."""
    timed = evidence(selection=scores(noise=0.3, seed_sd=0.02, items=20), seconds_per_run=20.0, seconds_per_item=5 / 40)
    found = decide(study(), timed)
    one = by_subject(found)["verify(scraped)"]
    said = re.fullmatch(
        r"needs (\d+) more seeds? \(about (.+)\) or (\d+) more items \(about (.+) of scoring\)", one.resolve
    )
    assert said, one.resolve
    arms = len(scores().arms)
    assert said[2] == duration(int(said[1]) * arms * 20.0)
    assert said[4] == duration(int(said[3]) * arms * 3 * 5 / 40)
    assert found.advice.startswith("This study sees effects of ")
    assert "To settle " in found.advice
    assert "verify(scraped)" in found.advice


def test_where_items_are_too_few_no_number_of_seeds_is_promised() -> None:
    """Runs agree with each other at every seed, and items do not: only more items say more."""
    table = scores(noise=0.0, seed_sd=0.0, items=12)
    values = table.values + np.random.default_rng(1).normal(0, 0.4, (len(table.arms), 1, 12))
    found = decide(study(), evidence(selection=replace(table, values=values)))
    unsure = [one for one in found.decisions if one.verdict == "INCONCLUSIVE"]
    assert unsure
    assert not any("more seed" in one.resolve for one in unsure)
    assert any(one.resolve.startswith("no number of seeds settles it on 12 items: needs ") for one in unsure)


def test_a_study_sees_the_effects_that_it_finds_four_times_in_five() -> None:
    """Planted effects of the size that a study says it sees are found about so often."""

    def drawn(draw: int, effect: float) -> Scores:
        rng = np.random.default_rng(draw)
        values = 0.4 + rng.normal(0, 0.02, (6, 3, 1)) + rng.normal(0, 0.3, (6, 3, 96))
        values[1] += effect
        names = (tuple("123"), tuple(map(str, range(96))))
        return Scores(values, tuple(PLANTED), *names, twins=("baseline", "aa"), noise="balanced")

    seen = [sees(findings(study(), Evidence(drawn(draw, 0.0))), 0.05) for draw in range(40)]
    size = float(np.median([one for one in seen if one is not None]))
    p = [findings(study(), Evidence(drawn(draw, size)))[0].p_adjusted for draw in range(100, 200)]
    found = sum(one is not None and one < 0.05 for one in p)
    assert 0.65 < found / 100 < 0.95


def test_the_seeds_it_asks_for_settle_it() -> None:
    few = decide(study(), evidence(selection=scores(noise=0.3, seed_sd=0.06)))
    one = by_subject(few)["verify(scraped)"]
    assert one.verdict == "INCONCLUSIVE"
    more = int(one.resolve.split()[1])
    many = decide(study(), evidence(selection=scores(noise=0.3, seed_sd=0.06, seeds=3 + more)))
    assert by_subject(many)["verify(scraped)"].verdict == "ADOPT"


def test_items_are_counted_with_the_share_that_goes_to_confirmation() -> None:
    noisy = evidence(selection=scores(items=20, noise=0.5, seed_sd=0.0))
    half = by_subject(decide(study(), noisy))["verify(scraped)"].resolve
    suite = QUICKSTART["suite"] | {"confirmation": 0.0}
    whole = by_subject(decide(study(suite=suite), noisy))["verify(scraped)"].resolve
    counts = [int(text.split(" more items")[0].split()[-1].replace(",", "")) for text in (half, whole)]
    assert counts[0] == 2 * counts[1]


def test_a_real_effect_below_the_threshold_is_not_adopted() -> None:
    small = {**PLANTED, "verified": 0.045}
    one = by_subject(decide(study(), evidence(small)))["verify(scraped)"]
    assert one.verdict == "INCONCLUSIVE"
    assert one.reason.startswith("an effect, but it may be smaller than 0.05: p ")
    sharp = scores({**PLANTED, "verified": 0.02, "aa": 0.0}, noise=0.01, seed_sd=0.0)
    same = by_subject(decide(study(), evidence(selection=sharp)))["verify(scraped)"]
    assert (same.verdict, same.reason[:42]) == ("NEUTRAL", "half the rows, same model (within 0.05; p ")
    assert same.p_adjusted is not None
    assert same.p_adjusted < 0.05


def test_one_seed_gives_no_verdict() -> None:
    found = decide(study(), evidence(selection=scores(seeds=1), confirmation=scores(seeds=1)))
    assert set(verdicts(found).values()) == {"INCONCLUSIVE"}
    assert {one.reason for one in found.decisions} == {"one seed: the noise of training is unknown"}
    assert found.decisions[0].resolve == "needs at least 2 more seeds (about 3 min)"
    assert not found.trusted
    assert not check(found, "seeds").ok
    arms = compare(study(), evidence(selection=scores(seeds=1)))
    assert {(one.p, one.p_adjusted, one.note) for one in arms} == {(None, None, "item noise only")}


def test_a_missing_arm_leaves_its_subjects_open_and_still_counts() -> None:
    rest = {name: effect for name, effect in PLANTED.items() if name != "sums-160"}
    found = decide(study(), evidence(rest, failed=("sums-160/seed 2 (out of memory)",)))
    decided = by_subject(found)
    assert verdicts(found) == {"verify(scraped)": "ADOPT", "sums": "INCONCLUSIVE", "scraped": "INCONCLUSIVE"}
    assert decided["sums"].reason == "sums-160 lacks finished runs"
    assert decided["verify(scraped)"].reason.endswith("after 3 comparisons")
    assert (found.complete, found.trusted) == (False, False)
    assert found.trust[0].text == "1 of 18 runs are missing: sums-160/seed 2 (out of memory)"
    arm = next(one for one in compare(study(), evidence(rest)) if one.variant == "sums-160")
    assert (arm.effect, arm.ci, arm.note) == (None, (None, None), "no scores: sums-160 lacks finished runs")


@pytest.mark.parametrize("selection", [None, scores({"verified": 0.1, "aa": 0.0})])
def test_without_a_baseline_nothing_is_decided(selection: Scores | None) -> None:
    found = decide(study(), evidence(selection=selection, confirmation=None))
    assert set(verdicts(found).values()) == {"INCONCLUSIVE"}
    assert not found.complete
    assert compare(study(), evidence(selection=selection))[0].effect is None


def test_the_sign_must_hold_on_clean_items() -> None:
    leaked = scores()
    touched = np.arange(96) < 40
    values = leaked.values.copy()
    values[1][:, touched] += 0.3
    values[1][:, ~touched] -= 0.15
    leaked = Scores(values, leaked.arms, leaked.seeds, leaked.items)
    found = decide(study(), evidence(selection=leaked, clean=~touched))
    one = by_subject(found)["verify(scraped)"]
    assert one.effect is not None
    assert one.effect > 0.1
    assert one.verdict == "INCONCLUSIVE"
    assert one.reason.endswith("on the 56 clean items: the sign does not hold")
    flip = check(found, "contamination")
    assert (flip.ok, flip.text) == (
        False,
        "the effect of verified changes sign on the 56 of 96 items that no training row touched",
    )
    none_left = decide(study(), evidence(clean=np.zeros(96, dtype=bool)))
    assert by_subject(none_left)["verify(scraped)"].reason == "training rows touched every item"


def test_the_sign_must_hold_on_the_confirmation_half() -> None:
    turned = scores({**PLANTED, "verified": -0.03}, draw=1)
    one = by_subject(decide(study(), evidence(confirmation=turned)))["verify(scraped)"]
    assert one.verdict == "INCONCLUSIVE"
    assert one.reason == "-0.03 on the 96 confirmation items: the sign does not hold"
    assert decide(study(), evidence(confirmation=None)).decisions[0].verdict == "ADOPT"


@pytest.mark.parametrize(("seeds", "items"), [(3, 1), (1, 1), (2, 2)])
def test_tiny_studies_do_not_crash(seeds: int, items: int) -> None:
    found = decide(study(), evidence(selection=scores(seeds=seeds, items=items), confirmation=None))
    assert found.model_dump_json()
    assert verdicts(found)["sums"] == "INCONCLUSIVE"


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_all_wrong_or_all_right_shows_no_effect_and_warns(level: float) -> None:
    flat = Scores(np.full((6, 3, 96), level), *[getattr(scores(), axis) for axis in ("arms", "seeds", "items")])
    found = decide(study(), evidence(selection=flat, confirmation=None))
    # Where nothing is learned (or nothing is left to learn) all data look the same: no proof of equivalence.
    assert set(verdicts(found).values()) == {"INCONCLUSIVE"}
    assert all(one.reason.startswith("no difference, but the best arm") for one in found.decisions)
    assert not check(found, "range").ok
    assert all(one.ci[0] is not None and one.ci[1] is not None and one.ci[0] < one.ci[1] for one in found.decisions)


# --- trust checks


def test_a_failed_aa_control_withholds_every_verdict_and_comes_first() -> None:
    found = decide(study(), evidence({**PLANTED, "aa": 0.09}))
    assert found.trust[0].text == ("A/A arm differs by 0.09: this setup calls noise an effect; verdicts are withheld")
    assert set(verdicts(found).values()) == {"INCONCLUSIVE"}
    assert found.decisions[0].reason == "withheld: A/A arm differs by 0.09"
    assert (found.withheld, found.trusted, found.next) == (True, False, "")


def test_a_random_subset_may_lose_but_not_win() -> None:
    won = decide(study(), evidence({**PLANTED, "random-subset": 0.08}))
    assert won.withheld
    assert "random subset scores 0.08 more than the baseline" in won.trust[0].text
    lost = decide(study(), evidence({**PLANTED, "random-subset": -0.08}))
    assert not lost.withheld
    assert check(lost, "random_subset").text.endswith("fewer rows alone cost this much")


def test_controls_are_missed() -> None:
    without = {name: effect for name, effect in PLANTED.items() if name not in ("aa", "random-subset")}
    texts = [one.text for one in decide(study(), evidence(without)).trust if not one.ok]
    assert texts == ["the A/A control has no scores", "the random subset control has no scores"]
    waived = decide(study(controls=[]), evidence(without))
    assert "no A/A control: the study waives it" in [one.text for one in waived.trust]
    assert (waived.trusted, waived.withheld) == (False, False)


def test_differences_other_than_the_data_withhold_and_waivers_show() -> None:
    found = decide(study(waive=["device"]), evidence(problems=("sums-160 ran on another device",)))
    assert found.withheld
    assert check(found, "comparability").text.startswith("arms differ in more than the data (sums-160 ran on another")
    assert check(found, "waivers").text == "waived in writing: device"


def test_a_metric_that_cannot_show_effects_is_named() -> None:
    majority = decide(study(), evidence(majority=0.57))
    assert "not clearly above always giving the most frequent answer (0.57)" in check(majority, "range").text
    untrained = decide(study(), evidence(base_mean=0.6))
    assert "not clearly above the model before training" in check(untrained, "range").text


def test_a_share_of_answers_says_nothing_about_log_likelihoods() -> None:
    table = scores()
    nats = Scores(table.values - 2.0, table.arms, table.seeds, table.items)
    found = decide(study(), evidence(selection=nats, confirmation=None, majority=0.57, base_mean=-3.0))
    assert check(found, "range").ok


def test_a_control_that_shows_nothing_because_it_cannot_says_so() -> None:
    assert "too wide" not in check(decide(study(), evidence()), "aa").text
    wild = decide(study(), evidence(selection=scores(seeds=2, items=8, noise=0.6, seed_sd=0.2)))
    assert check(wild, "aa").text.endswith(" (too wide to tell much)")


def test_unequal_seed_noise_is_flagged() -> None:
    wild = scores(seed_sd=0.005)
    values = wild.values + np.zeros_like(wild.values)
    values[2] += np.array([-0.2, 0.0, 0.2])[:, None]
    found = decide(study(), evidence(selection=Scores(values, wild.arms, wild.seeds, wild.items)))
    assert check(found, "seed_noise").text.startswith("seed noise differs: sums-160 varies more")
    assert not found.trusted


# --- comparisons


def test_comparisons_adjust_over_arms_and_not_over_controls() -> None:
    arms = compare(study(), evidence(clean=np.arange(96) >= 6))
    assert [(one.variant, one.control) for one in arms] == [
        ("verified", False), ("sums-160", False), ("sums-40", False), ("random-subset", True), ("aa", True),
    ]  # fmt: skip
    largest = max(one.p for one in arms[:3] if one.p is not None)
    assert arms[2].p_adjusted == pytest.approx(largest)
    assert all(one.p_adjusted is None for one in arms[3:])
    first = arms[0]
    assert (first.seeds, first.items, first.items_clean, first.items_confirmation) == (3, 96, 90, 96)
    assert first.mean == pytest.approx(0.52)
    assert first.ci_confirmation[0] is not None


# --- questions


def test_subjects_are_read_off_the_arms() -> None:
    arms = {
        "said": {"tests": "anything", "operations": ["verify"]},
        "long": {"operations": [{"filter": {"min_words": 5}}, "dedupe"]},
        "added": {"mix": {"scraped": 160, "sums": 10}},
        "less": {"mix": {"scraped": 80}},
        "instead": {"mix": {"sums": 160}},
        "other": {"mix": {"scraped": 100, "sums": 30, "third": 30}},
    }
    plan = study(arms=arms, sources=QUICKSTART["sources"] | {"third": POOL})
    assert {name: subject(plan, name) for name in arms} == {
        "said": "anything",
        "long": "filter(scraped, min_words=5) + dedupe(scraped)",
        "added": "sums",
        "less": "scraped",
        "instead": "sums",
        "other": "scraped",
    }
    assert rule(plan)["subjects"]["less"] == "scraped"


def test_an_arm_that_changes_several_sources_is_its_own_subject() -> None:
    plan = study(
        baseline={"mix": {"scraped": 100, "sums": 60}},
        sources=QUICKSTART["sources"] | {"third": POOL, "fourth": POOL},
        arms={"swap": {"mix": {"third": 100, "fourth": 60}}, "raw": {"operations": ["dedupe"]}},
    )
    assert subject(plan, "swap") == "swap"
    plan = study(baseline={"mix": {"scraped": 160}, "operations": ["verify"]}, arms={"raw": {"mix": {"scraped": 160}}})
    assert subject(plan, "raw") == "no verify(scraped)"


def test_the_baseline_is_a_rung_where_nothing_else_differs() -> None:
    plan = study(arms={"half": {"mix": {"scraped": 80}}, "tenth": {"mix": {"scraped": 16}}})
    (one,) = questions(plan, {})
    assert one.rungs == {"tenth": 16.0, "half": 80.0, "baseline": 160.0}
    assert (one.plus, one.minus, one.others) == (("baseline",), ("tenth",), ("half",))


def test_a_source_is_replaced_only_row_for_row_and_without_arms_of_its_own() -> None:
    def replaced(**changes: Any) -> list[str]:
        return [one.subject for one in questions(study(**changes), {}) if one.instead]

    assert replaced() == ["scraped"]
    assert replaced(arms={"sums-40": {"mix": {"sums": 40}}}) == []
    assert replaced(arms={"less": {"mix": {"scraped": 80}}, "sums-160": {"mix": {"sums": 160}}}) == []
    weights = {"half": {"rows": 160, "mix": {"scraped": 0.5, "sums": 0.5}}, "none": {"mix": {"sums": 160}}}
    assert replaced(arms=weights) == ["scraped"]


def test_the_rule_and_its_digest_do_not_depend_on_results() -> None:
    first, second = decide(study(), evidence()), decide(study(), evidence(selection=None))
    assert first.rule_digest == second.rule_digest
    stricter = study(decide={"metric": "sums/exact_match", "smallest_effect": 0.05, "alpha": 0.01})
    assert decide(stricter, evidence()).rule_digest != first.rule_digest


def test_numbers_are_said_as_people_write_them() -> None:
    said = [p_value(p) for p in (0.00001, 0.00021, 0.0123, 0.21, 1.0)]
    assert said == ["p < .0001", "p = .0002", "p = .012", "p = .21", "p = 1"]
    assert [duration(s) for s in (20, 360, 7200)] == ["20 s", "6 min", "2.0 h"]
    assert [share_of_rows(r) for r in (1.0, 0.5, 0.2, 1.5)] == [
        "as many rows", "half the rows", "20% of the rows", "1.5 times the rows",
    ]  # fmt: skip
