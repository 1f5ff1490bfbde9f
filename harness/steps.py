"""Steps and their keys: what can change a step's output is in its key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.identity import step_key
from harness.spec import Recipe
from harness.store import Artifact, Step

if TYPE_CHECKING:
    import polars as pl

# Raised when the meaning of a kind's code changes, so that what older code made is not taken for the same thing.
VERSIONS = {
    "source": 2,
    "suite": 1,
    "pool": 2,
    "variant": 2,
    "perplexity": 1,
    "tokens": 2,
    "adapter": 2,
    "result": 2,
    "study": 1,
}


@dataclass
class Output:
    """A data step's output: in the store already, or built in memory and still to be published."""

    step: Step
    digest: str
    data: dict[str, Any]
    stored: Artifact | None = None
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)  # of a suite, by their path in it

    def table(self, name: str) -> pl.DataFrame:
        """Return one of the step's tables."""
        if name not in self.tables:
            import polars as pl

            assert self.stored is not None
            self.tables[name] = pl.read_parquet(self.stored.checked(f"{name}.parquet") / f"{name}.parquet")
        return self.tables[name]


def make_step(kind: str, name: str, spec: dict[str, Any], inputs: dict[str, str]) -> Step:
    """Return a step with its key.

    Args:
        kind: One of ``VERSIONS``.
        name: For people; not part of the key.
        spec: Every choice that can change the output.
        inputs: Content digests of what is read, by role.
    """
    return Step(kind, name, step_key(kind, VERSIONS[kind], spec, inputs), VERSIONS[kind], spec, inputs)


def run_key(adapter: str, suite: str) -> str:
    """Return the key of a run, from its adapter's key and its suite's digest; no artifact carries it."""
    return step_key("run", 1, {"adapter": adapter}, {"suite": suite})


def adapter_step(name: str, recipe: Recipe, seed: int, rows: str, model: str) -> Step:
    """Return the step that trains an adapter: everything that can change its weights is in the key."""
    spec = {"recipe": recipe.identity(), "seed": seed}
    inputs = {"rows": rows, "model": model}
    return make_step("adapter", name, spec, inputs)


def result_step(name: str, suite: str, model: str, adapter: str | None) -> Step:
    """Return the step that evaluates an adapter (or the base model) on a suite."""
    inputs = {"suite": suite, "model": model, "adapter": adapter or "none"}
    return make_step("result", name, {}, inputs)


def tokens_step(name: str, recipe: Recipe, rows: str, model: str) -> Step:
    """Return the step that turns rows into token ids and labels."""
    spec = {
        "chat_template": recipe.chat_template,
        "max_length": recipe.max_length,
        "objective": recipe.objective,
    }
    inputs = {"rows": rows, "model": model}
    return make_step("tokens", name, spec, inputs)
