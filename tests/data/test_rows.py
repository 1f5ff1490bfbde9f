import json
from hashlib import blake2b, sha256

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import rows as tables
from harness.data.rows import (
    DROP_SCHEMA,
    SCHEMA,
    chained,
    content_digest,
    drops,
    frame,
    json_objects,
    pool_digest,
    ranked,
    row_digests,
    row_id,
    row_text,
)
from harness.identity import canonical_json, sequence_digest, unit_hash
from harness.records import CONTENT_COLUMNS, DROP_COLUMNS, ROW_COLUMNS

TEXT = st.text(alphabet="ab \n", max_size=6)


def table(*prompts: str, **columns: str) -> pl.DataFrame:
    return frame([{"source": "s", "prompt": prompt, "completion": "c", **columns} for prompt in prompts])


def test_tables_have_exactly_the_columns_of_the_contract() -> None:
    assert table("a").schema == SCHEMA
    assert list(SCHEMA) == list(ROW_COLUMNS)
    assert drops([]).schema == DROP_SCHEMA
    assert list(DROP_SCHEMA) == list(DROP_COLUMNS)
    assert frame([]).schema == SCHEMA


def test_a_column_that_rows_do_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="promt"):
        frame([{"source": "s", "promt": "a"}])


def test_row_id_is_the_content_and_nothing_else() -> None:
    plain = row_id({"prompt": "a", "completion": "b"})
    assert len(plain) == 16
    assert plain == row_id({"prompt": "a", "completion": "b", "text": None, "source": "other", "meta": "x"})
    assert plain != row_id({"prompt": "ab", "completion": ""})
    assert plain != row_id({"prompt": "a", "rejected": "b"})


def test_digests_see_what_they_are_meant_to_see() -> None:
    one, licensed, moved = (
        table("a", "b"),
        table("a", "b", license="MIT"),
        table("a", "b", meta='{"place": "x:1"}'),
    )
    assert content_digest(one) == content_digest(licensed) != content_digest(table("b", "a"))
    assert pool_digest(one) != pool_digest(licensed)
    assert pool_digest(one) == pool_digest(moved)


def test_row_text_joins_every_part() -> None:
    messages = json.dumps([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}])
    assert row_text({"messages": messages}) == "hi\nyo"
    assert row_text({"prompt": "a", "completion": "b", "text": None}) == "a\nb"
    assert row_text({"prompt": "a", "completion": "b"}, "completion") == "b"


@settings(deadline=None, max_examples=40)
@given(st.lists(TEXT, max_size=20), st.lists(TEXT, max_size=10), st.integers(0, 5))
def test_the_order_of_two_rows_does_not_depend_on_the_others(some: list[str], more: list[str], seed: int) -> None:
    def order(prompts: list[str]) -> list[tuple[str, int]]:
        seen = [(prompt, prompts[:index].count(prompt)) for index, prompt in enumerate(prompts)]
        return [seen[position] for position in ranked(table(*prompts), seed)]

    few = order(some)
    assert sorted(few) == sorted((p, some[:i].count(p)) for i, p in enumerate(some))
    assert [pair for pair in order(some + more) if pair in set(few)] == few


# ------------------------------------------------------------- whole columns at a time, with the digests of one by one

ANY_TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | TEXT
ROWS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys((*CONTENT_COLUMNS, "slice", "columns"), ANY_TEXT)))


@settings(deadline=None, max_examples=80)
@given(ROWS, st.integers(1, 4))
def test_digests_are_those_of_identity(rows: list[dict[str, str | None]], slice_size: int) -> None:
    made = frame(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "SLICE", slice_size)
        assert made["row_id"].to_list() == [row_id(row) for row in rows]
        assert frame(rows).equals(made)
        assert content_digest(made) == sequence_digest(made["row_id"])
        seen = made.drop("meta").iter_rows(named=True)
        each = [blake2b(canonical_json(row).encode(), digest_size=16).digest() for row in seen]
        assert pool_digest(made) == sha256(b"".join(each)).hexdigest()
        assert pool_digest(made) == chained(row_digests(part) for part in made.iter_slices(2))


def test_every_character_is_spelled_as_in_canonical_json() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    texts = ["".join(characters[start : start + 50]) for start in range(0, len(characters), 50)]
    assert json_objects(pl.DataFrame({"a": texts})).to_list() == [canonical_json({"a": text}) for text in texts]


@settings(deadline=None, max_examples=40)
@given(st.lists(TEXT, max_size=20), st.lists(st.integers() | TEXT, max_size=3))
def test_ranks_are_by_unit_hash_of_content_and_occurrence(prompts: list[str], parts: list[object]) -> None:
    made = table(*prompts)
    ids = made["row_id"].to_list()
    keys = [unit_hash(*parts, row, ids[:index].count(row)) for index, row in enumerate(ids)]
    assert ranked(made, *parts) == sorted(range(len(keys)), key=keys.__getitem__)


def test_whole_columns_and_single_values_make_a_table() -> None:
    made = tables.table({"text": ["a", "b"], "source": "s", "license": None, "slice": pl.Series(["x", None])}, 2)
    rows = [{"text": "a", "source": "s", "slice": "x"}, {"text": "b", "source": "s"}]
    assert made.equals(frame(rows))
    assert tables.table({"source": "s"}, 0).schema == SCHEMA
    with pytest.raises(ValueError, match="txt"):
        tables.table({"txt": ["a"]}, 1)


def test_carried_columns_count_for_the_pool_not_for_the_row() -> None:
    plain, scored = table("a"), table("a", columns='{"score":1}')
    assert plain["row_id"].equals(scored["row_id"])
    assert pool_digest(plain) != pool_digest(scored)
