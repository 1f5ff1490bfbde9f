from hypothesis import given
from hypothesis import strategies as st

from harness.evaluation.trees import COPIES, Tree, batches, plant, shared

SEQUENCES = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=12).map(tuple), min_size=1, max_size=30, unique=True
)


def spelled(tree: Tree, node: int) -> tuple[int, ...]:
    """What a node stands for: the tokens from the root to it, by parents alone."""
    tokens: list[int] = []
    while node >= 0:
        tokens.append(tree.tokens[node])
        node = tree.parents[node]
    return tuple(reversed(tokens))


@given(SEQUENCES, st.integers(1, 40), st.booleans())
def test_every_sequence_is_in_one_tree_and_spelled_by_its_path(
    sequences: list[tuple[int, ...]], most: int, share: bool
) -> None:
    trees = plant(sequences, most, share=share)
    planted = [sequence for tree in trees for sequence in tree.paths]
    assert sorted(planted) == sorted(sequences)
    for tree in trees:
        for sequence, path in tree.paths.items():
            assert spelled(tree, path[-1]) == sequence
            assert [tree.depths[node] for node in path] == list(range(len(sequence)))
        assert len(tree.tokens) <= max(most, max(map(len, tree.paths)))


@given(SEQUENCES)
def test_a_node_sees_its_own_path_and_nothing_else(sequences: list[tuple[int, ...]]) -> None:
    for tree in plant(sequences, 200):
        seen = tree.visible()
        for path in tree.paths.values():
            for place, node in enumerate(path):
                assert sorted(seen[node].nonzero()[0]) == sorted(path[: place + 1])


@given(SEQUENCES)
def test_no_start_is_computed_twice_in_a_tree(sequences: list[tuple[int, ...]]) -> None:
    for tree in plant(sequences, 200):
        starts = {spelled(tree, node) for node in range(len(tree.tokens))}
        assert len(starts) == len(tree.tokens)


def test_options_of_one_long_context_share_a_tree_and_strangers_do_not() -> None:
    contexts = [tuple(range(100 * i, 100 * i + 40)) for i in range(1, 4)]
    options = [(*context, 7, option) for context in contexts for option in range(4)]
    trees = plant(options, 1024)
    assert [len(tree.paths) for tree in trees] == [4, 4, 4]
    assert [len(tree.tokens) for tree in trees] == [45, 45, 45]
    assert [len(tree.tokens) for tree in plant(options, 1024, share=False)] == [42] * 12


def test_sequences_without_a_common_start_never_need_a_mask() -> None:
    assert not any(tree.branches() for tree in plant([(1, 2, 3), (2, 3), (3,)], 100))
    assert any(tree.branches() for tree in plant([(1, 2, 3), (1, 2, 4)], 100))


@given(SEQUENCES, st.integers(1, 50))
def test_batches_hold_every_tree_once_within_the_budget(sequences: list[tuple[int, ...]], budget: int) -> None:
    trees = plant(sequences, 20)
    taken = list(batches(trees, budget))
    assert sorted(id(tree) for batch in taken for tree in batch) == sorted(map(id, trees))
    for batch in taken:
        assert len(batch) == 1 or len(batch) * max(len(tree.tokens) for tree in batch) <= budget


@given(SEQUENCES, st.integers(1, 50), st.integers(1, 500))
def test_copies_of_a_long_cache_are_few(sequences: list[tuple[int, ...]], budget: int, behind: int) -> None:
    trees = plant(sequences, 20)
    taken = list(batches(trees, budget, behind))
    assert sorted(id(tree) for batch in taken for tree in batch) == sorted(map(id, trees))
    assert all(len(batch) == 1 or len(batch) * behind <= COPIES * budget for batch in taken)


def test_shared_counts_what_is_equal_at_the_start() -> None:
    assert shared((1, 2, 3), (1, 2)) == 2
    assert shared((), (1,)) == 0
    assert shared((1, 9), (2, 9)) == 0
