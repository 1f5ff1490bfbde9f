"""How results look where they are shown: a sentence or two, in a terminal and in a notebook."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Sequence

from harness.escaping import visible


class Result(ABC):
    """Something found that says itself in sentences."""

    @abstractmethod
    def sentences(self) -> Sequence[str]:
        """Return what it is to people; text from data may be in it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: " + "\n".join(map(visible, self.sentences()))

    def _repr_html_(self) -> str:
        """Return the same for a notebook; text from data can be no markup."""
        lines = "<br>".join(html.escape(visible(sentence)) for sentence in self.sentences())
        return f"<p><strong>{type(self).__name__}</strong><br>{lines}</p>"
