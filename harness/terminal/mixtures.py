"""Prints models of mixtures: how well each predicts, and what it proposes."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from harness import formats
from harness.records import Confirmation, MixtureFits, MixtureTarget
from harness.terminal import tables

COVERED = " Covered: share of held-out scores within their 90% interval."
LEAST_SHARE = 0.005  # smaller shares are left out of a mixture's text


def title(found: MixtureFits) -> str:
    """Return the title: the files, their size, how rows were matched, and which way is better."""
    matched = "by order" if found.matched_by is None else f'by column "{found.matched_by}"'
    way = "lower" if found.lower_is_better else "higher"
    size = f"{formats.plural(found.count, 'mixture')} of {formats.plural(len(found.sources), 'source')}"
    return f"{found.mixtures}, {found.scores} · {size} · matched {matched} · {way} is better"


def columns(found: MixtureFits) -> list[tuple[str, str]]:
    """Return the headings of ``rows``, each with its justification."""
    made = [
        ("Target", "left"), ("Model", "left"), ("Rank correlation (90%)", "left"),
        ("Error", "right"), ("Spread", "right"), ("Best tried", "left"),
    ]  # fmt: skip
    held = [("Held out: rank, error, covered", "left")]
    return made + (held if any(one.held_out for one in found.targets) else [])


def rows(found: MixtureFits) -> list[list[str]]:
    """Return a line for each target."""
    lines = []
    for one in found.targets:
        line = [
            one.target,
            one.model,
            formats.effect(one.rank, one.rank_interval, 3),
            formats.number(one.error),
            formats.number(one.spread),
            f"{one.best_tried}: {score(one.best_tried_score)}",
        ]
        if one.held_out is not None:
            rank = "none" if one.held_out.rank is None else f"{one.held_out.rank:.3f}"
            line.append(
                f"{rank}, {formats.number(one.held_out.error)}, {one.held_out.covered:.0%} of {one.held_out.mixtures:,}"
            )
        lines.append(line)
    return lines


def outcome(one: MixtureTarget) -> str:
    """Return what a target's model says: why it is inconclusive, or the proposed mixture; empty if none was asked."""
    if one.inconclusive:
        return f"INCONCLUSIVE {one.target}: {one.inconclusive}."
    if one.proposal is None:
        return ""
    low, high = one.proposal.interval
    return (
        f"{one.target}: try {shares(one.proposal.weights)}. Predicted {score(one.proposal.score)}, 90% interval "
        f"{score(low)} to {score(high)}; best tried {one.best_tried}, {score(one.best_tried_score)}."
    )


def show(found: MixtureFits, out: Console) -> None:
    """Print remarks, then how well the models predict, then what they say."""
    out.print(f"[bold]{tables.markup(title(found))}[/bold]")
    for note in found.notes:
        out.print("Note: " + tables.markup(note))
    out.print()
    out.print(tables.table(columns(found), rows(found)))
    out.print(
        "Rank correlation (Spearman) and error are cross-validated: each mixture is predicted from others. Spread: the"
    )
    out.print("error of predicting their mean." + (COVERED if any(one.held_out for one in found.targets) else ""))
    out.print()
    for said in filter(None, map(outcome, found.targets)):
        out.print(tables.markup(said))
    if any(one.proposal for one in found.targets):
        out.print("A proposal is a prediction: train it, on fresh seeds, before you believe it.")


def show_confirmation(found: Confirmation, out: Console, store: str) -> None:
    """Print what is proposed, and the study that tests it.

    Args:
        found: The study that was written.
        out: Where to print.
        store: The option that names the store; empty for the usual one.
    """
    low, high = found.proposal.interval
    rows = ", ".join(f"{count:,} {name}" for name, count in sorted(found.mix.items(), key=lambda item: -item[1]))
    out.print(
        tables.markup(
            f"{found.arm}: {shares(found.proposal.weights)} (rows: {rows}). Predicted {score(found.proposal.score)}, "
            f"90% interval {score(low)} to {score(high)}, from {formats.plural(found.mixtures, 'mixture')}; best tried "
            f"{found.best_tried}, {score(found.best_tried_score)}."
        )
    )
    seeds, looks = ", ".join(map(str, found.seeds)), ", ".join(map(str, found.stages))
    out.print(tables.markup(f"Wrote {found.file}: against the baseline, with fresh seeds ({seeds}), looks at {looks}."))
    out.print(tables.markup(f"Next: harness run {found.file}{store}"))


def shares(weights: Mapping[str, float]) -> str:
    """Return a mixture in words, the largest share first."""
    largest = sorted(weights.items(), key=lambda share: -share[1])
    return ", ".join(f"{share:.1%} {name}" for name, share in largest if share >= LEAST_SHARE)


def score(value: float) -> str:
    """Write a score with four digits: targets may be losses, accuracies or perplexities."""
    return f"{value:.4g}"
