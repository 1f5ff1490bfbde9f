"""Makes rows with reasoning-gym, each with what its scorer needs, and scores completions by a row's verifier."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from harness.errors import RequestError, did_you_mean
from harness.identity import canonical_json, unit_hash

OFFSETS = (-10, -2, -1, 1, 2, 10)
# A minus sign right after a digit is an operator ("10-3"), not part of the number.
NUMBER = re.compile(r"(?:(?<![\d.,])-)?(?:\$-?)?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)-?\.\d+")


def generate(
    place: str, task: str, config: Mapping[str, Any], rows: int, seed: int, corrupt: float
) -> list[dict[str, Any]]:
    """Make rows with reasoning-gym.

    Args:
        place: The source in the study (``sources.sums``), for messages.
        task: Name of a reasoning-gym dataset.
        config: Settings of the dataset.
        rows: Number of rows.
        seed: Seed of the questions, and of the choice of answers to corrupt.
        corrupt: Share of the rows (rounded to whole rows) whose answer is made wrong, off by 1, 2 or 10.

    Returns:
        One dict per row: ``question``, ``answer``, ``entry`` (what the scorer needs; it keeps the true
        answer) and the scalars of the entry's metadata by name, such as ``expression``.

    Raises:
        RequestError: Unknown task or setting, settings the task refuses, or answers that cannot be corrupted.
    """
    from reasoning_gym.factory import DATASETS, create_dataset

    if task not in DATASETS:
        raise RequestError(f'{place}.task: reasoning-gym has no task "{task}".{did_you_mean(task, DATASETS)}')
    settings = {field.name for field in dataclasses.fields(DATASETS[task][1])}
    for name in config:
        if name in ("seed", "size"):
            raise RequestError(f"{place}.config.{name}: write {place}.{'rows' if name == 'size' else name} instead")
        if name not in settings:
            near = did_you_mean(name, settings - {"seed", "size"})
            raise RequestError(f'{place}.config: {task} has no setting "{name}".{near}')
    # The library's row i depends on seed + i alone: with seeds 1 and 2, two pools would share all rows but one. Hashed
    # seeds are far apart.
    start = unit_hash("reasoning-gym", seed) % 2**31
    try:
        entries = list(create_dataset(task, **config, seed=start, size=rows))
    except (AssertionError, TypeError, ValueError) as error:
        raise RequestError(f"{place}.config: {task} refuses these settings ({error})") from error
    answer = entries[0]["answer"]
    if not isinstance(answer, str):
        raise RequestError(f"{place}.task: {task} asks without giving an answer, so there is nothing to train on")
    if score(verifier(place, task, entries[0]), answer) < 1:
        raise RequestError(f"{place}.task: {task} refuses its own answer once it is stored, so rows cannot be verified")
    chosen = sorted(range(rows), key=lambda index: unit_hash(seed, "corrupt", index))[: round(corrupt * rows)]
    wrong = set(chosen)
    return [_row(place, seed, index, entry, index in wrong) for index, entry in enumerate(entries)]


def _row(place: str, seed: int, index: int, entry: dict[str, Any], wrong: bool) -> dict[str, Any]:
    scalars = {
        k: v for k, v in entry["metadata"].items() if isinstance(v, str | int | float) and not isinstance(v, bool)
    }
    answer = entry["answer"]
    if wrong:
        if not re.fullmatch(r"-?\d+", answer):
            raise RequestError(
                f'{place}.corrupt: answer "{answer}" of row {index} is not a whole number, so no error can be planted'
            )
        answer = str(int(answer) + OFFSETS[unit_hash(seed, "offset", index) % len(OFFSETS)])
    return {**scalars, "question": entry["question"], "answer": answer, "entry": entry}


def verifier(place: str, task: str, entry: Mapping[str, Any]) -> str:
    """Return a generated row's verifier as JSON.

    Raises:
        RequestError: The task's entries cannot be stored as JSON, so they could not be verified later.
    """
    try:
        return canonical_json({"scorer": "reasoning-gym", "task": task, "entry": entry})
    except (TypeError, ValueError) as error:
        raise RequestError(f"{place}.task: entries of {task} cannot be stored as JSON ({error})") from error


def score(verifier_json: str, completion: str) -> float:
    """Return the score of a completion, 0 (wrong) to 1 (right), by its row's verifier.

    ``numeric`` compares the last number of the completion (after the last ``####``, if there is one) as a
    decimal, without commas, ``$`` and ``%``. ``reasoning-gym`` calls the task's own scorer, which may give
    partial credit.
    """
    check = json.loads(verifier_json)
    if check["scorer"] == "numeric":
        numbers = NUMBER.findall(completion.rsplit("####", 1)[-1].replace("\u2212", "-"))
        return float(bool(numbers) and number(numbers[-1]) == number(check["answer"]))
    if check["scorer"] != "reasoning-gym":
        raise ValueError(f"no scorer is called {check['scorer']!r}")
    return float(_scorer(check["task"])(completion.strip(), check["entry"]))


@functools.cache
def _scorer(task: str) -> Callable[[str, dict[str, Any]], float]:
    from reasoning_gym.factory import get_score_answer_fn

    scorer: Callable[[str, dict[str, Any]], float] = get_score_answer_fn(task)
    return scorer


def number(text: str) -> Decimal | None:
    """Return the text as a finite number without commas, ``$`` and ``%``; None if it is not one."""
    try:
        value = Decimal(re.sub(r"[,$%\s]", "", text.replace("\u2212", "-")))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None
