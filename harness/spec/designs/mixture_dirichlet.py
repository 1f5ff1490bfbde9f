"""``mixture_dirichlet``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from harness.errors import RequestError
from harness.spec.designs.base import Arm, MixtureDesign, baseline_counts, mixed, prior_of, refuse_tokens, rounded

if TYPE_CHECKING:
    from harness.spec.study import Study


class MixtureDirichlet(MixtureDesign):
    """Random mixtures around a prior (Dirichlet), and the prior itself; all of the same size.

    Example::

        designs:
          - mixture_dirichlet: {draws: 16, rows: 400}
          - mixture_dirichlet: {draws: 16, rows: 400, prior: {forum: 0.7, manual: 0.3}}
    """

    design: Literal["mixture_dirichlet"] = "mixture_dirichlet"
    concentration: float = Field(5.0, gt=0, description="large: draws stay near the prior")

    def arms(self, study: Study, index: int) -> Iterator[Arm]:
        """Yield the prior and ``draws`` different mixtures from Dirichlet(concentration x prior), all of ``rows`` rows.

        The mean of the draws is the prior; the variance of a weight w is w (1 - w) / (concentration + 1).
        """
        place = f"designs[{index}]"
        import numpy as np

        refuse_tokens(study, f"{place}.rows", "")
        given = prior_of(study, self.prior, place)
        prior = np.array(list(given.values()))
        generator = np.random.default_rng(self.seed)
        first = rounded(given, prior, self.rows)
        tried = [first]
        if first != baseline_counts(study):
            yield "mix-prior", mixed(study, first, "mix-prior")
        # Draws of few rows may round to an existing mixture; two runs of one mixture would look like agreement of two.
        for _ in range(100 * self.draws):
            if len(tried) > self.draws:
                break
            mix = rounded(given, generator.dirichlet(self.concentration * prior), self.rows)
            if mix not in tried and mix != baseline_counts(study):
                tried.append(mix)
                name = f"mix-{len(tried) - 1:02d}"
                yield name, mixed(study, mix, name)
        else:
            raise RequestError(
                f"{place}.draws: {self.draws:,} different mixtures are asked for, and these rows and this "
                f"concentration give {len(tried) - 1:,}; lower draws, or take more rows"
            )
