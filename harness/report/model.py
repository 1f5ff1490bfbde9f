"""The data of a report. ``harness report --format json`` prints a ``Report``: users can rely on every field here."""

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
    """The state of the study's runs."""

    runs: int
    states: dict[str, int] = Field(description="state (done, trained, failed, to do, not needed) -> runs")
    text: str
    failed: list[Failed] = []

    @property
    def complete(self) -> bool:
        """Whether every run that is needed is done."""
        return self.states.get("done", 0) + self.states.get("not needed", 0) == self.runs


class VariantReport(Data):
    """A variant: its rows, its scores, its data card."""

    name: str
    tests: str
    control: bool
    rows: int
    rows_differ: bool = Field(description="seeds draw different numbers of rows; the mean is given")
    tokens: int | None
    sources: dict[str, int]
    operations: list[str]
    seeds: dict[int, float] = Field(description="seed -> declared metric on the items that decide, for finished runs")
    mean: float | None
    cost: float | None = Field(None, description="cost of its rows, at the sources' cost_per_row")
    card: Card | None = Field(None, description="card of the first seed's rows")
    no_card: str = Field("", description="why there is no card")


class PoolReport(Data):
    """The result of decontamination on a source."""

    source: str
    rows: int = Field(description="rows that remain")
    contamination: Contamination


class ItemExample(Data):
    """An item on which an arm scores better or worse than the baseline."""

    item_id: str
    question: str
    answer: str
    slice: str | None
    baseline: float = Field(description="mean score over seeds")
    arm: float
    touched: bool = Field(description="a row of a pool overlapped it, and was removed")


class ArmExamples(Data):
    """The items on which an arm gained and lost most against the baseline, of the items that decide."""

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
    coverage: float = Field(description="95% intervals that contain the true effect")
    coverage_worst: float = Field(description="coverage in the worst cell")
    power: float = Field(description="studies that find an effect of 4 standard errors, after Holm")
    flagged: float = Field(description="studies whose seed noise is reported to differ")
    naive_z: float = Field(description="false findings of an unpaired z-test on all scores")
    naive_z_worst: float
    naive_t: float = Field(description="false findings of a paired t-test over items, seeds averaged away")
    naive_t_worst: float


class PowerCurve(Data):
    """How often one arm's effect is found, by the size of the effect."""

    seeds: int
    items: int
    arms: int
    seed_share: float = Field(description="share of a contrast's variance that is due to seeds")
    effects: list[float] = Field(description="in standard errors")
    ours: list[float]
    naive_z: list[float]
    naive_t: list[float]


class Reliability(Data):
    """How far the intervals of a study of this size can be trusted, by simulation."""

    seeds: int = Field(description="seeds of the simulated studies nearest to this one")
    items: int
    arms: int
    studies: int = Field(description="simulated studies per cell")
    alpha: float
    exact: bool = Field(description="simulated with as many seeds, items and arms as the study has")
    patterns: list[Rates]
    power: PowerCurve | None = None


class DesignCost(Data):
    """What a way to spend runs costs and decides, beside every arm at every seed."""

    design: str = Field(description="staged, exhaustive, or a fixed number of seeds")
    cost: float = Field(description="share of the exhaustive design's seconds")
    equal: float = Field(description="subjects with the exhaustive design's verdict, INCONCLUSIVE included")
    kept: float = Field(description="the same, of the subjects that the exhaustive design decides")
    contradicted: float = Field(description="subjects with another verdict, neither being INCONCLUSIVE")
    decided: float = Field(description="subjects with a verdict other than INCONCLUSIVE")


class Savings(Data):
    """What stages saved, and which verdicts they changed, by ``scripts/bench_stages``."""

    number: int = Field(description="orders of the seeds of a real study, or simulated studies")
    subjects: int
    share: float = Field(description="share of the items in the exhaustive design")
    designs: list[DesignCost]


class Reproduce(Data):
    """Everything needed to get the same numbers again."""

    commands: list[str]
    file: str
    resolved: str = Field(description="the study with all files it refers to and every default, as YAML")
    digests: dict[str, str]
    packages: dict[str, str] = Field(description="package -> version; several where runs differ")
    environment: dict[str, str] = Field(description="commit, device, hardware, python; several where runs differ")
    began: str = ""
    ended: str = ""
    training_seconds: float | None = None
    training_tokens: int | None = None


class Report(Data):
    """All data of a report."""

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
    bounded: bool = Field(description="scores are between 0 and 1, so that a hundredth is a point")
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
    savings: dict[str, Savings] = Field(
        default={}, description="replayed and simulated -> what stages saved there; of a study with stages"
    )
    reproduce: Reproduce
