"""all-MiniLM-L6-v2 in numpy: embeds a few sentences without PyTorch, whose start takes longer than the embedding.

The numbers are those of ``harness.data.embeddings``, which is for many texts and uses a GPU if there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.embeddings import WINDOW, batches, model_folder

Floats = NDArray[np.float32]
LAYERS, HEADS, SIZE = 6, 12, 384
PIECES = 4096  # word pieces in a batch, padding included
FIRST = 1996  # from this position on, the vocabulary has words and word parts, the most frequent first
FREQUENT = 300  # added to a word's rank: its assumed frequency is 1 / (rank + FREQUENT)
USUAL = 8000  # most frequent words, which show the directions in which words differ
KEPT = 128  # directions kept, those in which words differ most


@cache
def minilm() -> MiniLM:
    """Return the model, which is loaded once.

    Raises:
        RequestError: The package with the model is not installed.
    """
    return MiniLM()


class MiniLM:
    """The model: gives vectors of single words, and of sentences."""

    def __init__(self) -> None:
        self._folder = model_folder()

    def words(self, words: Sequence[str]) -> Floats:
        """Return a vector for each word, float32 of shape ``(len(words), KEPT)``.

        The component that all words have in common is left out, and rare words have the longest vectors. Sums of these
        vectors point in similar directions for sentences of the same meaning: good enough to find candidates.
        """
        pieces = self._pieces(words)
        flat = np.array([piece for ids in pieces for piece in ids], np.int64)
        lengths = np.array([len(ids) for ids in pieces], np.int64)
        found = np.zeros((len(words), KEPT), np.float32)
        np.add.at(found, np.repeat(np.arange(len(words)), lengths), self._static[flat])
        return found / np.maximum(lengths, 1).astype(np.float32)[:, None]

    def sentences(self, texts: Sequence[str]) -> Floats:
        """Return the sentence embedding of each text (see ``embeddings.embed``)."""
        owner: list[int] = []
        windows: list[list[int]] = []
        for number, pieces in enumerate(self._pieces(texts)):
            for start in range(0, max(1, len(pieces)), WINDOW):
                owner.append(number)
                windows.append(pieces[start : start + WINDOW])
        first, last = (self._tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
        sums = np.zeros((len(texts), SIZE), np.float32)
        counts = np.zeros(len(texts), np.float32)
        for batch in batches([len(window) + 2 for window in windows], PIECES):
            width = len(windows[batch[0]]) + 2
            ids = np.zeros((len(batch), width), np.int64)
            there = np.zeros((len(batch), width), np.float32)
            for row, window in enumerate(batch):
                size = len(windows[window]) + 2
                ids[row, :size] = [first, *windows[window], last]
                there[row, :size] = 1
            hidden = self._read(ids, there)
            np.add.at(sums, [owner[window] for window in batch], (hidden * there[:, :, None]).sum(1))
            np.add.at(counts, [owner[window] for window in batch], there.sum(1))
        means = sums / np.maximum(counts, 1)[:, None]
        vectors: Floats = means / np.linalg.norm(means, axis=1, keepdims=True)
        return vectors

    # ---------------------------------------------------------------------------------------------------- inside

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def _pieces(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encoded]

    @cached_property
    def _weights(self) -> dict[str, Floats]:
        from safetensors.numpy import load_file

        weights: dict[str, Floats] = load_file(self._folder / "model.safetensors")
        inside = (name for name in weights if name.startswith("encoder.") and weights[name].ndim == 2)
        return weights | {name: np.ascontiguousarray(weights[name].T) for name in inside}

    @cached_property
    def _static(self) -> Floats:
        """The vector of every word piece (see ``words``)."""
        from safetensors import safe_open

        with safe_open(self._folder / "model.safetensors", "np") as file:
            pieces = file.get_tensor("embeddings.word_embeddings.weight").astype(np.float64)
        rank = np.maximum(np.arange(len(pieces)) - FIRST + 1, 1)
        share = np.where(np.arange(len(pieces)) < FIRST, 0, 1 / (rank + FREQUENT))
        share /= share.sum()
        pieces -= share @ pieces
        pieces /= np.maximum(np.linalg.norm(pieces, axis=1, keepdims=True), 1e-9)
        usual = slice(FIRST, FIRST + USUAL)
        _, directions = np.linalg.eigh((pieces[usual] * share[usual, None]).T @ pieces[usual])
        widest = directions[:, ::-1][:, 1 : KEPT + 1]  # the first separates frequent words from rare ones
        made: Floats = (pieces @ widest * np.log1p(rank / 10)[:, None]).astype(np.float32)
        return made

    def _read(self, ids: NDArray[np.int64], there: Floats) -> Floats:
        """Return the last layer's vectors of word pieces, as BERT computes them."""
        weights = self._weights
        count, width = ids.shape
        hidden = weights["embeddings.word_embeddings.weight"][ids]
        hidden = hidden + weights["embeddings.position_embeddings.weight"][:width]
        hidden = hidden + weights["embeddings.token_type_embeddings.weight"][0]
        hidden = self._normed(hidden.reshape(count * width, SIZE), "embeddings.LayerNorm")
        absent = np.where(there > 0, 0, -1e9).astype(np.float32)[:, None, None, :]

        def heads(name: str, *axes: int) -> Floats:
            made = self._linear(hidden, name).reshape(count, width, HEADS, SIZE // HEADS)
            return np.array(made.transpose(axes), np.float32, order="C")  # the memory layout that matrix libraries need

        for layer in (f"encoder.layer.{number}" for number in range(LAYERS)):
            inside = f"{layer}.attention.self"
            scores = heads(f"{inside}.query", 0, 2, 1, 3) @ heads(f"{inside}.key", 0, 2, 3, 1)
            scores *= np.float32((SIZE // HEADS) ** -0.5)
            scores += absent
            scores -= scores.max(-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(-1, keepdims=True)
            seen = heads(f"{inside}.value", 0, 2, 1, 3)
            seen = np.asarray((scores @ seen).transpose(0, 2, 1, 3).reshape(count * width, SIZE), np.float32)
            output = f"{layer}.attention.output"
            hidden = self._normed(hidden + self._linear(seen, f"{output}.dense"), f"{output}.LayerNorm")
            wide = self._linear(hidden, f"{layer}.intermediate.dense")
            hidden = self._normed(
                hidden + self._linear(_gelu(wide), f"{layer}.output.dense"), f"{layer}.output.LayerNorm"
            )
        return hidden.reshape(count, width, SIZE)

    def _linear(self, values: Floats, name: str) -> Floats:
        made: Floats = values @ self._weights[f"{name}.weight"]
        made += self._weights[f"{name}.bias"]
        return made

    def _normed(self, values: Floats, name: str) -> Floats:
        values = values - values.mean(-1, keepdims=True)
        values /= np.sqrt((values * values).mean(-1, keepdims=True) + np.float32(1e-12))
        values *= self._weights[f"{name}.weight"]
        values += self._weights[f"{name}.bias"]
        return values


def _gelu(values: Floats) -> Floats:
    """Return x Φ(x), with Φ to seven digits (Abramowitz and Stegun 7.1.26); scipy's takes ten times as long."""
    size = np.abs(values) * np.float32(0.5**0.5)
    part = 1 / (1 + np.float32(0.3275911) * size)
    sum_of_powers = np.full_like(part, 1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        sum_of_powers *= part
        sum_of_powers += np.float32(factor)
    sum_of_powers *= part
    np.multiply(size, -size, out=size)
    sum_of_powers *= np.exp(size, out=size)
    sum_of_powers *= np.float32(0.5)  # half of the probability beyond ±x
    return values * np.where(values > 0, 1 - sum_of_powers, sum_of_powers)
