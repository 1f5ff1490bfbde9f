"""What a plan will cost, what it will be able to see, and what decontamination does to it."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.records import Record

# Used until this store has measurements of its own; 135M parameters, LoRA on all layers.
ASSUMED_TOKENS_PER_SECOND = {"cpu": 95.0, "cuda": 10_000.0}  # training, per worker
ASSUMED_EVAL_TOKENS_PER_SECOND = {"cpu": 300.0, "cuda": 40_000.0}
START_SECONDS = 25.0  # a worker's imports and loading the model
PRIOR_SEED_SD, PRIOR_ITEM_SD, PRIOR_RESIDUAL_SD = (
    0.05,
    0.40,
    0.40,
)  # exact match of short answers, 135M parameters
CHARACTERS_PER_TOKEN = 3.0


@dataclass(frozen=True)
class Contamination:
    """What decontamination removed, over the sources in use."""

    rows: int
    removed: int
    by_source: dict[str, int]
    items_touched: int
    text: str

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Power:
    """What the study can see."""

    seeds: int
    items: int
    minimum_effect: float | None
    smallest_effect: float
    seeds_needed: int | None
    noise: str
    text: str

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Cost:
    """What is left to do."""

    runs: int
    cached: int
    seconds: float
    workers: int
    device: str
    tokens_per_second: float
    measured: bool
    money: float | None
    text: str

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Forecast:
    """All of it."""

    contamination: Contamination
    power: Power
    cost: Cost
    unused: list[str]


def forecast(plan: Plan, workers: int, device: str) -> Forecast:
    """Forecast a plan on a number of workers of a device class."""
    used = set(plan.pools)
    unused = [name for name in plan.study.sources if name not in used]
    return Forecast(_contamination(plan), _power(plan), _cost(plan, workers, device), unused)


def _contamination(plan: Plan) -> Contamination:
    removed = {name: int(pool.data["removed"]) for name, pool in plan.pools.items()}
    total = sum(pool.data["rows"] + pool.data["removed"] for pool in plan.pools.values())
    touched = {item for pool in plan.pools.values() for item in pool.data["items_touched"]}
    kinds: dict[str, int] = {}
    for pool in plan.pools.values():
        for kind, n in pool.data["kinds"].items():
            kinds[kind] = kinds.get(kind, 0) + int(n)
    if touched:
        words = {"ngram": "share a run of words", "whole": "hold a short item whole", "exact": "are an item"}
        how = ", ".join(f"{n:,} {words[kind]}" for kind, n in sorted(kinds.items()))
        text = (
            f"{sum(removed.values()):,} of {total:,} rows overlap the suite ({how}) and are removed; "
            f"{len(touched):,} of {plan.suite.data['items']:,} items are marked as touched"
        )
    else:
        text = f"none of {total:,} rows overlaps the suite"
    return Contamination(total, sum(removed.values()), removed, len(touched), text)


def _power(plan: Plan) -> Power:
    from harness.statistics.power import items_needed, minimum_effect, seeds_needed

    study = plan.study
    task = study.decide.metric.split("/")[0]
    items = round(plan.suite.data["tasks"][task] * (1 - study.suite.confirmation))
    seeds = len(study.seed_list())
    arms = len(plan.variants)
    smallest = study.decide.smallest_effect
    measured = _measured_noise(plan)
    if measured is None:
        seed_sd, item_sd, residual_sd = PRIOR_SEED_SD, PRIOR_ITEM_SD / 2, PRIOR_RESIDUAL_SD
        noise = "noise assumed from earlier studies of short answers; measured once this study has run"
    else:
        seed_sd, item_sd, residual_sd = measured
        noise = "noise measured in this study"
    effect = minimum_effect(seed_sd, item_sd, seeds, items, arms, study.decide.alpha, 0.8, residual_sd)
    finite = effect if effect < 10 else None
    needed = seeds_needed(smallest, seed_sd, item_sd, items, arms, study.decide.alpha, 0.8, residual_sd)
    if finite is None:
        text = f"{seeds} seed x {items} items: no verdict can come from one seed ({noise})"
    else:
        text = f"{seeds} seeds x {items} items see an effect of {finite:.2f} or more four times in five"
        if finite > smallest:
            more = items_needed(smallest, seed_sd, item_sd, seeds, arms, study.decide.alpha, 0.8, residual_sd)
            ways = [f"{needed} seeds"] if needed else []
            ways += [f"{round(more / (1 - study.suite.confirmation))} items"] if more else []
            text += f"; {smallest:g} needs {' or '.join(ways) or 'more seeds and more items together'}"
        text += f" ({noise})"
    return Power(seeds, items, finite, smallest, needed, noise, text)


def _measured_noise(plan: Plan) -> tuple[float, float, float] | None:
    from harness import answer

    if not all(run.state == "done" for run in plan.runs) or len(plan.study.seed_list()) < 2:
        return None
    found = answer.measured_noise(plan)
    sds = [found.get(name) for name in ("seed_sd", "item_sd", "residual_sd")]
    known = [sd for sd in sds if sd is not None]
    return (known[0], known[1], known[2]) if len(known) == 3 else None


def _cost(plan: Plan, workers: int, device: str) -> Cost:
    recipe = plan.study.recipe
    speed, measured = _training_speed(plan, device)
    evaluating = _evaluation_seconds(plan, device)
    tokens = {v.name: (v.tokens or v.rows * 60.0, v.rows) for v in plan.variants}
    seconds = 0.0
    todo = [run for run in plan.runs if run.state != "done"]
    for run in todo:
        total, rows = tokens[run.variant]
        shown = recipe.steps * recipe.batch if recipe.steps else rows * (recipe.epochs or 1.0)
        if run.state != "trained":
            seconds += shown * total / max(rows, 1.0) / speed
        seconds += evaluating
    if plan.store.find("result", plan.base.key) is None:
        seconds += evaluating
    used = max(1, min(workers, len(todo)))
    wall = seconds / used + (START_SECONDS if todo else 0.0)
    money = _money(plan)
    from_where = "measured" if measured else "assumed until measured"
    text = (
        f"{len(todo)} runs, about {_minutes(wall)} on {used} {'worker' if used == 1 else 'workers'} "
        f"({device}, {speed * used:.0f} tokens/s {from_where})"
        if todo
        else "nothing to do: all runs are done"
    )
    if money:
        text += f"; the largest training set holds {money:,.2f} worth of paid rows"
    return Cost(len(todo), len(plan.runs) - len(todo), wall, used, device, speed, measured, money, text)


def _money(plan: Plan) -> float | None:
    prices = {n: s.cost_per_row for n, s in plan.study.sources.items() if s.cost_per_row}
    if not prices:
        return None
    return max(sum(rows * prices.get(name, 0.0) for name, rows in v.sources.items()) for v in plan.variants)


def _training_speed(plan: Plan, device: str) -> tuple[float, bool]:
    rates = [
        float(a.record.data["tokens_per_second"])
        for a in plan.store.artifacts("adapter")
        if a.record.inputs["model"] == plan.model.digest and _device(a.record) == device
    ]
    return (statistics.median(rates), True) if rates else (ASSUMED_TOKENS_PER_SECOND[device], False)


def _evaluation_seconds(plan: Plan, device: str) -> float:
    """Return the expected seconds of one evaluation: measured on this suite, else from its text."""
    times = [
        float(a.record.data["seconds"])
        for a in plan.store.artifacts("result")
        if a.record.inputs["suite"] == plan.suite.digest and _device(a.record) == device
    ]
    if times:
        return statistics.median(times)
    return float(plan.suite.data["characters"]) / CHARACTERS_PER_TOKEN / ASSUMED_EVAL_TOKENS_PER_SECOND[device]


def _device(record: Record) -> str:
    return str(record.provenance.get("device", "cpu")).split(":")[0]


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
