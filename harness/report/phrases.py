"""The phrases of a report, shared by HTML and Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from harness import formats
from harness.formats import Places, count, several
from harness.records import ArmEffect, Comparison, Decision, Growth
from harness.report.model import Rates, Reliability, Report, Savings, VariantReport

Ends = Sequence[float | None]
SAID = ("aa", "random_subset", "runs", "clusters", "comparability")
ORDER = ("ADOPT", "GROW", "CUT", "REJECT", "HOLD", "NEUTRAL")
MARKS = {"GROW": "▲", "ADOPT": "▲", "HOLD": "■", "NEUTRAL": "■", "CUT": "▼", "REJECT": "▼", "INCONCLUSIVE": "?"}
PATTERNS = {
    "equal": "all arms alike",
    "arm 2x": "one arm twice",
    "base 2x": "baseline twice",
    "arm 3x": "one arm 3 times",
    "arm 7x": "one arm 7 times",
    "base 3x": "baseline 3 times",
    "base 7x": "baseline 7 times",
    "any 3x": "each arm 1 to 3 times",
}


class Say:
    """Writes a report's numbers and sentences, rounded to the places that matter in this report.

    Attributes:
        report: The report.
        metric: The declared metric's name without its task, in words.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.places = Places.fitting(report.smallest_effect, report.bounded)
        self.metric = report.metric.split("/")[-1].replace("_", " ")

    # -------------------------------------------------------------------------------------------------- numbers

    def score(self, value: float | None) -> str:
        """Return a score as text: ``0.312``; one place more than effects have."""
        return "-" if value is None else f"{value:.{self.places.places + 1}f}"

    def signed(self, value: float | None) -> str:
        """Return an effect as text: ``+0.11``."""
        return self.places.signed(value)

    def interval(self, ends: Ends) -> str:
        """Return an interval as text: ``[+0.07, +0.15]``; empty without an interval."""
        return formats.interval(ends, self.places.places)

    def effect(self, value: float | None, ends: Ends) -> str:
        """Return an effect with its interval as text."""
        return formats.effect(value, ends, self.places.places)

    def p(self, value: float | None) -> str:
        """Return a p value as text, without its letter: ``.0002``, ``<.0001``."""
        return formats.probability(value)

    def gain(self, value: float | None, ends: Ends = (None, None)) -> str:
        """Return a gain in points (or in the metric's units) as text, with its interval."""
        return formats.gain(value, ends, 100.0 if self.report.bounded else 1.0)

    @property
    def unit(self) -> str:
        """The unit of gains."""
        return "points" if self.report.bounded else self.metric

    # ------------------------------------------------------------------------------------------------ sentences

    def headline(self) -> str:
        """Return the answer in one sentence."""
        decisions = self.report.decisions
        if decisions is None:
            return f"No answer yet: {self.report.progress.text}."
        if decisions.withheld:
            return "Verdicts are withheld: a control failed, or arms differ in more than their data."
        named = {
            v: several([d.subject for d in decisions.decisions if d.verdict == v]) for v in (*ORDER, "INCONCLUSIVE")
        }
        said = [f"{verdict} {named[verdict]}" for verdict in ORDER if named[verdict]]
        said += [f"still open: {named['INCONCLUSIVE']}"] if named["INCONCLUSIVE"] else []
        text = " · ".join(said) or "The study asks nothing that could be decided."
        return text[:1].upper() + text[1:]

    def trusted(self) -> str:
        """Return in a word whether to trust the verdicts."""
        decisions = self.report.decisions
        if decisions is None:
            return ""
        return "ok" if decisions.trusted else "failed" if decisions.withheld else "flagged"

    def trust(self) -> str:
        """Return in one line why: the failed checks, else the checks that passed."""
        decisions = self.report.decisions
        if decisions is None:
            return ""
        failed = [check.text for check in decisions.trust if not check.ok]
        if failed:
            return "; ".join(failed)
        # These checks are enough when nothing is wrong; every check has its own line further down.
        return "; ".join(check.text for check in decisions.trust if check.check in SAID)

    def verdict(self, decision: Decision) -> str:
        """Return a verdict as it is shown: a withheld verdict is not shown as a finding."""
        withheld = self.report.decisions is not None and self.report.decisions.withheld
        return "WITHHELD" if withheld else decision.verdict

    def why(self, decision: Decision) -> str:
        """Return the reason of a decision, and what would settle an open one."""
        return decision.reason + (f"; {decision.resolve}" if decision.resolve else "")

    def noise(self) -> str:
        """Return what the noise of a contrast consists of, and what that means for the next study."""
        noise = self.report.comparison.noise if self.report.comparison else {}
        seeds, items = noise.get("seed_share"), noise.get("item_share")
        if seeds is None or items is None:
            return "" if not noise.get("item_sd") else "With one seed only the noise of items is known."
        more = "more seeds" if seeds > 0.6 else "more items" if items > 0.6 else "more of either"
        return f"Seeds make {seeds:.0%} of the noise, items {items:.0%}: {more} would narrow the intervals most."

    def beside(self, comparison: Comparison) -> str:
        """Return what is averaged with the baseline where arms are compared with it; empty when nothing is."""
        return formats.BESIDE if comparison.aa_weight else ""

    def size(self, variant: VariantReport) -> str:
        """Return the number of rows as text: ``160``, or ``~77`` when seeds differ."""
        return ("~" if variant.rows_differ else "") + count(variant.rows)

    def next_step(self, line: Growth) -> str:
        """Return the gain of a source's next step, in words."""
        if line.next_rows is None or line.next_gain is None:
            return "-"
        cost = f", costs {line.next_cost:,.2f}" if line.next_cost is not None else ""
        return f"{line.next_rows:,} rows: {self.gain(line.next_gain, line.next_ci)} {self.unit}{cost}"

    def buying(self) -> str:
        """Return the command that says what a budget would buy; empty where no source has a learning curve."""
        decisions = self.report.decisions
        if decisions is None or decisions.withheld:
            return ""
        sources = {one.subject for one in decisions.decisions if one.kind == "source"}
        lines = [line for line in decisions.growth if line.source in sources]
        if not any(line.curve for line in lines):
            return ""
        unit = "" if all(line.cost_per_row is not None for line in lines) else " --unit rows"
        return f"harness grow {self.report.reproduce.file} --budget N{unit}"

    def reliability(self) -> str:
        """Return what simulations of similar studies showed, in words."""
        known = self.report.reliability
        if known is None:
            return ""
        likely = expected(self.report, known)
        size = f"({known.seeds} seeds, {known.items} items, {known.arms} arms, none of which differed)"
        false = likely.false_findings
        return (
            f"In simulated studies like this one {size} the rule used here found something in {false:.1%} "
            f"({likely.false_findings_worst:.1%} in the worst case), an unpaired z-test in {likely.naive_z:.0%} and a "
            f"paired t-test over items in {likely.naive_t:.0%}. {known.alpha:.0%} is allowed."
        )

    def savings(self) -> list[str]:
        """Return a sentence for each kind of study on which stages were tried."""
        return [_saved(kind, one) for kind, one in self.report.savings.items()]


def _saved(kind: str, found: Savings) -> str:
    staged, every = (next(one for one in found.designs if one.design == name) for name in ("staged", "exhaustive"))
    tried = f"{found.number} orders of a real study" if kind == "replayed" else f"{found.number} simulated studies"
    items = "" if found.share == 1 else f" on {found.share:.0%} of the items"
    return (
        f"In {tried} of {found.subjects} subjects, stages took {staged.cost:.2f} of the time of every arm at every "
        f"seed{items}, gave the same verdict in {staged.equal:.0%}, a contrary one in "
        f"{staged.contradicted:.1%}, and decided {staged.decided:.0%} instead of {every.decided:.0%}."
    )


def expected(report: Report, known: Reliability) -> Rates:
    """Return the simulated rates that fit the trust checks: with unequal seed noise, or with equal."""
    checks = report.decisions.trust if report.decisions else []
    uneven = any(check.check == "seed_noise" and not check.ok for check in checks)
    wanted = "arm 3x" if uneven else "equal"
    return next((one for one in known.patterns if one.pattern == wanted), known.patterns[0])


def against(arm: ArmEffect) -> str:
    """Return an arm's name, marked if it is a control."""
    return arm.variant + (" (control)" if arm.control else "")
