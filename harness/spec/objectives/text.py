"""``text``: continued pretraining on raw text, all of which is learned."""

from __future__ import annotations

from dataclasses import replace

from harness.spec.objectives.base import Form
from harness.spec.objectives.sft import SFT

TEXT = replace(
    SFT,
    name="text",
    about="raw text, packed",
    needs="text",
    forms=(Form(None, ("text",), "the text"),),
    refused={},
    packed=True,
    short_rate=None,
    drafted=("text",),
)
