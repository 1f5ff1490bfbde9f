"""What every operation says about itself: its fields, what it does to rows, and what it needs for that.

An operation is one module of this folder and one line in ``__init__``. Rows that are all in memory and rows in parts
on many machines are worked on by the same few methods. A study is read without any of what these import when they are
called (polars, the data code), so they import it themselves.
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
HOOKS = {"row": ("do",), "all": ("key", "gone")}  # what an operation of each scope defines


class Done(NamedTuple):
    """What an operation of scope ``row`` makes of rows.

    Attributes:
        rows: All of them, in their order, as they are afterwards.
        reasons: Text for each: why it goes; null where it stays. None where all stay.
    """

    rows: pl.DataFrame
    reasons: pl.Series | None = None


class Gone(NamedTuple):
    """The rows that an operation of scope ``all`` drops.

    Attributes:
        rows: Their numbers, 0 for the first of all rows.
        why: The reason of each, or the one of all of them.
        like: For each, the number of a row that its reason names at the end; None where reasons name none.
    """

    rows: Sequence[int] | Any
    why: Sequence[str] | str
    like: Sequence[int] | Any = None


@dataclass(frozen=True)
class Emptied:
    """What rows were like of which an operation left none.

    Attributes:
        rows: How many there were.
        first: The first of them and why it went.
        most: Words and characters of the largest, where the operation looks at text.
        fewest: The same of the smallest.
    """

    rows: int = 0
    first: str = ""
    most: tuple[int, int] = (0, 0)
    fewest: tuple[int, int] = (0, 0)


class BaseOperation(Spec):
    """One step on rows; see ``clean`` for an operation on each row, ``sample`` for one across all rows.

    Attributes:
        op: Its name in a study.
        scope: ``row``: what becomes of a row depends on that row alone. ``all``: on the other rows, too. It has to be
            said: rows of a cluster are on many machines, and only ``row`` may be done on each machine by itself.
        draws: Whether the seed decides which rows stay, copies of a row each for itself.
        short: The field that a bare value stands for, as in ``use: my_ops:fix``.
    """

    op: str
    scope: ClassVar[Literal["row", "all"]]
    draws: ClassVar[bool] = False
    short: ClassVar[str | None] = None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse an operation that does not say its scope, or lacks what goes with it.

        Raises:
            TypeError: With what is expected.
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
        """Return the operation as people read it, such as ``filter(max_words=400)``."""
        given = self.model_dump(exclude_defaults=True, exclude={"op"})
        return self.op + (f"({', '.join(f'{name}={value}' for name, value in given.items())})" if given else "")

    def whose(self, context: Context) -> str:
        """Return whose rows are worked on and by what, as messages begin."""
        return f"{context.place}: {self}"

    # ------------------------------------------------------------------------------------------ what it does to rows

    def do(self, rows: pl.DataFrame, context: Context) -> Done:
        """Scope ``row``: return the rows afterwards, and why some go.

        A row whose content is another afterwards gets another ``row_id`` if it has not got one.

        Args:
            rows: Columns ``harness.data.rows.SCHEMA``; further columns are carried along.
            context: Whose rows these are, and what may be asked for.

        Raises:
            RequestError: The rows lack what the operation needs.
        """
        raise NotImplementedError

    def key(self, rows: pl.DataFrame, context: Context) -> pl.DataFrame:
        """Scope ``all``: return something small of every row, from that row alone.

        Where rows are in parts, this is done to each part where it is; the keys of all rows are brought together.

        Raises:
            RequestError: The rows lack what the operation needs.
        """
        raise NotImplementedError

    def gone(self, keys: pl.DataFrame, context: Context) -> Gone:
        """Scope ``all``: return the rows that go, from the keys of all rows in their order.

        Raises:
            RequestError: The rows are not what the operation needs.
        """
        raise NotImplementedError

    @property
    def join(self) -> str | None:
        """Scope ``all``: how rows in parts are compared without their text; see ``data.partitions.gone``."""
        return None

    # ------------------------------------------------------------------------------------------------ what it needs

    @property
    def changes(self) -> bool:
        """Whether rows may have another content afterwards, rather than only fewer of them be there."""
        return False

    @property
    def needs(self) -> frozenset[Need]:
        """What it asks a model for."""
        return frozenset()

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions whose rules decide about rows."""
        return ()

    def inputs(self, folder: Path | None) -> dict[str, str]:
        """Return what else the outcome depends on, by role; it enters the key of what is made.

        Args:
            folder: Where the modules of ``function`` are.

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
        """Return the text of rows that counts, where their size may be why none is left."""
        return None

    def nothing_left(self, parts: Sequence[Emptied]) -> str:
        """Return what is said when no row is left of any part."""
        return f"0 of {sum(one.rows for one in parts):,} rows are left after {self}{self.hint(parts)}"

    def hint(self, parts: Sequence[Emptied]) -> str:
        """Return what helps to see why; ``parts`` are those that had rows."""
        return f"; {parts[0].first}" if parts else ""
