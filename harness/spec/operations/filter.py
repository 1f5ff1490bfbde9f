"""``filter``: bounds that a row must pass, cheap ones first; a bound is computed only for rows that passed before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.spec.base import Function, Origin
from harness.spec.operations.base import BaseOperation, Done, Emptied, Need

if TYPE_CHECKING:
    import polars as pl

    from harness.data.operations.context import Context
    from harness.data.operations.filters import Bound


class Filter(BaseOperation):
    """Keep rows that pass every bound given.

    Bounds on text apply to all text of a row (such as prompt and completion), or to ``field`` alone.

    Example::

        operations:
          - filter: {min_words: 5, max_words: 400}
          - filter: {score: quality, min_score: 0.5} # a column that the source carries along
    """

    op: Literal["filter"] = "filter"
    field: str | None = Field(None, description="prompt, completion, text, ...; default: all of the row's text")
    min_chars: int | None = Field(None, ge=0, description="least number of characters")
    max_chars: int | None = Field(None, ge=0, description="highest number of characters")
    min_words: int | None = Field(None, ge=0, description="least number of words")
    max_words: int | None = Field(None, ge=0, description="highest number of words")
    min_tokens: int | None = Field(None, ge=0, description="least number of tokens of the row as the model sees it")
    max_tokens: int | None = Field(None, ge=0, description="highest number of tokens of the row as the model sees it")
    pattern: str | None = Field(None, description="Python regular expression; rows that match are kept")
    exclude: str | None = Field(None, description="Python regular expression; rows that match are dropped")
    languages: tuple[str, ...] | None = Field(None, min_length=1, description="ISO 639-1 codes to keep, such as en")
    licenses: tuple[str, ...] | None = Field(None, min_length=1, description="licences to keep")
    exclude_licenses: tuple[str, ...] | None = Field(None, min_length=1, description="licences to drop")
    origins: tuple[Origin, ...] | None = Field(None, min_length=1, description="origins to keep")
    exclude_origins: tuple[Origin, ...] | None = Field(None, min_length=1, description="origins to drop")
    score: str | None = Field(None, description="a number that the rows carry (see sources.<name>.columns)")
    min_score: float | None = Field(None, description="least score to keep")
    max_score: float | None = Field(None, description="highest score to keep")
    min_perplexity: float | None = Field(
        None, ge=1, description="least perplexity, under the base model, of the tokens that the loss counts"
    )
    max_perplexity: float | None = Field(
        None, ge=1, description="highest perplexity, under the base model, of the tokens that the loss counts"
    )
    datatrove: str | None = Field(None, description="a filter of datatrove: gopher_quality, c4_quality, ...")
    settings: dict[str, Any] = Field(default={}, description="settings of the datatrove filter")
    function: Function | None = Field(
        None, description="module:function of a Python file beside the study: row -> bool"
    )

    scope = "row"

    @field_validator("pattern", "exclude")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"not a regular expression ({error})") from error
        return value

    @model_validator(mode="after")
    def _says_something(self) -> Filter:
        bounds = self.model_dump(exclude={"op", "field", "score", "settings"}, exclude_none=True)
        if not bounds:
            raise ValueError("a filter needs at least one bound, such as min_chars, max_words, pattern or languages")
        if (self.score is None) != (self.min_score is None and self.max_score is None):
            raise ValueError("score (the column) goes with min_score or max_score")
        if self.settings and self.datatrove is None:
            raise ValueError("settings are those of a datatrove filter; none is named")
        return self

    @property
    def needs(self) -> frozenset[Need]:
        """The measures of a model that it needs."""
        bounded: dict[Need, tuple[float | None, ...]] = {
            "tokens": (self.min_tokens, self.max_tokens),
            "perplexity": (self.min_perplexity, self.max_perplexity),
        }
        return frozenset(need for need, bounds in bounded.items() if any(bound is not None for bound in bounds))

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions whose rules decide about rows."""
        return (("py3langid",) if self.languages else ()) + (("datatrove", "spacy") if self.datatrove else ())

    def do(self, rows: pl.DataFrame, context: Context) -> Done:
        """Drop rows, with the first bound that they do not pass as the reason."""
        from harness.data.operations import filters

        whose = self.whose(context)
        return Done(rows, filters.refused(rows, self.looks_at(rows, whose), self._bounds(context, whose)))

    def looks_at(self, rows: pl.DataFrame, whose: str) -> pl.Series:
        """Return the text that bounds on text apply to."""
        from harness.data.operations.content import texts

        return texts(rows, self.field, whose)

    def hint(self, parts: Sequence[Emptied]) -> str:
        """Return the size of the largest or smallest row, if the filter bounds the size."""
        if parts and (self.min_words is not None or self.min_chars is not None):
            words, chars = (max(one.most[at] for one in parts) for at in range(2))
            return f"; the largest row has {words:,} words ({chars:,} characters)"
        if parts and (self.max_words is not None or self.max_chars is not None):
            words, chars = (min(one.fewest[at] for one in parts) for at in range(2))
            return f"; the smallest row has {words:,} words ({chars:,} characters)"
        return super().hint(parts)

    def _bounds(self, context: Context, whose: str) -> Iterator[Bound]:
        from harness.data.operations import filters, language, quality

        if self.licenses or self.exclude_licenses:
            yield lambda rows, _: filters.listed(rows["license"], "licence", self.licenses, self.exclude_licenses)
        if self.origins or self.exclude_origins:
            yield lambda rows, _: filters.listed(rows["origin"], "origin", self.origins, self.exclude_origins)
        if self.score is not None:
            name = self.score
            yield lambda rows, _: filters.outside(
                filters.carried(rows, name, whose), name, self.min_score, self.max_score
            )
        if self.min_chars is not None or self.max_chars is not None:
            yield lambda _, text: filters.outside(text.str.len_chars(), "characters", self.min_chars, self.max_chars)
        if self.min_words is not None or self.max_words is not None:
            yield lambda _, text: filters.outside(filters.words(text), "words", self.min_words, self.max_words)
        if self.pattern is not None or self.exclude is not None:
            yield lambda _, text: filters.matched(text, self.pattern, self.exclude)
        if self.languages is not None:
            languages = self.languages
            yield lambda _, text: language.foreign(text, languages, whose)
        if "tokens" in self.needs:
            yield lambda rows, _: filters.outside(
                map(int, filters.asked(context.tokens, rows, whose)), "tokens", self.min_tokens, self.max_tokens
            )
        if self.datatrove is not None:
            wanted = self.datatrove
            yield lambda rows, text: quality.poor(rows, text, wanted, self.settings, whose)
        if self.function is not None:
            function = self.function
            yield lambda rows, _: filters.refused_by(function, rows, context, whose)
        if "perplexity" in self.needs:
            yield lambda rows, _: filters.outside(
                filters.asked(context.perplexity, rows, whose), "perplexity", self.min_perplexity, self.max_perplexity
            )
