"""Training: equal to the stock trainer, repeatable, and the base model untouched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from peft import get_peft_model
from safetensors.torch import load_file
from transformers import set_seed
from trl import SFTTrainer

from harness import models
from harness.errors import StepError
from harness.spec import Lora, Recipe
from harness.tokens import IGNORED, Encoded, RowEncoder
from harness.training import sft

RECIPE = Recipe(lora=Lora(r=4, alpha=8), learning_rate=1e-2, warmup_steps=2, batch=8, steps=20)


@pytest.fixture(scope="module")
def rows(tiny: Path) -> list[Encoded]:
    """Rows of very different lengths, so that sorting and padding matter."""
    encoder = RowEncoder(tiny, chat_template=False, max_length=128)
    texts = [
        {"prompt": f"Q: {'word ' * (i % 7)}{i} + {i} =\nA:", "completion": f" {2 * i}" * (1 + i % 3)} for i in range(24)
    ]
    return [encoder.encode(text) for text in texts]


@pytest.fixture
def base(tiny: Path) -> tuple[Any, Any]:
    return models.load(tiny, "cpu")


IDS = [str(i) for i in range(24)]


def test_loss_and_adapter_equal_the_stock_trainer(tiny: Path, base: Any, rows: list[Encoded], tmp_path: Path) -> None:
    ours = sft.train(*base, rows, IDS, RECIPE, 3, tmp_path / "ours")

    model, tokenizer = models.load(tiny, "cpu")
    order = sft.schedule(IDS, RECIPE, 3)
    sequence = [rows[i] for i in order]  # as drawn: neither sorted nor cut into micro-batches
    set_seed(3)
    adapted = get_peft_model(model, sft._lora(RECIPE))
    trainer = SFTTrainer(
        model=adapted,
        args=sft._arguments(RECIPE, 3, 20, 8, tmp_path / "stock", "cpu"),
        train_dataset=Dataset.from_dict(
            {"input_ids": [r.input_ids for r in sequence], "labels": [r.labels for r in sequence]}
        ),
        processing_class=tokenizer,
    )
    trainer.train()
    adapted.save_pretrained(tmp_path / "stock")
    stock = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    assert [entry["loss"] for entry in ours.curve] == pytest.approx(stock, rel=1e-4)
    one = load_file(tmp_path / "ours" / "adapter_model.safetensors")
    other = load_file(tmp_path / "stock" / "adapter_model.safetensors")
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("budget", [1, 64, 10_000])
def test_the_micro_batch_does_not_change_the_result(
    base: Any, rows: list[Encoded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    reference = sft.train(*base, rows, IDS, RECIPE, 1, tmp_path / "reference")
    monkeypatch.setitem(sft.TOKEN_BUDGET, "cpu", budget)
    other = sft.train(*base, rows, IDS, RECIPE, 1, tmp_path / "other")
    assert [e["loss"] for e in other.curve] == pytest.approx([e["loss"] for e in reference.curve], rel=1e-4)
    assert [e["grad_norm"] for e in other.curve] == pytest.approx([e["grad_norm"] for e in reference.curve], rel=1e-3)


def test_a_second_run_in_one_process_equals_a_fresh_one(
    base: Any, rows: list[Encoded], tmp_path: Path, tiny: Path
) -> None:
    first = sft.train(*base, rows, IDS, RECIPE, 1, tmp_path / "a")
    sft.train(*base, rows, IDS, RECIPE, 2, tmp_path / "b")
    again = sft.train(*base, rows, IDS, RECIPE, 1, tmp_path / "c")
    fresh = sft.train(*models.load(tiny, "cpu"), rows, IDS, RECIPE, 1, tmp_path / "d")
    assert first.digest == again.digest == fresh.digest
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"adapter_model.safetensors", "adapter_config.json"}


def test_the_base_model_is_left_as_it_was(base: Any, rows: list[Encoded], tmp_path: Path) -> None:
    model, tokenizer = base
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sft.train(model, tokenizer, rows, IDS, RECIPE, 1, tmp_path)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert "forward" not in model.__dict__


def test_an_adapter_changes_the_model_only_while_it_is_on(base: Any, rows: list[Encoded], tmp_path: Path) -> None:
    model, tokenizer = base
    sft.train(model, tokenizer, rows, IDS, RECIPE, 1, tmp_path)
    ids = torch.tensor([rows[0].input_ids])
    plain = model(ids).logits
    with sft.adapted(model, tmp_path) as changed:
        assert not torch.allclose(changed(ids).logits, plain)
    assert torch.equal(model(ids).logits, plain)


def test_arms_start_from_the_same_adapter_at_the_same_seed(base: Any, rows: list[Encoded], tmp_path: Path) -> None:
    still = RECIPE.model_copy(update={"steps": 1, "warmup_steps": 1})  # the first warm-up step has learning rate 0
    one = sft.train(*base, rows[:12], IDS[:12], still, 1, tmp_path / "one")
    other = sft.train(*base, rows[12:], IDS[12:], still, 1, tmp_path / "other")
    assert one.curve[0]["learning_rate"] == 0
    assert one.digest == other.digest


def test_rows_without_anything_to_learn_are_refused(base: Any, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="max_length shorter than the prompts"):
        sft.train(*base, [Encoded([5, 6], [IGNORED, IGNORED])], ["0"], RECIPE, 1, tmp_path)


def test_a_diverging_run_says_so(base: Any, rows: list[Encoded], tmp_path: Path) -> None:
    wild = RECIPE.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e30})
    with pytest.raises(StepError, match=r"lower recipe\.learning_rate"):
        sft.train(*base, rows, IDS, wild, 1, tmp_path)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 30), st.integers(0, 1000))
def test_every_epoch_shows_every_row_once(rows: int, batch: int, steps: int, seed: int) -> None:
    recipe = RECIPE.model_copy(update={"batch": batch, "steps": steps})
    order = sft.schedule([str(i) for i in range(rows)], recipe, seed)
    assert len(order) == batch * steps
    for start in range(0, len(order) - rows + 1, rows):
        assert sorted(order[start : start + rows]) == list(range(rows))


@given(st.integers(2, 40), st.integers(0, 1000))
def test_shared_rows_keep_their_relative_order(rows: int, seed: int) -> None:
    ids = [str(i) for i in range(rows)]
    recipe = Recipe(batch=1, epochs=1)
    whole = [ids[i] for i in sft.schedule(ids, recipe, seed)]
    half = [ids[::2][i] for i in sft.schedule(ids[::2], recipe, seed)]
    assert half == [name for name in whole if name in set(half)]


@given(st.lists(st.integers(1, 500), min_size=1), st.integers(1, 64))
def test_micro_batches_divide_the_global_batch(lengths: list[int], batch: int) -> None:
    micro = sft.micro_batch(lengths, batch, "cpu")
    assert batch % micro == 0
    assert 1 <= micro <= batch
