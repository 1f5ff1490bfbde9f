"""Operations: one step on rows each, one module each. An import here makes an operation available to studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from harness.spec.base import kinds, spelled_out
from harness.spec.operations.base import BaseOperation

# The union of operations, one line for each; its members are the imported classes that have a name in a study.
from harness.spec.operations.clean import Clean as Clean
from harness.spec.operations.dedupe import Dedupe as Dedupe
from harness.spec.operations.filter import Filter as Filter
from harness.spec.operations.pii import Pii as Pii
from harness.spec.operations.sample import Sample as Sample
from harness.spec.operations.trainable import Trainable as Trainable
from harness.spec.operations.use import Use as Use
from harness.spec.operations.verify import Verify as Verify

OPERATIONS: dict[str, type[BaseOperation]] = kinds(list(globals().values()), BaseOperation, "op")
SHORT = {name: kind.short for name, kind in OPERATIONS.items() if kind.short is not None}
if TYPE_CHECKING:
    Operation = BaseOperation
    AnyOperation = BaseOperation
else:
    Operation = Annotated[Union[tuple(OPERATIONS.values())], Field(discriminator="op")]  # noqa: UP007
    AnyOperation = Operation | Trainable


def operation(value: Any) -> Any:
    """Return ``{op: ..., ...}`` for the short forms ``verify``, ``{filter: {...}}`` and ``{use: my_ops:fix}``."""
    return spelled_out(value, "op", SHORT)


Operations = Annotated[tuple[Operation, ...], Field(default=(), description="what is done to the rows, in this order")]
