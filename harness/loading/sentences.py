"""Turns pydantic's errors into one sentence: the field, what was expected, the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from harness.errors import did_you_mean
from harness.loading.documents import Lines, Place
from harness.spec import DESIGNS, OPERATIONS, Decide, Decontaminate, Lora

# Pydantic's kind of error -> what was expected, in words.
EXPECTED = {
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "too_short": "at least one entry",
}


def sentence(model: type[BaseModel], error: ValidationError, value: Any = None) -> tuple[Place, str]:
    """Return the place of the first problem of a validation, and a sentence about it.

    Args:
        model: The model that was validated.
        error: The error with its problems.
        value: The input of the validation, if it came from a file: shows which parts of a location are fields.
    """
    problems = [(_place(problem, value), problem) for problem in error.errors()]
    # A misspelt field also makes the right one "missing": report the misspelling, which explains both.
    place, first = next((p for p in problems if p[1]["type"] == "extra_forbidden"), problems[0])
    # If a field may have several forms, each was tried: the problem that lies deepest belongs to the form meant.
    same = [p for p in problems if p[0][: len(place)] == place]
    place, first = max(same, key=lambda p: len(p[0])) if first["type"] != "extra_forbidden" else (place, first)
    field = dotted(place)
    kind = first["type"]
    if kind == "extra_forbidden":
        owner = _model_at(model, first["loc"][:-1])
        names = owner.model_fields if owner else {}
        of = f" of {_noun(owner)}" if owner else ""
        return place, f"{field} is not a field{of}.{did_you_mean(str(place[-1]), names)}"
    if kind == "missing":
        return place[:-1], f"{field} is missing"
    if kind == "union_tag_invalid":
        name = str(first["ctx"]["tag"])
        what, kinds = ("design", DESIGNS) if _is_design(place) else ("operation", OPERATIONS)
        return place, f'{field}: no {what} is named "{name}".{did_you_mean(name, kinds)}'
    if kind == "union_tag_not_found" or (kind == "model_attributes_type" and {"operations", "designs"} & set(place)):
        example = "operation such as `verify` or `filter: {max_words: 400}`"
        if _is_design(place):
            example = "design such as `leave_one_out` or `size_ladder: {fractions: [0.25, 0.5]}`"
        return place, f"{field}: expected one {example}"
    given = first.get("input")
    prefix = f"{field}: " if field else ""
    if kind in ("value_error", "assertion_error"):
        return place, prefix + str(first["msg"]).removeprefix("Value error, ")
    shown = f" (it is {_written(given)})" if isinstance(given, str | int | float | bool | None) else ""
    expected = list(dict.fromkeys(_expected(p) for where, p in problems if where == place))
    if "a number" in expected and "a whole number" in expected:
        expected.remove("a whole number")
    if len(expected) == 1 and kind == "literal_error" and isinstance(given, str):
        values = re.findall(r"'([^']*)'", first["ctx"]["expected"])
        return place, f'{prefix}"{given}" is not one of its values.{did_you_mean(given, values)}'
    if all(expected):
        return place, f"{prefix}expected {' or '.join(map(str, expected))}{shown}"
    return place, f"{prefix}{str(first['msg']).replace('Input should', 'must')}{shown}"


def mentioned(message: str, lines: Lines) -> Place | None:
    """Return the deepest field that a message starts with (a name may hold dots, so the message is not parsed)."""
    fields = {dotted(place): place for place in lines if place}
    starts = [text for text in fields if message.startswith(text) and message[len(text) : len(text) + 1] in ":.[ "]
    return fields[max(starts, key=len)] if starts else None


def _is_design(place: Place) -> bool:
    """Return whether a place is one of the study's designs, rather than something inside one."""
    return place[:1] == ("designs",) and len(place) == 2


def _expected(problem: Any) -> str | None:
    return str(problem["ctx"]["expected"]) if problem["type"] == "literal_error" else EXPECTED.get(problem["type"])


def _written(value: Any) -> str:
    """Return a value as it is written in YAML."""
    if value is None:
        return "empty"
    written = str(value).lower() if isinstance(value, bool) else repr(value)
    return written if len(written) <= 80 else written[:79] + "…"


def _place(problem: Any, value: Any) -> Place:
    """Return the place of a problem, without the names of union members that pydantic puts into a location."""
    location: Place = problem["loc"]
    if value is None:
        return tuple(part for part in location if part not in OPERATIONS and part not in DESIGNS)
    place: list[str | int] = []
    for index, part in enumerate(location):
        inside = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
        if inside:
            value = value[part]
        if inside or (problem["type"] == "missing" and index == len(location) - 1):
            place.append(part)
    return tuple(place)


def dotted(place: Place) -> str:
    """Return a place as text: ``arms.verified.operations[0]``."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _noun(owner: type[BaseModel]) -> str:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", owner.__name__).lower()
    if owner in OPERATIONS.values():
        return f"the operation {name}"
    if owner in DESIGNS.values():
        return f"the design {owner.model_fields['design'].default}"
    if owner in (Lora, Decide, Decontaminate):
        return name
    return f"a {name}"


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """Return the model at a location of an error, found by following the fields of models."""
    current: type[BaseModel] | None = model
    kinds: Mapping[str, type[BaseModel]] = {**OPERATIONS, **DESIGNS}
    for part in place:
        if part in kinds:
            current = kinds[str(part)]
        elif current is not None and part in current.model_fields:
            current = _inner_model(current.model_fields[str(part)].annotation) or current
    return current


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        inner = _inner_model(argument)
        if inner is not None:
            return inner
    return None
