"""MLflow's own pages of a study, in a browser: lists, nesting, datasets, and two variants side by side."""

from __future__ import annotations

import itertools
import json
import shutil
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.tracking import experiment_page, sync
from tests.tracking.servers import Server
from tests.tracking.shown import STUDY_KEY, by_key, make_view

if TYPE_CHECKING:
    from playwright.sync_api import Page

# MLflow uses what SQLAlchemy 2.1 deprecates.
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]
PATIENCE = 240_000  # milliseconds: the pages are large, and other tests may be at work
PRESSES = 5
SETTLING = 1_000  # milliseconds for the table to be drawn


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: bytes) -> Iterator[Server]:
    """A server as ``harness ui`` starts it, on a store with one study."""
    made = Server.prepared(tmp_path_factory.mktemp("ui") / "store", empty_database)
    sync(make_view(made.home), made.home, f"sqlite:///{made.home}/mlflow.db")
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def ids(server: Server) -> dict[str, str]:
    runs = by_key(f"sqlite:///{server.home}/mlflow.db")
    return {run.info.run_name: run.info.run_id for run in runs.values()}


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of the system's chromium; nothing is downloaded."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1500, "height": 1400})
        opened.set_default_timeout(PATIENCE)
        yield opened
        browser.close()


def goto(page: Page, address: str, *parts: str) -> str:
    """Open a page and wait until its text has every part; return all of its text.

    MLflow asks for a page's parts one by one and draws each when it comes, in no fixed order: that one is there says
    nothing of another. On a busy machine a part may never come; a fresh page is tried then.
    """
    from playwright.sync_api import Error

    said = []
    for _ in range(PRESSES):
        try:
            page.goto("about:blank")
            page.goto(address, wait_until="commit")
            page.wait_for_function(
                "parts => document.body && parts.every(part => document.body.innerText.includes(part))",
                arg=parts,
                timeout=PATIENCE / PRESSES,
            )
            return page.inner_text("body")
        except Error as error:
            text = page.inner_text("body")
            said.append(f"{error}\nwithout {[part for part in parts if part not in text]}:\n{text}")
    raise AssertionError("\n\n".join(said))


def open_tree(page: Page, address: str, *path: str) -> None:
    """Open a study's page and press the plus signs in front of its runs, from the outermost in, until the last shows.

    MLflow draws its table again while it loads: what is pressed just then is lost, and on a busy machine the table may
    stay without rows. What does not show in time is tried again on a fresh page.
    """
    from playwright.sync_api import Error

    said = []
    for _ in range(PRESSES):
        try:
            page.goto("about:blank")
            page.goto(address, wait_until="commit")
            for run, below in itertools.pairwise(path):
                link, shown = (page.get_by_role("link", name=name, exact=True).last for name in (run, below))
                link.wait_for(timeout=PATIENCE / PRESSES)
                page.wait_for_timeout(SETTLING)
                if not shown.count():  # MLflow remembers what was opened
                    sign = link.locator("xpath=ancestor::*[.//button][1]").locator("button").first
                    sign.click(timeout=PATIENCE / PRESSES)
                shown.wait_for(timeout=PATIENCE / PRESSES)
            return
        except Error as error:
            said.append(f"{error}\n{page.inner_text('body')}")
    raise AssertionError("\n\n".join(said))


def test_the_study_is_listed_with_its_question(page: Page, server: Server) -> None:
    goto(page, f"{server.url}/#/experiments", "quickstart")
    found = experiment_page(server.url, "quickstart", server.home, f"sqlite:///{server.home}/mlflow.db")
    goto(page, found, "quickstart", "Run Name", "Verify it, or pay for clean rows?", "11 matching runs")


def test_variants_are_under_the_study_and_seeds_under_variants(page: Page, server: Server) -> None:
    found = experiment_page(server.url, "quickstart", server.home, f"sqlite:///{server.home}/mlflow.db")
    open_tree(page, found, "quickstart", "baseline")
    for name in ("base model", "baseline", "verified", "sums-160"):
        page.get_by_role("link", name=name, exact=True).last.wait_for()
    assert not page.get_by_role("link", name="verified seed 2", exact=True).count()
    open_tree(page, found, "quickstart", "verified", "verified seed 2")
    # MLflow draws every level further to the right.
    left = {
        name: page.get_by_role("link", name=name, exact=True).last.bounding_box()
        for name in ("quickstart", "verified", "verified seed 2")
    }
    places = [box["x"] for box in left.values() if box is not None]
    assert len(places) == 3
    assert places[0] < places[1] < places[2]


def test_a_runs_page_shows_its_datasets_and_its_parent(page: Page, server: Server, ids: dict[str, str]) -> None:
    said = "verified, seed 2 of study quickstart: 79 rows."
    parts = ("Datasets", "Parent run", "verified (", said, "sums/exact_match:carry")
    text = goto(page, f"{server.url}/#/experiments/1/runs/{ids['verified seed 2']}", *parts)
    assert "training" in text.lower()
    page.get_by_text("verified (").first.click()
    drawer = page.get_by_role("dialog")
    drawer.get_by_text("prompt").first.wait_for()  # the schema
    drawer.get_by_text("79").first.wait_for()


def test_a_variants_page_begins_with_its_verdict_and_effect(page: Page, server: Server, ids: dict[str, str]) -> None:
    effect = "+0.160 [+0.120, +0.200]"
    parts = ("Description", "Child runs", effect, "Metrics (", "training_seconds\n", "harness.digest")
    text = goto(page, f"{server.url}/#/experiments/1/runs/{ids['sums-160']}", *parts)
    description = text[text.index("Description") :]
    assert description.index("sums: GROW") < description.index("Effect on sums/exact_match")
    assert effect in description
    metrics = text[text.index("Metrics (") :]
    assert metrics.index("effect\n") < metrics.index("effect_low\n") < metrics.index("training_seconds\n")
    assert text.count("harness.digest") == 1  # of our own bookkeeping there is one tag to overlook


def test_two_variants_side_by_side(page: Page, server: Server, ids: dict[str, str]) -> None:
    runs = {"runs": json.dumps([ids["verified"], ids["sums-160"]]), "experiments": json.dumps(["1"])}
    address = f"{server.url}/#/compare-runs?{urllib.parse.urlencode(runs)}"
    goto(page, address, "Parameters", "Metrics\nShow diff only", "effect_confirmation\n", "operations\tverify\tnone")
    cells = page.locator("tr").all_inner_texts()
    rows = {parts[0]: parts[1:] for line in cells if len(parts := line.split("\t")) >= 3}
    assert rows["operations"] == ["verify", "none"]
    assert rows["sources"] == ["scraped", "sums"]
    # Metrics come as a list of names, then of values, as many of them as fit the screen; effects are the first.
    text = page.inner_text("body")
    part = text[text.index("Metrics\nShow diff only") :].splitlines()[2:]
    names = part[: next(at for at, line in enumerate(part) if line[0].isdigit() or line[0] == "-")]
    values = part[len(names) : len(names) + 2 * len(names)]
    metrics = {name: [float(value) for value in values[2 * at : 2 * at + 2]] for at, name in enumerate(names)}
    assert metrics["effect"] == pytest.approx([0.11, 0.16])
    assert metrics["effect_low"] == pytest.approx([0.07, 0.12])
    assert metrics["effect_confirmation"] == pytest.approx([0.10, 0.15])


def test_the_pages_of_a_study_that_is_not_there(server: Server, tmp_path: Path) -> None:
    from harness.errors import RequestError

    with pytest.raises(RequestError, match='MLflow has no experiment "quikstart" yet'):
        experiment_page(server.url, "quikstart", server.home, f"sqlite:///{server.home}/mlflow.db")
    assert STUDY_KEY
