"""The cost of a plan, from the speed of training and evaluation measured in this store."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.formats import duration

if TYPE_CHECKING:
    from harness.store.record import Record
    from harness.study.plan import Plan

# Used until this store has measurements of its own; 135M parameters, LoRA on all layers.
ASSUMED_TOKENS_PER_SECOND = {"cpu": 95.0, "cuda": 10_000.0}  # training, per worker
ASSUMED_EVAL_TOKENS_PER_SECOND = {"cpu": 250.0, "cuda": 40_000.0}
START_SECONDS = 25.0  # a worker's imports and loading the model
CHARACTERS_PER_TOKEN = 3.0


@dataclass(frozen=True)
class Cost:
    """The cost of the remaining runs; ``seconds_per_seed`` is the wall time of one more seed of every variant."""

    runs: int
    cached: int
    seconds: float
    workers: int
    device: str
    tokens_per_second: float
    measured: bool
    money: float | None
    text: str
    seconds_per_seed: float

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def cost(plan: Plan, workers: int, device: str) -> Cost:
    """Return the number of remaining runs, and the time and money they take."""
    speed, measured = _training_speed(plan, device)
    evaluating = _evaluation_seconds(plan, device)
    training = _training_seconds(plan, speed)
    todo = [run for run in plan.runs if run.state not in ("done", "not needed")]
    seconds = sum(_left(plan, training, evaluating).values())
    used = max(1, min(workers, len(todo)))
    wall = seconds / used + (START_SECONDS if todo else 0.0)
    money = _money(plan)
    per_seed = (sum(training.values()) + evaluating * len(training)) / max(1, min(workers, len(training)))
    from_where = "measured" if measured else "assumed until measured"
    text = (
        f"{len(todo)} runs, about {duration(wall)} on {used} {'worker' if used == 1 else 'workers'} "
        f"({device}, {speed * used:.0f} tokens/s {from_where})"
        if todo
        else "nothing to do: all runs are done"
    )
    if todo and plan.study.stages:
        first = sum(plan.study.seed_list().index(run.seed) < plan.study.stages[0] for run in todo)
        text = f"{first} runs to the first look, at most " + text
    if money:
        text += f"; the largest training set holds {money:,.2f} worth of paid rows"
    return Cost(len(todo), len(plan.runs) - len(todo), wall, used, device, speed, measured, money, text, per_seed)


def expected_seconds(plan: Plan, device: str) -> dict[str, float]:
    """Return key of a run, or of the base model's result -> seconds that one worker needs for its remaining steps."""
    speed, _ = _training_speed(plan, device)
    return _left(plan, _training_seconds(plan, speed), _evaluation_seconds(plan, device))


def _left(plan: Plan, training: dict[str, float], evaluating: float) -> dict[str, float]:
    seconds = {
        run.key: evaluating + (training[run.variant] if run.state != "trained" else 0.0)
        for run in plan.runs
        if run.state not in ("done", "not needed")
    }
    if plan.store.find("result", plan.base.key) is None:
        seconds[plan.base.key] = evaluating
    return seconds


def _training_seconds(plan: Plan, speed: float) -> dict[str, float]:
    """Return variant -> seconds of its training."""
    recipe = plan.study.recipe
    found = {}
    for variant in plan.variants:
        shown = recipe.steps * recipe.batch if recipe.steps else variant.rows * (recipe.epochs or 1.0)
        found[variant.name] = shown * (variant.tokens or variant.rows * 60.0) / max(variant.rows, 1.0) / speed
    return found


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
    """Return the expected seconds of one evaluation: measured on this suite, else estimated from its text."""
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
