"""How far back a model's layers see: what decides whether sequences may go through it as one tree."""

from __future__ import annotations

from typing import Any

# What a layer is called in ``layer_types`` -> the field of the configuration that bounds what it sees (None: nothing).
BOUNDS: dict[str, str | None] = {
    "full_attention": None,
    "sliding_attention": "sliding_window",
    "chunked_attention": "attention_chunk_size",
}
# Fields that bound attention in models without ``layer_types``, or beside them.
WINDOWS = ("sliding_window", "attention_chunk_size", "window_size", "attention_window", "attention_window_size")
# Fields that name the layers one by one in models that mix attention with a state that is carried along.
KINDS = ("layers_block_type", "block_types", "layer_block_types", "hybrid_override_pattern", "hybrid_layer_ids")


def reach(model: Any) -> int | None:
    """Return the length up to which every layer of a model sees all tokens before.

    A tree of sequences is a mask, and what a mask shows must be all that decides. Within a window that is so; beyond
    it a mask for full attention shows more than the model was trained to see; and a state that is carried along from
    token to token (linear attention, state space, convolution) runs through a tree's branches one after the other.

    Args:
        model: A causal language model of transformers, adapters included.

    Returns:
        Tokens; None where there is no bound, 0 where no layers are known to see all. What the configuration does not
        say, a trial has to find out.
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
