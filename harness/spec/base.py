"""The base of all specs: they are immutable, every field is part of their identity, and unknown fields are refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

COMMIT = re.compile(r"^[0-9a-f]{40}\Z")  # a revision that cannot move
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")  # `$` would let a line end through
NO_NAME = "{!r} is not a name: letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"
# The same rule as JSON Schema, for editors: for a field that is a name, and for a mapping whose keys are names.
A_NAME: dict[str, Any] = {"pattern": NAME.pattern.replace(r"\Z", "$")}
BY_NAME: dict[str, Any] = {"propertyNames": A_NAME}
Origin = Literal["production", "annotation", "public", "augmented", "synthetic"]


class Spec(BaseModel):
    """Base of all specs: immutable, without unknown fields, and with defaults written out in the identity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """Return every field as plain JSON values, the form that enters a key."""
        return self.model_dump(mode="json")


def named(value: str) -> str:
    """Return the value if it is a name.

    Raises:
        ValueError: The value is no name.
    """
    if not NAME.match(value):
        raise ValueError(NO_NAME.format(value))
    return value


def kinds(found: Iterable[Any], base: type[Any], tag: str) -> dict[str, type[Any]]:
    """Return name in a study -> spec, for all specs of one kind.

    Args:
        found: All values of a module; those that are not specs of this kind are left out.
        base: The base class of the kind.
        tag: The field whose default is the name.
    """
    specs: list[type[Any]] = [one for one in found if isinstance(one, type) and issubclass(one, base)]
    return {one.model_fields[tag].default: one for one in specs if not one.model_fields[tag].is_required()}


def spelled_out(value: Any, tag: str, short: Mapping[str, str]) -> Any:
    """Return ``{tag: name, ...}`` for the short forms ``name`` and ``{name: {...}}``, and any other value unchanged.

    Args:
        value: The value in a study.
        tag: The field that holds the name.
        short: Name -> the field that a bare value stands for, as in ``use: my_ops:fix``.
    """
    if isinstance(value, str):
        return {tag: value}
    if isinstance(value, dict) and tag not in value and len(value) == 1:
        name, parameters = next(iter(value.items()))
        if parameters is None or isinstance(parameters, dict):
            return {tag: name, **(parameters or {})}
        if isinstance(name, str) and name in short:
            return {tag: name, short[name]: parameters}
    return value


def _importable(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*:[A-Za-z_]\w*", value):
        raise ValueError(f"{value!r} is not module:function (the module is a Python file beside the study)")
    return value


Function = Annotated[str, AfterValidator(_importable)]  # module:function of a Python file beside the study
