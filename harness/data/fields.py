"""Maps a record's columns to the canonical fields of a row: as declared, or as detected where there is no doubt."""

from __future__ import annotations

import json
import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from harness.data import layouts
from harness.data.conversations import Messages, is_conversation, messages, said, transcript, turns
from harness.data.generators import number
from harness.data.layouts import QUESTION
from harness.data.values import BadRow, flag, kind, scalar
from harness.data.values import text as text_of
from harness.errors import RequestError, did_you_mean
from harness.records import CONTENT_COLUMNS

__all__ = [
    "CLOSER", "NULLABLE", "QUESTION", "BadRow", "Template", "canonical", "canonical_columns", "carried", "compared",
    "declared", "identifier",
]  # fmt: skip

SHAPES = (
    {"prompt", "completion"}, {"messages"}, {"text"},
    {"prompt", "chosen", "rejected"}, {"chosen", "rejected"}, {"messages", "chosen", "rejected"},
)  # fmt: skip
DECLARE = "prompt and completion, or messages, or text, or prompt, chosen and rejected"
CLOSER = {"messages", "rejected", "answer", "system", "good"}  # fields that are computed record by record
NULLABLE = {"id", "license", "group", "slice"}
ABSENT: tuple[Any, ...] = (None, "", [])
# One encoder for all rows: json.dumps makes one for each call.
_listed = json.JSONEncoder(ensure_ascii=False).encode
_sorted = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


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
            return cls((("", text),), optional & {text})
        parts = []
        try:
            for literal, column, form, conversion in string.Formatter().parse(text):
                if column is not None and (not column or form or conversion or set(column) & set(".[]")):
                    raise RequestError(f"{place}: {text!r} may hold plain column names in braces, such as {{question}}")
                parts.append((literal, column))
        except ValueError as error:
            raise RequestError(f"{place}: {text!r} is not a template ({error}); write {{{{ for a brace") from error
        return cls(tuple(parts), optional)

    @property
    def written(self) -> str:
        """The column's name, or the template, as a study writes it."""
        if (column := _only(self)) is not None:
            return column
        doubled = ((literal.replace("{", "{{").replace("}", "}}"), column) for literal, column in self.parts)
        return "".join(literal + ("" if column is None else f"{{{column}}}") for literal, column in doubled)

    def render(self, record: Mapping[str, Any]) -> str:
        """Return the text with the record's values in it.

        Where the beginning is left out, the white space after it is left out too.
        """
        written: list[str] = []
        for place, (literal, column) in enumerate(self.parts):
            if column in self.optional and record.get(column) in ABSENT:
                continue
            written.append(literal if written or not place else literal.lstrip())
            written.append("" if column is None else _text(record, column, earlier=column in self.optional))
        return "".join(written)


def declared(
    name: str,
    fields: Mapping[str, str],
    columns: Collection[str],
    place: str,
    *,
    optional: Collection[str] = (),
    sample: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Template]:
    """Return the template of every canonical field: as declared; content fields are detected if none is declared.

    Args:
        name: The source's name.
        fields: The fields that the study declares for the source.
        columns: The columns of its first record.
        place: Where that record is.
        optional: Columns of the declared templates that a row may lack.
        sample: Some of the source's records; they may have further columns.

    Raises:
        RequestError: No columns, or columns of more than one layout, could be the content; or the declaration is
            incomplete.
    """
    content = set(fields) & set(CONTENT_COLUMNS)
    chosen, lacking = dict(fields), set(optional)
    if not content:
        detected = _detected(name, columns, place, sample)
        chosen = detected.fields | chosen
        lacking |= set(detected.optional)
    elif content not in SHAPES:
        raise RequestError(
            f"sources.{name}.fields: {' and '.join(sorted(content))} make no training row; declare {DECLARE}"
        )
    for field in ("messages", "good"):
        if "{" in chosen.get(field, ""):
            raise RequestError(f"sources.{name}.fields.{field}: expected the name of a column, not a template")
    used = {column for template in chosen.values() for column in layouts.named(template)}
    for column in optional:
        if column not in used:
            raise RequestError(f'sources.{name}.optional: no template has "{column}".{did_you_mean(column, used)}')
    return {
        field: Template.parse(f"sources.{name}.fields.{field}", template, frozenset(lacking))
        for field, template in chosen.items()
    }


def _detected(name: str, columns: Collection[str], place: str, sample: Sequence[Mapping[str, Any]]) -> layouts.Layout:
    values: dict[str, list[Any]] = {str(column): [] for column in columns}
    values |= layouts.columns_of(sample)
    filled = [column for column, held in values.items() if not held or any(value is not None for value in held)]
    known = layouts.matches(filled)
    if len(known) == 1:
        return layouts.completed(known[0][1], values)
    names = " or ".join("+".join(sorted(tells)) for tells, _ in known)
    why = f"could be read as {names}" if known else "hold nothing that is recognized"
    raise RequestError(
        f"{place}: its columns ({layouts.listed(list(values))}) {why}. Declare sources.{name}.fields: {DECLARE}."
    )


def canonical(record: Mapping[str, Any], templates: Mapping[str, Template]) -> dict[str, str | None]:
    """Return the canonical fields of one record.

    A preference whose answers are message lists becomes ``messages`` (the conversation so far), with the text of the
    last message as ``chosen`` and ``rejected``.

    Raises:
        BadRow: A column is missing or not text, or the row would be empty.
    """
    if "good" in templates:
        _refuse_bad_example(record, templates["good"])
    row = _spoken(record, templates) if "rejected" in templates or "completion" in templates else {}
    if row:
        templates = {field: template for field, template in templates.items() if field not in CONTENT_COLUMNS}
    elif "rejected" in templates and not {"prompt", "messages"} & set(templates):
        raise BadRow("chosen and rejected are text, and there is no prompt")
    for field, template in templates.items():
        if field not in ("good", "system"):
            row[field] = _field(record, field, template)
    if "chosen" in row and row.get("messages") is not None:
        row |= _before(str(row["messages"]), str(row["chosen"]))
    if "system" in templates:
        row |= _told(record, templates["system"], row)
    content = [row[field] for field in CONTENT_COLUMNS if field in row]
    if not any(value and value.strip() for value in content):
        raise BadRow(f"empty {' and '.join(field for field in CONTENT_COLUMNS if field in row)}")
    if "rejected" in row and str(row["chosen"]).strip() == str(row["rejected"]).strip():
        raise BadRow("chosen and rejected are the same, so there is nothing to prefer")
    answer = row.get("answer")
    if answer is not None and number(answer) is None:
        raise BadRow(f'the answer "{answer[:40]}" is not a number')
    return row


def canonical_columns(
    records: Sequence[Mapping[str, Any]], templates: Mapping[str, Template]
) -> dict[str, list[str | None]]:
    """Return the canonical fields of many records, as ``canonical`` would, by field.

    Raises:
        BadRow: A record is bad; ``canonical`` of each record shows which one, and why.
        UnicodeEncodeError: May be raised later, when text that is no UTF-8 is put into a table.
    """
    if CLOSER & set(templates) or any(_lists(records, templates.get(side)) for side in ("prompt", "completion")):
        rows = [canonical(record, templates) for record in records]
        return {field: [row.get(field) for row in rows] for field in {field for row in rows for field in row}}
    columns = {field: _column(records, field, template) for field, template in templates.items()}
    if not any(all(map(str.strip, columns[field])) for field in CONTENT_COLUMNS if field in columns):
        for record in records:  # no field has text in all records, so one record may have no text at all
            canonical(record, templates)
    return columns


def compared(record: Mapping[str, Any], templates: Mapping[str, Template]) -> str:
    """Return all text of a record, to compare it with others; it need not be a row that can be trained on.

    Raises:
        BadRow: A column is missing, or is neither text nor a conversation.
    """
    texts: list[str] = []
    for field in (field for field in CONTENT_COLUMNS if field in templates):
        value = _plain(record, templates[field])
        spoken = field == "messages" or isinstance(value, list | dict)
        column = str(templates[field].parts[0][1])
        texts.append(said(_value(record, column), column) if spoken else templates[field].render(record))
    return "\n".join(texts)


def carried(record: Mapping[str, Any], columns: Collection[str], typed: bool) -> str | None:
    """Return further columns of a record as canonical JSON; None if there are none to carry.

    Args:
        record: The record.
        columns: Which of its columns.
        typed: Whether numbers and text differ. If not (CSV), text that is a JSON number becomes a number, and an empty
            cell null.

    Raises:
        BadRow: A column is missing, or holds neither text, a finite number, true, false nor null.
    """
    if not columns:
        return None
    return _sorted({column: scalar(_value(record, column), f'"{column}"', typed) for column in columns})


def identifier(record: Mapping[str, Any]) -> str | None:
    """Return the value of a record's column ``id`` as text; None if it has none.

    Raises:
        BadRow: The value is no UTF-8 text.
    """
    value = record.get("id")
    return value if value is None else text_of(value, '"id"') if isinstance(value, str) else str(value)


def _column(records: Sequence[Mapping[str, Any]], field: str, template: Template) -> list[Any]:
    """Return one field of all records."""
    if field in NULLABLE:
        return [_field(record, field, template) for record in records]
    if template.parts[0][1] in template.optional:  # the text after it depends on whether the column has a value
        return [template.render(record) for record in records]
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
        return _listed(_conversation(record, template))
    if field in NULLABLE:
        needed = [column for _, column in template.parts if column is not None]
        if any(record.get(column, None if column in template.optional else "") is None for column in needed):
            return None
    return template.render(record)


def _only(template: Template | None) -> str | None:
    """Return the column of a template that consists of one column; else None."""
    return template.parts[0][1] if template and len(template.parts) == 1 and not template.parts[0][0] else None


def _plain(record: Mapping[str, Any], template: Template | None) -> Any:
    column = _only(template)
    return None if column is None else record.get(column)


def _lists(records: Sequence[Mapping[str, Any]], template: Template | None) -> bool:
    column = _only(template)
    kinds = set() if column is None else {type(record.get(column)) for record in records}
    return bool(kinds & {list, dict})  # messages, or no text


def _conversation(record: Mapping[str, Any], template: Template) -> Messages:
    column = str(template.parts[0][1])
    return messages(_value(record, column), column)


def _spoken(record: Mapping[str, Any], templates: Mapping[str, Template]) -> dict[str, str | None]:
    """Return the content of a row whose question or answer is messages; an empty dict if all of it is text."""
    if "rejected" in templates:
        chosen, asked = _plain(record, templates["chosen"]), {"prompt", "messages"} & set(templates)
        if isinstance(chosen, list | dict):
            sides = {side: _conversation(record, templates[side]) for side in ("chosen", "rejected")}
        elif not asked and isinstance(chosen, str) and (first := transcript(chosen)):
            rejected = transcript(_text(record, str(templates["rejected"].parts[0][1])))
            if rejected is None:
                raise BadRow('"chosen" is a transcript of Human and Assistant, and "rejected" is none')
            sides = {"chosen": first, "rejected": rejected}
        else:
            return {}
        return dict(_preference(record, templates, sides))
    parts = [_plain(record, templates.get(side)) for side in ("prompt", "completion")]
    spoken = [isinstance(part, list | dict) and is_conversation(part) for part in parts]
    if "completion" not in templates or not any(spoken):
        return {}
    talk: Messages = []
    for side, role, listed in zip(("prompt", "completion"), ("user", "assistant"), spoken, strict=True):
        if listed:
            talk += _conversation(record, templates[side])
        elif side in templates:
            talk.append({"role": role, "content": templates[side].render(record)})
    return {"messages": _listed(talk)}


def _preference(
    record: Mapping[str, Any], templates: Mapping[str, Template], sides: Mapping[str, Messages]
) -> dict[str, str]:
    """Return messages, chosen and rejected from two message lists; the messages that both begin with are the prompt."""
    chosen, rejected = sides.values()
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    before = chosen[:shared]
    if "prompt" in templates or "messages" in templates:
        prompt = templates.get("messages") or templates["prompt"]
        listed = "messages" in templates or isinstance(_plain(record, prompt), list)
        given = _conversation(record, prompt) if listed else [{"role": "user", "content": prompt.render(record)}]
        given = given[:-1] if given == chosen and len(given) > 1 else given  # UltraFeedback repeats the answer
        before = before if before[: len(given)] == given else given + before
    for side, talk in sides.items():
        if len(talk) != shared + 1 or talk[-1]["role"] != "assistant":
            raise BadRow(f'"{side}" must add one message of the assistant to what both answers begin with')
    if not before:
        raise BadRow("chosen and rejected do not begin alike, and there is no prompt")
    return {"messages": _listed(before), "chosen": chosen[-1]["content"], "rejected": rejected[-1]["content"]}


def _before(listed: str, chosen: str) -> dict[str, str]:
    """Return the messages before an answer, if the list repeats the answer as its last message; else an empty dict."""
    talk = json.loads(listed)
    again = len(talk) > 1 and talk[-1] == {"role": "assistant", "content": chosen}
    return {"messages": _listed(talk[:-1])} if again else {}


def _told(record: Mapping[str, Any], template: Template, row: Mapping[str, str | None]) -> dict[str, str]:
    """Return the row's messages with the system message first; messages that have a system message keep theirs."""
    optional = frozenset(column for _, column in template.parts if column is not None)
    system = Template(template.parts, optional).render(record)
    if not system.strip():
        return {}
    if row.get("messages") is None:
        raise BadRow("there are no messages for the system message to come before; write it into the prompt's template")
    talk = json.loads(str(row["messages"]))
    if talk[0]["role"] == "system":
        return {}
    return {"messages": _listed([{"role": "system", "content": system}, *talk])}


def _refuse_bad_example(record: Mapping[str, Any], template: Template) -> None:
    """Refuse a row that shows a bad answer (KTO): training would learn it like a good one."""
    column = str(template.parts[0][1])
    value = _value(record, column)
    good = flag(value)
    if good is None:
        raise BadRow(f'"{column}" is {kind(value)}, expected true or false')
    if not good:
        raise BadRow(f'"{column}" is false: it shows a bad answer, which would be learned like a good one')


def _value(record: Mapping[str, Any], column: str) -> Any:
    if column not in record:
        raise BadRow(f'no column "{column}".{did_you_mean(column, map(str, record))}'.removesuffix("."))
    return record[column]


def _text(record: Mapping[str, Any], column: str, *, earlier: bool = False) -> str:
    """Return a column as text; with ``earlier``, a column of earlier turns gives the text of these turns."""
    value = _value(record, column)
    lines = turns(value) if earlier else None
    return text_of(value if lines is None else lines, f'"{column}"')
