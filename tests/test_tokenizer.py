"""A model's tokenizer files: one end for every row, and none before an answer, whatever they were saved like."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from tokenizers import Tokenizer
from tokenizers import processors as post

from harness import models, tokenizer
from harness.errors import RequestError
from harness.evaluation.scorer import Scorer
from harness.tokens import RowEncoder
from tests.tiny import EOS

START = "<|im_start|>"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).map(lambda text: text + "x")


def ending(ids: dict[str, int]) -> dict[str, Any]:
    """Return ways in which tokenizers put something around a text."""
    named = list(ids.items())
    both = post.TemplateProcessing(single=[START, "$A", EOS], pair=[START, "$A", EOS, "$B", EOS], special_tokens=named)
    end = post.TemplateProcessing(single=["$A", EOS], pair=["$A", "$B", EOS], special_tokens=[(EOS, ids[EOS])])
    start = post.TemplateProcessing(single=[START, "$A"], pair=[START, "$A", "$B"], special_tokens=named[:1])
    return {
        "nothing": None, "start": start, "end": end, "both": both,
        "bert": post.BertProcessing((EOS, ids[EOS]), (START, ids[START])),
        "roberta": post.RobertaProcessing((EOS, ids[EOS]), (START, ids[START])),
        "several": post.Sequence([post.ByteLevel(), both]),
        "twice": post.TemplateProcessing(single=[START, START, "$A", EOS, EOS], special_tokens=named),
    }  # fmt: skip


KINDS = ("nothing", "start", "end", "both", "bert", "roberta", "several", "twice")


def saved(tiny: Path, folder: Path, kind: str) -> Path:
    """Copy a model, its tokenizer saved so that it puts something around every text."""
    shutil.copytree(tiny, folder)
    file = str(folder / "tokenizer.json")
    raw = Tokenizer.from_file(file)
    ids = {token: raw.token_to_id(token) for token in (START, EOS)}
    if (processor := ending(ids)[kind]) is not None:
        raw.post_processor = processor
    raw.save(file)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_has_one_end_and_a_prompt_none(tiny: Path, tmp_path: Path, kind: str) -> None:
    folder = saved(tiny, tmp_path / "model", kind)
    encoder = RowEncoder(folder, chat_template=False, max_length=10_000)
    bare = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    start, end = bare.token_to_id(START), bare.token_to_id(EOS)
    begins = {"nothing": 0, "end": 0, "twice": 2}.get(kind, 1) * [start]
    evaluated = models.load(folder, "cpu")[1]

    @settings(max_examples=40)
    @given(TEXT, TEXT)
    def holds(prompt: str, completion: str) -> None:
        row = encoder.encode({"prompt": prompt, "completion": completion})
        assert row.input_ids == [*begins, *bare.encode(prompt + completion).ids, end]
        assert evaluated.encode(prompt) == [*begins, *bare.encode(prompt).ids]
        assert encoder.encode({"text": prompt}).input_ids == [*evaluated.encode(prompt), end]
        lost = RowEncoder(folder, chat_template=False, max_length=10_000, objective="dpo").encode(
            {"prompt": prompt, "chosen": completion, "rejected": "no"}
        )
        assert lost.input_ids == row.input_ids
        assert lost.rejected is not None
        assert lost.rejected.input_ids.count(end) == 1

    holds()


@pytest.mark.parametrize("kind", ["both", "roberta"])
def test_what_is_scored_is_the_answer(tiny: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens whose log-likelihood is asked for are those of the option, after a context that has not ended."""
    asked: list[tuple[list[int], list[int]]] = []

    def shown(self: Scorer, requests: Any, *args: Any, **options: Any) -> list[tuple[float, bool]]:
        asked.extend((context, answer) for _, context, answer in requests)
        return [(0.0, False)] * len(requests)

    monkeypatch.setattr(Scorer, "_loglikelihood_tokens", shown)
    model, loaded = models.load(saved(tiny, tmp_path / "model", kind), "cpu")
    request = Instance("loglikelihood", {}, ("Q: 2 + 9 =\nA:", " 11"), 0, ("t", 0, 1))
    Scorer(model, loaded, 64, None, 1).loglikelihood([request])
    (context, answer), *others = asked
    assert not others
    assert loaded.decode(context) == f"{START}Q: 2 + 9 =\nA:"
    assert loaded.decode(answer) == " 11"


# ----------------------------------------------------------------------------------------------------- named tokens


def forgetting(tiny: Path, folder: Path, **files: dict[str, Any]) -> Path:
    """Copy a model whose ``tokenizer_config.json`` names no end, with other files besides."""
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    kept = {name: value for name, value in config.items() if name not in ("eos_token", "pad_token")}
    (folder / "tokenizer_config.json").write_text(json.dumps(kept))
    for name in ("config", "generation_config"):
        held = json.loads((folder / f"{name}.json").read_text())
        held.pop("eos_token_id", None)
        (folder / f"{name}.json").write_text(json.dumps(held | files.pop(name, {})))
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


IN_OTHER_FILES: dict[str, Callable[[int], dict[str, Any]]] = {
    "special_tokens_map": lambda end: {"special_tokens_map": {"eos_token": {"content": EOS, "lstrip": False}}},
    "generation_config": lambda end: {"generation_config": {"eos_token_id": [end, 5]}},
    "config": lambda end: {"config": {"eos_token_id": end}},
}


@pytest.mark.parametrize("where", IN_OTHER_FILES)
def test_the_end_of_a_text_may_be_named_in_another_file(tiny: Path, tmp_path: Path, where: str) -> None:
    end = Tokenizer.from_file(str(tiny / "tokenizer.json")).token_to_id(EOS)
    folder = forgetting(tiny, tmp_path / "model", **IN_OTHER_FILES[where](end))
    assert RowEncoder(folder, chat_template=False, max_length=64).eos == EOS
    evaluated = models.load(folder, "cpu")[1]
    assert (evaluated.eos_token, evaluated.pad_token) == (EOS, EOS)


def test_without_an_end_anywhere_a_row_cannot_end(tiny: Path, tmp_path: Path) -> None:
    folder = forgetting(tiny, tmp_path / "model")
    with pytest.raises(RequestError, match="no eos_token"):
        RowEncoder(folder, chat_template=False, max_length=64)


def test_an_end_that_is_no_token_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = forgetting(tiny, tmp_path / "model", special_tokens_map={"eos_token": "<|the_end|>"})
    with pytest.raises(RequestError, match=r"the eos_token <\|the_end\|> is no token of tokenizer\.json"):
        RowEncoder(folder, chat_template=False, max_length=64)


def test_an_end_that_the_tokenizer_would_cut_up_is_one_token(tiny: Path, tmp_path: Path) -> None:
    """Its file lists it among the words, but not among those that are found in a text."""
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    held = json.loads((folder / "tokenizer.json").read_text())
    ids = {token["content"]: token["id"] for token in held["added_tokens"]}
    held["added_tokens"] = []
    held["model"]["vocab"] |= ids
    (folder / "tokenizer.json").write_text(json.dumps(held))
    row = RowEncoder(folder, chat_template=False, max_length=64).encode({"prompt": "Q:", "completion": " 1"})
    assert row.input_ids[-1] == ids[EOS]
    assert models.load(folder, "cpu")[1].encode(f"Q: 1{EOS}") == row.input_ids


@pytest.mark.parametrize("ids", [7, [7, 9], [True], None, "x"])
def test_a_model_stops_where_its_files_say(tiny: Path, tmp_path: Path, ids: Any) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    held = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(held | {"eos_token_id": ids}))
    end = Tokenizer.from_file(str(tiny / "tokenizer.json")).token_to_id(EOS)
    expected = {7} if ids == 7 else {7, 9} if ids == [7, 9] else set()
    assert tokenizer.stops(folder, tokenizer.read(folder)) == expected | {end}


# ------------------------------------------------------------------------------------- ids that the model has not


def with_token(tiny: Path, folder: Path, token: str, **named: str) -> Path:
    """Copy a model to whose tokenizer a token was added, but not to its embedding."""
    shutil.copytree(tiny, folder)
    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
    raw.add_special_tokens([token])
    raw.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | named))
    return folder


def test_padding_that_the_model_has_not_is_another_token(tiny: Path, tmp_path: Path) -> None:
    folder = with_token(tiny, tmp_path / "model", "[PAD]", pad_token="[PAD]")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": config["vocab_size"] + 1}))
    model, loaded = models.load(folder, "cpu")
    assert loaded.pad_token_id < model.get_input_embeddings().num_embeddings


def test_rows_with_tokens_that_the_model_has_not_are_refused(tiny: Path, tmp_path: Path) -> None:
    encoder = RowEncoder(with_token(tiny, tmp_path / "model", "<new>"), chat_template=False, max_length=64)
    assert encoder.encode({"prompt": "Q:", "completion": " 1"}).input_ids
    with pytest.raises(RequestError, match=r"the token <new> has the id 300, and the model has embeddings for 300 ids"):
        encoder.encode({"prompt": "Q: <new>", "completion": " 1"})
    ended = with_token(tiny, tmp_path / "other", "<new>", eos_token="<new>")
    with pytest.raises(RequestError, match="the token <new> has the id"):
        RowEncoder(ended, chat_template=False, max_length=64)
