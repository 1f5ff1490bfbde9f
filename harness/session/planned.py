"""The plan of a study: what a run would do, and what it would cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.forecast import Forecast
from harness.forecast.cost import START_SECONDS, expected_seconds
from harness.forecast.remarks import left_out, remarks

if TYPE_CHECKING:
    import polars as pl

    from harness.engines import Engine
    from harness.engines.placement import Node, Packed
    from harness.engines.slots import Slots
    from harness.study.plan import Plan


@dataclass(frozen=True, repr=False)
class Planned:
    """A plan with its cost and its power.

    Attributes:
        plan: The study resolved against its store.
        forecast: Decontamination, power and cost.
        slots: The engine's workers.
        nodes: The workers' machines.
        packed: The jobs of each worker.
    """

    plan: Plan
    forecast: Forecast
    slots: Slots
    nodes: list[Node]
    packed: list[Packed]

    @property
    def makespan(self) -> float:
        """Seconds until all jobs are done, with the start of the workers."""
        longest = max((slot.seconds for slot in self.packed), default=0.0)
        return longest + START_SECONDS if longest else 0.0

    @property
    def variants(self) -> pl.DataFrame:
        """One line per variant: name, rows, tokens (None: not counted yet), rows by source, cut, key, tests, ..."""
        import polars as pl

        lines = self.as_json()["variants"]
        return pl.DataFrame([line | {"sources": line["sources"] or None} for line in lines], infer_schema_length=None)

    @property
    def runs(self) -> pl.DataFrame:
        """One line per run: variant, seed, key, state (done, trained, failed, to do)."""
        import polars as pl

        return pl.DataFrame(self.as_json()["runs"])

    def as_json(self) -> dict[str, Any]:
        """Return the JSON document of ``harness plan --json``."""
        plan = self.plan
        return {
            "study": plan.study.study,
            "question": plan.study.question,
            "key": plan.study_step.key,
            "variants": [
                {
                    "name": v.name,
                    "rows": round(v.rows),
                    "tokens": None if v.tokens is None else round(v.tokens),
                    "sources": {name: round(n) for name, n in v.sources.items()},
                    "cut": None if v.tokens is None else v.cut,
                    "key": v.key,
                    "tests": v.tests,
                    "control": v.control,
                    "sampled": v.sampled,
                }
                for v in plan.variants
            ],
            "runs": [{"variant": r.variant, "seed": r.seed, "key": r.key, "state": r.state} for r in plan.runs],
            "sources": {o.step.name: o.data for o in plan.outputs if o.step.kind == "source"},
            "suite": {
                "name": plan.suite.step.name,
                "items": plan.suite.data["items"],
                "digest": plan.suite.digest,
            },
            "model": {
                "name": plan.model.name,
                "digest": plan.model.digest,
                "ready": plan.model.folder is not None,
            },
            "decontamination": self.forecast.contamination.as_json(),
            "power": self.forecast.power.model_dump(mode="json"),
            "metric": self.forecast.metric,
            "cost": self.forecast.cost.as_json(),
            "match": plan.study.match,
            "left_out": left_out(plan),
            "remarks": [f"{name}: {text}" for name, text in remarks(plan)],
            "unchanged": self.forecast.unchanged,
            "rule": plan.study.rule(),
            "resolved": plan.study.identity(),
            "engine": {
                "workers": self.slots.workers,
                "threads": self.slots.threads,
                "device": self.slots.device,
                "nodes": [asdict(node) for node in self.nodes],
                "slots": [asdict(slot) for slot in self.packed],
                "makespan": self.makespan,
            },
        }

    def __str__(self) -> str:
        """Return the plan as ``harness plan`` prints it."""
        from harness.terminal import plan, tables

        return tables.printed(lambda out: plan.show(self.plan, self.forecast, out))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the plan as HTML for a notebook."""
        from harness.report.html import tabled
        from harness.terminal.plan import facts, variants

        study = self.plan.study
        return tabled(f"{study.study} · {study.question}", *variants(self.plan), facts(self.plan, self.forecast))


def packing(plan: Plan, engine: Engine) -> list[Packed]:
    """Return the jobs of each slot of an engine, and how long they take."""
    from harness.engines.jobs import jobs_to_do
    from harness.engines.placement import pack

    jobs = jobs_to_do(plan)
    return pack(jobs, expected_seconds(plan, engine.slots.device), engine.nodes, engine.slots.workers)
