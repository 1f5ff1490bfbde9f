"""Small charts as SVG text for a page: functions of numbers, without files or a library.

Every chart has a title and a description for screen readers; the page shows its numbers in a table beside it.
"""

from harness.charts.counts import bars, histogram, share
from harness.charts.curves import Line, Point, ladder, lines
from harness.charts.drawing import WIDTH
from harness.charts.effects import Interval, Spread, forest, spreads, stack

__all__ = [
    "WIDTH", "Interval", "Line", "Point", "Spread", "bars", "forest", "histogram", "ladder", "lines", "share",
    "spreads", "stack",
]  # fmt: skip
