import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.rows import (
    DROP_SCHEMA,
    SCHEMA,
    content_digest,
    drops,
    frame,
    pool_digest,
    ranked,
    row_id,
    row_text,
)
from harness.records import DROP_COLUMNS, ROW_COLUMNS

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
