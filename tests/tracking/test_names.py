"""Names in MLflow: it takes them all, they can be read, and no two names become one."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param_name

from harness.tracking.entry import NAME_LIMIT, STDERR, Entry, named, of_slice, of_stderr

# What comes close to the ways in which names are written: codes, suffixes, paths.
TRICKY = st.lists(
    st.sampled_from(["_x", "2B", "_", "/", ".", "..", ":", "+", "#", "_stderr", "x5F_", "\n", "é", "数", "क्", " "]),
    max_size=8,
).map("".join)
NAMES = st.one_of(st.text(max_size=30), TRICKY)


def read(written: str) -> str:
    """Return the name that was written."""
    return re.sub(r"_x([0-9A-F]+)_", lambda found: chr(int(found[1], 16)), written)


@settings(max_examples=1000, deadline=None)
@given(NAMES.filter(bool))
def test_every_name_is_taken_and_can_be_read_back(name: str) -> None:
    written = named(name)
    _validate_metric_name(written)
    _validate_param_name(written)
    assert len(written) > NAME_LIMIT - 20 or read(written) == name
    assert named(written) == written


@settings(max_examples=1000, deadline=None)
@given(st.lists(NAMES, unique=True, min_size=2, max_size=6))
def test_slices_and_their_standard_errors_never_become_one(slices: list[str]) -> None:
    scores = [of_slice("task/acc", name) for name in slices]
    written = [*scores, *map(of_stderr, scores)]
    for name in written:
        _validate_metric_name(name)
        assert len(name) <= NAME_LIMIT
        assert "/" not in name.removeprefix("task/acc")
    assert len({*written}) == 2 * len(slices)
    assert not any(name.endswith(STDERR) for name in scores)


@given(st.text(alphabet="ab+/", min_size=NAME_LIMIT, max_size=NAME_LIMIT + 60), st.text(max_size=3))
def test_long_names_end_in_a_digest(name: str, more: str) -> None:
    one, other = (of_slice("t/acc", text) for text in (name, f"{name}{more}"))
    for written in (one, other, of_stderr(one)):
        _validate_metric_name(written)
        assert len(written) <= NAME_LIMIT
    assert (one == other) is (more == "")
    assert of_stderr(one) != one
    assert of_stderr(one).endswith(STDERR)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("历史", "历史"),
        ("C", "C"),
        ("C++", "C_x2B__x2B_"),
        ("C#", "C_x23_"),
        ("grade_3", "grade_3"),
        ("fractions/easy", "fractions_x2F_easy"),
        ("Grundschule: Größen", "Grundschule: Größen"),
        ("a_x2B_b", "a_x5F_x2B_b"),
        ("of_stderr", "of__x73_tderr"),
    ],
)
def test_names_of_slices(name: str, written: str) -> None:
    assert of_slice("own/acc", name) == f"own/acc:{written}"
    assert of_stderr(of_slice("own/acc", name)) == f"own/acc:{written}_stderr"


def test_an_entry_keeps_every_number() -> None:
    metrics = {"a+b": 1.0, "a b": 2.0, "a_b": 3.0, "a-b": 4.0, "a*b": 5.0, of_slice("t/acc", "x/y"): 6.0}
    entry = Entry("k", "n", "seed", None, "FINISHED", (0, 1), metrics=metrics)
    assert sorted(entry.metrics.values()) == [1, 2, 3, 4, 5, 6]
    assert "t/acc:x_x2F_y" in entry.metrics
