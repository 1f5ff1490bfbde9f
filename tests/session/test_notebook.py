"""What a notebook shows: the report's look, nothing that runs, nothing that could get out of its box."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import harness
from harness.records import Decisions
from tests import planted
from tests.conftest import ROOT, TINY_STUDY

EVIL = "<script>alert(1)</script>&\u202e"


class Outline(HTMLParser):
    """The tags that are open, the text, and every tag there was."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") or "javascript:" in (value or "") for name, value in attrs)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def shown(html: str) -> str:
    """Return the text of what a notebook shows, after a look at its tags."""
    outline = Outline(html)
    assert outline.open == []
    assert not outline.tags & {"script", "iframe", "img", "link", "html", "body", "head"}
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    assert style[1].strip().startswith(".harness {")  # nothing in it holds outside of the box
    assert style[1].count("{") == style[1].count("}")
    assert "http" not in html
    return " ".join(" ".join(outline.text).split())


@pytest.fixture
def study(tmp_path: Path, tiny: Path) -> Path:
    text = TINY_STUDY.replace("question: Half the answers are wrong. Verify them?", f'question: "{EVIL} Verify them?"')
    file = planted.folder_with(tmp_path, tiny, text)
    planted.plant(file)
    return file


def test_an_answer_shows_trust_verdicts_and_what_is_next(study: Path) -> None:
    found = harness.open_study(study, store=study.parent / ".harness").answer()
    said = shown(found._repr_html_())
    verdicts: Decisions = found.verdicts
    assert all(f"{one.subject} " in said and one.verdict in said for one in verdicts.decisions)
    assert "TRUST" in said
    assert verdicts.next in said
    assert "<script>alert(1)</script>& Verify them?" in said.replace("\\u202e", "").replace("U+202E", "")


def test_a_plan_shows_its_variants_and_what_there_is_to_know(study: Path) -> None:
    planned = harness.open_study(study, store=study.parent / ".harness").plan()
    said = shown(planned._repr_html_())
    for variant in planned.plan.variants:
        assert variant.name in said
    assert "Decontamination" in said
    assert planned.forecast.power.text in said


def test_before_there_are_runs_it_is_said(tmp_path: Path, tiny: Path) -> None:
    study = planted.folder_with(tmp_path, tiny)
    found = harness.open_study(study, store=tmp_path / ".harness").answer()
    assert "0 of 12 runs are done" in shown(found._repr_html_())


@pytest.mark.slow
def test_the_notebook_that_comes_with_it_runs(study_folder: Path) -> None:
    """On the tiny model; the study has the quickstart's name there."""
    import nbformat
    from nbclient import NotebookClient

    (study_folder / "study.yaml").rename(study_folder / "quickstart.yaml")
    book = nbformat.read(ROOT / "experiments" / "quickstart.ipynb", as_version=4)
    NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": study_folder}}).execute()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    html = [output.get("data", {}).get("text/html", "") for output in outputs]
    pages = [shown(one) for one in html if one.startswith('<div class="harness">')]
    assert len(pages) == 2  # the plan, the answer
    assert (study_folder / "tiny-report.html").is_file()
