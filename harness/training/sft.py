"""LoRA fine-tuning of one run through TRL's ``SFTTrainer``.

In: the base model, token ids and labels of the rows, a recipe, a seed. Out: an adapter (safetensors) and its curve.

What differs from stock, and why (2 cores, SmolLM2-135M, rows of 17 tokens):

* Row order is ours (``schedule``), so that arms which share rows see them in the same order.
* The LM head runs only where there are labels, with plain cross-entropy. The stock loss also computes entropy and
  top-1 accuracy over the vocabulary, in unfused torch, which is slow on a CPU.
* Each global batch is sorted by length and cut into equal micro-batches under a token budget. The loss is divided by
  the batch's label tokens, so the result is the same to rounding, and padding shrinks.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from harness.errors import StepError
from harness.identity import file_digest, unit_hash
from harness.spec import Recipe
from harness.tokens import IGNORED, Encoded

# transformers renamed the setting; both names are accepted, one of them with a warning.
_NAMES = SFTConfig.__dataclass_fields__
CHECKPOINTING = "activation_checkpointing" if "activation_checkpointing" in _NAMES else "gradient_checkpointing"
TOKEN_BUDGET = {"cpu": 512, "cuda": 16384}  # padded tokens per micro-batch
Progress = Callable[[int, int, float], None]  # step, steps, loss


@dataclass(frozen=True)
class Trained:
    """What training one run gave.

    Attributes:
        digest: Content digest of the adapter's weights and configuration.
        curve: One entry per optimizer step: step, loss, learning_rate, grad_norm, tokens_per_second.
        steps: Optimizer steps done.
        tokens: Tokens the model was trained on, without padding, repetitions counted.
        seconds: Wall time of the optimizer loop.
    """

    digest: str
    curve: list[dict[str, float]]
    steps: int
    tokens: int
    seconds: float


def train(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Encoded],
    row_ids: Sequence[str],
    recipe: Recipe,
    seed: int,
    folder: Path,
    on_step: Progress | None = None,
) -> Trained:
    """Train one adapter and save it to ``folder``; the base model is left as it was.

    Args:
        base: The base model, on its device. Its weights are frozen.
        tokenizer: For the padding token.
        rows: Token ids and labels of the variant's rows.
        row_ids: Their ids, from which the order is drawn.
        recipe: How to train.
        seed: Draws the order and the adapter's first weights.
        folder: Where ``adapter_model.safetensors`` and ``adapter_config.json`` go.
        on_step: Called after each optimizer step.

    Raises:
        StepError: When no row has a token to learn from, or the loss is no longer a number.
    """
    usable = [i for i, row in enumerate(rows) if any(label != IGNORED for label in row.labels[1:])]
    if not usable:
        raise StepError("no row has a token left to learn from; is recipe.max_length shorter than the prompts?")
    order = schedule([row_ids[i] for i in usable], recipe, seed)
    micro = micro_batch([len(rows[i].input_ids) for i in usable], recipe.batch, base.device.type)
    batches = [order[i : i + recipe.batch] for i in range(0, len(order), recipe.batch)]
    sequence = [
        rows[usable[i]] for batch in batches for i in sorted(batch, key=lambda i: -len(rows[usable[i]].input_ids))
    ]

    set_seed(seed)  # the adapter's first weights: equal over arms at equal seeds
    model = get_peft_model(base, _lora(recipe))
    curve = _Curve(len(batches), [sum(len(rows[usable[i]].input_ids) for i in batch) for batch in batches], on_step)
    try:
        trainer = _LabelTokenTrainer(
            model=model,
            args=_arguments(recipe, seed, len(batches), micro, folder, base.device.type),
            train_dataset=Dataset.from_dict(
                {"input_ids": [r.input_ids for r in sequence], "labels": [r.labels for r in sequence]}
            ),
            processing_class=tokenizer,
            callbacks=[curve],
        )
        trainer.remove_callback(PrinterCallback)  # the engine shows progress
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
        model.eval()
        model.save_pretrained(folder, safe_serialization=True)
    finally:
        model.unload()
        base.__dict__.pop(
            "forward", None
        )  # SFTTrainer's patch of this instance; without it each run would wrap the last
    if not all(_finite(entry["loss"]) for entry in curve.entries):
        raise StepError(f"the loss became {curve.entries[-1]['loss']}: try a lower recipe.learning_rate")
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's model card: a template that says nothing about this run
    return Trained(
        digest=file_digest(folder / "adapter_model.safetensors"),
        curve=curve.entries,
        steps=len(batches),
        tokens=sum(len(row.input_ids) for row in sequence),
        seconds=seconds,
    )


@contextlib.contextmanager
def adapted(base: PreTrainedModel, folder: Path) -> Iterator[Any]:
    """Give the base model with the adapter of ``folder`` on it; on leaving, the base is as it was."""
    model = PeftModel.from_pretrained(base, folder, is_trainable=False)
    try:
        yield model.eval()
    finally:
        model.unload()


def schedule(row_ids: Sequence[str], recipe: Recipe, seed: int) -> list[int]:
    """Return the positions of the rows in the order they are trained on, all epochs one after another.

    Each epoch is a permutation drawn from (seed, epoch, row), so two sets that share rows keep their relative order.
    The last batch is filled up from the next epoch: every step sees a full global batch.
    """
    seen: dict[str, int] = {}
    names = []
    for row_id in row_ids:
        seen[row_id] = seen.get(row_id, 0) + 1
        names.append(f"{row_id}#{seen[row_id]}")
    if recipe.steps is not None:
        steps = recipe.steps
    else:
        assert recipe.epochs is not None
        steps = max(1, round(recipe.epochs * len(row_ids) / recipe.batch))
    order: list[int] = []
    epoch = 0
    while len(order) < steps * recipe.batch:
        order += sorted(range(len(names)), key=lambda i: unit_hash(seed, "epoch", epoch, names[i]))
        epoch += 1
    return order[: steps * recipe.batch]


def micro_batch(lengths: Sequence[int], batch: int, device: str) -> int:
    """Return the largest divisor of the global batch whose padded tokens stay within the device's budget."""
    typical = sorted(lengths)[int(0.75 * (len(lengths) - 1))]
    fitting = [n for n in range(1, batch + 1) if batch % n == 0 and n * typical <= TOKEN_BUDGET[device]]
    return max(fitting, default=1)


class _LabelTokenTrainer(SFTTrainer):  # type: ignore[misc]
    """``SFTTrainer`` with the loss computed at label positions only."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs["labels"][:, 1:]
        rows, positions = (labels != IGNORED).nonzero(as_tuple=True)
        # The head sees the scored positions only; whatever else the model does to its logits stays in place.
        head = self.model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda module, args: (args[0][rows, positions],))
        try:
            outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        finally:
            hook.remove()
        total = cross_entropy(outputs.logits.float(), labels[rows, positions], reduction="sum")
        loss = total / (len(rows) if num_items_in_batch is None else num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


class _Curve(TrainerCallback):  # type: ignore[misc]
    """Collects the loss curve and reports progress."""

    def __init__(self, steps: int, tokens: list[int], on_step: Progress | None) -> None:
        self.entries: list[dict[str, float]] = []
        self._steps, self._tokens, self._on_step = steps, tokens, on_step
        self._last = time.perf_counter()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._last = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        step = int(state.global_step)
        self.entries.append(
            {
                "step": step,
                "loss": float(logs["loss"]),
                "learning_rate": float(logs["learning_rate"]),
                "grad_norm": float(logs.get("grad_norm", 0.0)),
                "tokens_per_second": self._tokens[step - 1] / max(time.perf_counter() - self._last, 1e-9),
            }
        )
        if self._on_step is not None:
            self._on_step(step, self._steps, float(logs["loss"]))


def _lora(recipe: Recipe) -> LoraConfig:
    targets = recipe.lora.targets
    return LoraConfig(
        r=recipe.lora.r,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        bias="none",
        task_type="CAUSAL_LM",
    )


def _arguments(recipe: Recipe, seed: int, steps: int, micro: int, folder: Path, device: str) -> SFTConfig:
    cuda = device == "cuda"
    return SFTConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=recipe.batch // micro,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup_steps,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        optim="adamw_torch",
        seed=seed,
        train_sampling_strategy="sequential",  # the dataset already is in the order to train in
        max_length=recipe.max_length,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},  # rows arrive tokenized, with labels
        **{CHECKPOINTING: False},  # adapters of small models leave memory to spare
        use_cpu=not cuda,
        bf16=cuda,
        tf32=cuda or None,
        dataloader_pin_memory=cuda,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")
