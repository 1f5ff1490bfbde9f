"""The page: whole in every state of a study, true to its numbers, safe with any text, and in need of nothing."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from html.parser import HTMLParser

import pytest

from harness.report import html, markdown
from harness.report.phrases import MARKS, Say
from tests.report import studies
from tests.report.conftest import Reports

SECTIONS = (
    "answer", "trust", "effects", "grow", "variants", "slices", "examples", "contamination", "cards", "noise",
    "reliability", "reproduce",
)  # fmt: skip
VOID = {"meta", "br", "rect", "line", "img", "hr", "link", "path", "circle"}


class Page(HTMLParser):
    """Checks that tags close in order, and keeps what a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


@pytest.mark.parametrize("kind", studies.STATES)
def test_every_section_is_there_and_the_page_needs_nothing(reports: Reports, kind: str) -> None:
    text = html(reports(kind))
    page = Page(text)
    ids = [value for name, value in page.attributes if name == "id"]
    assert [one for one in ids if one in SECTIONS] == list(SECTIONS)
    assert len(set(ids)) == len(ids)
    links = [value for name, value in page.attributes if name == "href"]
    assert {link.removeprefix("#") for link in links} <= set(SECTIONS)
    assert all(link.startswith("#") for link in links)
    assert not {"script", "link", "iframe", "img", "object", "form", "base"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name == "src" or name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    assert page.tags["title"] >= 1 + page.tags["svg"]


@pytest.mark.parametrize("kind", studies.STATES)
def test_every_chart_has_a_title_a_description_and_a_table_beside_it(reports: Reports, kind: str) -> None:
    sections = html(reports(kind)).split("</section>")
    for section in sections:
        charts = section.split('<svg class="chart" role="img"')[1:]
        assert section.count("<svg") == len(charts)
        for chart in charts:
            assert chart.split(">", 1)[1].startswith("<title>")
            assert "<desc>" in chart.split("</svg>")[0]
        assert not charts or "<table" in section
    drawn = sum(section.count("<svg") for section in sections)
    assert drawn == {"begun": 0, "one_seed": 3, "no_controls": 6, "full": 6}.get(kind, drawn)


def test_the_answer_comes_first(reports: Reports) -> None:
    text = html(reports("full"))
    page = Page(text)
    report = reports("full")
    assert report.decisions is not None
    first = text.split('<nav aria-label="Sections">')[0]
    assert f"<h1>{report.question}</h1>" in first
    for one in report.decisions.decisions:
        assert f">{one.subject}</th>" in first
        assert f"{MARKS[one.verdict]} {one.verdict}</span>" in first
        assert Say(report).effect(one.effect, one.ci) in first
    assert "TRUST" in first
    assert report.waivers[0] in first
    assert report.decisions.next in page.words


def test_the_numbers_are_on_the_page(reports: Reports) -> None:
    report = reports("full")
    say, words = Say(report), Page(html(report)).words
    assert report.comparison is not None
    assert report.decisions is not None
    for arm in report.comparison.arms:
        assert say.effect(arm.effect, arm.ci) in words
        assert say.effect(arm.effect_confirmation, arm.ci_confirmation) in words
    for one in report.decisions.slices:
        assert all(
            f"{say.signed(arm.effect)}{'*' if (arm.p_adjusted or 1) < 0.05 else ''}" in words for arm in one.arms
        )
    for line in report.decisions.growth:
        assert say.gain(line.gain_per_1000_rows, line.ci_per_1000_rows) in words
        assert say.next_step(line) in words
    for mixture in report.decisions.mixtures:
        assert mixture[1:] in words
    for task in report.decisions.tasks:
        assert f"{task.signal_to_noise:.1f}" in words
    for variant in report.variants:
        assert all(say.score(score) in words for score in variant.seeds.values())
    for example in report.examples:
        assert f"{example.gained} of {example.items} items gained, {example.lost} lost" in words
    for value in report.reproduce.digests.values():
        assert value in words
    assert say.reliability() in words
    assert "learning curve" in words
    assert report.reproduce.resolved.split("\n")[0] in words


def test_the_command_for_a_budget_is_named_where_there_is_a_curve(reports: Reports) -> None:
    told = reports("full")
    command = "harness grow study.yaml --budget N"
    assert Say(told).buying() == command
    assert f"<code>{command}</code>" in html(told)
    assert f"by these curves: {command}\n" in markdown(told)
    decisions = told.decisions
    assert decisions is not None

    def changed(**changes: object) -> str:
        return Say(told.model_copy(update={"decisions": decisions.model_copy(update=changes)})).buying()

    sums = next(line for line in decisions.growth if line.curve)
    assert changed(growth=[sums.model_copy(update={"cost_per_row": None})]) == f"{command} --unit rows"
    assert changed(growth=[sums.model_copy(update={"curve": []})]) == ""
    assert changed(growth=[sums.model_copy(update={"source": "size"})]) == ""  # no source of its own to buy
    assert changed(withheld=True) == ""


def test_open_questions_say_what_would_settle_them(reports: Reports) -> None:
    decisions = reports("full").decisions
    assert decisions is not None
    still = [one for one in decisions.decisions if one.verdict == "INCONCLUSIVE"]
    noise = html(reports("full")).split('<section id="noise">')[1].split("</section>")[0]
    assert still
    assert all(one.resolve in noise for one in still)


def test_text_from_data_cannot_style_forge_or_run(reports: Reports) -> None:
    text = html(reports("evil"))
    page = Page(text)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert text.count("</style>") == 1
    assert "\x1b" not in text
    assert "\u202e" not in text
    seen = " ".join(studies.EVIL.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e").split())
    assert page.words.count(seen) > 20  # question, hypothesis, outcome, waiver, subject, failure, items, spans, YAML
    for part in ("<title>", "<h1>", 'id="examples"', 'id="cards"', 'id="reproduce"'):
        assert "&lt;script&gt;" in text.split(part)[1].split("</section>")[0], part


def test_a_study_without_results_says_so(reports: Reports) -> None:
    words = Page(html(reports("begun"))).words
    assert "No answer yet: 0 of 12 runs are done (12 to do)." in words
    assert "harness run study.yaml" in words
    for nothing in ("No effects yet", "Nothing to check yet", "Nothing is measured yet", "Nothing to judge yet"):
        assert nothing in words
    assert "ADOPT" not in words


def test_a_partial_study_names_what_failed(reports: Reports) -> None:
    words = Page(html(reports("partial"))).words
    assert "9 of 12 runs are done (1 trained, 1 failed, 1 to do)" in words
    assert "sums-8/seed 1 failed: training: out of memory at step 3" in words
    assert "lack finished runs" in words


def test_scores_are_shown_before_there_is_anything_to_compare(reports: Reports) -> None:
    report = reports("baseline_only")
    assert report.comparison is None
    text = html(report)
    assert text.count("<svg") == 1
    assert Say(report).score(report.variants[0].mean) in text
    assert "Nothing to compare yet: 2 of 12 runs are done" in text


def test_withheld_verdicts_are_not_called_findings(reports: Reports) -> None:
    text = html(reports("withheld"))
    first = text.split('<nav aria-label="Sections">')[0]
    assert "Verdicts are withheld" in first
    assert "this setup calls noise an effect" in first
    assert first.index("this setup calls noise an effect") < first.index("Verdicts are withheld")
    assert "! WITHHELD</span>" in first
    for verdict in ("ADOPT", "GROW", "CUT", "INCONCLUSIVE"):
        assert verdict not in first
    assert "read these curves as a picture" in text


def test_one_seed_and_no_controls_are_told(reports: Reports) -> None:
    words = Page(html(reports("one_seed"))).words
    assert "one seed: intervals hold item noise only" in words
    assert "no simulation stands behind them" in words
    assert "With one seed only the noise of items is known." in words
    words = Page(html(reports("no_controls"))).words
    assert "no A/A control: the study waives it" in words
    assert "The suite names no slices, or only one." in words


def test_browsers_are_told_to_load_and_run_nothing(reports: Reports) -> None:
    page = html(reports("full"))
    policy = page.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0]
    assert page.index("Content-Security-Policy") < page.index("<title>")
    assert policy.startswith("default-src 'none'; ")
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    assert "script-src" not in policy
