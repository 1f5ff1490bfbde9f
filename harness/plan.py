"""From a study to keyed steps: builds the data, names every run, and says what each will cost. Never imports torch.

Data steps (sources, suite, pools, variants) are carried out here, in memory first: nothing is published unless the
whole study turns out to be sound, so a wrong request leaves nothing behind.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness import models
from harness.errors import RequestError, did_you_mean
from harness.identity import digest, sequence_digest, step_key
from harness.loading import Loaded
from harness.spec import Recipe, Study, Suite, Variant
from harness.store import Artifact, Step, Store

if TYPE_CHECKING:
    import polars as pl

VERSIONS = {
    "source": 1,
    "suite": 1,
    "pool": 1,
    "variant": 1,
    "tokens": 1,
    "adapter": 1,
    "result": 1,
    "study": 1,
}
AA_OFFSET = 1_000_000  # the A/A arm is the baseline under seeds that no arm uses

State = Literal["done", "trained", "to do", "failed"]
Materialize = Callable[[Suite, Path], list[dict[str, Any]]]  # lm-eval tasks -> items, in another process


@dataclass
class Output:
    """A data step's output: in the store already, or built in memory and still to be published."""

    step: Step
    digest: str
    data: dict[str, Any]
    stored: Artifact | None = None
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    scratch: tempfile.TemporaryDirectory[str] | None = None  # files of a suite, before publication

    def table(self, name: str) -> pl.DataFrame:
        """Return one of the step's tables."""
        if name not in self.tables:
            import polars as pl

            assert self.stored is not None
            self.tables[name] = pl.read_parquet(self.stored.folder / f"{name}.parquet")
        return self.tables[name]


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


@dataclass(frozen=True)
class PlannedVariant:
    """A variant over all seeds (counts are means over seeds)."""

    name: str
    key: str
    spec: Variant
    tests: str
    control: bool
    sampled: bool
    rows: float
    tokens: float | None
    sources: dict[str, float]
    outputs: dict[int, Output]


@dataclass
class Plan:
    """A study, resolved: what it needs, what is done, what is to do."""

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
        """The study itself."""
        return self.loaded.study


# --------------------------------------------------------------------------------------------------------- steps


def adapter_step(name: str, recipe: Recipe, seed: int, rows: str, model: str) -> Step:
    """Return the step that trains an adapter: everything that can change its weights is in the key."""
    spec = {"recipe": recipe.identity(), "seed": seed}
    inputs = {"rows": rows, "model": model}
    return Step(
        "adapter",
        name,
        step_key("adapter", VERSIONS["adapter"], spec, inputs),
        VERSIONS["adapter"],
        spec,
        inputs,
    )


def result_step(name: str, suite: str, model: str, adapter: str | None) -> Step:
    """Return the step that evaluates an adapter (or the base model) on a suite."""
    inputs = {"suite": suite, "model": model, "adapter": adapter or "none"}
    return Step("result", name, step_key("result", VERSIONS["result"], {}, inputs), VERSIONS["result"], {}, inputs)


def tokens_step(name: str, recipe: Recipe, rows: str, model: str) -> Step:
    """Return the step that turns rows into token ids and labels."""
    spec = {
        "chat_template": recipe.chat_template,
        "max_length": recipe.max_length,
        "objective": recipe.objective,
    }
    inputs = {"rows": rows, "model": model}
    return Step("tokens", name, step_key("tokens", VERSIONS["tokens"], spec, inputs), VERSIONS["tokens"], spec, inputs)


# ---------------------------------------------------------------------------------------------------------- plan


def make_plan(loaded: Loaded, store: Store, materialize: Materialize) -> Plan:
    """Resolve a study against a store.

    Args:
        loaded: The study and where its files are.
        store: Finished steps are taken from here; nothing is written (see ``publish``).
        materialize: Called for suites with lm-eval tasks that the store does not hold yet.

    Raises:
        RequestError: When anything about the study, its data or its suite is wrong.
    """
    builder = _Builder(loaded, store, materialize)
    study = loaded.study
    model = models.resolve(study.model, loaded.model_folder, store)
    suite = builder.suite()
    _check_metric(study, suite)
    used = {name for variant in (study.baseline, *study.arms.values()) for name in variant.mix or {}}
    pools = {name: builder.pool(name, suite) for name in study.sources if name in used}
    variants = builder.variants(pools, model)
    runs = [
        _planned_run(study, store, variant, seed, model, suite) for seed in study.seed_list() for variant in variants
    ]
    base = result_step(f"base-{study.suite.suite}", suite.digest, model.digest, None)
    return Plan(
        loaded, store, model, suite, pools, variants, runs, base, builder.outputs, _study_step(study, runs, base)
    )


def publish(plan: Plan) -> None:
    """Write the data that ``make_plan`` built to the store."""
    for output in plan.outputs:
        if output.stored is None:
            with plan.store.attempt(output.step) as attempt:
                if output.scratch is not None:
                    shutil.copytree(output.scratch.name, attempt.folder, dirs_exist_ok=True)
                for name, table in output.tables.items():
                    table.write_parquet(attempt.folder / f"{name}.parquet")
                attempt.digest, attempt.data = output.digest, output.data
            output.stored = plan.store.find(output.step.kind, output.step.key)


def commit(plan: Plan) -> None:
    """Write the study's own record: its decision rule and what it stands on, fixed before anything runs."""
    if plan.store.find("study", plan.study_step.key) is None:
        with plan.store.attempt(plan.study_step) as attempt:
            attempt.digest = digest(plan.study.identity())
            attempt.data = {
                "rule": plan.study.decide.identity(),
                "rule_digest": digest(plan.study.decide.identity()),
                "file": plan.loaded.file.name,
                "resolved": plan.study.identity(),
                "references": sorted(references(plan)),
            }


def references(plan: Plan) -> set[str]:
    """Return the keys of all artifacts the study stands on (what garbage collection must keep)."""
    keys = {o.step.key for o in plan.outputs} | {plan.study_step.key, plan.base.key}
    for run in plan.runs:
        keys |= {run.adapter.key, run.tokens.key, run.rows.step.key}
    return keys


def _study_step(study: Study, runs: list[PlannedRun], base: Step) -> Step:
    """A study is its decision rule and the runs it rests on; rewording the question makes no new study."""
    spec = {
        "study": study.study,
        "decide": study.decide.identity(),
        "match": study.match,
        "tests": {name: arm.tests or "" for name, arm in study.arms.items()},
        "waive": list(study.waive),
    }
    inputs = {"base": base.key} | {f"runs/{run.variant}/{run.seed}": run.key for run in runs}
    key = step_key("study", VERSIONS["study"], spec, inputs)
    return Step("study", study.study, key, VERSIONS["study"], spec, inputs)


def _planned_run(
    study: Study, store: Store, variant: PlannedVariant, seed: int, model: models.Model, suite: Output
) -> PlannedRun:
    drawn = seed + AA_OFFSET if variant.name == "aa" else seed
    rows = variant.outputs[seed]
    content = rows.data["content_digest"]
    name = f"{study.study}-{variant.name}-seed{seed}"
    adapter = adapter_step(name, study.recipe, drawn, content, model.digest)
    tokens = tokens_step(name, study.recipe, content, model.digest)
    key = step_key("run", 1, {"adapter": adapter.key}, {"suite": suite.digest})
    trained = store.find("adapter", adapter.key)
    state: State = "to do"
    if trained is not None:
        result = result_step(name, suite.digest, model.digest, trained.record.digest)
        state = "done" if store.find("result", result.key) else "trained"
    if state != "done" and store.failure(key):
        state = "failed"
    return PlannedRun(variant.name, seed, key, adapter, rows, tokens, state)


def _check_metric(study: Study, suite: Output) -> None:
    task = study.decide.metric.split("/")[0]
    if task not in study.suite.tasks:
        raise RequestError(f'decide.metric: the suite has no task "{task}".{did_you_mean(task, study.suite.tasks)}')


class _Builder:
    """Builds the data steps of one study, each once."""

    def __init__(self, loaded: Loaded, store: Store, materialize: Materialize) -> None:
        self.loaded, self.study, self.store, self.materialize = loaded, loaded.study, store, materialize
        self.outputs: list[Output] = []
        self._model: models.Model | None = None

    def _output(self, step: Step, build: Callable[[], Output]) -> Output:
        known = next((o for o in self.outputs if o.step.kind == step.kind and o.step.key == step.key), None)
        if known is not None:
            return known
        stored = self.store.find(step.kind, step.key)
        output = Output(step, stored.record.digest, stored.record.data, stored) if stored else build()
        self.outputs.append(output)
        return output

    # ------------------------------------------------------------------------------------------------------ suite

    def suite(self) -> Output:
        from harness import suites

        suite = self.study.suite
        inputs = suites.inputs(suite, self.loaded.suite_folder)
        spec = suite.identity()
        step = Step(
            "suite",
            suite.suite,
            step_key("suite", VERSIONS["suite"], spec, inputs),
            VERSIONS["suite"],
            spec,
            inputs,
        )

        def build() -> Output:
            scratch = tempfile.TemporaryDirectory(prefix="harness-suite-")
            folder = Path(scratch.name)
            suites.copy_local(suite, self.loaded.suite_folder, folder)
            items = suites.generate(suite, folder)
            if suites.needs_lm_eval(suite):
                items += self.materialize(suite, folder)
            frame = suites.finish(suite, items, folder)
            per_task = {name: int((frame["task"] == name).sum()) for name in suite.tasks}
            characters = int(frame["question"].str.len_chars().sum())
            data = {"items": frame.height, "tasks": per_task, "characters": characters}
            return Output(step, suites.items_digest(frame), data, tables={"items": frame}, scratch=scratch)

        return self._output(step, build)

    # ------------------------------------------------------------------------------------------------------ pools

    def source(self, name: str) -> Output:
        from harness.data import rows, sources

        source, base = self.study.sources[name], self.loaded.source_folders[name]
        inputs = sources.inputs(name, source, base)
        spec = {"name": name, "source": source.identity()}
        step = Step(
            "source",
            name,
            step_key("source", VERSIONS["source"], spec, inputs),
            VERSIONS["source"],
            spec,
            inputs,
        )

        def build() -> Output:
            built = sources.load(name, source, base)
            data = {"rows": built.rows.height, "dropped": built.drops.height}
            return Output(step, rows.pool_digest(built.rows), data, tables={"rows": built.rows, "drops": built.drops})

        return self._output(step, build)

    def pool(self, name: str, suite: Output) -> Output:
        """A source without the rows that overlap the suite."""
        from harness.data import decontaminate, rows

        source = self.source(name)
        spec = self.study.decontaminate.identity()
        inputs = {"source": source.digest, "suite": suite.digest}
        step = Step("pool", name, step_key("pool", VERSIONS["pool"], spec, inputs), VERSIONS["pool"], spec, inputs)

        def build() -> Output:
            found = decontaminate.overlaps(source.table("rows"), suite.table("items"), self.study.decontaminate.ngram)
            built = decontaminate.remove(source.table("rows"), found)
            if built.rows.height == 0:
                raise RequestError(
                    f"sources.{name}: all {built.drops.height:,} rows overlap the suite "
                    f"{self.study.suite.suite}; nothing is left to train on"
                )
            data = {
                "rows": built.rows.height,
                "removed": built.drops.height,
                "kinds": {str(kind): int(n) for kind, n in found.group_by("kind").len().sort("kind").iter_rows()},
                "items_touched": sorted(found["item_id"].unique().to_list()),
            }
            tables = {"rows": built.rows, "drops": built.drops, "overlaps": found}
            return Output(step, rows.pool_digest(built.rows), data, tables=tables)

        return self._output(step, build)

    # --------------------------------------------------------------------------------------------------- variants

    def variants(self, pools: dict[str, Output], model: models.Model) -> list[PlannedVariant]:
        study = self.study
        self._model = model
        resolved = {"baseline": study.baseline}
        for name, arm in study.arms.items():
            changes: dict[str, Any] = {"operations": study.baseline.operations + arm.operations}
            if arm.mix is None:
                changes |= {"mix": study.baseline.mix, "rows": study.baseline.rows}
            else:
                changes["operations"] = arm.operations
            resolved[name] = arm.model_copy(update=changes)
        planned = [self._variant(name, spec, pools, spec.tests or "", control=False) for name, spec in resolved.items()]
        baseline = planned[0]
        filters = [v for v in planned[1:] if study.arms[v.name].operations and study.arms[v.name].mix is None]
        if "random_subset" in study.controls:
            for variant in filters:
                name = "random-subset" if len(filters) == 1 else f"random-subset-{variant.name}"
                planned.append(self._random_subset(name, baseline, variant))
        if "aa" in study.controls:
            outputs = {s: self._rows("aa", study.baseline, pools, s + AA_OFFSET) for s in study.seed_list()}
            planned.append(self._planned("aa", study.baseline, "control", True, baseline.sampled, outputs))
        return planned

    def _variant(
        self, name: str, spec: Variant, pools: dict[str, Output], tests: str, *, control: bool
    ) -> PlannedVariant:
        outputs = {seed: self._rows(name, spec, pools, seed) for seed in self.study.seed_list()}
        sampled = len({o.step.key for o in outputs.values()}) > 1
        return self._planned(name, spec, tests, control, sampled, outputs)

    def _rows(self, name: str, variant: Variant, pools: dict[str, Output], seed: int) -> Output:
        from harness.data import variants

        assert variant.mix is not None
        used = {source: pools[source] for source in variant.mix}
        needs_all = {n: p.data["rows"] for n, p in used.items()}
        takes_all = all(count is None or count == needs_all[n] for n, count in variant.counts().items())
        sampled = not takes_all or any(operation.op == "sample" for operation in variant.operations)
        drawn = seed if sampled else 0
        spec = {
            "variant": variant.model_copy(update={"tests": None}).identity(),
            "seed": drawn,
            "match": "rows" if self.study.match == "rows" else "as drawn",
        }
        inputs = {f"pools/{n}": p.digest for n, p in used.items()}
        label = f"{self.study.study}-{name}" + (f"-seed{seed}" if sampled else "")
        step = Step(
            "variant",
            label,
            step_key("variant", VERSIONS["variant"], spec, inputs),
            VERSIONS["variant"],
            spec,
            inputs,
        )

        def build() -> Output:
            frames = {n: p.table("rows") for n, p in used.items()}
            built = variants.build(variant, frames, seed=drawn, match=self.study.match)
            return _variant_output(step, built)

        return self._output(step, build)

    def _random_subset(self, name: str, baseline: PlannedVariant, filtered: PlannedVariant) -> PlannedVariant:
        """The control of a filter: as many rows dropped at random as the filter dropped."""
        from harness.data import variants

        outputs = {}
        for seed in self.study.seed_list():
            rows, keep = baseline.outputs[seed], filtered.outputs[seed].data["rows"]
            spec = {"random_subset": True, "keep": keep, "seed": seed}
            inputs = {"rows": rows.digest}
            key = step_key("variant", VERSIONS["variant"], spec, inputs)
            step = Step("variant", f"{self.study.study}-{name}-seed{seed}", key, VERSIONS["variant"], spec, inputs)

            def build(rows: Output = rows, keep: int = keep, seed: int = seed, step: Step = step) -> Output:
                return _variant_output(step, variants.random_subset(rows.table("rows"), keep, seed))

            outputs[seed] = self._output(step, build)
        spec_ = baseline.spec.model_copy(update={"tests": f"control of {filtered.name}"})
        return self._planned(name, spec_, "control", True, True, outputs)

    def _planned(
        self, name: str, spec: Variant, tests: str, control: bool, sampled: bool, outputs: dict[int, Output]
    ) -> PlannedVariant:
        distinct = list(outputs.values())
        names = sorted({s for o in distinct for s in o.data["sources"]})
        counts = {s: sum(o.data["sources"].get(s, 0) for o in distinct) / len(distinct) for s in names}
        tokens = [self._tokens(name, o) for o in distinct]
        known = [t for t in tokens if t is not None]
        return PlannedVariant(
            name=name,
            key=sequence_digest(o.step.key for o in distinct)[:16],
            spec=spec,
            tests=tests,
            control=control,
            sampled=sampled,
            rows=sum(o.data["rows"] for o in distinct) / len(distinct),
            tokens=sum(known) / len(known) if len(known) == len(tokens) else None,
            sources=counts,
            outputs=outputs,
        )

    def _tokens(self, name: str, rows: Output) -> int | None:
        """Encode a training set once; None while the model's tokenizer is not on this machine yet."""
        assert self._model is not None
        folder = self._model.folder
        if folder is None:
            return None
        recipe = self.study.recipe
        step = tokens_step(f"{self.study.study}-{name}", recipe, rows.data["content_digest"], self._model.digest)

        def build() -> Output:
            import polars as pl

            from harness.tokens import RowEncoder

            encoder = RowEncoder(folder, chat_template=recipe.chat_template, max_length=recipe.max_length)
            frame = rows.table("rows")
            encoded = [encoder.encode(row) for row in frame.iter_rows(named=True)]
            table = pl.DataFrame(
                {
                    "row_id": frame["row_id"],
                    "input_ids": [e.input_ids for e in encoded],
                    "labels": [e.labels for e in encoded],
                },
                schema_overrides={"input_ids": pl.List(pl.Int32), "labels": pl.List(pl.Int32)},
            )
            lengths = [len(e.input_ids) for e in encoded]
            data = {"tokens": sum(lengths), "rows": len(lengths), "longest": max(lengths)}
            return Output(step, step.key, data, tables={"tokens": table})

        return int(self._output(step, build).data["tokens"])


def _variant_output(step: Step, built: Any) -> Output:
    from harness.data import rows

    by_source = {str(name): int(n) for name, n in built.rows.group_by("source").len().sort("source").iter_rows()}
    dropped = {str(op): int(n) for op, n in built.drops.group_by("operation").len().sort("operation").iter_rows()}
    data = {
        "rows": built.rows.height,
        "sources": by_source,
        "dropped": dropped,
        "content_digest": rows.content_digest(built.rows),
    }
    return Output(step, rows.pool_digest(built.rows), data, tables={"rows": built.rows, "drops": built.drops})
