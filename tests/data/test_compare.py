"""An item laid beside a row, word by word: what belongs together, what lies between, what counts as changed."""

from __future__ import annotations

from itertools import islice, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.contamination.compare import Alignment, Overlap, align, compare
from harness.data.contamination.items import Item
from harness.data.text import words

# Words of an item, and words that have no letter in common with them.
OWN = ["".join(letters) for letters in islice(permutations("abcdefghijklm", 6), 0, None, 9973)]
OTHER = ["".join(letters) for letters in islice(permutations("nopqrstuvwxyz", 6), 0, None, 9973)]


def made(item: str) -> Item:
    core = words(item)
    return Item(
        item_id="i", task="t", raw=item, core=core, text=core, answer=(), replies=frozenset(), generic=False,
        evidence=frozenset(),
    )  # fmt: skip


def laid(item: str, row: str, low: int = 0, high: int | None = None) -> Alignment | None:
    return align(made(item), words(row), low, len(words(row)) if high is None else high, row)


def told(item: list[str], row: list[str], share: float = 0.6) -> Overlap | None:
    return compare(made(" ".join(item)), tuple(row), 0, len(row), " ".join(row), share, ())


@given(
    head=st.integers(0, 2), longest=st.integers(4, 14), part=st.integers(1, 3), missing=st.integers(0, 4),
    put_in=st.integers(0, 9), before=st.integers(0, 3), after=st.integers(0, 3), mirrored=st.booleans(),
)  # fmt: skip
def test_a_part_belongs_to_the_longest_where_not_much_more_lies_between_them_than_in_the_item(
    head: int, longest: int, part: int, missing: int, put_in: int, before: int, after: int, mirrored: bool
) -> None:
    """One word between a lone word and the rest, a third of the item (at least 4 words) where it is more than one.

    The row lacks the item's ``head`` words at its beginning.
    """
    item = OWN[: head + longest + missing + part]
    foreign = iter(OTHER)
    around = [list(islice(foreign, count)) for count in (before, put_in, after)]
    row = [*around[0], *item[head : head + longest], *around[1], *item[head + longest + missing :], *around[2]]
    if mirrored:
        item, row, before = item[::-1], row[::-1], after
    found = laid(" ".join(item), " ".join(row))
    assert found is not None
    near = put_in - missing <= (1 if part == 1 else max(4, len(item) // 3))
    lost = missing if near else missing + part
    # What is missing lies between the two, or at the end where the second does not belong.
    wanted = [False] * head + [True] * longest + [False] * missing + [near] * part
    if put_in == missing == 0:
        assert near
    assert found.matched == (wanted[::-1] if mirrored else wanted)
    edits = ([head] if head else []) + ([lost] if lost or put_in else [])
    assert found.edits() == (edits[::-1] if mirrored else edits)
    assert found.inserted == (max(0, put_in - missing) if near else 0)
    whole = longest + put_in + part
    start = before + (put_in + part if mirrored and not near else 0)
    assert (found.low, found.high) == (start, start + (whole if near else longest))


def test_parts_are_added_one_by_one_each_measured_from_the_one_before() -> None:
    first, second, third = OWN[:6], OWN[6:9], OWN[9:11]
    row = [*first, *OTHER[:4], *second, *OTHER[4:8], *third]
    for item, there in ((OWN[:11], row), (OWN[:11][::-1], row[::-1])):
        found = laid(" ".join(item), " ".join(there))
        assert found is not None
        assert all(found.matched)
        assert found.inserted == 4
        assert found.edits() == [0, 0]


def test_a_part_of_a_row_is_looked_at_and_told_by_its_place_in_the_row() -> None:
    row = [*OTHER[:3], *OWN[:6], *OTHER[3:6]]
    found = laid(" ".join(OWN[:6]), " ".join(row), low=2, high=8)
    assert found is not None
    assert (found.matched, found.low, found.high) == ([True] * 5 + [False], 3, 8)
    assert laid(" ".join(OWN[:6]), " ".join(row), low=9) is None


@pytest.mark.parametrize("noise", [[], OTHER[:2]])
@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("split_in", ["item", "row"])
def test_words_that_are_joined_or_split_are_the_same_at_both_ends_and_between(
    noise: list[str], place: int, split_in: str
) -> None:
    plain, split = OWN[:5], list(OWN[:5])
    split[place : place + 1] = [split[place][:3], split[place][3:]]
    item, there = (split, plain) if split_in == "item" else (plain, split)
    found = laid(" ".join(item), " ".join([*noise, *there, *noise]))
    assert found is not None
    assert all(found.matched)
    assert all(found.kept)
    assert found.score() == 1
    assert found.inserted == (1 if split_in == "row" and 0 < place < 4 else 0)


@pytest.mark.parametrize("noise", [[], OTHER[:2]])
def test_the_same_letters_in_words_cut_elsewhere_are_the_same_at_both_ends(noise: list[str]) -> None:
    one, two = OWN[0] + OWN[1][:4], OWN[1][4:] + OWN[2]
    for cut in (3, 5, 9):
        changed = [one[:cut], one[cut:] + two]
        for item, row in (
            ([one, two, *OWN[3:7]], [*changed, *OWN[3:7]]),
            ([*OWN[3:7], one, two], [*OWN[3:7], *changed]),
        ):
            found = laid(" ".join(item), " ".join([*noise, *row, *noise]))
            assert found is not None
            assert all(found.matched)
            assert found.score() == 1


def test_at_an_end_other_letters_are_not_the_same() -> None:
    for place, item in ((0, [OWN[0], *OWN[1:5]]), (4, [*OWN[1:5], OWN[0]])):
        row = list(item)
        row[place : place + 1] = [OTHER[0][:3], OTHER[0][3:]]
        found = laid(" ".join(item), " ".join(row))
        assert found is not None
        assert [index for index, matched in enumerate(found.matched) if not matched] == [place]
        assert found.edits() == [1]


@pytest.mark.parametrize(
    ("item", "row", "renumbered", "recalculated"),
    [
        ("he has 12 pears and 30 figs", "he has 12 pears and 30 figs", False, False),
        ("he has 12 pears and 30 figs", "he has 12 pears and 31 figs", True, False),
        ("so 12 + 30 is what", "so 12 - 30 is what", False, True),
        ("so 12 + 30 is what", "so 13 - 30 is what", True, True),
        # A number that stands alone in the row says nothing: any number is in its place by chance.
        ("figs 12 pears are ripe now", "nuts 14 plums are ripe now", False, False),
    ],
)
def test_numbers_and_operators_that_differ_are_told(item: str, row: str, renumbered: bool, recalculated: bool) -> None:
    found = laid(item, row)
    assert found is not None
    assert (found.renumbered, found.recalculated) == (renumbered, recalculated)


@pytest.mark.parametrize("size", [8, 9, 10, 12])
def test_both_ends_changed_are_too_much_for_an_item_of_nine_words_and_not_for_one_of_ten(size: int) -> None:
    """Each costs as much as two pairs; at a share of .6 a tenth of four pairs a word is allowed."""
    item = OWN[:size]
    found = told(item, [OTHER[0], *item[1:-1], OTHER[1]])
    assert (found is not None) == (size >= 10)
    if found is not None:
        assert (found.kind, found.matched) == ("fuzzy", frozenset(range(1, size - 1)))
        assert found.score == pytest.approx((size - 3) / (size - 1))


@pytest.mark.parametrize("size", [5, 6, 7])
def test_an_item_of_six_words_is_found_with_its_halves_turned_and_with_a_word_put_in(size: int) -> None:
    item = OWN[:size]
    for row in ([*item[3:], *item[:3]], [*item[:3], OTHER[0], *item[3:]]):
        found = told(item, row)
        assert (found is not None) == (size >= 6)
        if found is not None:
            assert (found.kind, found.score) == ("fuzzy", pytest.approx((size - 2) / (size - 1)))
