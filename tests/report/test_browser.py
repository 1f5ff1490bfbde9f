"""The page in a real browser: nothing runs or is missing; it fits a phone, can be read in the dark, and prints."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.escaping import policed
from harness.report import html
from tests.report import studies
from tests.report.conftest import Reports
from tests.report.test_page import SECTIONS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# The contrast of every text with what is behind it (WCAG 2), worst first; backgrounds are blended down to the page.
CONTRAST = """
() => {
  const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
      .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
      .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const over = (top, below) => { const a = top.length > 3 ? top[3] : 1;
      return [0, 1, 2].map(i => a * top[i] + (1 - a) * below[i]); };
  const behind = element => !element ? [255, 255, 255]
      : over(parse(getComputedStyle(element).backgroundColor), behind(element.parentElement));
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || element.closest("title, desc") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element), svg = element.closest("svg");
    const back = behind(svg ? svg.parentElement : element);
    const own = parse(svg ? style.fill : style.color);
    const fore = over([...own.slice(0, 3), Number(style.opacity) * (own.length > 3 ? own[3] : 1)], back);
    const [a, b] = [light(fore), light(back)].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), text.slice(0, 60)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium, driven by playwright; skipped where one of them is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright (pip install playwright)")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium (apt install chromium)")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def show(browser: Any, reports: Reports, tmp_path: Path) -> Iterator[Any]:
    """Opens the page of a kind of study; a message on the console, an error or a request to anywhere fails the test."""
    said: list[str] = []
    contexts = []

    def show(kind: str, **options: Any) -> Any:
        file = tmp_path / f"{kind}.html"
        file.write_text(html(reports(kind)), encoding="utf-8")
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: said.append(request.url) if request.url != file.as_uri() else None)
        page.goto(file.as_uri())
        return page

    yield show
    for context in contexts:
        context.close()
    assert said == []


def open_all(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")


@pytest.mark.parametrize("kind", studies.STATES)
def test_every_section_is_seen_and_nothing_runs(show: Any, kind: str) -> None:
    page = show(kind)
    for name in SECTIONS:
        assert page.locator(f"section#{name}").bounding_box()["height"] > 40
        assert page.locator(f"section#{name} h2, section#{name} .headline").first.is_visible()
    for link in page.locator("nav a").all():
        link.click()
    assert page.title() != "RAN"
    assert page.locator("script, img").count() == 0
    assert page.evaluate("getComputedStyle(document.querySelector('section')).borderTopStyle") == "solid"  # styled


def test_what_is_planted_would_run(browser: Any, tmp_path: Path) -> None:
    """Unescaped, the text that the pages above were full of does what it wants."""
    (tmp_path / "raw.html").write_text(f"<!doctype html><title>calm</title><p>{studies.EVIL}")
    page = browser.new_page()
    page.goto((tmp_path / "raw.html").as_uri())
    assert page.title() == "RAN"
    page.close()


def test_what_is_planted_does_not_run_under_the_policy(browser: Any, tmp_path: Path) -> None:
    """Even where the escaping of text would fail: no script, no style, no picture."""
    evil = f"{studies.EVIL}<style>p {{ color: rgb(1, 2, 3) }}</style><style>"
    page_of = '<!doctype html><meta charset="utf-8"><title>calm</title><style>p { margin: 7px }</style><p id="p">'
    (tmp_path / "raw.html").write_text(policed(f"{page_of}{evil}"))
    page = browser.new_page()
    page.goto((tmp_path / "raw.html").as_uri())
    assert page.title() == "calm"
    assert page.evaluate("getComputedStyle(document.getElementById('p')).marginTop") == "7px"
    assert page.evaluate("getComputedStyle(document.getElementById('p')).color") != "rgb(1, 2, 3)"
    page.close()


@pytest.mark.parametrize("kind", ["full", "evil", "begun", "withheld"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_never_scrolls_sideways(show: Any, kind: str, width: int) -> None:
    page = show(kind, viewport={"width": width, "height": 740})
    open_all(page)
    needs, has = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert needs <= has == width
    for table in page.locator("table.verdicts").all():
        assert table.bounding_box()["width"] <= width - 40


def test_the_answer_is_on_the_first_screen(show: Any) -> None:
    page = show("partial", viewport={"width": 1280, "height": 800})
    for part in ("h1", ".headline", ".trust", "table.verdicts tr:first-child"):
        box = page.locator(part).first.bounding_box()
        assert box["y"] + box["height"] < 800, part


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["full", "withheld", "partial"])
def test_every_text_can_be_read(show: Any, kind: str, scheme: str) -> None:
    page = show(kind, color_scheme=scheme)
    open_all(page)
    ink = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ink == "rgb(18, 22, 28)") == (scheme == "dark")
    found = page.evaluate(CONTRAST)
    assert len(found) > 300
    assert found[0][0] >= 4.5, found[:5]


def test_it_prints_whole(show: Any, tmp_path: Path) -> None:
    page = show("full", viewport={"width": 700, "height": 1000})  # A4 within its margins
    assert not page.locator("section#reproduce details pre").is_visible()
    page.emulate_media(media="print")
    assert page.locator("section#reproduce details pre").is_visible()  # folded parts are on paper
    assert not page.locator("nav").is_visible()
    needs, has = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert needs <= has
    cut = "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth + 1)"
    assert page.evaluate(f"{cut}.map(one => one.ariaLabel)") == []
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "report.pdf").stat().st_size > 50_000
