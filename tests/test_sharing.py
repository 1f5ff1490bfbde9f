"""The lists of files by which tests share the cores are true."""

from __future__ import annotations

import re

import pytest

from tests.command import ROOT

sharing = pytest.importorskip("tests.sharing", reason="needs pytest-xdist")


def files_with(pattern: str) -> set[str]:
    """Return the files of tests in which something is found."""
    files = (ROOT / "tests").rglob("test_*.py")
    return {str(file.relative_to(ROOT)) for file in files if re.search(pattern, file.read_text())}


def test_every_file_is_there_once() -> None:
    assert len(set(sharing.LONG)) == len(sharing.LONG)
    for file in (*sharing.LONG, *(file for files in sharing.TOGETHER.values() for file in files)):
        assert (ROOT / file).is_file(), file


def test_all_that_uses_ray_goes_to_one_process() -> None:
    assert files_with(r"pytest\.mark\.ray\b") == set(sharing.TOGETHER["Ray"])


@pytest.mark.parametrize("fixture", ["ran", "undisturbed"])
def test_what_is_made_once_is_made_in_one_process(fixture: str) -> None:
    assert files_with(rf"\b{fixture}: (Ran|dict)\b") == set(sharing.TOGETHER[fixture])
