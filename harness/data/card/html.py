"""A data card as one page: no network, no script, light and dark, readable on a phone and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from harness import charts
from harness.data.card.model import Card, Distribution
from harness.visible import policed, visible

TEMPLATE = "card.html.jinja"
# What the ledger calls a stage is for machines; people read what it did.
STAGES = {"read": "not readable", "decontaminate": "overlap with the suite"}


def render(card: Card) -> str:
    """Return the page. All text from data is escaped; what cannot be seen in it is spelled out."""
    return policed(str(_template().render(card=card)))


@lru_cache
def _template() -> Any:
    """Return the page's template; compiling it takes longer than filling it in."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.filters |= {"count": count, "percent": percent, "number": number, "stage": _stage}
    environment.globals |= {"length_chart": _length_chart, "share_bar": _share_bar, "flow_chart": _flow_chart}
    return environment.from_string(files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8"))


def count(value: float) -> str:
    """Return a count: ``12,304``, ``1.2M`` from ten millions on."""
    return f"{value / 1e6:,.1f}M" if abs(value) >= 1e7 else f"{value:,.0f}"


def percent(value: float) -> str:
    """Return a share as people write it: ``0%``, ``0.04%``, ``4.1%``, ``63%``; never a rounded 0 or 100."""
    shown = 100 * value
    if shown in (0, 100):
        return f"{shown:.0f}%"
    if shown < 0.01:
        return "<0.01%"
    if shown > 99.99:
        return ">99.99%"
    if shown < 1:
        return f"{shown:.2g}%"
    digits = 2 if shown > 99.9 else 1 if shown < 10 or shown > 99 else 0
    return f"{shown:.{digits}f}%"


def number(value: float) -> str:
    """Return a number with three digits, or whole with separators."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"


def _shown(value: Any) -> Any:
    from markupsafe import Markup

    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _stage(operation: str) -> str:
    return STAGES.get(operation, operation)


def _length_chart(length: Distribution) -> Any:
    from markupsafe import Markup

    of = f"{length.unit.capitalize()} per {length.of}" if length.unit else length.of
    drawn = length.histogram
    return Markup(
        charts.histogram(
            drawn.start, drawn.width, drawn.counts, above=drawn.above, whole=bool(length.unit), title=of,
            unit=length.unit, mark=length.median,
        )
    )  # fmt: skip


def _share_bar(value: float) -> Any:
    from markupsafe import Markup

    return Markup(charts.share(value))


def _flow_chart(steps: Sequence[tuple[str, int]]) -> Any:
    from markupsafe import Markup

    shown = [(label, float(rows), f"{rows:,}") for label, rows in steps]
    return Markup(charts.bars(shown, title="Where the rows went"))
