"""What only the model knows of rows: tokens and perplexity, from a study file to its training sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from harness.store import Store
from harness.tokens import RowEncoder
from tests.command import harness


def changed(folder: Path, **changes: Any) -> None:
    study = yaml.safe_load((folder / "study.yaml").read_text())
    (folder / "study.yaml").write_text(yaml.safe_dump(study | changes))


@pytest.mark.slow
def test_rows_are_kept_by_perplexity_measured_once(study_folder: Path) -> None:
    study = yaml.safe_load((study_folder / "study.yaml").read_text())
    name = next(iter(study["baseline"]["mix"]))
    arms = {"plain": {"tests": "plain", "operations": [{"filter": {"min_perplexity": 1}}]}}
    changed(study_folder, arms=arms, controls=[], waive=["controls: nothing is trained"])
    first = harness("plan", "study.yaml", "--workers", "1", "--json", cwd=study_folder)
    assert first.code == 0, first.err
    assert "Measuring the perplexity" in first.err
    store = Store(study_folder / ".harness")
    measured = pl.concat(pl.read_parquet(a.folder / "perplexity.parquet") for a in store.artifacts("perplexity"))
    middle = measured["perplexity"].median()
    assert isinstance(middle, float)
    assert middle > 1

    arms["plain"]["operations"] = [{"filter": {"max_perplexity": middle}}]
    changed(study_folder, arms=arms)
    again = harness("plan", "study.yaml", "--workers", "1", "--json", cwd=study_folder)
    assert again.code == 0, again.err
    assert "Measuring" not in again.err  # the rows are the same ones
    known = dict(measured.iter_rows())
    for artifact in store.artifacts("variant"):
        if "-plain-" in artifact.record.name and artifact.record.data["dropped"]:
            kept = pl.read_parquet(artifact.folder / "rows.parquet")["row_id"]
            assert len(kept)
            assert all(known[row_id] <= middle for row_id in kept)
            gone = pl.read_parquet(artifact.folder / "drops.parquet")
            assert all(known[row_id] > middle for row_id in gone["row_id"])
            assert "perplexity" in gone["reason"][0]
            break
    else:
        raise AssertionError("no row of any draw was above the median")
    assert name in study["sources"]


def test_a_mix_in_tokens_holds_as_many(study_folder: Path) -> None:
    study = yaml.safe_load((study_folder / "study.yaml").read_text())
    name = next(iter(study["baseline"]["mix"]))
    recipe = {key: value for key, value in study["recipe"].items() if key != "steps"} | {"epochs": 1}
    changed(
        study_folder, recipe=recipe, match="tokens", controls=[], waive=["controls: nothing is trained"],
        baseline={"mix": {name: 200}, "unit": "tokens"},
        arms={"more": {"tests": name, "mix": {name: 300}, "unit": "tokens"}},
    )  # fmt: skip
    plan = harness("plan", "study.yaml", "--workers", "1", "--json", cwd=study_folder)
    assert plan.code == 0, plan.err
    tokens = {variant["name"]: variant["tokens"] for variant in plan.json["variants"]}
    store = Store(study_folder / ".harness")
    longest = max(artifact.record.data["longest"] for artifact in store.artifacts("tokens"))
    assert abs(tokens["baseline"] - 200) <= longest / 2
    assert abs(tokens["more"] - 300) <= longest / 2
    encoder = RowEncoder(study_folder / "model", chat_template=False, max_length=recipe["max_length"])
    for artifact in store.artifacts("variant"):
        rows = pl.read_parquet(artifact.folder / "rows.parquet")
        total = sum(encoder.encode(row).length for row in rows.iter_rows(named=True))
        wanted = 200 if "-baseline-" in artifact.record.name else 300
        assert abs(total - wanted) <= longest / 2
