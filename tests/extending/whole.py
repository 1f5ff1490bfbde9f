"""An objective: completions and their prompts are learned, which helps where prompts are long and completions short."""

from __future__ import annotations

from dataclasses import replace

from harness.spec.objectives.sft import SFT

WHOLE = replace(SFT, name="whole", about="prompts and completions, both learned", prompts=True, drafted=())
