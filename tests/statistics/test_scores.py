import numpy as np
import pytest

from harness.statistics.scores import Scores


def table(**changes: object) -> Scores:
    fields: dict[str, object] = {
        "values": np.arange(12.0).reshape(2, 2, 3),
        "arms": ("a", "b"),
        "seeds": ("1", "2"),
        "items": ("x", "y", "z"),
        "groups": ("g", "g", "h"),
    }
    return Scores(**(fields | changes))  # type: ignore[arg-type]


def test_pick_keeps_items_and_their_groups() -> None:
    picked = table().pick(np.array([True, False, True]))
    assert picked.items == ("x", "z")
    assert picked.groups == ("g", "h")
    assert picked.values.tolist() == [[[0, 2], [3, 5]], [[6, 8], [9, 11]]]
    assert picked.mean("b") == 8.5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": ("a",)}, "shape"),
        ({"arms": ("a", "a")}, 'name "a" twice among the arms'),
        ({"groups": ("g",)}, "3 items but 1 groups"),
        ({"values": np.full((2, 2, 3), np.nan)}, "arm a, seed 1, item x is nan"),
        ({"values": np.full((2, 2, 3), np.inf)}, "arm a, seed 1, item x is inf"),
        ({"values": [[[1, 0, 1], [0, 1, 1]], [[1, 0], [0, 1]]]}, "every arm needs the same seeds and items"),
        ({"values": [[[1, 0, 1], [0, 1, 1]], [[1, 0, "no"], [0, 1, 0]]]}, "no full table of numbers"),
        ({"values": np.zeros((2, 1, 3))}, r"shape \(2, 1, 3\); the names of arms, seeds and items say \(2, 2, 3\)"),
        ({"values": np.zeros((2, 2, 0)), "items": (), "groups": None}, "no items"),
    ],
)
def test_wrong_tables_are_refused_in_words(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        table(**changes)


def test_wrong_questions_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match='no arm is named "c"; there are a, b'):
        table().arm("c")
    with pytest.raises(ValueError, match="3 booleans"):
        table().pick(np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="no items"):
        table().pick(np.zeros(3, dtype=bool))


def test_an_item_without_a_group_stands_alone() -> None:
    mixed = table(groups=("g", None, "g"))
    assert mixed.members().tolist() == [0, 1, 0]  # type: ignore[union-attr]
    assert mixed.clusters == 2
    named_alike = table(groups=("y", None, "y"))  # a group with the name of an item is another thing
    assert named_alike.clusters == 2
    for alone in (None, (None, None, None), ("g", None, "h")):
        assert table(groups=alone).members() is None
        assert table(groups=alone).clusters == 3
