"""A report as one page: no network, no script, light and dark, readable on a phone and on paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from harness import charts, formats
from harness.data.card.html import STAGES
from harness.escaping import policed, visible
from harness.records import Growth, SliceArm
from harness.report.model import PowerCurve, Report, Savings
from harness.report.phrases import MARKS, PATTERNS, Say, expected

if TYPE_CHECKING:
    from jinja2 import Environment

TONES = {
    "GROW": "good", "ADOPT": "good", "HOLD": "even", "NEUTRAL": "even", "CUT": "bad", "REJECT": "bad",
}  # fmt: skip
WASH = 0.5  # opacity of the strongest colour in a heat map: letters stay readable on it


def html(report: Report) -> str:
    """Return the page. All text from data is escaped; its invisible characters are spelled out."""
    environment = _with_report(_environment(), report)
    return policed(environment.get_template("page.html.jinja").render(report=report, say=Say(report)))


def answered(report: Report) -> str:
    """Return only the page's answer, for a notebook: trust, verdicts, what to do next."""
    environment = _with_report(_environment(), report)
    return environment.get_template("answered.html.jinja").render(report=report, say=Say(report))


def tabled(
    title: str,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[str]],
    facts: Sequence[tuple[str, str]] = (),
) -> str:
    """Return a table in the page's style, for a notebook.

    Args:
        title: The text above the table.
        columns: Heading and justification (``left`` or ``right``) of each.
        rows: Cells.
        facts: The lines below the table: a heading and a sentence each.
    """
    template = _environment().get_template("tabled.html.jinja")
    return template.render(title=title, columns=columns, rows=rows, facts=facts)


def _environment() -> Environment:
    """Return the environment for this folder's templates: it escapes all text and refuses undefined names."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown,
        loader=PackageLoader("harness", "report"),
    )  # fmt: skip


def _with_report(environment: Environment, report: Report) -> Environment:
    """Return the environment with the functions that write the report's numbers and draw its charts."""
    say = Say(report)
    environment.filters |= {
        "count": formats.count,
        "percent": formats.percent,
        "number": formats.number,
        "duration": formats.duration,
        "stage": _stage,
        "moment": formats.moment,
    }
    environment.globals |= {
        "forest": _chart(lambda: _forest(report, say)),
        "spreads": _chart(lambda: _spreads(report, say)),
        "ladder": _chart(lambda line: _ladder(report, say, line)),
        "stack": _chart(charts.stack),
        "findings": _chart(lambda: _findings(report)),
        "power": _chart(_power),
        "saved": _chart(_saved),
        "wash": _wash(report),
        "tone": lambda verdict: TONES.get(verdict, "open"),
        "mark": lambda verdict: MARKS.get(verdict, "!"),
        "patterns": PATTERNS,
    }
    return environment


def _shown(value: Any) -> Any:
    from markupsafe import Markup

    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _chart(draw: Callable[..., str]) -> Callable[..., Any]:
    """Return a function for the templates: charts escape their own text."""

    def drawn(*arguments: Any, **options: Any) -> Any:
        from markupsafe import Markup

        return Markup(draw(*arguments, **options))

    return drawn


def _stage(operation: str) -> str:
    return STAGES.get(operation, operation)


# --------------------------------------------------------------------------------------------------------- charts


def _forest(report: Report, say: Say) -> str:
    """Draw the effects of the study's questions, then of every arm against the baseline, then of the controls."""
    found = []
    for decision in report.decisions.decisions if report.decisions else []:
        low, high = decision.facts.get("ci_confirmation", (None, None))
        figure = say.effect(decision.effect, decision.ci)
        again = (decision.confirmation, low, high)
        found.append(charts.Interval(decision.subject, figure, decision.effect, *decision.ci, again, "WHAT IS ASKED"))
    for arm in report.comparison.arms if report.comparison else []:
        group = "CONTROLS: SHOULD SHOW NOTHING" if arm.control else "ARMS AGAINST THE BASELINE"
        again = (arm.effect_confirmation, *arm.ci_confirmation)
        found.append(charts.Interval(arm.variant, say.effect(arm.effect, arm.ci), arm.effect, *arm.ci, again, group))
    return charts.forest(
        found, threshold=report.smallest_effect, title=f"Effects on {say.metric}", unit=f"effect on {say.metric}"
    )


def _spreads(report: Report, say: Say) -> str:
    """Draw every variant's score at every seed, with reference scores."""
    rows = [
        charts.Spread(one.name, list(one.seeds.values()), one.mean, one.control) for one in report.variants if one.seeds
    ]
    comparison = report.comparison
    known = {
        "model before training": comparison.base_model if comparison else None,
        "most frequent answer": comparison.majority if comparison else None,
    }
    marks = {name: value for name, value in known.items() if value is not None}
    return charts.spreads(rows, marks=marks, title=f"{say.metric} of every variant, seed by seed", unit=say.metric)


def _ladder(report: Report, say: Say, line: Growth) -> str:
    """Draw a source's rungs and the learning curve fitted to them."""
    seeds = {one.name: list(one.seeds.values()) for one in report.variants}
    rungs = [(float(one.rows), one.mean, seeds.get(one.variant, [])) for one in line.rungs if one.mean is not None]
    curve = [charts.Point(point.rows, point.value, point.low, point.high) for point in line.curve]
    baseline = report.comparison.baseline_mean if report.comparison else None
    inside = any(one.variant == "baseline" for one in line.rungs)
    return charts.ladder(
        rungs, curve, title=f"{say.metric} by rows of {line.source}", unit=say.metric,
        baseline=None if inside else baseline,
    )  # fmt: skip


def _findings(report: Report) -> str:
    """Draw how often null studies have a finding, by this rule and by two usual tests."""
    known = report.reliability
    assert known is not None
    likely = expected(report, known)
    values = [
        ("this rule", likely.false_findings),
        ("allowed", known.alpha),
        ("unpaired z-test", likely.naive_z),
        ("paired t-test over items only", likely.naive_t),
    ]
    shown = [(name, value, f"{value:.1%}") for name, value in values]
    return charts.bars(shown, title="Studies without any effect that are said to show one")


def _power(curve: PowerCurve) -> str:
    drawn = (("this rule", curve.ours), ("unpaired z-test", curve.naive_z), ("t-test over items", curve.naive_t))
    return charts.lines(
        [charts.Line(name, list(zip(curve.effects, values, strict=True))) for name, values in drawn],
        title="How often an arm is said to differ, by its true effect",
        across="true effect, in standard errors",
    )


def _saved(found: Savings) -> str:
    """Draw which share of the exhaustive design's verdicts is reached at which share of its cost."""
    fixed = [(one.cost, one.equal) for one in found.designs if one.design.endswith(" seeds")]
    staged = next(one for one in found.designs if one.design == "staged")
    return charts.lines(
        [charts.Line("a fixed number of seeds", sorted(fixed)), charts.Line("stages", [(staged.cost, staged.equal)])],
        title="Verdicts equal to those of every arm at every seed, by cost",
        across="cost, as a share",
    )


def _wash(report: Report) -> Callable[[SliceArm], str]:
    """Return a function that returns the colour of a cell in the heat map: blue for gains, orange for losses."""
    cells = [arm for one in (report.decisions.slices if report.decisions else []) for arm in one.arms]
    strongest = max((abs(arm.effect) for arm in cells), default=0.0) or 1.0

    def colour(arm: SliceArm) -> str:
        red, green, blue = (0, 114, 178) if arm.effect > 0 else (230, 159, 0)
        return f"background:rgba({red},{green},{blue},{WASH * abs(arm.effect) / strongest:.2f})"

    return colour
