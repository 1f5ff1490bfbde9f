"""Rows: where they come from, what is done to them, and the training sets they make.

``decontaminate`` and ``dedupe`` take rows in memory or in files, without a study. They are imported at first use:
``import harness.data`` imports neither torch nor polars.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.data.decontaminated import Decontaminated, decontaminate
    from harness.data.deduped import Deduped, dedupe

__all__ = ["Decontaminated", "Deduped", "decontaminate", "dedupe"]

HOMES = {
    "Decontaminated": "decontaminated", "decontaminate": "decontaminated", "Deduped": "deduped", "dedupe": "deduped",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
