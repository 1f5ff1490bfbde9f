"""Scores of mixtures that were trained, in any table: which mixture to try next.

``harness mixtures fit`` does what ``fit`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import Asked, RequestError, did_you_mean
from harness.records import HeldOut, MixtureFits, MixtureTarget, ProposedMixture
from harness.stats.table import listed

if TYPE_CHECKING:
    import polars as pl

    from harness.statistics.proposals import MixtureFit
    from harness.statistics.scores import Floats

__all__ = ["fit"]

# Columns that number rows: never a source or a target, whether both tables have them or one.
INDEX_NAMES = ("", "index", "id", "run", "run_id", "mixture", "mixture_id", "name", "unnamed: 0")
FEWEST = 4  # mixtures; fewer are no table to fit


def fit(
    mixtures: pl.DataFrame | Iterable[Mapping[str, Any]] | str | Path | Any,
    scores: pl.DataFrame | Iterable[Mapping[str, Any]] | str | Path | Any,
    *,
    target: str | Sequence[str] = (),
    propose: bool = False,
    lower_is_better: bool = False,
    index: str | None = None,
    test_mixtures: Any = None,
    test_scores: Any = None,
) -> MixtureFits:
    """Fit scores of mixtures to their weights, and propose the mixture to try next.

    Args:
        mixtures: One row per mixture, one column per source: its weight, 0 or more; rows are scaled to sum 1. A polars
            or pandas frame, a list of dicts, or the path of a .csv, .jsonl or .parquet file.
        scores: One row per mixture, one column per target.
        target: Columns of ``scores``; default: every column of numbers.
        propose: Whether to propose a mixture for each target.
        lower_is_better: Whether the targets are losses.
        index: Column of both tables by which rows are matched; default: the first column of the mixtures if it numbers
            rows in both tables; else rows are matched by order.
        test_mixtures: Mixtures that are not fitted to; with ``test_scores``, the rank correlation on them is given.
        test_scores: Their scores.

    Raises:
        RequestError: A table, a row or the match of rows is wrong; the message names the line.

    >>> shares = [0.1, 0.9, 0.3, 0.7, 0.5, 0.2, 0.8, 0.4, 0.6, 0.05]
    >>> mixtures = [{"web": share, "code": 1 - share} for share in shares]
    >>> found = fit(mixtures, [{"loss": 3 - share} for share in shares], lower_is_better=True, propose=True)
    >>> found.targets[0].proposal.weights["web"] > 0.8
    True
    """
    named = [target] if isinstance(target, str) else list(target)
    tests = (test_mixtures, test_scores)
    return fitted(mixtures, scores, named, propose, lower_is_better, index, tests, Asked())


def fitted(
    mixtures: Any,
    scores: Any,
    targets: Sequence[str],
    propose: bool,
    lower_is_better: bool,
    index: str | None,
    tests: tuple[Any, Any],
    asked: Asked,
) -> MixtureFits:
    """Return the result of ``fit``; messages name the parameters as the caller knows them.

    Raises:
        RequestError: As ``fit``.
    """
    if (tests[0] is None) != (tests[1] is None):
        given, missing = ("test_mixtures", "test_scores") if tests[1] is None else ("test_scores", "test_mixtures")
        raise RequestError(f"{asked(given)} needs {asked(missing)} too")
    tried = _Pair.read(mixtures, scores, "mixtures", "scores", index, asked)
    sources = tried.sources()
    weights = tried.weights(sources)
    if len(weights) < FEWEST:
        raise RequestError(f"{tried.mixtures.shown}: {len(weights)} mixtures; it takes {FEWEST} or more")
    named = list(dict.fromkeys(targets)) or tried.targets()
    values = {name: tried.values(name, asked("target")) for name in named}
    unseen = None
    if tests[0] is not None:
        unseen = _Pair.read(*tests, "test_mixtures", "test_scores", index, asked)
        _same_sources(tried, unseen)
        held = unseen.weights(sources)
        truths = {name: unseen.values(name, asked("target")) for name in named}
    found = []
    for name, scored in values.items():
        one = _target(name, weights, scored, tried, sources, propose, lower_is_better)
        if unseen is not None:
            one.fitted.held_out = _held_out(one.fit, held, truths[name], lower_is_better)
        found.append(one.fitted)
    return MixtureFits(
        mixtures=tried.mixtures.shown,
        scores=tried.scores.shown,
        lower_is_better=lower_is_better,
        matched_by=tried.index,
        count=len(weights),
        sources=sources,
        targets=found,
        notes=_notes(tried, weights, sources, named, lower_is_better),
    )


def _same_sources(tried: _Pair, unseen: _Pair) -> None:
    """Refuse mixtures to be predicted that lack a source, or have one more."""
    for one, other in ((tried, unseen), (unseen, tried)):
        for name in one.sources():
            if name not in other.sources():
                near = did_you_mean(name, [source for source in other.sources() if source not in one.sources()])
                raise RequestError(
                    f'{other.mixtures.shown}: there is no column "{name}", which {one.mixtures.shown} has; both need '
                    f"the same sources.{near}"
                )


@dataclass(frozen=True)
class _Fitted:
    fitted: MixtureTarget
    fit: MixtureFit


def _target(
    name: str, weights: Floats, scored: Floats, tried: _Pair, sources: list[str], propose: bool, lower: bool
) -> _Fitted:
    from harness.statistics.proposals import fit_mixtures

    sign = -1.0 if lower else 1.0
    fit = fit_mixtures(weights, sign * scored)
    best = int(fit.scores.argmax())
    proposal = None
    if propose and not fit.doubt:
        mixture = fit.proposal()
        ends = sorted(sign * float(end[0]) for end in fit.interval(mixture[None]))
        proposal = ProposedMixture(
            weights=dict(zip(sources, map(float, mixture), strict=True)),
            score=sign * float(fit.predict(mixture[None])[0]),
            interval=(ends[0], ends[1]),
        )
    fitted = MixtureTarget(
        target=name,
        inconclusive=fit.doubt,
        model=fit.model,
        compared=fit.compared,
        rank=fit.rank,
        rank_interval=fit.rank_interval,
        error=fit.error,
        spread=fit.spread,
        best_tried=tried.names()[best],
        best_tried_score=float(scored[best]),
        best_tried_weights=dict(zip(sources, map(float, fit.tried[best]), strict=True)),
        proposal=proposal,
    )
    return _Fitted(fitted, fit)


def _held_out(fit: MixtureFit, weights: Floats, scored: Floats, lower: bool) -> HeldOut:
    import numpy as np
    from scipy.stats import spearmanr

    truth = -scored if lower else scored
    predicted = fit.predict(weights)
    low, high = fit.interval(weights)
    same = len(truth) < 2 or np.ptp(predicted) == 0 or np.ptp(truth) == 0
    return HeldOut(
        mixtures=len(truth),
        rank=None if same else float(spearmanr(predicted, truth).statistic),
        error=float(np.sqrt(((predicted - truth) ** 2).mean())),
        covered=float(((low <= truth) & (truth <= high)).mean()),
    )


def _notes(tried: _Pair, weights: Floats, sources: list[str], targets: list[str], lower: bool) -> list[str]:
    import numpy as np

    notes = [f'column "{name}" of {table.shown} is not read' for table, name in tried.unread(targets)]
    sums = weights.sum(axis=1)
    if np.abs(sums - 1).max() > 0.02:
        notes.append(f"weights sum to between {sums.min():.3g} and {sums.max():.3g}; each row was scaled to sum 1")
    still = [name for at, name in enumerate(sources) if np.ptp(weights[:, at] / sums) < 1e-12]
    if still:
        notes.append(f"{listed('source', still)} never changes its share, so nothing is known of it")
    losses = [name for name in targets if any(word in name.lower() for word in ("loss", "perplexity", "error"))]
    if losses and not lower:
        notes.append(f'higher was taken as better, though "{losses[0]}" reads like a loss; see --lower-is-better')
    return notes


# ---------------------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True)
class _Table:
    """Rows as text or numbers, each with its place for messages."""

    shown: str
    columns: tuple[str, ...]
    rows: list[tuple[str, Mapping[str, Any]]]

    @classmethod
    def read(cls, given: Any, parameter: str, asked: Asked) -> _Table:
        from harness.stats.table import read_rows

        shown, found = read_rows(given, asked(parameter), "one row per mixture")
        rows = list(found)
        if not rows:
            raise RequestError(f"{shown}: no rows in it; expected one row per mixture")
        columns = tuple(rows[0][1])
        for place, row in rows:
            for name in {*columns} ^ {*row}:
                raise RequestError(f'{place}: the column "{name}" is not in every row')
        return cls(shown, columns, rows)

    def number(self, at: int, column: str, what: str) -> float:
        """Return a finite number of a row.

        Raises:
            RequestError: It is none; the message names the line and the column.
        """
        from harness.stats.table import number

        place, row = self.rows[at]
        return number(row[column], place, f'{what} "{column}"')

    def is_number(self, column: str) -> bool:
        """Whether a column holds a number in its first row; an empty cell is a number that is missing."""
        value = self.rows[0][1][column]
        try:
            float(value if value not in (None, "") else 0)
        except (TypeError, ValueError):
            return False
        return True

    def keys(self, column: str) -> list[str]:
        """Return the cells of a column that numbers rows, as text; 7.0 is 7."""
        texts = ("" if row[column] is None else str(row[column]).strip() for _, row in self.rows)
        return [text.removesuffix(".0") if text.removesuffix(".0").isdigit() else text for text in texts]


@dataclass(frozen=True)
class _Pair:
    """Mixtures and their scores; ``order[i]`` is the row of the scores of mixture ``i``."""

    mixtures: _Table
    scores: _Table
    index: str | None
    order: list[int]

    @classmethod
    def read(cls, mixtures: Any, scores: Any, first: str, second: str, index: str | None, asked: Asked) -> _Pair:
        """Read both tables and match their rows.

        Raises:
            RequestError: They cannot be read or matched.
        """
        left, right = _Table.read(mixtures, first, asked), _Table.read(scores, second, asked)
        for table in (left, right):
            if index is not None and index not in table.columns:
                near = did_you_mean(index, table.columns)
                raise RequestError(f'{asked("index")}: {table.shown} has no column "{index}".{near}')
        index = index if index is not None else _index(left, right)
        if index is None:
            if len(left.rows) != len(right.rows):
                raise RequestError(
                    f"{right.shown}: {len(right.rows):,} rows, and {left.shown} has {len(left.rows):,}; without a "
                    "column of both that numbers rows, they are matched by order"
                )
            return cls(left, right, None, list(range(len(left.rows))))
        keys, others = left.keys(index), right.keys(index)
        for table, held in ((left, keys), (right, others)):
            first_at = {key: at for at, key in reversed(list(enumerate(held)))}
            at = next((i for i, key in enumerate(held) if key == "" or first_at[key] < i), None)
            if at is not None:
                again = f'"{held[at]}" stands here again' if held[at] else "is empty"
                raise RequestError(f'{table.rows[at][0]}: "{index}" {again}; rows are matched by it')
        for table, held, other, there in ((left, keys, right, others), (right, others, left, keys)):
            known = set(there)
            at = next((i for i, key in enumerate(held) if key not in known), None)
            if at is not None:
                raise RequestError(
                    f'{table.rows[at][0]}: {other.shown} has no row with "{index}" = "{held[at]}"; rows are matched '
                    "by this column"
                )
        place = {key: at for at, key in enumerate(others)}
        return cls(left, right, index, [place[key] for key in keys])

    def sources(self) -> list[str]:
        """Return the columns of weights: all but those that number rows."""
        found = [name for name in self.mixtures.columns if not self._numbers(name)]
        if len(found) < 2:
            raise RequestError(f"{self.mixtures.shown}: a mixture needs two columns of weights or more")
        return found

    def targets(self) -> list[str]:
        """Return the columns of scores that hold numbers."""
        found = [name for name in self.scores.columns if not self._numbers(name) and self.scores.is_number(name)]
        if not found:
            raise RequestError(f"{self.scores.shown}: no column holds numbers; expected one column per target")
        return found

    def unread(self, targets: Sequence[str]) -> list[tuple[_Table, str]]:
        """Return columns that are neither weights nor matched by, nor numbers that could have been a target."""
        first = [(self.mixtures, name) for name in self.mixtures.columns if self._numbers(name) and name != self.index]
        left = [name for name in self.scores.columns if name not in targets and name != self.index]
        return first + [(self.scores, name) for name in left if self._numbers(name) or not self.scores.is_number(name)]

    def weights(self, sources: Sequence[str]) -> Floats:
        """Return ``[mixtures, sources]``.

        Raises:
            RequestError: A weight is no number of 0 or more, or a row has none above 0.
        """
        import numpy as np

        found = np.empty((len(self.mixtures.rows), len(sources)))
        for at, (place, _) in enumerate(self.mixtures.rows):
            for column, name in enumerate(sources):
                found[at, column] = weight = self.mixtures.number(at, name, "the weight of")
                if weight < 0:
                    raise RequestError(f'{place}: the weight of "{name}" is {weight:g}; expected 0 or more')
            if not found[at].any():
                raise RequestError(f"{place}: all weights are 0; a mixture has one above 0")
        return found

    def values(self, target: str, parameter: str) -> Floats:
        """Return the score of each mixture.

        Raises:
            RequestError: There is no such column, or a score is no number.
        """
        import numpy as np

        if target not in self.scores.columns or target == self.index:
            near = did_you_mean(target, [name for name in self.scores.columns if name != self.index])
            raise RequestError(f'{parameter}: {self.scores.shown} has no column "{target}".{near}')
        return np.array([self.scores.number(at, target, "the score") for at in self.order])

    def names(self) -> list[str]:
        """Return what each mixture is called: its index, else its place."""
        return self.mixtures.keys(self.index) if self.index is not None else [place for place, _ in self.mixtures.rows]

    def _numbers(self, column: str) -> bool:
        return column == self.index or column.strip().lower() in INDEX_NAMES


def _index(left: _Table, right: _Table) -> str | None:
    """Return the column that numbers the rows of both tables.

    It has the usual name of one; or it is the first column of the mixtures, its cells all differ, and one of them
    stands in the scores too: a source and a target of the same name have no number in common.
    """
    for name in left.columns:
        if name in right.columns and name.strip().lower() in INDEX_NAMES:
            return name
    first = left.columns[0]
    if first in right.columns:
        keys, others = left.keys(first), right.keys(first)
        if len(set(keys)) == len(keys) and set(keys) & set(others) and len(set(others)) == len(others):
            return first
    return None
