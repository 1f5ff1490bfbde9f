"""Joins pairs of texts into clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Positions = NDArray[np.int64]


def merged(label: Positions, left: Positions, right: Positions) -> Positions:
    """Return the labels once the clusters of each pair's texts are joined; a cluster's label is its first text."""
    if not len(left):
        return label
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends, where = np.unique(np.concatenate((label[left], label[right])), return_inverse=True)
    pairs = where[: len(left)], where[len(left) :]
    links = coo_array((np.ones(len(left), bool), pairs), shape=(len(ends), len(ends)))
    _, component = connected_components(links, directed=False)
    _, first = np.unique(component, return_index=True)
    renamed = np.arange(len(label))
    renamed[ends] = ends[first[component]]
    merged: Positions = renamed[label]
    return merged
