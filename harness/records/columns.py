"""Columns of the tables that are kept as parquet, and names of files beside them."""

from __future__ import annotations

LOWER = "lower.json"  # what reading a suite leaves: task -> metrics of which a lower value is better
ASKED = "asked.json"  # in a stored suite: lm-eval task -> digest of its prompts and scoring

# Column name -> type, of the tables kept as parquet. `str?` may be null.
ROW_COLUMNS = {
    "row_id": "str",  # digest of the content fields below, which the model will see
    "source": "str",
    "prompt": "str?",
    "completion": "str?",
    "messages": "str?",  # JSON list of {role, content}
    "text": "str?",
    "chosen": "str?",
    "rejected": "str?",
    "license": "str?",
    "origin": "str?",
    "group": "str?",
    "slice": "str?",
    "columns": "str?",  # JSON object: scores and labels that a source carries along, or that operations add
    "verifier": "str?",  # JSON: {"scorer": "reasoning-gym", "task", "entry"} or {"scorer": "numeric", "answer"}
    "meta": "str?",  # JSON: {"place": "file:line" or "generator#index", "id", ...}
}
CONTENT_COLUMNS = ("prompt", "completion", "messages", "text", "chosen", "rejected")
DROP_COLUMNS = {"row_id": "str?", "source": "str", "operation": "str", "reason": "str", "place": "str?"}
OVERLAP_COLUMNS = {
    "row_id": "str", "source": "str", "item_id": "str", "task": "str", "kind": "str", "score": "float", "span": "str",
}  # fmt: skip
ITEM_COLUMNS = {
    "item_id": "str",  # digest of task and doc
    "task": "str",  # the task's name in the suite
    "subtask": "str",  # the lm-eval task the item belongs to (differs from task for groups)
    "index": "int",  # the doc's position in that lm-eval task
    "doc_digest": "str",
    "question": "str",
    "answer": "str",
    "choices": "list[str]",
    "slice": "str?",
    "group": "str?",
    "half": "str",  # selection or confirmation
}
