import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.errors import StepError
from harness.evaluation import perplexity
from harness.tokens import IGNORED, Encoded


@pytest.fixture(scope="module")
def model(tiny: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny).eval()


def test_it_is_the_model_s_own_loss_whatever_the_batch(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    sequences = []
    for length in (2, 9, 3, 30, 14):
        ids = torch.randint(5, model.config.vocab_size, (length,), generator=generator).tolist()
        sequences.append(Encoded(ids, [IGNORED] * (length // 2) + ids[length // 2 :]))
    with torch.no_grad():
        losses = [
            float(model(torch.tensor([one.input_ids]), labels=torch.tensor([one.labels])).loss) for one in sequences
        ]
    for budget in (1, 40, 10_000):
        monkeypatch.setitem(perplexity.BATCH_TOKENS, "cpu", budget)
        assert perplexity.perplexities(model, sequences) == pytest.approx([math.exp(loss) for loss in losses], rel=1e-5)
    assert perplexity.perplexities(model, []) == []


def test_a_sequence_without_labels_has_none(model: Any) -> None:
    with pytest.raises(StepError, match="training sequence 2 has no token"):
        perplexity.perplexities(model, [Encoded([5, 6], [5, 6]), Encoded([5, 6], [IGNORED, IGNORED])])
