"""Preference pairs through TRL's ``DPOTrainer``: the reference is the base model, its adapter off.

Loss and metrics are stock. Rows arrive tokenized, in the order to train in, and each global batch is sorted by length:
its loss is a mean over pairs, and micro-batches are equal, so the result is the same to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainerCallback
from trl import DPOConfig, DPOTrainer

from harness.spec import Recipe
from harness.tokens import IGNORED, Encoded


def trainer(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    sequence: Sequence[Encoded],
    recipe: Recipe,
    settings: dict[str, Any],
    callbacks: list[TrainerCallback],
) -> DPOTrainer:
    """Return a trainer that takes the pairs in their order."""
    return _TokenizedTrainer(
        model=model,
        args=DPOConfig(**settings, beta=recipe.beta, max_length=recipe.max_length),
        train_dataset=Dataset.from_list([_columns(pair) for pair in sequence]),
        processing_class=tokenizer,
        callbacks=callbacks,
    )


def _columns(pair: Encoded) -> dict[str, list[int]]:
    """Return the columns that TRL's collator reads. Prompts are the same in both sequences."""
    assert pair.rejected is not None
    start = next(i for i, label in enumerate(pair.labels) if label != IGNORED)
    return {
        "prompt_ids": pair.input_ids[:start],
        "chosen_ids": pair.input_ids[start:],
        "rejected_ids": pair.rejected.input_ids[start:],
    }


class _TokenizedTrainer(DPOTrainer):  # type: ignore[misc]
    """``DPOTrainer`` for rows that are tokenized already; unlike ``SFTTrainer`` it has no setting for that."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset
