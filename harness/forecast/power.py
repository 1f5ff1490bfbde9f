"""The effect that a study will be able to detect, and the seeds or items that detect the smallest that matters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from harness.forecast.earlier import items_of, studies
from harness.formats import duration, plural
from harness.records import Power, PowerAtSeeds

if TYPE_CHECKING:
    from harness.spec import Study
    from harness.study.plan import Plan

# Exact match of short answers, 135M parameters: three arrangements of the quickstart had seed SD .008-.040, item SD
# .096-.142 and residual SD .434-.458. The priors are shares of the SD of a right-or-wrong score, which is at most 0.5.
PRIOR_SEED, PRIOR_ITEM, PRIOR_RESIDUAL = 0.06, 0.26, 0.9
PRIOR_SCALE = 0.5
PRIOR_CORRELATION = 0.2  # correlation of items of one cluster, until it is measured
FLOOR, CEILING = 0.1, 0.9  # a base score outside this range does not predict how much trained arms vary
MOST_EFFECT = 10.0  # no metric has a larger effect
RIGHT_OR_WRONG = ("acc", "acc_norm", "exact_match")
SEEDS_SHOWN = (2, 3, 5, 8, 12)

Found = TypeVar("Found")


@dataclass(frozen=True)
class Noise:
    """The three SDs that make up a contrast's noise (see ``statistics.power``), and their origin in words."""

    seed_sd: float
    item_sd: float
    residual_sd: float
    source: str
    studies: int = 0


def prior(scale: float = PRIOR_SCALE) -> Noise:
    """Return the noise to assume without measurements, for items whose scores have SD ``scale``."""
    source = "noise assumed from studies of short answers; measured once this study has run"
    return Noise(PRIOR_SEED * scale, PRIOR_ITEM * scale, PRIOR_RESIDUAL * scale, source)


def assumed(cluster_size: float) -> Noise:
    """Return the noise to assume for items in clusters: measured noise has their effect in it, ``prior`` has not."""
    from harness.statistics.power import design_effect

    found = prior()
    return replace(found, item_sd=found.item_sd * math.sqrt(design_effect(cluster_size, PRIOR_CORRELATION)))


def measured(plan: Plan) -> Noise | None:
    """Return the noise of this study's own runs; None where they do not show it."""
    from harness import answer

    own = _known(answer.measured_noise(plan), 1)
    return Noise(*own[0], "noise of the runs done so far") if own else None


def planning_noise(plan: Plan) -> Noise | None:
    """Return the noise to plan with: of this study, else of earlier studies, else assumed; None: nothing is known.

    Earlier studies count when they are in this store and have the same model, suite and metric. Their variances, and
    those of this study's finished runs, are averaged with their degrees of freedom as weights. Right-or-wrong answers
    are alike enough for an assumption, which the base model's own items adjust; other metrics have units of their own.
    """
    from harness import answer
    from harness.statistics.power import design_effect

    own = _known(answer.measured_noise(plan), 1)
    if own and answer.complete(plan) and len(plan.study.seed_list()) > 1:
        return Noise(*own[0], "noise measured in this study")
    measured = list(_earlier(plan))
    here = " in this store" + (" and of the runs done so far" if own else "")
    if own:
        measured.append((own[0], 1))
    if measured:
        total = sum(df for _, df in measured)
        sds = [math.sqrt(sum(df * found[index] ** 2 for found, df in measured) / total) for index in range(3)]
        studies = len(measured) - bool(own)
        source = f"noise from {studies} earlier {'study' if studies == 1 else 'studies'}{here}"
        return Noise(sds[0], sds[1], sds[2], source if studies else "noise of the runs done so far", studies)
    if plan.study.decide.metric.split("/")[1] not in RIGHT_OR_WRONG:
        return None
    scale = _base_scale(plan)
    found = prior() if scale is None else prior(scale)
    if scale is not None:
        found = replace(found, source=f"noise assumed from the base model's own items, which vary by {scale:.2g}")
    # Measured noise includes the effect of clusters; assumed noise is that of independent items.
    inflated = found.item_sd * math.sqrt(design_effect(deciding(plan).cluster_size, PRIOR_CORRELATION))
    return replace(found, item_sd=inflated)


def planned_power(plan: Plan, noise: Noise | None, seconds_per_seed: float | None = None) -> Power:
    """Return the power of a planned study, given its noise; in a study with stages, that of its last look."""
    study, suite = plan.study, deciding(plan)
    if noise is None:
        return _unknown_power(plan, suite, seconds_per_seed)
    if suite.clusters is not None and suite.clusters < suite.items / 2:
        noise = replace(noise, source=f"{noise.source}; {_remedy(study)}")
    found = _planned_power(plan, noise, seconds_per_seed, len(study.seed_list()), study.decide.alpha)
    if not study.stages:
        return found
    first, last = (level * found.comparisons for level in _levels(plan, noise, found))
    early = _planned_power(plan, noise, None, study.stages[0], first).minimum_effect
    found = _planned_power(plan, noise, seconds_per_seed, study.stages[-1], last)
    shown = f"of {early:.2g} or more" if early is not None else "hardly any"
    text = f"the first look, at {study.stages[0]} seeds, sees effects {shown}; the last: {found.text}"
    return found.model_copy(update={"alpha": study.decide.alpha, "text": text})


def _unknown_power(plan: Plan, suite: Deciding, seconds_per_seed: float | None) -> Power:
    """Return the power of a study whose noise nothing is known of: when it will be known."""
    study = plan.study
    seeds = len(study.seed_list())
    known = known_after(study.stages, seeds, study.decide.metric, seconds_per_seed)
    size = f"{plural(seeds, 'seed')} x {plural(suite.items, 'item')}"
    if suite.clusters is not None:
        size += f" in {plural(suite.clusters, 'cluster')}"
    if suite.clusters is not None and suite.clusters < suite.items / 2:
        known += f"; {_remedy(study)}"
    return Power(
        seeds=seeds, items=suite.items, clusters=suite.clusters, arms=len(plan.variants), comparisons=comparisons(plan),
        alpha=study.decide.alpha, power=0.8, seed_sd=None, item_sd=None, residual_sd=None, noise=known,
        minimum_effect=None, smallest_effect=study.decide.smallest_effect, seeds_needed=None, items_needed=None,
        text=f"{size}: {known}",
    )  # fmt: skip


def known_after(stages: Sequence[int], seeds: int, metric: str, seconds_per_seed: float | None) -> str:
    """Return in words when it is known which effects a study can see.

    Args:
        stages: Its stages; empty: it is looked at once.
        seeds: Seeds of every arm.
        metric: ``task/metric``.
        seconds_per_seed: Wall time of one seed of every arm, if known.
    """
    first = stages[0] if stages else min(2, seeds)
    time = f", about {duration(first * seconds_per_seed)}" if seconds_per_seed else ""
    when = f"the first look ({first} seeds{time})" if stages else f"{plural(first, 'seed')}{time and f' ({time[2:]})'}"
    if seeds == 1:
        return "no verdict can come from one seed"
    return f"the effects that can be seen are known after {when}: the noise of {metric} has not been measured yet"


def _remedy(study: Study) -> str:
    """Return what to write when items that were taken for alike are independent."""
    task = study.decide.metric.split("/")[0]
    known = study.suite.tasks.get(task)
    if known is None or known.group is not None:
        return "items of one cluster count as one"
    return f"items of like wording count as one: if they are independent, say suite.tasks.{task}.group: none"


def _levels(plan: Plan, noise: Noise, found: Power) -> tuple[float, float]:
    """Return the levels of one comparison at the first and at the last look."""
    from harness.statistics.sequential import fractions_of, levels_at

    seeds = plan.study.stages[0]
    v_seed = 2 * noise.seed_sd**2 / seeds + noise.residual_sd**2 / (seeds * found.items)
    fractions = fractions_of(plan.study.stages, v_seed, noise.item_sd**2 / found.items)
    levels = levels_at(fractions, plan.study.decide.alpha / found.comparisons)
    return levels[0], levels[-1]


def _planned_power(plan: Plan, noise: Noise, seconds_per_seed: float | None, seeds: int, alpha: float) -> Power:
    study, suite = plan.study, deciding(plan)
    return power(
        noise,
        seeds=seeds,
        items=suite.items,
        clusters=suite.clusters,
        cluster_size=suite.cluster_size,
        arms=len(plan.variants),
        smallest_effect=study.decide.smallest_effect,
        alpha=alpha,
        comparisons=comparisons(plan),
        confirmation=study.suite.confirmation,
        seconds_per_seed=seconds_per_seed,
        judged=study.decide.noise,
        twin="aa" in study.controls,
    )


def power(
    noise: Noise,
    *,
    seeds: int,
    items: int,
    arms: int,
    smallest_effect: float,
    clusters: int | None = None,
    cluster_size: float = 1.0,
    alpha: float = 0.05,
    comparisons: int = 1,
    confirmation: float = 0.0,
    target: float = 0.8,
    seconds_per_seed: float | None = None,
    judged: Literal["balanced", "careful"] = "balanced",
    twin: bool = True,
) -> Power:
    """Return the smallest effect that a study finds, and the seeds or items that find ``smallest_effect``.

    Args:
        noise: The noise of its contrasts.
        seeds: Seeds per arm.
        items: Items that decide.
        arms: Arms whose seed noise is pooled, baseline and controls included.
        smallest_effect: The effect to find.
        clusters: Number of clusters of items; None when all items are independent.
        cluster_size: Items per cluster, as in ``Deciding``.
        alpha: Family-wise level, two-sided.
        comparisons: Number of questions that share ``alpha`` (Bonferroni: Holm is never worse).
        confirmation: Share of the suite's items that do not decide.
        target: Probability of finding the effect.
        seconds_per_seed: Wall time of one more seed, if known.
        judged: How seed noise is judged.
        twin: Whether one of the arms is an A/A arm.
    """
    from harness.statistics.power import items_needed, minimum_effect, seeds_needed

    def given(function: Callable[..., Found]) -> Callable[..., Found]:
        return partial(
            function, seed_sd=noise.seed_sd, item_sd=noise.item_sd, residual_sd=noise.residual_sd, arms=arms,
            alpha=alpha / comparisons, power=target, cluster_size=cluster_size, noise=judged, twin=twin,
        )  # fmt: skip

    def least(at: int) -> float | None:
        found = given(minimum_effect)(seeds=at, items=items)
        return found if found < MOST_EFFECT else None

    effect = least(seeds)
    by_seeds = given(seeds_needed)(effect=smallest_effect, items=items)
    by_items = given(items_needed)(effect=smallest_effect, seeds=seeds)
    in_suite = None if by_items is None else math.ceil(by_items / (1 - confirmation))
    seconds = by_seeds * seconds_per_seed if by_seeds and seconds_per_seed else None
    return Power(
        seeds=seeds, items=items, clusters=clusters, arms=arms, comparisons=comparisons, alpha=alpha, power=target,
        seed_sd=noise.seed_sd, item_sd=noise.item_sd, residual_sd=noise.residual_sd, noise=noise.source,
        studies=noise.studies, minimum_effect=effect, smallest_effect=smallest_effect, seeds_needed=by_seeds,
        items_needed=by_items, suite_items_needed=in_suite, seconds=seconds,
        by_seeds=[PowerAtSeeds(seeds=at, minimum_effect=least(at)) for at in sorted({*SEEDS_SHOWN, seeds})],
        text=_text(
            noise, seeds, items, clusters, effect, smallest_effect, comparisons, target, by_seeds, in_suite, seconds
        ),
    )  # fmt: skip


def _text(
    noise: Noise,
    seeds: int,
    items: int,
    clusters: int | None,
    effect: float | None,
    smallest: float,
    comparisons: int,
    target: float,
    by_seeds: int | None,
    in_suite: int | None,
    seconds: float | None,
) -> str:
    from harness.statistics.power import PRACTICAL_ITEMS, PRACTICAL_SEEDS

    size = f"{seeds} {'seed' if seeds == 1 else 'seeds'} x {items} {'item' if items == 1 else 'items'}"
    if clusters is not None:
        size += f" in {clusters} {'cluster' if clusters == 1 else 'clusters'}"
    practical = by_seeds is not None and by_seeds <= PRACTICAL_SEEDS
    enough = f"{by_seeds} seeds" + (f" (about {duration(seconds)} in all)" if seconds else "") if practical else ""
    if effect is None:
        few = "one seed" if seeds == 1 else "one item" if items == 1 else "so few clusters" if clusters else "so little"
        needs = f"; {smallest:g} needs {enough}" if enough else ""
        return f"{size}: no verdict can come from {few}{needs} ({noise.source})"
    often = "four times in five" if target == 0.8 else f"with probability {target:g}"
    family = f" in each of {comparisons} comparisons" if comparisons > 1 else ""
    text = f"{size} see an effect of {effect:.2g} or more {often}{family}"
    if effect > smallest:
        ways = [enough] if enough else []
        ways += [f"{in_suite:,} items"] if in_suite and in_suite <= PRACTICAL_ITEMS * items else []
        text += f"; {smallest:g} needs {' or '.join(ways)}" if ways else f"; {smallest:g} is far below what it can see"
    return f"{text} ({noise.source})"


@dataclass(frozen=True)
class Deciding:
    """The items that decide.

    Attributes:
        items: Number of items.
        clusters: Number of clusters, an independent item being one; None when all items are independent.
        cluster_size: Items divided by the number of equal clusters with as much information (Kish 1965).
    """

    items: int
    clusters: int | None
    cluster_size: float


def deciding(plan: Plan) -> Deciding:
    """Return the items of the declared task that decide."""
    task = plan.study.decide.metric.split("/")[0]
    items = plan.suite.table("items")
    chosen = items.filter((items["task"] == task) & (items["half"] == "selection"))
    sizes = chosen["group"].drop_nulls().value_counts()["count"].to_numpy()
    alone = chosen["group"].null_count()
    clusters = alone + len(sizes)
    if clusters == chosen.height:
        return Deciding(chosen.height, None, 1.0)
    return Deciding(chosen.height, clusters, float(np.square(sizes).sum() + alone) / chosen.height)


def comparisons(plan: Plan) -> int:
    """Return the number of questions that share ``alpha``."""
    from harness.decisions import questions

    return max(1, len(questions(plan.study, {v.name: v.sources for v in plan.variants})))


# ------------------------------------------------------------------------------------------- what is known of noise


Measured = tuple[tuple[float, float, float], int]  # the three deviations, and degrees of freedom of the first


def _known(found: dict[str, float | None], df: int) -> Measured | None:
    sds = [found.get(name) for name in ("seed_sd", "item_sd", "residual_sd")]
    known = [sd for sd in sds if sd is not None]
    return ((known[0], known[1], known[2]), df) if len(known) == 3 else None


def _earlier(plan: Plan) -> Iterable[Measured]:
    """Yield the noise of other studies in the store with this one's model, suite and metric."""
    from harness import answer
    from harness.statistics.paired import noise

    for study in studies(plan):
        scores = answer.score_table(study.items(), plan.study.decide.metric, "selection")
        if scores is None or len(scores.seeds) < 2:
            continue
        df = (len(scores.arms) - 1) * (len(scores.seeds) - 1)
        if (found := _known(noise(scores, "baseline"), df)) is not None:
            yield found


def _base_scale(plan: Plan) -> float | None:
    """Return the SD of the base model's items on the declared metric; None when it predicts nothing."""
    base = plan.store.find("result", plan.base.key)
    task, name = plan.study.decide.metric.split("/")
    if base is None:
        return None
    items = items_of(base)
    items = items.filter(items["task"] == task)
    if name not in items.columns or items.height < 2:
        return None
    values = items[name].to_numpy()
    if not np.all(np.isfinite(values)):
        return None
    two_values = bool(np.all((values == 0) | (values == 1)))
    if two_values and not FLOOR <= values.mean() <= CEILING:
        return None
    return float(values.std(ddof=1)) or None
