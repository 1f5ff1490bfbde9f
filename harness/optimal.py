"""Chooses mixtures to train on that tell most about what each source's share does, before any score is known.

D-optimal: the determinant of the information of a linear model of bent weights is as large as exchanges of one mixture
for another can make it (Fedorov 1972).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BEND = 0.03  # share at which a source's gain levels off, for the information
PRIOR = 0.1  # information of each effect before any run, in runs; so fewer runs than sources can be compared too
ROUNDS = 20


def d_optimal(candidates: npt.ArrayLike, count: int, seed: int = 0) -> npt.NDArray[np.intp]:
    """Return which mixtures to train on, in ascending order.

    Args:
        candidates: ``[mixtures, sources]``, none below 0; rows are scaled to sum 1.
        count: How many to choose, at most as many as there are.
        seed: Of the random choice that the exchanges start from.

    Raises:
        ValueError: A row is no mixture, or ``count`` does not fit.
    """
    rows = _rows(candidates)
    if not 1 <= count <= len(rows):
        raise ValueError(f"{count} of {len(rows)} mixtures cannot be chosen")
    chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
    for _ in range(ROUNDS):
        exchanged = False
        for place in range(count):
            rest = np.delete(chosen, place)
            spread = np.linalg.inv(_information(rows[rest]))
            # The determinant grows by 1 + gain. Rounded, so that of equals the first wins on every machine.
            gain = ((rows @ spread) * rows).sum(axis=1).round(9)
            gain[rest] = -np.inf
            best = int(gain.argmax())
            if gain[best] > gain[chosen[place]]:
                chosen[place] = best
                exchanged = True
        if not exchanged:
            break
    return np.sort(chosen)


def information(mixtures: Floats, among: Floats) -> float:
    """Return the logarithm of the determinant that ``d_optimal`` makes large.

    Args:
        mixtures: Those that are trained on.
        among: The candidates that they were chosen from.
    """
    rows = _rows(np.vstack([among, mixtures]), len(among))[len(among) :]
    return float(np.linalg.slogdet(_information(rows))[1])


def _information(rows: Floats) -> Floats:
    return np.asarray(rows.T @ rows + PRIOR * np.eye(rows.shape[1]))


def _rows(mixtures: npt.ArrayLike, scaled_by: int | None = None) -> Floats:
    """Return a constant and bent weights, standardized by the first mixtures (None: by all)."""
    weights = np.asarray(mixtures, dtype=np.float64)
    if not (weights.ndim == 2 and weights.size and (weights >= 0).all() and (weights.sum(axis=1) > 0).all()):
        raise ValueError("mixtures are a table of weights of 0 or more, not all 0 in a row")
    bent = np.log1p(weights / weights.sum(axis=1, keepdims=True) / BEND)
    scale = bent[:scaled_by].std(axis=0)
    scale[scale < 1e-12] = np.inf
    return np.column_stack([np.ones(len(bent)), (bent - bent[:scaled_by].mean(axis=0)) / scale])
