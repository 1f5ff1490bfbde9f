"""``sft``: supervised fine-tuning on completions. The prompt is read and not learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.spec.objectives.base import Form, Objective

if TYPE_CHECKING:
    from harness.tokens import Encoded


def columns(row: Encoded) -> dict[str, Any]:
    """Return the columns that TRL's collator reads."""
    return {"input_ids": row.input_ids, "labels": row.labels}


SFT = Objective(
    name="sft",
    about="completions",
    needs="prompt and completion, messages or text",
    forms=(
        Form("messages", (), "the last answer"),
        Form("prompt", ("completion",), "the completion"),
        Form(None, ("text",), "the text"),
    ),
    refused={"chosen": "it is a preference pair, which objective {objective} cannot use; use dpo"},
    trainer="harness.training.sft:LabelTokenTrainer",
    config="trl:SFTConfig",
    columns=columns,
    settings=lambda recipe: {"dataset_kwargs": {"skip_prepare_dataset": True}},
    rate=2e-4,  # at 5e-4, a few steps of a small batch differ from seed to seed six times as much
    short_rate=7e-4,
    drafted=("messages", "completion"),
)
