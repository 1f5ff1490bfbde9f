"""Token trees: the model computes the common start of several sequences once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

# Width at which attention costs as much as everything else in a layer: small models on a CPU, measured roughly.
ATTENTION = 2048
COPIES = 8  # a cached token takes a fraction of what a token in the forward pass does

TokenIds = tuple[int, ...]


@dataclass
class Tree:
    """Sequences as one tree: a node per token, sequences that start alike share nodes.

    Attributes:
        tokens: Token of each node, parents before children.
        depths: Position of each node in its sequences.
        parents: Node before each node; -1 for the first.
        paths: Sequence -> its nodes in order.
    """

    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    paths: dict[TokenIds, list[int]] = field(default_factory=dict)

    def add(self, sequence: TokenIds) -> None:
        """Add a sequence that sorts after those already there."""
        path: list[int] = []
        if self.paths:
            last = next(reversed(self.paths))
            path = self.paths[last][: shared(last, sequence)]
        for token in sequence[len(path) :]:
            self.tokens.append(token)
            self.depths.append(len(path))
            self.parents.append(path[-1] if path else -1)
            path.append(len(self.tokens) - 1)
        self.paths[sequence] = path

    def branches(self) -> bool:
        """Return whether a node's parent is not always the node before it: then a mask is needed."""
        return any(parent != node - 1 for node, parent in enumerate(self.parents))

    def visible(self) -> npt.NDArray[np.bool_]:
        """Return which nodes (columns) each node (row) attends to: itself and those before it on its path."""
        seen = np.zeros((len(self.tokens), len(self.tokens)), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] = seen[parent]
            seen[node, node] = True
        return seen


def shared(one: TokenIds, other: TokenIds) -> int:
    """Return how many tokens two sequences share at the start."""
    limit = min(len(one), len(other))
    return next((at for at in range(limit) if one[at] != other[at]), limit)


def plant(sequences: Sequence[TokenIds], most: int, *, share: bool = True) -> list[Tree]:
    """Put sequences into trees, so that the model computes least.

    A sequence joins the tree of the one before it in lexicographic order where that costs less than a tree of its
    own. A tree of n nodes costs ``n + n^2 / ATTENTION``: attention is computed between all its nodes.

    Args:
        sequences: Different sequences.
        most: Nodes of a tree, where one sequence alone does not have more.
        share: Whether sequences may share nodes at all.
    """
    trees: list[Tree] = []
    last: TokenIds = ()
    for sequence in sorted(sequences):
        if trees and share:
            common = shared(last, sequence)
            nodes, new = len(trees[-1].tokens), len(sequence) - common
            joined = _cost(nodes + new)
            if common and nodes + new <= most and joined < _cost(nodes) + _cost(len(sequence)):
                trees[-1].add(sequence)
                last = sequence
                continue
        trees.append(Tree())
        trees[-1].add(sequence)
        last = sequence
    return trees


def _cost(nodes: int) -> float:
    return nodes + nodes**2 / ATTENTION


def batches(trees: Sequence[Tree], budget: int, behind: int = 0) -> Iterator[list[Tree]]:
    """Yield trees from the largest, as many at a time as the token budget allows, at least one.

    Every tree of a batch has a copy of the prefix's cache (``behind`` tokens): together the copies hold at most
    ``COPIES`` times the budget, whatever the size of the trees.
    """
    batch: list[Tree] = []
    for tree in sorted(trees, key=lambda tree: -len(tree.tokens)):
        rows = len(batch) + 1
        if batch and (rows * len(batch[0].tokens) > budget or rows * behind > COPIES * budget):
            yield batch
            batch = []
        batch.append(tree)
    if batch:
        yield batch
