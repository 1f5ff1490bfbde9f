"""Decontamination on real data: planted rows, natural leaks, and a second set of items and changes made here."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.data.contamination import overlaps, removable
from harness.data.rows import table
from harness.data.text import words
from harness.spec import Decontaminate
from tests.command import ROOT, environment
from tests.data.perturbations import EDITED, EXACT, plant, renumbered

pytestmark = pytest.mark.acceptance
RULE = Decontaminate()
COPIES = ("verbatim_q", "verbatim_qa", "embedded", "rewrapped", "case_punct_space", "unicode", "natural_retemplate")
EDITS = ("edit_sub", "edit_ins", "edit_del")
HARD = ("paraphrase", "paraphrase_hand")


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def suite(docs: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "item_id": d["id"], "task": d["task"], "subtask": d["task"], "question": d["text"],
                "answer": d.get("answer", ""), "choices": d.get("choices") or [],
            }
            for d in docs
        ],
        schema_overrides={"choices": pl.List(pl.String)},
    )  # fmt: skip


def rows(texts: list[str]) -> pl.DataFrame:
    made = table({"text": texts, "source": "s"}, len(texts))
    return made.with_columns(row_id=pl.Series([str(number) for number in range(len(texts))]))


def first(found: pl.DataFrame) -> dict[int, dict[str, Any]]:
    """Return the best overlap of each row that has any."""
    best: dict[int, dict[str, Any]] = {}
    for line in found.iter_rows(named=True):
        best.setdefault(int(line["row_id"]), line)
    return best


def suites_docs(folder: Path, wrapper: str = "{}") -> list[dict[str, Any]]:
    return [
        {
            "id": doc["id"], "task": file.stem, "text": wrapper.format(doc["question"]) if doc["question"] else "",
            "answer": doc["choices"][doc["label"]], "choices": doc["choices"],
        }
        for file in sorted(folder.glob("suites/*/*.jsonl"))
        for doc in read(file)
    ]  # fmt: skip


def t0(folder: Path, kind: str) -> list[str]:
    return [f"{r['prompt']}\n{r['completion']}" for f in sorted(folder.glob(f"t0/{kind}/*.jsonl")) for r in read(f)]


def test_planted_contamination(acceptance_data: Path) -> None:
    folder = acceptance_data / "decontam"
    labels = read(folder / "labels.jsonl")
    texts = {row["id"]: row["text"] for row in read(folder / "train.jsonl")}
    found = overlaps(rows([texts[label["id"]] for label in labels]), suite(read(folder / "eval.jsonl")), RULE)
    best, flagged = first(found), first(removable(found, RULE))
    share: dict[str, list[bool]] = defaultdict(list)
    named: list[bool] = []
    right = wrong = 0
    for number, label in enumerate(labels):
        hit = number in flagged
        share[label["kind"]].append(hit)
        if label["contaminated"] is True and label["kind"] not in HARD:
            right += hit
            named += [flagged[number]["item_id"] == label["eval_id"]] if hit else []
        elif label["kind"].startswith(("clean", "neg_")):
            wrong += hit
    got = {kind: sum(hits) / len(hits) for kind, hits in share.items()}
    print("\n".join(f"{kind:20}{len(share[kind]):6}{value:8.3f}" for kind, value in sorted(got.items())))
    print(f"precision {right / (right + wrong):.4f}, right item {sum(named) / len(named):.4f}")
    assert min(got[kind] for kind in COPIES) >= 0.99
    assert min(got[kind] for kind in EDITS) >= 0.95
    assert right / (right + wrong) >= 0.97
    assert sum(named) / len(named) >= 0.98
    assert max(got["neg_boilerplate"], got["neg_quotation"]) <= 0.02
    told = Counter(best[n]["kind"] for n, label in enumerate(labels) if label["kind"] == "template" and n in best)
    assert told["template"] >= 0.95 * len(share["template"])


@pytest.mark.parametrize("wrapper", ["{}", "Question: {}\nAnswer:"])
def test_leaky_templates_are_removed_and_clean_ones_stay(acceptance_data: Path, wrapper: str) -> None:
    items = suite(suites_docs(acceptance_data, wrapper))
    assert overlaps(rows(t0(acceptance_data, "clean")), items, RULE).is_empty()
    assert overlaps(rows(t0(acceptance_data, "leaky")), items, RULE)["row_id"].n_unique() >= 1175


def test_twins_of_real_problems_are_templates(acceptance_data: Path) -> None:
    math = acceptance_data / "math"
    items = suite([{"id": r["id"], "task": "gsm8k", "text": r["prompt"]} for r in read(math / "gsm8k_test.jsonl")])
    train = read(math / "gsm8k_train.jsonl")
    found = overlaps(rows([f"{r['prompt']}\n{r['completion']}" for r in train]), items, RULE)
    twins = {train[n]["id"] for n, line in first(found).items() if line["kind"] == "template"}
    # gsm8k-train-01781, the fifth twin that is known, is worded anew.
    assert twins >= {f"gsm8k-train-{n}" for n in ("05162", "01314", "00020", "03726")}
    assert removable(found, RULE).height <= 1


@pytest.mark.parametrize("seed", [11, 12])
def test_other_items_and_other_changes(acceptance_data: Path, seed: int) -> None:
    rng = random.Random(seed)
    math = acceptance_data / "math"
    docs = [
        {"id": r["id"], "task": name, "text": r["prompt"], "answer": str(r["answer"])}
        for name in ("svamp", "asdiv")
        for r in rng.sample(read(math / f"{name}.jsonl"), 250)
    ]
    docs += [d for d in suites_docs(acceptance_data) if d["task"] in ("cosmos_qa", "qasc", "social_i_qa")]
    docs = [d for d in docs if len(words(d["text"])) >= 4]
    background = [f"{r['prompt']}\n{r['completion']}" for r in read(math / "gsm8k_train.jsonl")]
    background += t0(acceptance_data, "clean")
    questions, answers = [d["text"] for d in docs], [d["answer"] for d in docs]
    changes = EXACT | EDITED | {"renumbered": renumbered}
    planted = plant(questions, answers, [d.get("choices", []) for d in docs], background, changes, rng, per_change=60)
    found = overlaps(rows(planted.texts), suite(docs), RULE)
    best, flagged = first(found), first(removable(found, RULE))
    asked = {d["id"]: words(d["text"]) for d in docs}
    hits: dict[str, list[bool]] = defaultdict(list)
    named = []
    for number, truth in enumerate(planted.truth):
        hit = number in flagged
        if truth is None:
            hits["background"].append(hit)
            continue
        item, change = truth
        if change == "renumbered":
            if any(c.isdigit() for c in questions[item]) and len(words(questions[item])) > 15:
                hits[change].append(number in best and best[number]["kind"] == "template")
        elif change in EXACT or len(words(questions[item])) >= 6:
            hits[change].append(hit)
            named += [asked[flagged[number]["item_id"]] == words(questions[item])] if hit else []
    share = {change: sum(found) / len(found) for change, found in hits.items()}
    print({change: round(value, 3) for change, value in sorted(share.items())})
    assert share.pop("background") <= 0.0005
    assert share.pop("renumbered") >= 0.95
    assert share.pop("hyphenated") >= 0.9  # items of 4 or 5 words, split in two places
    exact = [found for change, found in hits.items() if change in EXACT and change != "hyphenated"]
    edits = [found for change, found in hits.items() if change in EDITED]
    assert sum(map(sum, exact)) / sum(map(len, exact)) >= 0.99
    assert sum(map(sum, edits)) / sum(map(len, edits)) >= 0.95
    assert min(share.values()) >= 0.9
    assert sum(named) / len(named) >= 0.98


MILLION = """
import random, sys, time
import polars as pl
from harness.data.contamination import overlaps
from harness.data.rows import table
from harness.engines.meter import peak_memory
from harness.spec import Decontaminate
rng = random.Random(1)
known = [w for w in open(sys.argv[1], encoding="utf-8").read().split() if w.isalpha()]
texts = pl.Series([" ".join(rng.choices(known, k=30)) for _ in range(int(sys.argv[2]))])
ids = pl.select(pl.int_range(len(texts)).cast(pl.String)).to_series()
rows = table({"text": texts, "source": "s"}, len(texts)).with_columns(row_id=ids)
items = pl.read_ndjson(sys.argv[1], infer_schema_length=None).select(
    item_id="id", task="task", subtask="task", question="text", answer="answer", choices="choices"
)
start = time.process_time()
found = overlaps(rows, items, Decontaminate())
print(len(texts) / (time.process_time() - start), peak_memory())
"""


@pytest.mark.slow
def test_a_million_rows_fit_in_two_gibibytes(acceptance_data: Path) -> None:
    items = acceptance_data / "decontam" / "eval.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", MILLION, str(items), "1000000"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    speed, resident = map(float, done.stdout.split())
    print(f"{speed:,.0f} rows a second of one core, {resident / 2**30:.2f} GiB")
    assert resident < 2 * 2**30
