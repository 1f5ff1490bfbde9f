"""Every kind of attention gives the scores that lm-eval's own model class gives, inside its window and beyond."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoTokenizer

from harness.evaluation import scorer
from harness.evaluation.attention import reach
from harness.evaluation.scorer import Scorer
from tests.evaluation.kinds import FULL, KINDS, SLIDING, STATEFUL, WINDOW, model_of

EXAMPLES = "".join(f"Question: is {n} a cat? Answer: {'yes' if n % 2 else 'no'} red.\n" for n in range(5))


@pytest.fixture(autouse=True)
def _untried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "TRIED", {})


def requests(prefix: str) -> list[Instance]:
    """Items of four options; the bare ones are from a little shorter than a window to three windows long."""
    pairs = []
    for item in range(12):
        context = f"{prefix}Question {item}: {'the dog sat ' * item}and the cat is\nAnswer:"
        pairs += [(context, f" {word}") for word in ("red", "red log", "green one", "a blue mat")]
    return [Instance("loglikelihood", {}, pair, n, task_name="t", doc_id=n // 4) for n, pair in enumerate(pairs)]


@pytest.mark.parametrize("examples", [0, 5])
@pytest.mark.parametrize("kind", list(KINDS))
def test_scores_are_those_of_lm_eval(tiny: Path, kind: str, examples: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model: Any = model_of(kind, len(tokenizer))
    asked = requests(EXAMPLES if examples else "")
    lengths = {len(tokenizer(context + answer).input_ids) for context, answer in (one.args for one in asked)}
    assert max(lengths) > 2 * WINDOW
    assert bool(examples) == (min(lengths) > WINDOW)
    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8).loglikelihood(asked, disable_tqdm=True)
    ours = Scorer(model, tokenizer, 256, None, len(asked))
    found = ours.loglikelihood(asked)
    assert [ll for ll, _ in found] == pytest.approx([ll for ll, _ in stock], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in stock]
    if kind in STATEFUL:
        assert ours.shared_context is False


def test_how_far_layers_see(tiny: Path) -> None:
    assert {kind: reach(model_of(kind, 300)) for kind in FULL} == dict.fromkeys(FULL)
    assert {kind: reach(model_of(kind, 300)) for kind in SLIDING} == dict.fromkeys(SLIDING, WINDOW)
    assert {kind: reach(model_of(kind, 300)) for kind in STATEFUL} == dict.fromkeys(STATEFUL, 0)


@pytest.mark.parametrize("layers", [["full_attention", "sparse_of_tomorrow"], ["sliding_attention"] * 2, ["conv"] * 2])
def test_layers_that_nobody_knows_share_nothing(tiny: Path, layers: list[str]) -> None:
    model = model_of("llama", 300)
    model.config.layer_types = layers  # a sliding one without its window is unknown too
    assert reach(model) == 0


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
def test_full_attention_shares_the_context_of_options_and_examples(tiny: Path, kind: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    asked = requests(EXAMPLES)
    ours = Scorer(model_of(kind, len(tokenizer)), tokenizer, 256, None, len(asked))
    ours.loglikelihood(asked)
    plain = sum(len(tokenizer(c + a).input_ids) - 1 for c, a in (one.args for one in asked))
    assert ours.shared_context is True
    assert ours.tokens < plain / 5


@pytest.mark.parametrize("kind", list(SLIDING))
def test_items_within_a_window_share_their_context(tiny: Path, kind: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    asked = requests("")
    ours = Scorer(model_of(kind, len(tokenizer)), tokenizer, 256, None, len(asked))
    ours.loglikelihood(asked)
    # Inputs that are the same are computed once anyway: an answer of one token is predicted at its context's last.
    inputs = {tuple(tokenizer(context + answer).input_ids[:-1]) for context, answer in (one.args for one in asked)}
    apart = sum(map(len, inputs))
    assert ours.shared_context is (kind != "gpt_neo")  # which takes no masks
    assert ours.tokens < apart if ours.shared_context else ours.tokens == apart
