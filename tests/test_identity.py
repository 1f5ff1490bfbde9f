"""Digests and keys: equal things have equal keys, different things different ones, and the unserializable raises."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.identity import canonical_json, digest, file_digest, sequence_digest, step_key, unit_hash

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_canonical_json_is_json_and_reads_back(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


def test_the_one_spelling_is_known() -> None:
    """What is in stores is found by it: another spelling would make everything anew."""
    value = {"q": "Größe – 日本?", "a": [1, 0.5, True, None, "\n"], "": {"z": 1e300, "y": -0.0}}
    written = '{"":{"y":-0.0,"z":1e+300},"a":[1,0.5,true,null,"\\n"],"q":"Größe – 日本?"}'
    assert canonical_json(value) == written
    assert digest(value) == hashlib.sha256(written.encode()).hexdigest()


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_order_of_fields_does_not_count(value: dict[str, int]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


@given(plain, plain)
def test_different_values_differ(one: object, other: object) -> None:
    if canonical_json(one) != canonical_json(other):
        assert digest(one) != digest(other)


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [1, -math.inf]}])
def test_numbers_without_a_canonical_form_raise(value: object) -> None:
    with pytest.raises(ValueError, match="has no canonical form"):
        digest(value)


@pytest.mark.parametrize(
    "value", [{1: "a"}, {1, 2}, b"bytes", date(2026, 1, 1), object(), Path("x"), {"a": {"b": (1, print)}}]
)
def test_what_cannot_be_serialized_raises(value: object) -> None:
    with pytest.raises(TypeError, match=r"\$"):
        digest(value)


@given(st.lists(st.text()), st.lists(st.text()))
def test_sequences_keep_their_borders(one: list[str], other: list[str]) -> None:
    assert (sequence_digest(one) == sequence_digest(other)) == (one == other)


def test_every_part_of_a_step_is_in_its_key() -> None:
    base = ("adapter", 1, {"seed": 1}, {"rows": "a"})
    keys = {
        step_key(*base),
        step_key("result", *base[1:]),
        step_key("adapter", 2, *base[2:]),
        step_key("adapter", 1, {"seed": 2}, {"rows": "a"}),
        step_key("adapter", 1, {"seed": 1}, {"rows": "b"}),
        step_key("adapter", 1, {"seed": 1}, {"model": "a"}),
    }
    assert len(keys) == 6
    assert all(len(key) == 16 for key in keys)


def test_a_known_key_does_not_change() -> None:
    """Stores outlive versions of the harness: a key that changes by accident throws finished runs away."""
    assert step_key("variant", 1, {"seed": 1, "rate": 0.5}, {"pools/a": "x"}) == "da6a4e685386c83e"


@given(st.lists(st.integers() | st.text(), min_size=1))
def test_unit_hash_depends_on_the_parts_only(parts: list[object]) -> None:
    assert unit_hash(*parts) == unit_hash(*parts)
    assert 0 <= unit_hash(*parts) < 2**64


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    assert file_digest(tmp_path / "a") == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
