"""Scores that no mean can be taken of, and JSON that every reader takes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.arguments import print_json
from harness.engines.worker import _can_be_averaged
from harness.errors import StepError
from harness.spec import Suite
from harness.statistics.scores import LARGEST
from tests.command import harness

VALUES = st.recursive(
    st.none() | st.floats() | st.text(max_size=3) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_json_is_json(value: object) -> None:
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_json(value)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads(out.getvalue(), parse_constant=refuse)
    assert read == (None if isinstance(value, float) and not math.isfinite(value) else read)


@pytest.mark.parametrize("score", ["1e308", "-1e308", "1e51"])
def test_scores_that_cannot_be_averaged_are_refused_with_their_line(tmp_path: Path, score: str) -> None:
    lines = ["arm,seed,item,score"]
    lines += [f"{arm},{seed},{item},0.5" for arm in ("baseline", "other") for seed in (1, 2) for item in range(8)]
    lines[7] = lines[7].rpartition(",")[0] + f",{score}"
    (tmp_path / "scores.csv").write_text("\n".join(lines) + "\n")
    done = harness("stats", "compare", "--scores", "scores.csv", "--json", cwd=tmp_path)
    assert done.code == 2
    assert f"score is {score}, too large (at most 1e+50 either way)" in done.err
    assert done.out == ""


@pytest.mark.parametrize("score", [1e308, -1e308, math.inf, -math.inf, math.nan, 2 * LARGEST])
def test_scores_of_a_tasks_own_code_are_looked_at(score: float) -> None:
    suite = Suite.model_validate({"suite": "mine", "tasks": {"own": {"task": "own", "path": "own"}}})
    table = {"task": ["own"] * 3, "subtask": ["own"] * 3, "acc": [0.5, score, None], "ok": [1.0, LARGEST, None]}
    with pytest.raises(StepError, match=r"suite mine: tasks\.own: acc of 1 items of own is no number"):
        _can_be_averaged(suite, pl.DataFrame(table))
    _can_be_averaged(suite, pl.DataFrame(table | {"acc": [0.0, -1.0, None]}))
