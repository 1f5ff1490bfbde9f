"""Scores of a study on one metric: the only input of the statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.statistics.estimate import Floats, Noise, Parts, parts

__all__ = ["Floats", "Noise", "Scores"]

LARGEST = 1e50  # magnitude of a score: sums of fourth powers are still finite


@dataclass(frozen=True)
class Scores:
    """One metric of every arm, seed and item; higher is better.

    The table is complete, but for arms that ended early: an arm with another missing run must be left out, never
    filled in.

    Attributes:
        values: ``[arms, seeds, items]``, finite. Seed slot ``s`` holds the runs that are paired across arms.
        arms: Names along the first axis.
        seeds: Names along the second axis.
        items: Names along the third axis.
        groups: Cluster of each item (items that are right or wrong together), None for an independent item; None when
            all items are independent.
        twins: The baseline and an arm with the same data and other seeds (A/A), whose runs may count as baseline runs.
        noise: How seed noise is judged (``estimate.estimate``).
        runs: Number of seeds that each arm has, the first ones: scores after them are not a number. None: all of them.
        stages: Numbers of seeds at which the study is looked at, the last one being all that is planned. Empty: it is
            looked at once.

    Raises:
        ValueError: When shapes and names disagree, a name repeats, an axis is empty, or a score is not
            finite, or an arm has more runs than there are seeds.
    """

    values: Floats
    arms: tuple[str, ...]
    seeds: tuple[str, ...]
    items: tuple[str, ...]
    groups: tuple[str | None, ...] | None = None
    twins: tuple[str, str] | None = None
    noise: Noise = "careful"
    runs: tuple[int, ...] | None = None
    stages: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "values", np.asarray(self.values, dtype=np.float64))
        except ValueError as error:
            raise ValueError(
                f"scores are no full table of numbers: every arm needs the same seeds and items ({error})"
            ) from error
        axes = {"arms": self.arms, "seeds": self.seeds, "items": self.items}
        named = tuple(len(names) for names in axes.values())
        if self.values.shape != named:
            raise ValueError(f"scores have shape {self.values.shape}; the names of arms, seeds and items say {named}")
        for axis, names in axes.items():
            if not names:
                raise ValueError(f"scores have no {axis}")
            if len(set(names)) != len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise ValueError(f'scores name "{twice}" twice among the {axis}')
        if self.groups is not None and len(self.groups) != len(self.items):
            raise ValueError(f"scores have {len(self.items)} items but {len(self.groups)} groups")
        if self.runs is not None and not all(0 < runs <= len(self.seeds) for runs in self.runs):
            raise ValueError(f"scores have {len(self.seeds)} seeds; arms have {self.runs}")
        if self.runs is not None and len(self.runs) != len(self.arms):
            raise ValueError(f"scores have {len(self.arms)} arms but {len(self.runs)} numbers of runs")
        missing = ~np.isfinite(self.values) & self._expected()[:, :, None]
        if missing.any():
            arm, seed, item = np.argwhere(missing)[0]
            raise ValueError(
                f"the score of arm {self.arms[arm]}, seed {self.seeds[seed]}, item {self.items[item]} "
                f"is {self.values[arm, seed, item]}, not a number that can be averaged"
            )

    def _expected(self) -> npt.NDArray[np.bool_]:
        """Return ``[arms, seeds]``, true where the arm has a run."""
        runs = self.runs or (len(self.seeds),) * len(self.arms)
        return np.arange(len(self.seeds)) < np.array(runs)[:, None]

    def arm(self, name: str) -> int:
        """Return the position of an arm.

        Raises:
            ValueError: When no arm has this name.
        """
        if name not in self._places:
            raise ValueError(f'no arm is named "{name}"; there are {", ".join(self.arms)}')
        return self._places[name]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.arms)}

    @cached_property
    def repeats(self) -> dict[str, str]:
        """Arm -> the first arm with the same scores, which is itself for most (an idle filter makes no other runs)."""
        known: dict[bytes, str] = {}
        # Adding 0.0 makes -0.0 equal to 0.0.
        return {name: known.setdefault((self.values[at] + 0.0).tobytes(), name) for at, name in enumerate(self.arms)}

    def members(self) -> npt.NDArray[np.intp] | None:
        """Return the number of each item's cluster, 0 upwards; None when items are independent."""
        return self._members

    @cached_property
    def _members(self) -> npt.NDArray[np.intp] | None:
        if self.groups is None:
            return None
        pairs = zip(self.items, self.groups, strict=True)
        clusters = [("item", item) if group is None else ("group", group) for item, group in pairs]
        numbers = {cluster: number for number, cluster in enumerate(sorted(set(clusters)))}
        alone = len(numbers) == len(clusters)
        return None if alone else np.array([numbers[cluster] for cluster in clusters], dtype=np.intp)

    @property
    def clusters(self) -> int:
        """Number of clusters; an independent item is one cluster."""
        member = self.members()
        return len(self.items) if member is None else int(member.max()) + 1

    def mean(self, name: str) -> float:
        """Return an arm's mean over seeds and items."""
        at = self.arm(name)
        return float(self.values[at, : None if self.runs is None else self.runs[at]].mean())

    @cached_property
    def parts(self) -> Parts:
        """What the estimates of a complete table share."""
        return parts(self.values[None], self.members())

    @cached_property
    def _firsts(self) -> dict[int, Scores]:
        return {}

    def first(self, seeds: int) -> Scores:
        """Return the complete table of the first seeds, with the arms that have them all."""
        if seeds == len(self.seeds) and self.runs is None:
            return self
        if seeds not in self._firsts:
            self._firsts[seeds] = self._first(seeds)
        return self._firsts[seeds]

    def _first(self, seeds: int) -> Scores:
        runs = self.runs or (len(self.seeds),) * len(self.arms)
        kept = [at for at, count in enumerate(runs) if count >= seeds]
        arms = tuple(self.arms[at] for at in kept)
        twins = self.twins if self.twins is not None and set(self.twins) <= set(arms) else None
        return replace(
            self, values=self.values[kept, :seeds], arms=arms, seeds=self.seeds[:seeds], twins=twins, runs=None
        )

    def ending(self, runs: Mapping[str, int]) -> Scores:
        """Return the scores of the arms that are named, each with its first runs only."""
        arms = tuple(name for name in self.arms if runs.get(name))
        most = max(runs[name] for name in arms)
        kept = np.array([[at < runs[name] for at in range(most)] for name in arms])
        values = np.where(kept[:, :, None], self.values[[self.arm(name) for name in arms], :most], np.nan)
        twins = self.twins if self.twins is not None and set(self.twins) <= set(arms) else None
        counts = tuple(runs[name] for name in arms)
        return replace(
            self, values=values, arms=arms, seeds=self.seeds[:most], twins=twins,
            runs=None if kept.all() else counts,
        )  # fmt: skip

    def together(self, *names: str) -> Scores:
        """Return the complete table of the seeds that these arms have, by default all arms."""
        if self.runs is None:
            return self
        return self.first(min(self.runs[self.arm(name)] for name in names or self.arms))

    def pick(self, mask: npt.NDArray[Any]) -> Scores:
        """Return the scores of the items where ``mask`` (one boolean per item) is true.

        Raises:
            ValueError: When the mask has another length, is not boolean, or picks nothing.
        """
        mask = np.asarray(mask)
        if mask.shape != (len(self.items),) or mask.dtype != np.bool_:
            raise ValueError(f"a mask needs {len(self.items)} booleans, one per item; it has {mask.dtype}{mask.shape}")
        keep = np.flatnonzero(mask)
        items = tuple(self.items[index] for index in keep)
        groups = None if self.groups is None else tuple(self.groups[index] for index in keep)
        return replace(self, values=self.values[:, :, keep], items=items, groups=groups)
