"""Limits the text and the loop turns of a chat template, which is code of strangers that runs once for every row.

The size of a result is checked before it is made if one step can make much of little (``'x'.center(10 ** 12)``), and
otherwise after. The counts are the same on every machine, so that the same rows are refused everywhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

# Limits: characters of one text, or TIMES the characters of the row if that is more; numbers in all ranges; characters
# made in all, as a multiple of the limit of one text.
LONGEST, TIMES, TURNS, TEXTS = 1 << 24, 8, 1_000_000, 8
TURN, ELEMENT = 64, 8  # characters that a step and an element of a list count as
READ = 2  # characters read that count as one made
BITS = 1 << 14  # bits of a number; a few more digits than Python prints
DEEPEST = 100  # levels of lists in lists
WIDTH, NESTED = re.compile(r"\d+"), re.compile(r"\{[^{}]*\{|%[-#0 +]*\*|\.\*")


class TooMuch(Exception):
    """A template exceeds a limit."""


class Meter:
    """Counts the work of one use of a template, and raises ``TooMuch`` beyond the limits.

    Args:
        row: The messages that the template renders; the limits grow with their length.
    """

    def __init__(self, row: Sequence[Any] = ()) -> None:
        self._row: Sequence[Any] | None = row
        self._most = LONGEST
        self._left = TEXTS * LONGEST
        self._numbers = 0

    def spend(self, made: int) -> None:
        """Count characters that were made, or work that counts as so many.

        Raises:
            TooMuch: The sum of all counts exceeds its limit.
        """
        self._left -= made
        if self._left < 0 and (not self._measured() or self._left < 0):
            raise TooMuch(f"makes more than {TEXTS * self._most:,} characters on the way to those of a row")

    def room(self, made: int) -> int:
        """Return the size of a value that is to be made, if it is within the limit of one text.

        Raises:
            TooMuch: The size exceeds the limit.
        """
        if made > self._most and (not self._measured() or made > self._most):
            raise TooMuch(f"makes more than {self._most:,} characters of a row")
        return made

    def text(self, written: int) -> None:
        """Count a text that was joined from two or three.

        Raises:
            TooMuch: The text exceeds the limit of one text, or the sum of all counts exceeds its limit.
        """
        self._left -= written
        if written > self._most or self._left < 0:
            self.room(written)
            self.spend(0)

    def made(self, value: Any) -> Any:
        """Count a value that was made, and return it."""
        self.spend(self.room(size(value)) + TURN)
        return value

    def read(self, values: Iterable[Any]) -> None:
        """Count values that a step reads."""
        self.spend(reading(values) + TURN)

    def turns(self, values: Any) -> Any:
        """Count the turns of a loop over values, and return the values."""
        try:
            self.spend(TURN * len(values))
        except TypeError:
            return self.pulled(values)
        return values

    def pulled(self, values: Any) -> Any:
        """Return an iterator that counts each element when it is taken; any other value is returned unchanged."""
        return self._pull(values) if hasattr(values, "__next__") and hasattr(values, "__iter__") else values

    def range(self, *bounds: int) -> range:
        """Return ``range(*bounds)``, and count its numbers.

        Raises:
            TooMuch: The ranges of this use have more numbers than ``TURNS``.
        """
        numbers = range(*bounds)
        # Not len(), which fails for ranges with a length beyond sys.maxsize.
        self._numbers += max(0, (numbers.stop - numbers.start) // numbers.step)
        if self._numbers > TURNS:
            raise TooMuch(f"counts through more than {TURNS:,} numbers for a row")
        return numbers

    def _pull(self, values: Iterator[Any]) -> Iterator[Any]:
        total = 0
        for value in values:
            total += size(value) + ELEMENT
            self.room(total)
            self.spend(TURN + ELEMENT)
            yield value

    def _measured(self) -> bool:
        """Raise the limits if the row is long; return False if this was done before."""
        row, self._row = self._row, None
        if row is None:
            return False
        most = max(LONGEST, TIMES * sum(len(str(message)) for message in row))
        self._left += TEXTS * (most - self._most)
        self._most = most
        return True


_HOLDERS: Any = (list, tuple, dict, set, frozenset, type({}.keys()), type({}.values()), type({}.items()))


def size(value: Any) -> int:
    """Return about how many characters a value has when it is written out; a value held twice counts twice.

    Raises:
        TooMuch: The value holds too much, is nested too deep, or is too large a number.
    """
    kind = type(value)
    if kind is str:
        return len(value)
    if kind is bool or value is None:
        return 1
    total, level = 0, [value]
    for _ in range(DEEPEST):
        deeper: list[Any] = []
        for one in level:
            kind = type(one)
            if kind is str:
                total += len(one)
            elif kind is int or not isinstance(one, _HOLDERS):
                total += _other(one)
            else:
                total += ELEMENT * len(one)
                deeper += one
                if kind is dict:
                    deeper += one.values()
                if len(deeper) > LONGEST:
                    raise TooMuch(f"makes more than {LONGEST:,} characters of a row")
        if not deeper:
            return total
        level = deeper
    raise TooMuch(f"puts lists into lists more than {DEEPEST} times")


def reading(values: Iterable[Any]) -> int:
    """Return the number of characters that reading all values counts as."""
    return sum(len(one) // READ if type(one) is str else size(one) for one in values)


def before(name: str, values: Sequence[Any], table: Mapping[str, Growth], plain: frozenset[str]) -> int:
    """Return the most characters that a function can make of its arguments.

    Args:
        name: Name of the function.
        values: Its arguments.
        table: Name -> estimate, for functions that can make much of little.
        plain: Names of functions whose result is about as large as their arguments. A function in neither is assumed
            to make the product of its arguments.
    """
    if name in plain:
        return sum(map(size, values))
    return table.get(name, product)(values)


Growth = Callable[[Sequence[Any]], int]


def product(values: Sequence[Any]) -> int:
    """Return the product of the sizes of all arguments, with numbers as factors."""
    most: int = math.prod(1 + max(size(one), _number(one)) for one in values)
    return most


def padded(values: Sequence[Any]) -> int:
    """Return the size of a result that is padded to a width among the arguments."""
    return sum(map(size, values)) + ELEMENT * sum(map(_number, values))


def replaced(values: Sequence[Any]) -> int:
    """Return the size of a text in which a new text replaces every occurrence of an old one."""
    if not 3 <= len(values) <= 4 or not all(isinstance(one, str) for one in values[:3]):
        return product(values)
    text, old, new = map(str, values[:3])
    return len(text) + text.count(old) * len(new)


def joined(separator: Any, values: Any, *_: Any) -> int:
    """Return the size of values joined by a separator."""
    count: int = len(values) if hasattr(values, "__len__") else 1
    return size(values) + count * size(separator)


def formatted(values: Sequence[Any]) -> int:
    """Return the size of a formatted text: each field counts the largest width in the format and all arguments."""
    form, *given = values
    form = form if isinstance(form, str) else str(form)
    fields = form.count("%") + form.count("{")
    # Not int() of all: a width of more digits than Python reads is too wide anyway.
    width = max((int(digits[:19]) for digits in WIDTH.findall(form)), default=0)
    if NESTED.search(form):  # a width may be given as a value
        width = max([width, *map(_number, _flat(given))])
    return len(form) + fields * (width + sum(map(size, given)))


def parted(values: Sequence[Any]) -> int:
    """Return the size of a list of pieces of a text."""
    return size(values[0]) * (ELEMENT if isinstance(values[0], str | bytes) else 1) + sum(map(size, values[1:]))


def summed(values: Sequence[Any]) -> int:
    """Return the size of all intermediate results of a sum; adding a list copies the sum so far."""
    lists = any(isinstance(one, list | tuple) for one in values[1:])
    return size(values[0]) * (len(values[0]) if lists else 1) + sum(map(size, values[1:]))


def power(left: Any, right: Any) -> Any:
    """Return a power.

    Raises:
        TooMuch: The result would have more than ``BITS`` bits.
    """
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * max(0, right) > BITS and abs(left) > 1:
        raise TooMuch(f"makes a number of more than {BITS:,} bits")
    return left**right


def times(left: Any, right: Any) -> int:
    """Return the size of a product, in which text or a list may be repeated."""
    for one, many in ((left, right), (right, left)):
        if isinstance(one, str | bytes | list | tuple) and isinstance(many, int):
            most: int = (size(one) + 1) * int(max(0, many))
            return most
    return size(left) + size(right)


def _other(value: Any) -> int:
    """Return the size of a value that holds no other values."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, range):
        return ELEMENT * len(value)
    if not isinstance(value, int):
        return 1
    if value.bit_length() > BITS:
        raise TooMuch(f"makes a number of more than {BITS:,} bits")
    return 1 + value.bit_length() // 3


def _number(value: Any) -> int:
    return abs(value) if isinstance(value, int) else 0


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for one in values:
        if isinstance(one, list | tuple):
            yield from one
        elif isinstance(one, Mapping):
            yield from one.values()
        else:
            yield one


# Methods of Python's text, lists and numbers, and jinja's filters, by the size of their results.
METHODS: dict[str, Growth] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill", "to_bytes", "expandtabs"), padded),
    "replace": replaced,
    "join": lambda values: joined(*values),
    **dict.fromkeys(("format", "format_map"), formatted),
    "expandtabs": product,
    "translate": product,
    **dict.fromkeys(("split", "rsplit", "splitlines"), parted),
    "striptags": lambda values: size(values[0]) * (1 + str(values[0]).count("<!--")),
    "strftime": lambda values: 256 * padded(values),
}
_AS_GIVEN = """
capitalize casefold count encode endswith find index isalnum isalpha isascii isdecimal isdigit isidentifier islower
isnumeric isprintable isspace istitle isupper lower lstrip maketrans partition removeprefix removesuffix rfind rindex
rpartition rstrip startswith strip swapcase title upper decode fromhex hex copy get items keys
values as_integer_ratio bit_count bit_length conjugate from_bytes is_integer unescape escape union intersection
difference symmetric_difference issubset issuperset isdisjoint fromkeys
"""
PLAIN_METHODS = frozenset(_AS_GIVEN.split())
FILTERS: dict[str, Growth] = {
    **dict.fromkeys(("center", "truncate", "batch", "slice"), padded),
    "replace": replaced,
    "join": lambda values: joined(values[1] if len(values) > 1 else "", values[0]),
    "format": formatted,
    "round": lambda values: padded(values) * (LONGEST // BITS),
    "striptags": METHODS["striptags"],
    "sum": summed,
    **dict.fromkeys(("list", "title", "wordcount", "pprint", "sort"), parted),
    "tojson": lambda values: padded(values) + DEEPEST * padded(values[1:]),
}
_SHOWN = """
abs attr capitalize count d default dictsort e escape filesizeformat first float forceescape groupby int items last
length lower map min max random reject rejectattr reverse safe select selectattr string trim unique upper urlencode
xmlattr
"""
PLAIN_FILTERS = frozenset(_SHOWN.split())
