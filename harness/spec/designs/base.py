"""The base of all designs: a design defines its fields, the arms it stands for, and the question these answer.

A design is one module of this folder and one line in ``__init__``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from harness.errors import RequestError, did_you_mean
from harness.spec.base import Spec
from harness.spec.data import Variant

if TYPE_CHECKING:
    from harness.spec.study import Study

SIZE = "size"  # the treatment that the rungs of a ladder over all sources test
Counts = Mapping[str, int | None]  # source -> rows or tokens; None for the whole source
Arm = tuple[str, Variant]


class Contrast(NamedTuple):
    """A question that all arms of a design answer together: the mean of ``plus`` minus the mean of ``minus``.

    Attributes:
        subject: The treatment that the question is about.
        plus: The variants with the treatment.
        minus: The variants without it.
        note: Other effects that the design cannot separate from this one, as a sentence; empty if there are none.
    """

    subject: str
    plus: tuple[str, ...]
    minus: tuple[str, ...]
    note: str = ""


class BaseDesign(Spec):
    """A pattern that stands for arms; see ``leave_one_out`` for a simple one.

    Attributes:
        design: Its name in a study.
        balanced: Whether every arm is made, even if the study has the same arm under another name.
    """

    design: str
    balanced: ClassVar[bool] = False

    @abstractmethod
    def arms(self, study: Study, index: int) -> Iterator[Arm]:
        """Yield the arms, each with its name; ``tests`` of each arm names its subject.

        Args:
            study: The study. An arm that it already has under another name is left out unless ``balanced``.
            index: The design's position in ``study.designs``.

        Raises:
            RequestError: The design does not fit the study; the message starts with the field.
        """

    def contrasts(self) -> list[Contrast]:
        """Return the questions that its arms answer together; empty if each arm is only compared with the baseline."""
        return []

    def controlled(self, rows: Mapping[str, float]) -> Collection[str]:
        """Return the arms that get a control (as many rows dropped at random), of those that may have one.

        Args:
            rows: Variant -> number of rows, for all arms of the study that only drop rows of the baseline.
        """
        return rows

    def mixtures(self, study: Study, arms: Mapping[str, Variant]) -> Mapping[str, Counts]:
        """Return variant -> source -> rows, of the mixtures from which the next one is proposed; empty if it has none.

        Args:
            study: The study.
            arms: The arms of this design.
        """
        return {}


# ----------------------------------------------------------------------------------- the baseline, and arms like it


def apportion(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """Divide ``total`` in proportion to ``counts`` by whole numbers that add up to it (Sainte-Lague).

    Unlike rounding by largest remainders, a larger total never gives a source fewer rows, so ladders are nested
    (Balinski and Young 2001). Of equal claims the first name comes first. Sources that get nothing are left out.
    """
    claims = {name: count for name, count in counts.items() if count}
    whole, start = sum(claims.values()), max(0, total - len(claims))
    # Each source gets at least the rounded share of a total that is a little too small; then the rest is given out.
    shares = {name: -((whole - 2 * count * start) // (2 * whole)) for name, count in claims.items()}
    for _ in range(total - sum(shares.values())):
        shares[min(claims, key=lambda name: (Fraction(2 * shares[name] + 1, claims[name]), name))] += 1
    return {name: share for name, share in shares.items() if share}


def baseline_counts(study: Study) -> dict[str, int | None]:
    """Return source -> rows or tokens of the baseline (None: the whole source), without empty shares."""
    return {name: count for name, count in study.baseline.counts().items() if count != 0}


def known_counts(counts: Mapping[str, int | None], place: str) -> dict[str, int]:
    """Return the counts if all of them are numbers.

    Raises:
        RequestError: A count is ``all``.
    """
    known = {name: count for name, count in counts.items() if count is not None}
    unknown = [name for name in counts if name not in known]
    if unknown:
        raise RequestError(
            f"{place}: baseline.mix.{unknown[0]} is `all`, so the size to keep shows only when the data are read; "
            "give the baseline numbers, or weights and rows"
        )
    return known


def refuse_tokens(study: Study, place: str, instead: str) -> None:
    """Refuse a baseline that counts tokens, for a design whose arms are counted in rows.

    Args:
        study: The study.
        place: The field, for the message.
        instead: What to do instead, as the end of the message.

    Raises:
        RequestError: The baseline counts tokens.
    """
    if study.baseline.in_tokens:
        raise RequestError(f"{place}: the baseline counts tokens, and arms counted in rows are not its match{instead}")


def chosen(
    study: Study, asked: tuple[str, ...] | None, fitting: Collection[str], place: str, unfit: str
) -> Collection[str]:
    """Return the sources that a design names; if it names none, all that fit."""
    for index, name in enumerate(asked or ()):
        if name not in study.sources:
            near = did_you_mean(name, fitting)
            raise RequestError(f'{place}[{index}]: no source is named "{name}".{near}')
        if name not in fitting:
            raise RequestError(f"{place}[{index}]: {unfit} {name}.{did_you_mean(name, fitting)}")
    return fitting if asked is None else asked


def mixed(study: Study, counts: Mapping[str, int | None], tests: str) -> Variant:
    """Return the baseline with another mix; its operations and other fields stay."""
    unit: Literal["rows", "tokens"] = "tokens" if study.baseline.in_tokens else "rows"
    mix = {name: "all" if count is None else count for name, count in counts.items()}
    changes = {"mix": mix, "rows": None, "tokens": None, "unit": unit, "tests": tests}
    return study.baseline.model_copy(update=changes)


# --------------------------------------------------------------------------------------------------- random mixtures


class MixtureDesign(BaseDesign):
    """A design whose arms are mixtures of one size, from which the next mixture is proposed."""

    draws: int = Field(ge=1, le=512, description="mixtures to train, each an arm")
    rows: int = Field(ge=1, description="total rows of every mixture")
    prior: dict[str, float] | None = Field(None, description="weights of the sources; default: equal weights")
    seed: int = Field(0, description="seed of the random mixtures")

    def mixtures(self, study: Study, arms: Mapping[str, Variant]) -> Mapping[str, Counts]:
        """Return its mixtures and the prior, under the name of the baseline if that has the prior's mix."""
        found: dict[str, Counts] = {name: arm.counts() for name, arm in arms.items()}
        return found if "mix-prior" in found else {"baseline": baseline_counts(study), **found}


def prior_of(study: Study, given: Mapping[str, float] | None, place: str) -> dict[str, float]:
    """Return source -> share of the mixture that random ones are drawn around; the shares sum to 1.

    Args:
        study: The study.
        given: Weights of the sources; None: all sources alike.
        place: The design, for messages.

    Raises:
        RequestError: A source is not in the study, a weight is not above 0, or there is one source only.
    """
    weights = given or dict.fromkeys(study.sources, 1.0)
    for name, weight in weights.items():
        if name not in study.sources:
            raise RequestError(f'{place}.prior.{name}: no source is named "{name}".{did_you_mean(name, study.sources)}')
        if weight <= 0:
            raise RequestError(f"{place}.prior.{name}: a weight is more than 0; leave the source out instead")
    if len(weights) < 2:
        raise RequestError(f"{place}: a mixture needs two sources or more; there is {next(iter(weights))} only")
    import numpy as np

    shares = np.array(list(weights.values())) / max(weights.values())
    return dict(zip(weights, map(float, shares / shares.sum()), strict=True))


def rounded(names: Iterable[str], weights: Iterable[float], rows: int) -> dict[str, int | None]:
    """Return the mixture in rows, without sources that get none."""
    shares = {name: float(weight) for name, weight in zip(names, weights, strict=True) if weight > 0}
    return {name: count for name, count in Variant(mix=shares, rows=rows, operations=()).counts().items() if count}


def capped(names: Mapping[str, float], weights: Iterable[float], supply: list[int], rows: int) -> Counts:
    """Return the mixture in rows; what a source cannot supply is made up by those that can, in proportion."""
    mix = {name: count or 0 for name, count in rounded(names, weights, rows).items()}
    limit = dict(zip(names, supply, strict=True))
    while over := sum(max(0, count - limit[name]) for name, count in mix.items()):
        mix = {name: min(count, limit[name]) for name, count in mix.items()}
        room = {name: limit[name] - mix.get(name, 0) for name in names}
        free = {name: share for name, share in names.items() if room[name]}
        more = rounded(free, [max(mix.get(name, 0) / rows, share / rows) for name, share in free.items()], over)
        mix = {name: mix.get(name, 0) + (more.get(name) or 0) for name in names}
    return {name: count for name, count in mix.items() if count}
