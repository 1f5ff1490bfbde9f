"""From a record's columns to the canonical fields of a row: declared, or detected where there is no doubt."""

from __future__ import annotations

import json
import math
import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from harness.data.generators import number
from harness.errors import RequestError, did_you_mean
from harness.records import CONTENT_COLUMNS

SHAPES = ({"prompt", "completion"}, {"messages"}, {"text"}, {"prompt", "chosen", "rejected"})
DECLARE = "prompt and completion, or messages, or text, or prompt, chosen and rejected"
NULLABLE = {"id", "license", "group", "slice"}
QUESTION = {"prompt": "Q: {question}\nA:", "completion": " {answer}"}
ALPACA = {"prompt": "{instruction}\n{input}\n", "completion": "{output}"}
# Columns that tell a layout -> what the fields would have been, had they been declared.
LAYOUTS: tuple[tuple[set[str], dict[str, str]], ...] = (
    ({"prompt", "completion"}, {"prompt": "prompt", "completion": "completion"}),
    ({"prompt", "chosen", "rejected"}, {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}),
    ({"instruction", "output"}, ALPACA),
    ({"messages"}, {"messages": "messages"}),
    ({"conversations"}, {"messages": "conversations"}),
    ({"question", "answer"}, QUESTION),
    ({"text"}, {"text": "text"}),
)
ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
}


class BadRow(Exception):
    """Why one record cannot become a row."""


@dataclass(frozen=True)
class Template:
    """Text with columns in it.

    Attributes:
        parts: Pairs of literal text and the column that follows it, if any.
        optional: Columns that are left out, with the text before them, where they are absent, null or empty.
    """

    parts: tuple[tuple[str, str | None], ...]
    optional: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, place: str, text: str, optional: frozenset[str] = frozenset()) -> Template:
        """Read a column's name, or a template with plain column names in braces.

        Raises:
            RequestError: The braces do not pair up, or hold anything but the name of a column.
        """
        if "{" not in text:
            return cls((("", text),))
        parts = []
        try:
            for literal, column, form, conversion in string.Formatter().parse(text):
                if column is not None and (not column or form or conversion or set(column) & set(".[]")):
                    raise RequestError(f"{place}: {text!r} may hold plain column names in braces, such as {{question}}")
                parts.append((literal, column))
        except ValueError as error:
            raise RequestError(f"{place}: {text!r} is not a template ({error}); write {{{{ for a brace") from error
        return cls(tuple(parts), optional)

    def render(self, record: Mapping[str, Any]) -> str:
        """Return the text with the record's values in it."""
        return "".join(
            literal + ("" if column is None else _text(record, column))
            for literal, column in self.parts
            if column not in self.optional or record.get(column) not in (None, "")
        )


def declared(name: str, fields: Mapping[str, str], columns: Collection[str], place: str) -> dict[str, Template]:
    """Return the template of every canonical field: as declared, the content detected where none of it is.

    Args:
        name: The source's name.
        fields: What the study declares for it.
        columns: The columns of its first record.
        place: Where that record is.

    Raises:
        RequestError: Nothing, or more than one thing, could be the content; or the declaration is incomplete.
    """
    content = set(fields) & set(CONTENT_COLUMNS)
    chosen, optional = dict(fields), frozenset[str]()
    if not content:
        detected = _detect(name, columns, place)
        chosen = detected | chosen
        optional = frozenset({"input"} if detected is ALPACA else ())
    elif content not in SHAPES:
        raise RequestError(
            f"sources.{name}.fields: {' and '.join(sorted(content))} make no training row; declare {DECLARE}"
        )
    if "{" in chosen.get("messages", ""):
        raise RequestError(f"sources.{name}.fields.messages: expected the name of a column, not a template")
    return {field: Template.parse(f"sources.{name}.fields.{field}", text, optional) for field, text in chosen.items()}


def _detect(name: str, columns: Collection[str], place: str) -> dict[str, str]:
    matches = [(tells, fields) for tells, fields in LAYOUTS if tells <= set(columns)]
    if len(matches) == 1:
        return matches[0][1]
    known = " or ".join("+".join(sorted(tells)) for tells, _ in matches)
    why = f"could be read as {known}" if matches else "hold nothing that is recognized"
    shown = ", ".join(list(columns)[:12]) + (", ..." if len(columns) > 12 else "")
    raise RequestError(f"{place}: its columns ({shown}) {why}. Declare sources.{name}.fields: {DECLARE}.")


def canonical(record: Mapping[str, Any], templates: Mapping[str, Template]) -> dict[str, str | None]:
    """Return the canonical fields of one record.

    Raises:
        BadRow: A column is missing or not text, or the row would be empty.
    """
    row: dict[str, str | None] = {}
    for field, template in templates.items():
        if field == "messages":
            row[field] = _messages(record, str(template.parts[0][1]))
        elif field in NULLABLE and any(column and record.get(column, "") is None for _, column in template.parts):
            row[field] = None
        else:
            row[field] = template.render(record)
    content = [row[field] for field in CONTENT_COLUMNS if field in row]
    if not any(value and value.strip() for value in content):
        raise BadRow(f"empty {' and '.join(field for field in CONTENT_COLUMNS if field in row)}")
    answer = row.get("answer")
    if answer is not None and number(answer) is None:
        raise BadRow(f'the answer "{answer[:40]}" is not a number')
    return row


def _text(record: Mapping[str, Any], column: str) -> str:
    if column not in record:
        raise BadRow(f'no column "{column}".{did_you_mean(column, map(str, record))}'.removesuffix("."))
    return _string(record[column], f'"{column}"')


def _string(value: Any, what: str) -> str:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadRow(f"{what} is not UTF-8 text (character {error.start + 1})") from error
        return value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    kind = {"NoneType": "null", "dict": "an object", "list": "a list"}.get(type(value).__name__, str(value))
    raise BadRow(f"{what} is {kind}, expected text or a number")


def _messages(record: Mapping[str, Any], column: str) -> str:
    """Return a conversation (role/content, or ShareGPT's from/value) as a JSON list of {role, content}."""
    value = record.get(column)
    if column not in record or isinstance(value, str):
        try:
            value = json.loads(_text(record, column))
        except ValueError as error:
            raise BadRow(f'"{column}" is text that is not JSON, expected a list of messages') from error
    if not isinstance(value, list) or not value:
        raise BadRow(f'"{column}" is not a list of messages')
    messages = []
    for index, message in enumerate(value):
        what = f"{column}[{index}]"
        if not isinstance(message, dict):
            raise BadRow(f"{what} is not an object with role and content")
        if message.get("tool_calls"):
            raise BadRow(f"{what} has tool_calls, which cannot be trained on")
        speaker, said = ("from", "value") if "from" in message else ("role", "content")
        role = message.get(speaker)
        if not isinstance(role, str) or role not in ROLES:
            raise BadRow(f'{what}.{speaker} is "{role}".{did_you_mean(str(role), ROLES)}'.removesuffix("."))
        messages.append({"role": ROLES[role], "content": _string(message.get(said), f"{what}.{said}")})
    if not any(message["content"].strip() for message in messages):
        raise BadRow(f'"{column}" is empty')
    return json.dumps(messages, ensure_ascii=False)
