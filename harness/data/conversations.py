"""Conversations as people write them, read as a list of {role, content}."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.data.reading import parse
from harness.data.values import BadRow, kind, text
from harness.errors import did_you_mean

Messages = list[dict[str, str]]
# Names of roles, in any case, as ShareGPT, OpenAI, OpenAssistant, Gemma and LLaMA-Factory write them.
ROLES = {
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant",
    "system": "system", "developer": "system",
    "tool": "tool", "observation": "tool", "function": "tool", "ipython": "tool", "tool_response": "tool",
}  # fmt: skip
CALLERS = ("function_call", "tool_call")  # roles of a message that only calls a tool
CALLS = ("tool_calls", "function_call")  # members of a message that hold such calls
READ = {"role", "content", "from", "value", "weight", *CALLS}  # members of a message that are looked at
TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):[ \t]?")


def messages(value: Any, what: str) -> Messages:
    """Return a conversation (role and content, or ShareGPT's from and value; or its JSON) as a list of {role, content}.

    Args:
        value: A list of messages, one message, or the JSON of either. A null member of a message counts as absent.
        what: Name of the value in errors.

    Raises:
        BadRow: The value is no conversation that can be trained on.
    """
    listed = _listed(value, what)
    if (plain := _plain_messages(listed)) is not None:
        return plain
    read = [_message(message, f"{what}[{index}]") for index, message in enumerate(listed)]
    if not any(message["content"].strip() for message in read):
        raise BadRow(f'"{what}" is empty')
    if _weight(listed[-1], f"{what}[{len(listed) - 1}]") == 0:  # only the last answer is learned
        raise BadRow(f"{what}[{len(listed) - 1}].weight is 0, so the last answer, the only one learned, is not to be")
    return read


def said(value: Any, what: str) -> str:
    """Return all text of a conversation, of every role and with calls of tools, to compare it with other rows.

    Raises:
        BadRow: The value is no conversation, or has no text.
    """
    parts = []
    for index, message in enumerate(_listed(value, what)):
        given = _given(message, f"{what}[{index}]")
        content = given.get("value", given.get("content"))
        parts += [] if content is None else [_content(content, f"{what}[{index}]")]
        parts += [json.dumps(given[calls], sort_keys=True, default=str) for calls in CALLS if given.get(calls)]
    if not any(part.strip() for part in parts):
        raise BadRow(f'"{what}" is empty')
    return "\n".join(parts)


def transcript(written: str) -> Messages | None:
    r"""Return a conversation from text such as ``\n\nHuman: ...\n\nAssistant: ...`` (HH-RLHF); None if it is none."""
    if not TURN.match(written):
        return None
    parts = TURN.split(written)
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": roles[speaker], "content": content.strip()}
        for speaker, content in zip(parts[1::2], parts[2::2], strict=True)
    ]


def is_conversation(value: Any) -> bool:
    """Return whether a value is messages, or their JSON: whether any message names who speaks.

    Unknown roles are reported later, row by row.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        value, _ = parse(value)
    listed = [value] if isinstance(value, dict) else value if isinstance(value, list) else []
    speakers = [one.get("role") or one.get("from") for one in listed if isinstance(one, dict)]
    return any(isinstance(speaker, str) for speaker in speakers)


def turns(value: Any) -> str | None:
    """Return earlier turns as lines of text; None if the value is neither pairs of question and answer nor messages."""
    if not isinstance(value, list):
        return None
    if all(isinstance(pair, list | tuple) and all(isinstance(one, str) for one in pair) for pair in value):
        return "\n".join(one for pair in value for one in pair)
    if is_conversation(value):
        return "\n".join(message["content"] for message in messages(value, "history"))
    return None


def members(value: Any) -> set[str]:
    """Return the names of members of messages that hold a value and are not read."""
    listed = value if isinstance(value, list) else [value]
    objects = [one for one in listed if isinstance(one, dict)]
    return {str(name) for one in objects for name, held in one.items() if held not in (None, "", [])} - READ


def _listed(value: Any, what: str) -> Sequence[Any]:
    if isinstance(value, str):
        value, problem = parse(text(value, f'"{what}"'))
        if problem:
            raise BadRow(f'"{what}" is text that is {problem}, expected a list of messages')
    elif value is not None and not isinstance(value, list | dict):
        text(value, f'"{what}"')
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not value:
        raise BadRow(f'"{what}" is not a list of messages')
    return value


def _given(message: Any, what: str) -> Mapping[str, Any]:
    """Return the members of a message that are not null: Arrow gives every message the members that any has."""
    if not isinstance(message, dict):
        raise BadRow(f"{what} is not an object with role and content")
    return {name: held for name, held in message.items() if held is not None}


def _message(message: Any, what: str) -> dict[str, str]:
    given = _given(message, what)
    speaker, content = ("from", "value") if "from" in given else ("role", "content")
    role = given.get(speaker)
    known = role.strip().lower() if isinstance(role, str) else ""
    called = next((name for name in CALLS if given.get(name)), f'{speaker} "{known}"' if known in CALLERS else None)
    if called:
        raise BadRow(f"{what} calls a tool ({called}), which is not trained on")
    if known not in ROLES:
        raise BadRow(f'{what}.{speaker} is "{str(role)[:40]}".{did_you_mean(str(role), ROLES)}'.removesuffix("."))
    _weight(message, what)
    return {"role": ROLES[known], "content": _content(given.get(content), f"{what}.{content}")}


def _content(value: Any, what: str) -> str:
    """Return a message's text; a list of text parts is joined."""
    if not isinstance(value, list) or not value:
        return text(value, what)
    parts = []
    for index, part in enumerate(value):
        given = {"type": "text", "text": part} if isinstance(part, str) else _given(part, f"{what}[{index}]")
        if given.get("type", "text") != "text":
            raise BadRow(f'{what}[{index}] is of type "{str(given["type"])[:40]}", and only text is trained on')
        parts.append(text(given.get("text"), f"{what}[{index}].text"))
    return "".join(parts)


def _weight(message: Mapping[str, Any], what: str) -> float:
    """Return the weight of a message in training: 0 or 1."""
    weight = message.get("weight")
    if weight is None:
        return 1
    if weight not in (0, 1):
        raise BadRow(f"{what}.weight is {kind(weight)}, expected 0 or 1")
    return float(weight)


def _plain_messages(value: Sequence[Any]) -> Messages | None:
    """Return the messages of a conversation without oddities, as nearly all are; else None."""
    read = []
    for message in value:
        if type(message) is not dict or len(message) != 2:
            return None
        role = message.get("role", message.get("from"))
        content = message.get("content") if "role" in message else message.get("value")
        if type(content) is not str or type(role) is not str or role not in ROLES:
            return None
        read.append({"role": ROLES[role], "content": content})
    whole = "".join([message["content"] for message in read])
    try:
        whole.encode()
    except UnicodeEncodeError:
        return None
    return read if whole.strip() else None
