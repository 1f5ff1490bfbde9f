"""Logits where they are needed: a model's head runs at some positions only, and most of the work is not done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def head_at(model: Any, at: tuple[Any, Any]) -> Iterator[None]:
    """Let a model's head see some positions only; whatever else the model does to its logits stays in place.

    Args:
        model: A causal language model.
        at: Index of the hidden states (rows, positions). Two lists give logits of shape (positions, vocabulary), in
            their order; two slices keep the batch: (batch, positions, vocabulary).
    """
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda module, args: (args[0][at],))
    try:
        yield
    finally:
        hook.remove()
