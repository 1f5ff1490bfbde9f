"""Text from data, made safe to look at: what cannot be seen, or would steer a terminal or a page, is spelled out."""

from __future__ import annotations

import re

# Controls (all but tab and line feed), then what has no width or turns the direction of text around: soft hyphens,
# zero-width and bidirectional characters, line and paragraph separators, byte-order marks, tags, what is no character.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """Return the text with characters that cannot be seen spelled as in Python: ``\\x1b``, ``\\u202e``."""
    return UNSEEN.sub(_spelled, text)


def excerpt(text: str, characters: int = 120) -> str:
    """Return the beginning of a text on one line, made visible; ``…`` where it goes on."""
    flat = " ".join(text[: 4 * characters].split())
    cut = flat if len(flat) <= characters and len(text) <= 4 * characters else flat[: characters - 1] + "…"
    return visible(cut)


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
