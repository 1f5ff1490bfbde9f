"""``harness mixtures confirm``: the study that it writes, and what it refuses."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import harness
from harness.cli.schemas import schema
from harness.loading import load_study
from harness.records import Confirmation
from tests import planted
from tests.conftest import TINY_STUDY

SEARCH = (
    TINY_STUDY[: TINY_STUDY.index("baseline:")]
    + """baseline: {mix: {scraped: 10, sums: 10}, operations: [dedupe]}
designs: [{mixture_search: {draws: 9, rows: 20}}]
controls: [aa]
seeds: 2
match: steps
decide: {metric: sums/exact_match, smallest_effect: 0.05}
track: {adapters: reference}
"""
)
DOCUMENT = yaml.safe_load(SEARCH)


def scores_of(text: str, folder: Path, gain: float) -> planted.Score:
    """Scores that grow with the share of clean rows, with a little noise of seeds and items."""
    file = folder / "shares.yaml"
    file.write_text(text)

    @cache
    def share(variant: str) -> float:
        study = load_study(file).study
        counts = study.arms[variant].counts() if variant in study.arms else study.baseline.counts()
        return (counts.get("sums") or 0) / sum(count or 0 for count in counts.values())

    def scores(variant: str, seed: int, items: int) -> np.ndarray:
        rng = np.random.default_rng([seed, *variant.encode()])
        level = 0.2 + 0.2 * (np.arange(items) % 3) / 2 + gain * share(variant)
        return level + rng.normal(0, 0.02, items) + rng.normal(0, 0.004)

    return scores


def folder_with(folder: Path, tiny: Path, gain: float) -> Path:
    study = planted.folder_with(folder, tiny, SEARCH)
    planted.plant(study, scores_of(SEARCH, folder, gain))
    (folder / "shares.yaml").unlink()
    return folder


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """The folder of a finished search in which clean rows are better."""
    return folder_with(tmp_path_factory.mktemp("searched"), tiny, 0.4)


def test_the_proposal_becomes_an_arm_with_fresh_seeds(cli: Any, searched: Path) -> None:
    done = cli("mixtures", "confirm", "study.yaml", cwd=searched)
    assert (done.code, done.err) == (0, "")
    said = " ".join(done.out.split())
    assert "proposed: " in said
    assert "from 10 mixtures; best tried mix-" in said
    assert "Wrote study-confirm.yaml: against the baseline, with fresh seeds (3, 4, 5, 6, 7), looks at 2, 3, 5." in said
    assert said.endswith("Next: harness run study-confirm.yaml")
    new, old = load_study(searched / "study-confirm.yaml").study, load_study(searched / "study.yaml").study
    assert new.study == "tiny-confirm"
    assert (new.seed_list(), new.stages) == ((3, 4, 5, 6, 7), (2, 3, 5))
    assert not set(new.seed_list()) & set(old.seed_list())
    assert "is predicted to score" in new.hypothesis
    # All else is as it was: the same model, recipe, items, sources, baseline and rule.
    same = ("model", "recipe", "suite", "sources", "baseline", "controls", "match", "decide", "track")
    assert {name: getattr(new, name) for name in same} == {name: getattr(old, name) for name in same}
    (arm,) = new.arms.values()
    assert sum(count or 0 for count in arm.counts().values()) == 20
    assert (arm.counts().get("sums") or 0) > 15  # the planted optimum: clean rows alone
    assert cli("plan", "study-confirm.yaml", "--json", cwd=searched).code == 0
    (searched / "study-confirm.yaml").unlink()


def test_the_proposal_is_judged_as_any_arm(cli: Any, searched: Path, tmp_path: Path, tiny: Path) -> None:
    """The search, its proposal on fresh seeds, and the verdict: the whole way."""
    assert cli("mixtures", "confirm", "study.yaml", "--seeds", "3", "--out", "next.yaml", cwd=searched).code == 0
    written = (searched / "next.yaml").read_text()
    planted.plant(searched / "next.yaml", scores_of(written, tmp_path, 0.4))
    (verdict,) = cli("decide", "next.yaml", "--json", cwd=searched).json["decisions"]
    assert (verdict["subject"], verdict["verdict"]) == ("proposed", "ADOPT")
    (searched / "next.yaml").unlink()


def test_json_is_described_and_is_what_python_returns(cli: Any, searched: Path) -> None:
    document = cli("mixtures", "confirm", "study.yaml", "--force", "--json", cwd=searched).json
    assert set(document) == set(schema("Confirmation")["properties"])
    assert Confirmation.model_validate(document).model_dump(mode="json") == document
    same = harness.open_study(searched / "study.yaml", store=searched / ".harness").confirm(force=True)
    assert same.model_dump(mode="json") == document | {"file": str(searched / "study-confirm.yaml")}
    assert document["arms"][0]["mix"] == yaml.safe_load(Path(same.file).read_text())["arms"]["proposed"]["mix"]
    Path(same.file).unlink()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--seeds 1", "--seeds: expected a number from 2 to 100 (it is 1)"),
        ("--out next.txt", "--out: next.txt: a study is a .yaml file"),
        ("--out study.yaml --force", "--out: study.yaml is there already; choose another name. Nothing was written."),
        ("--out other.yaml", "--out: other.yaml is there already; choose another name, or replace it with --force."),
        ("--out folder/a.yaml", "--out: folder/a.yaml: the new study names the same files as study.yaml, so it stands"),
    ],
)
def test_a_wrong_request_is_one_sentence(cli: Any, searched: Path, options: str, words: str) -> None:
    (searched / "other.yaml").write_text("mine")
    (searched / "folder").mkdir(exist_ok=True)
    before = (searched / "study.yaml").read_text()
    refused = cli("mixtures", "confirm", "study.yaml", *options.split(), cwd=searched)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(words)
    assert refused.err.count("\n") == 1
    assert (searched / "other.yaml").read_text() == "mine"
    assert (searched / "study.yaml").read_text() == before


def test_without_mixtures_there_is_nothing_to_confirm(cli: Any) -> None:
    refused = cli("mixtures", "confirm", "study.yaml")
    assert refused.code == 2
    assert refused.err == "study.yaml: no design of mixtures (mixture_search, mixture_dirichlet)\n"


def test_a_study_in_python_is_not_written_anew(cli: Any, searched: Path) -> None:
    code = f"from harness import Study\n\n\ndef study() -> Study:\n    return Study(**{DOCUMENT!r})\n"
    (searched / "search.py").write_text(code)
    refused = cli("mixtures", "confirm", "search.py", cwd=searched)
    assert refused.code == 2
    assert "search.py: only a study in YAML can be written anew" in refused.err


def test_mixtures_that_tell_nothing_propose_nothing(cli: Any, tmp_path: Path, tiny: Path) -> None:
    nothing = folder_with(tmp_path, tiny, 0.0)
    done = cli("mixtures", "confirm", "study.yaml", cwd=nothing)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("INCONCLUSIVE: the weights of the 10 mixtures tell next to nothing about their scores.")
    assert not (nothing / "study-confirm.yaml").exists()


def test_missing_runs_are_said(cli: Any, tmp_path: Path, tiny: Path) -> None:
    study = planted.folder_with(tmp_path, tiny, SEARCH)
    before = cli("mixtures", "confirm", "study.yaml", cwd=tmp_path)
    assert (before.code, before.out) == (1, "")
    assert before.err.startswith("nothing to confirm yet: a proposal takes four mixtures or more; 0 of 22 runs are ")
    made = planted.plant(study, scores_of(SEARCH, tmp_path, 0.4))
    planted.forget(made, "mix-03", 1)
    some = cli("mixtures", "confirm", "study.yaml", cwd=tmp_path)
    assert some.code == 1
    assert "from 9 mixtures" in " ".join(some.out.split())
    assert "21 of 22 runs are done" in some.err
