"""From a record's columns to the canonical fields of a row: declared, or detected where there is no doubt."""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import repeat
from typing import Any

from harness.data.generators import number
from harness.data.reading import parse
from harness.errors import RequestError, did_you_mean
from harness.packing import printable
from harness.records import CONTENT_COLUMNS

SHAPES = (
    {"prompt", "completion"}, {"messages"}, {"text"},
    {"prompt", "chosen", "rejected"}, {"chosen", "rejected"}, {"messages", "chosen", "rejected"},
)  # fmt: skip
DECLARE = "prompt and completion, or messages, or text, or prompt, chosen and rejected"
NULLABLE = {"id", "license", "group", "slice"}
QUESTION = {"prompt": "Q: {question}\nA:", "completion": " {answer}"}
ALPACA = {"prompt": "{instruction}\n{input}\n", "completion": "{output}"}
# Columns that tell a layout -> what the fields would have been, had they been declared. Where two match, one of them
# part of the other, the larger counts.
LAYOUTS: tuple[tuple[set[str], dict[str, str]], ...] = (
    ({"prompt", "completion"}, {"prompt": "prompt", "completion": "completion"}),
    ({"prompt", "chosen", "rejected"}, {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}),
    ({"chosen", "rejected"}, {"chosen": "chosen", "rejected": "rejected"}),
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
JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
NO_NUMBER = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
# One encoder for all rows: json.dumps makes one for each call.
_listed = json.JSONEncoder(ensure_ascii=False).encode
_sorted = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


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
    known = [(tells, fields) for tells, fields in LAYOUTS if tells <= set(columns)]
    matches = [(tells, fields) for tells, fields in known if not any(tells < other for other, _ in known)]
    if len(matches) == 1:
        return matches[0][1]
    names = " or ".join("+".join(sorted(tells)) for tells, _ in matches)
    why = f"could be read as {names}" if matches else "hold nothing that is recognized"
    shown = ", ".join(printable(str(column)) for column in list(columns)[:12]) + (", ..." if len(columns) > 12 else "")
    raise RequestError(f"{place}: its columns ({shown}) {why}. Declare sources.{name}.fields: {DECLARE}.")


def canonical(record: Mapping[str, Any], templates: Mapping[str, Template]) -> dict[str, str | None]:
    """Return the canonical fields of one record.

    Preferences whose answers are message lists come out as ``messages`` (the conversation so far) with the text of the
    last message as ``chosen`` and ``rejected``.

    Raises:
        BadRow: A column is missing or not text, or the row would be empty.
    """
    if "rejected" in templates and isinstance(_plain(record, templates["chosen"]), list):
        row: dict[str, str | None] = dict(_preference(record, templates))
        templates = {field: template for field, template in templates.items() if field not in CONTENT_COLUMNS}
    else:
        row = {}
        if "rejected" in templates and not {"prompt", "messages"} & set(templates):
            raise BadRow("chosen and rejected are text, and there is no prompt")
    row |= {field: _field(record, field, template) for field, template in templates.items()}
    content = [row[field] for field in CONTENT_COLUMNS if field in row]
    if not any(value and value.strip() for value in content):
        raise BadRow(f"empty {' and '.join(field for field in CONTENT_COLUMNS if field in row)}")
    answer = row.get("answer")
    if answer is not None and number(answer) is None:
        raise BadRow(f'the answer "{answer[:40]}" is not a number')
    return row


def canonical_columns(
    records: Sequence[Mapping[str, Any]], templates: Mapping[str, Template]
) -> dict[str, list[str | None]]:
    """Return the canonical fields of many records, as ``canonical`` would, by field.

    Raises:
        BadRow: One of them is bad; which one, and why, ``canonical`` tells.
        UnicodeEncodeError: May be raised later, when text that is no UTF-8 is put into a table.
    """
    if {"messages", "rejected", "answer"} & set(templates):
        rows = [canonical(record, templates) for record in records]
        return {field: [row.get(field) for row in rows] for field in {field for row in rows for field in row}}
    columns = {field: _column(records, field, template) for field, template in templates.items()}
    if not any(all(map(str.strip, columns[field])) for field in CONTENT_COLUMNS if field in columns):
        for record in records:  # no field is there in all of them, so one may have none
            canonical(record, templates)
    return columns


def carried(record: Mapping[str, Any], columns: Collection[str], typed: bool) -> str | None:
    """Return further columns of a record as canonical JSON; None if there are none to carry.

    Args:
        record: The record.
        columns: Which of its columns.
        typed: Whether numbers and text differ. Where all is text (CSV), what is written like a number in JSON is
            a number, and an empty cell is null.

    Raises:
        BadRow: A column is missing, or holds neither text, a finite number, true, false nor null.
    """
    if not columns:
        return None
    return _sorted({column: _scalar(record, column, typed) for column in columns})


def identifier(record: Mapping[str, Any]) -> str | None:
    """Return what a record's own column ``id`` says, if it has one.

    Raises:
        BadRow: It is no UTF-8 text.
    """
    value = record.get("id")
    return value if value is None else _string(value, '"id"') if isinstance(value, str) else str(value)


def _column(records: Sequence[Mapping[str, Any]], field: str, template: Template) -> list[Any]:
    """Return one field of all records."""
    if field in NULLABLE:
        return [_field(record, field, template) for record in records]
    pieces: list[Any] = []
    for literal, column in template.parts:
        if column in template.optional:
            part = Template(((literal, column),), template.optional)
            pieces.append([part.render(record) for record in records])
            continue
        pieces.append(repeat(literal, len(records)))
        if column is not None:
            values = [record.get(column) for record in records]
            if set(map(type, values)) != {str}:
                values = [_text(record, column) for record in records]
            pieces.append(values)
    if template.parts == (("", template.parts[0][1]),) and len(pieces) == 2:
        return list(pieces[1])  # a column as it is
    return list(map("".join, zip(*pieces, strict=True)))


def _field(record: Mapping[str, Any], field: str, template: Template) -> str | None:
    if field == "messages":
        messages = _messages(record, str(template.parts[0][1]))
        return _listed(messages)
    if field in NULLABLE and any(column and record.get(column, "") is None for _, column in template.parts):
        return None
    return template.render(record)


def _plain(record: Mapping[str, Any], template: Template) -> Any:
    """Return the value of the column that a template is nothing but."""
    literal, column = template.parts[0]
    return record.get(column) if column is not None and not literal and len(template.parts) == 1 else None


def _preference(record: Mapping[str, Any], templates: Mapping[str, Template]) -> dict[str, str]:
    """Return messages, chosen and rejected from two message lists, which hold the prompt too where they begin alike."""
    sides = {side: _messages(record, str(templates[side].parts[0][1])) for side in ("chosen", "rejected")}
    chosen, rejected = sides.values()
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    before = chosen[:shared]
    if "prompt" in templates or "messages" in templates:
        prompt = templates.get("messages") or templates["prompt"]
        listed = "messages" in templates or isinstance(_plain(record, prompt), list)
        given = (
            _messages(record, str(prompt.parts[0][1]))
            if listed
            else [{"role": "user", "content": prompt.render(record)}]
        )
        before = before if before[: len(given)] == given else given + before
    for side, messages in sides.items():
        if len(messages) != shared + 1 or messages[-1]["role"] != "assistant":
            raise BadRow(f'"{side}" must add one message of the assistant to what both answers begin with')
    if not before:
        raise BadRow("chosen and rejected do not begin alike, and there is no prompt")
    return {"messages": _listed(before), "chosen": chosen[-1]["content"], "rejected": rejected[-1]["content"]}


def _value(record: Mapping[str, Any], column: str) -> Any:
    if column not in record:
        raise BadRow(f'no column "{column}".{did_you_mean(column, map(str, record))}'.removesuffix("."))
    return record[column]


def _text(record: Mapping[str, Any], column: str) -> str:
    return _string(_value(record, column), f'"{column}"')


def _string(value: Any, what: str) -> str:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadRow(f"{what} is not UTF-8 text (character {error.start + 1})") from error
        return value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    raise BadRow(f"{what} is {_kind(value)}, expected text or a number")


def _scalar(record: Mapping[str, Any], column: str, typed: bool) -> Any:
    value = _value(record, column)
    if isinstance(value, str) and not typed:
        if not value:
            return None
        if NO_NUMBER.fullmatch(value):
            raise BadRow(f'"{column}" is {value}, expected text or a number')
        if JSON_NUMBER.fullmatch(value):
            value, problem = parse(value)
            if problem:
                raise BadRow(f'"{column}" is {problem}')
    if isinstance(value, str):
        return _string(value, f'"{column}"')
    if isinstance(value, Decimal):
        value = float(value)
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise BadRow(f'"{column}" is {_kind(value)}, expected text or a number')


def _kind(value: Any) -> str:
    return {"NoneType": "null", "dict": "an object", "list": "a list", "bytes": "bytes"}.get(
        type(value).__name__, str(value)
    )


def _messages(record: Mapping[str, Any], column: str) -> list[dict[str, str]]:
    """Return a conversation (role/content, or ShareGPT's from/value; or its JSON) as a list of {role, content}."""
    value = record.get(column)
    if column not in record or isinstance(value, str):
        value, problem = parse(_text(record, column))
        if problem:
            raise BadRow(f'"{column}" is text that is {problem}, expected a list of messages')
    if not isinstance(value, list) or not value:
        raise BadRow(f'"{column}" is not a list of messages')
    if (plain := _plain_messages(value)) is not None:
        return plain
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
            raise BadRow(f'{what}.{speaker} is "{str(role)[:40]}".{did_you_mean(str(role), ROLES)}'.removesuffix("."))
        messages.append({"role": ROLES[role], "content": _string(message.get(said), f"{what}.{said}")})
    if not any(message["content"].strip() for message in messages):
        raise BadRow(f'"{column}" is empty')
    return messages


def _plain_messages(value: list[Any]) -> list[dict[str, str]] | None:
    """Return a conversation in which nothing is odd, as nearly all are; else None."""
    messages = []
    for message in value:
        if type(message) is not dict or len(message) != 2:
            return None
        role = message.get("role", message.get("from"))
        content = message.get("content") if "role" in message else message.get("value")
        if type(content) is not str or type(role) is not str or role not in ROLES:
            return None
        messages.append({"role": ROLES[role], "content": content})
    whole = "".join([message["content"] for message in messages])
    try:
        whole.encode()
    except UnicodeEncodeError:
        return None
    return messages if whole.strip() else None
