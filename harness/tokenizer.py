"""What the files of a model's folder say of its tokenizer: token ids of text, and the tokens that mean something.

``transformers`` reads the same files; where these functions do something else than it, they do it to its tokenizers
too (``begins_only``, ``models.load``), so that training and evaluation see the same tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import RequestError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NAMED = ("bos_token", "eos_token", "pad_token", "unk_token")
PROBE = "a"  # any text that is a token or more


def read(folder: Path) -> Tokenizer:
    """Read a fast tokenizer, which cuts and pads nothing and puts nothing behind a text.

    Raises:
        RequestError: There is none, or its file is damaged.
    """
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise RequestError(f"{folder}: no tokenizer.json; the harness needs a model with a fast tokenizer")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more special
        raise RequestError(f"{file}: not a tokenizer ({str(error).splitlines()[0]})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    begins_only(tokenizer)
    # As transformers does: what a configuration names is one token, whether or not the tokenizer's file says so.
    known = {str(token.content) for token in tokenizer.get_added_tokens_decoder().values()}
    named = [token for token in special_tokens(folder, tokenizer).values() if token and token not in known]
    tokenizer.add_special_tokens([token for token in named if tokenizer.token_to_id(token) is not None])
    return tokenizer


def begins_only(tokenizer: Tokenizer) -> None:
    """Let a tokenizer put before a text what it puts there, but nothing behind it.

    Some are saved so that they end every text (``add_eos_token``). A row would end twice then, and a question that is
    to be answered would have ended before its answer begins.
    """
    from tokenizers.processors import TemplateProcessing

    probe = tokenizer.encode(PROBE)
    added = probe.special_tokens_mask
    if not added or not added[-1] or all(added):
        return
    before = [(token, token_id) for token, token_id in zip(probe.tokens, probe.ids, strict=True)]
    before = before[: added.index(0)]
    start = [token for token, _ in before]
    tokenizer.post_processor = TemplateProcessing(
        single=[*start, "$A"], pair=[*start, "$A", "$B"], special_tokens=list(dict(before).items())
    )


def special_tokens(folder: Path, tokenizer: Tokenizer) -> dict[str, str | None]:
    """Return the tokens that have a name (``eos_token`` and so on).

    ``tokenizer_config.json`` names them; what it does not, older folders name in ``special_tokens_map.json``, and the
    end of a text ``generation_config.json`` or ``config.json`` by its id.

    Raises:
        RequestError: A file is not JSON, or not an object.
    """
    config, older = json_object(folder, "tokenizer_config.json"), json_object(folder, "special_tokens_map.json")
    if "added_tokens_decoder" not in config:  # transformers lets the older file win then
        config = config | {name: token for name, token in older.items() if token}
    found = {name: _content(config.get(name)) or _content(older.get(name)) for name in NAMED}
    if not found["eos_token"]:
        named = (tokenizer.id_to_token(token_id) for token_id in _ends(folder))
        found["eos_token"] = next((token for token in named if token), None)
    return found


def stops(folder: Path, tokenizer: Tokenizer) -> frozenset[int]:
    """Return the ids of the tokens at which a model stops when it generates."""
    eos = special_tokens(folder, tokenizer)["eos_token"]
    known = tokenizer.token_to_id(eos) if eos else None
    return frozenset(_ends(folder)) | ({known} if known is not None else set())


def json_object(folder: Path, name: str) -> dict[str, Any]:
    """Return what a file of a folder holds; nothing where there is no such file.

    Raises:
        RequestError: It is not JSON, or not an object.
    """
    if not (folder / name).is_file():
        return {}
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{folder / name}: not JSON ({str(error) or 'nested too deep'})") from error
    if not isinstance(value, dict):
        raise RequestError(f"{folder / name}: expected an object, not {type(value).__name__}")
    return value


def text_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of a folder's language model, which in a model of several kinds is a part of it."""
    config = json_object(folder, "config.json")
    inner = config.get("text_config")
    return config | inner if isinstance(inner, dict) else config


def embeddings(folder: Path) -> int | None:
    """Return how many token ids the model has embeddings for; None where its configuration does not say."""
    rows = text_config(folder).get("vocab_size")
    return rows if isinstance(rows, int) and not isinstance(rows, bool) else None


def _ends(folder: Path) -> Iterator[int]:
    for config in (json_object(folder, "generation_config.json"), text_config(folder)):
        ids = config.get("eos_token_id")
        ids = [one for one in (ids if isinstance(ids, list) else [ids]) if type(one) is int and one >= 0]
        if ids:
            yield from ids
            return


def _content(token: Any) -> str | None:
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None
