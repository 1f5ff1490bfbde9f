"""The batched estimator: the same as ``contrast``, and right as often as it says."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from harness.statistics.estimate import (
    Estimate,
    Floats,
    cluster_deviations,
    effective_count,
    estimate,
    item_variance,
    own_weight,
    seed_noise,
)
from harness.statistics.paired import contrast, equivalence, seed_noise_differs
from harness.statistics.scores import Scores
from tests.statistics.bootstrap import bootstrap_interval


def studies(
    rng: np.random.Generator, count: int, arms: int = 6, seeds: int = 3, items: int = 100, seed_sd: float = 0.07,
    noisy: dict[int, float] | None = None, cluster: int = 1, binary: bool = False,
) -> Floats:  # fmt: skip
    """Null studies: seeds and items shared, seed noise per arm (``noisy`` times as much), items that suit some arms."""
    sd = np.full((arms, 1), seed_sd)
    for arm, times in (noisy or {}).items():
        sd[arm] *= times
    run = rng.normal(0, 0.05, (count, 1, seeds)) + rng.normal(0, 1, (count, arms, seeds)) * sd
    suits = np.repeat(rng.normal(0, 0.2, (count, arms, 1, items // cluster)), cluster, axis=3)
    values = run[..., None] + rng.normal(0, 0.4, (count, 1, 1, items)) + suits
    values = values + rng.normal(0, 0.3, (count, arms, seeds, items))
    return (values > 0).astype(float) if binary else values


def scores(values: Floats, groups: tuple[str, ...] | None = None) -> Scores:
    arms, seeds, items = values.shape
    return Scores(
        values, tuple("abcdefghijkl"[:arms]), tuple(map(str, range(seeds))), tuple(map(str, range(items))), groups
    )


def against_first(values: Floats, member: np.ndarray | None = None) -> Estimate:
    arms = values.shape[1]
    return estimate(values, range(1, arms), 0, member, range(arms))


def family(found: Estimate) -> float:
    """Share of studies with a Holm-adjusted p below .05."""
    p = found.p()
    return float((p.min(axis=1) * p.shape[1] < 0.05).mean())


def coverage(found: Estimate, truth: float = 0.0) -> float:
    return float((np.abs(found.effect - truth) < found.half_width()).mean())


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(2, 6), st.sampled_from([1, 2, 4]), st.booleans())
def test_many_studies_at_once_give_what_contrast_gives(
    seed: int, seeds: int, arms: int, cluster: int, binary: bool
) -> None:
    values = studies(np.random.default_rng(seed), 3, arms, seeds, 12, noisy={0: 5.0}, cluster=cluster, binary=binary)
    member = np.arange(12) // cluster if cluster > 1 else None
    groups = None if member is None else tuple(map(str, member))
    found = against_first(values, member)
    for study in range(3):
        for arm in range(1, arms):
            one = contrast(scores(values[study], groups), "abcdef"[arm], "a")
            row = (study, arm - 1)
            numbers = (one.effect, one.se, one.df, one.v_seed, one.v_item, one.v_residual)
            named = (found.effect, found.se, found.df, found.v_seed, found.v_item, found.v_residual)
            assert numbers == pytest.approx(tuple(part[row] for part in named), rel=1e-9, abs=1e-12)
            if one.p is not None:
                assert one.p == pytest.approx(found.p()[row])
                assert equivalence(one, 0.1) == pytest.approx(found.p_equivalence(0.1)[row])


# --- outside references


def test_the_item_part_is_the_cluster_robust_error_of_least_squares() -> None:
    """Differences over seeds regressed on a constant, clustered by group: statsmodels gives MS_item / (S I)."""
    rng = np.random.default_rng(1)
    values = studies(rng, 1, 2, 3, 60, cluster=5)[0]
    mean = (values[0] - values[1]).mean(axis=0)
    groups = np.arange(60) // 5
    fit = sm.OLS(mean, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    centred = (values[0] - values[1]) - (values[0] - values[1]).mean(axis=1, keepdims=True)
    sums = centred @ (groups[:, None] == np.arange(12))
    # statsmodels' small-sample factor is G / (G - 1) * (N - 1) / (N - K), and K is 1 here
    assert item_variance(sums, 60)[0] == pytest.approx(float(fit.bse[0]) ** 2)


def test_the_item_part_is_the_jackknife_over_clusters_of_any_size() -> None:
    """The jackknife written out: the mean of the items without each cluster in turn."""
    rng = np.random.default_rng(3)
    member = np.repeat(np.arange(7), (1, 2, 4, 8, 3, 1, 9))
    rng.shuffle(member)
    mean = rng.normal(0, 1, 28) + rng.normal(0, 1, 7)[member]
    without = np.array([mean[member != cluster].mean() for cluster in range(7)])
    deviations = cluster_deviations(mean[None] - mean.mean(), member)
    assert item_variance(deviations, 28)[0] == pytest.approx(6 / 7 * np.square(without - mean.mean()).sum())
    assert effective_count(28, member) == pytest.approx(28**2 / np.square((1, 2, 4, 8, 3, 1, 9)).sum())


@pytest.mark.parametrize("sizes", [[10] * 20, [30] * 3, [60, *[1] * 40], [50, 25, 12, 6, 3, 2, 1, 1]])
@pytest.mark.parametrize("seeds", [3, 5])
def test_clusters_with_effects_of_their_own_make_no_false_verdicts(sizes: list[int], seeds: int) -> None:
    rng = np.random.default_rng(4)
    member = np.repeat(np.arange(len(sizes)), sizes)
    values = rng.normal(0, 0.1, (400, 4, 1, len(sizes)))[..., member] + rng.normal(0, 0.01, (400, 4, seeds, 1))
    values = values + rng.normal(0, 0.3, (400, 4, seeds, len(member)))
    known, blind = against_first(values, member), against_first(values)
    assert family(known) < 0.08  # .05 and three standard errors of 400 studies
    assert coverage(known) > 0.93
    assert family(blind) > 2 * family(known)


def test_the_parts_are_those_of_a_mixed_model_with_crossed_effects() -> None:
    """Restricted maximum likelihood (statsmodels MixedLM) splits a balanced table the same way."""
    rng = np.random.default_rng(2)
    seeds, items = 6, 40
    difference = rng.normal(0, 0.15, (seeds, 1)) + rng.normal(0, 0.3, (1, items)) + rng.normal(0, 0.3, (seeds, items))
    values = np.stack([difference, np.zeros_like(difference)])
    one = contrast(scores(values), "a", "b")
    frame = pd.DataFrame({"y": difference.ravel(), "one": 1})
    frame["seed"], frame["item"] = np.repeat(np.arange(seeds), items), np.tile(np.arange(items), seeds)
    crossed = {"seed": "0 + C(seed)", "item": "0 + C(item)"}
    fit = sm.MixedLM.from_formula("y ~ 1", groups="one", vc_formula=crossed, data=frame).fit(reml=True)
    by_name = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True))
    assert one.v_item == pytest.approx(by_name["item"] / items, rel=0.02)
    assert one.v_residual == pytest.approx(fit.scale / (seeds * items), rel=0.02)
    assert one.v_seed - one.v_residual == pytest.approx(by_name["seed"] / seeds, rel=0.02)
    assert one.se == pytest.approx(float(fit.bse.iloc[0]), rel=0.02)


def test_equivalence_is_the_two_one_sided_tests_of_statsmodels() -> None:
    run = np.random.default_rng(3).normal(0, 0.1, (2, 5, 1))
    values = np.repeat(run, 20, axis=2)
    values[0, :, 0] += 1e-3  # no floor for scores that never vary over items
    values[1, :, 0] += 1e-3
    ours = equivalence(contrast(scores(values), "a", "b"), 0.2)
    theirs = DescrStatsW(run[0, :, 0] - run[1, :, 0]).ttost_mean(-0.2, 0.2)[0]
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_the_ratio_of_seed_noise_is_an_exact_f_test() -> None:
    """With three arms it is Snedecor's F: p values of equal noise are uniform, and two hand-made figures agree."""
    rng = np.random.default_rng(4)
    cells = rng.normal(0, 1, (4000, 5, 3)) + rng.normal(0, 3, (4000, 1, 3))
    found = seed_noise(cells, 0.0, 0.0)
    assert stats.kstest(found.p[:, 2], "uniform").pvalue > 0.001
    one = cells[0]
    rest = np.delete(one, 2, axis=0)
    apart = one[2] - rest.mean(axis=0)
    by_arm, by_seed = np.kron(np.eye(4), np.ones((3, 1))), np.kron(np.ones((4, 1)), np.eye(3))[:, 1:]
    fit = sm.OLS(rest.ravel(), np.column_stack([by_arm, by_seed])).fit()
    mean_square = fit.ssr / 6
    assert found.ratio[0, 2] == pytest.approx(np.var(apart, ddof=1) * 4 / 5 / mean_square)
    assert found.p[0, 2] == pytest.approx(stats.f.sf(found.ratio[0, 2], 2, 6))


def test_the_weight_of_own_noise_grows_with_the_evidence() -> None:
    ratio = np.geomspace(0.01, 1000, 60)
    for arms, seeds in ((3, 2), (6, 3), (12, 5)):
        weight = own_weight(ratio, arms, seeds)
        assert (np.diff(weight) >= 0).all()
        assert weight[0] < 0.5 < 0.75 < weight[-1]
    assert own_weight(np.array(1.0), 6, 10) < own_weight(np.array(1.0), 6, 2)  # many seeds: equal noise is believed


def test_with_many_seeds_the_bootstrap_agrees_and_with_three_it_is_too_narrow() -> None:
    rng = np.random.default_rng(5)
    many = scores(studies(rng, 1, 2, 40, 120, cluster=4)[0], tuple(str(item // 4) for item in range(120)))
    one = contrast(many, "b", "a")
    low, high = bootstrap_interval(many, "b", "a")
    assert one.ci_low is not None
    assert one.ci_high is not None
    assert high - low == pytest.approx(one.ci_high - one.ci_low, rel=0.12)
    assert (low + high) / 2 == pytest.approx(one.effect, abs=0.1 * (high - low))
    assert bootstrap_interval(many, "b", "a") == (low, high)
    inside = []
    for values in studies(rng, 100, 2, 3, 50, seed_sd=0.15):
        low, high = bootstrap_interval(scores(values), "b", "a", draws=400)
        inside.append(low < 0 < high)
    assert np.mean(inside) < 0.9


# --- right as often as it says


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("cluster", [1, 5])
def test_equal_noise_gives_few_false_verdicts_and_covering_intervals(cluster: int, binary: bool) -> None:
    values = studies(np.random.default_rng(11), 1200, cluster=cluster, binary=binary)
    found = against_first(values, np.arange(100) // cluster if cluster > 1 else None)
    assert family(found) <= 0.05
    assert 0.93 <= coverage(found) <= 0.985


@pytest.mark.parametrize(("times", "most"), [(3.0, 0.063), (7.0, 0.096)])
@pytest.mark.parametrize("arm", [0, 5])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_one_noisier_arm_does_not_make_false_verdicts(seeds: int, arm: int, times: float, most: float) -> None:
    """Goals: 5% at 3 times, 8% at 7 times the seed noise, with two Monte-Carlo standard errors added."""
    rng = np.random.default_rng(12)
    assert family(against_first(studies(rng, 1200, seeds=seeds, items=60, noisy={arm: times}))) <= most


def test_where_own_noise_is_not_told_apart_pooling_alone_fails() -> None:
    """What this estimator is for: pooled noise calls a noisy baseline an effect in a fifth of null studies."""
    values = studies(np.random.default_rng(13), 1200, noisy={0: 7.0})
    found = against_first(values)
    cells = values.mean(axis=3)
    rest = cells - cells.mean(axis=2, keepdims=True)
    rest -= rest.mean(axis=1, keepdims=True)
    se = np.sqrt(2 * np.einsum("nas,nas->n", rest, rest) / 10 / 3)[:, None]
    pooled = 2 * stats.t.sf(np.abs(found.effect) / se, 10)
    assert (pooled.min(axis=1) * 5 < 0.05).mean() > 0.12
    assert family(found) < 0.09


def test_noisy_arms_are_flagged_and_calm_ones_rarely() -> None:
    rng = np.random.default_rng(14)
    calm = [bool(seed_noise_differs(scores(one))) for one in studies(rng, 400, items=20)]
    noisy = ["f" in seed_noise_differs(scores(one)) for one in studies(rng, 200, items=20, noisy={5: 7.0})]
    assert np.mean(calm) <= 0.14
    assert np.mean(noisy) > 0.6


@pytest.mark.parametrize("effect", [0.0, 0.15])
def test_intervals_cover_a_planted_effect(effect: float) -> None:
    values = studies(np.random.default_rng(15), 1200)
    values[:, 1:] += effect
    assert 0.94 <= coverage(against_first(values), effect) <= 0.985


@pytest.mark.parametrize(("arms", "seeds"), [(2, 2), (2, 3), (3, 2)])
def test_few_runs_do_not_make_it_overconfident(arms: int, seeds: int) -> None:
    assert family(against_first(studies(np.random.default_rng(16), 1500, arms, seeds, 50))) <= 0.062


def test_an_effect_at_the_threshold_is_rarely_called_the_same_with_holm() -> None:
    values = studies(np.random.default_rng(17), 1200)
    found = against_first(values)
    p = found.p_equivalence(0.25, found.effect + 0.25)
    assert (p.min(axis=1) < 0.05).mean() > 0.06  # without Holm: five chances to be wrong
    assert (p.min(axis=1) * 5 < 0.05).mean() <= 0.05


def test_right_or_wrong_items_are_never_known_better_than_to_one_item() -> None:
    values = np.zeros((1, 2, 3, 50))
    values[0, 0, 0, 0] = 1.0  # one of 150 answers differs: the spread is far above rounding, and below one item
    found = estimate(values, [0], 1, None, range(2))
    assert found.floored.all()
    assert found.se.item() == pytest.approx(1 / 50)
    values[0, :, :, 1] = 0.5  # now answers may be half right
    assert estimate(values, [0], 1, None, range(2)).se.item() < 1 / 50
