"""Writes the study that tests proposed mixtures: they become ordinary arms, trained with seeds that nothing has used.

A prediction is optimistic, since the best of many was picked. The new study judges it as it judges any arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import yaml

from harness.decisions.mixtures import MixturePrediction
from harness.errors import RequestError
from harness.escaping import visible
from harness.loading import Loaded
from harness.loading.documents import parse
from harness.records import ProposedArm
from harness.spec import MOST_SEEDS, Study, spread

SEEDS = 5
# Fields that the new study does not take over: what was asked and found, and all that was trained.
OWN = ("study", "question", "hypothesis", "outcome", "arms", "designs", "seeds", "stages")
WIDTH = 110


def target(loaded: Loaded, out: Path | None, *, force: bool) -> Path:
    """Return the file of the new study.

    Args:
        loaded: The study whose mixtures were trained.
        out: The file that the user names; default: beside the study.
        force: Whether a file that is there is replaced.

    Raises:
        RequestError: The study is no YAML file, or the new one cannot stand there.
    """
    if loaded.file.suffix not in (".yaml", ".yml"):
        raise RequestError(f"{loaded.file}: only a study in YAML can be written anew; this one is Python")
    file = out or loaded.file.with_name(f"{loaded.file.stem}-confirm.yaml")
    if file.suffix not in (".yaml", ".yml"):
        raise RequestError(f"--out: {file}: a study is a .yaml file")
    if file.absolute().parent.resolve() != loaded.file.absolute().parent.resolve():
        raise RequestError(
            f"--out: {file}: the new study names the same files as {loaded.file}, so it stands in the same folder"
        )
    if file.exists() and (not force or file.samefile(loaded.file)):
        hint = "" if file.samefile(loaded.file) else ", or replace it with --force"
        raise RequestError(f"--out: {file} is there already; choose another name{hint}. Nothing was written.")
    return file


def fresh(study: Study, seeds: int | None) -> tuple[list[int], list[int]]:
    """Return the first seeds that a study does not use, and the stages at which they are looked at."""
    seeds = SEEDS if seeds is None else seeds
    if not 2 <= seeds <= MOST_SEEDS:
        raise RequestError(f"--seeds: expected a number from 2 to {MOST_SEEDS} (it is {seeds})")
    used = set(study.seed_list())
    return list(islice((seed for seed in count(1) if seed not in used), seeds)), list(spread(2, seeds))


def arms(found: Sequence[MixturePrediction], study: Study) -> list[ProposedArm]:
    """Return the proposals as arms: ``proposed``, and ``proposed-2`` of a second design."""
    sure = [one for one in found if not one.doubt]
    names = (name for number in count(1) if (name := "proposed" + (f"-{number}" if number > 1 else "")))
    return [
        ProposedArm(
            arm=name, weights=one.weights, score=one.score, interval=one.interval, mix=one.mix, mixtures=one.mixtures,
            best_tried=one.best_tried, best_tried_score=one.best_tried_score,
        )
        for name, one in zip(names, sure, strict=False)
    ]  # fmt: skip


def text(loaded: Loaded, arms: Sequence[ProposedArm], seeds: list[int], stages: list[int]) -> str:
    """Return the new study: the one whose mixtures were trained, with the proposals instead of its arms."""
    before = parse(loaded.file).value
    new: dict[str, Any] = {
        "study": f"{loaded.study.study}-confirm",
        "question": "Is the mixture that the model of mixtures proposes better than the baseline?",
        "hypothesis": " ".join(map(_predicted, arms)),
        **{name: value for name, value in before.items() if name not in OWN},
        "arms": {one.arm: {"tests": one.arm, "mix": one.mix} for one in arms},
        "seeds": seeds,
        **({"stages": stages} if len(stages) > 1 else {}),
    }
    head = f"# Written by `harness mixtures confirm {visible(loaded.file.name)}`: fresh seeds, the same test items.\n"
    return head + yaml.safe_dump(new, sort_keys=False, allow_unicode=True, width=WIDTH, default_flow_style=None)


def _predicted(arm: ProposedArm) -> str:
    low, high = arm.interval
    return (
        f"{arm.arm} is predicted to score {arm.score:.3g} (90% interval {low:.3g} to {high:.3g}) from "
        f"{arm.mixtures} mixtures; the best of these, {arm.best_tried}, scored {arm.best_tried_score:.3g}."
    )
