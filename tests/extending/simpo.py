"""An objective: preference pairs by SimPO, which needs no reference and by which longer answers are not better."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.spec.objectives.dpo import DPO

if TYPE_CHECKING:
    from harness.tokens import Encoded


def columns(pair: Encoded) -> dict[str, Any]:
    """Return the columns that TRL's collator reads."""
    made: dict[str, Any] = {}
    for side, one in (("chosen", pair), ("rejected", pair.rejected)):
        assert one is not None
        made[f"{side}_input_ids"], made[f"{side}_labels"] = one.input_ids, one.labels
        made[f"{side}_attention_mask"] = [1] * len(one.input_ids)
    return made


SIMPO = replace(
    DPO,
    name="simpo",
    about="preference pairs, without a reference",
    trainer="trl.experimental.cpo:CPOTrainer",
    config="trl.experimental.cpo:CPOConfig",
    columns=columns,
    settings=lambda recipe: {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": recipe.beta},
    drafted=(),
)
