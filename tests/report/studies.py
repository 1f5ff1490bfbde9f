"""Planted studies that fill every section of a report, and some that leave most of them empty."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml

from harness import answer
from harness.report import Report, gather
from harness.store.record import Failure
from harness.study.plan import Plan
from tests import planted
from tests.conftest import TINY_STUDY

RUN = "document.title=`RAN`"
EVIL = f"<script>{RUN}</script><img src=x onerror={RUN}> </style> **b** [x](javascript:{RUN}) | `c` @me \x1b[31m \u202e"

FULL = """\
study: full
question: Which of three pools earns its place, and how much of it is enough?
hypothesis: Sums are missed when left out; more of them helps, less and less.
model: model
recipe: {lora: {r: 4, alpha: 8}, learning_rate: 1.0e-2, batch: 4, steps: 4, max_length: 256}
suite:
  suite: held-out
  tasks:
    sums: {generator: reasoning-gym, task: chain_sum, config: {max_terms: 2, max_digits: 2}, items: 160, seed: 3,
           question: "Q: {expression} =\\nA:", slice: carries}
  confirmation: 0.3
sources:
  sums: {generator: reasoning-gym, task: chain_sum, config: {max_terms: 2, max_digits: 2}, rows: 400, seed: 2,
         fields: {prompt: "Q: {expression} =\\nA:", completion: " {answer}"}, origin: annotation, cost_per_row: 0.08}
  scraped: {generator: reasoning-gym, task: chain_sum, config: {max_terms: 2, max_digits: 2}, rows: 200, seed: 1,
            corrupt: 0.5, fields: {prompt: "Q: {expression} =\\nA:", completion: " {answer}"}, origin: public}
  words: {generator: reasoning-gym, task: word_sequence_reversal, config: {min_words: 2, max_words: 3}, rows: 80,
          seed: 4, fields: {prompt: "Q: {question}\\nA:", completion: " {answer}"}, origin: public, license: MIT}
baseline: {mix: {scraped: 60}}
arms:
  verified: {tests: verify(scraped), operations: [verify]}
designs:
  - {size_ladder: {source: sums, rows: [20, 40, 80, 160], alone: true}}
  - {mixture_dirichlet: {draws: 4, rows: 60}}
seeds: 3
match: steps
waive: ["packages: one worker was updated between two runs"]
decide: {metric: sums/exact_match, smallest_effect: 0.05}
"""


def answers(effects: dict[str, float], base: float = 0.35, seed_sd: float = 0.02) -> planted.Score:
    """Return right-or-wrong scores: items differ, an item is as hard for all arms, seeds move every run a little."""

    def score(variant: str, seed: int, items: int) -> np.ndarray:
        hard = np.random.default_rng(7).normal(0, 0.22, items)
        own = np.random.default_rng([seed, *variant.encode()])
        level = base + effects.get(variant, 0.0) + hard + own.normal(0, seed_sd)
        # The same draw decides for all arms most of the time: what makes items of paired runs alike.
        luck = np.where(own.random(items) < 0.7, np.random.default_rng(11).random(items), own.random(items))
        return (luck < level).astype(float)

    return score


def gathered(plan: Plan) -> Report:
    """Return the report of a plan."""
    return gather(plan, answer.view(plan))


def full(folder: Path, tiny: Path, text: str = FULL) -> Plan:
    """Plant a study with a treatment, a ladder with a learning curve, random mixtures, slices and a waiver."""
    gains = {20: 0.02, 40: 0.16, 80: 0.26, 160: 0.33}
    effects = {f"only-sums-{rows}": gain for rows, gain in gains.items()} | {"verified": 0.14}
    effects |= {f"mix-{number:02}": 0.04 * number for number in range(5)}
    return planted.plant(planted.folder_with(folder, tiny, text), answers(effects))


def partial(folder: Path, tiny: Path) -> Plan:
    """Plant a study of which one run failed, one is not evaluated and one arm has not begun."""
    file = planted.folder_with(folder, tiny, TINY_STUDY)
    made = planted.plant(file, answers({"verified": 0.2, "sums-16": 0.3}))
    planted.forget(made, "sums-8", 1)
    planted.forget(made, "sums-8", 2)
    planted.forget(made, "sums-16", 2, "result")
    fail(made, "sums-8", 1, "out of memory at step 3; 22.9 of 24.0 GiB in use")
    return planted.plan(file)


def fail(made: Plan, variant: str, seed: int, message: str) -> None:
    """Write down that a run failed."""
    run = next(run for run in made.runs if (run.variant, run.seed) == (variant, seed))
    made.store.fail(Failure(key=run.key, kind="run", name=variant, stage="training", message=message))


def evil(folder: Path, tiny: Path) -> Plan:
    """Plant a study whose every text would like to run a script, style the page or steer a terminal."""
    text = yaml.safe_load(TINY_STUDY)
    text |= {"question": f"Why? {EVIL}", "hypothesis": EVIL, "outcome": EVIL, "waive": [f"packages: {EVIL}"]}
    text["recipe"]["max_length"] = 256  # what is not nice is long
    task = text["suite"]["tasks"]["sums"]
    task |= {"question": f"Q {EVIL}: {{expression}} =", "answer": f" {{answer}} {EVIL}"}
    rows = [{"prompt": f"{EVIL} {number}", "completion": EVIL} for number in range(30)]
    rows += [{"prompt": f"Q {EVIL}: {a} + {b} =", "completion": "3"} for a in range(9) for b in range(9)]
    (folder / "dirty.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text["sources"]["dirty"] = {"path": "dirty.jsonl", "license": EVIL}
    text["arms"]["dirty-8"] = {"tests": f"dirty {EVIL}", "mix": {"dirty": 8}}
    file = planted.folder_with(folder, tiny, yaml.safe_dump(text, allow_unicode=True))
    made = planted.plant(file, answers({"verified": 0.2, "sums-16": 0.3, "dirty-8": -0.2}))
    planted.forget(made, "sums-8", 1)
    fail(made, "sums-8", 1, f"boom {EVIL}")
    return planted.plan(file)


def begun(folder: Path, tiny: Path) -> Plan:
    """Plan a study of which no run is done."""
    return planted.plan(planted.folder_with(folder, tiny))


def withheld(folder: Path, tiny: Path) -> Plan:
    """Plant a study whose A/A control fails."""

    def score(variant: str, seed: int, items: int) -> np.ndarray:
        return planted.scores(variant, seed, items) + 0.3 * (variant == "aa")

    return planted.plant(planted.folder_with(folder, tiny), score)


def one_seed(folder: Path, tiny: Path) -> Plan:
    """Plant a study with one seed."""
    text = TINY_STUDY.replace("seeds: 2", "seeds: 1")
    return planted.plant(planted.folder_with(folder, tiny, text), answers({"verified": 0.3}))


def no_controls(folder: Path, tiny: Path) -> Plan:
    """Plant a study without controls and without slices, whose suite keeps no items for confirmation."""
    text = TINY_STUDY.replace(", slice: carries", "").replace("seeds: 2", "seeds: 2\ncontrols: []")
    text = text.replace("  suite: held-out", "  suite: held-out\n  confirmation: 0")
    return planted.plant(planted.folder_with(folder, tiny, text), answers({"verified": 0.3}))


def baseline_only(folder: Path, tiny: Path) -> Plan:
    """Plant a study of which only the baseline is done: there are scores, and nothing to compare."""
    made = planted.plant(planted.folder_with(folder, tiny))
    for run in made.runs:
        if run.variant != "baseline":
            planted.forget(made, run.variant, run.seed)
    return planted.plan(made.loaded.file)


STATES = {
    one.__name__: one for one in (full, partial, evil, begun, baseline_only, withheld, one_seed, no_controls)
}  # fmt: skip
