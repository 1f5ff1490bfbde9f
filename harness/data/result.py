"""Results that show themselves as a sentence or two, in a terminal and in a notebook."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Sequence

from harness.escaping import visible


class Result(ABC):
    """A result that has a summary in sentences."""

    @abstractmethod
    def sentences(self) -> Sequence[str]:
        """Return the summary for people; it may hold text from data."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: " + "\n".join(map(visible, self.sentences()))

    def _repr_html_(self) -> str:
        """Return the summary as HTML for a notebook; text from data is escaped."""
        lines = "<br>".join(html.escape(visible(sentence)) for sentence in self.sentences())
        return f"<p><strong>{type(self).__name__}</strong><br>{lines}</p>"
