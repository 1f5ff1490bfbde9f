"""What a report shows. ``harness report --format json`` prints a ``Report``: a field here is one users can rely on."""

from __future__ import annotations

from pydantic import Field

from harness.data.card import Card
from harness.data.card.model import Contamination
from harness.records import Comparison, Data, Decisions, TaskScore

REPORT_VERSION = 1


class Failed(Data):
    """A run that failed, and why."""

    run: str
    message: str


class Progress(Data):
    """How far the study is."""

    runs: int
    states: dict[str, int] = Field(description="state (done, trained, failed, to do) -> runs")
    text: str
    failed: list[Failed] = []

    @property
    def complete(self) -> bool:
        """Whether every run is done."""
        return self.states.get("done", 0) == self.runs


class VariantReport(Data):
    """A variant: what it holds, what it scored, its data card."""

    name: str
    tests: str
    control: bool
    rows: int
    rows_differ: bool = Field(description="seeds draw different numbers of rows; the mean is given")
    tokens: int | None
    sources: dict[str, int]
    operations: list[str]
    seeds: dict[int, float] = Field(description="seed -> declared metric on the items that decide, where it is done")
    mean: float | None
    cost: float | None = Field(None, description="what its paid rows cost, at the sources' cost_per_row")
    card: Card | None = Field(None, description="of the first seed's rows")
    no_card: str = Field("", description="why there is none")


class PoolReport(Data):
    """What decontamination found in a source."""

    source: str
    rows: int = Field(description="rows left")
    contamination: Contamination


class ItemExample(Data):
    """An item that an arm does better or worse than the baseline."""

    item_id: str
    question: str
    answer: str
    slice: str | None
    baseline: float = Field(description="mean score over seeds")
    arm: float
    touched: bool = Field(description="a row of a pool overlapped it, and was removed")


class ArmExamples(Data):
    """Where an arm gained and lost against the baseline, item by item, on the items that decide."""

    variant: str
    seeds: int
    items: int
    gained: int
    lost: int
    gains: list[ItemExample] = Field(description="the largest gains")
    losses: list[ItemExample] = Field(description="the largest losses")


class Rates(Data):
    """Error rates in simulated studies of one size and one pattern of seed noise: shares of 1."""

    pattern: str
    cells: int
    false_findings: float = Field(description="null studies with any finding, after Holm; mean over cells")
    false_findings_worst: float
    coverage: float = Field(description="95% intervals that hold the true effect")
    coverage_worst: float = Field(description="in the cell with least")
    power: float = Field(description="an effect of 4 standard errors found, after Holm")
    flagged: float = Field(description="seed noise said to differ")
    naive_z: float = Field(description="false findings of an unpaired z-test on all scores")
    naive_z_worst: float
    naive_t: float = Field(description="false findings of a paired t-test over items, seeds averaged away")
    naive_t_worst: float


class PowerCurve(Data):
    """How often one arm's effect is found, by its size."""

    seeds: int
    items: int
    arms: int
    seed_share: float = Field(description="share of a contrast's variance that is due to seeds")
    effects: list[float] = Field(description="in standard errors")
    ours: list[float]
    naive_z: list[float]
    naive_t: list[float]


class Reliability(Data):
    """How far intervals of a study of this size can be trusted, by simulation."""

    seeds: int = Field(description="of the simulated studies nearest to this one")
    items: int
    arms: int
    studies: int = Field(description="simulated per cell")
    alpha: float
    exact: bool = Field(description="simulated with as many seeds, items and arms as the study has")
    patterns: list[Rates]
    power: PowerCurve | None = None


class Reproduce(Data):
    """What it takes to get the same numbers again."""

    commands: list[str]
    file: str
    resolved: str = Field(description="the study with everything it refers to and every default, as YAML")
    digests: dict[str, str]
    packages: dict[str, str] = Field(description="package -> version; several where runs differ")
    environment: dict[str, str] = Field(description="commit, device, hardware, python; several where runs differ")
    began: str = ""
    ended: str = ""
    training_seconds: float | None = None
    training_tokens: int | None = None


class Report(Data):
    """Everything a report shows."""

    schema_version: int = REPORT_VERSION
    study: str
    question: str
    hypothesis: str
    outcome: str
    model: str
    recipe: str
    suite: str
    suite_items: int
    metric: str
    smallest_effect: float
    alpha: float
    match: str
    seeds: list[int]
    waivers: list[str]
    bounded: bool = Field(description="scores lie between 0 and 1, so that a hundredth is a point")
    progress: Progress
    base: list[TaskScore] = Field(description="the model before training")
    comparison: Comparison | None
    decisions: Decisions | None
    variants: list[VariantReport]
    examples: list[ArmExamples]
    examples_left_out: int = Field(0, description="arms with smaller effects, without examples here")
    pools: list[PoolReport]
    items_touched: int = Field(description="items of the suite that a row of a pool overlapped")
    reliability: Reliability | None
    reproduce: Reproduce
