"""Near-duplicates in real rows: the planted set at the default threshold, and a second set, other rows and edits."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harness.data.duplicates import clusters
from tests.command import harness

pytestmark = pytest.mark.acceptance


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def pairs(counts: Counter[object]) -> int:
    return sum(count * (count - 1) // 2 for count in counts.values())


def precision(found: Sequence[object], truth: Sequence[object]) -> float:
    """Return the share of pairs of rows in one cluster that are in one cluster in truth."""
    return pairs(Counter(zip(found, truth, strict=True))) / pairs(Counter(found))


def test_the_planted_set_by_the_verb(acceptance_data: Path, tmp_path: Path) -> None:
    rows = acceptance_data / "dedup" / "rows.jsonl"
    called = harness(
        "data", "dedupe", "--in", rows, "--out", "kept.jsonl", "--clusters", "clusters.jsonl", "--json", cwd=tmp_path
    )
    assert called.code == 0, called.err
    found = {row["id"]: row["cluster"] for row in read(tmp_path / "clusters.jsonl")}
    truth = {row["id"]: row for row in read(acceptance_data / "dedup" / "truth.jsonl")}
    assert list(found) == [row["id"] for row in read(rows)]
    hits = defaultdict(list)
    for row in truth.values():
        if row["dup_of"]:
            hits[row["kind"]].append(found[row["id"]] == found[row["dup_of"]])
    recall = {kind: sum(hit) / len(hit) for kind, hit in hits.items()}
    exact = precision(list(found.values()), [truth[name]["cluster"] for name in found])
    print({kind: round(share, 4) for kind, share in sorted(recall.items())}, "pair precision", round(exact, 4))
    assert recall["exact"] == recall["case_space"] == 1
    assert recall["edit05"] >= 0.98
    assert recall["edit10"] >= 0.90
    assert recall["edit20"] >= 0.80
    assert exact >= 0.98
    kept = read(tmp_path / "kept.jsonl")
    assert kept == [row for row in read(rows) if found[row["id"]] == row["id"]]
    assert called.json["kept"] == len(kept) == len(set(found.values()))


# ------------------------------------------------------------------------------------- a second set, with other edits

Change = Callable[[str, random.Random, list[str]], str]


def spread(rate: float) -> Change:
    """Replace, insert, delete words, or swap them with the next, anywhere."""

    def change(text: str, rng: random.Random, others: list[str]) -> str:
        words = text.split(" ")
        for _ in range(max(1, round(rate * len(words)))):
            at = rng.randrange(len(words))
            kind = rng.choice(["replace", "insert", "delete"])
            words[at : at + (kind != "insert")] = [] if kind == "delete" else [rng.choice(others)]
        return " ".join(words)

    return change


def burst(rate: float) -> Change:
    """Replace one stretch of words."""

    def change(text: str, rng: random.Random, others: list[str]) -> str:
        words = text.split(" ")
        count = max(1, round(rate * len(words)))
        at = rng.randrange(len(words) - count + 1)
        return " ".join([*words[:at], *rng.choices(others, k=count), *words[at + count :]])

    return change


def typos(rate: float) -> Change:
    """Misspell words: two letters swapped, or one doubled."""

    def change(text: str, rng: random.Random, others: list[str]) -> str:
        words = text.split(" ")
        for at in rng.sample(range(len(words)), max(1, round(rate * len(words)))):
            word, place = words[at], rng.randrange(max(1, len(words[at]) - 1))
            words[at] = word[:place] + word[place + 1 : place + 2] + word[place : place + 1] + word[place + 2 :]
        return " ".join(words)

    return change


def dressed(text: str, rng: random.Random, others: list[str]) -> str:
    """Change case, white space and how punctuation is spelled; nothing else."""
    text = rng.choice([str.upper, str.lower, str.title])(text)
    text = re.sub(r"\s+", lambda _: rng.choice([" ", "  ", "\n", "\t", "\u00a0"]), text)
    return text.translate(str.maketrans({"'": "’", '"': "”", "-": "–"})) if rng.random() < 0.5 else f"  {text}\n"


def unpunctuated(text: str, rng: random.Random, others: list[str]) -> str:
    return re.sub(r"""[.,;:!?"'()]""", "", text)


CHANGES: dict[str, Change] = {
    "dressed": dressed, "unpunctuated": unpunctuated, "spread05": spread(0.05), "spread10": spread(0.1),
    "burst05": burst(0.05), "burst10": burst(0.1), "typos10": typos(0.1), "spread20": spread(0.2),
}  # fmt: skip
GOALS = {"dressed": 1.0, "unpunctuated": 0.99, "spread05": 0.98, "burst05": 0.98} | dict.fromkeys(
    ("spread10", "burst10", "typos10"), 0.9
)


def shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return set(zip(words, words[1:], words[2:], strict=False))


def unlike(texts: Sequence[str], limit: float) -> Iterator[str]:
    """Yield texts that share less than ``limit`` of their runs of three words with each one before (Jaccard)."""
    where: dict[tuple[str, ...], list[int]] = defaultdict(list)
    sizes: list[int] = []
    for text in texts:
        mine = shingles(text)
        shared = Counter(other for shingle in mine for other in where[shingle])
        if mine and all(both / (len(mine) + sizes[other] - both) < limit for other, both in shared.items()):
            for shingle in mine:
                where[shingle].append(len(sizes))
            sizes.append(len(mine))
            yield text


def test_a_second_set_of_rows_and_edits(acceptance_data: Path) -> None:
    files = ["math/gsm8k_test.jsonl", "math/svamp.jsonl", "math/asdiv.jsonl", "instruct/self_instruct_seed.jsonl"]
    files += [f"t0/leaky/{path.name}" for path in sorted((acceptance_data / "t0" / "leaky").glob("*.jsonl"))]
    rng = random.Random(5)
    texts = [f"{row['prompt']}\n{row['completion']}" for name in files for row in read(acceptance_data / name)]
    rng.shuffle(texts)
    base = list(unlike(texts, 0.45))
    assert len(base) > 3500
    others = sorted({word for text in base for word in text.split() if word.isalpha()})
    made = [(text, number, "base") for number, text in enumerate(base)]
    for number, text in enumerate(base):
        if number % 3 == 0 and len(text.split()) >= 8:
            kind = list(CHANGES)[number // 3 % len(CHANGES)]
            made.append((CHANGES[kind](text, rng, others), number, kind))
    rng.shuffle(made)
    found = clusters([text for text, _, _ in made], "near").to_list()
    of_base = {number: cluster for cluster, (_, number, kind) in zip(found, made, strict=True) if kind == "base"}
    hits = defaultdict(list)
    for cluster, (_, number, kind) in zip(found, made, strict=True):
        if kind != "base":
            hits[kind].append(cluster == of_base[number])
    recall = {kind: sum(hit) / len(hit) for kind, hit in hits.items()}
    share = precision(found, [number for _, number, _ in made])
    print({kind: round(value, 4) for kind, value in sorted(recall.items())}, "pair precision", round(share, 4))
    assert {kind: recall[kind] for kind, goal in GOALS.items() if recall[kind] < goal} == {}
    assert share >= 0.98
