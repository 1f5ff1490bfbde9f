"""The JSON Schema of a study file, with which editors complete and check fields.

It is made from the models, and adds the short forms that loading accepts: a recipe, a suite or a source may be the name
of a file; an operation or a design may be its name alone or ``{name: {...}}``. Rules that connect fields (steps or
epochs, a mix of known sources) are not in it; they are checked when the study is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from harness.spec import DESIGNS, OPERATIONS, Study

FILE_NAME = "study.schema.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
EXAMPLE = "\n\nExample::\n\n"  # the beginning of a docstring's example
KINDS: dict[str, tuple[str, Mapping[str, type[BaseModel]]]] = {
    "op": ("Operation", OPERATIONS),
    "design": ("Design", DESIGNS),
}


class _Untitled(GenerateJsonSchema):
    """Fields have no titles, which would only repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def study_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a study file, with descriptions."""
    made: dict[str, Any] = _shortened(Study.model_json_schema(schema_generator=_Untitled))
    parts = made["$defs"]
    for tag, (name, kinds) in KINDS.items():
        parts[name] = _short_forms(tag, name.lower(), kinds)
    fields = made["properties"]
    for name in ("recipe", "suite"):
        fields[name] = _or_file(fields[name])
    fields["sources"]["additionalProperties"] = _or_file(fields["sources"]["additionalProperties"])
    return {"$schema": DIALECT, **made, "$defs": dict(sorted(parts.items()))}


def model_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of another kind of YAML file, such as an engine's."""
    made: dict[str, Any] = _shortened(model.model_json_schema(schema_generator=_Untitled))
    return made


def _shortened(node: Any) -> Any:
    """Return a schema in which every union of operations, or of designs, refers to one definition of all forms."""
    if isinstance(node, list):
        return [_shortened(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    tag = node["discriminator"]["propertyName"] if "oneOf" in node and "discriminator" in node else None
    if tag in KINDS:
        return {"$ref": f"#/$defs/{KINDS[tag][0]}"}
    inner = {name: _shortened(value) for name, value in node.items()}
    if isinstance(inner.get("description"), str):
        inner["description"] = inner["description"].split(EXAMPLE)[0]
    factors = inner.get("factors")
    if isinstance(factors, dict) and "additionalProperties" in factors:  # one operation may stand for a list of one
        several = factors["additionalProperties"]
        factors["additionalProperties"] = {"anyOf": [several, several["items"]]}
    return inner


def _short_forms(tag: str, what: str, kinds: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """Return the three ways of writing an operation or a design."""
    refs = {name: {"$ref": f"#/$defs/{kind.__name__}"} for name, kind in kinds.items()}
    alone = [name for name, kind in kinds.items() if _needs_nothing(kind)]
    named = {
        name: {"anyOf": [ref, *_bare(kinds[name]), *([{"type": "null"}] if name in alone else [])]}
        for name, ref in refs.items()
    }
    return {
        "description": f"one {what}: its name, {{name: {{...}}}}, or {{{tag}: name, ...}}",
        "anyOf": [
            {"enum": alone},
            {
                "type": "object",
                "properties": named,
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
            {"type": "object", "required": [tag], "oneOf": list(refs.values())},
        ],
    }


def _bare(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Return the schema of a bare value that stands for one field (``use: my_ops:fix``), in a list; else no schema."""
    short = getattr(model, "short", None)
    return [model_schema(model)["properties"][short]] if short else []


def _needs_nothing(model: type[BaseModel]) -> bool:
    try:
        model()
    except ValidationError:
        return False
    return True


def _or_file(node: dict[str, Any]) -> dict[str, Any]:
    described = {name: value for name, value in node.items() if name == "description"}
    whole = {name: value for name, value in node.items() if name != "description"}
    file = {"type": "string", "description": "a file that holds it, relative to the study"}
    return {**described, "anyOf": [whole, file]}
