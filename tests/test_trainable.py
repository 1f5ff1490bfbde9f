"""Whether a model can learn from a row: what is told of many rows at once is what encoding each of them tells."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from harness.data.rows import frame
from harness.spec import OBJECTIVES
from harness.tokens import IGNORED, RowEncoder
from harness.trainable import cut_off, unusable
from tests.extending.whole import WHOLE
from tests.tiny import EOS

TEMPLATES = {
    "plain": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "quoting": "{% for m in messages %}{{ m | tojson(ensure_ascii=True) }}<|im_end|>{% endfor %}",
    "no system, turns alternate": "{% if messages and messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "[{{ m.role }}]{{ m.content | trim }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
    "open": "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}",
    "needs a first turn": "{{ messages[0].content }}{% for m in messages[1:] %}|{{ m.content }}{% endfor %}|",
}
SAID = st.one_of(
    st.sampled_from(["", " ", "\n\t", "\u00a0", "\x1c", "yes", EOS, "12 + 7 =", '"\\\n', "\u017f\ufb03" * 9]),
    st.integers(1, 90).map(lambda size: "word " * size),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
TURN = st.tuples(st.sampled_from(["user", "assistant", "system", "tool"]), SAID)
MESSAGES = st.one_of(
    st.lists(TURN, min_size=1, max_size=4),
    st.lists(st.tuples(SAID, SAID), min_size=1, max_size=3).map(
        lambda pairs: [turn for a, b in pairs for turn in (("user", a), ("assistant", b))]
    ),
).map(lambda turns: json.dumps([{"role": role, "content": said} for role, said in turns], ensure_ascii=False))
LAYOUTS = {
    "pair": st.fixed_dictionaries({"prompt": SAID, "completion": SAID}),
    "answer": st.fixed_dictionaries({"completion": SAID}),
    "talk": st.fixed_dictionaries({"messages": MESSAGES}),
    "text": st.fixed_dictionaries({"text": SAID}),
    "preference": st.fixed_dictionaries({"prompt": SAID, "chosen": SAID, "rejected": SAID}),
    "preference after a talk": st.fixed_dictionaries({"messages": MESSAGES, "chosen": SAID, "rejected": SAID}),
}
ROWS = st.lists(st.one_of(*LAYOUTS.values()), min_size=1, max_size=12)


def model(tiny: Path, folder: Path, template: str, *, normal: bool = False, added: bool = False) -> Path:
    """Copy a model, with another template, with a tokenizer that rewrites texts, or that has too many tokens."""
    shutil.copytree(tiny, folder)
    (folder / "chat_template.jinja").write_text(template)
    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if normal:
        raw.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    if added:
        raw.add_special_tokens(["yes"])
    raw.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("objective", [*OBJECTIVES, "whole"])
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("chat", [False, True])
def test_many_rows_at_once_are_told_as_each_of_them(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, template: str, chat: bool
) -> None:
    monkeypatch.setitem(OBJECTIVES, "whole", WHOLE)  # learns what comes before an answer, too
    odd = template in ("quoting", "open")
    folder = model(tiny, tmp_path / "model", TEMPLATES[template], normal=odd and chat, added=odd)
    encoders = {
        length: RowEncoder(folder, chat_template=chat, max_length=length, objective=objective)
        for length in (8, 60, 200, 5000)
    }

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(ROWS, st.sampled_from(sorted(encoders)))
    def same(rows: list[dict[str, Any]], length: int) -> None:
        table, encoder = frame(rows), encoders[length]
        told = unusable(encoder, table)
        assert told.to_list() == unusable(encoder, table, every=True).to_list()
        table = table.filter(told.is_null())
        told = cut_off(encoder, table)
        assert told.to_list() == cut_off(encoder, table, every=True).to_list()
        # What is left can be encoded, and there is something to learn, and to stop at.
        for row in table.filter(told.is_null()).iter_rows(named=True):
            encoded = encoder.encode(row)
            assert encoded.teaches
            if not encoded.cut:
                assert encoder.text([one for one in encoded.labels if one != IGNORED]).count(EOS)

    same()


@pytest.mark.parametrize(
    ("objective", "row", "reason"),
    [
        ("sft", {"prompt": "a", "completion": " \n"}, "the completion is empty"),
        ("sft", {"text": "\t"}, "the text is empty"),
        ("text", {"text": ""}, "the text is empty"),
        ("dpo", {"prompt": "a", "chosen": "", "rejected": "b"}, "the chosen answer is empty"),
        ("sft", {"messages": '[{"role": "user", "content": "a"}]'}, "the last message is not the assistant's"),
        (
            "sft",
            {"messages": '[{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]'},
            "the last answer is empty",
        ),
        (
            "sft",
            {"prompt": "a" * 60, "completion": "b"},
            "nothing is left to learn: 60 tokens come before its answer, and recipe.max_length is 32",
        ),
        (
            "sft",
            {"messages": '[{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}]'},
            "the model's chat template refuses a row: System role not supported",
        ),
        ("sft", {"prompt": "a", "chosen": "b", "rejected": "c"}, "it is a preference pair"),
        ("dpo", {"prompt": "a", "completion": "b"}, "objective dpo needs prompt, chosen and rejected"),
        ("sft", {"prompt": "a", "completion": "b"}, None),
        ("dpo", {"prompt": "a", "chosen": "b", "rejected": ""}, None),  # better than no answer: that can be learned
    ],
)
def test_reasons(tiny: Path, tmp_path: Path, objective: str, row: dict[str, str], reason: str | None) -> None:
    folder = model(tiny, tmp_path / "model", TEMPLATES["no system, turns alternate"])
    encoder = RowEncoder(folder, chat_template=False, max_length=32, objective=objective)
    table = frame([row])
    told = unusable(encoder, table)[0]
    told = cut_off(encoder, table)[0] if told is None else told
    assert (told or "").startswith(reason or "")
    assert (told is None) == (reason is None)


def test_only_rows_in_doubt_are_encoded(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others would take minutes, where there are a million of them."""
    asked: list[str] = []
    stock = RowEncoder._encoded

    def counted(self: RowEncoder, row: Any) -> Any:
        asked.append(row["row_id"])
        return stock(self, row)

    monkeypatch.setattr(RowEncoder, "_encoded", counted)
    talks = [[("user", f"what is {n}?"), ("assistant", str(n))] for n in range(300)]
    rows = frame(
        [{"prompt": "what " * (n % 90), "completion": str(n)} for n in range(300)]
        + [{"messages": json.dumps([{"role": r, "content": c} for r, c in talk])} for talk in talks]
    )
    encoder = RowEncoder(tiny, chat_template=True, max_length=900)
    assert unusable(encoder, rows).null_count() == cut_off(encoder, rows).null_count() == rows.height
    assert len(asked) <= 4


def test_a_table_without_rows(tiny: Path) -> None:
    encoder = RowEncoder(tiny, chat_template=True, max_length=8)
    for told in (unusable(encoder, frame([])), cut_off(encoder, frame([]))):
        assert told.dtype == pl.String
        assert not len(told)
