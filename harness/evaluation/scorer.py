"""lm-eval's Hugging Face model, without the work whose results lm-eval throws away."""

from __future__ import annotations

import copy
import datetime
import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Any
from unittest.mock import patch

import torch
from lm_eval.models.huggingface import HFLM
from transformers.utils import chat_template_utils

from harness.errors import RequestError, StepError
from harness.evaluation.attention import reach
from harness.evaluation.trees import TokenIds, Tree, batches, plant, shared
from harness.positions import head_at
from harness.spec import DATE
from harness.templates import compiled, failed

Request = tuple[tuple[str, str] | None, list[int], list[int]]
CACHED = 16  # tokens that all inputs must share to make a cache of them worth its cost
TOLERANCE = {torch.float32: 1e-4}  # nats per token; two ways to compute one log-likelihood differ by 1e-6 in float32
# Model's configuration -> the length up to which a trial scored a tree as it scored the sequences apart; 0: it did not.
# A trial costs as much as an item or two.
TRIED: dict[str, int] = {}
LAST = 8  # tokens of a sequence that a trial scores
LONGEST = 8192  # tokens; a trial's mask grows with the square of the length. Longer sequences are scored alone
GENERATION = 8  # times the token budget: an answer grows by one token a pass, and the rest is in a cache


class Scorer(HFLM):  # type: ignore[misc]
    """``HFLM`` that computes a context once for all its options, and logits only where something is scored.

    ``HFLM`` itself runs the whole context again for every option, projects every position onto the vocabulary and
    normalizes all of it. The log-likelihoods agree up to float rounding; the log-softmax is in float32 for
    models of any precision.

    Args:
        model: A causal language model, adapters included.
        tokenizer: Its tokenizer.
        batch_tokens: Tokens per forward pass, padding included.
        on_progress: Called with the number of items done and of all items.
        items: Number of all items.
        date: The date for chat templates that write today's date.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        batch_tokens: int,
        on_progress: Callable[[int, int], None] | None,
        items: int,
        date: datetime.date = DATE,
    ) -> None:
        super().__init__(
            pretrained=model,
            tokenizer=tokenizer,
            backend="causal",
            batch_size=64,  # requests per call; the token budget decides how many run at once
        )
        self.batch_tokens = batch_tokens
        self.on_progress = on_progress
        self.items = items
        self._date = date
        self.items_done = 0.0
        self._items_per_request = 0.0
        self.tokens = 0
        self.scored = 0  # tokens whose logits were computed
        self.continuation_tokens: dict[tuple[str, str], int] = {}
        self.shared_context: bool | None = None  # whether common starts are computed once; None until a trial

    def get_model_info(self) -> dict[str, Any]:
        """Return an empty dict: lm-eval would look up on the Hub a model that is not there."""
        return {}

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return a conversation as the model's template writes it: the same renderer, bounds and date as in training.

        The names in a template and the continuation of an open turn are transformers'; it has no hook for another
        renderer.

        Raises:
            RequestError: The template cannot write the conversation, or exceeds its bounds.
        """
        with patch.object(chat_template_utils, "_compile_jinja_template", lambda source: compiled(source, self._date)):
            try:
                text: str = super().apply_chat_template(chat_history, add_generation_prompt)
            except Exception as error:  # a template can fail like any program
                raise RequestError(f"a question of the suite: {failed(error)}") from error
        return text

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
        """Generate answers in batches, longest question first; a batch ends with its last answer."""
        self._items_per_request = _items(requests) / max(1, len(requests))
        answers = [""] * len(requests)
        sizes = [len(self.tok_encode(r.args[0])) + r.args[1].get("max_gen_toks", self.max_gen_toks) for r in requests]
        order = sorted(range(len(requests)), key=lambda i: -sizes[i])
        while order:
            count = max(1, GENERATION * self.batch_tokens // sizes[order[0]])
            chosen, order = order[:count], order[count:]
            self.batch_size_per_gpu = len(chosen)
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
        """Return log-likelihood and is-greedy of each request; starts that inputs share are computed once."""
        sharing: dict[TokenIds, list[int]] = {}
        for number, (texts, context, continuation) in enumerate(requests):
            if not 0 < len(continuation) <= self.max_length:
                raise StepError(f"an answer has {len(continuation)} tokens, expected 1 to {self.max_length}: {texts}")
            # The last token is only predicted; an input that is too long loses its start, as in HFLM.
            inputs = tuple((context + continuation)[-(self.max_length + 1) : -1])
            sharing.setdefault(inputs, []).append(number)
            if texts is not None:
                self.continuation_tokens[texts] = len(continuation)
        answers = [(0.0, False)] * len(requests)
        bound = reach(self.model)
        limit = self._limit(sharing, bound)
        short = {tokens: numbers for tokens, numbers in sharing.items() if len(tokens) <= limit}
        prefix = self._common_prefix(requests, short)
        most = self.batch_tokens if bound is None else min(self.batch_tokens, bound - len(prefix))
        together = plant([tokens[len(prefix) :] for tokens in short], most)
        apart = plant([tokens for tokens in sharing if tokens not in short], self.batch_tokens, share=False)
        cache = self._cache(prefix)
        planted = [(prefix, cache, batch) for batch in batches(together, self.batch_tokens, len(prefix))]
        planted += [((), None, batch) for batch in batches(apart, self.batch_tokens)]
        for before, behind, batch in planted:
            # A request's tokens are predicted at its last nodes, the first of them at the last of its context.
            spans = [
                (row, path[len(path) - len(requests[number][2]) :], number)
                for row, tree in enumerate(batch)
                for tokens, path in tree.paths.items()
                for number in sharing[before + tokens]
            ]
            scored = self._score(batch, [(row, nodes, requests[number][2]) for row, nodes, number in spans], behind)
            for (_, _, number), answer in zip(spans, scored, strict=True):
                answers[number] = answer
            if requests[spans[0][2]][0] is not None:  # windows of a rolling request have no texts
                self._progress(len(spans))
        return answers

    def _common_prefix(self, requests: Sequence[Request], sharing: dict[TokenIds, list[int]]) -> TokenIds:
        """Return the tokens that all inputs start with (examples, instructions); empty when a cache is not worth it.

        At least one token of every context is left out of it: the first token of an answer is predicted there.
        """
        if len(sharing) < 2:
            return ()
        common = shared(min(sharing), max(sharing))
        outside = max(len(requests[n][2]) for numbers in sharing.values() for n in numbers)
        shortest = min(len(tokens) for tokens in sharing)
        kept = min(common, shortest - outside)
        return next(iter(sharing))[:kept] if kept >= CACHED else ()

    def _cache(self, prefix: TokenIds) -> Any:
        if not prefix:
            return None
        inputs = torch.tensor([prefix], device=self.device)
        with head_at(self.model, (slice(None), slice(-1, None))), torch.no_grad():
            cache = self.model(inputs, use_cache=True).past_key_values
        self.tokens += len(prefix)
        return cache

    def _limit(self, sequences: Collection[TokenIds], bound: int | None) -> int:
        """Return the length up to which sequences may share nodes and a cache; longer ones are scored alone.

        It is ``bound``, the length that all layers of the model see, but at most the length that a trial confirmed. A
        trial is made with the longest of these inputs.
        """
        attention = getattr(self.model.config, "_attn_implementation", "")
        kind = f"{self.model.dtype} {attention} {self.model.config.to_json_string()}"
        most = LONGEST if bound is None else min(LONGEST, bound)
        within = sorted(tokens for tokens in sequences if len(tokens) <= most)
        longest = max(within, key=len, default=())
        shares = any(shared(*pair) >= LAST for pair in itertools.pairwise(within))
        if bound == 0:
            TRIED[kind] = 0
        elif shares and 2 * LAST <= len(longest) > TRIED.get(kind, 1) > 0:
            TRIED[kind] = len(longest) if self._exact(longest) else 0
        tried = TRIED.get(kind)
        self.shared_context = None if tried is None else tried > 0
        return tried or 0

    def _exact(self, sequence: TokenIds) -> bool:
        """Return whether two sequences score the same in one tree behind a cache as apart.

        The second sequence is the first with its second half reversed. One of the two branches is then far from its
        trunk in the input: models that take the place in the input for the position fail. The trial scores the last
        tokens, which see most.
        """
        half = len(sequence) // 2
        turned = next((at for at in range(len(sequence) - 1, half, -1) if sequence[at] != sequence[half]), None)
        if turned is None:
            return False  # all tokens are the same: the trial would show nothing
        other = (*sequence[:half], *reversed(sequence[half : turned + 1]), *sequence[turned + 1 :])
        start, counted = sequence[: half // 2], (self.tokens, self.scored)

        def scores(sequences: Sequence[TokenIds], cache: Any = None) -> list[float]:
            tree = Tree()
            for tokens in sequences:
                tree.add(tokens)
            ends = [(path[at], tokens[at]) for tokens, path in tree.paths.items() for at in range(-LAST, 0)]
            return [value for value, _ in self._score([tree], [(0, [node], [token]) for node, token in ends], cache)]

        try:
            pair = sorted((sequence, other))
            together = scores([tokens[len(start) :] for tokens in pair], self._cache(start))
            apart = [value for tokens in pair for value in scores([tokens])]
        except torch.OutOfMemoryError:
            raise  # it says nothing about masks
        except Exception:  # a model's own code may raise anything for positions, masks or caches like these
            return False
        finally:
            self.tokens, self.scored = counted
        return all(abs(a - b) <= TOLERANCE.get(self.model.dtype, 0.02) for a, b in zip(together, apart, strict=True))

    def _score(
        self, batch: list[Tree], continuations: list[tuple[int, list[int], list[int]]], cache: Any = None
    ) -> list[tuple[float, bool]]:
        """Run a batch of trees and score each continuation.

        Args:
            batch: Trees, one per row.
            continuations: Row, the nodes at which its tokens are predicted, and the tokens.
            cache: Keys and values of a prefix of all trees.
        """
        width = max(len(tree.tokens) for tree in batch)
        padded = [[*tree.tokens, *[0] * (width - len(tree.tokens))] for tree in batch]
        inputs = torch.tensor(padded, device=self.device)
        options: dict[str, Any] = {"use_cache": False}
        if cache is not None or any(tree.branches() for tree in batch):
            options |= self._masked(batch, width, cache)
        # Without branches padding on the right needs no mask: attention is causal, and later tokens are not scored.
        rows = [row for row, nodes, _ in continuations for _ in nodes]
        columns = [node for _, nodes, _ in continuations for node in nodes]
        targets = torch.tensor([token for _, _, tokens in continuations for token in tokens], device=self.device)
        with head_at(self.model, (rows, columns)), torch.no_grad():
            logits = self.model(inputs, **options).logits.float()
        self.tokens += sum(len(tree.tokens) for tree in batch)
        self.scored += len(targets)
        logprobs = logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(-1)
        greedy = logits.argmax(-1) == targets
        if bool(logprobs.isnan().any()):
            raise StepError("the model's log-likelihoods are not numbers (NaN): did training diverge?")
        sizes = [len(tokens) for _, _, tokens in continuations]
        return [
            (float(ll.sum()), bool(hit.all()))
            for ll, hit in zip(logprobs.split(sizes), greedy.split(sizes), strict=True)
        ]

    def _masked(self, batch: list[Tree], width: int, cache: Any) -> dict[str, Any]:
        """Return the mask, positions and cache with which each node sees its own path only."""
        before = 0 if cache is None else cache.get_seq_length()
        dtype = self.model.dtype
        hidden = torch.full((len(batch), 1, width, before + width), torch.finfo(dtype).min, dtype=dtype)
        hidden[..., :before] = 0
        positions = torch.zeros((len(batch), width), dtype=torch.long)
        for row, tree in enumerate(batch):
            size = len(tree.tokens)
            seen = torch.from_numpy(tree.visible())
            hidden[row, 0, :size, before : before + size].masked_fill_(seen, 0)
            hidden[row, 0, size:, before] = 0  # padding must see some token; it is not scored
            positions[row, :size] = torch.tensor(tree.depths)
        options: dict[str, Any] = {
            "attention_mask": hidden.to(self.device),
            "position_ids": (positions + before).to(self.device),
        }
        if cache is not None:
            repeated = copy.deepcopy(cache)  # the model appends to the cache that it gets
            repeated.batch_repeat_interleave(len(batch))
            options |= {"past_key_values": repeated, "use_cache": True}
        return options

    def _progress(self, requests: int) -> None:
        self.items_done += requests * self._items_per_request
        if self.on_progress is not None:
            self.on_progress(round(self.items_done), self.items)


def _items(requests: list[Any]) -> int:
    return len({(request.task_name, request.doc_id) for request in requests})
