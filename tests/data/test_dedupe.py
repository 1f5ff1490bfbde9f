"""Clusters of repeated texts: against plain definitions, on planted copies, whatever the order or the process."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.duplicates import clusters, near, semantic
from harness.data.embeddings import model_folder
from harness.errors import RequestError
from tests.command import environment

VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "rk", "st", "lo", "mi")]
TEXTS = st.lists(st.lists(st.sampled_from(VOCABULARY[:7]), max_size=9).map(" ".join), max_size=30)


def prose(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(VOCABULARY, k=words))


def edited(rng: random.Random, text: str, rate: float) -> str:
    words = text.split(" ")
    for at in rng.sample(range(len(words)), max(1, round(rate * len(words)))):
        words[at] = "".join(rng.sample("qwxyzj", 5))
    return " ".join(words)


def parts(labels: Sequence[int]) -> set[frozenset[int]]:
    groups = defaultdict(set)
    for row, label in enumerate(labels):
        groups[label].add(row)
    return set(map(frozenset, groups.values()))


def table_shared(one: Sequence[Any], other: Sequence[Any]) -> int:
    """The longest common subsequence by the textbook's table."""
    row = [0] * (len(other) + 1)
    for word in one:
        above = row[:]
        for at, there in enumerate(other):
            row[at + 1] = above[at] + 1 if word == there else max(above[at + 1], row[at])
    return row[-1]


def similarity(one: str, other: str) -> float:
    """The measure as the module's docstring has it, for lower-case words and whole numbers."""
    a, b = ([word for word in text.split() for _ in range(1 + word.isdigit())] for text in (one, other))
    shared = table_shared(a, b)
    return shared / (len(a) + len(b) - shared)


# -------------------------------------------------------------------------------------------------- what holds always


@pytest.mark.parametrize("method", ["exact", "near"])
@given(texts=TEXTS)
@settings(max_examples=40, deadline=None)
def test_the_first_of_a_cluster_is_its_label_and_twice_is_once(method: Any, texts: list[str]) -> None:
    labels = clusters(texts, method).to_list()
    assert len(labels) == len(texts)
    assert all(label <= row and labels[label] == label for row, label in enumerate(labels))
    kept = [text for row, text in enumerate(texts) if labels[row] == row]
    assert clusters(kept, method).to_list() == list(range(len(kept)))


@given(texts=TEXTS, seed=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_order_of_rows_changes_no_cluster(texts: list[str], seed: random.Random) -> None:
    order = list(range(len(texts)))
    seed.shuffle(order)
    moved = clusters([texts[at] for at in order], "near").to_list()
    back = {frozenset(order[at] for at in part) for part in parts(moved)}
    assert back == parts(clusters(texts, "near").to_list())


@given(texts=TEXTS)
@settings(max_examples=40, deadline=None)
def test_exact_is_equality_of_words_and_inside_near(texts: list[str]) -> None:
    exact, near = clusters(texts, "exact").to_list(), clusters(texts, "near").to_list()
    assert exact == [texts.index(text) for text in texts]
    assert all(near[row] == near[label] for row, label in enumerate(exact))


@given(one=st.lists(st.integers(0, 5)), other=st.lists(st.integers(0, 5)))
def test_longest_common_subsequence(one: list[int], other: list[int]) -> None:
    assert near._shared(one, other) == table_shared(one, other)


@given(rows=st.lists(st.lists(st.integers(0, 2**32 - 1), min_size=1), min_size=1), seed=st.randoms())
def test_lists_taken(rows: list[list[int]], seed: random.Random) -> None:
    flat = np.array([number for row in rows for number in row], np.uint32)
    made = near._Ragged(flat, near._starts(np.array([len(row) for row in rows])))
    some = sorted(seed.sample(range(len(rows)), seed.randint(1, len(rows))))
    taken = made.take(np.array(some))
    cut = [taken.flat[low:high].tolist() for low, high in zip(taken.starts[:-1], taken.starts[1:], strict=True)]
    assert cut == [rows[at] for at in some]


# -------------------------------------------------------------------------------------------------------------- exact


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, World!", "  hello\n\tWORLD "),
        ("“Don’t”, she said…", '"Don\'t" - she said'),
        ("a–b — c", "a-b, c"),
        ("ﬁne ＡＢＣ １２", "fine ABC 12"),
        ("STRASSE", "straße"),
        ("cafe\u0301", "CAF\u00c9"),
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("1,200 apples", "1200 apples"),
        ("4-1=3", "4 - 1 = 3"),
        ("7 × 8 ÷ 2", "7 * 8 / 2"),
        ("state-of-the-art", "state of the art"),
        ("你好，世界。", "你好 世界"),
        ("", " \n"),
        ("?!", " ?! "),
    ],
)
def test_the_same_words(one: str, other: str) -> None:
    assert clusters([one, other]).to_list() == [0, 0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("4 + 1", "4 - 1"),
        ("4+1", "4-1"),
        ("2*x", "2^x"),
        ("(2)/(3)", "(2)*(3)"),
        ("is -5", "is 5"),
        ("5% of it", "5 of it"),
        ("3.5", "35"),
        ("12:30", "1230"),
        ("if a != b", "if a == b"),
        ("if a < b", "if a > b"),
        ("x && y", "x || y"),
        ("I pay $5", "I pay €5"),
        ("How was it? 😀", "How was it? 😡"),
        ("ab c", "a bc"),
        ("?", "!"),
        ("", "?"),
        ("की", "का"),
    ],
)
def test_other_words(one: str, other: str) -> None:
    assert clusters([one, other]).to_list() == [0, 1]


# --------------------------------------------------------------------------------------------------------------- near


@pytest.fixture(scope="module")
def measured() -> tuple[list[str], dict[tuple[int, int], float]]:
    """Texts of all lengths with edited copies, and every pair measured by the textbook."""
    rng = random.Random(3)
    texts = [prose(rng, rng.randint(1, 30)) for _ in range(70)]
    texts += [edited(rng, rng.choice(texts), rng.uniform(0.02, 0.2)) for _ in range(130)]
    texts += [f"{prose(rng, 2)} {number} and {number + 7}" for number in range(20)]
    rng.shuffle(texts)
    pairs = ((left, right) for right in range(len(texts)) for left in range(right))
    return texts, {(left, right): similarity(texts[left], texts[right]) for left, right in pairs}


@pytest.mark.parametrize("threshold", [0.65, 0.7, 0.85])
def test_near_is_the_measure_over_all_pairs(threshold: float, measured: tuple[list[str], Any]) -> None:
    """Nothing is joined that is not connected, next to nothing is missed."""
    texts, similarities = measured
    found = clusters(texts, "near", threshold).to_list()
    close = [pair for pair, value in similarities.items() if value >= threshold]
    label = list(range(len(texts)))  # single linkage by hand
    for left, right in close:
        low, high = sorted((label[left], label[right]))
        label = [low if each == high else each for each in label]
    assert len(close) >= 12
    assert sum(found[left] == found[right] for left, right in close) >= 0.98 * len(close)
    assert all(label[row] == label[to] for row, to in enumerate(found))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("the red fox ran over the hill at dawn", "the red fox ran over a hill at dawn", True),
        ("yes", "no", False),
        ("one two three", "one two four", False),
        ("What is 12 plus 7?", "What is 12 plus 9?", False),
        ("What is the sum of 4 and 1?", "What is the sum of 4 and 2?", False),
        ("The answer is 3.5 as you see", "the answer is 35 as you see", True),  # punctuation is lost here
        ("今天天气很好我们去公园玩吧", "今天天气真好我们去公园玩吧", True),
        ("今天天气很好我们去公园玩吧", "昨天他在图书馆看了一本新书", False),
        ("ภาษาไทยไม่มีช่องว่างระหว่างคำ", "ภาษาไทยไม่มีช่องว่างระหว่างคน", True),
        ("a b c d e f g h", "h g f e d c b a", False),  # the same words in another order
        ("", "x", False),
        ("...", "", False),
    ],
)
def test_short_texts_numbers_and_scripts_without_spaces(one: str, other: str, same: bool) -> None:
    assert (clusters([one, other], "near").to_list() == [0, 0]) is same


def test_copies_of_copies_are_one_cluster() -> None:
    rng = random.Random(1)
    chain = [prose(rng, 40)]
    for _ in range(4):
        chain.append(edited(rng, chain[-1], 0.1))
    assert similarity(chain[0], chain[-1]) < 0.7
    assert clusters(chain, "near").to_list() == [0] * 5


def test_planted_copies_among_many() -> None:
    rng = random.Random(2)
    texts = [prose(rng, rng.randint(15, 60)) for _ in range(3000)]
    copies = {}
    for _ in range(1000):
        row, rate = rng.randrange(3000), rng.choice([0.03, 0.08, 0.12])
        copies[len(texts)] = row
        texts.append(edited(rng, texts[row], rate))
    found = clusters(pl.Series(texts), "near").to_list()
    assert sum(found[copy] == found[row] for copy, row in copies.items()) >= 0.995 * len(copies)
    assert all(found[row] == row for row in range(3000))


@pytest.mark.parametrize("count", [20, 2000])
def test_a_crowd_of_copies_is_one_cluster_however_large(count: int) -> None:
    rng = random.Random(4)
    text = prose(rng, 30)
    found = clusters([edited(rng, text, 0.04) for _ in range(count)], "near").to_list()
    assert found == [0] * count


def test_a_crowd_of_one_template_stays_apart_but_for_its_copies() -> None:
    rng = random.Random(5)
    instruction = prose(rng, 12)
    texts = [f"{instruction} {prose(rng, 14)}" for _ in range(3000)]
    copies = {3000 + at: row for at, row in enumerate(range(0, 3000, 10))}
    texts += [edited(rng, texts[row], 0.04) for row in copies.values()]
    found = clusters(texts, "near").to_list()
    assert all(found[row] == row for row in range(3000))
    assert sum(found[copy] == row for copy, row in copies.items()) >= 0.98 * len(copies)
    kept = [text for row, text in enumerate(texts) if found[row] == row]
    assert clusters(kept, "near").to_list() == list(range(len(kept)))


def test_a_higher_threshold_joins_less() -> None:
    rng = random.Random(6)
    texts = [prose(rng, 25) for _ in range(100)]
    texts += [edited(rng, rng.choice(texts), 0.15) for _ in range(200)]
    sizes = [clusters(texts, "near", threshold).n_unique() for threshold in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] == len(texts)


def test_minhash_agrees_as_often_as_texts_are_alike() -> None:
    rng = random.Random(7)
    pairs = [(text := prose(rng, 50), edited(rng, text, 0.12)) for _ in range(200)]
    shingles = near.Texts.of(pl.Series([text for pair in pairs for text in pair])).shingles()
    alike = []
    for row in range(0, len(shingles), 2):
        one, other = (
            set(shingles.flat[shingles.starts[at] : shingles.starts[at + 1]].tolist()) for at in (row, row + 1)
        )
        alike.append((len(one & other) / len(one | other)) ** near.MINIMA)
    met = [(places[::2] == places[1::2]).mean() for places in (near._places(shingles, band) for band in range(40))]
    assert abs(np.mean(met) - np.mean(alike)) < 0.02


def test_the_same_in_every_process_and_with_one_thread() -> None:
    code = """
import json, random, sys
from harness.data.duplicates import clusters
from tests.data.test_dedupe import edited, prose
rng = random.Random(8)
texts = [prose(rng, 20) for _ in range(300)]
texts += [edited(rng, rng.choice(texts), 0.14) for _ in range(300)]
print(json.dumps(clusters(texts, "near").to_list()), "torch" in sys.modules)
"""
    outs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env=environment(PYTHONHASHSEED=seed, POLARS_MAX_THREADS=threads),
        ).stdout
        for seed, threads in (("1", "1"), ("2", "2"))
    }  # fmt: skip
    assert len(outs) == 1
    labels, _, torch = outs.pop().rpartition(" ")
    assert len(set(json.loads(labels))) < 600
    assert torch.strip() == "False"


def test_progress_goes_up_to_its_total() -> None:
    heard: list[tuple[int, int]] = []
    clusters(["a b c", "d e f"], "near", on_progress=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (near.BANDS, near.BANDS)
    assert heard == sorted(heard)


@pytest.mark.parametrize("method", ["exact", "near", "semantic"])
def test_no_rows(method: Any) -> None:
    labels = clusters([], method)
    assert labels.to_list() == []
    assert labels.dtype == pl.UInt32


# ----------------------------------------------------------------------------------------------------------- semantic


def embedding(vectors: dict[str, Any]) -> Callable[..., Any]:
    return lambda texts, on_progress=None: np.array([vectors[text] for text in texts], np.float32)


def test_semantic_is_cosine_over_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    centres = rng.normal(size=(30, 16))
    made = centres[rng.integers(0, 30, 150)] + 0.25 * rng.normal(size=(150, 16))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    texts = [f"text {row}" for row in range(150)]
    monkeypatch.setattr(semantic, "embed", embedding(dict(zip(texts, made, strict=True))))
    monkeypatch.setattr(semantic, "TILE", 32)
    label = list(range(150))
    for left, right in zip(*np.nonzero(made @ made.T >= 0.9), strict=True):
        low, high = sorted((label[left], label[right]))
        label = [low if each == high else each for each in label]
    found = clusters(texts, "semantic").to_list()
    assert found == label
    assert 30 <= len(set(found)) < 150


@pytest.mark.slow
def test_semantic_finds_a_paraphrase() -> None:
    try:
        model_folder()
    except RequestError as error:
        pytest.skip(str(error))
    texts = [
        "A man is eating food.",
        "The stock market fell on Monday.",
        "A man eats some food.",
        "a man is EATING food",
    ]
    assert clusters(texts, "semantic", 0.8).to_list() == [0, 1, 0, 0]
