"""How far the intervals of a study can be trusted, and what its stages save: results of simulations and replays.

``scripts/bench_decisions --condensed`` writes a file for each way in which seed noise is judged, and
``scripts/bench_stages --condensed`` one on stages; this module only reads them.
"""

from __future__ import annotations

import json
import math
from importlib.resources import files
from typing import Any

from harness.records import StudyView
from harness.report.model import PowerCurve, Rates, Reliability, Savings

FILE = "reliability-{noise}.json"
STAGES = "stages.json"


def nearest(view: StudyView) -> Reliability | None:
    """Return the simulated studies most like this one; None with one seed, or without a comparison.

    Sizes are compared by their ratio. Seeds weigh most: with two seeds few effects are found, with five nearly all.
    """
    comparison = view.comparison
    judged = [arm for arm in comparison.arms if arm.effect is not None] if comparison else []
    if comparison is None or not judged or judged[0].seeds == 1:
        return None
    file = FILE.format(noise=view.resolved["decide"]["noise"])
    known = json.loads(files(__package__).joinpath(file).read_text(encoding="utf-8"))
    mine = {"seeds": judged[0].seeds, "items": judged[0].items, "arms": len(judged) + 1}

    def far(one: dict[str, Any]) -> float:
        weights = {"seeds": 4.0, "items": 1.0, "arms": 1.0}
        return sum(weight * abs(math.log(one[name] / mine[name])) for name, weight in weights.items())

    size = min(known["sizes"], key=lambda one: (far(one), one["seeds"], one["items"], one["arms"]))
    share = comparison.noise.get("seed_share")
    curve = min(known["power"], key=lambda one: abs(one["seed_share"] - (share or 0.0)), default=None)
    return Reliability(
        seeds=size["seeds"],
        items=size["items"],
        arms=size["arms"],
        studies=known["studies"],
        alpha=known["alpha"],
        exact=all(size[name] == mine[name] for name in mine),
        patterns=[Rates.model_validate(one) for one in size["patterns"]],
        power=PowerCurve.model_validate(curve) if curve else None,
    )


def savings(view: StudyView) -> dict[str, Savings]:
    """Return ``replayed`` and ``simulated`` -> what stages saved there; empty for a study without stages."""
    if not view.resolved.get("stages"):
        return {}
    known = json.loads(files(__package__).joinpath(STAGES).read_text(encoding="utf-8"))
    return {name: Savings.model_validate(one) for name, one in known.items()}
