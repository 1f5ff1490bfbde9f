"""A report as Markdown (GitHub's), for a pull request: the answer first, the evidence folded below."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.escaping import visible
from harness.report.model import Report
from harness.report.phrases import MARKS, Say, against

# Characters that Markdown, HTML or GitHub could take, anywhere in a line, for markup, a mention, an issue, mathematics,
# an emoji or a link. Markup at the beginning of a line needs no care: no line begins with text from data.
PLAIN = re.compile(r"[\\`*_|~]")  # characters for which a backslash is enough, and easy to read
SPECIAL = re.compile(r"[<&@#$]|\](?=[(\[:])|:(?=//|[\w+-]+:)|(?<=\bwww)\.", re.IGNORECASE)


def markdown(report: Report) -> str:
    """Return the report. Text from data is escaped: it is shown, never rendered."""
    say = Say(report)
    parts = [_answer(report, say), _effects(report, say), _grow(report, say), _slices(report, say)]
    parts += [_examples(report, say), _contamination(report), _noise(report, say), _reproduce(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """Return the text on one line, with all markup escaped."""
    flat = PLAIN.sub(lambda found: f"\\{found[0]}", " ".join(visible(text).split()))
    return SPECIAL.sub(lambda found: f"&#{ord(found[0])};", flat)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. Cells are escaped here: callers must not escape them."""
    lines = [f"| {' | '.join(escaped(head) for head in heads)} |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows)])


def _folded(summary: str, *parts: str) -> str:
    inner = "\n\n".join(part for part in parts if part)
    return f"<details><summary>{escaped(summary)}</summary>\n\n{inner}\n\n</details>"


def _answer(report: Report, say: Say) -> str:
    decisions, progress = report.decisions, report.progress
    parts = [f"## {escaped(report.study)}: {escaped(report.question)}"]
    if report.hypothesis:
        parts.append(f"Expected beforehand: {escaped(report.hypothesis)}")
    said = [f"**{escaped(say.headline())}**"]
    if decisions is not None:  # failed checks come first
        word = "ok" if decisions.trusted else f"**{say.trusted()}**"
        said.insert(len(said) if decisions.trusted else 0, f"**Trust** {word}: {escaped(say.trust())}")
    parts += said
    if report.waivers and decisions is None:
        parts.append(f"**Waived in writing:** {escaped('; '.join(report.waivers))}")
    if not progress.complete:
        parts.append(f"**Not complete:** {escaped(progress.text)}.")
    parts += [f"- {escaped(one.run)} failed: {escaped(one.message)}" for one in progress.failed]
    if decisions is not None and decisions.decisions:
        rows = [
            (one.subject, f"{MARKS.get(say.verdict(one), '!')} {say.verdict(one)}", say.effect(one.effect, one.ci),
             say.signed(one.confirmation), say.why(one))
            for one in decisions.decisions
        ]  # fmt: skip
        parts.append(_table(("Subject", "Verdict", f"Effect on {say.metric}", "Confirmation", "Why"), rows))
        after = [
            decisions.stages_in_words(),
            decisions.next if not decisions.withheld else "",
            decisions.advice,
            decisions.weakest_slice,
            *decisions.mixtures,
        ]
        parts.append(escaped(" ".join(one for one in after if one)))
    if report.outcome:
        parts.append(f"Written in the study afterwards: {escaped(report.outcome)}")
    return "\n\n".join(part for part in parts if part)


def _effects(report: Report, say: Say) -> str:
    comparison = report.comparison
    if comparison is None:
        return ""
    rows = [
        (against(arm), say.score(arm.mean), say.effect(arm.effect, arm.ci), say.p(arm.p_adjusted),
         say.effect(arm.effect_clean, arm.ci_clean), say.effect(arm.effect_confirmation, arm.ci_confirmation),
         "; ".join([*arm.flags, *([arm.note] if arm.note else [])]))
        for arm in comparison.arms
    ]  # fmt: skip
    heads = ("Arm", "Mean", "Effect", "p (Holm)", "Clean items", "Confirmation", "")
    against_what = f"{say.score(comparison.baseline_mean)}{say.beside(comparison)}"
    return _folded(f"Arms against the baseline ({against_what})", _table(heads, rows))


def _grow(report: Report, say: Say) -> str:
    decisions = report.decisions
    if decisions is None or not decisions.growth:
        return ""
    rows = [
        (f"{line.rank}", line.source, "WITHHELD" if decisions.withheld else line.verdict, f"{line.rows:,}",
         say.gain(line.gain_per_1000_rows, line.ci_per_1000_rows), say.next_step(line),
         "-" if line.supply_left is None else f"{line.supply_left:,}", line.note)
        for line in decisions.growth
    ]  # fmt: skip
    heads = ("Rank", "Source", "Verdict", "Rows now", f"{say.unit} per 1,000 rows", "Next step", "Rows left", "")
    buying = f"What a budget would buy, by these curves: {escaped(say.buying())}" if say.buying() else ""
    return _folded("What to grow next", _table(heads, rows), buying)


def _slices(report: Report, say: Say) -> str:
    slices = report.decisions.slices if report.decisions else []
    if not slices:
        return ""
    rows = [
        (one.slice, f"{one.items:,}", say.score(one.baseline_mean), *(say.effect(a.effect, a.ci) for a in one.arms))
        for one in slices
    ]  # fmt: skip
    arms = [arm.variant for arm in slices[0].arms]
    return _folded("Slices, weakest first (exploratory)", _table(("Slice", "Items", "Baseline", *arms), rows))


def _examples(report: Report, say: Say) -> str:
    rows = [
        (arm.variant, what, one.question, one.answer, f"{one.baseline:.2f} → {one.arm:.2f}")
        for arm in report.examples
        for what, items in (("gained", arm.gains[:2]), ("lost", arm.losses[:2]))
        for one in items
    ]
    if not rows:
        return ""
    return _folded("Items gained and lost", _table(("Arm", "", "Question", "Answer", f"Mean {say.metric}"), rows))


def _contamination(report: Report) -> str:
    rows = [
        (pool.source, f"{found.rows:,}", f"{found.removed:,}",
         ", ".join(f"{number:,} {kind}" for kind, number in found.kinds.items()) or "-", f"{found.touched:,}")
        for pool in report.pools
        for found in [pool.contamination]
    ]  # fmt: skip
    heads = ("Source", "Rows checked", "Removed", "How", "Items touched")
    return _folded(
        f"Contamination: {report.items_touched:,} of {report.suite_items:,} items touched", _table(heads, rows)
    )


def _noise(report: Report, say: Say) -> str:
    decisions = report.decisions
    if decisions is None:
        return ""
    still = [one for one in decisions.decisions if one.verdict == "INCONCLUSIVE"]
    tasks = [
        (one.task, one.metric, f"{one.items:,}", "-" if one.signal_to_noise is None else f"{one.signal_to_noise:.1f}",
         "a coin flip" if one.coin_flip else "")
        for one in decisions.tasks
    ]  # fmt: skip
    metrics = [
        (one.metric, "-" if one.signal_to_noise is None else f"{one.signal_to_noise:.1f}",
         "-" if one.agreement is None else f"{one.agreement:.2f}", "declared" if one.declared else "")
        for one in decisions.metrics
    ]  # fmt: skip
    return _folded(
        "Noise, and how far to trust the intervals",
        escaped(say.noise()),
        "\n".join(f"- open: {escaped(one.subject)}: {escaped(say.why(one))}" for one in still),
        _table(("Task", "Metric", "Items", "Signal to noise", ""), tasks) if tasks else "",
        _table(("Metric", "Signal to noise", "Goes with the declared one", ""), metrics) if len(metrics) > 1 else "",
        escaped(say.reliability()),
        "\n".join(f"- {escaped(text)}" for text in say.savings()),
    )


def _reproduce(report: Report) -> str:
    again = report.reproduce
    digests = {name: value[:16] for name, value in again.digests.items()}  # the HTML page and JSON have them whole
    known = {**again.environment, **again.packages, **digests}
    commands = "\n".join(f"    {visible(command)}" for command in again.commands)
    return _folded(
        "How to reproduce",
        commands,
        _table(("What", "Value"), list(known.items())),
        f"Recipe: {escaped(report.recipe)}",
    )
