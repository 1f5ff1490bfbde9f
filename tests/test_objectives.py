"""All objectives through the same study file: from rows to decisions, on a tiny model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from harness.store import Store
from tests.command import harness
from tests.nursery import Nursery

ROWS: dict[str, list[dict[str, Any]]] = {
    "text": [{"text": f"The number after {i} is {i + 1}. " * (1 + i % 3)} for i in range(40)],
    "dpo": [{"prompt": f"Q: {i} + 1\nA:", "chosen": f" {i + 1}", "rejected": f" {i + 3}"} for i in range(40)],
}


def study(objective: str) -> dict[str, Any]:
    return {
        "study": f"tiny-{objective}",
        "question": "Is more of it better?",
        "model": "model",
        "recipe": {
            "objective": objective, "lora": {"r": 4, "alpha": 8}, "learning_rate": 1e-2, "batch": 2, "steps": 4,
            "max_length": 64,
        },
        "suite": {
            "suite": "held-out",
            "tasks": {
                "sums": {
                    "task": "chain_sum", "generator": "reasoning-gym", "config": {"max_terms": 2, "max_digits": 2},
                    "items": 12, "question": "Q: {expression}\nA:",
                },
            },
        },
        "sources": {"own": {"path": "rows.jsonl"}},
        "baseline": {"mix": {"own": 8}},
        "arms": {"more": {"mix": {"own": 24}}},
        "controls": [],
        "seeds": 2,
        "decide": {"metric": "sums/gold_logprob_per_token", "smallest_effect": 0.05},
        "waive": ["controls: four runs show that it works"],
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["text", "dpo"])
def test_a_study_of_another_objective(nursery: Nursery, study_folder: Path, objective: str) -> None:
    (study_folder / "study.yaml").write_text(yaml.safe_dump(study(objective)))
    (study_folder / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS[objective])))
    done = nursery.call("run", "study.yaml", "--workers", "1", cwd=study_folder)
    assert done.code == 0, done.err
    store = Store(study_folder / ".harness")
    adapters = store.artifacts("adapter")
    assert len(adapters) == 4
    for adapter in adapters:
        losses = [entry["loss"] for entry in adapter.record.data["curve"]]
        assert len(losses) == 4
        # Text is learned at once; before its first step a preference is a coin toss, and four steps are few.
        assert losses[-1] < losses[0] if objective == "text" else losses[0] == pytest.approx(math.log(2), abs=1e-4)
        assert adapter.record.spec["recipe"]["objective"] == objective
    tokens = pl.read_ipc(store.artifacts("tokens")[0].folder / "tokens.arrow")
    assert tokens["rejected_ids"].null_count() == (0 if objective == "dpo" else len(tokens))
    decided = harness("decide", "study.yaml", "--json", cwd=study_folder).json
    assert [one["subject"] for one in decided["decisions"]] == ["own"]


def test_rows_that_an_objective_cannot_use_are_named(study_folder: Path) -> None:
    (study_folder / "study.yaml").write_text(yaml.safe_dump(study("dpo")))
    (study_folder / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS["text"])))
    refused = harness("plan", "study.yaml", cwd=study_folder)
    assert refused.code == 2
    assert "objective dpo needs prompt, chosen and rejected" in refused.err
