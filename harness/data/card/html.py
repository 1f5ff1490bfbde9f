"""A data card as one page: no network, no script, light and dark, readable on a phone and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from harness import charts, formats
from harness.data.card.model import Card, Distribution
from harness.escaping import policed, visible

TEMPLATE = "card.html.jinja"
# Words for people in place of the ledger's names of stages.
STAGES = {"read": "not readable", "decontaminate": "overlap with the suite"}


def render(card: Card) -> str:
    """Return the card as an HTML page. Text from data is escaped, and its invisible characters are spelled out."""
    return policed(str(_template().render(card=card)))


@lru_cache
def _template() -> Any:
    """Return the page's template; compiling it takes longer than filling it in."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.filters |= {
        "count": formats.count,
        "percent": formats.percent,
        "number": formats.number,
        "stage": _stage,
    }
    environment.globals |= {"length_chart": _length_chart, "share_bar": _share_bar, "flow_chart": _flow_chart}
    return environment.from_string(files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8"))


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
