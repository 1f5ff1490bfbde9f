"""LoRA fine-tuning of one run: what all objectives share.

In: the base model, token ids and labels of the rows, a recipe, a seed. Out: an adapter (safetensors) and its curve.
An objective (``harness.spec.objectives``) names the trainer; ``order.py`` says in which order rows come.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import Linear
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback, set_seed
from trl import SFTConfig

from harness.errors import StepError
from harness.identity import file_digest
from harness.spec import OBJECTIVES, Objective, Recipe
from harness.tokens import Encoded
from harness.training import order
from harness.training.checkpoints import Checkpoints, latest

# transformers renamed the setting; both names are accepted, one of them with a warning.
_NAMES = SFTConfig.__dataclass_fields__
CHECKPOINTING = "activation_checkpointing" if "activation_checkpointing" in _NAMES else "gradient_checkpointing"
Progress = Callable[[int, int, float, float], None]  # step, steps, loss, tokens per second


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
    checkpoints: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train one adapter and save it to ``folder``; the base model is left as it was.

    A training that was cut short goes on from its last checkpoint, and ends with the same adapter (bit for bit on a
    CPU) as one that was not.

    Args:
        base: The base model, on its device. Its weights are frozen.
        tokenizer: For the padding token.
        rows: Token ids and labels of the variant's rows.
        row_ids: Their ids, from which the order is drawn.
        recipe: How to train.
        seed: Draws the order and the adapter's first weights.
        folder: Where ``adapter_model.safetensors`` and ``adapter_config.json`` go.
        on_step: Called after each optimizer step.
        checkpoints: Where checkpoints are kept and looked for; none are written without it.
        stop: Asked after each step; when it says yes, a checkpoint is left and training ends there.

    Raises:
        KeyboardInterrupt: When ``stop`` ended it.
        StepError: When no row has a token to learn from, or the loss is no longer a number.
    """
    usable = [i for i, row in enumerate(rows) if row.teaches]
    if not usable:
        raise StepError("no row has a token left to learn from; is recipe.max_length shorter than the prompts?")
    objective = OBJECTIVES[recipe.objective]
    cut = order.blocks if objective.packed else order.batches
    batches = cut([rows[i] for i in usable], [row_ids[i] for i in usable], recipe, seed)
    sequence = [row for batch in batches for row in batch]
    device = base.device.type
    micro = order.micro_batch([row.length for row in sequence], recipe.batch, device)

    set_seed(seed)  # the adapter's first weights: equal over arms at equal seeds
    model = get_peft_model(base, lora(recipe, base))
    curve = _Curve(len(batches), [sum(row.length for row in batch) for batch in batches], on_step)
    resumed = latest(checkpoints, device) if checkpoints is not None else None
    before = 0.0
    if resumed is not None:
        curve.entries[:], before = resumed.entries, resumed.seconds
    settings = arguments(recipe, seed, len(batches), micro, checkpoints or folder, base)
    callbacks = [curve] if checkpoints is None else [curve, Checkpoints(curve.entries, before, device, stop)]
    try:
        settings |= {"max_length": recipe.max_length, **objective.settings(recipe)}
        trainer = _trainer(objective, settings)(
            model=model,
            args=resolve_name(objective.config)(**settings),
            train_dataset=Dataset.from_list([objective.columns(row) for row in sequence]),
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        trainer.remove_callback(PrinterCallback)  # the engine shows progress
        started = time.perf_counter()
        trainer.train(resume_from_checkpoint=str(resumed.folder) if resumed else None)
        seconds = before + time.perf_counter() - started
        if trainer.state.global_step < len(batches):
            raise KeyboardInterrupt
        model.eval()
        model.save_pretrained(folder, safe_serialization=True)
        _name_base(folder / "adapter_config.json")
    finally:
        model.unload()
        base.__dict__.pop("forward", None)  # TRL's patch of this instance; without it each run would wrap the last
    if not all(math.isfinite(entry["loss"]) for entry in curve.entries):
        raise StepError(f"the loss became {curve.entries[-1]['loss']}: try a lower recipe.learning_rate")
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's model card: a template that says nothing about this run
    return Trained(
        digest=file_digest(folder / "adapter_model.safetensors"),
        curve=curve.entries,
        steps=len(batches),
        tokens=sum(row.length for row in sequence),
        seconds=seconds,
    )


def _trainer(objective: Objective, settings: dict[str, Any]) -> Any:
    """Return the class of an objective's trainer, which leaves rows as they are: they are tokenized already.

    ``SFTConfig`` has a setting for this. A class without one is changed.
    """
    stock = resolve_name(objective.trainer)
    if "dataset_kwargs" in settings:
        return stock
    as_it_is = {
        "_prepare_dataset": lambda self, dataset, *_, **__: dataset,
        "tokenize_row": lambda self, row, *_, **__: row,  # the method of some of TRL's experimental trainers
    }
    return type(stock.__name__, (stock,), as_it_is)


@contextlib.contextmanager
def adapted(base: PreTrainedModel, folder: Path) -> Iterator[Any]:
    """Give the base model with the adapter of ``folder`` on it; on leaving, the base is as it was."""
    model = PeftModel.from_pretrained(base, folder, is_trainable=False)
    try:
        yield model.eval()
    finally:
        model.unload()


def _name_base(config: Path) -> None:
    """Leave of the base model's path in an adapter's configuration the folder's name: adapters are handed around."""
    settings = json.loads(config.read_text())
    settings["base_model_name_or_path"] = Path(settings["base_model_name_or_path"] or "").name
    config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


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
            self._on_step(step, self._steps, float(logs["loss"]), self.entries[-1]["tokens_per_second"])


def lora(recipe: Recipe, base: PreTrainedModel) -> LoraConfig:
    """Return PEFT's configuration of a recipe's adapter on a base model."""
    targets = recipe.lora.targets
    return LoraConfig(
        r=recipe.lora.r,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        exclude_modules=_no_targets(base) if targets == "all-linear" else None,
        bias="none",
        task_type="CAUSAL_LM",
    )


def _no_targets(base: PreTrainedModel) -> list[str] | None:
    """Return the linear layers that an adapter must leave alone, or None where there are none.

    A Mamba layer (known by its parameters A_log and D) hands the weights of its last projection to a fused kernel,
    past the adapter; PEFT refuses it in some models. A router of experts may return more than a tensor.
    """
    names = []
    for name, module in base.named_modules():
        if hasattr(module, "A_log") and hasattr(module, "D") and hasattr(module, "out_proj"):
            names.append(f"{name}.out_proj")
        own = type(module).__module__.startswith("transformers.models.")
        if isinstance(module, Linear) and own and type(module).forward is not Linear.forward:
            names.append(name)
    return names or None


def arguments(recipe: Recipe, seed: int, steps: int, micro: int, folder: Path, base: Any) -> dict[str, Any]:
    """Return the settings that TRL's trainers share."""
    cuda = base.device.type == "cuda"
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": recipe.batch // micro,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": recipe.warmup_steps,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "optim": "adamw_torch",
        "seed": seed,
        "train_sampling_strategy": "sequential",  # the dataset already is in the order to train in
        CHECKPOINTING: False,  # adapters of small models leave memory to spare
        "use_cpu": not cuda,
        "bf16": base.dtype is torch.bfloat16,
        "dataloader_pin_memory": cuda,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # a callback asks for checkpoints, by the clock
        "save_total_limit": 2,
        "report_to": [],
        "disable_tqdm": True,
    }
