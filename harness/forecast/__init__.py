"""The forecast of a plan: its cost, its power, and what decontamination removes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.forecast.cost import Cost, cost
from harness.forecast.earlier import metric_advice
from harness.forecast.power import planned_power, planning_noise
from harness.records import Power
from harness.spec.study import FEW, PARAPHRASE

if TYPE_CHECKING:
    from harness.study.plan import Plan

KINDS = {  # kinds of overlap, in words
    "ngram": "share a run of words", "whole": "hold a short item whole", "exact": "are an item",
    "fuzzy": "are edited copies", "semantic": "are paraphrases", "template": "ask the same with other numbers",
}  # fmt: skip


@dataclass(frozen=True)
class Contamination:
    """The result of decontamination, over the sources in use.

    Attributes:
        rows: Rows in all sources.
        removed: Rows that were removed.
        by_source: Source -> rows that were removed.
        items_touched: Items that overlap a removed row.
        text: The result in words.
        semantic: Cosine from which a row is a paraphrase; None when paraphrases were not looked for.
        paraphrases: The result for paraphrases in words.
    """

    rows: int
    removed: int
    by_source: dict[str, int]
    items_touched: int
    text: str
    semantic: float | None
    paraphrases: str

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Forecast:
    """The forecast of a plan.

    Attributes:
        contamination: What decontamination removes.
        power: Which effects the study can detect.
        cost: Time and money.
        unused: Sources that no variant draws from.
        metric: Which metric told the arms of an earlier study apart better than the declared one; empty if none did.
        unchanged: Arms whose training sets are the baseline's at every seed.
    """

    contamination: Contamination
    power: Power
    cost: Cost
    unused: list[str]
    unchanged: list[str]
    metric: str = ""


def forecast(plan: Plan, workers: int, device: str) -> Forecast:
    """Forecast a plan on a number of workers of a device class."""
    used = set(plan.pools)
    unused = [name for name in plan.study.sources if name not in used]
    expected = cost(plan, workers, device)
    seen = planned_power(plan, planning_noise(plan), expected.seconds_per_seed)
    return Forecast(_contamination(plan), seen, expected, unused, _unchanged(plan), metric_advice(plan))


def _unchanged(plan: Plan) -> list[str]:
    sets = {v.name: [output.data["content_digest"] for output in v.outputs.values()] for v in plan.variants}
    return [v.name for v in plan.variants if v.name in plan.study.arms and sets[v.name] == sets["baseline"]]


def _contamination(plan: Plan) -> Contamination:
    removed = {name: int(pool.data["removed"]) for name, pool in plan.pools.items()}
    total = sum(pool.data["rows"] + pool.data["removed"] for pool in plan.pools.values())
    touched = {item for pool in plan.pools.values() for item in pool.data["items_touched"]}
    kinds: dict[str, int] = {}
    for pool in plan.pools.values():
        for kind, n in pool.data["kinds"].items():
            kinds[kind] = kinds.get(kind, 0) + int(n)
    kept = sum(int(pool.data["kept"].get("template", 0)) for pool in plan.pools.values())
    if touched:
        how = ", ".join(f"{n:,} {KINDS.get(kind, kind)}" for kind, n in sorted(kinds.items()))
        text = (
            f"{sum(removed.values()):,} of {total:,} rows overlap the suite ({how}) and are removed; "
            f"{len(touched):,} of {plan.suite.data['items']:,} items are marked as touched"
        )
    else:
        text = f"none of {total:,} rows overlaps the suite"
    if kept:
        text += f"; {kept:,} rows that {KINDS['template']} are kept"
    by_meaning, paraphrases = _paraphrases(plan)
    return Contamination(total, sum(removed.values()), removed, len(touched), text, by_meaning, paraphrases)


def _paraphrases(plan: Plan) -> tuple[float | None, str]:
    """Return the cosine from which a row is a paraphrase (None: not looked for), and the result in words."""
    asked = plan.study.decontaminate.semantic
    used = plan.study.decontaminate.settled(plan.suite.data["items"]).semantic
    if used is not None:
        return float(used), f"looked for, from a cosine of {used} on (decontaminate.semantic)"
    if asked is None:
        return None, "not looked for (decontaminate.semantic: null)"
    return None, (
        f"not looked for: the suite has {FEW:,} items or more (decontaminate.semantic: {PARAPHRASE} looks nevertheless)"
    )
