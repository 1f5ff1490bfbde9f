"""Designs: from a pattern, such as "leave each source out once", to the arms it stands for."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Literal

from pydantic import ValidationError

from harness.errors import RequestError, did_you_mean
from harness.spec import (
    NAME,
    AddOneIn,
    FilterFactorial,
    LeaveOneOut,
    MixtureDirichlet,
    Sample,
    SizeLadder,
    Study,
    Variant,
)
from harness.spec.base import NO_NAME

SIZE = "size"  # the treatment that the rungs of a ladder over all sources test
Counts = Mapping[str, int | None]  # source -> rows or tokens; None for all of it
Arm = tuple[str, Variant]


def expand(study: Study) -> Study:
    """Return the study with the arms of its designs after the written ones; the designs stay as they are written.

    Every arm made says what it tests. An arm that would be the baseline itself (a ladder's rung of the baseline's
    size, a prior that is the baseline's mix) is left out, and so is one that the study has already under another
    name, with the same subject: the runs would be the same twice, and pass for agreement between arms. Expanding
    twice is expanding once.

    Raises:
        RequestError: A design does not fit the study; the message starts with the field, such as
            ``designs[0].sources[1]``.
    """
    for index in range(len(study.designs)):
        place = f"designs[{index}]"
        present = dict(study.arms)
        for name, arm in arms(study, index).items():
            if present.setdefault(name, arm) != arm:
                taken = "and the study has another arm of that name; rename that one"
                raise RequestError(f'{place}: it makes an arm "{name}", {taken}')
        try:
            study = Study.model_validate(dict(study) | {"arms": present})
        except ValidationError as error:
            text = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            raise RequestError(f"{place}: {text}") from error
    return study


def arms(study: Study, index: int) -> dict[str, Variant]:
    """Return the arms of one design of a study, by name.

    Args:
        study: The study; arms it has already are not made a second time under another name.
        index: The design's position in ``study.designs``.

    Raises:
        RequestError: The design does not fit the study.
    """
    design, place = study.designs[index], f"designs[{index}]"
    if isinstance(design, LeaveOneOut):
        made = _leave_one_out(study, design, place)
    elif isinstance(design, AddOneIn):
        made = _add_one_in(study, design, place)
    elif isinstance(design, SizeLadder):
        made = _size_ladder(study, design, place)
    elif isinstance(design, FilterFactorial):
        made = _filter_factorial(study, design, index)
    else:
        made = _mixture_dirichlet(study, design, place)
    found: dict[str, Variant] = {}
    for name, arm in made:
        if not NAME.match(name):
            raise RequestError(f"{place}: an arm that it makes: {NO_NAME.format(name)}")
        if found.get(name, arm) != arm:
            raise RequestError(f'{place}: two different arms would be named "{name}"')
        elsewhere = arm in study.arms.values() and name not in study.arms
        if isinstance(design, FilterFactorial) or not elsewhere:  # main effects need every combination
            found[name] = arm
    return found


# -------------------------------------------------------------------------------------------------------- sources


def _leave_one_out(study: Study, design: LeaveOneOut, place: str) -> Iterator[Arm]:
    """Yield the baseline without each source; the others take its place in proportion unless ``match`` is additive.

    Where the baseline takes whole pools there is nothing to refill from. With ``match: steps`` such an arm trains as
    long as the baseline all the same, on the rest.
    """
    held = _held(study)
    if len(held) < 2:
        raise RequestError(f"{place}: the baseline has one source, and nothing is left without it")
    for source in _chosen(study, design.sources, held, f"{place}.sources", "the baseline has no rows of"):
        rest: Counts = {name: count for name, count in held.items() if name != source}
        if study.match in ("rows", "tokens") or (study.match == "steps" and None not in held.values()):
            whole = sum(_known(held, place).values())
            rest = apportion(_known(rest, place), whole)
        yield f"without-{source}", _mixed(study, rest, source)


def _add_one_in(study: Study, design: AddOneIn, place: str) -> Iterator[Arm]:
    """Yield the baseline with rows of each other source beside its own, or instead of as many of them."""
    held = _held(study)
    _in_rows(study, f"{place}.rows", "")
    others = [name for name in study.sources if name not in held]
    if not others:
        raise RequestError(f"{place}: the baseline has every source already; a size_ladder changes the rows of one")
    rest: Counts = held
    if design.replace:
        known = _known(held, place)
        left = sum(known.values()) - design.rows
        if left < 1:
            raise RequestError(f"{place}.rows: the baseline has {sum(known.values()):,} rows; fewer can be replaced")
        rest = apportion(known, left)
    prefix = "swap" if design.replace else "plus"
    for source in _chosen(study, design.sources, others, f"{place}.sources", "the baseline already has rows of"):
        yield f"{prefix}-{source}-{design.rows}", _mixed(study, {**rest, source: design.rows}, source)


def _size_ladder(study: Study, design: SizeLadder, place: str) -> Iterator[Arm]:
    """Yield the rungs from the smallest up, without the one that is the baseline."""
    held, source = _held(study), design.source
    if source is None and None in held.values():
        yield from _sampled_ladder(study, design, place)
        return
    if source is not None and source not in study.sources:
        near = did_you_mean(source, study.sources)
        raise RequestError(f'{place}.source: no source is named "{source}".{near}')
    whole = sum(_known(held, place).values()) if source is None else held.get(source, 0)
    subject = source or _size(study, place)
    prefix = "ladder" if source is None else f"only-{source}" if design.alone else source
    made = []
    for label, rows in _rungs(study, design, whole, place):
        if source is None:
            mix: Counts = apportion(_known(held, place), rows)
        else:
            mix = {source: rows} if design.alone else held | {source: rows}
        if mix != held:
            made.append((f"{prefix}-{label}", _mixed(study, mix, subject)))
    yield from _some(made, place)


def _rungs(study: Study, design: SizeLadder, whole: int | None, place: str) -> list[tuple[str, int]]:
    """Return label and rows of every rung, smallest first."""
    if design.rows is not None:
        _in_rows(study, f"{place}.rows", "; give fractions")
        return [(str(rows), rows) for rows in sorted(design.rows)]
    if whole is None:
        raise RequestError(
            f"{place}.fractions: the baseline takes all rows of {design.source}, and how many these are shows only "
            "when they are read; give rows, or give the baseline a number"
        )
    if whole == 0:
        raise RequestError(f"{place}.fractions: the baseline has no rows of {design.source}; give rows")
    rungs: dict[int, str] = {}
    for fraction in sorted(design.fractions or ()):
        rows = round(fraction * whole)
        if rows < 1 or rows in rungs:
            same = f"as many as {rungs[rows]}" if rows in rungs else "none"
            raise RequestError(f"{place}.fractions: {fraction:g} of {whole:,} comes to {rows:,}, {same}")
        rungs[rows] = _percent(fraction)
    return [(label, rows) for rows, label in rungs.items()]


def _sampled_ladder(study: Study, design: SizeLadder, place: str) -> Iterator[Arm]:
    """Yield rungs of a baseline that takes whole pools: fractions, sampled, because the sizes are not known yet."""
    if design.rows is not None or max(design.fractions or ()) > 1:
        raise RequestError(
            f"{place}: the baseline takes all rows of a source, so its ladder needs fractions, and at most 1"
        )
    made = []
    for fraction in sorted(design.fractions or ()):
        if fraction < 1:
            thinned = (*study.baseline.operations, Sample(fraction=fraction))
            arm = study.baseline.model_copy(update={"operations": thinned, "tests": _size(study, place)})
            made.append((f"ladder-{_percent(fraction)}", arm))
    yield from _some(made, place)


def _size(study: Study, place: str) -> str:
    if SIZE in study.sources:
        raise RequestError(f'{place}: a ladder of all sources tests "{SIZE}", and a source has that name; rename it')
    return SIZE


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g}pct"


def _some(made: list[Arm], place: str) -> list[Arm]:
    if not made:
        raise RequestError(f"{place}: the only rung is the baseline itself")
    return made


# -------------------------------------------------------------------------------------------------------- filters


def combinations(design: FilterFactorial) -> dict[str, tuple[str, ...]]:
    """Return the factors that are on in each variant of a factorial; the baseline, with none, comes first.

    A half fraction takes the combinations with an even number of factors on. Its defining relation is the product of
    all factors, the longest there can be, so that main effects are mixed up with nothing smaller than what all other
    factors do together (Box, Hunter and Hunter 2005, chapter 6), and it holds the baseline.
    """
    chosen: dict[str, tuple[str, ...]] = {"baseline": ()}
    for number in range(1, len(design.factors) + 1):
        if design.fraction == "full" or number % 2 == 0:
            for on in itertools.combinations(design.factors, number):
                chosen["filters-" + ".".join(on)] = on
    return chosen


def aliases(design: FilterFactorial) -> dict[str, str]:
    """Return for each factor what the design cannot tell from its main effect, in words; nothing if it is full."""
    if design.fraction == "full":
        return dict.fromkeys(design.factors, "")
    words = {}
    for factor in design.factors:
        *first, last = [other for other in design.factors if other != factor]
        words[factor] = f"half fraction: cannot be told from what {', '.join(first)} and {last} do only together"
    return words


def _filter_factorial(study: Study, design: FilterFactorial, index: int) -> Iterator[Arm]:
    """Yield an arm for every combination of the factors; their operations come in the order the factors have."""
    place = f"designs[{index}]"
    taken = {factor for d in study.designs[:index] if isinstance(d, FilterFactorial) for factor in d.factors}
    seen: list[tuple[object, str]] = []
    for factor, chain in design.factors.items():
        where = f"{place}.factors.{factor}"
        if not NAME.match(factor):
            raise RequestError(f"{where}: {NO_NAME.format(factor)}")
        if factor in study.sources or factor == SIZE:
            raise RequestError(f'{where}: {"a source" if factor != SIZE else "another subject"} is named "{factor}"')
        if factor in taken:
            raise RequestError(f'{where}: an earlier design has a factor "{factor}"; one factor is one question')
        if not chain:
            raise RequestError(f"{where}: it has no operation, so on and off are the same")
        for same in (name for other, name in seen if other == chain):
            raise RequestError(f'{where}: it does the same as the factor "{same}"')
        seen.append((chain, factor))
    if design.fraction == "half" and len(design.factors) < 3:
        raise RequestError(f"{place}.fraction: half of two factors cannot tell one from the other; it needs three")
    for name, on in combinations(design).items():
        if on:
            chain = tuple(operation for factor in on for operation in design.factors[factor])
            yield name, Variant(operations=chain, tests=" + ".join(on))


# ------------------------------------------------------------------------------------------------------- mixtures


def mixtures(study: Study, index: int) -> dict[str, dict[str, int | None]]:
    """Return the mixtures of a ``mixture_dirichlet`` design, the prior included: variant -> source -> rows.

    Where the prior is the baseline's mix, the baseline is the variant.
    """
    found = {name: dict(arm.counts()) for name, arm in arms(study, index).items()}
    return found if "mix-prior" in found else {"baseline": _held(study), **found}


def _mixture_dirichlet(study: Study, design: MixtureDirichlet, place: str) -> Iterator[Arm]:
    """Yield the prior and ``draws`` different mixtures from Dirichlet(concentration x prior), all of ``rows`` rows.

    The mean of the draws is the prior; the variance of a weight w is w (1 - w) / (concentration + 1).
    """
    import numpy as np

    _in_rows(study, f"{place}.rows", "")
    given = design.prior or dict.fromkeys(study.sources, 1.0)
    for name, weight in given.items():
        if name not in study.sources:
            raise RequestError(f'{place}.prior.{name}: no source is named "{name}".{did_you_mean(name, study.sources)}')
        if weight <= 0:
            raise RequestError(f"{place}.prior.{name}: a weight is more than 0; leave the source out instead")
    if len(given) < 2:
        raise RequestError(f"{place}: a mixture needs two sources or more; there is {next(iter(given))} only")
    prior = np.array(list(given.values())) / max(given.values())
    prior /= prior.sum()
    generator = np.random.default_rng(design.seed)
    first = _rounded(given, prior, design.rows)
    known = [first]
    if first != _held(study):
        yield "mix-prior", _mixed(study, first, "mix-prior")
    # Draws of few rows may round to a mixture that is there already; run twice, it would pass for agreement.
    for _ in range(100 * design.draws):
        if len(known) > design.draws:
            break
        mix = _rounded(given, generator.dirichlet(design.concentration * prior), design.rows)
        if mix not in known and mix != _held(study):
            known.append(mix)
            name = f"mix-{len(known) - 1:02d}"
            yield name, _mixed(study, mix, name)
    else:
        raise RequestError(
            f"{place}.draws: {design.draws:,} different mixtures are asked for, and these rows and this concentration "
            f"give {len(known) - 1:,}; lower draws, or take more rows"
        )


def _rounded(names: Iterable[str], weights: Iterable[float], rows: int) -> dict[str, int | None]:
    shares = {name: float(weight) for name, weight in zip(names, weights, strict=True) if weight > 0}
    return {name: count for name, count in Variant(mix=shares, rows=rows, operations=()).counts().items() if count}


# ----------------------------------------------------------------------------------------------------------- rows


def apportion(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """Divide ``total`` in proportion to ``counts`` by whole numbers that add up to it (Sainte-Lague).

    Unlike rounding by largest remainders, a larger total never gives a source fewer rows, so ladders are nested
    (Balinski and Young 2001). Of equal claims the first name goes first. Sources that get nothing are left out.
    """
    claims = {name: count for name, count in counts.items() if count}
    whole, start = sum(claims.values()), max(0, total - len(claims))
    # So many each has however the rest is given out: the rounded share of a total that is a little too small.
    shares = {name: -((whole - 2 * count * start) // (2 * whole)) for name, count in claims.items()}
    for _ in range(total - sum(shares.values())):
        shares[min(claims, key=lambda name: (Fraction(2 * shares[name] + 1, claims[name]), name))] += 1
    return {name: share for name, share in shares.items() if share}


def _held(study: Study) -> dict[str, int | None]:
    """Return what the baseline holds of each source (rows or tokens; None for all of it), empty shares left out."""
    return {name: count for name, count in study.baseline.counts().items() if count != 0}


def _known(counts: Mapping[str, int | None], place: str) -> dict[str, int]:
    """Return the counts where all of them are numbers.

    Raises:
        RequestError: One is ``all``.
    """
    known = {name: count for name, count in counts.items() if count is not None}
    unknown = [name for name in counts if name not in known]
    if unknown:
        raise RequestError(
            f"{place}: baseline.mix.{unknown[0]} is `all`, so the size to keep shows only when the data are read; "
            "give the baseline numbers, or weights and rows"
        )
    return known


def _in_rows(study: Study, place: str, instead: str) -> None:
    if study.baseline.in_tokens:
        raise RequestError(f"{place}: the baseline counts tokens, and arms counted in rows are not its match{instead}")


def _chosen(
    study: Study, asked: tuple[str, ...] | None, fitting: Collection[str], place: str, unfit: str
) -> Collection[str]:
    """Return the sources a design names, else all that fit."""
    for index, name in enumerate(asked or ()):
        if name not in study.sources:
            near = did_you_mean(name, fitting)
            raise RequestError(f'{place}[{index}]: no source is named "{name}".{near}')
        if name not in fitting:
            raise RequestError(f"{place}[{index}]: {unfit} {name}.{did_you_mean(name, fitting)}")
    return fitting if asked is None else asked


def _mixed(study: Study, counts: Mapping[str, int | None], tests: str) -> Variant:
    """Return the baseline with other rows: its operations and all else stay."""
    unit: Literal["rows", "tokens"] = "tokens" if study.baseline.in_tokens else "rows"
    mix = {name: "all" if count is None else count for name, count in counts.items()}
    changes = {"mix": mix, "rows": None, "tokens": None, "unit": unit, "tests": tests}
    return study.baseline.model_copy(update=changes)
