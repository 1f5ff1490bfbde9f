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
    + """baseline: {mix: {scraped: 10, sums: 10}, operations: [dedupe], max_repeats: 2}
designs: [{mixture_search: {draws: 9, rows: 20}}]
controls: []
waive: ["controls: a test", "device: a test"]
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
    same = ("model", "recipe", "suite", "sources", "baseline", "match", "decide", "track")
    assert {name: getattr(new, name) for name in same} == {name: getattr(old, name) for name in same}
    assert new.controls == ("aa", "random_subset")  # what a study has that says nothing of controls
    assert new.waive == ("device: a test",)
    (arm,) = new.arms.values()
    # What the baseline does with its rows, the mixtures did with theirs.
    assert (arm.operations, arm.max_repeats) == (new.baseline.operations, new.baseline.max_repeats)
    assert len(arm.operations) == 1
    assert sum(count or 0 for count in arm.counts().values()) == 20
    assert (arm.counts().get("sums") or 0) > 15  # the planted optimum: clean rows alone
    assert cli("plan", "study-confirm.yaml", "--json", cwd=searched).code == 0
    (searched / "study-confirm.yaml").unlink()


def test_the_proposal_is_judged_as_any_arm(cli: Any, searched: Path, tmp_path: Path, tiny: Path) -> None:
    """The search, its proposal on fresh seeds, and the verdict: the whole way."""
    assert cli("mixtures", "confirm", "study.yaml", "--seeds", "3", "--out", "next.yaml", cwd=searched).code == 0
    written = (searched / "next.yaml").read_text()
    planted.plant(searched / "next.yaml", scores_of(written, tmp_path, 0.4))
    decided = cli("decide", "next.yaml", "--json", cwd=searched).json
    assert [one["text"] for one in decided["trust"] if not one["ok"]] == ["waived in writing: device: a test"]
    assert {one["subject"]: one["verdict"] for one in decided["decisions"]}["proposed"] == "ADOPT"
    (searched / "next.yaml").unlink()


def test_json_is_described_and_is_what_python_returns(cli: Any, searched: Path) -> None:
    document = cli("mixtures", "confirm", "study.yaml", "--force", "--json", cwd=searched).json
    assert set(document) == set(schema("Confirmation")["properties"])
    assert Confirmation.model_validate(document).model_dump(mode="json") == document
    same = harness.open_study(searched / "study.yaml", store=searched / ".harness").confirm(force=True)
    assert same.model_dump(mode="json") == document | {"file": str(searched / "study-confirm.yaml")}
    assert document["mix"] == yaml.safe_load(Path(same.file).read_text())["arms"]["proposed"]["mix"]
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


def test_few_mixtures_want_more_draws(cli: Any, tmp_path: Path, tiny: Path) -> None:
    text = SEARCH.replace("draws: 9", "draws: 2")
    planted.plant(planted.folder_with(tmp_path, tiny, text), scores_of(text, tmp_path, 0.4))
    few = cli("mixtures", "confirm", "study.yaml", cwd=tmp_path)
    assert few.code == 1
    assert few.err == "nothing to confirm yet: a proposal takes four mixtures or more; raise draws\n"


def test_withheld_verdicts_propose_nothing(cli: Any, tmp_path: Path, tiny: Path) -> None:
    """An A/A arm that differs from the baseline: the scores are not to be trusted, and neither is a model of them."""
    text = SEARCH.replace("controls: []", "controls: [aa]").replace('"controls: a test", ', "")
    plain = scores_of(text, tmp_path, 0.4)
    planted.plant(
        planted.folder_with(tmp_path, tiny, text),
        lambda variant, seed, items: plain(variant, seed, items) + 0.3 * (variant == "aa"),
    )
    refused = cli("mixtures", "confirm", "study.yaml", cwd=tmp_path)
    assert (refused.code, refused.out) == (1, "")
    assert "verdicts are withheld. Nothing was written" in refused.err
    assert not (tmp_path / "study-confirm.yaml").exists()


def test_a_linked_study_is_confirmed_where_its_paths_start(cli: Any, searched: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(searched / "study.yaml")
    options = ("--store", searched / ".harness", "--json")
    written = Path(cli("mixtures", "confirm", link, *options, cwd=tmp_path).json["file"])
    assert written == searched / "link-confirm.yaml"
    assert cli("plan", written, "--store", searched / ".harness", "--json", cwd=tmp_path).code == 0
    written.unlink()


def test_a_study_that_was_edited_since_is_confirmed_as_it_was_opened(searched: Path) -> None:
    opened = harness.open_study(searched / "study.yaml", store=searched / ".harness")
    before = (searched / "study.yaml").read_text()
    (searched / "study.yaml").write_text("- no study")
    try:
        opened.confirm(searched / "kept.yaml")
    finally:
        (searched / "study.yaml").write_text(before)
    assert load_study(searched / "kept.yaml").study.baseline == opened.study.baseline
    (searched / "kept.yaml").unlink()


def test_a_long_name_is_shortened(cli: Any, tmp_path: Path, tiny: Path) -> None:
    text = SEARCH.replace("study: tiny", f"study: {'y' * 64}")
    planted.plant(planted.folder_with(tmp_path, tiny, text), scores_of(text, tmp_path, 0.4))
    assert cli("mixtures", "confirm", "study.yaml", cwd=tmp_path).code == 0
    assert load_study(tmp_path / "study-confirm.yaml").study.study == "y" * 56 + "-confirm"


def test_missing_runs_are_said(cli: Any, tmp_path: Path, tiny: Path) -> None:
    study = planted.folder_with(tmp_path, tiny, SEARCH)
    before = cli("mixtures", "confirm", "study.yaml", cwd=tmp_path)
    assert (before.code, before.out) == (1, "")
    assert before.err.startswith("nothing to confirm yet: a proposal takes four mixtures or more; 0 of 20 runs are ")
    made = planted.plant(study, scores_of(SEARCH, tmp_path, 0.4))
    planted.forget(made, "mix-03", 1)
    some = cli("mixtures", "confirm", "study.yaml", cwd=tmp_path)
    assert some.code == 1
    assert "from 9 mixtures" in " ".join(some.out.split())
    assert "19 of 20 runs are done" in some.err
