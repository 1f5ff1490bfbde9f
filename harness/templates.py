"""Chat templates: the programs that models come with, and that make a text of a conversation.

One renderer serves training and evaluation, so that both read the same text. It writes what transformers writes, on a
date that stands, and within bounds (``harness.bounds``): a template is a program of strangers.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import BuiltinMethodType, MethodType
from typing import Any

from jinja2 import Environment, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from harness import bounds
from harness.bounds import TURN, Meter, TooMuch

# Of the template that is being rendered. None is when one is compiled: then nothing of it is made.
METER: ContextVar[Meter] = ContextVar("meter")
DATA = (str, bytes, int, float, list, tuple, dict, set, frozenset)
JOINED, HELD, READ, LOOPED = " joined", " held", " read", " looped"  # filters that no template can name
COMPARED = ("==", "eq", "equalto", "!=", "ne", "<", "lt", "lessthan", "<=", "le", ">", "gt", "greaterthan", ">=", "ge")


class Refused(TemplateError):
    """A template says itself that it cannot write a conversation."""


class ChatTemplate:
    """A chat template, ready to be used.

    Args:
        source: What it says.
        date: What it is told when it asks for the date (``strftime_now``): the same every day, since what a row is made
            into must not change from day to day.

    Raises:
        TemplateError: It cannot be read.
    """

    def __init__(self, source: str, date: datetime.date) -> None:
        environment = _Bounded(date)
        try:
            self._template = environment.from_string(source)
        except (RecursionError, MemoryError, SyntaxError, ValueError) as error:
            raise TemplateError(str(error) or "nested too deep") from error

    def render(self, messages: Sequence[Mapping[str, Any]], **names: Any) -> str:
        """Write a conversation.

        Args:
            messages: The conversation.
            names: What else the template may ask for.

        Raises:
            TooMuch: The template takes more than it may.
            Refused: It refuses the conversation.
        """
        meter = Meter(messages)
        token = METER.set(meter)
        parts: list[str] = []
        written = 0
        try:
            for part in self._template.generate(messages=messages, range=meter.range, **names):
                parts.append(part)
                written += len(part)
                meter.room(written)
        finally:
            METER.reset(token)
        return "".join(parts)


@functools.lru_cache(maxsize=16)
def compiled(source: str, date: datetime.date) -> ChatTemplate:
    """Return a chat template, read once for all that use it.

    Raises:
        TemplateError: As ``ChatTemplate``.
    """
    return ChatTemplate(source, date)


def failed(error: Exception) -> str:
    """Say why a model's chat template makes no text of a conversation."""
    if isinstance(error, TooMuch):
        return f"the model's chat template {error}"
    if isinstance(error, Refused):
        return f"the model's chat template refuses a row: {error}"
    return f"the model's chat template cannot be used: {error}"


class _Generation(Extension):
    """Reads ``{% generation %}``, with which templates mark the assistant's part, as the part itself."""

    tags = {"generation"}

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Counted(NodeTransformer):
    """Lets what a template joins, puts together, compares and goes through be counted.

    Operators, calls, filters and what is put out are counted by the environment; this is for what has no hook there.
    """

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        super().generic_visit(node, *args, **kwargs)
        match node:
            case nodes.For():
                node.iter = _filter(LOOPED, node.iter)
            case nodes.Concat():
                return _filter(JOINED, nodes.Tuple(node.nodes, "load", lineno=node.lineno))
            case nodes.List() | nodes.Dict() | nodes.Tuple() if getattr(node, "ctx", "load") == "load":
                plain = isinstance(node, nodes.List | nodes.Tuple) and _constant(*node.items)
                return node if plain else _filter(HELD, node)
            case nodes.Getitem(arg=nodes.Slice()):
                return _filter(HELD, node)
            case nodes.Compare():
                sides: list[nodes.Node] = [node.expr, *(operand.expr for operand in node.ops)]
                within = [operand.expr for operand in node.ops if operand.op in ("in", "notin")]
                if not (_constant(*within) if within else any(map(_constant, sides))):
                    node.expr = _filter(READ, node.expr)
                    for operand in node.ops:
                        operand.expr = _filter(READ, operand.expr)
        return node


def _filter(name: str, node: Any) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _constant(*found: nodes.Node) -> bool:
    return all(
        isinstance(one, nodes.Const) or (isinstance(one, nodes.List | nodes.Tuple) and _constant(*one.items))
        for one in found
    )


class _Dict:
    """``dict`` as templates may have it: no type, of which more could be asked."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:
        return dict(*args, **values)

    def fromkeys(self, keys: Any, value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)


class _Namespace(Namespace):
    """``namespace``; it does not write out what it holds, which may be itself."""

    def __init__(*args: Any, **values: Any) -> None:
        self, *given = args
        for name in (values := dict(*given, **values)):
            _Namespace._check(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _Namespace._check(name)
        Namespace.__setitem__(self, name, value)

    def __repr__(self) -> str:
        return "<Namespace>"

    @staticmethod
    def _check(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise Refused(f"a namespace cannot hold {name!r}: names that begin with an underscore are Python's own")


class _Bounded(ImmutableSandboxedEnvironment):
    """jinja as transformers sets it up (sandboxed, blocks trimmed), with all that is made counted."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self, date: datetime.date) -> None:
        extensions: list[Any] = [loopcontrols, _Generation]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=_finalized)
        day = datetime.datetime(date.year, date.month, date.day)
        del self.globals["lipsum"]  # random text: no row could be made twice
        self.globals |= {
            "raise_exception": _refuse,
            "strftime_now": lambda form: day.strftime(_spent("strftime", form)),
            "dict": _Dict(),
            "namespace": _Namespace,
        }
        self.filters["tojson"] = _to_json
        self.filters = {name: _metered(name, one) for name, one in self.filters.items()}
        self.filters |= {JOINED: _joined, HELD: _held, READ: _read, LOOPED: _looped}
        self.tests |= {name: _reading(self.tests[name]) for name in ("in", *COMPARED)}

    concat = staticmethod(lambda parts: _concatenated(parts))

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        counted = _Counted().visit(source)
        counted.set_environment(self)
        return super()._generate(counted, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "+" and type(left) is str and type(right) is str:  # by far the most of what templates do
            text = left + right
            METER.get().text(len(text))
            return text
        if operator in "+%" and type(left) is int and type(right) is int:
            return self.binop_table[operator](left, right)
        if operator == "**":
            return bounds.power(left, right)
        meter = METER.get()
        if operator == "*":
            meter.room(bounds.times(left, right))
        elif operator == "%" and isinstance(left, str | bytes):
            meter.room(bounds.formatted((left, right)))
        return meter.made(self.binop_table[operator](left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        meter = METER.get()
        made = getattr(__obj, "__wrapped__", __obj)  # what format() was, before jinja made it safe
        owner = getattr(made, "__self__", None) if isinstance(made, BuiltinMethodType | MethodType) else None
        if isinstance(owner, DATA):
            name = made.__name__
            args = tuple(list(meter.pulled(one)) if isinstance(one, Iterator) else one for one in args)
            if isinstance(owner, dict) and name in ("get", "items", "keys", "values"):  # looks at one, or at none yet
                meter.spend(TURN)
                return super().call(__context, __obj, *args, **kwargs)
            given = (owner, *args, *(one for key, one in kwargs.items() if key[0] != "_"))
            meter.room(bounds.before(name, given, bounds.METHODS, bounds.PLAIN_METHODS))
            meter.read(given)
        elif not isinstance(made, Macro) or made.catch_varargs or made.catch_kwargs:
            args = tuple(map(meter.pulled, args))
            meter.read((*args, *(one for key, one in kwargs.items() if key[0] != "_")))
        return meter.made(super().call(__context, __obj, *args, **kwargs))


def _finalized(value: Any) -> Any:
    """Count what is put out."""
    meter = METER.get()
    if type(value) is not str:
        meter.room(bounds.size(value))
        value = value if isinstance(value, str) else str(value)
    meter.spend(len(value) + TURN)
    return value


def _concatenated(parts: Any) -> str:
    """Put parts of a text together, in a macro or a block."""
    meter = METER.get()
    kept = parts if isinstance(parts, list) else list(meter.pulled(parts))
    meter.spend(meter.room(sum(map(len, kept))))
    return "".join(kept)


def _metered(name: str, made: Callable[..., Any]) -> Callable[..., Any]:
    """Count what a filter makes."""

    @functools.wraps(made)  # which says, too, whether jinja hands its own things to it
    def filtered(*args: Any, **kwargs: Any) -> Any:
        meter = METER.get()
        own = 1 if isinstance(args[0], Context | EvalContext | Environment) else 0
        # At once, not when they are asked for: what takes from what takes from a thousand others ends the process.
        args = tuple(list(meter.pulled(one)) if isinstance(one, Iterator) else one for one in args)
        given = (*args[own:], *kwargs.values())
        meter.room(bounds.before(name, given, bounds.FILTERS, bounds.PLAIN_FILTERS))
        meter.read(given)
        return meter.made(made(*args, **kwargs))

    return filtered


def _reading(made: Any) -> Callable[..., bool]:
    """Count what a test looks through."""

    @functools.wraps(made)
    def tested(*args: Any) -> bool:
        METER.get().read(args)
        return bool(made(*args))

    return tested


def _joined(parts: tuple[Any, ...]) -> str:
    """``~``: text after text."""
    meter = METER.get()
    texts = [part if isinstance(part, str) else str(meter.made(part)) for part in parts]
    meter.spend(meter.room(sum(map(len, texts))) + TURN)
    return "".join(texts)


def _held(value: Any) -> Any:
    return METER.get().made(value)


def _read(value: Any) -> Any:
    METER.get().read((value,))
    return value


def _looped(values: Any) -> Any:
    return METER.get().turns(values)


def _spent(name: str, *values: Any) -> Any:
    METER.get().room(bounds.METHODS[name](values))
    return values[0]


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Write JSON as transformers does: jinja's own filter writes it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    raise Refused(message)
