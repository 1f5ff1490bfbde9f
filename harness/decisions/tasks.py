"""Which tasks of the suite distinguish this study's arms, and which are a coin flip."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import special

from harness.decisions.evidence import is_control
from harness.records import TaskNoise
from harness.statistics.paired import contrast
from harness.statistics.scores import Scores


def task_noise(tasks: Mapping[str, Scores], threshold: float, alpha: float) -> list[TaskNoise]:
    """Return signal and noise of every task; the task that distinguishes the arms best comes first.

    The signal is the standard deviation of the arms' means. The noise is what that deviation would be if all arms
    were the same: the root of half the mean squared standard error of the arms' differences from the baseline.
    When all arms are the same, their squared ratio is about an F with A - 1 degrees of freedom and the degrees of
    freedom of the differences. A task is a coin flip when that F is not significant at ``alpha`` and the noise is
    large enough to hide the smallest effect that matters: arms that are shown to be alike are no coin flip.

    Args:
        tasks: ``task/metric`` -> scores of all arms.
        threshold: The smallest effect that matters, taken to be the same for every task.
        alpha: Level of the test.
    """
    found = []
    for place, scores in tasks.items():
        task, metric = place.split("/")
        arms = [name for name in scores.arms if not is_control(name)]
        if "baseline" not in arms or len(arms) < 2:
            continue
        spread = float(np.std([scores.mean(name) for name in arms], ddof=1))
        differences = [contrast(scores, name, "baseline", alpha) for name in arms if name != "baseline"]
        errors = [one.se for one in differences if one.se is not None and one.p is not None]
        dfs = [one.df for one in differences if one.df is not None]
        noise, ratio, coin_flip = None, None, False
        if errors:
            noise = float(np.sqrt(np.mean(np.square(errors)) / 2))
            ratio = spread / noise
            df = float(np.median(dfs))
            by_chance = float(special.fdtrc(len(arms) - 1, df, ratio**2))
            reach = float(special.stdtrit(df, 1 - alpha / 2)) * noise * np.sqrt(2)
            coin_flip = by_chance >= alpha and bool(reach > threshold)
        found.append(
            TaskNoise(
                task=task, metric=metric, items=len(scores.items), spread=spread, noise=noise, signal_to_noise=ratio,
                coin_flip=coin_flip,
            )
        )  # fmt: skip
    return sorted(found, key=lambda one: -(one.signal_to_noise or 0.0))
