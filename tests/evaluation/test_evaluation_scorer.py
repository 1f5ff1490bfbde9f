"""The scorer against lm-eval's own model class, request by request, on models of several kinds of attention."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from harness.evaluation import scorer
from harness.evaluation.scorer import Scorer


@pytest.fixture(autouse=True)
def _untried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "TRIED", {})


EXAMPLES = "Which pet? A cat and a dog sat on the log. Answer: mat. Which number? One, two, three. Answer: red. "


def model_of(kind: str, vocabulary: int) -> Any:
    torch.manual_seed(0)
    if kind == "gpt2":  # learned positions
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=vocabulary, n_positions=256, n_embd=32, n_layer=2, n_head=2)
        ).eval()
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.3,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    if kind == "eager":
        model.set_attn_implementation("eager")
    return model


def requests(prefix: str) -> list[Instance]:
    pairs = []
    for item in range(7):
        context = f"{prefix}Question {item}: the {'big ' * (item % 3)}cat number {item} is\nAnswer:"
        pairs += [(context, f" {word}") for word in ("red", "red log", "green", "a blue mat", "two")]
    pairs += [(f"{prefix}the {start} sat", " on the mat") for start in ("cat", "dog", "cat dog")]
    pairs.append((f"{prefix}alone", " three"))
    return [
        Instance("loglikelihood", {}, pair, number, task_name="t", doc_id=number) for number, pair in enumerate(pairs)
    ]


@pytest.mark.parametrize("prefix", ["", EXAMPLES], ids=["bare", "examples"])
@pytest.mark.parametrize("kind", ["llama", "eager", "gpt2"])
def test_equals_stock(tiny: Path, kind: str, prefix: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = model_of(kind, len(tokenizer))
    asked = requests(prefix)
    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4).loglikelihood(asked, disable_tqdm=True)
    ours = Scorer(model, tokenizer, 256, None, len(asked))
    found = ours.loglikelihood(asked)
    assert [ll for ll, _ in found] == pytest.approx([ll for ll, _ in stock], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in stock]
    assert ours.shared_context is True
    plain = sum(len(tokenizer(c + a).input_ids) - 1 for c, a in (one.args for one in asked))
    assert ours.tokens < plain / (4 if prefix else 2)


def test_a_model_that_ignores_masks_is_found_out_and_scored_input_by_input(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = model_of("llama", len(tokenizer))
    asked = requests(EXAMPLES)
    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4).loglikelihood(asked, disable_tqdm=True)
    forward = model.forward

    def deaf(*args: Any, attention_mask: Any = None, position_ids: Any = None, **options: Any) -> Any:
        return forward(*args, **options)

    monkeypatch.setattr(model, "forward", deaf)
    ours = Scorer(model, tokenizer, 256, None, len(asked))
    found = ours.loglikelihood(asked)
    assert ours.shared_context is False
    assert [ll for ll, _ in found] == pytest.approx([ll for ll, _ in stock], abs=1e-4)


def test_whether_a_model_takes_masks_is_tried_once_per_kind_of_model(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    asked = requests(EXAMPLES)
    tried = []
    trial = scorer.Scorer._exact
    monkeypatch.setattr(scorer.Scorer, "_exact", lambda self, one: tried.append(len(one)) or trial(self, one))
    model = model_of("llama", len(tokenizer))
    for _ in range(2):
        Scorer(model, tokenizer, 256, None, len(asked)).loglikelihood(asked)
    assert len(tried) == 1
    model.set_attn_implementation("eager")  # another kind: nothing is known of it
    Scorer(model, tokenizer, 256, None, len(asked)).loglikelihood(asked)
    assert len(tried) == 2
    longer = requests(EXAMPLES * 2)  # at this length nothing is known of it either
    Scorer(model, tokenizer, 256, None, len(asked)).loglikelihood(longer)
    assert tried[2] > tried[1]
    Scorer(model, tokenizer, 256, None, len(asked)).loglikelihood(asked)
    assert len(tried) == 3


def test_memory_that_runs_out_is_no_word_about_masks(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = model_of("llama", len(tokenizer))

    def full(*args: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(model, "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        Scorer(model, tokenizer, 256, None, 1).loglikelihood(requests(EXAMPLES))
    assert not scorer.TRIED


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, KeyError, AssertionError, NotImplementedError])
def test_a_model_that_fails_at_masks_is_scored_input_by_input(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = model_of("llama", len(tokenizer))
    asked = requests(EXAMPLES)
    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4).loglikelihood(asked, disable_tqdm=True)
    forward = model.forward

    def refusing(*args: Any, **options: Any) -> Any:
        if options.get("use_cache") or options.get("attention_mask") is not None:
            raise error("not with me")
        return forward(*args, **options)

    monkeypatch.setattr(model, "forward", refusing)
    ours = Scorer(model, tokenizer, 256, None, len(asked))
    found = ours.loglikelihood(asked)
    assert ours.shared_context is False
    assert [ll for ll, _ in found] == pytest.approx([ll for ll, _ in stock], abs=1e-4)


def test_a_long_context_loses_its_start_as_in_stock(tiny: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = model_of("gpt2", len(tokenizer))
    long = "the cat sat on the log and " * 60
    asked = [
        Instance("loglikelihood", {}, (long, f" {word}"), i, task_name="t", doc_id=i)
        for i, word in enumerate(("red", "red log"))
    ]
    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1).loglikelihood(asked, disable_tqdm=True)
    found = Scorer(model, tokenizer, 256, None, len(asked)).loglikelihood(asked)
    assert [ll for ll, _ in found] == pytest.approx([ll for ll, _ in stock], abs=1e-4)


def test_a_cache_leaves_every_answer_a_token_of_context(tiny: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = model_of("llama", len(tokenizer))
    # All inputs are alike but for the answer: the cache may not hold the token that predicts its first token.
    asked = [
        Instance("loglikelihood", {}, (EXAMPLES, f"{word}"), i, task_name="t", doc_id=i)
        for i, word in enumerate(("red", "green blue", "two three one"))
    ]
    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1).loglikelihood(asked, disable_tqdm=True)
    ours = Scorer(model, tokenizer, 256, None, len(asked))
    assert [a for a, _ in ours.loglikelihood(asked)] == pytest.approx([a for a, _ in stock], abs=1e-4)
    assert ours.tokens > scorer.CACHED
