"""The data card: what a set of rows is made of, in numbers (``measure``) and as one page (``render``)."""

from harness.data.card.html import render
from harness.data.card.ledger import contamination, ledger
from harness.data.card.measure import measure
from harness.data.card.model import Card

__all__ = ["Card", "contamination", "ledger", "measure", "render"]
