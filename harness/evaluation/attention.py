"""How far back a model's layers see: it decides whether sequences may go through the model as one tree."""

from __future__ import annotations

from typing import Any

# A layer's name in ``layer_types`` -> the configuration's field that bounds how far it sees (None: no bound).
BOUNDS: dict[str, str | None] = {
    "full_attention": None,
    "sliding_attention": "sliding_window",
    "chunked_attention": "attention_chunk_size",
}
# Fields that bound attention in models without ``layer_types``, or beside them.
WINDOWS = ("sliding_window", "attention_chunk_size", "window_size", "attention_window", "attention_window_size")
# Fields that name the layers one by one, in models that mix attention with a recurrent state.
KINDS = ("layers_block_type", "block_types", "layer_block_types", "hybrid_override_pattern", "hybrid_layer_ids")


def reach(model: Any) -> int | None:
    """Return the length up to which every layer of a model sees all earlier tokens.

    A tree of sequences is a mask, so only the mask may decide what a token sees. Within an attention window that is
    true. Beyond it, a mask for full attention shows more than the model was trained to see. A recurrent state (linear
    attention, state space, convolution) ignores the mask: it runs through a tree's branches one after the other.

    Args:
        model: A causal language model of transformers, adapters included.

    Returns:
        Tokens; None without a bound, 0 when no layers are known to see all tokens. The configuration may be silent:
        then only a trial shows it.
    """
    config = model.config.get_text_config()
    if getattr(model, "_is_stateful", False) or any(getattr(config, field, None) for field in KINDS):
        return 0
    layers = getattr(config, "layer_types", None)
    if layers is not None:
        bounds = [BOUNDS.get(layer, "") for layer in set(layers)]
        if "" in bounds:
            return 0
        windows = [getattr(config, field, None) for field in bounds if field is not None]
    else:
        windows = [window for field in WINDOWS if (window := getattr(config, field, None)) is not None]
    known = [window for window in windows if isinstance(window, int)]
    return min(known, default=None) if len(known) == len(windows) else 0
