"""``harness report``: a page by default, Markdown and JSON on request, and one sentence when that cannot be."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.report import Report
from tests import planted
from tests.command import Called, environment

Call = Callable[..., Called]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A finished study."""
    file = planted.folder_with(tmp_path_factory.mktemp("study"), tiny)
    planted.plant(file)
    return file


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls ``harness report`` in this process."""

    def call(*arguments: str | Path, cwd: Path) -> Called:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["harness", "report", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Called(int(ended.value.code or 0), out, err)

    return call


def test_a_page_is_written_and_its_path_printed(call: Call, study: Path) -> None:
    done = call(study.name, cwd=study.parent)
    assert (done.code, done.out, done.err) == (0, "tiny-report.html\n", "")
    page = (study.parent / "tiny-report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "Half the answers are wrong. Verify them?" in page
    assert str(study.parent) not in page
    first = (study.parent / "tiny-report.html").read_bytes()
    call(study.name, cwd=study.parent)
    assert (study.parent / "tiny-report.html").read_bytes() == first
    assert not [one for one in study.parent.iterdir() if one.name.endswith(".partial")]


def test_markdown_and_json_go_to_standard_output(call: Call, study: Path, tmp_path: Path) -> None:
    done = call(study.name, "--format", "md", cwd=study.parent)
    assert done.code == 0
    assert done.out.startswith("## tiny: Half the answers are wrong. Verify them?\n")
    for options in (("--format", "json"), ("--json",)):
        report = Report.model_validate_json(call(study.name, *options, cwd=study.parent).out)
        assert report.decisions is not None
        assert {one.subject for one in report.decisions.decisions} == {"verify(scraped)", "sums", "scraped"}
    written = call(study.name, "--format", "md", "--out", tmp_path / "pr.md", cwd=study.parent)
    assert written.out == f"{tmp_path / 'pr.md'}\n"
    assert (tmp_path / "pr.md").read_text(encoding="utf-8") == done.out


def test_missing_runs_are_told_by_page_and_exit_code(call: Call, study: Path, tmp_path: Path) -> None:
    shutil.copytree(study.parent, tmp_path / "copy")
    planted.forget(planted.plan(tmp_path / "copy" / study.name), "sums-8", 2)
    done = call(study.name, cwd=tmp_path / "copy")
    assert (done.code, done.err) == (1, "11 of 12 runs are done (1 to do)\n")
    assert "11 of 12 runs are done (1 to do)" in (tmp_path / "copy" / "tiny-report.html").read_text()


def test_a_study_never_planned_has_a_page(call: Call, tmp_path: Path, tiny: Path) -> None:
    file = planted.folder_with(tmp_path, tiny)
    done = call(file.name, cwd=tmp_path)
    assert (done.code, done.err) == (1, "0 of 12 runs are done (12 to do)\n")
    assert "No answer yet" in (tmp_path / "tiny-report.html").read_text()


def test_the_schema_is_that_of_the_json(call: Call, study: Path) -> None:
    schema = call("--json-schema", cwd=study.parent).json
    assert schema["title"] == "Report"
    assert schema["version"] == 1
    assert set(Report.model_fields) == set(schema["properties"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--json --format md", "--json: --format md was asked for too"),
        ("--out nowhere/report.html", "there is no folder nowhere"),
        ("--out .", "is a folder, expected a file"),
    ],
)
def test_wrong_requests_end_with_one_sentence_and_two(call: Call, study: Path, options: str, words: str) -> None:
    refused = call(study.name, *options.split(), cwd=study.parent)
    assert refused.code == 2
    assert words in refused.err
    assert refused.err.count("\n") == 1
    assert refused.out == ""


def test_a_wrong_format_names_the_right_ones(call: Call, study: Path) -> None:
    refused = call(study.name, "--format", "pdf", cwd=study.parent)
    assert refused.code == 2
    assert "html" in refused.err


def test_the_report_imports_nothing_heavy(study: Path) -> None:
    script = (
        "import sys\nsys.argv = ['harness', 'report', 'study.yaml', '--out', 'light.html']\n"
        "from harness.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "names = ('torch', 'transformers', 'datasets', 'mlflow', 'lm_eval', 'matplotlib')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=study.parent, capture_output=True, text=True, env=environment(), check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
