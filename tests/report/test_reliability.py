"""The figures on how far intervals can be trusted: those of the simulation, of the size nearest to the study's."""

from __future__ import annotations

import json
import sys
from importlib.machinery import SourceFileLoader
from importlib.resources import files
from importlib.util import module_from_spec, spec_from_loader
from types import SimpleNamespace
from typing import Any

import pytest

from harness.report import reliability
from harness.report.html import html
from harness.report.markdown import markdown
from harness.report.model import PowerCurve, Rates, Savings
from harness.report.phrases import Say
from tests.command import ROOT
from tests.report.conftest import Reports

RATES = ("family", "coverage", "power", "flagged", "z", "t", "same", "same_plain", "same_power")


WORST = {"balanced": 0.12, "careful": 0.08}  # what either rule promises up to 7 times the noise


@pytest.mark.parametrize("noise", WORST)
def test_what_is_shipped_is_whole_and_plausible(noise: str) -> None:
    known = json.loads(files("harness.report").joinpath(reliability.FILE.format(noise=noise)).read_text())
    assert known["studies"] >= 2000
    assert {(s["seeds"], s["items"], s["arms"]) for s in known["sizes"]} == {
        (seeds, items, arms) for seeds in (2, 3, 5) for items in (100, 400) for arms in (2, 6, 12)
    }
    for size in known["sizes"]:
        for one in map(Rates.model_validate, size["patterns"]):
            assert 0 <= one.false_findings <= one.false_findings_worst <= WORST[noise]
            assert one.coverage_worst <= one.coverage <= 1
            assert one.naive_z <= one.naive_z_worst
            assert one.naive_t > one.false_findings
    assert [PowerCurve.model_validate(one).seed_share for one in known["power"]] == [0, 0.2, 0.5, 0.8]


@pytest.mark.parametrize(
    ("seeds", "items", "arms", "found"),
    [
        (3, 100, 6, (3, 100, 6)), (3, 202, 6, (3, 400, 6)), (3, 190, 6, (3, 100, 6)), (7, 5000, 40, (5, 400, 12)),
        (2, 20, 2, (2, 100, 2)), (4, 100, 4, (5, 100, 6)), (3, 100, 3, (3, 100, 2)),
    ],
)  # fmt: skip
def test_the_nearest_size_by_ratio(
    reports: Reports, seeds: int, items: int, arms: int, found: tuple[int, int, int]
) -> None:
    known = reliability.nearest(view(reports, seeds, items, arms))
    assert known is not None
    assert (known.seeds, known.items, known.arms) == found
    assert known.exact == (found == (seeds, items, arms))


def test_what_stages_save_is_shipped_and_plausible() -> None:
    known = json.loads(files("harness.report").joinpath(reliability.STAGES).read_text())
    assert set(known) == {"replayed", "simulated"}
    for one in map(Savings.model_validate, known.values()):
        found = {design.design: design for design in one.designs}
        assert set(found) == {"staged", "2 seeds", "3 seeds", "5 seeds", "8 seeds", "exhaustive"}
        assert (found["exhaustive"].cost, found["exhaustive"].equal) == (1, 1)
        assert found["staged"].cost < found["8 seeds"].cost
        assert found["2 seeds"].decided < found["8 seeds"].decided
        assert all(design.contradicted < 0.05 for design in one.designs)


def test_only_a_study_with_stages_says_what_they_save(reports: Reports) -> None:
    plain = reports("full")
    assert plain.savings == {}
    assert Say(plain).savings() == []
    staged = plain.model_copy(update={"savings": reliability.savings(SimpleNamespace(resolved={"stages": [2, 3]}))})  # type: ignore[arg-type]
    said = Say(staged).savings()
    assert len(said) == 2
    assert said[0].startswith("In 200 orders of a real study of 13 subjects, stages took 0.")
    page = html(staged)
    for text in said:
        assert text in page
    assert page.count("Verdicts equal to those of every arm at every seed, by cost") >= 2
    assert markdown(staged).count("stages took") == 2


def view(reports: Reports, seeds: int, items: int, arms: int) -> Any:
    """Return as much of a study's view as says how large it is."""
    comparison = reports("withheld").comparison
    assert comparison is not None
    one = comparison.arms[0].model_copy(update={"seeds": seeds, "items": items})
    whole = comparison.model_copy(update={"arms": [one] * (arms - 1)})
    return type("View", (), {"comparison": whole, "resolved": {"decide": {"noise": "balanced"}}})()


def cell(share: float, pattern: str = "equal", **rates: Any) -> dict[str, Any]:
    size = {"seeds": 3, "items": 100, "arms": 6, "clusters": False, "binary": False, "share": share, "pattern": pattern}
    return {**size, **dict.fromkeys(RATES, 0.5), "run_variance": 0.01, "se": 0.1, **rates}


def test_the_simulation_writes_what_reports_show(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = SourceFileLoader("bench_decisions", str(ROOT / "scripts" / "bench_decisions"))
    bench = module_from_spec(spec_from_loader(loader.name, loader))
    monkeypatch.setitem(sys.modules, loader.name, bench)
    loader.exec_module(bench)
    curve = {"curve": [0.1] * 17, "curve_z": [0.2] * 17, "curve_t": [0.3] * 17}
    cells = [
        cell(0.0, family=0.01, coverage=0.96, **curve), cell(0.8, family=0.04, coverage=0.92, z=0.9),
        cell(0.2, "arm 7x", family=0.06),
        cell(0.5, binary=True, run_variance=0.2, family=0.99),  # saturated: counted apart
    ]  # fmt: skip
    known = json.loads(bench.condensed(50, cells))
    (size,) = known["sizes"]
    equal, noisy = map(Rates.model_validate, size["patterns"])
    assert (equal.cells, equal.false_findings, equal.false_findings_worst) == (2, 0.025, 0.04)
    assert (equal.coverage, equal.coverage_worst, equal.naive_z_worst) == (0.94, 0.92, 0.9)
    assert (noisy.pattern, noisy.cells, noisy.false_findings) == ("arm 7x", 1, 0.06)
    assert [PowerCurve.model_validate(one).ours[0] for one in known["power"]] == [0.1]
