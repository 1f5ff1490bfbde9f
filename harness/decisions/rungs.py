"""The rungs that would tell what more rows of a source gain, as lines to be pasted into a study."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.decisions.questions import differ_in_rows_only
from harness.errors import RequestError
from harness.spec import Study, Variant
from harness.spec.designs.size_ladder import SizeLadder
from harness.statistics.curves import FARTHEST, LEAST_RUNGS

MORE = 2  # rungs to add where there is a curve already
ROOM = 1.2  # a larger rung is proposed if it can have this many times the rows of the largest one
PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[A-Za-z_][\w-]*", re.IGNORECASE)


def more_rungs(sizes: Sequence[float], left: float | None) -> list[int]:
    """Return the sizes to add to a ladder, smallest first: as large as there are rows for, then between the rungs.

    Args:
        sizes: Rows of its rungs, those above 0.
        left: Rows of the pool that the largest rung does not use; None when that is not known.
    """
    known = sorted({round(size) for size in sizes if size >= 1})
    if not known:
        return []
    wanted, found = max(MORE, LEAST_RUNGS - len(known)), list[int]()
    top = known[-1]
    room = int(min(FARTHEST * top, math.inf if left is None else top + left))
    if room >= ROOM * top:
        found.append(room)
    while len(found) < wanted:
        every = sorted({*known, *found})
        if len(every) < LEAST_RUNGS:
            size = every[0] // 2
        else:  # in the widest gap, of equally wide ones the topmost
            low, high = max(itertools.pairwise(every), key=lambda gap: (round(gap[1] / gap[0], 3), gap[0]))
            size = _rounded(math.sqrt(low * high), low, high)
        if size < 1 or size in every:
            break
        found.append(size)
    return sorted(found)


def first_rungs(rows: float) -> list[int]:
    """Return the sizes of a first ladder up to a number of rows."""
    return sorted({size for size in (round(rows / 4), round(rows / 2), round(rows)) if size > 0})


def fragment(study: Study, source: str, sizes: Sequence[int], like: str = "", held: float = 0.0) -> tuple[str, str]:
    """Return the field of a study that rungs belong to (``designs`` or ``arms``), and their lines for it.

    Args:
        study: The study.
        source: The source.
        sizes: Rows of the rungs; without any, the lines are empty.
        like: A rung of its ladder, which the new ones must match in all but the rows of the source; empty when there is
            none yet.
        held: Rows of the source in the baseline. A baseline that counts tokens has its rungs as fractions of these.
    """
    if not sizes:
        return "designs", ""
    fields: dict[str, Any] = {"source": source, "rows": list(sizes)}
    if study.baseline.in_tokens and held > 0:
        fields = {"source": source, "fractions": [round(size / held, 3) for size in sizes]}
    for more in ({}, {"alone": True}):
        if _fits(study, source, fields | more, like):
            return "designs", f"  - size_ladder: {_yaml(fields | more)}"
    model = study.baseline if like in ("", "baseline") else study.arms[like]
    base = model if model.mix else study.baseline
    if base.in_tokens:
        return "designs", ""  # rows and tokens cannot stand in one mix
    lines = []
    for rows in sizes:
        mix = {name: "all" if count is None else count for name, count in base.counts().items()} | {source: rows}
        rest = model.model_dump(mode="json", exclude_defaults=True, exclude={"mix", "rows", "tests", "operations"})
        if model.operations:
            rest["operations"] = [
                {each.op: each.model_dump(mode="json", exclude_defaults=True, exclude={"op"})}
                for each in model.operations
            ]
        arm = {"tests": source, "mix": mix, **rest}
        lines.append(f"  {_yaml(f'{source}-{rows}')}: {_yaml(arm)}")
    return "arms", "\n".join(lines)


def pasted(study: Study, fragments: Sequence[tuple[str, str]]) -> str:
    """Return fragments as one text: with the names of their fields, unless the study has these fields already."""
    lines = []
    for field in ("designs", "arms"):
        found = [text for name, text in fragments if name == field and text]
        if found:
            there = study.designs if field == "designs" else study.arms
            lines += [f"{field}:{'  # add to those that the study has' if there else ''}", *found]
    return "\n".join(lines)


def _fits(study: Study, source: str, fields: Mapping[str, Any], like: str) -> bool:
    """Return whether a ladder can be added, and whether its rungs differ from a rung in rows of the source only."""
    try:
        arms: dict[str, Variant] = dict(SizeLadder(**fields).arms(study, len(study.designs)))
    except (RequestError, ValueError):  # it does not fit the baseline; two fractions are one
        return False
    larger = study.model_copy(update={"arms": study.arms | arms})
    return not like or all(differ_in_rows_only(larger, source, name, like) for name in arms)


def _rounded(size: float, low: int, high: int) -> int:
    """Return a size with two digits, if that is still between two others."""
    step = 10 ** max(0, int(math.log10(size)) - 1)
    short = round(size / step) * step
    return short if low < short < high else round(size)


def _yaml(value: Any) -> str:
    """Return a value in YAML's flow style."""
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) else json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_yaml(name)}: {_yaml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_yaml(one) for one in value) + "]"
    return json.dumps(value)
