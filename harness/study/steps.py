"""Steps and their keys: everything that can change a step's output is in its key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.identity import step_key
from harness.spec import Recipe
from harness.store import Artifact, Step

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from harness.data.pools import File

# A kind's version is raised when the meaning of its code changes, so that output of older code is not reused.
VERSIONS = {
    "source": 4,
    "suite": 3,
    "pool": 4,
    "variant": 4,
    "perplexity": 1,
    "tokens": 3,
    "adapter": 3,
    "result": 3,
    "study": 1,
}


@dataclass
class Output:
    """A data step's output: in the store, or built in memory and not yet published."""

    step: Step
    digest: str
    data: dict[str, Any]
    stored: Artifact | None = None
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    parts: dict[str, list[Path]] = field(default_factory=dict)  # table -> its files, to be moved to the store
    extra: dict[str, bytes] = field(default_factory=dict)  # path in the suite -> bytes of a file

    def table(self, name: str) -> pl.DataFrame:
        """Return one of the step's tables."""
        if name not in self.tables:
            import polars as pl

            files = self.files(name)
            assert files is not None
            if self.stored is not None:
                self.stored.checked(*(file.path.relative_to(self.stored.folder).as_posix() for file in files))
            self.tables[name] = pl.read_parquet([file.path for file in files], glob=False)
        return self.tables[name]

    def files(self, name: str) -> list[File] | None:
        """Return the files that hold a table, its rows in order; None when it is only in memory.

        A table is one file, ``<name>.parquet``, or a folder of parts, ``<name>/000000.parquet`` and so on.
        """
        from harness.data.pools import File

        if self.stored is None:
            return [File(path) for path in self.parts[name]] if name in self.parts else None
        known, parts = self.stored.record.files, f"{name}/"
        names = sorted(file for file in known if file.startswith(parts)) or [f"{name}.parquet"]
        return [File(self.stored.folder / file, known[file].sha256 if file in known else "") for file in names]


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


def result_step(name: str, recipe: Recipe, suite: str, model: str, adapter: str | None) -> Step:
    """Return the step that evaluates an adapter (or the base model) on a suite.

    Args:
        name: For people.
        recipe: The recipe of the training, for its date, which chat templates may write.
        suite: Content digest of the suite: its items, and everything about their prompts and scoring.
        model: Digest of the base model, its tokenizer and chat template.
        adapter: Content digest of the adapter; None for the base model.
    """
    inputs = {"suite": suite, "model": model, "adapter": adapter or "none"}
    return make_step("result", name, {"date": recipe.date.isoformat()}, inputs)


def tokens_step(name: str, recipe: Recipe, rows: str, model: str) -> Step:
    """Return the step that turns rows into token ids and labels."""
    spec = {
        "chat_template": recipe.chat_template,
        "max_length": recipe.max_length,
        "objective": recipe.objective,
        "date": recipe.date.isoformat(),
    }
    inputs = {"rows": rows, "model": model}
    return make_step("tokens", name, spec, inputs)
