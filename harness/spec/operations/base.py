"""The base of all operations: an operation defines its fields, what it does to rows, and what it needs for that.

An operation is one module of this folder and one line in ``__init__``. The same few methods work on rows in memory and
on rows in parts on many machines. Reading a study must not import polars or the data code, so these methods import it
when they are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from harness.spec.base import Spec

if TYPE_CHECKING:
    import polars as pl

    from harness.data.operations.context import Context

Need = Literal["tokens", "perplexity", "embeddings"]
HOOKS = {"row": ("do",), "all": ("key", "gone")}  # scope -> the methods that an operation defines


class Done(NamedTuple):
    """The result of an operation of scope ``row``.

    Attributes:
        rows: All rows after the operation, in their order, dropped ones included.
        reasons: For each row, why it is dropped; null if it stays. None if all stay.
    """

    rows: pl.DataFrame
    reasons: pl.Series | None = None


class Gone(NamedTuple):
    """The rows that an operation of scope ``all`` drops.

    Attributes:
        rows: Numbers of the rows, 0 for the first of all rows.
        why: The reason of each row, or one reason for all.
        like: For each row, the number of another row that its reason names at the end; None if reasons name no row.
    """

    rows: Sequence[int] | Any
    why: Sequence[str] | str
    like: Sequence[int] | Any = None


@dataclass(frozen=True)
class Emptied:
    """Facts about rows of which an operation left none.

    Attributes:
        rows: Number of rows.
        first: The first row and why it was dropped.
        most: Words and characters of the largest row, if the operation looks at text.
        fewest: Words and characters of the smallest row, if the operation looks at text.
    """

    rows: int = 0
    first: str = ""
    most: tuple[int, int] = (0, 0)
    fewest: tuple[int, int] = (0, 0)


class BaseOperation(Spec):
    """One step on rows; see ``clean`` for an operation on each row, ``sample`` for one across all rows.

    Attributes:
        op: Its name in a study.
        scope: ``row``: the result for a row depends on that row alone. ``all``: it depends on the other rows, too. The
            scope must be declared: in a cluster, rows are on many machines, and only an operation of scope ``row`` can
            be done on each machine independently.
        draws: Whether the seed decides which rows stay, separately for each copy of a row.
        short: The field that a bare value stands for, as in ``use: my_ops:fix``.
    """

    op: str
    scope: ClassVar[Literal["row", "all"]]
    draws: ClassVar[bool] = False
    short: ClassVar[str | None] = None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse an operation that does not declare its scope, or does not define the methods of its scope.

        Raises:
            TypeError: The operation is refused; the message says what is expected.
        """
        super().__pydantic_init_subclass__(**kwargs)
        scope = getattr(cls, "scope", None)
        if scope not in HOOKS:
            raise TypeError(
                f'{cls.__module__}.{cls.__name__} declares no scope: write scope = "row" where what becomes of a row '
                'depends on that row alone, else scope = "all"'
            )
        for kind, names in HOOKS.items():
            for name in names:
                defined = getattr(cls, name) is not getattr(BaseOperation, name)
                if defined != (kind == scope):
                    wrong = "defines" if defined else "does not define"
                    raise TypeError(f'{cls.__module__}.{cls.__name__} has scope "{scope}" and {wrong} {name}()')

    def __str__(self) -> str:
        """Return the operation's name for people, such as ``filter(max_words=400)``."""
        given = self.model_dump(exclude_defaults=True, exclude={"op"})
        return self.op + (f"({', '.join(f'{name}={value}' for name, value in given.items())})" if given else "")

    def whose(self, context: Context) -> str:
        """Return the beginning of messages: whose rows these are, and the operation."""
        return f"{context.place}: {self}"

    # ------------------------------------------------------------------------------------------ what it does to rows

    def do(self, rows: pl.DataFrame, context: Context) -> Done:
        """Scope ``row``: return the rows after the operation, and why some are dropped.

        The caller gives a row whose content changed a new ``row_id`` unless this method has.

        Args:
            rows: Columns ``harness.data.rows.SCHEMA``; further columns are carried along.
            context: Whose rows these are, and the measures that the operation may need.

        Raises:
            RequestError: The rows lack something that the operation needs.
        """
        raise NotImplementedError

    def key(self, rows: pl.DataFrame, context: Context) -> pl.DataFrame:
        """Scope ``all``: return a small key of every row, computed from that row alone.

        If rows are in parts, each machine computes the keys of its parts; the driver collects the keys of all rows.

        Raises:
            RequestError: The rows lack something that the operation needs.
        """
        raise NotImplementedError

    def gone(self, keys: pl.DataFrame, context: Context) -> Gone:
        """Scope ``all``: return the rows to drop, from the keys of all rows in their order.

        Raises:
            RequestError: The rows do not meet the needs of the operation, for example too few.
        """
        raise NotImplementedError

    @property
    def join(self) -> str | None:
        """Scope ``all``: the join that replaces ``gone`` for rows in parts, if any (see ``data.partitions.gone``)."""
        return None

    # ------------------------------------------------------------------------------------------------ what it needs

    @property
    def changes(self) -> bool:
        """Whether the operation may change the content of rows, rather than only drop rows."""
        return False

    @property
    def needs(self) -> frozenset[Need]:
        """The measures of a model that it needs."""
        return frozenset()

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions whose rules decide about rows."""
        return ()

    def inputs(self, folder: Path | None) -> dict[str, str]:
        """Return role -> digest or version of what the result depends on besides rows; it is part of the step's key.

        Args:
            folder: Folder with the modules of ``function``.

        Returns:
            ``{"library/<name>": version}`` of ``libraries``, ``{"function/<module>": sha256 of its file}`` of the field
            ``function``; not the identity of a model.

        Raises:
            RequestError: A library or the function's file is missing.
        """
        from harness.data.operations import functions

        found = {f"library/{name}": functions.version_of(name, str(self)) for name in self.libraries}
        if (named := getattr(self, "function", None)) is not None:
            found |= functions.held(named, folder, str(self))
        return found

    # ------------------------------------------------------------------------------------- when it leaves nothing

    def looks_at(self, rows: pl.DataFrame, whose: str) -> pl.Series | None:
        """Return the text that the operation checks, if its size may be the reason why no row is left; else None."""
        return None

    def nothing_left(self, parts: Sequence[Emptied]) -> str:
        """Return the message for the case that no row is left of any part."""
        return f"0 of {sum(one.rows for one in parts):,} rows are left after {self}{self.hint(parts)}"

    def hint(self, parts: Sequence[Emptied]) -> str:
        """Return the end of that message, which shows the cause; ``parts`` are those that had rows."""
        return f"; {parts[0].first}" if parts else ""
