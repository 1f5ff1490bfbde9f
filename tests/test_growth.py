"""What follows the verdicts: which data to grow, slices, tasks, factors of a factorial, and what flips."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.decisions import Evidence, compare, decide
from harness.decisions.evidence import contrast_of, explore
from harness.decisions.outcomes import flips, outcome, outcomes
from harness.decisions.tasks import AGREED, metric_noise, task_noise
from harness.records import Growth
from harness.spec import Study
from harness.statistics.paired import contrast, equivalence, holm
from harness.statistics.scores import Scores
from tests.test_decisions import PLANTED, POOL, QUICKSTART, ROWS, by_subject, check, evidence, scores, study, verdicts

LADDER = {"sums-20": 20, "sums-40": 40, "sums-80": 80, "sums-160": 160}


def ladder(effects: dict[str, float], **changes: Any) -> tuple[Study, Evidence]:
    """A study with a ladder of sums in place of the baseline's rows, and its planted evidence."""
    made = study(arms={name: {"tests": "sums", "mix": {"sums": rows}} for name, rows in LADDER.items()})
    rows = {"baseline": {"scraped": 160.0}, **{name: {"sums": float(n)} for name, n in LADDER.items()}}
    tokens = {name: 17.0 * sum(held.values()) for name, held in rows.items()}
    return made, evidence({"baseline": 0.0, **effects, "aa": 0.0}, rows=rows, tokens=tokens, **changes)


def grown(made: Study, known: Evidence) -> Growth:
    (line,) = [line for line in decide(made, known).growth if line.source == "sums"]
    return line


# --- growth


def test_a_ladder_gives_the_marginal_gain_at_its_largest_rung() -> None:
    """Planted: 0.1 log(rows), so 1,000 rows more at 160 gain 0.1 / 160 x 1000, and doubling gains 0.1 log 2."""
    made, known = ladder({name: 0.1 * np.log(rows / 20) for name, rows in LADDER.items()})
    line = grown(made, known)
    assert (line.rank, line.verdict, line.rows, line.supply_left) == (1, "GROW", 160, 290)
    assert [rung.rows for rung in line.rungs] == [20, 40, 80, 160]
    assert [rung.tokens for rung in line.rungs] == [340, 680, 1360, 2720]
    low, high = line.ci_per_1000_rows
    assert line.gain_per_1000_rows == pytest.approx(1000 * 0.1 / 160, rel=0.35)
    assert low is not None
    assert high is not None
    assert low < 1000 * 0.1 / 160 < high
    assert line.gain_per_10k_tokens == pytest.approx(line.gain_per_1000_rows * 10 / 17)
    assert line.next_rows == 160  # to twice the data, although 290 are left
    assert line.next_gain == pytest.approx(0.1 * np.log(2), rel=0.35)
    assert line.next_cost == pytest.approx(160 * 0.08)
    assert line.cost_per_point == pytest.approx(0.08 / (100 * line.gain_per_1000_rows / 1000))
    assert (line.curve[0].rows, line.curve[-1].rows) == (20, 320)
    assert all(point.low < point.value < point.high for point in line.curve)
    assert line.note == "learning curve on 4 rungs"


def test_a_curve_that_has_levelled_off_gains_less_than_its_rungs_differ() -> None:
    made, known = ladder({"sums-20": 0.0, "sums-40": 0.12, "sums-80": 0.15, "sums-160": 0.16})
    line = grown(made, known)
    assert line.gain_per_1000_rows is not None
    assert line.gain_per_1000_rows < 0.3 * 1000 * 0.16 / 140  # what the straight difference would promise
    assert line.exponent is not None
    assert line.exponent > 0.5


def test_with_two_rungs_it_is_the_straight_difference_and_says_so() -> None:
    line = grown(study(), evidence())
    estimate = contrast(scores(), "sums-160", "sums-40")
    assert line.gain_per_1000_rows == pytest.approx(1000 * 0.15 / 120)
    assert estimate.ci_low is not None
    assert line.ci_per_1000_rows[0] == pytest.approx(1000 * estimate.ci_low / 120)
    assert "not a curve" in line.note
    assert (line.curve, line.next_gain, line.exponent) == ([], None, None)


def test_no_more_is_promised_than_is_left_in_the_pool() -> None:
    made, known = ladder({name: 0.1 * np.log(rows / 20) for name, rows in LADDER.items()}, supply={"sums": 200})
    line = grown(made, known)
    assert (line.supply_left, line.next_rows) == (40, 40)
    made, known = ladder({name: 0.1 * np.log(rows / 20) for name, rows in LADDER.items()}, supply={"sums": 160})
    assert (grown(made, known).supply_left, grown(made, known).next_rows) == (0, 160)  # bought, or annotated


def test_rungs_that_differ_in_other_rows_too_have_no_gain_per_row() -> None:
    made, known = ladder(dict.fromkeys(LADDER, 0.1))
    rows = {name: {**held, "scraped": 160.0 - held.get("sums", 0)} for name, held in known.rows.items()}
    line = grown(made, Evidence(**{**vars(known), "rows": rows}))
    assert line.gain_per_1000_rows is None
    assert line.note == "no gain per row: its rungs differ in more than its own rows"


def test_a_missing_rung_leaves_the_others_and_a_missing_top_says_so() -> None:
    made, known = ladder({name: 0.1 * np.log(rows / 20) for name, rows in LADDER.items() if name != "sums-40"})
    assert grown(made, known).note == "learning curve on 3 rungs"
    made, known = ladder({name: 0.1 for name in LADDER if name != "sums-160"})
    assert grown(made, known).note.startswith("no gain per row: runs of its largest rung")


def test_one_seed_shows_a_gain_with_a_warning() -> None:
    made, known = ladder(
        dict.fromkeys(LADDER, 0.1),
        selection=scores({"baseline": 0, **{n: 0.1 * np.log(r / 20) for n, r in LADDER.items()}}, seeds=1),
        confirmation=None,
    )
    line = grown(made, known)
    assert line.verdict == "INCONCLUSIVE"
    assert line.note.endswith("; item noise only")


def test_sources_are_ranked_by_verdict_then_by_gain() -> None:
    sources = {"scraped": POOL, "slow": POOL, "fast": POOL, "none": POOL}
    sizes = {"slow": 100, "fast": 50, "none": 10}
    made = study(sources=sources, arms={n: {"mix": {"scraped": 160, n: size}} for n, size in sizes.items()})
    rows = {"baseline": {"scraped": 160.0}, **{n: {"scraped": 160.0, n: float(size)} for n, size in sizes.items()}}
    found = decide(
        made, evidence({"baseline": 0, "slow": 0.1, "fast": 0.1, "none": 0.0, "aa": 0}, rows=rows, supply={})
    )
    assert [(line.rank, line.source, line.verdict) for line in found.growth] == [
        (1, "fast", "GROW"), (2, "slow", "GROW"), (3, "none", "HOLD"),
    ]  # fmt: skip
    assert found.next == "Grow next: fast, then slow."


# --- factors


FACTORIAL: dict[str, Any] = {
    "arms": {},
    "designs": [{"filter_factorial": {"factors": {"short": {"filter": {"max_words": 50}}, "once": "dedupe"}}}],
}


def noise(arms: int, seeds: int, items: int, rng: np.random.Generator) -> np.ndarray:
    """Seed noise, noise of items at every seed and at single ones; none of it an effect."""
    values = rng.normal(0, 0.05, (arms, seeds, 1)) + rng.normal(0, 0.1, (arms, 1, items))
    return 0.4 + values + rng.normal(0, 0.2, (arms, seeds, items)) + rng.normal(0, 0.3, (1, 1, items))


def named(values: np.ndarray) -> Scores:
    return Scores(values, *(tuple(f"{axis}{i}" for i in range(n)) for axis, n in zip("asi", values.shape, strict=True)))


@pytest.mark.parametrize("ends", [(("a0", "a1"), ("a2", "a3")), (("a0", "a1", "a2", "a3"), ("a4", "a5", "a6", "a7"))])
def test_a_main_effect_is_the_difference_of_means_with_noise_pooled_over_all_arms(ends: tuple[Any, Any]) -> None:
    """Against the textbook: the mean of m arms has 1/m of the residual mean square of the arm x seed table."""
    values = noise(9, 3, 50, np.random.default_rng(0))
    found = contrast_of(named(values), *ends, 0.05)
    assert found is not None
    up, down = ([int(name[1:]) for name in end] for end in ends)
    difference = values[up].mean(axis=0) - values[down].mean(axis=0)
    assert found.effect == pytest.approx(difference.mean())
    cells = values.mean(axis=2)
    rest = cells - cells.mean(axis=1, keepdims=True) - cells.mean(axis=0) + cells.mean()
    square = (rest**2).sum() / (8 * 2)
    own = difference - difference.mean(axis=0) - difference.mean(axis=1, keepdims=True) + difference.mean()
    least = (own**2).sum() / (2 * 49) / (3 * 50)
    assert found.v_seed == pytest.approx(max(2 * square / len(up) / 3, least))
    total = difference.mean(axis=0).var(ddof=1) / 50
    assert found.v_item == pytest.approx(max(total - least, 0.0))


def test_single_arms_are_compared_as_ever() -> None:
    made = named(noise(4, 3, 20, np.random.default_rng(1)))
    of_ends = contrast_of(made, ("a0",), ("a1",), 0.05)
    assert of_ends == contrast_of(made, "a0", "a1", 0.05) == contrast(made, "a0", "a1", 0.05)
    assert contrast_of(made, ("a0", "a1"), ("a1", "a2"), 0.05) is None  # an arm on both sides
    assert contrast_of(made, ("a0", "gone"), ("a1", "a2"), 0.05) is None
    assert contrast_of(made, "a0", "a0", 0.05) is None


def test_main_effects_of_nothing_are_found_one_time_in_twenty() -> None:
    rng = np.random.default_rng(2)
    studies = 1500
    p = [contrast_of(named(noise(5, 3, 60, rng)), ("a0", "a1"), ("a2", "a3"), 0.05) for _ in range(studies)]
    wrong = sum(one is not None and one.p is not None and one.p < 0.05 for one in p) / studies
    assert 0.02 < wrong < 0.068


def test_factors_get_their_verdicts_from_their_main_effects() -> None:
    from harness.designs import expand

    made = expand(study(**FACTORIAL))
    arms = ["baseline", *made.arms]
    nothing = dict.fromkeys(arms, 0.0) | {"aa": 0.0}
    found = decide(made, evidence(nothing)).decisions
    assert {(one.subject, one.verdict) for one in found} == {("short", "NEUTRAL"), ("once", "NEUTRAL")}
    for factor, other, op in (("short", "once", "filter"), ("once", "short", "dedupe")):
        on = [name for name in made.arms if op in [operation.op for operation in made.arms[name].operations]]
        assert len(on) == 2
        decided = by_subject(decide(made, evidence(nothing | dict.fromkeys(on, 0.12))))
        assert decided[factor].effect == pytest.approx(0.12)
        assert (decided[factor].verdict, decided[other].verdict) == ("ADOPT", "NEUTRAL")
        assert decided[factor].contrast == f"mean of 2 arms with {factor} - mean of 2 without"
    gone = {name: effect for name, effect in nothing.items() if name != on[0]}
    lacking = by_subject(decide(made, evidence(gone)))["short"]  # what is left is not balanced
    assert (lacking.verdict, lacking.reason) == ("INCONCLUSIVE", f"{on[0]} lacks finished runs")


def test_a_ladder_of_the_whole_baseline_has_a_curve_too() -> None:
    from harness.designs import expand

    made = expand(study(arms={}, designs=[{"size_ladder": {"fractions": [0.125, 0.25, 0.5]}}]))
    rows = {"baseline": {"scraped": 160.0}} | {
        name: {"scraped": float(arm.counts()["scraped"] or 0)} for name, arm in made.arms.items()
    }
    effects = {name: 0.1 * np.log(held["scraped"] / 160) for name, held in rows.items()}
    (line,) = decide(made, evidence({**effects, "aa": 0.0}, rows=rows)).growth
    assert (line.source, line.verdict, line.rows, line.supply_left) == ("size", "ADOPT", 160, None)
    assert line.next_gain == pytest.approx(0.1 * np.log(2), rel=0.35)


# --- the rule


def test_equivalence_is_adjusted_over_the_questions_too() -> None:
    """Three contrasts, each equivalent at .05 by itself and none after Holm."""
    rng = np.random.default_rng(5)
    values = 0.4 + rng.normal(0, 0.05, (4, 3, 100))
    values -= values.mean(axis=(1, 2), keepdims=True)
    made = named(values)
    family = [contrast(made, name, "a0") for name in ("a1", "a2", "a3")]
    se = family[0].se
    assert se is not None
    for threshold in np.linspace(1.5, 4, 26) * se:
        alone = [equivalence(one, threshold) for one in family]
        found, _, same = outcomes(family, threshold, 0.05)
        assert same == holm(alone)
        assert found == ["same" if (q := p) is not None and q < 0.05 else "unclear" for p in same]


def test_the_rule_needs_both_size_and_certainty() -> None:
    one = contrast(named(noise(3, 3, 50, np.random.default_rng(3))), "a1", "a0")
    size = abs(one.effect)
    better = "better" if one.effect > 0 else "worse"
    assert outcome(one, 0.01, 1.0, size / 2, 0.05) == better
    assert outcome(one, 0.06, 1.0, size / 2, 0.05) == "unclear"
    assert outcome(one, 0.01, 1.0, size * 2, 0.05) == "unclear"
    assert outcome(one, 0.01, 0.01, size * 2, 0.05) == "same"
    assert outcome(None, None, None, 0.1, 0.05) == "unclear"


def test_flips_are_contradictions_not_a_lack_of_items() -> None:
    def arm(effect: float) -> Any:
        return contrast(scores({"baseline": 0, "x": effect}), "x", "baseline")

    assert flips("better", arm(0.1), "unclear", arm(0.07), 0.05) == ""  # fewer items, wider interval
    assert flips("better", arm(0.1), "unclear", arm(0.02), 0.05) == "size"
    assert flips("better", arm(0.1), "unclear", arm(-0.02), 0.05) == "sign"
    assert flips("same", arm(0.01), "unclear", arm(-0.01), 0.05) == ""  # either is nothing
    assert flips("same", arm(0.01), "unclear", arm(0.08), 0.05) == "size"
    assert flips("unclear", arm(0.04), "better", arm(0.08), 0.05) == "verdict"
    assert flips("better", arm(0.1), "unclear", None, 0.05) == ""


def leaked(clean_effect: float) -> tuple[Scores, np.ndarray]:
    """``verified`` gains 0.12 on all 96 items, and ``clean_effect`` on the 56 that no row touched."""
    made = scores()
    touched = np.arange(96) < 40
    values = made.values.copy()
    values[1] += 0.4 - values[1].mean()
    for part, effect in ((~touched, clean_effect), (touched, (0.12 * 96 - clean_effect * 56) / 40)):
        values[1][:, part] += effect - (values[1][:, part].mean() - values[0][:, part].mean())
    return Scores(values, made.arms, made.seeds, made.items), ~touched


def test_a_verdict_that_only_touched_items_carry_is_flagged_everywhere() -> None:
    made, clean = leaked(0.03)
    known = evidence(selection=made, clean=clean)
    found = decide(study(), known)
    assert by_subject(found)["verify(scraped)"].facts["flip_clean"] == "size"
    flag = check(found, "contamination")
    assert not flag.ok
    assert flag.text == (
        "the verdict on verify(scraped) (there +0.03: below 0.05) does not hold on the 56 of 96 items that no training "
        "row touched"
    )
    arm = next(one for one in compare(study(), known) if one.variant == "verified")
    assert arm.flags == ["on the 56 clean items +0.03: below 0.05"]
    assert arm.ci_clean[0] is not None
    made, clean = leaked(0.01)  # sharp enough to show that there is nothing
    flag = check(decide(study(), evidence(selection=made, clean=clean)), "contamination")
    assert "(there +0.01: the verdict flips)" in flag.text
    made, clean = leaked(0.11)
    assert check(decide(study(), evidence(selection=made, clean=clean)), "contamination").ok


def test_exploratory_metrics_are_adjusted_together_by_benjamini_hochberg() -> None:
    from statsmodels.stats.multitest import multipletests

    families = [compare(study(), evidence(selection=scores(noise=0.2, seed_sd=0.05, draw=draw))) for draw in (0, 1)]
    explored = explore(families)
    flat = [arm for family in explored for arm in family if not arm.control]
    expected = multipletests([arm.p for arm in flat], method="fdr_bh")[1]
    assert [arm.p_adjusted for arm in flat] == pytest.approx(list(expected))
    assert all(arm.p_adjusted is None for family in explored for arm in family if arm.control)


# --- slices and tasks


def test_slices_come_weakest_first_with_their_own_effects() -> None:
    made = scores()
    names = tuple(("easy", "hard", "odd")[item % 3] if item else None for item in range(96))
    values = made.values.copy()
    values[:, :, [name == "hard" for name in names]] -= 0.2
    values[1][:, [name == "odd" for name in names]] += 0.15
    known = evidence(selection=Scores(values, made.arms, made.seeds, made.items), slices=names)
    found = decide(study(), known)
    assert found.slices[0].slice == "hard"
    assert sum(one.items for one in found.slices) == 95  # one item has no slice
    assert [arm.variant for arm in found.slices[0].arms] == ["verified", "sums-160", "sums-40"]
    odd = next(one for one in found.slices if one.slice == "odd")
    arm = next(arm for arm in odd.arms if arm.variant == "verified")
    pick = np.array([name == "odd" for name in names])
    expected = contrast(Scores(values, made.arms, made.seeds, made.items).pick(pick), "verified", "baseline")
    assert (arm.effect, arm.p) == (expected.effect, expected.p)
    assert arm.p_adjusted is not None
    assert arm.p is not None
    assert arm.p_adjusted >= arm.p
    assert found.weakest_slice == (
        f"Weakest slice of sums-160: hard (exact match {found.slices[0].best_mean:.2f}, 32 items)."
    )


@pytest.mark.parametrize("names", [(), (None,) * 96, ("all",) * 96])
def test_without_two_slices_there_is_nothing_to_say(names: tuple[str | None, ...]) -> None:
    found = decide(study(), evidence(slices=names))
    assert (found.slices, found.weakest_slice) == ([], "")


def test_a_slice_of_one_item_has_no_interval() -> None:
    names = ("alone", *("rest",) * 95)
    alone = next(one for one in decide(study(), evidence(slices=names)).slices if one.slice == "alone")
    assert {arm.ci for arm in alone.arms} == {(None, None)}
    assert {arm.note for arm in alone.arms} == {"one item: no interval"}


def test_tasks_are_ranked_by_signal_to_noise_and_coin_flips_called_so() -> None:
    tasks = {
        "noisy/acc": scores(dict.fromkeys(PLANTED, 0.0), noise=0.5, seed_sd=0.1),
        "sharp/acc": scores(),
        "alike/acc": scores(dict.fromkeys(PLANTED, 0.0), noise=0.01, seed_sd=0.001),
    }
    found = {one.task: one for one in task_noise(tasks, 0.05, 0.05)}
    assert next(iter(found)) == "sharp"
    assert found["sharp"].signal_to_noise is not None
    assert found["sharp"].signal_to_noise > 4
    assert {name: one.coin_flip for name, one in found.items()} == {"sharp": False, "noisy": True, "alike": False}
    spread = np.std([PLANTED[arm] for arm in ("baseline", "verified", "sums-160", "sums-40")], ddof=1)
    assert found["sharp"].spread == pytest.approx(spread)
    decided = decide(study(), evidence(tasks={"sums/exact_match": tasks["noisy/acc"], "other/acc": tasks["sharp/acc"]}))
    flag = check(decided, "suite_noise")
    assert not flag.ok
    assert "sums 0.0 (a coin flip: arms differ by 0.00, by noise alone 0." in flag.text
    fine = check(decide(study(), evidence(tasks={"sums/exact_match": tasks["sharp/acc"]})), "suite_noise")
    assert fine.ok


def test_a_metric_that_tells_arms_apart_better_is_named_where_questions_are_open() -> None:
    """It has the same effects with less noise; one that has nothing to do with the declared one is no better."""
    judged = scores(noise=0.8, seed_sd=0.1)
    sharp = replace(judged, values=judged.values + 3 * (scores(noise=0.05).values - 0.4))
    other = scores({name: 2 * place for place, name in enumerate(PLANTED)}, noise=0.05, draw=9)
    metrics = {"sums/exact_match": judged, "sums/logprob": sharp}
    found = {one.metric: one for one in metric_noise(metrics | {"sums/other": other}, "sums/exact_match", 0.05)}
    assert list(found) == ["sums/other", "sums/logprob", "sums/exact_match"]
    assert found["sums/exact_match"].agreement == pytest.approx(1.0)
    assert (found["sums/other"].agreement or 0.0) < AGREED < (found["sums/logprob"].agreement or 0.0)
    decided = decide(study(), evidence(selection=judged, metrics=metrics))
    assert "INCONCLUSIVE" in {one.verdict for one in decided.decisions}
    assert "sums/logprob tells the arms apart better" in decided.advice
    assert (
        "tells the arms apart"
        not in decide(
            study(), evidence(selection=judged, metrics={"sums/exact_match": judged, "sums/other": other})
        ).advice
    )
    assert "tells the arms apart" not in decide(study(), evidence(metrics=metrics)).advice  # nothing is open


def test_without_any_effect_tasks_are_called_coin_flips_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(11)
    tasks = {f"task{i}/acc": named(noise(6, 3, 60, rng)) for i in range(300)}
    tasks = {
        place: Scores(one.values, ("baseline", *one.arms[1:]), one.seeds, one.items) for place, one in tasks.items()
    }
    found = task_noise(tasks, 1e-9, 0.05)
    assert 0.9 <= sum(one.coin_flip for one in found) / 300 <= 0.99
    ratios = [one.signal_to_noise for one in found if one.signal_to_noise is not None]
    assert np.sqrt(np.mean(np.square(ratios))) == pytest.approx(1.0, abs=0.15)


def test_guessing_among_the_options_is_a_floor() -> None:
    found = decide(study(), evidence(chance=0.57))
    assert "not clearly above guessing among the options (0.57)" in check(found, "range").text


def test_seeds_that_the_baseline_lacks_are_said() -> None:
    found = decide(study(seeds=5), evidence())
    assert check(found, "seeds").text.startswith("3 of 5 seeds")
    assert not found.trusted


def test_two_arms_and_two_seeds_say_their_one_degree_of_freedom() -> None:
    made = study(arms={"verified": QUICKSTART["arms"]["verified"]}, controls=[])
    pair = scores({"baseline": 0.0, "verified": 0.03}, seeds=2, noise=0.2, seed_sd=0.05)
    found = decide(made, evidence(selection=pair, confirmation=None, rows=ROWS))
    assert verdicts(found) == {"verify(scraped)": "INCONCLUSIVE"}
    assert "1 degree of freedom" in found.decisions[0].reason
