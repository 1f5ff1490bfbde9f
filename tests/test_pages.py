"""What the pages show is true: their studies load, their links lead somewhere, the files they speak of exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from harness.loading import load_study
from harness.loading.schema import study_schema
from tests.command import ROOT

PAGES = sorted(
    path
    for folder in ("harness", "experiments", "configs")
    for path in (ROOT / folder).rglob("*.md")
    if path.name in ("README.md", "REFERENCE.md")
)
GUIDE = ROOT / "experiments" / "README.md"


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def headings(page: Path) -> list[str]:
    """Return a page's headings as links name them."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines]


def test_the_map_shows_every_room() -> None:
    shown = (ROOT / "harness" / "README.md").read_text()
    rooms = [path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")]
    assert [room for room in rooms if f"`{room}/`" not in shown] == []


def test_there_are_pages() -> None:
    assert len(PAGES) >= 8
    assert len(blocks(GUIDE, "yaml")) > 5


SHOWN = [yaml.safe_load(block) for block in blocks(GUIDE, "yaml")]


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: ",".join(shown))
def test_every_example_of_a_study_loads(shown: dict[str, Any], tmp_path: Path) -> None:
    """A part stands in place of the lines of the same name of the smallest study, which comes first."""
    study = shown if "study" in shown else SHOWN[0] | shown
    shutil.copytree(ROOT / "configs", tmp_path / "configs")  # paths start from the folder of the page
    (tmp_path / "experiments").mkdir()
    file = tmp_path / "experiments" / "study.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    load_study(file)
    assert list(jsonschema.Draft202012Validator(study_schema()).iter_errors(study)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, heading in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        if target.startswith("https://"):
            continue
        there = page.parent / target if target else page
        assert there.exists(), target
        assert not heading or heading in headings(there), f"{target}#{heading}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    """A path in backticks is one of this folder, of the package, of the tests or of the repository."""
    if page.name == "REFERENCE.md":
        return
    for name in re.findall(r"`([\w./-]+(?:\.(?:py|yaml|ipynb|md|sbatch|json)|/))`", page.read_text()):
        if name in OUTSIDE:
            continue
        around = (page.parent, ROOT, ROOT / "harness", ROOT / "tests")
        assert any((place / name).exists() for place in around), name


OUTSIDE = {
    "study.yaml",
    "record.json",
    "failure.json",
    "study.schema.json",
    "variant.json",
}  # what users have, and what a store holds
