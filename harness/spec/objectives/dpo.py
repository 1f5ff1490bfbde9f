"""``dpo``: direct preference optimization on pairs. The reference is the base model, its adapter off.

Loss and metrics are TRL's own: a mean over pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.spec.objectives.base import Form, Objective

if TYPE_CHECKING:
    from harness.tokens import Encoded

PAIR = ("chosen", "rejected")


def columns(pair: Encoded) -> dict[str, Any]:
    """Return the columns that TRL's collator reads. Prompts are the same in both sequences."""
    assert pair.rejected is not None
    return {
        "prompt_ids": pair.input_ids[: pair.start],
        "chosen_ids": pair.input_ids[pair.start :],
        "rejected_ids": pair.rejected.input_ids[pair.start :],
    }


DPO = Objective(
    name="dpo",
    about="preference pairs",
    needs="prompt, chosen and rejected",
    forms=(Form("messages", PAIR, "the chosen answer"), Form("prompt", PAIR, "the chosen answer")),
    trainer="trl:DPOTrainer",
    config="trl:DPOConfig",
    columns=columns,
    settings=lambda recipe: {"beta": recipe.beta},
    rate=1e-4,
    drafted=("chosen",),
)
