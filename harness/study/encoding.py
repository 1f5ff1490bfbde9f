"""What operations and token budgets ask about rows and only the model knows: tokens and perplexity."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness import models, trainable
from harness.errors import StepError
from harness.spec import Study
from harness.store import Step
from harness.study.steps import Output, make_step

if TYPE_CHECKING:
    import polars as pl

    from harness.tokens import Encoded, RowEncoder

# Training sequences -> perplexity of each under the base model, in another process
Perplexities = Callable[[models.Model, "list[Encoded]"], list[float]]
UNCUT = 1_000_000_000  # tokens; a length that no row reaches


@dataclass(frozen=True)
class Counter:
    """Counts the tokens of rows; may be sent to another process, which reads the tokenizer itself.

    Attributes:
        folder: The model's.
        model: Its digest.
        chat_template: As in the recipe.
        max_length: Tokens at which a row is cut.
        objective: As in the recipe.
        date: As in the recipe.
    """

    folder: Path
    model: str
    chat_template: bool
    max_length: int
    objective: str
    date: datetime.date

    def __call__(self, rows: pl.DataFrame) -> list[int]:
        """Return the number of tokens of each row."""
        return [one.length for one in self.encode(rows)]

    def encode(self, rows: pl.DataFrame) -> list[Encoded]:
        """Return the training sequence of each row."""
        encoder = _encoder(self)
        return [encoder.encode(row) for row in rows.iter_rows(named=True)]


@dataclass(frozen=True)
class Untrainable:
    """Tells whether a model can learn from rows; may be sent to another process.

    Attributes:
        counter: How rows are encoded.
        every: Whether all rows are to be encoded for that, not only those in doubt.
    """

    counter: Counter
    every: bool = False

    def __call__(self, rows: pl.DataFrame, what: str) -> pl.Series:
        """Return why rows cannot be trained on (``encode``), or teach nothing when they are cut (``cut``)."""
        ask = {"encode": trainable.unusable, "cut": trainable.cut_off}[what]
        return ask(_encoder(self.counter), rows, every=self.every)


@lru_cache(maxsize=4)
def _encoder(counter: Counter) -> RowEncoder:
    """Return an encoder; reading a tokenizer's file takes longer than encoding a small training set."""
    from harness.tokens import RowEncoder

    return RowEncoder(
        counter.folder,
        chat_template=counter.chat_template,
        max_length=counter.max_length,
        objective=counter.objective,
        date=counter.date,
    )


class Encoding:
    """Measures rows with the study's model, each distinct row once.

    Args:
        model: The base model.
        study: For the recipe: how rows are rendered and where they are cut.
        perplexities: Computes them in another process; None where there is none to ask.
        output: Takes a step and what builds it, and returns its output.
        every: Whether every row is to be encoded to see whether it can be trained on.

    Attributes:
        tokens: Rows -> tokens of each, uncut; None while the model's tokenizer is not on this machine yet.
        trained: The same, cut as the recipe says.
        perplexity: Rows -> perplexity of each; None while the model cannot be asked.
        untrainable: Why rows cannot be trained on; None while the model's tokenizer is not on this machine yet.
    """

    def __init__(
        self,
        model: models.Model,
        study: Study,
        perplexities: Perplexities | None,
        output: Callable[[Step, Callable[[], Output]], Output],
        *,
        every: bool = False,
    ) -> None:
        self._model, self._study, self._perplexities, self._output = model, study, perplexities, output
        self._known: dict[str, float] = {}  # row id -> perplexity
        ready = model.folder is not None
        self.tokens: Callable[[pl.DataFrame], list[int]] | None = self._counter(UNCUT) if ready else None
        self.trained: Callable[[pl.DataFrame], list[int]] | None = (
            self._counter(study.recipe.max_length) if ready else None
        )
        self.untrainable = Untrainable(self._counter(study.recipe.max_length), every) if ready else None
        self.perplexity: Callable[[pl.DataFrame], list[float]] | None = (
            self._measure if ready and perplexities is not None else None
        )

    def identity(self) -> dict[str, str]:
        """Return what the numbers depend on besides the rows."""
        recipe = self._study.recipe
        return {
            "model": self._model.digest,
            "chat_template": str(recipe.chat_template),
            "objective": recipe.objective,
            "max_length": str(recipe.max_length),
            "date": recipe.date.isoformat(),
        } | ({"untrainable": "every row encoded"} if self.untrainable is not None and self.untrainable.every else {})

    def encode(self, rows: pl.DataFrame) -> list[Encoded]:
        """Return the training sequence of every row, cut as the recipe says.

        Raises:
            StepError: The model is not ready.
            Unusable: One cannot be encoded, or teaches nothing: it was not looked at closely enough before.
        """
        from harness.tokens import Unusable, named

        encoded = self._counter(self._study.recipe.max_length).encode(rows)
        if not all(one.teaches for one in encoded):
            at = next(at for at, one in enumerate(encoded) if not one.teaches)
            raise Unusable(f"{named(rows.row(at, named=True))}: nothing is left to learn of it")
        return encoded

    def _counter(self, max_length: int) -> Counter:
        if self._model.folder is None:
            raise StepError(f"{self._model.name} is not ready yet: harness doctor --prepare")
        recipe = self._study.recipe
        return Counter(
            self._model.folder, self._model.digest, recipe.chat_template, max_length, recipe.objective, recipe.date
        )

    def _measure(self, rows: pl.DataFrame) -> list[float]:
        import polars as pl

        from harness.data.rows import content_digest

        missing = rows.unique("row_id", keep="first", maintain_order=True)
        missing = missing.filter(~pl.col("row_id").is_in(list(self._known)))
        if missing.height:
            inputs = self.identity() | {"rows": content_digest(missing)}
            step = make_step("perplexity", self._study.study, {}, inputs)

            def build() -> Output:
                assert self._perplexities is not None
                values = self._perplexities(self._model, self.encode(missing))
                table = pl.DataFrame({"row_id": missing["row_id"], "perplexity": values})
                return Output(step, step.key, {"rows": table.height}, tables={"perplexity": table})

            self._known |= dict(self._output(step, build).table("perplexity").iter_rows())
        return [self._known[row_id] for row_id in rows["row_id"]]
