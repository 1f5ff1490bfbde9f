"""Whether a base model can take what a recipe will feed it, asked of its folder before anything is started."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

from harness import tokenizer
from harness.errors import RequestError
from harness.spec import Recipe

# How configurations call the longest sequence.
POSITIONS = ("n_positions", "max_position_embeddings", "n_ctx", "max_seq_len")
# Weights that hold a vector for every position: beyond the last there is none.
TABLE = re.compile(r"(^|\.)(wpe|embed_positions|position_embeddings?|positions_embed)\.weight$")
# Types of models that compute such a table once, of a fixed size.
COMPUTED = {"codegen", "ctrl", "gptj", "mpt"}


def refuse_unfit(folder: Path, recipe: Recipe) -> None:
    """Refuse a recipe whose rows may be longer than the model can take.

    Raises:
        RequestError: The model has no positions for them.
    """
    most = positions(folder)
    if most is not None and recipe.max_length > most and _bounded(folder):
        raise RequestError(
            f"recipe.max_length is {recipe.max_length:,}, the model has {most:,} positions: it cannot be more than that"
        )


def positions(folder: Path) -> int | None:
    """Return the longest sequence that a model was made for; None where its configuration does not say."""
    config = tokenizer.text_config(folder)
    found = (config.get(name) for name in POSITIONS)
    return next((one for one in found if type(one) is int and one > 0), None)


def _bounded(folder: Path) -> bool:
    """Tell whether a longer sequence is an error: rotary positions and biases by distance merely go on."""
    if tokenizer.text_config(folder).get("model_type") in COMPUTED:
        return True
    return any(TABLE.search(name) for file in folder.glob("*.safetensors") for name in _tensors(file))


def _tensors(file: Path) -> list[str]:
    """Return the names of a file's tensors, which stand at its beginning; none where it is not whole."""
    try:
        with file.open("rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            if size > file.stat().st_size:
                return []
            header = json.loads(stream.read(size))
    except (OSError, ValueError, struct.error):  # whoever loads the weights says what is wrong with them
        return []
    return [name for name in header if name != "__metadata__"] if isinstance(header, dict) else []
