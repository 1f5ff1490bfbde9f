"""What ``harness compare`` prints, from a comparison."""

import pytest

from harness.records import ArmEffect, Comparison, MetricComparison
from harness.terminal import effects, tables


def arm(effect: float) -> ArmEffect:
    return ArmEffect(
        variant="clean", effect=effect, se=0.01, ci=(effect - 0.02, effect + 0.02), df=4, p=0.5, p_adjusted=0.5,
        seeds=2, items=50, mean=0.4 + effect,
    )  # fmt: skip


def test_metrics_on_which_nothing_differs_take_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    others = [
        MetricComparison(metric=name, baseline_mean=0.4, exploratory=True, arms=[arm(effect)])
        for name, effect in (("sums/acc", 0.1), ("sums/exact_match", 0.0), ("sums/acc_norm", 0.0))
    ]
    found = Comparison(
        study="s", baseline="baseline", metric="sums/margin", match="steps", arms=[arm(0.0)], others=others
    )
    effects.show(found, tables.console(), slices=False)
    said = capsys.readouterr().out
    assert "sums/margin · the study's declared metric" in said  # what decides is shown whatever it says
    assert "sums/acc · exploratory" in said
    assert "sums/exact_match · exploratory" not in said
    assert "No arm differs from the baseline in sums/exact_match, sums/acc_norm." in said
