"""Writes the study that tests a proposed mixture: it becomes an ordinary arm, trained with seeds that nothing has used.

A prediction is optimistic, since the best of many was picked. The new study judges it as it judges any arm.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from typing import Any

import yaml

from harness.answer import complete, predicted, progress
from harness.decisions.mixtures import MixturePrediction
from harness.errors import RequestError, StepError
from harness.escaping import visible
from harness.loading import Loaded, load_study
from harness.records import Confirmation, ProposedMixture
from harness.session.answer import write
from harness.spec import MOST_SEEDS, Study, spread
from harness.study.plan import Plan
from harness.terminal.working import working

ARM = "proposed"
SEEDS = 5
# Fields that the new study does not take over: what was asked and found, all that was trained, and the controls, so
# that it has those which every study has.
OWN = ("study", "question", "hypothesis", "outcome", "arms", "designs", "controls", "waive", "seeds", "stages")
COPIED = ("operations", "max_repeats")  # fields of the baseline that the mixtures had, too
LONGEST = 64 - len("-confirm")  # characters of a study's name
WIDTH = 110


def confirm(
    loaded: Loaded, staged: Callable[[], Plan], again: str, out: str | Path | None, *, seeds: int | None, force: bool
) -> Confirmation:
    """Write the study that tests the mixture which the trained ones propose, as ``Session.confirm`` describes.

    Args:
        loaded: The study whose mixtures were trained.
        staged: Resolves it against the store; called when everything else is known to be right.
        again: The command that does the runs which are missing.
        out: The file to write; default: beside the study.
        seeds: The most seeds; default 5.
        force: Whether a file that is there is replaced.

    Raises:
        RequestError: The study or the file is wrong.
        StepError: The results allow no proposal.
    """
    file = _target(loaded, None if out is None else Path(out), force=force)
    new = _fresh(loaded.study, seeds)
    if not any(one.mixtures(loaded.study, {}) for one in loaded.study.designs):
        raise RequestError(f"{loaded.file}: no design of mixtures (mixture_search, mixture_dirichlet)")
    with working("Comparing"):
        made = staged()
        found, withheld = predicted(made)
    more = "" if complete(made) else f"; {progress(made)}. Run: {again}"
    if withheld:
        raise StepError(f"{withheld}. Nothing was written{more}")
    if found is None:
        few = "a proposal takes four mixtures or more"
        raise StepError(f"nothing to confirm yet: {few}{more or '; raise draws'}")
    if found.doubt:
        raise StepError(f"INCONCLUSIVE: {found.doubt}. Nothing was written{more}")
    record = _confirmation(made, file, found, *new)
    written = _text(loaded, record)
    _check(file, written)
    write(file, written, "--out: ")
    return record


def _target(loaded: Loaded, out: Path | None, *, force: bool) -> Path:
    """Return the file of the new study.

    Args:
        loaded: The study whose mixtures were trained.
        out: The file that the user names; default: beside the study.
        force: Whether a file that is there is replaced.

    Raises:
        RequestError: The study is no YAML file, or the new one cannot stand there.
    """
    if loaded.document is None:
        raise RequestError(f"{loaded.file}: only a study in YAML can be written anew; this one is Python")
    home = loaded.file.resolve().parent  # relative paths of a study start there
    beside = loaded.file.parent if loaded.file.absolute().parent.resolve() == home else home
    file = out or beside / f"{loaded.file.stem}-confirm.yaml"
    if file.suffix not in (".yaml", ".yml"):
        raise RequestError(f"--out: {file}: a study is a .yaml file")
    if file.absolute().parent.resolve() != home:
        raise RequestError(
            f"--out: {file}: the new study names the same files as {loaded.file}, so it stands in the same folder"
        )
    if file.exists() and (not force or file.samefile(loaded.file)):
        hint = "" if file.samefile(loaded.file) else ", or replace it with --force"
        raise RequestError(f"--out: {file} is there already; choose another name{hint}. Nothing was written.")
    return file


def _fresh(study: Study, seeds: int | None) -> tuple[list[int], list[int]]:
    """Return the first seeds that a study does not use, and the stages at which they are looked at."""
    seeds = SEEDS if seeds is None else seeds
    if not 2 <= seeds <= MOST_SEEDS:
        raise RequestError(f"--seeds: expected a number from 2 to {MOST_SEEDS} (it is {seeds})")
    used = set(study.seed_list())
    return list(islice((seed for seed in count(1) if seed not in used), seeds)), list(spread(2, seeds))


def _confirmation(
    made: Plan, file: Path, found: MixturePrediction, seeds: list[int], stages: list[int]
) -> Confirmation:
    """Return what is to be written, as a record."""
    return Confirmation(
        study=made.study.study,
        complete=complete(made),
        progress=progress(made),
        file=str(file),
        arm=ARM,
        mix=found.mix,
        mixtures=found.mixtures,
        seeds=seeds,
        stages=stages,
        proposal=ProposedMixture(weights=found.weights, score=found.score, interval=found.interval),
        best_tried=found.best_tried,
        best_tried_score=found.best_tried_score,
    )


def _text(loaded: Loaded, record: Confirmation) -> str:
    """Return the new study: the one whose mixtures were trained, with the proposal instead of its arms."""
    before = loaded.document or {}
    copied = {name: before["baseline"][name] for name in COPIED if name in before["baseline"]}
    waived = [rule for rule in before.get("waive", []) if not str(rule).startswith("controls")]
    new: dict[str, Any] = {
        "study": f"{loaded.study.study[:LONGEST]}-confirm",
        "question": "Is the mixture that the model of mixtures proposes better than the baseline?",
        "hypothesis": _predicted(record),
        **{name: value for name, value in before.items() if name not in OWN},
        "arms": {record.arm: {"tests": record.arm, "mix": record.mix, **copied}},
        **({"waive": waived} if waived else {}),
        "seeds": record.seeds,
        **({"stages": record.stages} if len(record.stages) > 1 else {}),
    }
    head = f"# Written by `harness mixtures confirm {visible(loaded.file.name)}`: fresh seeds, the same test items.\n"
    return head + yaml.safe_dump(new, sort_keys=False, allow_unicode=True, width=WIDTH, default_flow_style=None)


def _check(file: Path, written: str) -> None:
    """Make sure that a study can be loaded before it is put in its place.

    Raises:
        RequestError: It cannot.
    """
    scratch = file.with_name(f".{file.stem}.partial.yaml")
    try:
        scratch.write_text(written, encoding="utf-8")
        load_study(scratch)
    except OSError as error:
        raise RequestError(f"--out: {file} cannot be written ({error.strerror})") from error
    finally:
        scratch.unlink(missing_ok=True)


def _predicted(record: Confirmation) -> str:
    low, high = record.proposal.interval
    return (
        f"It is predicted to score {record.proposal.score:.3g} (90% interval {low:.3g} to {high:.3g}) from "
        f"{record.mixtures} mixtures; the best of these, {record.best_tried}, scored {record.best_tried_score:.3g}."
    )
