"""Rows that tests of operations work on."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from harness.data.operations import Context, apply
from harness.data.rows import Built, frame
from harness.spec import Operation


def table(*completions: str, answer: str = "1", **columns: Any) -> pl.DataFrame:
    """One row per completion, read at ``f:0``, ``f:1``, ..., with a numeric verifier."""
    verifier = json.dumps({"scorer": "numeric", "answer": answer})
    return frame(
        [
            {
                "source": "s",
                "prompt": "p",
                "completion": text,
                "verifier": verifier,
                "meta": json.dumps({"place": f"f:{index}"}),
                **columns,
            }
            for index, text in enumerate(completions)
        ]
    )


def scored(*scores: Any) -> pl.DataFrame:
    """One row per score, which it carries as ``quality``."""
    rows = [
        {"source": "s", "text": "t", "columns": score, "meta": json.dumps({"place": f"f:{index}"})}
        for index, score in enumerate(scores)
    ]
    return frame(rows)


def conversation(*contents: str, **columns: Any) -> dict[str, Any]:
    """A row whose user and assistant take turns."""
    roles = ("user", "assistant")
    turns = [{"role": roles[index % 2], "content": content} for index, content in enumerate(contents)]
    return {"source": "s", "messages": json.dumps(turns, ensure_ascii=False), **columns}


def do(rows: pl.DataFrame, operation: Operation, seed: int = 0, **asked: Any) -> Built:
    return apply(rows, operation, Context("s", seed, **asked))


def places(rows: pl.DataFrame) -> list[int]:
    return [int(json.loads(meta)["place"].split(":")[1]) for meta in rows["meta"]]


def module(folder: Path, text: str, name: str = "mine") -> Path:
    (folder / f"{name}.py").write_text(text)
    return folder
