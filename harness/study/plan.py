"""From a study to keyed steps: builds the data, and returns every run with its key and state. Never imports torch.

Data steps are carried out here, in memory first: nothing is published before the whole study has been found valid, so
a wrong request writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness import models, outside
from harness.errors import RequestError, did_you_mean
from harness.fitting import refuse_unfit
from harness.identity import digest
from harness.loading import Loaded
from harness.spec import Recipe, Study
from harness.store import Step, Store
from harness.study.build import AA_OFFSET, Builder, Materialize, PlannedVariant
from harness.study.encoding import Perplexities
from harness.study.steps import Output, adapter_step, make_step, result_step, run_key, tokens_step
from harness.tokens import Unusable

if TYPE_CHECKING:
    from harness.data.pools import Pools

State = Literal["done", "trained", "to do", "failed", "not needed"]


@dataclass(frozen=True)
class PlannedRun:
    """One run: a variant at a seed, with the keys of its two steps."""

    variant: str
    seed: int
    key: str
    adapter: Step
    rows: Output
    tokens: Step
    state: State


@dataclass
class Plan:
    """A resolved study: its data, its runs, and their states."""

    loaded: Loaded
    store: Store
    model: models.Model
    suite: Output
    pools: dict[str, Output]
    variants: list[PlannedVariant]
    runs: list[PlannedRun]
    base: Step
    outputs: list[Output]
    study_step: Step

    @property
    def study(self) -> Study:
        """The study."""
        return self.loaded.study

    def result(self, name: str, adapter: str) -> Step:
        """Return the step that evaluates an adapter, by its name and content digest."""
        return result_step(name, self.study.recipe, self.suite.digest, self.model.digest, adapter)


@outside.watched()
def make_plan(
    loaded: Loaded,
    store: Store,
    materialize: Materialize,
    perplexities: Perplexities | None = None,
    pools: Pools | None = None,
    tell: Callable[[Step], None] = lambda step: None,
) -> Plan:
    """Resolve a study against a store.

    Args:
        loaded: The study and where its files are.
        store: Finished steps are read from it; nothing is written (see ``publish``).
        materialize: Called for suites with lm-eval tasks that the store does not hold yet.
        perplexities: Called for rows that an operation keeps or drops by perplexity.
        pools: Makes pools from sources, and training sets from pools; default: in memory on this machine.
        tell: Called with every data step that the store does not hold yet, before it is built.

    Raises:
        RequestError: When anything about the study, its data or its suite is wrong, or one of their files changes
            while it is read.
    """
    study = loaded.study
    model = models.resolve(study.model, loaded.model_folder, store, trust_remote_code=study.trust_remote_code)
    if model.folder is not None:
        refuse_unfit(model.folder, study.recipe)
    used = {name for variant in (study.baseline, *study.arms.values()) for name in variant.mix or {}}

    def build(*, every: bool) -> tuple[Builder, Output, dict[str, Output], list[PlannedVariant]]:
        builder = Builder(loaded, store, model, materialize, perplexities, pools, tell, every=every)
        suite = builder.suite()
        _check_metric(study, suite)
        cleaned = {name: builder.pool(name, suite) for name in study.sources if name in used}
        return builder, suite, cleaned, builder.variants(cleaned)

    try:
        builder, suite, cleaned, variants = build(every=False)
    except Unusable:  # a row that seemed fit for training is not: now every row is encoded
        builder, suite, cleaned, variants = build(every=True)
    store.prefetch("adapter", "result")
    runs = [
        _planned_run(study, store, variant, seed, model, suite) for seed in study.seed_list() for variant in variants
    ]
    base = result_step(f"base-{study.suite.suite}", study.recipe, suite.digest, model.digest, None)
    return Plan(
        loaded, store, model, suite, cleaned, variants, runs, base, builder.outputs, _study_step(study, runs, base)
    )


def refreshed(plan: Plan) -> Plan:
    """Return the plan with the current states of its runs."""
    plan.store.prefetch("adapter", "result")
    recipe = plan.study.recipe
    runs = [
        replace(run, state=_state(plan.store, run.key, run.adapter, recipe, plan.suite, plan.model))
        for run in plan.runs
    ]
    return replace(plan, runs=runs)


def publish(plan: Plan, tell: Callable[[Step], None] = lambda step: None) -> None:
    """Write the data that ``make_plan`` built to the store; call ``tell`` with each step before it is written."""
    for output in plan.outputs:
        if output.stored is None:
            tell(output.step)
            with plan.store.attempt(output.step) as attempt:
                for path, content in output.extra.items():
                    (attempt.folder / path).parent.mkdir(parents=True, exist_ok=True)
                    (attempt.folder / path).write_bytes(content)
                for name, parts in output.parts.items():
                    _move(parts, attempt.folder, name)
                for name, table in output.tables.items():
                    if name == "tokens":
                        table.write_ipc(attempt.folder / f"{name}.arrow")  # workers map it into memory
                    else:
                        table.write_parquet(attempt.folder / f"{name}.parquet")
                attempt.digest, attempt.data = output.digest, output.data
            output.stored = plan.store.find(output.step.kind, output.step.key)


def _move(parts: list[Path], folder: Path, name: str) -> None:
    """Move a table's files into an artifact: many parts into a folder of their own."""
    if len(parts) == 1:
        parts[0].rename(folder / f"{name}.parquet")
        return
    (folder / name).mkdir()
    for number, part in enumerate(parts):
        part.rename(folder / name / f"{number:06}.parquet")


def commit(plan: Plan) -> None:
    """Write the study's own record: its decision rule and the keys of its artifacts, before anything runs."""
    if plan.store.find("study", plan.study_step.key) is None:
        with plan.store.attempt(plan.study_step) as attempt:
            attempt.digest = digest(plan.study.identity())
            attempt.data = {
                "rule": plan.study.rule(),
                "rule_digest": digest(plan.study.rule()),
                "file": plan.loaded.file.name,
                "resolved": plan.study.identity(),
                "references": sorted(references(plan)),
            }


def references(plan: Plan) -> set[str]:
    """Return the keys of all artifacts that the study uses (garbage collection keeps them)."""
    keys = {o.step.key for o in plan.outputs} | {plan.study_step.key, plan.base.key}
    for run in plan.runs:
        keys |= {run.adapter.key, run.tokens.key, run.rows.step.key}
    return keys


def _study_step(study: Study, runs: list[PlannedRun], base: Step) -> Step:
    """Return the study's step: decision rule and runs are in its key; a reworded question makes no new study."""
    spec = {
        "study": study.study,
        "decide": study.rule(),
        "match": study.match,
        "tests": {name: arm.tests or "" for name, arm in study.arms.items()},
        "waive": list(study.waive),
    }
    inputs = {"base": base.key} | {f"runs/{run.variant}/{run.seed}": run.key for run in runs}
    return make_step("study", study.study, spec, inputs)


def _planned_run(
    study: Study, store: Store, variant: PlannedVariant, seed: int, model: models.Model, suite: Output
) -> PlannedRun:
    drawn = seed + AA_OFFSET if variant.name == "aa" else seed
    rows = variant.outputs[seed]
    content = rows.data["content_digest"]
    name = f"{study.study}-{variant.name}-seed{seed}"
    adapter = adapter_step(name, study.recipe, drawn, content, model.digest)
    tokens = tokens_step(name, study.recipe, content, model.digest)
    key = run_key(adapter.key, suite.digest)
    state = _state(store, key, adapter, study.recipe, suite, model)
    return PlannedRun(variant.name, seed, key, adapter, rows, tokens, state)


def _state(store: Store, key: str, adapter: Step, recipe: Recipe, suite: Output, model: models.Model) -> State:
    trained = store.find("adapter", adapter.key)
    if trained is not None:
        result = result_step(adapter.name, recipe, suite.digest, model.digest, trained.record.digest)
        if store.find("result", result.key):
            return "done"
    if store.failure(key):
        return "failed"
    return "to do" if trained is None else "trained"


def _check_metric(study: Study, suite: Output) -> None:
    """Refuse a decision rule on a metric that will not be measured, as far as that is known beforehand."""
    task, metric = study.decide.metric.split("/")
    if task not in study.suite.tasks:
        raise RequestError(f'decide.metric: the suite has no task "{task}".{did_you_mean(task, study.suite.tasks)}')
    known: list[str] | None = suite.data["metrics"][task]
    if known is not None and metric not in known:
        raise RequestError(f'decide.metric: task "{task}" has no metric "{metric}".{did_you_mean(metric, known)}')
    if metric in suite.data["lower"].get(task, []):
        raise RequestError(
            f"decide.metric: a lower {metric} is better (higher_is_better: false in the task), and verdicts take a "
            f"higher value for the better one; decide on another metric, such as {task}/gold_logprob_per_token"
        )
