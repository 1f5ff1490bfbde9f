"""What a data card holds. ``harness data card --json`` prints a ``Card``, and users may rely on every field."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.records import Data

CARD_VERSION = 1


class Share(Data):
    """How many rows have a value."""

    name: str | None = Field(description="the value; null: unknown")
    rows: int
    share: float = Field(description="of the rows looked at, 0 to 1")


class Shares(Data):
    """What values rows have, the most frequent first."""

    of: str
    rows: int = Field(description="rows looked at")
    distinct: int
    top: list[Share]
    others: int = Field(0, description="rows with values beyond the list")


class Histogram(Data):
    """Counts in bins of equal width: bin ``i`` holds ``start + i * width`` up to, not including, the next bin."""

    start: float
    width: float
    counts: list[int]
    above: int = Field(0, description="values beyond the last bin")


class Distribution(Data):
    """How numbers are spread over rows."""

    of: str = Field(description="prompt, completion, text, rejected, whole row, or the name of a column")
    unit: str = Field(description="characters, words or tokens; empty for a column")
    values: int = Field(description="rows with a value")
    missing: int = Field(0, description="rows looked at without a value")
    total: float
    mean: float
    minimum: float
    p5: float
    p25: float
    median: float
    p75: float
    p95: float
    maximum: float
    histogram: Histogram


class TokenCounts(Data):
    """Length as the model sees it."""

    total: int = Field(description="in all rows; where only a sample was encoded, its mean times the rows")
    exact: bool = Field(description="whether every row was encoded")
    rows: int = Field(description="rows encoded")
    learned: float = Field(description="share of tokens that the loss counts")
    limit: int | None = Field(None, description="tokens at which training cuts a row")
    cut: int | None = Field(None, description="rows encoded that are longer than `limit`")


class Group(Data):
    """Rows that repeat each other."""

    rows: int
    text: str = Field(description="the beginning of the first of these rows")


class Duplicates(Data):
    """Rows that repeat an earlier row."""

    method: Literal["exact", "near"]
    threshold: float | None
    rows: int = Field(description="rows looked at")
    repeats: int = Field(description="rows that repeat an earlier row")
    rate: float
    groups: int = Field(description="groups of two rows or more")
    largest: list[Group]
    at_least: bool = Field(False, description="only a sample was looked at, so that pairs were missed")


class Balance(Data):
    """How evenly short completions, or the values of a column, are used."""

    of: str
    rows: int
    distinct: int
    evenness: float | None = Field(description="entropy over its maximum; 1: equally frequent values; 0: only one")
    top: list[Share]
    others: int = 0


class Outlier(Data):
    """A row that stands out."""

    value: float
    text: str


class Perplexity(Data):
    """Rows that the base model finds strange, or has seen too often."""

    values: Distribution
    high: float = Field(description="above it a row is an outlier: median + 3 robust SDs of the logarithm")
    low: float = Field(description="below it a row is an outlier: median - 3 robust SDs of the logarithm")
    above: int
    below: int
    strangest: list[Outlier]


class Ngrams(Data):
    """How varied the wording is. Words are runs of letters and digits, in lower case."""

    rows: int = Field(description="rows looked at")
    words: int
    distinct_1: float = Field(description="different words / words")
    distinct_2: float = Field(description="different pairs of words / pairs")
    distinct_3: float = Field(description="different runs of three words / runs")
    type_token: float = Field(description="share of different words in `window` words in a row, mean over windows")
    window: int
    frequent: list[Share] = Field(description="runs of four words that most rows hold")


class Embeddings(Data):
    """How varied the meaning is, by sentence embeddings."""

    rows: int = Field(description="rows looked at")
    model: str
    nearest: float = Field(description="mean cosine of a row with the row most like it; 1: everything is said twice")
    effective: float = Field(description="number of entirely different rows that would be as varied (Vendi score)")
    coverage: float | None = Field(None, description="mean cosine of a row of the pools with the row here most like it")
    pool_rows: int | None = Field(None, description="rows of the pools looked at")


class Overlap(Data):
    """A row that overlaps an item of the suite."""

    source: str
    task: str
    kind: str
    score: float
    span: str


class Contamination(Data):
    """What decontamination against the suite found in the pools."""

    suite: str
    rows: int = Field(description="rows checked")
    removed: int
    kinds: dict[str, int] = Field(description="rows removed, by the kind of their first overlap")
    kept: dict[str, int] = Field(description="rows listed but kept, by kind")
    items: int = Field(description="items of the suite")
    touched: int = Field(description="items that a row of these pools overlaps")
    examples: list[Overlap]


class Dropped(Data):
    """What one operation dropped."""

    operation: str
    rows: int
    share: float = Field(description="of the rows read")
    sources: dict[str, int]
    reasons: list[Share] = Field(description="the most frequent ones; share of this operation's rows")
    other_reasons: int = Field(0, description="rows dropped for reasons beyond the list")


class Ledger(Data):
    """Where rows went: ``read + repeated = kept + not_drawn + sum of drops``."""

    read: int
    repeated: int = Field(0, description="further copies of rows of a small source that the mixture takes")
    drops: list[Dropped]
    not_drawn: int = Field(0, description="rows of the pools that the mixture leaves out")
    kept: int


class Card(Data):
    """A data card."""

    schema_version: int = CARD_VERSION
    name: str
    facts: dict[str, str] = Field(default={}, description="what the rows are: file, or study, variant, seed, model")
    rows: int
    shapes: dict[str, int] = Field(description="rows by layout: prompt+completion, messages, text, ...")
    words: int
    characters: int
    tokens: TokenCounts | None = None
    lengths: list[Distribution]
    shares: list[Shares] = Field(description="by source, origin, license")
    exact: Duplicates | None = None
    near: Duplicates | None = None
    languages: Shares | None = None
    labels: list[Balance] = Field(default=[], description="short completions and columns that hold a few values")
    numbers: list[Distribution] = Field(default=[], description="columns that hold numbers")
    perplexity: Perplexity | None = None
    ngrams: Ngrams | None = None
    embeddings: Embeddings | None = None
    contamination: Contamination | None = None
    ledger: Ledger | None = None
    unmeasured: dict[str, str] = Field(default={}, description="field that is null or empty -> why")
    notes: list[str] = Field(default=[], description="where a sample stands for all rows")
