"""Operations: one step on rows each, a module each. A line here makes one known to studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from harness.spec.operations.base import BaseOperation

# The union, a line for each; its members are what is imported here and has a name.
from harness.spec.operations.clean import Clean as Clean
from harness.spec.operations.dedupe import Dedupe as Dedupe
from harness.spec.operations.filter import Filter as Filter
from harness.spec.operations.pii import Pii as Pii
from harness.spec.operations.sample import Sample as Sample
from harness.spec.operations.trainable import Trainable as Trainable
from harness.spec.operations.use import Use as Use
from harness.spec.operations.verify import Verify as Verify

OPERATIONS: dict[str, type[BaseOperation]] = {
    kind.model_fields["op"].default: kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, BaseOperation) and not kind.model_fields["op"].is_required()
}
if TYPE_CHECKING:
    Operation = BaseOperation
    AnyOperation = BaseOperation
else:
    Operation = Annotated[Union[tuple(OPERATIONS.values())], Field(discriminator="op")]  # noqa: UP007
    AnyOperation = Operation | Trainable


def operation(value: Any) -> Any:
    """Read ``verify``, ``{filter: {...}}`` and ``{use: my_ops:fix}`` as ``{op: ..., ...}``."""
    if isinstance(value, str):
        return {"op": value}
    if isinstance(value, dict) and "op" not in value and len(value) == 1:
        name, parameters = next(iter(value.items()))
        if parameters is None or isinstance(parameters, dict):
            return {"op": name, **(parameters or {})}
        kind = OPERATIONS.get(name) if isinstance(name, str) else None
        if kind is not None and kind.short is not None:
            return {"op": name, kind.short: parameters}
    return value


Operations = Annotated[tuple[Operation, ...], Field(default=(), description="what is done to the rows, in this order")]
