"""How large the first study is: rows, steps, seeds and rungs that fit the time on this machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.errors import RequestError
from harness.spec.designs.base import apportion

# Seeds, steps and rows per step, in the order of preference; the first that fits the time is taken. Three seeds before
# longer training: with two, seed noise hides small effects.
CHOICES = (
    (5, 120, 8), (5, 80, 8), (5, 60, 8), (5, 40, 8), (4, 40, 8), (3, 40, 8), (3, 32, 8), (3, 24, 8), (3, 32, 4),
    (3, 24, 4), (3, 16, 4),
)  # fmt: skip
FIRST = 2  # seeds of the first look
SHORT = ((FIRST, 24, 4), (FIRST, 16, 4))  # only the first look fits the time; more looks follow if the study goes on
LEAST_SEEDS = 4  # of the last look of such a study
RUNGS = ((0.25, 0.5), (0.25,))
ONLY_RUNG = (0.5,)  # where a quarter of the rows is too few to train on
EPOCHS = 8  # at most: more passes over a tiny pool teach it by heart
SPARE = 0.9  # of a pool: what the study may drop later (decontamination counts items again) is not asked for
SINGLE = 0.8  # of an only source: what is left lets every seed draw other rows
LENGTHS = (64, 96, 128, 192, 256, 384, 512)
LEFT_OUT = 6  # sources at most: every one is an arm
FEW = 8  # rows


@dataclass(frozen=True)
class Machine:
    """What a study can count on.

    Attributes:
        workers: Runs at once.
        training: Tokens per second of one worker while it trains.
        evaluating: The same while it evaluates.
        measured: Whether the speed was measured here.
        start: Seconds until a worker is ready.
        device: ``cpu`` or ``cuda``.
    """

    workers: int
    training: float
    evaluating: float
    measured: bool
    start: float
    device: str


@dataclass(frozen=True)
class Size:
    """How large a study is.

    Attributes:
        mix: Source -> rows of the baseline.
        left_out: Sources that are left out once each; those that the others cannot stand in for are not.
        fractions: Rungs of the size ladder.
        seeds: Seeds of every variant at the last look.
        steps: Optimizer steps.
        batch: Rows per step.
        max_length: Tokens at which rows are cut.
        runs: Runs in all.
        seconds: How long they take.
        first: How long the runs of the first look take.
    """

    mix: dict[str, int]
    left_out: tuple[str, ...]
    fractions: tuple[float, ...]
    seeds: int
    steps: int
    batch: int
    max_length: int
    runs: int
    seconds: float
    first: float


def size(
    available: Mapping[str, int],
    lengths: Sequence[int],
    characters: int,
    filters: int,
    machine: Machine,
    minutes: float,
    packed: float = 1.0,
) -> Size:
    """Choose the size of a study.

    Args:
        available: Source -> rows that may train.
        lengths: Tokens of each row, or of a sample of them.
        characters: Of all items together: every run is evaluated on them.
        filters: Arms with operations; each brings a random subset as its control.
        machine: What it will run on.
        minutes: Time it may take.
        packed: Rows that make one training sequence (an objective may pack them).

    Raises:
        RequestError: There are too few rows to compare anything.
    """
    few = RequestError(
        f"only {sum(available.values()):,} rows are left to train on once items for testing are taken out, too few to "
        "compare anything; give more rows, or a file of questions of its own with --eval"
    )
    if sum(available.values()) < FEW:
        raise few
    cut = _length(lengths)
    mean = sum(min(length, cut) for length in lengths) / len(lengths)
    made = []
    for fractions, choices in (*((rungs, CHOICES) for rungs in RUNGS), (RUNGS[-1], SHORT), ((), SHORT)):
        for seeds, steps, batch in choices:
            shown = min(math.ceil(steps * batch * packed), EPOCHS * sum(available.values()))
            mix, left_out = _mix(available, shown)
            fitting = max(FEW, math.ceil(shown / packed / batch))
            rungs = _trainable(fractions, mix) or _trainable(ONLY_RUNG if fractions else (), mix)
            if not (rungs or left_out or filters):
                continue
            variants = 2 + len(left_out) + len(rungs) + 2 * filters
            each = fitting * batch * mean / machine.training + characters / 3 / machine.evaluating
            last = LEAST_SEEDS if seeds == FIRST else seeds
            all_of, first = (
                machine.start + n * variants * each / min(machine.workers, n * variants) for n in (last, FIRST)
            )
            made.append(Size(mix, left_out, rungs, last, fitting, batch, cut, last * variants, all_of, first))
            if (first if seeds == FIRST else all_of) <= 60 * minutes:
                return made[-1]
    if not made:
        raise few
    return min(made, key=lambda one: one.first)


def _trainable(fractions: tuple[float, ...], mix: Mapping[str, int]) -> tuple[float, ...]:
    return tuple(fraction for fraction in fractions if fraction * sum(mix.values()) >= FEW / 2)


def _length(lengths: Sequence[int]) -> int:
    """Return the shortest usual length that cuts no more than a twentieth of the rows."""
    usual = sorted(lengths)[int(0.95 * (len(lengths) - 1))]
    return next((length for length in LENGTHS if length >= usual), LENGTHS[-1])


def _mix(available: Mapping[str, int], shown: int) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return rows per source, alike where the pools are large enough, and the sources that can be left out.

    A source can be left out where the others hold enough rows to stand in for it, in proportion. The baseline is made
    smaller, by half at most, where more sources can be left out then.
    """
    usable = {name: max(1, int(SPARE * rows)) for name, rows in available.items()}
    if len(usable) == 1:
        return {name: min(shown, max(1, int(SINGLE * rows))) for name, rows in available.items()}, ()
    most = _even(usable, min(shown, sum(usable.values())))
    total = sum(most.values())
    smaller = [_even(usable, max(len(usable), total * percent // 100)) for percent in range(95, 49, -5)]
    mix = max([most, *smaller], key=lambda mix: len(_replaceable(mix, usable)))  # of equals the first, the largest
    return mix, _replaceable(mix, usable)[:LEFT_OUT]


def _even(usable: Mapping[str, int], total: int) -> dict[str, int]:
    """Divide a total evenly; what a small pool cannot give comes from the larger ones."""
    mix: dict[str, int] = {}
    ordered = sorted(usable, key=lambda name: usable[name])
    for index, name in enumerate(ordered):
        mix[name] = min(usable[name], (total - sum(mix.values())) // (len(ordered) - index))
    return {name: mix[name] for name in usable if mix[name]}


def _replaceable(mix: Mapping[str, int], usable: Mapping[str, int]) -> tuple[str, ...]:
    total = sum(mix.values())
    found = []
    for left in mix:
        rest = {name: rows for name, rows in mix.items() if name != left}
        if rest and all(rows <= usable[name] for name, rows in apportion(rest, total).items()):
            found.append(left)
    return tuple(found)
