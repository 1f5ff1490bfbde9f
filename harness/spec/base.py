"""What all specs share: immutable, every field counts, unknown fields refused."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

COMMIT = re.compile(r"^[0-9a-f]{40}\Z")  # a revision that cannot move
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")  # `$` would let a line end through
NO_NAME = "{!r} is not a name: letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"
# The same for editors, by JSON Schema: of a field that is a name, and of a mapping whose keys are names.
A_NAME: dict[str, Any] = {"pattern": NAME.pattern.replace(r"\Z", "$")}
BY_NAME: dict[str, Any] = {"propertyNames": A_NAME}
Origin = Literal["production", "annotation", "public", "augmented", "synthetic"]


class Spec(BaseModel):
    """Base of all specs: immutable, unknown fields refused, defaults spelled out in the identity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """Return every field as plain JSON values, the form that enters a key."""
        return self.model_dump(mode="json")


def named(value: str) -> str:
    """Return the value if it is a name.

    Raises:
        ValueError: It is not.
    """
    if not NAME.match(value):
        raise ValueError(NO_NAME.format(value))
    return value


def importable(value: str | None) -> str | None:
    """Return the value if it is ``module:function``, or None.

    Raises:
        ValueError: It is something else.
    """
    if value is not None and not re.fullmatch(r"[A-Za-z_]\w*:[A-Za-z_]\w*", value):
        raise ValueError(f"{value!r} is not module:function (the module is a Python file beside the study)")
    return value
