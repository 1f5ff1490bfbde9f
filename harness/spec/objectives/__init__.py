"""Objectives: what a model is trained for, a module each. A line here makes one known to recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from harness.spec.objectives.base import Objective as Objective

# isort: off
# The registry, a line for each, in the order in which they are listed; its members are what is imported here.
from harness.spec.objectives.sft import SFT as SFT
from harness.spec.objectives.text import TEXT as TEXT
from harness.spec.objectives.dpo import DPO as DPO
# isort: on

_ALL = [one for one in list(globals().values()) if isinstance(one, Objective)]
OBJECTIVES = {one.name: one for one in _ALL}
DRAFTED = {column: one for one in _ALL for column in one.drafted}  # what ``harness init`` chooses for rows with it
if len(OBJECTIVES) < len(_ALL) or len(DRAFTED) < sum(len(one.drafted) for one in _ALL):
    raise TypeError(f"two objectives have one name, or are drafted for the same rows: {', '.join(OBJECTIVES)}")
if TYPE_CHECKING:
    ObjectiveName = str
else:
    ObjectiveName = Literal[tuple(OBJECTIVES)]
