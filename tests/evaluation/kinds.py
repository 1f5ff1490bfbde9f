"""A tiny random model of every kind of attention that language models use, windowed ones with a window of 48 tokens."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

WINDOW = 48
COMMON = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 1024, "pad_token_id": 0, "bos_token_id": 0,
    "eos_token_id": 1,
}  # fmt: skip
WINDOWED = COMMON | {"sliding_window": WINDOW}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
OLD = {"hidden_size": 32, "n_layer": 2, "n_head": 4}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024}
STATES = {
    "mamba_n_heads": 8, "mamba_d_state": 8, "mamba_d_head": 8, "mamba_n_groups": 2, "mamba_chunk_size": 16,
}  # fmt: skip
LINEAR = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
FULL: dict[str, dict[str, Any]] = {
    "llama": COMMON,  # grouped heads
    "qwen3": COMMON,
    "gpt2": GPT,  # learned positions
    "opt": {**COMMON, "ffn_dim": 64, "word_embed_proj_dim": 32},  # learned positions, taken from the mask
    "gpt_neox": COMMON,
    "bloom": OLD,  # ALiBi, from the mask
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "expansion_ratio": 2, "max_seq_len": 1024},  # ALiBi, by place
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": True},
    "mixtral": COMMON | EXPERTS,
    "olmoe": COMMON | EXPERTS,
}
SLIDING: dict[str, dict[str, Any]] = {
    "mistral": WINDOWED,
    "phi3": {**WINDOWED, "original_max_position_embeddings": 1024},
    "starcoder2": WINDOWED,
    "gemma2": {**WINDOWED, "query_pre_attn_scalar": 8},  # every other layer
    "gemma3_text": {
        **WINDOWED, "query_pre_attn_scalar": 8, "layer_types": ["sliding_attention", "full_attention"],
    },
    "cohere2": WINDOWED,
    "olmo3": WINDOWED,
    "exaone4": {**WINDOWED, "sliding_window_pattern": 2},
    "gpt_oss": WINDOWED | EXPERTS,  # with sinks
    "qwen2": {**WINDOWED, "use_sliding_window": True, "max_window_layers": 0},
    "gpt_neo": {
        "hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]],
        "window_size": WINDOW, "max_position_embeddings": 1024,
    },
    "llama4_text": {**COMMON, "attention_chunk_size": WINDOW, "intermediate_size_mlp": 64, **EXPERTS},  # in chunks
}  # fmt: skip
STATEFUL: dict[str, dict[str, Any]] = {
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    "mamba2": {
        "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2,
        "chunk_size": 16,
    },
    "qwen3_5_text": COMMON | LINEAR,
    "qwen3_next": {**COMMON, **LINEAR, **EXPERTS, "shared_expert_intermediate_size": 32},
    "minimax": {**COMMON, "block_size": 32, **EXPERTS},
    "lfm2": {**COMMON, "layer_types": ["conv", "full_attention"], "block_ff_dim": 64},
    "granitemoehybrid": {
        **COMMON, **STATES, "layer_types": ["mamba", "attention"], "shared_intermediate_size": 32, **EXPERTS,
    },
    "falcon_h1": {**COMMON, **STATES, "mamba_d_ssm": 64},
    "bamba": {**COMMON, **STATES, "attn_layer_indices": [1]},
    "jamba": {**COMMON, "attn_layer_offset": 1, "attn_layer_period": 2, "mamba_d_state": 8, **EXPERTS},
    "recurrent_gemma": {
        **COMMON, "lru_width": 32, "attention_window_size": WINDOW, "block_types": ["recurrent", "attention"],
    },
    "nemotron_h": {
        **COMMON, "hybrid_override_pattern": "M*", "mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 8,
        "n_groups": 2, "chunk_size": 16,
    },
}  # fmt: skip
KINDS = FULL | SLIDING | STATEFUL


def model_of(kind: str, vocabulary: int) -> Any:
    """Return a model whose answers depend much on what it sees."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, vocab_size=vocabulary, **KINDS[kind])
        model = AutoModelForCausalLM.from_config(config).eval()
        for weights in model.parameters():
            if weights.dim() > 1:
                torch.nn.init.normal_(weights, std=0.25)
    return model
