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

    ``exact``: the same after normalization of case, white space, punctuation and Unicode form; operators that
    calculate or compare count as words. ``near``: rows whose words, in order, have at least the similarity
    ``threshold`` (MinHash-LSH finds candidates, which are then measured). ``semantic``: by cosine of sentence
    embeddings. Of each cluster of repeats the first row stays.

    Example::

        operations:
          - dedupe
          - dedupe: {method: near, threshold: 0.8}
    """

    op: Literal["dedupe"] = "dedupe"
    method: Literal["exact", "near", "semantic"] = Field("exact", description="what counts as a repeat")
    threshold: float | None = Field(None, gt=0, le=1, description="least similarity; default: near 0.7, semantic 0.9")
    field: str | None = Field(None, description="prompt, completion, text, ...; default: all of the row's text")

    scope = "all"

    @model_validator(mode="after")
    def _measured(self) -> Dedupe:
        if self.method == "exact" and self.threshold is not None:
            raise ValueError("threshold goes with method: near or semantic")
        return self

    @property
    def needs(self) -> frozenset[Need]:
        """The measures of a model that it needs."""
        return frozenset({"embeddings"} if self.method == "semantic" else ())

    @property
    def join(self) -> str | None:
        """The name of the join that compares rows in parts; only for ``near``."""
        return "near" if self.method == "near" else None

    def key(self, rows: pl.DataFrame, context: Context) -> pl.DataFrame:
        """Return a digest of each row's words for ``exact``, else its text."""
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
