"""``mixture_search``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from harness.errors import RequestError
from harness.spec.designs.base import (
    Arm,
    Counts,
    MixtureDesign,
    baseline_counts,
    capped,
    mixed,
    prior_of,
    refuse_tokens,
)

if TYPE_CHECKING:
    from harness.spec.study import Study

FEWEST = 200  # candidates, at least; else 4 for each mixture that is trained
LEAST, MOST = 0.01, 500.0  # concentrations; beyond them, candidates are one source alone, or the prior


class MixtureSearch(MixtureDesign):
    """A few mixtures that tell most about all sources, chosen from many random ones; and the prior. All of one size.

    Candidates are drawn around the prior at several temperatures, from nearly one source alone to nearly the prior.
    Those are trained whose weights tell most about what each source does (D-optimal). Another number of draws is
    another choice. The mixture to try next is proposed when they have scores.

    Example::

        designs:
          - mixture_search: {draws: 16, rows: 400}
          - mixture_search: {draws: 16, rows: 400, prior: {forum: 0.7, manual: 0.3}}
    """

    design: Literal["mixture_search"] = "mixture_search"
    concentrations: tuple[float, ...] = Field(
        (1.0, 5.0, 25.0), min_length=1, description="temperatures of the candidates; large: they stay near the prior"
    )

    def arms(self, study: Study, index: int) -> Iterator[Arm]:
        """Yield the prior and ``draws`` mixtures.

        Where a source says how many rows it has (``rows``), no mixture takes more than these times ``max_repeats``.
        """
        place = f"designs[{index}]"
        refuse_tokens(study, f"{place}.rows", "")
        for at, one in enumerate(self.concentrations):
            if not LEAST <= one <= MOST:
                raise RequestError(f"{place}.concentrations[{at}]: {one:g} is not between {LEAST:g} and {MOST:g}")
        prior = prior_of(study, self.prior, place)
        first, candidates = self._candidates(study, prior, place)
        if first != baseline_counts(study):
            yield "mix-prior", mixed(study, first, "mix-prior")
        if len(candidates) < self.draws:
            raise RequestError(
                f"{place}.draws: {self.draws:,} different mixtures are asked for, and these rows give "
                f"{len(candidates):,}; lower draws, or take more rows"
            )
        from harness.optimal import d_optimal

        table = [[mix.get(name, 0) or 0 for name in prior] for mix in candidates]
        for number, chosen in enumerate(d_optimal(table, self.draws, self.seed), 1):
            name = f"mix-{number:02d}"
            yield name, mixed(study, candidates[chosen], name)

    def _candidates(self, study: Study, prior: dict[str, float], place: str) -> tuple[Counts, list[Counts]]:
        """Return the prior and different random mixtures, in rows, none over the supply."""
        import numpy as np

        limits = [study.sources[name].rows for name in prior]
        supply = [self.rows if rows is None else min(self.rows, rows * study.baseline.max_repeats) for rows in limits]
        if sum(supply) < self.rows:
            raise RequestError(f"{place}.rows: {self.rows:,} rows are asked for, and the sources have {sum(supply):,}")
        generator = np.random.default_rng(self.seed)
        first = capped(prior, prior.values(), supply, self.rows)
        found: list[Counts] = []
        for draw in range(max(FEWEST, 4 * self.draws)):
            heat = self.concentrations[draw % len(self.concentrations)]
            weights = generator.dirichlet([max(heat * share, 1e-3) for share in prior.values()])
            mix = capped(prior, weights, supply, self.rows)
            if mix not in found and mix not in (first, baseline_counts(study)):
                found.append(mix)
        return first, found
