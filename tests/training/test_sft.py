"""Training: equal to the stock trainer, repeatable, and the base model untouched."""

from __future__ import annotations

import math
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
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from harness import models
from harness.errors import StepError
from harness.spec import Lora, Recipe
from harness.tokens import IGNORED, Encoded, RowEncoder
from harness.training import checkpoints, order, run

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
    ours = run.train(*base, rows, IDS, RECIPE, 3, tmp_path / "ours")

    model, tokenizer = models.load(tiny, "cpu")
    drawn = order.schedule(IDS, RECIPE, 3)
    sequence = [rows[i] for i in drawn]  # as drawn: neither sorted nor cut into micro-batches
    set_seed(3)
    adapted = get_peft_model(model, run.lora(RECIPE, model))
    trainer = SFTTrainer(
        model=adapted,
        args=SFTConfig(
            **run.arguments(RECIPE, 3, 20, 8, tmp_path / "stock", model),
            max_length=1024,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
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
    reference = run.train(*base, rows, IDS, RECIPE, 1, tmp_path / "reference")
    monkeypatch.setitem(order.TOKEN_BUDGET, "cpu", budget)
    other = run.train(*base, rows, IDS, RECIPE, 1, tmp_path / "other")
    assert [e["loss"] for e in other.curve] == pytest.approx([e["loss"] for e in reference.curve], rel=1e-4)
    assert [e["grad_norm"] for e in other.curve] == pytest.approx([e["grad_norm"] for e in reference.curve], rel=1e-3)


def test_a_second_run_in_one_process_equals_a_fresh_one(
    base: Any, rows: list[Encoded], tmp_path: Path, tiny: Path
) -> None:
    first = run.train(*base, rows, IDS, RECIPE, 1, tmp_path / "a")
    run.train(*base, rows, IDS, RECIPE, 2, tmp_path / "b")
    again = run.train(*base, rows, IDS, RECIPE, 1, tmp_path / "c")
    fresh = run.train(*models.load(tiny, "cpu"), rows, IDS, RECIPE, 1, tmp_path / "d")
    assert first.digest == again.digest == fresh.digest
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"adapter_model.safetensors", "adapter_config.json"}


def test_the_base_model_is_left_as_it_was(base: Any, rows: list[Encoded], tmp_path: Path) -> None:
    model, tokenizer = base
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run.train(model, tokenizer, rows, IDS, RECIPE, 1, tmp_path)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert "forward" not in model.__dict__


def test_an_adapter_changes_the_model_only_while_it_is_on(base: Any, rows: list[Encoded], tmp_path: Path) -> None:
    model, tokenizer = base
    run.train(model, tokenizer, rows, IDS, RECIPE, 1, tmp_path)
    ids = torch.tensor([rows[0].input_ids])
    plain = model(ids).logits
    with run.adapted(model, tmp_path) as changed:
        assert not torch.allclose(changed(ids).logits, plain)
    assert torch.equal(model(ids).logits, plain)


def test_arms_start_from_the_same_adapter_at_the_same_seed(base: Any, rows: list[Encoded], tmp_path: Path) -> None:
    still = RECIPE.model_copy(update={"steps": 1, "warmup_steps": 1})  # the first warm-up step has learning rate 0
    one = run.train(*base, rows[:12], IDS[:12], still, 1, tmp_path / "one")
    other = run.train(*base, rows[12:], IDS[12:], still, 1, tmp_path / "other")
    assert one.curve[0]["learning_rate"] == 0
    assert one.digest == other.digest


def test_rows_without_anything_to_learn_are_refused(base: Any, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="max_length shorter than the prompts"):
        run.train(*base, [Encoded([5, 6], [IGNORED, IGNORED])], ["0"], RECIPE, 1, tmp_path)


def test_a_diverging_run_says_so(base: Any, rows: list[Encoded], tmp_path: Path) -> None:
    wild = RECIPE.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e30})
    with pytest.raises(StepError, match=r"lower recipe\.learning_rate"):
        run.train(*base, rows, IDS, wild, 1, tmp_path)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 30), st.integers(0, 1000))
def test_every_epoch_shows_every_row_once(rows: int, batch: int, steps: int, seed: int) -> None:
    recipe = RECIPE.model_copy(update={"batch": batch, "steps": steps})
    drawn = order.schedule([str(i) for i in range(rows)], recipe, seed)
    assert len(drawn) == batch * steps
    for start in range(0, len(drawn) - rows + 1, rows):
        assert sorted(drawn[start : start + rows]) == list(range(rows))


@given(st.integers(2, 40), st.integers(0, 1000))
def test_shared_rows_keep_their_relative_order(rows: int, seed: int) -> None:
    ids = [str(i) for i in range(rows)]
    recipe = Recipe(batch=1, epochs=1)
    whole = [ids[i] for i in order.schedule(ids, recipe, seed)]
    half = [ids[::2][i] for i in order.schedule(ids[::2], recipe, seed)]
    assert half == [name for name in whole if name in set(half)]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4))
def test_epochs_are_a_number_of_whole_batches(rows: int, batch: int, epochs: int) -> None:
    drawn = order.schedule([str(i) for i in range(rows)], Recipe(batch=batch, epochs=epochs), 1)
    assert len(drawn) % batch == 0
    assert abs(len(drawn) - epochs * rows) <= batch


@given(st.lists(st.integers(1, 500), min_size=1), st.integers(1, 64))
def test_micro_batches_divide_the_global_batch(lengths: list[int], batch: int) -> None:
    micro = order.micro_batch(lengths, batch, "cpu")
    assert batch % micro == 0
    assert 1 <= micro <= batch


class Killed(BaseException):
    """Stands for a kill in the middle of training."""


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_killed_training_goes_on_and_ends_with_the_same_adapter(
    base: Any, rows: list[Encoded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    recipe = RECIPE.model_copy(update={"lora": Lora(r=4, alpha=8, dropout=dropout)})
    whole = run.train(*base, rows, IDS, recipe, 5, tmp_path / "whole")
    monkeypatch.setattr(checkpoints, "PERIOD", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)  # a checkpoint at every step
    seen: list[int] = []

    def kill_at(step: int) -> Any:
        def report(done: int, total: int, loss: float, rate: float) -> None:
            seen.append(done)
            if done == step:
                raise Killed

        return report

    for step in (6, 13):
        with pytest.raises(Killed):
            run.train(*base, rows, IDS, recipe, 5, tmp_path / "adapter", kill_at(step), tmp_path / "kept")
    again = run.train(*base, rows, IDS, recipe, 5, tmp_path / "adapter", kill_at(-1), tmp_path / "kept")
    assert again.digest == whole.digest
    assert [e["loss"] for e in again.curve] == [e["loss"] for e in whole.curve]
    assert len(seen) < 20 + 3  # nothing but the steps since the last checkpoint is done twice
    assert again.seconds > 0


def test_a_checkpoint_without_its_curve_does_not_count(tmp_path: Path) -> None:
    assert checkpoints.latest(tmp_path, "cpu") is None
    for step in (4, 12, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (4, 12):
        (tmp_path / f"checkpoint-{step}" / "curve.json").write_text('{"entries": [], "seconds": 2.5, "device": "cpu"}')
    found = checkpoints.latest(tmp_path, "cpu")
    assert found is not None
    assert found.folder.name == "checkpoint-12"
    assert found.seconds == 2.5
    assert checkpoints.latest(tmp_path, "cuda") is None


# ---------------------------------------------------------------------------------------------------- other objectives


TEXT = Recipe(objective="text", lora=Lora(r=4, alpha=8), learning_rate=1e-2, batch=2, steps=5, max_length=16)


def test_text_is_packed_into_full_blocks_in_the_order_of_rows(rows: list[Encoded]) -> None:
    taken = order.blocks(rows, IDS, TEXT, 1)
    assert [len(batch) for batch in taken] == [2] * 5
    assert {len(block.input_ids) for batch in taken for block in batch} == {16}
    stream = [token for batch in taken for block in batch for token in block.input_ids]
    many = TEXT.model_copy(update={"batch": 1, "steps": 500})
    whole = [token for i in order.schedule(IDS, many, 1) for token in rows[i].input_ids]
    assert stream == whole[: len(stream)]
    assert all(block.labels == block.input_ids for batch in taken for block in batch)


def test_text_epochs_count_tokens(rows: list[Encoded]) -> None:
    total = sum(row.length for row in rows)
    recipe = Recipe(objective="text", batch=2, epochs=3, max_length=16)
    assert len(order.blocks(rows, IDS, recipe, 1)) == round(3 * total / 32)


def test_text_equals_the_stock_trainer_on_the_same_blocks(
    tiny: Path, base: Any, rows: list[Encoded], tmp_path: Path
) -> None:
    ours = run.train(*base, rows, IDS, TEXT, 3, tmp_path / "ours")
    model, tokenizer = models.load(tiny, "cpu")
    blocks = [block.input_ids for batch in order.blocks(rows, IDS, TEXT, 3) for block in batch]
    set_seed(3)
    trainer = SFTTrainer(
        model=get_peft_model(model, run.lora(TEXT, model)),
        args=SFTConfig(
            **run.arguments(TEXT, 3, 5, 2, tmp_path / "stock", model), max_length=16,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_dict({"input_ids": blocks, "labels": blocks}),
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    stock = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["loss"] for entry in ours.curve] == pytest.approx(stock, rel=1e-4)
    assert ours.tokens == 5 * 2 * 16


PAIRS = [{"prompt": f"Q: {i} + {i} =\nA:", "chosen": f" {2 * i}", "rejected": f" {2 * i + 1} or so"} for i in range(8)]
DPO = Recipe(objective="dpo", lora=Lora(r=4, alpha=8), learning_rate=1e-2, batch=4, steps=6, beta=0.5)


def test_dpo_equals_the_stock_trainer_on_the_same_text(tiny: Path, base: Any, tmp_path: Path) -> None:
    encoder = RowEncoder(tiny, chat_template=False, max_length=128, objective="dpo")
    pairs = [encoder.encode(pair) for pair in PAIRS]
    ours = run.train(*base, pairs, IDS[:8], DPO, 3, tmp_path / "ours")

    model, tokenizer = models.load(tiny, "cpu")
    drawn = order.schedule(IDS[:8], DPO, 3)
    set_seed(3)
    adapted = get_peft_model(model, run.lora(DPO, model))
    trainer = DPOTrainer(
        model=adapted,
        args=DPOConfig(**run.arguments(DPO, 3, 6, 4, tmp_path / "stock", model), beta=0.5, max_length=1024),
        train_dataset=Dataset.from_list([PAIRS[i] for i in drawn]),
        processing_class=tokenizer,
    )
    trainer.train()
    stock = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["loss"] for entry in ours.curve] == pytest.approx(stock, rel=1e-4)
    assert ours.curve[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)  # before the first step nothing is preferred
    assert ours.curve[-1]["loss"] < 0.6
    again = run.train(*base, pairs, IDS[:8], DPO, 3, tmp_path / "again")
    assert again.digest == ours.digest
    assert "forward" not in base[0].__dict__
