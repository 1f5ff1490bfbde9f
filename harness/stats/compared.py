"""The result of ``harness.stats.compare``, and how it is displayed."""

from __future__ import annotations

from harness.records import ScoreComparison


class Compared(ScoreComparison):
    """The comparison of any tool's scores; it prints as the command prints, and is a table in a notebook."""

    def __str__(self) -> str:
        """Return what ``harness stats compare`` prints."""
        from harness.terminal import scores, tables

        return tables.printed(lambda out: scores.show(self, out))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return the verdicts as HTML in the report's style."""
        from harness.report.html import tabled
        from harness.terminal import scores

        facts = [("Note", note) for note in self.notes]
        facts += [("Noise of a difference", said)] if (said := scores.noise(self)) else []
        return tabled(scores.title(self), scores.columns(self), scores.rows(self), facts)
