import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.statistics.paired import (
    Contrast,
    benjamini_hochberg,
    contrast,
    correlation,
    equivalence,
    holm,
    noise,
    seed_noise_differs,
)
from harness.statistics.scores import Floats, Scores


def scores(values: Floats, groups: tuple[str, ...] | None = None) -> Scores:
    arms, seeds, items = values.shape
    return Scores(
        values,
        tuple("abcdefghijkl"[:arms]),
        tuple(str(seed) for seed in range(seeds)),
        tuple(str(item) for item in range(items)),
        groups,
    )


def simulate(
    rng: np.random.Generator,
    arms: int = 6,
    seeds: int = 3,
    items: int = 100,
    seed_sd: float = 0.07,
    item_sd: float = 0.4,
    noisy: float = 1.0,
    cluster: int = 1,
) -> Scores:
    """A null study: shared seed and item effects, seed noise per arm, items that suit some arms."""
    seed = rng.normal(0, 0.05, (1, seeds, 1)) + rng.normal(0, seed_sd, (arms, seeds, 1))
    seed[0] *= noisy
    suits = np.repeat(rng.normal(0, item_sd / 2, (arms, 1, items // cluster)), cluster, axis=2)
    values = seed + rng.normal(0, item_sd, (1, 1, items)) + suits + rng.normal(0, 0.3, (arms, seeds, items))
    groups = tuple(str(item // cluster) for item in range(items)) if cluster > 1 else None
    return scores(values, groups)


def seeded(seed: int, **sizes: int) -> Scores:
    return simulate(np.random.default_rng(seed), **sizes)


def test_two_arms_on_steady_items_are_the_paired_t_test_over_seeds() -> None:
    """Where items do nothing to the difference, it is scipy's paired t test of run means."""
    rng = np.random.default_rng(3)
    run = rng.normal(0, 0.1, (2, 4, 1))
    values = np.repeat(run, 20, axis=2) + rng.normal(0, 0.4, (1, 1, 20))
    ours = contrast(scores(values), "a", "b")
    theirs = stats.ttest_rel(run[0, :, 0], run[1, :, 0])
    assert (ours.p, ours.df) == (pytest.approx(theirs.pvalue), pytest.approx(3))
    assert (ours.ci_low, ours.ci_high) == pytest.approx(tuple(theirs.confidence_interval()))


def test_one_seed_is_the_paired_t_test_over_items_without_a_verdict() -> None:
    one = seeded(1, seeds=1)
    ours = contrast(one, "c", "b")
    theirs = stats.ttest_rel(one.values[2, 0], one.values[1, 0])
    assert (ours.ci_low, ours.ci_high) == pytest.approx(tuple(theirs.confidence_interval()))
    assert ours.df == pytest.approx(99)
    assert (ours.p, ours.note, equivalence(ours, 100)) == (None, "item noise only", 1.0)


def test_variances_match_a_hand_written_analysis_of_variance() -> None:
    values = np.array(
        [[[1.0, 0, 1, 1], [1, 0, 0, 1]], [[0.0, 0, 1, 0], [0, 0, 0.5, 1]], [[0.0, 1, 1, 1], [0, 0, 0, 0]]]
    )
    ours = contrast(scores(values), "a", "b")
    cells = [[0.75, 0.5], [0.25, 0.375], [0.75, 0.0]]
    grand, by_arm, by_seed = sum(map(sum, cells)) / 6, [0.625, 0.3125, 0.375], [1.75 / 3, 0.875 / 3]
    pooled = sum((cells[a][s] - by_arm[a] - by_seed[s] + grand) ** 2 for a in range(3) for s in range(2)) / (2 * 1)
    d = [[1.0, 0, 0, 1], [1.0, 0, -0.5, 0]]
    steady, mean, runs = [1.0, 0, -0.25, 0.5], 0.3125, [0.5, 0.125]
    ms_item = 2 * sum((value - mean) ** 2 for value in steady) / 3
    ms_rest = sum((d[s][i] - steady[i] - runs[s] + mean) ** 2 for s in range(2) for i in range(4)) / 3
    run_rest = []  # what items alone do to a run, arm by arm
    for arm in values:
        e = arm - arm.mean(axis=0) - arm.mean(axis=1, keepdims=True) + arm.mean()
        run_rest.append((e**2).sum() / 3 / 4)
    own, weight = [], []
    for arm in (0, 1):
        others = [x for x in range(3) if x != arm]
        apart = [cells[arm][s] - (cells[others[0]][s] + cells[others[1]][s]) / 2 for s in range(2)]
        square = (apart[0] - apart[1]) ** 2 / 2 * 2 / 3
        rest = ((cells[others[0]][0] - cells[others[1]][0]) - (cells[others[0]][1] - cells[others[1]][1])) ** 2 / 4
        ratio = square / max(rest, np.mean(run_rest))
        times = [(2 * r * r + 1) / 3 for r in (2, 4, 8)]
        odds = np.mean([stats.f.pdf(ratio / k, 1, 1) / k for k in times]) / stats.f.pdf(ratio, 1, 1)
        weight.append(odds / (1 + odds))
        own.append(max((square - pooled / 3) * 3 / 2, pooled))
    by_own = sum(w * v for w, v in zip(weight, own, strict=True)) / 2
    by_pool = sum((1 - w) * pooled for w in weight) / 2
    assert ours.effect == pytest.approx(mean)
    assert ours.v_seed == pytest.approx(by_own + by_pool)
    assert ours.v_residual == pytest.approx(ms_rest / 8)
    assert ours.v_item == pytest.approx((ms_item - ms_rest) / 8)
    total = ours.v_seed + ours.v_item
    df = total / (by_own / 1 + by_pool / 2 + ours.v_item / 3)
    half = stats.t.ppf(0.975, df) * math.sqrt(total)
    assert ours.df == pytest.approx(df)
    assert (ours.ci_low, ours.ci_high) == (pytest.approx(mean - half), pytest.approx(mean + half))
    assert ours.p == pytest.approx(2 * stats.t.sf(mean / math.sqrt(total), df))


def numbers(one: Contrast) -> list[float]:
    fields = (one.effect, one.se, one.ci_low, one.ci_high, one.df, one.p, one.v_seed, one.v_item)
    return [math.nan if value is None else value for value in fields]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(2, 4), st.integers(2, 12))
def test_contrasts_do_not_depend_on_what_all_arms_share(seed: int, seeds: int, arms: int, items: int) -> None:
    plain = seeded(seed, seeds=seeds, arms=arms, items=items)
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, 1, (1, seeds, 1)) + rng.normal(0, 1, (1, 1, items))
    first = numbers(contrast(plain, "a", "b"))
    assert numbers(contrast(scores(plain.values + shared), "a", "b")) == pytest.approx(first, rel=1e-6, nan_ok=True)
    shuffled = plain.values[:, :, rng.permutation(items)]
    assert numbers(contrast(scores(shuffled), "a", "b")) == pytest.approx(first, rel=1e-6, nan_ok=True)
    back = contrast(plain, "b", "a")
    assert (-back.effect, -back.ci_high, -back.ci_low) == pytest.approx(  # type: ignore[operator]
        (first[0], first[2], first[3]), rel=1e-6
    )


def test_a_group_of_copies_counts_as_one_item() -> None:
    """Five copies of every item tell nothing new: with groups the interval is that of the single items."""
    single = seeded(5, items=20)
    copies = np.repeat(single.values, 5, axis=2)
    groups = tuple(str(index // 5) for index in range(100))
    ours = contrast(scores(copies, groups), "b", "a")
    assert numbers(ours) == pytest.approx(numbers(contrast(single, "b", "a")), rel=1e-9)
    blind = contrast(scores(copies), "b", "a")
    assert blind.v_item < ours.v_item / 3


def test_one_cluster_and_hardly_more_give_no_interval() -> None:
    study = seeded(6, items=50)
    one = contrast(scores(study.values, ("g",) * 50), "b", "a")
    assert (one.se, one.p, one.clusters, one.note) == (None, None, 1, "one cluster of items: no interval")
    most = contrast(scores(study.values, (*("g",) * 45, *(None,) * 5)), "b", "a")
    assert (most.se, most.clusters, most.note) == (None, 6, "hardly more than one cluster: no interval")
    some = contrast(scores(study.values, (*("g",) * 30, *(None,) * 20)), "b", "a")
    assert some.effective == pytest.approx(50**2 / (30**2 + 20))
    assert some.p is not None
    assert some.df is not None
    assert some.df < 10


def test_the_intraclass_correlation_is_that_which_was_planted() -> None:
    rng = np.random.default_rng(7)
    member = np.repeat(np.arange(300), rng.integers(1, 9, 300))
    groups = tuple(f"g{number}" for number in member)
    for planted in (0.0, 0.2, 0.6):
        cluster = rng.normal(0, planted**0.5, (3, 1, 300))[..., member]
        values = cluster + rng.normal(0, (1 - planted) ** 0.5, (3, 1, len(member))) + rng.normal(0, 9, len(member))
        assert correlation(scores(values, groups), "a") == pytest.approx(planted, abs=0.06)
    assert correlation(scores(values), "a") is None
    assert correlation(scores(values, ("g",) * len(member)), "a") is None
    # Of two clusters there is a figure: by hand, differences 0, 0 and 1, 3 have MSB 4, MSW 1 and n0 2.
    pairs = scores(np.array([[[0.0, 0, 0, 0]], [[0, 0, 1, 3]]]), ("g", "g", "h", "h"))
    assert correlation(pairs, "a") == pytest.approx((4 - 1) / (4 + 1))


def test_two_arms_and_two_seeds_have_one_degree_of_freedom_and_say_so() -> None:
    one = contrast(seeded(2, arms=2, seeds=2), "a", "b")
    assert (one.df, one.note) == (1.0, "two arms and two seeds: 1 degree of freedom")
    for sizes in ({"arms": 2, "seeds": 3}, {"arms": 3, "seeds": 2}):
        more = contrast(seeded(2, **sizes), "a", "b")
        assert "degree of freedom" not in more.note
        assert more.df is not None
        assert more.df > 1


def test_pool_names_the_arms_whose_noise_is_shared() -> None:
    study = simulate(np.random.default_rng(4), noisy=30)
    calm = contrast(study, "b", "c", pool=("b", "c", "d", "e", "f"))
    assert calm.v_seed < contrast(study, "b", "a").v_seed / 50
    assert contrast(study, "b", "c", pool=("d", "e", "f")).v_seed == pytest.approx(
        contrast(study, "b", "c", pool=("b", "c", "d", "e", "f")).v_seed
    )


@pytest.mark.parametrize("level", [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.3, 0.3), (0.3, 0.8)])
@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_constant_scores_never_give_certainty(level: tuple[float, float], seeds: int) -> None:
    values = np.broadcast_to(np.array(level)[:, None, None], (2, seeds, 50)).copy()
    one = contrast(scores(values), "b", "a")
    assert one.effect == pytest.approx(level[1] - level[0])
    assert one.se == pytest.approx((level[1] - level[0] or 1.0) / 50)
    assert one.ci_low is not None
    assert one.ci_high is not None
    assert one.ci_low < one.effect < one.ci_high
    assert "the scores hardly vary: one item more or less is taken for the noise" in one.note
    assert seed_noise_differs(scores(values)) == []


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_item_or_one_cluster_gives_no_interval(seeds: int) -> None:
    one = contrast(seeded(1, items=1, seeds=seeds), "a", "b")
    assert (one.se, one.ci_low, one.p, one.note) == (None, None, None, "one item: no interval")
    cluster = scores(seeded(1, items=4, seeds=seeds).values, ("g",) * 4)
    assert contrast(cluster, "a", "b").note == "one cluster of items: no interval"
    assert set(noise(cluster, "a").values()) == {None}


def test_an_arm_is_not_compared_with_itself() -> None:
    with pytest.raises(ValueError, match="with itself"):
        contrast(seeded(1), "a", "a")


def test_holm_and_benjamini_hochberg_against_outside_figures() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # R: p.adjust(p, "holm")
    assert benjamini_hochberg(p) == pytest.approx(list(stats.false_discovery_control(p)))
    for ours, theirs in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        assert ours(p) == pytest.approx(list(multipletests(p, method=theirs)[1]))
    assert holm([0.02, None, 0.5]) == [pytest.approx(0.06), None, 1.0]
    assert benjamini_hochberg([None, 0.02]) == [None, pytest.approx(0.04)]
    assert holm([]) == benjamini_hochberg([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_adjusted_p_values_keep_their_order_and_never_shrink(p: list[float]) -> None:
    for adjust in (holm, benjamini_hochberg):
        adjusted = [value for value in adjust(p) if value is not None]
        assert all(after >= before - 1e-12 and after <= 1 for before, after in zip(p, adjusted, strict=True))
        by_size = [adjusted[index] for index in np.argsort(p, kind="stable")]
        assert all(low <= high + 1e-12 for low, high in pairwise(by_size))


def test_equivalence_is_two_one_sided_t_tests() -> None:
    one = contrast(seeded(6), "b", "a")
    assert one.df is not None
    assert one.se is not None
    low = stats.t.sf((one.effect + 0.2) / one.se, one.df)
    high = stats.t.cdf((one.effect - 0.2) / one.se, one.df)
    assert equivalence(one, 0.2) == pytest.approx(max(low, high))
    assert equivalence(one, abs(one.effect) / 2) > 0.5


def test_a_noisy_arm_is_named_and_equal_noise_is_not() -> None:
    rng = np.random.default_rng(8)
    quiet = [seed_noise_differs(simulate(rng)) for _ in range(300)]
    assert np.mean([bool(arms) for arms in quiet]) <= 0.14
    noisy = [seed_noise_differs(simulate(rng, seeds=5, noisy=7)) for _ in range(100)]
    assert np.mean(["a" in arms for arms in noisy]) > 0.9
    assert seed_noise_differs(seeded(1, arms=2)) == seed_noise_differs(seeded(1, seeds=1)) == []


def test_means_that_are_alike_by_luck_on_two_items_are_no_proof_of_calm() -> None:
    calm = [[0.0, 1.0], [1.0, 0.0]]  # the same mean at both seeds, from items that vary
    varied = np.array([[[0.0, 1.0], [0.0, 1.001]], calm, calm[::-1]])
    assert seed_noise_differs(scores(varied)) == []
    steady = [[0.25, 0.25], [0.75, 0.75]]
    assert seed_noise_differs(scores(np.array([[[0.0, 1.0], [0.0, 1.001]], steady, steady]))) == ["a"]


def test_an_arm_judged_by_its_own_runs_is_said_to_be() -> None:
    study = simulate(np.random.default_rng(4), seeds=4, noisy=30)
    noisy, calm = contrast(study, "b", "a"), contrast(study, "b", "c")
    assert (
        noisy.note
        == "a varies more than 10 times as much from seed to seed as the other arms: judged by its own 4 runs"
    )
    assert calm.note == ""
    assert noisy.df is not None
    assert noisy.df == pytest.approx(3, abs=0.1)
    assert noisy.v_seed == pytest.approx(np.var(study.values[0].mean(axis=1), ddof=1) / 4, rel=0.1)


def test_every_study_of_two_seeds_and_many_arms_is_still_one_sentence_away_from_certainty() -> None:
    """All right in one arm, all wrong in another, nothing varying: wide intervals, and it says why."""
    values = np.zeros((4, 2, 30))
    values[1] = 1
    one = contrast(scores(values), "b", "a")
    assert (one.effect, one.se) == (1, pytest.approx(1 / 30))
    assert "hardly vary" in one.note


def test_noise_recovers_what_was_planted() -> None:
    rng = np.random.default_rng(9)
    found = [noise(simulate(rng, seeds=4, items=200), "a") for _ in range(60)]
    mean = {name: float(np.mean([float(one[name] or 0) for one in found])) for name in found[0]}
    assert mean["seed_sd"] == pytest.approx(0.07, rel=0.1)
    assert mean["item_sd"] == pytest.approx(0.2 * math.sqrt(2), rel=0.1)
    assert mean["residual_sd"] == pytest.approx(0.3 * math.sqrt(2), rel=0.1)
    assert mean["seed_share"] + mean["item_share"] == pytest.approx(1)
    for seeds in (1, 2):
        clustered = noise(simulate(np.random.default_rng(1), seeds=seeds, cluster=5), "a")
        assert clustered["clusters"] == 20
        assert set(clustered) == {*mean, "clusters", "correlation"}
        assert (clustered["seed_sd"] is None) == (clustered["residual_sd"] is None) == (seeds == 1)
    one_seed = noise(seeded(1, seeds=1), "a")
    assert one_seed["seed_sd"] is None
    assert one_seed["item_sd"] is not None


def test_the_same_runs_under_another_name_add_no_evidence() -> None:
    """A filter that dropped nothing gives the baseline's runs again; they would pass for agreement between arms."""
    six = seeded(4)
    copied = scores(np.concatenate([six.values, six.values[:1], six.values[:1]]))
    assert numbers(contrast(copied, "b", "a")) == pytest.approx(numbers(contrast(six, "b", "a")))
    two = seeded(5, arms=2)
    for again in (two.values[:1], two.values[1:]):  # the third arm is already one too many
        third = scores(np.concatenate([two.values, again]))
        assert numbers(contrast(third, "b", "a")) == pytest.approx(numbers(contrast(two, "b", "a")))
    itself = contrast(copied, "g", "a")
    assert itself.effect == 0
    assert itself.p == pytest.approx(1)
    assert itself.se is not None
    assert itself.se > 0
