"""lm-eval's Hugging Face model, told to skip the work whose results it throws away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from harness.errors import StepError

Request = tuple[tuple[str, str] | None, list[int], list[int]]
GENERATED_TOKENS = 256  # what lm-eval sets aside for an answer when the task does not say


class Scorer(HFLM):  # type: ignore[misc]
    """``HFLM`` with batches by token budget and an LM head that sees only the positions that are scored.

    Stock HFLM projects every position of every row onto the vocabulary and normalizes all of it. The
    log-likelihoods are the same to float rounding; the log-softmax is in float32 for models of any precision.

    Args:
        model: A causal language model, adapters included.
        tokenizer: Its tokenizer.
        batch_tokens: Tokens per forward pass, padding included.
        on_progress: Called with items done and items in all.
        items: Items in all.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        batch_tokens: int,
        on_progress: Callable[[int, int], None] | None,
        items: int,
    ) -> None:
        super().__init__(
            pretrained=model,
            tokenizer=tokenizer,
            backend="causal",
            batch_size=max(1, batch_tokens // GENERATED_TOKENS),
        )
        self.batch_tokens = batch_tokens
        self.on_progress = on_progress
        self.items = items
        self.items_done = 0.0
        self._items_per_request = 0.0
        self.tokens = 0
        self.continuation_tokens: dict[tuple[str, str], int] = {}

    def get_model_info(self) -> dict[str, Any]:
        """Return nothing: lm-eval would ask the Hub about a model that is not there."""
        return {}

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Score (context, continuation) requests."""
        self._items_per_request = _items(requests) / max(1, len(requests))
        answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return answers

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """Score whole texts."""
        self._items_per_request = _items(requests) / max(1, len(requests))
        answers: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=True)
        self._progress(len(requests))
        return answers

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """Generate answers, batch by batch from the longest question."""
        self._items_per_request = _items(requests) / max(1, len(requests))
        answers = [""] * len(requests)
        order = sorted(range(len(requests)), key=lambda i: -len(requests[i].args[0]))
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            texts = super().generate_until([requests[i] for i in chosen], disable_tqdm=True)
            for i, text in zip(chosen, texts, strict=True):
                answers[i] = text
            self._progress(len(chosen))
        return answers

    def _model_generate(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        output: torch.Tensor = super()._model_generate(*args, **kwargs)
        self.tokens += output.numel()
        return output

    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = True, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Return log-likelihood and is-greedy of each request; each distinct input is run once."""
        sharing: dict[tuple[int, ...], list[int]] = {}
        for number, (texts, context, continuation) in enumerate(requests):
            if not 0 < len(continuation) <= self.max_length:
                raise StepError(f"an answer has {len(continuation)} tokens, expected 1 to {self.max_length}: {texts}")
            # The last token is only predicted; what is too long loses its start, as in HFLM.
            inputs = (context + continuation)[-(self.max_length + 1) : -1]
            sharing.setdefault(tuple(inputs), []).append(number)
            if texts is not None:
                self.continuation_tokens[texts] = len(continuation)
        answers = [(0.0, False)] * len(requests)
        for batch in _batches(sharing, self.batch_tokens):
            spans = [(row, number) for row, tokens in enumerate(batch) for number in sharing[tokens]]
            scored = self._score(batch, [(row, requests[number][2]) for row, number in spans])
            for (_, number), answer in zip(spans, scored, strict=True):
                answers[number] = answer
            if requests[spans[0][1]][0] is not None:  # windows of a rolling request have no texts
                self._progress(len(spans))
        return answers

    def _score(
        self, batch: list[tuple[int, ...]], continuations: list[tuple[int, list[int]]]
    ) -> list[tuple[float, bool]]:
        """Run a batch and score each (row, continuation), which ends one token after its row."""
        width = max(map(len, batch))
        padded = [[*tokens, *[0] * (width - len(tokens))] for tokens in batch]
        # Padding on the right needs no mask: attention is causal, and what comes after is not scored.
        inputs = torch.tensor(padded, device=self.device)
        rows = [row for row, tokens in continuations for _ in tokens]
        columns = [len(batch[row]) - len(t) + i for row, t in continuations for i in range(len(t))]
        targets = torch.tensor([token for _, tokens in continuations for token in tokens], device=self.device)
        head = self.model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda module, args: (args[0][rows, columns],))
        try:
            with torch.no_grad():
                logits = self.model(inputs, use_cache=False).logits.float()
        finally:
            hook.remove()
        self.tokens += sum(map(len, batch))
        logprobs = logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(-1)
        greedy = logits.argmax(-1) == targets
        if bool(logprobs.isnan().any()):
            raise StepError("the model's log-likelihoods are not numbers (NaN): did training diverge?")
        sizes = [len(tokens) for _, tokens in continuations]
        return [
            (float(ll.sum()), bool(hit.all()))
            for ll, hit in zip(logprobs.split(sizes), greedy.split(sizes), strict=True)
        ]

    def _progress(self, requests: int) -> None:
        self.items_done += requests * self._items_per_request
        if self.on_progress is not None:
            self.on_progress(round(self.items_done), self.items)


def _items(requests: list[Any]) -> int:
    return len({(request.task_name, request.doc_id) for request in requests})


def _batches(inputs: dict[tuple[int, ...], list[int]], budget: int) -> Iterator[list[tuple[int, ...]]]:
    """Yield inputs from the longest, as many at a time as the token budget allows, at least one."""
    batch: list[tuple[int, ...]] = []
    for tokens in sorted(inputs, key=len, reverse=True):
        if batch and (len(batch) + 1) * len(batch[0]) > budget:
            yield batch
            batch = []
        batch.append(tokens)
    if batch:
        yield batch
