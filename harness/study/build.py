"""Builds the data of a study: suite, sources, decontaminated pools, variants, token ids.

Data are built in memory, or in parts in a folder for work in progress (``data.pools``); nothing is published. Each step
is built once, or read from the store when it is there.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import models, outside
from harness.decisions import subject
from harness.errors import RequestError
from harness.identity import canonical_json, sequence_digest
from harness.loading import Loaded
from harness.records import ASKED, LOWER
from harness.spec import Operation, Sample, Study, Suite, Variant
from harness.store import Step, Store
from harness.study.encoding import Encoding, Perplexities
from harness.study.steps import Output, make_step, tokens_step
from harness.tokens import Unusable

if TYPE_CHECKING:
    from harness.data.pools import Pools

AA_OFFSET = 1_000_000  # added to the seeds of the A/A arm, which is the baseline under seeds that no arm uses

# lm-eval tasks -> items, in another process; writes the names of their metrics to <folder>/metrics.json, and digests of
# their prompts and scoring to <folder>/asked.json
Materialize = Callable[[Suite, Path], list[dict[str, Any]]]


@dataclass(frozen=True)
class PlannedVariant:
    """A variant over all seeds (counts are means over seeds).

    Once its tokens are counted, it also has the share of rows that are cut, whether the chat template left out the end
    of a turn, and the length of the longest row.
    """

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
    cut: float
    ended: bool
    longest: int


def reads_model(study: Study) -> bool:
    """Return whether the training sets depend on the model: on token counts or on perplexity."""
    from harness.data.operations import needs_model

    mixes = (study.baseline, *study.arms.values())
    chains = [source.operations for source in study.sources.values()] + [variant.operations for variant in mixes]
    return any(needs_model(chain) for chain in chains) or any(variant.in_tokens for variant in mixes)


class Builder:
    """Builds the data steps of one study, each once.

    Args:
        loaded: The study and where its files are.
        store: Finished steps are read from it.
        model: The base model.
        materialize: Lists the items of lm-eval tasks.
        perplexities: Measures the perplexity of rows under the model.
        pools: Makes pools from sources, and training sets from pools; default: in memory on this machine.
        tell: Called with every step that is not in the store, before it is built.
        every: Whether every row of a source is encoded to see whether it can be trained on, not only rows in doubt.
    """

    def __init__(
        self,
        loaded: Loaded,
        store: Store,
        model: models.Model,
        materialize: Materialize,
        perplexities: Perplexities | None = None,
        pools: Pools | None = None,
        tell: Callable[[Step], None] = lambda step: None,
        *,
        every: bool = False,
    ) -> None:
        from harness.data.pools import LocalPools

        self.pools: Pools = pools or LocalPools()
        self.loaded, self.study, self.store, self.model = loaded, loaded.study, store, model
        self.materialize, self.tell = materialize, tell
        self.outputs: list[Output] = []
        self._known: dict[tuple[str, str], Output] = {}
        self.encoding = Encoding(model, loaded.study, perplexities, self._output, every=every)

    def _output(self, step: Step, build: Callable[[], Output]) -> Output:
        if (known := self._known.get((step.kind, step.key))) is not None:
            return known
        stored = self.store.find(step.kind, step.key)
        if stored is None:
            self.tell(step)
        output = Output(step, stored.record.digest, stored.record.data, stored) if stored else build()
        self.outputs.append(output)
        self._known[step.kind, step.key] = output
        return output

    # ------------------------------------------------------------------------------------------------------ suite

    @outside.watched()
    def suite(self) -> Output:
        """Return the study's suite, its items listed and pinned."""
        from harness import suites

        suite = self.study.suite
        inputs = suites.inputs(suite, self.loaded.suite_folder)
        spec = suite.identity()
        step = make_step("suite", suite.suite, spec, inputs)

        def build() -> Output:
            with tempfile.TemporaryDirectory(prefix="harness-suite-") as scratch:
                return fill(Path(scratch))

        def fill(folder: Path) -> Output:
            suites.copy_local(suite, self.loaded.suite_folder, folder)
            items = suites.generate(suite, folder)
            metrics: dict[str, Any] = {n: list(suites.GENERATED_METRICS) for n, t in suite.tasks.items() if t.generator}
            asked: dict[str, str] = {}
            lower: dict[str, list[str]] = {}
            if suites.needs_lm_eval(suite):
                items += self.materialize(suite, folder)
                metrics |= json.loads((folder / "metrics.json").read_text())
                lower = json.loads((folder / LOWER).read_text())
                asked = json.loads((folder / ASKED).read_text())
            frame = suites.finish(suite, items, folder)
            data: dict[str, Any] = {
                "items": frame.height,
                "tasks": {name: int((frame["task"] == name).sum()) for name in suite.tasks},
                "characters": int(frame["question"].str.len_chars().sum()),
                "metrics": metrics,
                "lower": lower,
                "items_digest": suites.items_digest(frame),
            }
            tasks = sorted(path for path in (folder / "tasks").rglob("*") if path.is_file())
            files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in tasks}
            content = suites.content_digest(suite, data["items_digest"], files, asked)
            files[ASKED] = canonical_json(asked).encode()
            return Output(step, content, data, tables={"items": frame}, extra=files)

        return self._output(step, build)

    # ------------------------------------------------------------------------------------------------------ pools

    @outside.watched()
    def source(self, name: str) -> Output:
        """Return a source's rows, read and with its operations done."""
        from harness.data import sources

        written, base = self.study.sources[name], self.loaded.source_folders[name]
        source = sources.settled(name, written, base)
        inputs = sources.inputs(name, source, base) | self._tools(source.operations)
        if self.encoding.untrainable is not None:
            inputs |= self.encoding.identity()
        spec = {"name": name, "source": written.identity()}
        step = make_step("source", name, spec, inputs)

        def build() -> Output:
            ask = self.encoding
            made = self.pools.read(name, source, base, ask.tokens, ask.perplexity, ask.untrainable)
            return Output(step, made.digest, made.data, tables=made.tables, parts=made.files)

        return self._output(step, build)

    def pool(self, name: str, suite: Output) -> Output:
        """Return a source's rows without those that overlap the suite."""
        source = self.source(name)
        rule = self.study.decontaminate.settled(suite.data["items"])
        inputs = {"source": source.digest, "items": suite.data["items_digest"]}
        if rule.semantic is not None:
            from harness.data import embeddings

            inputs["embeddings"] = embeddings.identity()
        step = make_step("pool", name, rule.identity(), inputs)

        def build() -> Output:
            made = self.pools.decontaminated(source, suite.table("items"), rule)
            if not made.data["rows"]:
                raise RequestError(
                    f"sources.{name}: all {made.data['removed']:,} rows overlap the suite "
                    f"{self.study.suite.suite}; nothing is left to train on"
                )
            return Output(step, made.digest, made.data, tables=made.tables, parts=made.files)

        return self._output(step, build)

    # --------------------------------------------------------------------------------------------------- variants

    def variants(self, pools: dict[str, Output]) -> list[PlannedVariant]:
        """Return all variants, the baseline first and the controls last."""
        study = self.study
        resolved = {"baseline": study.baseline}
        for name, arm in study.arms.items():
            changes: dict[str, Any] = {"operations": study.baseline.operations + arm.operations}
            if arm.mix is None:
                inherited = ("mix", "rows", "tokens", "unit", "max_repeats")
                changes |= {name: getattr(study.baseline, name) for name in inherited}
            else:
                changes["operations"] = arm.operations
            resolved[name] = arm.model_copy(update=changes)
        tests = {"baseline": ""} | {name: subject(study, name) for name in study.arms}
        planned = [self._variant(name, spec, pools, tests[name], control=False) for name, spec in resolved.items()]
        baseline = planned[0]
        if "random_subset" in study.controls:
            filters = self._controlled(planned[1:], baseline)
            for variant in filters:
                name = "random-subset" if len(filters) == 1 else f"random-subset-{variant.name}"
                planned.append(self._random_subset(name, baseline, variant, pools))
        if "aa" in study.controls:
            outputs = {s: self._rows("aa", study.baseline, pools, s + AA_OFFSET) for s in study.seed_list()}
            planned.append(self._planned("aa", study.baseline, "control", True, baseline.sampled, outputs))
        return planned

    def _controlled(self, arms: list[PlannedVariant], baseline: PlannedVariant) -> list[PlannedVariant]:
        """Return the arms that get a random subset of equal size: those that only drop rows of the baseline.

        A design may exclude some of its own arms.
        """
        study = self.study
        dropping = [arm for arm in arms if study.arms[arm.name].operations and study.arms[arm.name].mix is None]
        filters = [arm for arm in dropping if any(sum(o.data["dropped"].values()) for o in arm.outputs.values())]
        for design in study.designs:
            controlled = design.controlled({arm.name: arm.rows for arm in filters})
            filters = [arm for arm in filters if arm.name in controlled]
        return filters

    def _variant(
        self, name: str, spec: Variant, pools: dict[str, Output], tests: str, *, control: bool
    ) -> PlannedVariant:
        outputs = {seed: self._rows(name, spec, pools, seed) for seed in self.study.seed_list()}
        sampled = len({o.step.key for o in outputs.values()}) > 1
        return self._planned(name, spec, tests, control, sampled, outputs)

    def _rows(self, name: str, variant: Variant, pools: dict[str, Output], seed: int) -> Output:
        from harness.data.operations import trainable
        from harness.data.variants import DrawRequest

        assert variant.mix is not None
        used = {source: pools[source] for source in variant.mix}
        needs_all = {n: p.data["rows"] for n, p in used.items()}
        takes_all = all(
            count is None or (not variant.in_tokens and count == needs_all[n]) for n, count in variant.counts().items()
        )
        sampled = not takes_all or any(operation.draws for operation in variant.operations)
        drawn = seed if sampled else 0
        spec = {
            "variant": variant.model_copy(update={"tests": None}).identity(),
            "seed": drawn,
            "match": "rows" if self.study.match in ("rows", "tokens") else "as drawn",
        }
        inputs = {f"pools/{n}": p.digest for n, p in used.items()} | self._tools(variant.operations)
        if variant.in_tokens or (self.encoding.untrainable is not None and trainable.changes(variant.operations)):
            inputs |= self.encoding.identity()
        label = f"{self.study.study}-{name}" + (f"-seed{seed}" if sampled else "")
        step = make_step("variant", label, spec, inputs)

        def build() -> Output:
            with _of_variant(name):
                built = self.pools.variant(
                    DrawRequest(
                        variant,
                        drawn,
                        self.study.match,
                        self.encoding.tokens,
                        self.encoding.trained,
                        self.encoding.perplexity,
                        self.encoding.untrainable,
                        self.loaded.model_folder,
                    ),
                    used,
                )
            return _variant_output(step, built)

        return self._output(step, build)

    def _random_subset(
        self, name: str, baseline: PlannedVariant, filtered: PlannedVariant, pools: dict[str, Output]
    ) -> PlannedVariant:
        """Return the control of a filter: drops as many rows at random, and refills if the filter is refilled."""
        from harness.data import variants

        outputs = {}
        for seed in self.study.seed_list():
            if self.study.match in ("rows", "tokens"):
                kept = filtered.outputs[seed].data["rows"]
                share = kept / (kept + sum(filtered.outputs[seed].data["dropped"].values()))
                thinned = (*baseline.spec.operations, Sample(fraction=share))
                thinner = baseline.spec.model_copy(update={"operations": thinned})
                outputs[seed] = self._rows(name, thinner, pools, seed)
                continue
            rows, keep = baseline.outputs[seed], filtered.outputs[seed].data["rows"]
            spec = {"random_subset": True, "keep": keep, "seed": seed}
            inputs = {"rows": rows.digest}
            step = make_step("variant", f"{self.study.study}-{name}-seed{seed}", spec, inputs)

            def build(rows: Output = rows, keep: int = keep, seed: int = seed, step: Step = step) -> Output:
                return _variant_output(step, variants.random_subset(rows.table("rows"), keep, seed))

            outputs[seed] = self._output(step, build)
        described = baseline.spec.model_copy(update={"tests": f"control of {filtered.name}"})
        return self._planned(name, described, "control", True, True, outputs)

    def _planned(
        self, name: str, spec: Variant, tests: str, control: bool, sampled: bool, outputs: dict[int, Output]
    ) -> PlannedVariant:
        distinct = list(outputs.values())
        names = sorted({s for o in distinct for s in o.data["sources"]})
        counts = {s: sum(o.data["sources"].get(s, 0) for o in distinct) / len(distinct) for s in names}
        tokens = [t for t in (self._tokens(name, o) for o in distinct) if t is not None]
        return PlannedVariant(
            name=name,
            key=sequence_digest(o.step.key for o in distinct)[:16],
            spec=spec,
            tests=tests,
            control=control,
            sampled=sampled,
            rows=sum(o.data["rows"] for o in distinct) / len(distinct),
            tokens=sum(t["tokens"] for t in tokens) / len(tokens) if tokens else None,
            cut=sum(t["cut"] for t in tokens) / max(1, sum(t["rows"] for t in tokens)),
            ended=any(t["ended"] for t in tokens),
            longest=max((t["longest"] for t in tokens), default=0),
            sources=counts,
            outputs=outputs,
        )

    # -------------------------------------------------------------------------------- what operations read besides

    def _tools(self, chain: Sequence[Operation]) -> dict[str, str]:
        """Return digests of what operations read besides the rows: functions, libraries, models."""
        from harness.data import operations

        found = operations.inputs(chain, self.loaded.model_folder)
        if operations.needs_model(chain):
            found |= self.encoding.identity()
        if operations.needs_embeddings(chain):
            from harness.data import embeddings

            found["embeddings"] = embeddings.identity()
        return found

    def _tokens(self, name: str, rows: Output) -> dict[str, Any] | None:
        """Return facts of a training set's tokens, encoded once; None if this machine lacks the model's tokenizer."""
        if self.model.folder is None:
            return None
        recipe = self.study.recipe
        step = tokens_step(f"{self.study.study}-{name}", recipe, rows.data["content_digest"], self.model.digest)

        def build() -> Output:
            from harness import tokens

            frame = rows.table("rows")
            encoded = self.encoding.encode(frame)
            table = tokens.table(frame["row_id"], encoded)
            lengths = [one.length for one in encoded]
            data = {
                "tokens": sum(lengths),
                "rows": len(lengths),
                "longest": max(lengths),
                "cut": sum(one.cut for one in encoded),
                "ended": sum(one.ended for one in encoded),
            }
            return Output(step, step.key, data, tables={"tokens": table})

        return self._output(step, build).data


@contextlib.contextmanager
def _of_variant(name: str) -> Iterator[None]:
    """Prefix errors about a variant's rows with the field of the study that defines the variant."""
    try:
        yield
    except Unusable:
        raise
    except RequestError as error:
        place = "baseline" if name in ("baseline", "aa") else f"arms.{name}"
        joint = "." if str(error).startswith("mix.") else ": "
        raise RequestError(f"{place}{joint}{error}") from error


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
