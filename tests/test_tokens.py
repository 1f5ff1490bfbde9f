"""Rows as token ids: equal to what transformers and TRL's SFTTrainer make of the same rows."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from harness import models
from harness.errors import RequestError
from harness.tokens import IGNORED, Encoded, RowEncoder
from harness.training.run import CHECKPOINTING
from tests.tiny import EOS

# Anything people write, and what makes tokenizers stumble: special tokens, white space at the borders, digits.
TEXT = st.lists(
    st.one_of(st.text(max_size=12), st.sampled_from([EOS, "<|im_start|>", "\n", "  ", "12 + 7 =", "\r\n", "\u200d"])),
    max_size=4,
).map("".join)
PAIRS = st.tuples(TEXT, TEXT)
TURNS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3)
SYSTEM_TEMPLATE = """\
{%- if messages[0]['role'] != 'system' %}
    {{- '<|im_start|>system\nYou help.<|im_end|>\n' }}
{%- endif %}
{% for message in messages %}
    {% if message.role == "assistant" %}
        {{- '<|im_start|>assistant\n' }}
        {%- generation %}{{ message['content'] | trim }}{{ eos_token }}{% endgeneration %}
    {% else %}
        {{- '<|im_start|>' + message['role'] + '\n' + message | tojson(ensure_ascii=True) + eos_token }}
    {% endif %}
    {% if loop.index > 9 %}{% break %}{% endif %}
{% endfor %}
{% if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{% endif %}
"""


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny)


@pytest.fixture(scope="module")
def encoder(tiny: Path) -> RowEncoder:
    return RowEncoder(tiny, chat_template=False, max_length=100_000)


@pytest.fixture(scope="module")
def network(tiny: Path) -> Any:
    return models.load(tiny, "cpu")[0]


def changed(tiny: Path, folder: Path, **settings_: Any) -> Path:
    """Copy the tokenizer with other settings; None removes one."""
    folder.mkdir()
    shutil.copy(tiny / "tokenizer.json", folder)
    config = json.loads((tiny / "tokenizer_config.json").read_text()) | settings_
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return folder


# -------------------------------------------------------------------------------------------------- transformers


@given(TEXT)
def test_texts_are_tokenized_as_transformers_does(
    encoder: RowEncoder, tokenizer: PreTrainedTokenizerBase, text: str
) -> None:
    ids = tokenizer(text if text.endswith(EOS) else text + EOS)["input_ids"]
    assert encoder.encode({"completion": text}).input_ids == ids
    assert encoder.text(ids) == tokenizer.decode(ids)


def conversation(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [
        {"role": role, "content": text}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]


@pytest.mark.parametrize("template", ["the model's", "with a system turn, tags and filters", "one of several"])
def test_conversations_are_rendered_as_transformers_does(tiny: Path, tmp_path: Path, template: str) -> None:
    folder = tmp_path / "model"
    if template == "the model's":
        shutil.copytree(tiny, folder)
    elif template == "one of several":
        shown = "{% for message in messages %}{{ message.content }}|{% endfor %}"
        changed(
            tiny, folder, chat_template=[{"name": n, "template": t} for n, t in (("tools", "x"), ("default", shown))]
        )
    else:
        (changed(tiny, folder) / "chat_template.jinja").write_text(SYSTEM_TEMPLATE)
    stock = AutoTokenizer.from_pretrained(folder)
    encoder = RowEncoder(folder, chat_template=True, max_length=100_000)
    # A template that leaves the last turn open is the one thing that is not taken as it is.
    end = [stock.eos_token_id] if template == "one of several" else []

    @settings(max_examples=60)
    @given(TURNS)
    def same(turns: list[tuple[str, str]]) -> None:
        messages = conversation(turns)
        expected = stock.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
        expected += end * (EOS not in turns[-1][1])
        assert encoder.encode({"messages": json.dumps(messages)}).input_ids == expected
        # Prompt and completion become a user's and an assistant's turn.
        prompt, completion = turns[-1]
        expected = stock.apply_chat_template(conversation(turns[-1:]), tokenize=True, return_dict=True)["input_ids"]
        expected += end * (EOS not in completion)
        assert encoder.encode({"prompt": prompt, "completion": completion}).input_ids == expected

    same()


# ----------------------------------------------------------------------------------------------------------- TRL


def prepared(
    network: Any, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict[str, Any]], max_length: int = 100_000
) -> list[Encoded]:
    """Return what TRL's trainer makes of rows."""
    config = SFTConfig(
        output_dir=tempfile.gettempdir(),
        max_length=max_length,
        use_cpu=True,
        bf16=False,
        report_to=[],
        **{CHECKPOINTING: False},
    )
    dataset = datasets.Dataset.from_list(list(rows))
    trainer = SFTTrainer(model=network, args=config, train_dataset=dataset, processing_class=tokenizer)
    network.__dict__.pop("forward", None)  # the trainer's patch of this instance
    return [Encoded(row["input_ids"], row["labels"]) for row in trainer.train_dataset]


def learned(encoded: list[Encoded]) -> list[Encoded]:
    """TRL leaves out rows whose completion was cut off."""
    return [row for row in encoded if any(label != IGNORED for label in row.labels)]


SEVERAL = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.disable_progress_bars()


@SEVERAL
@given(rows=st.lists(PAIRS, min_size=1, max_size=24), max_length=st.sampled_from([5, 12, 100_000]))
def test_pairs_are_encoded_as_trl_does(
    tiny: Path, network: Any, tokenizer: PreTrainedTokenizerBase, rows: list[tuple[str, str]], max_length: int
) -> None:
    pairs = [{"prompt": prompt, "completion": completion} for prompt, completion in rows]
    encoder = RowEncoder(tiny, chat_template=False, max_length=max_length)
    ours = [encoder.encode(pair) for pair in pairs]
    assert learned(ours) == prepared(network, tokenizer, pairs, max_length)
    assert all(len(row.input_ids) == len(row.labels) <= max_length for row in ours)


@SEVERAL
@given(rows=st.lists(TURNS, min_size=1, max_size=12))
def test_conversations_are_encoded_as_trl_does(
    encoder: RowEncoder, network: Any, tokenizer: PreTrainedTokenizerBase, rows: list[list[tuple[str, str]]]
) -> None:
    """The last answer is learned, what comes before it is its prompt."""
    talks = [conversation(turns) for turns in rows]
    ours = [encoder.encode({"messages": json.dumps(talk)}) for talk in talks]
    split = [{"prompt": talk[:-1], "completion": talk[-1:]} for talk in talks]
    assert learned(ours) == prepared(network, tokenizer, split)


@SEVERAL
@given(rows=st.lists(TEXT.filter(bool), min_size=1, max_size=24), max_length=st.sampled_from([3, 100_000]))
def test_plain_texts_are_encoded_as_trl_does(
    tiny: Path, network: Any, tokenizer: PreTrainedTokenizerBase, rows: list[str], max_length: int
) -> None:
    encoder = RowEncoder(tiny, chat_template=False, max_length=max_length)
    ours = [encoder.encode({"text": text}) for text in rows]
    assert ours == prepared(network, tokenizer, [{"text": text} for text in rows], max_length)


# ------------------------------------------------------------------------------------------------- what is learned


def test_the_answer_and_the_end_of_the_turn_are_learned(encoder: RowEncoder) -> None:
    row = encoder.encode({"prompt": "Q: 7 + 9 =\nA:", "completion": " 16"})
    start = row.labels.index(next(label for label in row.labels if label != IGNORED))
    assert encoder.text(row.input_ids[:start]) == "Q: 7 + 9 =\nA:"
    assert encoder.text(row.labels[start:]) == f" 16{EOS}"


def test_an_end_that_is_there_is_not_written_twice(encoder: RowEncoder) -> None:
    plain = encoder.encode({"prompt": "Q:", "completion": " 1"})
    assert encoder.encode({"prompt": "Q:", "completion": f" 1{EOS}"}) == plain


def test_a_missing_prompt_is_an_empty_one(encoder: RowEncoder) -> None:
    row = encoder.encode({"prompt": None, "completion": "the cat"})
    assert row.labels == row.input_ids


# -------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"source": "s", "row_id": "r1", "prompt": "p"}, "s row r1: objective sft needs prompt and completion"),
        ({"source": "s", "row_id": "r1", "messages": '[{"role": "user", "content": "x"}]'}, "not the assistant's"),
        ({"source": "s", "row_id": "r1", "messages": "[]"}, "not the assistant's"),
    ],
)
def test_rows_that_cannot_be_used_are_named(encoder: RowEncoder, row: dict[str, str], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        encoder.encode(row)


def test_models_that_cannot_be_used_are_named(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no tokenizer\.json"):
        RowEncoder(tmp_path, chat_template=False, max_length=8)
    shutil.copy(tiny / "tokenizer.json", tmp_path)
    with pytest.raises(RequestError, match=r"no tokenizer_config\.json"):
        RowEncoder(tmp_path, chat_template=False, max_length=8)
    with pytest.raises(RequestError, match="no eos_token"):
        RowEncoder(changed(tiny, tmp_path / "a", eos_token=None), chat_template=False, max_length=8)
    bare = changed(tiny, tmp_path / "b")
    with pytest.raises(RequestError, match="asks for chat_template, but the model has none"):
        RowEncoder(bare, chat_template=True, max_length=8)
    with pytest.raises(RequestError, match="rows with messages need a model with a chat template"):
        RowEncoder(bare, chat_template=False, max_length=8).encode({"source": "s", "messages": '[{"role": "user"}]'})


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% if %}", "cannot be read"),
        ("{{ nothing.at.all }}", "cannot be used"),
        ("{{ raise_exception('only one turn') }}", "refuses a row: only one turn"),
        ("{{ ''.__class__.__mro__ }}", "cannot be used"),
    ],
)
def test_templates_that_fail_are_reported_in_words(tiny: Path, tmp_path: Path, template: str, words: str) -> None:
    folder = changed(tiny, tmp_path / "model", chat_template=template)
    with pytest.raises(RequestError, match=words):
        RowEncoder(folder, chat_template=True, max_length=8).encode({"prompt": "a", "completion": "b"})


def test_end_of_text_token_written_as_an_object(tiny: Path, tmp_path: Path) -> None:
    folder = changed(tiny, tmp_path / "model", eos_token={"content": EOS, "lstrip": False})
    assert RowEncoder(folder, chat_template=False, max_length=8).eos == EOS


def test_preferences_start_where_either_answer_leaves_the_prompt(
    tiny: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    turns = [{"role": "user", "content": "the cat sat"}]
    row = {"messages": json.dumps(turns), "chosen": "on the mat", "rejected": "on the log"}
    pair = RowEncoder(tiny, chat_template=False, max_length=200, objective="dpo").encode(row)
    assert pair.rejected is not None
    for side, sequence in (("chosen", pair), ("rejected", pair.rejected)):
        whole = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": row[side]}], tokenize=False)
        assert sequence.input_ids == tokenizer(whole, add_special_tokens=False).input_ids
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    start = len(tokenizer(asked, add_special_tokens=False).input_ids)
    assert pair.labels[:start] == pair.rejected.labels[:start] == [IGNORED] * start
    assert pair.labels[start:] == pair.input_ids[start:]
    assert pair.length == len(pair.input_ids) + len(pair.rejected.input_ids)


@pytest.mark.parametrize(
    ("objective", "row", "needs"),
    [
        ("sft", {"prompt": "a", "chosen": "b", "rejected": "c"}, "use dpo"),
        ("dpo", {"prompt": "a", "completion": "b"}, "needs prompt, chosen and rejected"),
        ("text", {"prompt": "a", "completion": "b"}, "objective text needs text"),
    ],
)
def test_rows_of_another_objective_are_refused(tiny: Path, objective: str, row: dict[str, str], needs: str) -> None:
    with pytest.raises(RequestError, match=needs):
        RowEncoder(tiny, chat_template=False, max_length=200, objective=objective).encode(row)
