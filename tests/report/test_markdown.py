"""Markdown for a pull request: GitHub's renderer is stood in for by markdown-it with the same extensions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.escaping import visible
from harness.report import markdown
from harness.report.markdown import escaped
from harness.report.phrases import Say
from tests.report import studies
from tests.report.conftest import Reports
from tests.report.test_page import Page

TAGS = {
    "h2", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "ul", "li", "pre", "code",
}  # fmt: skip
RENDER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def rendered(text: str) -> Page:
    return Page(RENDER.render(text))


@pytest.mark.parametrize("kind", studies.STATES)
def test_it_renders_as_tables_and_folds(reports: Reports, kind: str) -> None:
    page = rendered(markdown(reports(kind)))
    assert set(page.tags) <= TAGS
    assert page.attributes == [] or {name for name, _ in page.attributes} <= {"style"}
    for heading in ("Contamination", "How to reproduce"):
        assert heading in page.text
    assert page.tags["details"] == markdown(reports(kind)).count("<details>")


def test_verdicts_come_first_and_numbers_are_there(reports: Reports) -> None:
    report = reports("full")
    page, say = rendered(markdown(report)), Say(report)
    assert report.decisions is not None
    assert report.comparison is not None
    for one in report.decisions.decisions:
        assert f"{one.verdict}\n{say.effect(one.effect, one.ci)}" in page.text
    for arm in report.comparison.arms:
        assert say.effect(arm.effect_confirmation, arm.ci_confirmation) in page.text
    assert page.text.index(say.headline()) < page.text.index("Arms against the baseline")
    assert say.reliability() in page.words


def test_text_from_data_is_shown_and_never_rendered(reports: Reports) -> None:
    text = markdown(reports("evil"))
    page = rendered(text)
    assert set(page.tags) <= TAGS
    assert "<script" not in text
    assert "@me" not in text  # nobody is mentioned
    seen = " ".join(studies.EVIL.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e").split())
    assert page.words.count(seen) > 8


@given(
    st.text(alphabet=st.one_of(st.sampled_from("\\`*_|~<&@#$[]():/w.!-+=>{} \n\tax1"), st.characters()), max_size=60)
)
def test_any_text_in_a_cell_comes_out_as_it_went_in(text: str) -> None:
    page = RENDER.render(f"| a | b |\n|---|---|\n| {escaped(text)} | end |\n")
    cells = re.findall(r"<td>(.*?)</td>", page, re.DOTALL)
    assert len(cells) == 2
    assert set(Page(page).tags) <= TAGS
    assert Page(cells[0]).words == " ".join(visible(text).split())


@pytest.mark.parametrize(
    ("text", "gone"),
    [("see @someone", "@someone"), ("#12", "#12"), ("https://x.y", "://"), ("www.x.y", "www."), (":x:", ":x:"),
     ("$x$", "$x$"), ("[a](b)", "]("), ("[a]: b", "]: b"), ("~~a~~", "~~")],
)  # fmt: skip
def test_what_github_adds_to_markdown_is_plain_text(text: str, gone: str) -> None:
    assert gone not in escaped(text)
