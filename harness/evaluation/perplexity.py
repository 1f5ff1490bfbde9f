"""Perplexity of training sequences under a model, over the tokens that the loss counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from harness.errors import StepError
from harness.positions import head_at
from harness.tokens import IGNORED, Encoded

BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}  # padded tokens per forward pass


def perplexities(model: Any, sequences: Sequence[Encoded]) -> list[float]:
    """Return exp(mean negative log-likelihood) of the labelled tokens of every sequence.

    Args:
        model: A causal language model on its device.
        sequences: Token ids and labels; the loss counts labelled tokens.

    Raises:
        StepError: A sequence has no labelled token.
    """
    answers = [0.0] * len(sequences)
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i].input_ids))
    budget = BATCH_TOKENS["cuda" if model.device.type == "cuda" else "cpu"]
    start = 0
    while start < len(order):
        width = len(sequences[order[start]].input_ids)
        chosen = order[start : start + max(1, budget // width)]
        start += len(chosen)
        for i, value in zip(chosen, _mean_losses(model, [sequences[i] for i in chosen]), strict=True):
            if math.isnan(value):
                raise StepError(f"training sequence {i + 1} has no token that the loss counts: no perplexity")
            answers[i] = math.exp(min(value, 700.0))  # e^700 is the largest a float can hold
    return answers


def _mean_losses(model: Any, batch: Sequence[Encoded]) -> list[float]:
    """Return the mean loss per sequence; padding on the right needs no mask, since attention is causal."""
    width = max(len(one.input_ids) for one in batch)
    ids = torch.tensor([[*one.input_ids, *[0] * (width - len(one.input_ids))] for one in batch], device=model.device)
    labels = torch.tensor([[*one.labels, *[IGNORED] * (width - len(one.labels))] for one in batch])[:, 1:]
    rows, columns = (labels != IGNORED).nonzero(as_tuple=True)
    with head_at(model, (rows, columns)), torch.no_grad():
        logits = model(ids, use_cache=False).logits.float()
    targets = labels[rows, columns].to(logits.device)
    losses = (logits.logsumexp(-1) - logits.gather(1, targets[:, None])[:, 0]).cpu()
    totals = torch.zeros(len(batch)).index_add_(0, rows, losses)
    counts = torch.bincount(rows, minlength=len(batch))
    return [float(value) for value in totals / counts]
