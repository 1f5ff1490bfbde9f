"""Whether a model takes rows of a length, compared with what the model itself does when it gets such a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml

from harness.errors import RequestError
from harness.fitting import positions, refuse_unfit
from harness.spec import Recipe
from tests.command import harness

MOST = 32
SMALL = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SHORT = {"vocab_size": 40, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": MOST}
KINDS: dict[str, dict[str, Any]] = {
    "GPT2": SHORT | {"bos_token_id": 0, "eos_token_id": 0},
    "GPTBigCode": SHORT | {"bos_token_id": 0, "eos_token_id": 0},
    "OPT": SMALL | {"ffn_dim": 16, "word_embed_proj_dim": 16, "max_position_embeddings": MOST},
    "GPTNeo": {"vocab_size": 40, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "bos_token_id": 0,
               "eos_token_id": 0, "attention_types": [[["global"], 1]], "max_position_embeddings": MOST},
    "CodeGen": SHORT | {"rotary_dim": 4, "n_head": 4, "n_embd": 32, "bos_token_id": 0, "eos_token_id": 0},
    "GPTJ": SHORT | {"rotary_dim": 4, "bos_token_id": 0, "eos_token_id": 0},
    "Llama": SMALL | {"intermediate_size": 16, "max_position_embeddings": MOST},
    "GPTNeoX": SMALL | {"intermediate_size": 16, "max_position_embeddings": MOST, "bos_token_id": 0,
                        "eos_token_id": 0},
    "Bloom": {"vocab_size": 40, "hidden_size": 16, "n_layer": 1, "n_head": 2},
    "Mamba": {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4},
}  # fmt: skip


def recipe(length: int) -> Recipe:
    return Recipe(steps=1, max_length=length)


@pytest.mark.parametrize("kind", KINDS)
def test_a_length_is_refused_where_the_model_fails_on_it(tmp_path: Path, kind: str) -> None:
    config = getattr(transformers, f"{kind}Config")(**KINDS[kind])
    model = getattr(transformers, f"{kind}LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM")(config).eval()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        model(torch.ones((1, MOST), dtype=torch.long), use_cache=False)
        try:
            model(torch.ones((1, MOST + 8), dtype=torch.long), use_cache=False)
            fails = False
        except (IndexError, RuntimeError):
            fails = True
    assert fails == (kind in ("GPT2", "GPTBigCode", "OPT", "GPTNeo", "CodeGen", "GPTJ"))
    refuse_unfit(tmp_path, recipe(MOST))
    if fails:
        with pytest.raises(RequestError, match=f"recipe.max_length is 40, the model has {MOST} positions"):
            refuse_unfit(tmp_path, recipe(40))
    else:
        refuse_unfit(tmp_path, recipe(40))
    assert positions(tmp_path) == (None if kind in ("Bloom", "Mamba") else MOST)


def test_a_plan_says_so_with_the_line_of_the_study(study_folder: Path, tmp_path: Path) -> None:
    config = transformers.GPT2Config(**KINDS["GPT2"] | {"vocab_size": 300})
    model = tmp_path / "short"
    model.mkdir()
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (model / file).write_bytes((study_folder / "model" / file).read_bytes())
    transformers.GPT2LMHeadModel(config).save_pretrained(model)
    study = yaml.safe_load((study_folder / "study.yaml").read_text()) | {"model": str(model)}
    (study_folder / "study.yaml").write_text(yaml.safe_dump(study))
    done = harness("plan", "study.yaml", cwd=study_folder)
    assert done.code == 2
    assert "study.yaml:" in done.err
    assert "recipe.max_length is 64, the model has 32 positions" in done.err
    assert "Traceback" not in done.err
