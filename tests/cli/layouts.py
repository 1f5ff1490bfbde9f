"""Rows in the layouts of public datasets: all text is made up here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.cli.made import PLACES, THINGS

Row = dict[str, Any]
ROWS = 60


@dataclass(frozen=True)
class Known:
    """A layout, and what is to come of it.

    Attributes:
        make: Number -> row.
        seen: What the model is given and learns from row 0: parts of it, in order.
        said: What ``init`` assumed, in words.
        left_out: Columns that are in no field.
        used: Of ``ROWS`` rows, those that can be trained on.
        reason: Why the others cannot.
        registry: Entry in LLaMA-Factory's ``dataset_info.json``.
    """

    make: Callable[[int], Row]
    seen: tuple[str, ...]
    said: str
    left_out: tuple[str, ...] = ()
    used: int = ROWS
    reason: str = ""
    registry: Row | None = None


def ask(i: int) -> str:
    """Return a question."""
    return f"Which shelf of the {PLACES[i % 12]} store keeps the {THINGS[i % 10]} with mark {i * i + 7}?"


def answer(i: int) -> str:
    """Return its answer, long enough not to be a label."""
    return f"Shelf {i} keeps the {THINGS[i % 10]}, behind the {THINGS[(i + 3) % 10]} that {PLACES[i % 12]} sent."


def passage(i: int) -> str:
    """Return what a question may be about."""
    return f"Ledger page {i}: the {THINGS[i % 10]} was put on shelf {i} by the clerk from {PLACES[(i + 5) % 12]}."


def system(i: int) -> str:
    """Return one of a few system prompts."""
    return ("Answer as a clerk would.", "Think first, then answer.", "Answer in plain words.")[i % 3]


def talk(*said: str) -> list[Row]:
    """Return messages, the user's first."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]


def sharegpt(*said: str) -> list[Row]:
    """Return messages as ShareGPT writes them."""
    return [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(said)]


def part(text: str) -> list[Row]:
    """Return text as OpenAI's parts."""
    return [{"type": "text", "text": text}]


def with_tools(i: int) -> Row:
    """Return a conversation, every third with a call of a tool."""
    plain = sharegpt(ask(i), answer(i))
    called = [
        plain[0], {"from": "function_call", "value": '{"name": "find"}'}, {"from": "observation", "value": "{}"},
        plain[1],
    ]  # fmt: skip
    return {"conversations": plain if i % 3 else called, "tools": '[{"name": "find"}]', "system": system(i)}


def human(i: int, said: str) -> str:
    """Return a transcript as HH-RLHF writes it."""
    return f"\n\nHuman: {ask(i)}\n\nAssistant: Let me look.\n\nHuman: Please do.\n\nAssistant: {said}"


LAYOUTS: dict[str, Known] = {
    "dolly": Known(
        lambda i: {
            "instruction": ask(i), "context": "" if i % 2 else passage(i), "response": answer(i), "category": "qa",
        },
        (ask(0), passage(0), answer(0)), '"context" is in the prompt after it, where a row has one', ("category",),
    ),
    "openorca": Known(
        lambda i: {
            "id": f"niv.{i}", "system_prompt": system(i) if i % 4 else "", "question": ask(i), "response": answer(i),
        },
        (ask(0), answer(0)), '"system_prompt" comes first in the prompt, where a row has one',
    ),
    "alpaca": Known(  # input only in some rows, and not in the first
        lambda i: {"instruction": ask(i), "output": answer(i)} | ({"input": passage(i)} if i % 5 == 4 else {}),
        (ask(0), answer(0)), '"input" is in the prompt after it, where a row has one',
    ),
    "history": Known(
        lambda i: {
            "instruction": ask(i), "input": "", "output": answer(i), "system": system(i),
            "history": [["Are you open?", f"Since {i + 6}."]] if i % 2 == 0 else [],
        },
        (system(0), "Are you open?", "Since 6.", ask(0), answer(0)),
        '"history" holds earlier turns, which come before it, a line each',
    ),
    "llamafactory": Known(
        lambda i: {"ask": ask(i), "about": passage(i) if i % 2 else "", "say": answer(i), "as": system(i), "by": "me"},
        (system(0), ask(0), answer(0)), "columns as dataset_info.json beside it says", ("by",),
        registry={"columns": {"prompt": "ask", "query": "about", "response": "say", "system": "as"}},
    ),
    "sharegpt-tools": Known(
        with_tools, (system(1), ask(1), answer(1)), '"system" is the system message, where a row has one', ("tools",),
        ROWS - ROWS // 3, "calls a tool",
    ),
    "ultrafeedback": Known(
        lambda i: {
            "prompt": ask(i), "prompt_id": f"p{i}", "chosen": talk(ask(i), answer(i)), "score_chosen": 8.5,
            "rejected": talk(ask(i), f"No idea about {i}."), "messages": talk(ask(i), answer(i)), "score_rejected": 3.0,
        },
        (ask(0), answer(0), "No idea about 0."), 'preference pairs: "chosen" is preferred to "rejected"',
        ("prompt_id", "score_chosen", "messages", "score_rejected"),
    ),
    "hh-rlhf": Known(
        lambda i: {
            "chosen": human(i, answer(i)), "rejected": human(i, answer(i) if i % 6 == 5 else f"Not today, {i}."),
        },
        (ask(0), "Let me look.", "Please do.", answer(0), "Not today, 0."),
        "their text (Human: ... Assistant: ...) is taken apart into messages", (), ROWS - ROWS // 6,
        "chosen and rejected are the same",
    ),
    "llamafactory-dpo": Known(
        lambda i: {
            "conversations": sharegpt(ask(i)), "chosen": {"from": "gpt", "value": answer(i)},
            "rejected": {"from": "gpt", "value": f"Ask again, {i}."},
        },
        (ask(0), answer(0), "Ask again, 0."), '"conversations" is the conversation that they answer',
    ),
    "kto": Known(
        lambda i: {"messages": talk(ask(i), answer(i)), "label": i % 4 != 3},
        (ask(0), answer(0)), '"label" is false in 15 of the 60 rows', (), ROWS - ROWS // 4, '"label" is false',
    ),
    "kto-trl": Known(
        lambda i: {
            "prompt": talk(ask(i)), "completion": [{"role": "assistant", "content": answer(i)}], "label": i % 2 == 0,
        },
        (ask(0), answer(0)), '"label" is false in 30 of the 60 rows', (), ROWS // 2, '"label" is false',
    ),
    "messages": Known(
        lambda i: {
            "messages": [
                {"role": "developer", "content": part(system(i))},
                {"role": "User", "content": part(ask(i)), "name": f"n{i}"},
                {"role": "Assistant", "content": part(answer(i)), "weight": int(i % 10 != 9)},
            ]
        },
        (system(0), ask(0), answer(0)), 'conversations in "messages"; the last answer is learned', ("messages[].name",),
        ROWS - ROWS // 10, "weight is 0",
    ),
}  # fmt: skip
