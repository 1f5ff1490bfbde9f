"""Operations: one step on rows each."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.spec.base import Origin, Spec, importable


class Clean(Spec):
    """Repair text and drop rows that are empty or broken.

    Mojibake and HTML entities are repaired (ftfy), control characters removed, white space at the end of lines cut.
    A row is broken when a field that must say something (prompt, completion, a message) is empty afterwards.

    Example::

        operations:
          - clean
          - clean: {repair: false} # only control characters and empty rows
    """

    op: Literal["clean"] = "clean"
    repair: bool = Field(True, description="repair wrongly decoded text (ftfy); else only remove control characters")


class Filter(Spec):
    """Keep rows that pass every bound given.

    Text is prompt and completion together unless ``field`` says otherwise.

    Example::

        operations:
          - filter: {min_words: 5, max_words: 400}
          - filter: {score: quality, min_score: 0.5} # a column that the source carries along
    """

    op: Literal["filter"] = "filter"
    field: str | None = Field(None, description="prompt, completion, text, ...; default: all of the row's text")
    min_chars: int | None = Field(None, ge=0, description="characters a row needs")
    max_chars: int | None = Field(None, ge=0, description="characters a row may have")
    min_words: int | None = Field(None, ge=0, description="words a row needs")
    max_words: int | None = Field(None, ge=0, description="words a row may have")
    min_tokens: int | None = Field(None, ge=0, description="tokens of the row as the model sees it")
    max_tokens: int | None = Field(None, ge=0, description="the same, at most")
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
    min_perplexity: float | None = Field(None, ge=1, description="of what the loss counts, under the base model")
    max_perplexity: float | None = Field(None, ge=1, description="the same, at most")
    datatrove: str | None = Field(None, description="a filter of datatrove: gopher_quality, c4_quality, ...")
    settings: dict[str, Any] = Field(default={}, description="settings of the datatrove filter")
    function: str | None = Field(None, description="module:function of a Python file beside the study: row -> bool")

    @field_validator("pattern", "exclude")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"not a regular expression ({error})") from error
        return value

    @field_validator("function")
    @classmethod
    def _function(cls, value: str | None) -> str | None:
        return importable(value)

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


class Dedupe(Spec):
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

    @model_validator(mode="after")
    def _measured(self) -> Dedupe:
        if self.method == "exact" and self.threshold is not None:
            raise ValueError("threshold goes with method: near or semantic")
        return self


class Verify(Spec):
    """Check completions: by the row's verifier (reasoning-gym's scorer, or a numeric answer) or a function.

    Example::

        operations:
          - verify # wrong answers go
          - verify: {keep: all, label: right} # all stay, with a score that a later filter can ask for
    """

    op: Literal["verify"] = "verify"
    min_score: float = Field(1.0, ge=0, le=1, description="partial credit below this counts as wrong")
    keep: Literal["right", "wrong", "all"] = Field("right", description="all: only label rows")
    label: str | None = Field(None, description="carry the score along under this name, for later filters")
    function: str | None = Field(None, description="module:function of a Python file beside the study: row -> 0..1")

    @field_validator("function")
    @classmethod
    def _function(cls, value: str | None) -> str | None:
        return importable(value)

    @model_validator(mode="after")
    def _does_something(self) -> Verify:
        if self.keep == "all" and self.label is None:
            raise ValueError("keep: all needs a label, else verify changes nothing")
        return self


class Pii(Spec):
    """Drop rows with personal data (e-mail addresses, phone numbers, IP addresses, card numbers), or mask it.

    Example::

        operations:
          - pii
          - pii: {action: drop, kinds: [email, phone]}
    """

    op: Literal["pii"] = "pii"
    action: Literal["drop", "mask"] = Field("mask", description="replace it by its kind, or drop the row")
    kinds: tuple[Literal["email", "phone", "ip", "card"], ...] = Field(
        ("email", "phone", "ip", "card"), min_length=1, description="what to look for"
    )


class Sample(Spec):
    """Keep ``rows`` rows (or a ``fraction``) by seeded rank: smaller samples are prefixes of larger ones.

    Example::

        operations:
          - sample: {rows: 1000}
          - sample: {fraction: 0.5} # half of those
    """

    op: Literal["sample"] = "sample"
    rows: int | None = Field(None, ge=1, description="how many rows stay; or give fraction")
    fraction: float | None = Field(None, gt=0, le=1, description="which share of the rows stays")

    @model_validator(mode="after")
    def _one_size(self) -> Sample:
        if (self.rows is None) == (self.fraction is None):
            raise ValueError("a sample needs either rows or fraction")
        return self


class Trainable(Spec):
    """Keep rows that can be trained on (``encode``), or of which something is learned when they are cut (``cut``).

    Not for people to write: it is done to every source, as its last operations.
    """

    op: Literal["encode", "cut"]


Operation = Annotated[Clean | Filter | Dedupe | Verify | Pii | Sample, Field(discriminator="op")]
AnyOperation = Operation | Trainable
OPERATIONS: dict[str, type[Spec]] = {
    "clean": Clean,
    "filter": Filter,
    "dedupe": Dedupe,
    "verify": Verify,
    "pii": Pii,
    "sample": Sample,
}


def operation(value: Any) -> Any:
    """Read ``verify`` and ``{filter: {...}}`` as ``{op: ..., ...}``."""
    if isinstance(value, str):
        return {"op": value}
    if isinstance(value, dict) and "op" not in value and len(value) == 1:
        name, parameters = next(iter(value.items()))
        if parameters is None or isinstance(parameters, dict):
            return {"op": name, **(parameters or {})}
    return value


Operations = Annotated[tuple[Operation, ...], Field(default=(), description="what is done to the rows, in this order")]
