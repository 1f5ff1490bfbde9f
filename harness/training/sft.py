"""Supervised fine-tuning and continued pretraining through TRL's ``SFTTrainer``.

What differs from stock, and why (2 cores, SmolLM2-135M, rows of 17 tokens):

* Row order is ours (``order.schedule``), so that arms which share rows see them in the same order.
* The LM head runs only where there are labels, with plain cross-entropy. The stock loss also computes entropy and
  top-1 accuracy over the vocabulary, in unfused torch, which is slow on a CPU.
* Each global batch is sorted by length and cut into equal micro-batches under a token budget. The loss is divided by
  the batch's label tokens, so the result is the same to rounding, and padding shrinks.
"""

from __future__ import annotations

from typing import Any

from torch.nn.functional import cross_entropy
from trl import SFTTrainer

from harness.positions import head_at
from harness.tokens import IGNORED


class LabelTokenTrainer(SFTTrainer):  # type: ignore[misc]
    """``SFTTrainer`` with the loss computed at label positions only."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean loss of the tokens that have labels."""
        labels = inputs["labels"][:, 1:]
        rows, positions = (labels != IGNORED).nonzero(as_tuple=True)
        with head_at(self.model, (rows, positions)):
            outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        total = cross_entropy(outputs.logits.float(), labels[rows, positions], reduction="sum")
        loss = total / (len(rows) if num_items_in_batch is None else num_items_in_batch)
        return (loss, outputs) if return_outputs else loss
