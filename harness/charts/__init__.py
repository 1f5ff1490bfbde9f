"""Small charts as SVG text, to be put into a page as they are: numbers in, no files, no library.

Every chart has a title and a description for those who do not see it; the page shows its numbers in a table beside it.
"""

from harness.charts.counts import bars, histogram, share
from harness.charts.curves import Line, Point, ladder, lines
from harness.charts.drawing import WIDTH
from harness.charts.effects import Interval, Spread, forest, spreads, stack

__all__ = [
    "WIDTH", "Interval", "Line", "Point", "Spread", "bars", "forest", "histogram", "ladder", "lines", "share",
    "spreads", "stack",
]  # fmt: skip
