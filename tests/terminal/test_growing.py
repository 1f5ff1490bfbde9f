"""What ``harness grow`` prints, from an allocation."""

from __future__ import annotations

from typing import Any

import pytest

from harness.records import Allocation, Share, Unclear
from harness.terminal import growing, tables


def share(**changes: Any) -> Share:
    usual: dict[str, Any] = {
        "source": "forum", "verdict": "GROW", "rows_now": 4000, "rows": 1500, "most": 4000, "supply_left": 9000,
        "price": 0.125, "spent": 187.5, "gain": 0.021, "ci": (0.004, 0.038), "may_be_nothing": False, "note": "",
    }  # fmt: skip
    return Share(**(usual | changes))


def printed(capsys: pytest.CaptureFixture[str], **changes: Any) -> str:
    usual: dict[str, Any] = {
        "study": "s", "metric": "sums/exact_match", "unit": "money", "budget": 200.0, "spent": 187.5, "left": 12.5,
        "level": 0.9, "gain": 0.021, "ci": (0.004, 0.038), "bounded": True, "shares": [share()], "unclear": [],
    }  # fmt: skip
    growing.show(Allocation(**(usual | changes)), tables.console())
    return capsys.readouterr().out


def test_money_has_two_places_and_rows_none(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys)
    assert "BUY       187.50 of 200 spent, 12.50 left. Expected gain +2.1 [+0.4, +3.8] points (intervals: 90%)." in said
    assert "Gain (points)" in said
    assert "+1,500" in said
    rows = printed(capsys, unit="rows", spent=1500.0, budget=2000.0, left=500.0, shares=[share(price=1, spent=1500)])
    assert "1,500 of 2,000 rows spent, 500 left" in rows


def test_a_metric_without_bounds_has_no_points(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, bounded=False, gain=1.25, ci=(-0.5, 3.0), shares=[share(may_be_nothing=True, note="why")])
    assert "Expected gain +1.25 [-0.5, +3] (intervals: 90%)" in said
    assert "points" not in said
    assert "may be nothing; why" in said


def test_withheld_verdicts_buy_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = share(rows=0, spent=0.0, gain=0.0, ci=(0.0, 0.0), note="withheld")
    said = printed(capsys, withheld="A/A +0.20 [x]", gain=None, ci=(None, None), spent=0.0, shares=[nothing])
    assert "WITHHELD  A/A +0.20 [x]\nNothing is allocated: settle the failed control first." in said
    assert "BUY" not in said.replace("Buy", "")
    assert "Expected" not in said


def test_rungs_are_printed_whole_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    fragment = (
        "designs:\n  - size_ladder: {source: forum, rows: [" + ", ".join(str(n) for n in range(9000, 9060)) + "]}"
    )
    one = Unclear(source="forum", reason="it is [flat]", rows=[1], half_width=0.03, half_width_then=0.012, fragment="x")
    said = printed(capsys, unclear=[one], fragment=fragment)
    assert fragment in said
    assert "Cannot tell forum: it is [flat]; with these rungs about ±1.2, not ±3.\n" in said
