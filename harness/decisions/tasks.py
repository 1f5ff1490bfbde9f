"""Which tasks and metrics distinguish this study's arms, and which are a coin flip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from harness.decisions.evidence import is_control
from harness.records import MetricNoise, TaskNoise
from harness.statistics.paired import contrast
from harness.statistics.scores import Scores

CLEAR = 2.0  # signal to noise of a metric that distinguishes arms
SHARPER = 1.5  # times the declared metric's, from which another is recommended
AGREED = 0.3  # correlation from which it measures something of the same


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
        signal = _signal(scores, alpha)
        if signal is None:
            continue
        coin_flip = False
        if signal.noise is not None:
            by_chance = float(special.fdtrc(signal.arms - 1, signal.df, (signal.spread / signal.noise) ** 2))
            reach = float(special.stdtrit(signal.df, 1 - alpha / 2)) * signal.noise * np.sqrt(2)
            coin_flip = by_chance >= alpha and bool(reach > threshold)
        found.append(
            TaskNoise(
                task=task, metric=metric, items=len(scores.items), spread=signal.spread, noise=signal.noise,
                signal_to_noise=signal.ratio, coin_flip=coin_flip,
            )
        )  # fmt: skip
    return sorted(found, key=lambda one: -(one.signal_to_noise or 0.0))


def metric_noise(metrics: Mapping[str, Scores], declared: str, alpha: float) -> list[MetricNoise]:
    """Return signal and noise of every metric of the declared task; the one that distinguishes the arms best first.

    Args:
        metrics: ``task/metric`` -> scores of all arms.
        declared: The metric that decides.
        alpha: Level of the contrasts.
    """
    found = []
    judged = metrics.get(declared)
    for place, scores in metrics.items():
        signal = _signal(scores, alpha)
        if signal is not None and judged is not None and judged.values.shape == scores.values.shape:
            found.append(
                MetricNoise(
                    metric=place, declared=place == declared, spread=signal.spread, noise=signal.noise,
                    signal_to_noise=signal.ratio, agreement=_agreement(judged, scores),
                )
            )  # fmt: skip
    return sorted(found, key=lambda one: -(one.signal_to_noise or 0.0))


def sharper(metrics: Sequence[MetricNoise]) -> str:
    """Return in words which metric would distinguish the arms better than the declared one; empty when none would."""
    judged = next((one for one in metrics if one.declared), None)
    if judged is None:
        return ""
    ours = judged.signal_to_noise or 0.0
    for one in metrics:
        theirs = one.signal_to_noise or 0.0
        if theirs >= max(CLEAR, SHARPER * ours) and (one.agreement or 0.0) >= AGREED:
            return (
                f"{one.metric} tells the arms apart better (signal to noise {theirs:.1f} instead of {ours:.1f}), and "
                f"goes with {judged.metric} (correlation {one.agreement:.2f}): a metric to declare in the next study."
            )
    return ""


@dataclass(frozen=True)
class _Signal:
    """Spread of the arms' means, and what it would be if all were the same; ``df`` belongs to the noise."""

    arms: int
    spread: float
    noise: float | None
    df: float

    @property
    def ratio(self) -> float | None:
        return self.spread / self.noise if self.noise else None


def _signal(scores: Scores, alpha: float) -> _Signal | None:
    """Return signal and noise; None with fewer than two arms."""
    arms = [name for name in scores.arms if not is_control(name)]
    if "baseline" not in arms or len(arms) < 2:
        return None
    spread = float(np.std([scores.mean(name) for name in arms], ddof=1))
    differences = [contrast(scores, name, "baseline", alpha) for name in arms if name != "baseline"]
    errors = [one.se for one in differences if one.se is not None and one.p is not None]
    dfs = [one.df for one in differences if one.df is not None]
    if not errors:
        return _Signal(len(arms), spread, None, 0.0)
    return _Signal(len(arms), spread, float(np.sqrt(np.mean(np.square(errors)) / 2)), float(np.median(dfs)))


def _agreement(declared: Scores, other: Scores) -> float | None:
    """Return the correlation of two metrics over all runs and items, the mean of each item taken out."""
    a, b = (one.values - np.nanmean(one.values, axis=(0, 1)) for one in (declared, other))
    both = np.isfinite(a) & np.isfinite(b)
    scale = float(np.sqrt((a[both] ** 2).sum() * (b[both] ** 2).sum()))
    return float((a[both] * b[both]).sum() / scale) if scale > 0 else None
