"""``dedupe``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from harness.spec.operations.base import BaseOperation, Gone, Need

if TYPE_CHECKING:
    import polars as pl

    from harness.data.operations.context import Context

REPEATS = {"exact": "repeats", "near": "near-duplicate of", "semantic": "near-duplicate in meaning of"}


class Dedupe(BaseOperation):
    """Drop rows whose text repeats an earlier row's.

    ``exact``: after normalization of case, white space, punctuation and Unicode form; what calculates or compares
    counts. ``near``: rows whose words in order are as similar as ``threshold`` are clustered (MinHash-LSH for
    candidates, then measured). ``semantic``: by cosine of sentence
    embeddings. Of each cluster the first row stays.

    Example::

        operations:
          - dedupe
          - dedupe: {method: near, threshold: 0.8}
    """

    op: Literal["dedupe"] = "dedupe"
    method: Literal["exact", "near", "semantic"] = Field("exact", description="what counts as a repeat")
    threshold: float | None = Field(None, gt=0, le=1, description="near: 0.7, semantic: 0.9 unless given")
    field: str | None = Field(None, description="prompt, completion, text, ...; default: all of the row's text")

    scope = "all"

    @model_validator(mode="after")
    def _measured(self) -> Dedupe:
        if self.method == "exact" and self.threshold is not None:
            raise ValueError("threshold goes with method: near or semantic")
        return self

    @property
    def needs(self) -> frozenset[Need]:
        """What it asks a model for."""
        return frozenset({"embeddings"} if self.method == "semantic" else ())

    @property
    def join(self) -> str | None:
        """How rows in parts are compared: those that are nearly the same meet by some of their words."""
        return "near" if self.method == "near" else None

    def key(self, rows: pl.DataFrame, context: Context) -> pl.DataFrame:
        """Return a digest of each row's words; its text, where words are to be compared."""
        from harness.data import duplicates
        from harness.data.operations.content import texts

        seen = texts(rows, self.field, self.whose(context))
        return duplicates.word_digests(seen) if self.method == "exact" else seen.to_frame("text")

    def gone(self, keys: pl.DataFrame, context: Context) -> Gone:
        """Return the rows that repeat an earlier one."""
        from harness.data import duplicates

        if self.method == "exact":
            later, first = duplicates.later(keys)
        else:
            label = duplicates.clusters(keys["text"], self.method, self.threshold).to_numpy()
            later = (label != range(len(label))).nonzero()[0]
            first = label[later]
        return Gone(later, REPEATS[self.method], first)
