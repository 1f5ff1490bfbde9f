"""What a plan says it will cost and see, against the figures it is made from."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import harness
from harness import answer, forecast
from harness.forecast.earlier import items_of, metric_advice
from harness.forecast.power import PRIOR_CORRELATION, Noise, deciding, planned_power, planning_noise, power, prior
from harness.formats import duration
from harness.records import Power
from harness.statistics.paired import contrast
from harness.statistics.power import minimum_effect
from harness.statistics.scores import Scores
from tests import planted
from tests.conftest import TINY_STUDY


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A study of which nothing has been run."""
    return planted.folder_with(tmp_path_factory.mktemp("fresh"), tiny)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    study = planted.folder_with(tmp_path_factory.mktemp("finished"), tiny)
    planted.plant(study)
    return study


def other(study: Path, folder: Path, text: str) -> Path:
    """The same folder and store with another study file."""
    shutil.copytree(study.parent, folder / "copy")
    return planted.folder_with(folder / "copy", study.parent / "model", text)


# ----------------------------------------------------------------------------------------------------------- cost


def test_cost_before_anything_was_measured(fresh: Path) -> None:
    made = planted.plan(fresh)
    cost = forecast.forecast(made, 2, "cpu").cost
    assert (cost.runs, cost.cached, cost.workers, cost.device) == (12, 0, 2, "cpu")
    assert not cost.measured
    tokens = sum(16 * (v.tokens or 0) / v.rows * 2 for v in made.variants)  # 4 steps of 4 rows, two seeds
    evaluations = 13 * made.suite.data["characters"] / 3 / 250
    assert cost.seconds == pytest.approx((tokens / 95 + evaluations) / 2 + 25)
    assert cost.text.startswith("12 runs, about ")
    assert "on 2 workers (cpu, 190 tokens/s assumed until measured)" in cost.text


def test_more_workers_take_less_and_a_gpu_is_told_apart(fresh: Path) -> None:
    made = planted.plan(fresh)
    one, four = (forecast.forecast(made, workers, "cpu").cost for workers in (1, 4))
    assert one.seconds - 25 == pytest.approx(4 * (four.seconds - 25))
    assert "on 1 worker (" in one.text
    gpu = forecast.forecast(made, 1, "cuda").cost
    assert gpu.seconds < one.seconds
    assert "cuda" in gpu.text
    assert forecast.forecast(made, 99, "cpu").cost.workers == 12  # no more workers than runs


def test_paid_rows_are_priced(fresh: Path) -> None:
    cost = forecast.forecast(planted.plan(fresh), 1, "cpu").cost
    assert cost.money == pytest.approx(16 * 0.08)
    assert "the largest training set holds 1.28 worth of paid rows" in cost.text


def test_without_prices_there_is_no_money(fresh: Path, tmp_path: Path) -> None:
    study = other(fresh, tmp_path, TINY_STUDY.replace(", cost_per_row: 0.08", ""))
    cost = forecast.forecast(planted.plan(study), 1, "cpu").cost
    assert cost.money is None
    assert "worth" not in cost.text


def test_a_finished_study_costs_nothing(finished: Path) -> None:
    cost = forecast.forecast(planted.plan(finished), 2, "cpu").cost
    assert (cost.runs, cost.cached, cost.seconds) == (0, 12, 0)
    assert cost.text.startswith("nothing to do: all runs are done")


def test_what_was_measured_replaces_what_was_assumed(finished: Path, tmp_path: Path) -> None:
    study = other(finished, tmp_path, TINY_STUDY)
    planted.forget(planted.plan(study), "sums-16", 1)  # to train and to evaluate
    planted.forget(planted.plan(study), "sums-16", 2, "result")  # to evaluate
    made = planted.plan(study)
    cost = forecast.forecast(made, 2, "cpu").cost
    assert (cost.runs, cost.cached, cost.measured) == (2, 10, True)
    assert cost.tokens_per_second == planted.SPEED
    arm = next(v for v in made.variants if v.name == "sums-16")
    training = 16 * (arm.tokens or 0) / arm.rows / planted.SPEED
    assert cost.seconds == pytest.approx((training + 2 * planted.SECONDS) / 2 + 25)
    assert "measured)" in cost.text
    assert not forecast.forecast(made, 2, "cuda").cost.measured  # another kind of device says nothing


def test_epochs_count_the_rows_that_are_shown(fresh: Path, tmp_path: Path) -> None:
    text = TINY_STUDY.replace("steps: 4,", "epochs: 3,").replace("match: steps", "match: additive")
    made = planted.plan(other(fresh, tmp_path, text))
    cost = forecast.forecast(made, 1, "cpu").cost
    tokens = sum(3 * (v.tokens or 0) * 2 for v in made.variants)
    assert cost.seconds == pytest.approx(tokens / 95 + 13 * made.suite.data["characters"] / 3 / 250 + 25)


@pytest.mark.parametrize(("seconds", "text"), [(12.4, "12 s"), (89.9, "90 s"), (540, "9 min"), (7200, "2.0 h")])
def test_times_are_said_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# ---------------------------------------------------------------------------------------------------------- power


def test_power_before_and_after_noise_was_measured(fresh: Path, finished: Path) -> None:
    before = forecast.forecast(planted.plan(fresh), 2, "cpu").power
    assert (before.seeds, before.items, before.arms, before.smallest_effect) == (2, 12, 6, 0.05)
    assert "noise assumed" in before.noise
    assert before.comparisons == 3  # verify, sums, and scraped in whose place they stand: all share alpha
    assert before.minimum_effect == pytest.approx(
        minimum_effect(0.03, 0.13, 2, 12, 6, 0.05 / 3, 0.8, 0.45, 1.0, "balanced", True)
    )
    assert f"2 seeds x 12 items see an effect of {before.minimum_effect:.2g} or more" in before.text
    assert re.search(r"0\.05 (needs (\d+ seeds|[\d,]+ items)|is far below what it can see)", before.text)

    after = forecast.forecast(planted.plan(finished), 2, "cpu").power
    assert after.noise == "noise measured in this study"
    assert after.minimum_effect is not None
    assert before.minimum_effect is not None
    assert after.minimum_effect < before.minimum_effect  # planted noise is small


def test_the_seeds_and_items_that_power_asks_for_are_the_fewest_that_do() -> None:
    noise = Noise(0.02, 0.1, 0.3, "given")
    size = {"arms": 6, "smallest_effect": 0.08, "comparisons": 3, "confirmation": 0.5}
    asked = power(noise, seeds=3, items=100, **size)
    assert asked.minimum_effect is not None
    assert asked.minimum_effect > 0.08
    assert asked.seeds_needed is not None
    assert asked.items_needed is not None
    assert asked.suite_items_needed == 2 * asked.items_needed  # half of them are kept for confirmation
    for change in ({"seeds": asked.seeds_needed, "items": 100}, {"seeds": 3, "items": asked.items_needed}):
        enough = power(noise, **change, **size)
        assert enough.minimum_effect is not None
        assert enough.minimum_effect <= 0.08
        assert "needs" not in enough.text
    for change in ({"seeds": asked.seeds_needed - 1, "items": 100}, {"seeds": 3, "items": asked.items_needed - 1}):
        short = power(noise, **change, **size)
        assert short.minimum_effect is not None
        assert short.minimum_effect > 0.08
    seen = [at.minimum_effect for at in asked.by_seeds if at.minimum_effect is not None]
    assert seen == sorted(seen, reverse=True)


def test_clusters_cost_power_and_are_said() -> None:
    noise = Noise(0.01, 0.2, 0.1, "given")
    size = {"seeds": 3, "items": 100, "arms": 6, "smallest_effect": 0.05}
    alone = power(noise, **size)
    few = power(noise, **size, clusters=5, cluster_size=20.0)
    assert alone.clusters is None
    assert alone.minimum_effect is not None
    assert few.minimum_effect is not None
    assert few.minimum_effect > 1.1 * alone.minimum_effect
    assert few.text.startswith("3 seeds x 100 items in 5 clusters see an effect of ")
    none = power(noise, **size, clusters=6, cluster_size=90.25)
    assert none.minimum_effect is None
    assert none.text.startswith("3 seeds x 100 items in 6 clusters: no verdict can come from so few clusters")


def test_the_forecast_counts_the_clusters_of_the_suite(fresh: Path, tmp_path: Path) -> None:
    assert forecast.forecast(planted.plan(fresh), 2, "cpu").power.clusters is None
    text = TINY_STUDY.replace("slice: carries}", "group: carries}")
    made = planted.plan(other(fresh, tmp_path, text))
    found = forecast.forecast(made, 2, "cpu").power
    assert (found.items, found.clusters) == (24, 2)  # both decide: of one nothing can be inferred
    assert "2 seeds x 24 items in 2 clusters" in found.text
    of = deciding(made)
    assert found.item_sd == pytest.approx(prior().item_sd * (1 + (of.cluster_size - 1) * PRIOR_CORRELATION) ** 0.5)
    assert of.cluster_size >= 12


@pytest.mark.parametrize(("judged", "twin"), [("careful", False), ("balanced", False), ("balanced", True)])
def test_planned_power_is_the_power_that_simulation_finds(judged: Any, twin: bool) -> None:
    """Studies with exactly the minimum effect are found four times in five."""
    noise = Noise(0.04, 0.15, 0.3, "given")
    planned = power(noise, seeds=3, items=100, arms=6, smallest_effect=0.05, judged=judged, twin=twin)
    assert planned.minimum_effect is not None
    rng = np.random.default_rng(0)
    found, studies = 0, 400
    for _ in range(studies):
        values = rng.normal(0, noise.seed_sd, (6, 3, 1)) + rng.normal(0, noise.residual_sd / 2**0.5, (6, 3, 100))
        values = values + rng.normal(0, noise.item_sd / 2**0.5, (6, 1, 100))
        values[1] += planned.minimum_effect
        twins = ("a", "f") if twin else None
        scores = Scores(values, tuple("abcdef"), tuple("123"), tuple(map(str, range(100))), None, twins, judged)
        p = contrast(scores, "b", "a").p
        found += p is not None and p < 0.05
    assert found / studies == pytest.approx(0.8, abs=0.06)


def test_noise_comes_from_earlier_studies_of_the_same_suite_metric_and_model(finished: Path, tmp_path: Path) -> None:
    """A new study, nothing of which was run: what the finished one has measured is what it plans with."""
    arms = "  verified: {tests: verify(scraped), operations: [verify]}\n"
    text = (
        TINY_STUDY.replace("study: tiny", "study: second").replace(arms, "").replace("seeds: 2", "seeds: [11, 12, 13]")
    )
    study = other(finished, tmp_path, text)
    made = planted.plan(study)
    assert all(run.state == "to do" for run in made.runs)
    known = planning_noise(made)
    assert known is not None
    assert known.source == "noise from 1 earlier study in this store"
    assert known.studies == 1
    measured = answer.measured_noise(planted.plan(finished))
    assert [known.seed_sd, known.item_sd, known.residual_sd] == pytest.approx(
        [measured["seed_sd"], measured["item_sd"], measured["residual_sd"]]
    )
    assert "1 earlier study" in forecast.forecast(made, 2, "cpu").power.text
    # another metric, and another suite, are other studies
    study.write_text(text.replace("sums/exact_match", "sums/gold_logprob_per_token"))
    assert planning_noise(planted.plan(study)) is None
    study.write_text(text.replace("items: 24, seed: 3", "items: 24, seed: 4"))
    assert planning_noise(planted.plan(study)) == prior()


def test_a_metric_that_told_an_earlier_study_apart_better_is_named(finished: Path, tmp_path: Path) -> None:
    """Exact match is planted with much noise of its own, the log-likelihood beside it without: the plan says so."""
    assert metric_advice(planted.plan(finished)) == ""  # its own results are for `decide`
    text = TINY_STUDY.replace("study: tiny", "study: second").replace("seeds: 2", "seeds: [11, 12, 13]")
    second = other(finished, tmp_path, text)
    store = planted.plan(second).store
    assert metric_advice(planted.plan(second)) == ""  # both metrics are the same but for a constant
    rng = np.random.default_rng(0)
    for artifact in list(store.artifacts("result")):
        items = items_of(artifact)
        noise = rng.normal(0, 0.1) + rng.normal(0, 0.2, items.height)
        planted.rewrite(store, artifact, items.with_columns(pl.col("exact_match") + pl.Series(noise)))
    said = metric_advice(planted.plan(second))
    assert said.startswith("in tiny, sums/gold_logprob_per_token tells the arms apart better (signal to noise ")
    assert "and goes with sums/exact_match (correlation 0." in said
    shown = str(harness.open_study(second, store=second.parent / ".harness").plan())
    assert "sums/exact_match is declared, and decides" in " ".join(shown.split())


def test_the_base_model_says_how_much_items_vary(finished: Path, tmp_path: Path) -> None:
    study = other(finished, tmp_path, TINY_STUDY)
    made = planted.plan(study)
    for run in made.runs:
        planted.forget(made, run.variant, run.seed, "result")
        planted.forget(made, run.variant, run.seed)
    made = planted.plan(study)
    assert planning_noise(made) == prior()  # every item of the planted base model is wrong: that says nothing
    base = made.store.find("result", made.base.key)
    assert base is not None
    shutil.rmtree(base.folder)
    study.write_text(TINY_STUDY.replace("sums/exact_match", "sums/gold_logprob_per_token"))
    made = planted.plan(study)  # nothing is known of a metric with a unit of its own
    assert planning_noise(made) is None
    power = planned_power(made, None, 60.0)
    assert (power.minimum_effect, power.seeds_needed, power.items_needed, power.seed_sd) == (None,) * 4
    assert "known after 2 seeds (about 2 min)" in power.text
    study.write_text(TINY_STUDY)
    values = np.arange(24) % 2.0
    planted.result(made, made.base, values)
    known = planning_noise(planted.plan(study))
    assert known is not None
    assert "the base model's own items" in known.source
    assert known.item_sd == pytest.approx(prior().item_sd * np.std(values, ddof=1) / 0.5)


def test_runs_that_are_done_already_say_something(finished: Path, tmp_path: Path) -> None:
    study = other(finished, tmp_path, TINY_STUDY)
    planted.forget(planted.plan(study), "sums-16", 1)
    known = planning_noise(planted.plan(study))
    assert known is not None
    assert known.source == "noise of the runs done so far"


def test_an_effect_that_can_be_seen_asks_for_nothing_more(finished: Path, tmp_path: Path) -> None:
    study = other(finished, tmp_path, TINY_STUDY.replace("smallest_effect: 0.05", "smallest_effect: 0.3"))
    power = forecast.forecast(planted.plan(study), 2, "cpu").power
    assert power.minimum_effect is not None
    assert power.minimum_effect < 0.3
    assert "needs" not in power.text


def test_one_seed_gives_no_verdict(fresh: Path, tmp_path: Path) -> None:
    study = other(fresh, tmp_path, TINY_STUDY.replace("seeds: 2", "seeds: 1"))
    power = forecast.forecast(planted.plan(study), 2, "cpu").power
    assert power.minimum_effect is None
    assert power.text.startswith("1 seed x 12 items: no verdict can come from one seed")


# -------------------------------------------------------------------------------------------------- contamination


def test_a_clean_study_says_so(fresh: Path, tmp_path: Path) -> None:
    text = TINY_STUDY.replace("max_terms: 2, max_digits: 2}, items", "min_digits: 6, max_digits: 6}, items")
    text = text.replace(", slice: carries", "")  # known for two terms only
    found = forecast.forecast(planted.plan(other(fresh, tmp_path, text)), 2, "cpu").contamination
    assert (found.removed, found.items_touched) == (0, 0)
    assert found.text == f"none of {found.rows} rows overlaps the suite"


def test_overlaps_are_counted(fresh: Path) -> None:
    made = planted.plan(fresh)
    found = forecast.forecast(made, 2, "cpu").contamination
    assert found.by_source == {name: pool.data["removed"] for name, pool in made.pools.items()}
    assert found.rows == 120
    assert found.removed == sum(found.by_source.values())
    if found.items_touched:
        assert f"{found.removed} of 120 rows overlap the suite" in found.text


def test_a_copy_of_an_item_is_reported(fresh: Path, tmp_path: Path) -> None:
    items = planted.plan(fresh).suite.table("items")
    question, answer = items["question"][0], items["answer"][0]
    study = other(fresh, tmp_path, TINY_STUDY)
    clean = [{"prompt": f"the cat sat on mat {i}", "completion": " meow"} for i in range(20)]
    rows = [{"prompt": question, "completion": answer}, *clean]
    (study.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    study.write_text(
        re.sub(
            r"  sums: \{generator[^}]*\}[^}]*\}[^}]*\}[^}]*\}, cost_per_row: 0.08\}",
            "  sums: {path: rows.jsonl}",
            TINY_STUDY,
        )
    )
    found = forecast.forecast(planted.plan(study), 2, "cpu").contamination
    assert found.by_source["sums"] == 1
    assert found.items_touched >= 1
    assert "are marked as touched" in found.text


def test_sources_nobody_draws_from_are_named(fresh: Path, tmp_path: Path) -> None:
    text = TINY_STUDY.replace("baseline:", "  spare: {path: absent.jsonl}\nbaseline:")
    assert forecast.forecast(planted.plan(other(fresh, tmp_path, text)), 2, "cpu").unused == ["spare"]


def test_as_json_is_plain(fresh: Path) -> None:
    found = forecast.forecast(planted.plan(fresh), 2, "cpu")
    for part in (found.contamination, found.cost):
        assert json.loads(json.dumps(part.as_json()))["text"] == part.text
    assert Power.model_validate_json(found.power.model_dump_json()) == found.power
