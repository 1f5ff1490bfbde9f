"""Files of rows as people have them, one of each kind that ``harness init`` knows."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

THINGS = ["invoice", "password", "router", "refund", "parcel", "licence", "update", "printer", "backup", "calendar"]
PLACES = ["Berlin", "Lima", "Oslo", "Quito", "Cairo", "Delhi", "Paris", "Tokyo", "Accra", "Hanoi", "Dakar", "Sofia"]


def lines(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write rows as JSON, one a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as CSV."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def asked(number: int) -> str:
    """Return a question that no other number gives, in words of its own."""
    return f"Our {THINGS[number % 10]} from {PLACES[number % 12]} came in box {number}; what is row {number} times two?"


def sums(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Questions whose answer is a number."""
    return [{"question": asked(i), "answer": str(2 * i)} for i in range(start, start + count)]


def words(count: int) -> list[dict[str, Any]]:
    """Questions whose answer is a few words."""
    who = "Who runs the shop for {}s that has number {}?"
    return [
        {"prompt": who.format(THINGS[i % 10], i), "completion": f" {PLACES[i % 12]} {THINGS[(i * 7) % 10]}"}
        for i in range(count)
    ]


def solutions(count: int) -> list[dict[str, Any]]:
    """Worked solutions with their result in a column of its own; a third of them is wrong."""
    return [
        {
            "problem": asked(i), "result": 2 * i,
            "solution": f"We take {i} and double it, which takes one step and some care. #### {2 * i + (i % 3 == 0)}",
        }
        for i in range(count)
    ]  # fmt: skip


def labelled(count: int) -> list[dict[str, Any]]:
    """Sentences with a label."""
    return [
        {"text": f"The {THINGS[i % 10]} number {i} is in {PLACES[i % 12]}", "label": ("good", "bad", "odd")[i % 3]}
        for i in range(count)
    ]


def talks(count: int) -> list[dict[str, Any]]:
    """Conversations, some with a system message."""
    system = {"role": "system", "content": "Be brief."}
    return [
        {
            "messages": [
                *([system] if i % 2 else []),
                {"role": "user", "content": asked(i)},
                {"role": "assistant", "content": f"It is {2 * i}, and the {THINGS[i % 10]} is on its way to you."},
            ]
        }
        for i in range(count)
    ]


def texts(count: int) -> list[dict[str, Any]]:
    """Raw text."""
    return [{"text": f"Note {i}. The {THINGS[i % 10]} went to {PLACES[i % 12]} on day {i}. " * 3} for i in range(count)]


def pairs(count: int) -> list[dict[str, Any]]:
    """Preferences."""
    return [
        {"prompt": f"{asked(i)}\n", "chosen": f"It is {2 * i}.", "rejected": f"No idea, {i}."} for i in range(count)
    ]


def packed(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write rows as JSON lines in a gzip file."""
    with gzip.open(path, "wt") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def columnar(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as parquet."""
    import polars as pl

    pl.DataFrame(rows).write_parquet(path)
    return path


def alpaca(count: int) -> list[dict[str, Any]]:
    """Instructions in Alpaca's layout, half of them without input."""
    return [
        {"instruction": asked(i), "input": "" if i % 2 else f"box {i}", "output": f"It holds {2 * i} things. " * 3}
        for i in range(count)
    ]


LIKELY = "gold_logprob_per_token"
# Name -> how the files are made, the arguments of init, how items are asked, and what decides.
KINDS: dict[str, tuple[Callable[[Path], Any], str, str, str]] = {
    "sums": (
        lambda at: (lines(at / "ours.jsonl", sums(90)), lines(at / "web.jsonl", sums(140, 200))),
        "ours.jsonl web.jsonl", "exact", "exact_match",
    ),
    "words": (lambda at: columnar(at / "shops.parquet", words(120)), "shops.parquet", "distractors", "acc"),
    "solutions": (lambda at: lines(at / "maths.jsonl", solutions(90)), "maths.jsonl", "likelihood", LIKELY),
    "labelled": (lambda at: table(at / "mails.csv", labelled(120)), "mails.csv", "labels", "acc"),
    "talks": (lambda at: packed(at / "chats.jsonl.gz", talks(100)), "chats.jsonl.gz", "likelihood", LIKELY),
    "texts": (lambda at: lines(at / "notes.jsonl", texts(80)), "notes.jsonl", "rolling", "gold_logprob_per_byte"),
    "pairs": (lambda at: lines(at / "likes.jsonl", pairs(80)), "likes.jsonl", "preferred", "acc"),
    "alpaca": (lambda at: lines(at / "alpaca.jsonl", alpaca(90)), "alpaca.jsonl", "likelihood", LIKELY),
}  # fmt: skip
