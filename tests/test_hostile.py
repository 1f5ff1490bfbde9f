"""Data, models and files that mean harm: no code is run, nothing elsewhere is touched, nothing secret is kept."""

from __future__ import annotations

import ast
import gzip
import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import models, suites, tracking, unpacking
from harness.data import files, sources
from harness.engines.jobs import Job, ModelJob, read_job
from harness.engines.worker import Worker
from harness.errors import RequestError, StepError
from harness.escaping import HIDDEN, redacted, visible
from harness.loading import load_study
from harness.loading.documents import MOST_VALUES
from harness.spec import Filter, Source, Study, Suite
from harness.store import Store
from harness.store.integrity import KEYED, folder_name
from harness.study.plan import make_plan
from harness.terminal import tables
from harness.tokens import RowEncoder
from harness.tracking import notes, ui_command
from tests.command import argv, environment, harness
from tests.conftest import ROOT, SECRETS, TINY_STUDY, Ran
from tests.jobs import run_job

EVIL = "<img src=http://x/a> ![b](http://x/b.png) [c](javascript:d) | e \x1b[31mred\x1b]0;title\x07 \u202etxt.exe\u200b"


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.trace),)


def study_text(old: str = "", new: str = "") -> str:
    assert old in TINY_STUDY
    return TINY_STUDY.replace(old, new) if old else TINY_STUDY


def refusal(folder: Path, text: str) -> str:
    """Return what is said of a study; ``<file>`` stands for its file."""
    (folder / "study.yaml").write_text(text)
    started = time.process_time()
    with pytest.raises(RequestError) as caught:
        load_study(folder / "study.yaml")
    assert time.process_time() - started < 5
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(folder / "study.yaml"), "<file>")


# ------------------------------------------------------------------------------------------------------- no pickles


def test_our_code_loads_no_pickles_and_runs_no_text() -> None:
    """By its syntax: what could run code from a file is not called anywhere, but where the study names the file."""
    allowed = {("harness/data/operations/functions.py", "exec")}
    forbidden = {"eval", "exec", "system", "popen", "unsafe_load", "full_load", "read_pickle", "literal_eval_unsafe"}
    for path in sorted((ROOT / "harness").rglob("*.py")):
        shown = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name.split(".")[0] for alias in node.names}
                names |= {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) else set()
                assert not names & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}, shown
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            name = called.rpartition(".")[2]
            if name == "eval" and called != "eval":
                continue  # a model's evaluation mode
            assert name not in forbidden or (shown, name) in allowed, (shown, called)
            assert called not in ("yaml.load", "torch.load", "torch.jit.load"), shown
            for keyword in node.keywords:
                value = ast.unparse(keyword.value)
                assert (keyword.arg, value) not in {
                    ("shell", "True"), ("allow_pickle", "True"), ("weights_only", "False"),
                    ("trust_remote_code", "True"),
                }, (shown, called)  # fmt: skip


def test_a_model_in_a_pickle_is_refused(tmp_path: Path, tiny: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harm(tmp_path / "trace")))
    with pytest.raises(RequestError, match=r"no \.safetensors file in the folder \(pickled weights are not loaded\)"):
        models.resolve("model", tmp_path, Store(tmp_path / "store"))
    with pytest.raises(OSError, match="safetensors"):  # and whoever comes past that
        models.load(folder, "cpu")
    assert not (tmp_path / "trace").exists()


def test_weights_that_lack_a_tensor_are_not_made_up(tmp_path: Path, tiny: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StepError, match=r"lack 1 tensors, model\.layers\.1\.mlp\.up_proj\.weight among them"):
        models.load(folder, "cpu")


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"weight_map": {"a": "../evil.safetensors"}}, "names '../evil.safetensors', which is no file beside it"),
        ({"weight_map": {"a": "/etc/passwd"}}, "names '/etc/passwd', which is no file beside it"),
        ({"weight_map": {"a": "part.safetensors"}}, "part.safetensors is missing from the folder"),
        ({"weight_map": []}, "has no weight_map"),
        ([], "expected a JSON object"),
    ],
)
def test_an_index_of_weights_names_files_of_its_folder(tmp_path: Path, tiny: Path, index: Any, said: str) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(RequestError) as caught:
        models.resolve("model", tmp_path, Store(tmp_path / "store"))
    assert said in str(caught.value)


def test_an_adapter_does_not_pass_for_a_model(tmp_path: Path, tiny: Path) -> None:
    """transformers would load the base model that the adapter names, from wherever that is."""
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/else"}')
    with pytest.raises(RequestError, match="the folder holds an adapter"):
        models.resolve("model", tmp_path, Store(tmp_path / "store"))


@pytest.mark.slow
def test_a_checkpoint_with_code_in_it_is_refused(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.spec import Recipe
    from harness.tokens import Encoded
    from harness.training import checkpoints, run

    monkeypatch.setattr(checkpoints, "PERIOD", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    rows = [Encoded([1, 2, 3, 4 + i], [-100, 2, 3, 4 + i]) for i in range(8)]
    recipe = Recipe.model_validate({"steps": 3, "batch": 2, "max_length": 16, "lora": {"r": 2, "alpha": 4}})
    model = models.load(tiny, "cpu")

    class Stop(Exception):
        pass

    def stop(step: int, *_: Any) -> None:
        if step == 2:
            raise Stop

    ids = [str(i) for i in range(8)]
    with pytest.raises(Stop):
        run.train(*model, rows, ids, recipe, 1, tmp_path / "a", stop, tmp_path / "checkpoints")
    states = sorted((tmp_path / "checkpoints").glob("checkpoint-*/optimizer.pt"))
    assert states
    for state in states:
        state.write_bytes(pickle.dumps(Harm(tmp_path / "trace"), protocol=2))
    run.train(*model, rows, ids, recipe, 1, tmp_path / "a", None, tmp_path / "checkpoints")  # not gone on from
    assert not (tmp_path / "trace").exists()
    for state in sorted((tmp_path / "checkpoints").glob("checkpoint-*/optimizer.pt")):  # even with a forged digest
        written = json.loads((state.parent / "curve.json").read_text())
        (state.parent / "curve.json").write_text(json.dumps(written | {"files": {}}))
        state.write_bytes(pickle.dumps(Harm(tmp_path / "trace"), protocol=2))
    with pytest.raises(pickle.UnpicklingError, match=r"[Ww]eights"):
        run.train(*model, rows, ids, recipe, 1, tmp_path / "a", None, tmp_path / "checkpoints")
    assert not (tmp_path / "trace").exists()


@pytest.mark.slow
def test_damaged_adapters_are_not_evaluated_and_the_rest_goes_on(ran: Ran, tmp_path: Path) -> None:
    """One run's adapter has another tensor in it, the other's is a pickle; both have lost their results."""
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(ran.folder, tmp_path / "study"))
    store = Store(Path(shutil.copytree(ran.store, tmp_path / "store")))
    for result in store.artifacts("result"):
        shutil.rmtree(result.folder)
    wrong, pickled = store.artifacts("adapter")
    tensors = load_file(wrong.folder / "adapter_model.safetensors")
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name][:1].clone()}, wrong.folder / "adapter_model.safetensors")
    (pickled.folder / "adapter_model.safetensors").unlink()
    (pickled.folder / "adapter_model.bin").write_bytes(pickle.dumps(Harm(tmp_path / "trace")))
    failed = harness("run", "study.yaml", "--no-track", "--json", "--store", store.root, cwd=folder)
    assert failed.code == 1, failed.err
    said = {one["run"]: one["message"] for one in failed.json["failed"]}
    assert set(said) == {"baseline/seed 1", "verified/seed 1"}
    assert f"{wrong.folder} is damaged: adapter_model.safetensors has " in said["baseline/seed 1"]
    assert f"{pickled.folder} is damaged: adapter_model.safetensors is missing" in said["verified/seed 1"]
    assert len(store.artifacts("result")) == 1  # the base model's
    assert not (tmp_path / "trace").exists()
    decided = harness("decide", "study.yaml", "--store", store.root, cwd=folder)
    assert decided.code == 1
    assert "Traceback" not in decided.err


def test_datasets_that_bring_code_or_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    trace = tmp_path / "trace"

    def load(hub: str) -> str:
        with pytest.raises(RequestError) as caught:
            sources.load("mine", Source(hub=hub, revision="0" * 40), tmp_path)
        assert not trace.exists()
        return str(caught.value)

    (folder / "data.py").write_text(f"import os\nos.mkdir({str(trace)!r})\n")
    assert "sources.mine.hub: " in load(str(folder))
    (folder / "data.py").unlink()
    (tmp_path / "private.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (folder / "README.md").write_text('---\nconfigs:\n- config_name: default\n  data_files: "../private.jsonl"\n---\n')
    assert "its file ../private.jsonl is outside the folder" in load(str(folder))
    assert load("pandas") == "sources.mine.hub: pandas is a file format, no dataset; name files with path"


# ------------------------------------------------------------------------------------------------- code of a model

MODELING = """
from transformers import LlamaConfig, LlamaForCausalLM


class MineConfig(LlamaConfig):
    model_type = "mine"


class MineForCausalLM(LlamaForCausalLM):
    config_class = MineConfig
"""


@pytest.fixture
def coded(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder of a type that transformers does not know, with the code for it."""
    import transformers.dynamic_module_utils

    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "modeling.MineConfig",
                                                  "AutoModelForCausalLM": "modeling.MineForCausalLM"}}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling.py").write_text(MODELING)
    return folder


def test_code_of_a_model_is_run_only_where_the_study_says_so(coded: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(
        RequestError, match=r"needs Python code of its own, .* say trust_remote_code: true in the study"
    ):
        models.resolve("model", tmp_path, store)
    with pytest.raises(StepError, match=r"needs Python code of its own, .* say trust_remote_code: true in the study"):
        models.load(coded, "cpu")
    model = models.resolve("model", tmp_path, store, trust_remote_code=True)
    assert model.trust_remote_code
    network, _ = models.load(coded, "cpu", trust_remote_code=True)
    assert type(network).__name__ == "MineForCausalLM"
    (coded / "modeling.py").write_text(MODELING + "\n# other code, another model\n")
    assert models.resolve("model", tmp_path, store, trust_remote_code=True).digest != model.digest


def test_code_must_be_in_the_models_folder(coded: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (coded / "modeling.py").unlink()
    with pytest.raises(RequestError, match=r"its code modeling\.py is not in the folder"):
        models.resolve("model", tmp_path, store, trust_remote_code=True)
    for elsewhere in ("somebody/else--modeling.Mine", "../modeling.Mine", "/tmp/modeling.Mine"):
        config = json.loads((coded / "config.json").read_text()) | {"auto_map": {"AutoConfig": elsewhere}}
        (coded / "config.json").write_text(json.dumps(config))
        with pytest.raises(RequestError, match=r"copy it to the folder|is not in the folder"):
            models.resolve("model", tmp_path, store, trust_remote_code=True)


def test_a_known_model_needs_no_code_that_lies_beside_it(coded: Path, tmp_path: Path) -> None:
    config = json.loads((coded / "config.json").read_text()) | {"model_type": "llama"}
    (coded / "config.json").write_text(json.dumps(config))
    plain = models.resolve("model", tmp_path, Store(tmp_path / "store"))
    assert type(models.load(coded, "cpu")[0]).__name__ == "LlamaForCausalLM"
    (coded / "modeling.py").write_text("raise RuntimeError('run')")
    assert models.resolve("model", tmp_path, Store(tmp_path / "store")).digest == plain.digest
    assert type(models.load(coded, "cpu")[0]).__name__ == "LlamaForCausalLM"


def test_a_hub_model_with_code_is_another_model(coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    commit = "0123456789abcdef0123456789abcdef01234567"
    name, store = f"somebody/mine@{commit}", Store(tmp_path / "store")
    shutil.copytree(coded, tmp_path / "hub" / "models--somebody--mine" / "snapshots" / commit)
    with pytest.raises(RequestError, match=f"model: {name}: it needs Python code"):
        models.resolve(name, tmp_path, store)
    trusted = models.resolve(name, tmp_path, store, trust_remote_code=True)
    assert trusted.folder is not None
    assert trusted.digest == f"hub:{name}+code"
    (trusted.folder / "modeling.py").unlink()  # as when it was downloaded without being trusted
    assert models.resolve(name, tmp_path, store, trust_remote_code=True).folder is None


def test_the_study_decides_for_driver_and_workers(study_folder: Path) -> None:
    def planned(text: str) -> Any:
        (study_folder / "study.yaml").write_text(text)
        loaded = load_study(study_folder / "study.yaml")
        return make_plan(loaded, Store(study_folder / "store"), lambda *_: []).model

    plain, trusted = planned(TINY_STUDY), planned(TINY_STUDY + "trust_remote_code: true\n")
    for model, said in ((plain, False), (trusted, True)):
        job = ModelJob(id="m", label="m", store="s", model=model)
        assert read_job(job.model_dump_json()) == job
        assert model.trust_remote_code is said
    (study_folder / "model" / "helper.py").write_text("x = 1\n")
    assert planned(TINY_STUDY).digest == plain.digest
    assert planned(TINY_STUDY + "trust_remote_code: true\n").digest != trusted.digest


# --------------------------------------------------------------------------------------------------- templates, YAML


def test_a_chat_template_is_rendered_in_a_sandbox(tmp_path: Path, tiny: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    row = {"source": "s", "row_id": "r", "prompt": "a", "completion": "b"}
    refused = "the model's chat template (cannot be used|counts through more than 1,000,000 numbers)"
    for template in (
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append({'role': 'x', 'content': 'y'}) }}",
        "{{ cycler.__init__.__globals__.os.mkdir('" + str(tmp_path / "trace") + "') }}",
        "{% for i in range(10000000000) %}x{% endfor %}",
    ):
        (folder / "chat_template.jinja").write_text(template)
        encoder = RowEncoder(folder, chat_template=True, max_length=64)
        with pytest.raises(RequestError, match=refused):
            encoder.encode(row)
    assert not (tmp_path / "trace").exists()


@pytest.mark.slow
def test_templates_of_tasks_are_rendered_in_a_sandbox(tmp_path: Path) -> None:
    from harness.evaluation import tasks

    folder = tmp_path / "suite" / "tasks" / "quiz"
    folder.mkdir(parents=True)
    trace = tmp_path / "trace"
    config = {
        "task": "quiz", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "quiz.jsonl"}},
        "test_split": "test", "output_type": "loglikelihood", "doc_to_target": "answer",
        "doc_to_text": "{{ cycler.__init__.__globals__.os.mkdir('" + str(trace) + "') }}",
        "metric_list": [{"metric": "acc"}],
    }  # fmt: skip
    (folder / "quiz.yaml").write_text(json.dumps(config))
    (folder / "quiz.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    suite = Suite.model_validate({"suite": "mine", "tasks": {"quiz": {"task": "quiz", "path": "quiz"}}})
    with pytest.raises(Exception, match="unsafe"):
        tasks.materialize(suite, tmp_path / "suite")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("files_", "said"),
    [
        ({"a.yaml": "task: a\ndoc_to_text: !function os.getcwd"}, "a.yaml:2: !function os.getcwd: no such function"),
        ({"a.yaml": "task: a\nx: [!function .tmp.evil.run]"}, "a.yaml:2: !function .tmp.evil.run: no such function"),
        ({"a.yaml": "task: a\nx: !function ../evil.run"}, "a.yaml:2: !function ../evil.run: no such function"),
        ({"a.yaml": "task: a\ninclude: /etc/hosts"}, "a.yaml:2: include: no file /etc/hosts in the folder"),
        ({"a.yaml": "task: a\ninclude: [b, ../out]", "b": "x: 1"}, "a.yaml:2: include: no file ../out in the folder"),
        (
            {"a.yaml": "task: a\ninclude: b", "b": "x: !function os.getcwd"},
            "b:1: !function os.getcwd: no such function",
        ),
        ({"a.yaml": "task: a\ndataset_path: pandas"}, "a.yaml:2: dataset_path: pandas reads pickles"),
        ({"a.yaml": "task: [a"}, "a.yaml:1: not YAML (expected ',' or ']', but got '<stream end>')"),
    ],
)
def test_a_tasks_yaml_names_only_what_is_in_its_folder(tmp_path: Path, files_: dict[str, str], said: str) -> None:
    (tmp_path / "quiz").mkdir()
    (tmp_path / "out").write_text("x: 1")
    for name, text in files_.items():
        (tmp_path / "quiz" / name).write_text(text)
    suite = Suite.model_validate({"suite": "mine", "tasks": {"quiz": {"task": "a", "path": "quiz"}}})
    with pytest.raises(RequestError) as caught:
        suites.copy_local(suite, tmp_path, tmp_path / "copy")
    assert f"suite mine: tasks.quiz.path: {said}" in str(caught.value)
    assert not (tmp_path / "copy").exists()


def test_a_tasks_own_functions_and_includes_are_copied(tmp_path: Path) -> None:
    (tmp_path / "quiz").mkdir()
    (tmp_path / "quiz" / "a.yaml").write_text("task: a\ninclude: _base\ndoc_to_text: !function utils.text\n")
    (tmp_path / "quiz" / "_base").write_text("output_type: loglikelihood\n")
    (tmp_path / "quiz" / "utils.py").write_text("def text(doc): return ''\n")
    suite = Suite.model_validate({"suite": "mine", "tasks": {"quiz": {"task": "a", "path": "quiz"}}})
    suites.copy_local(suite, tmp_path, tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy/tasks/quiz").iterdir()} == {"a.yaml", "_base", "utils.py"}


BOMB = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10) if i else '1'}]\n" for i in range(12))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (study_text("seeds: 2", "seeds: !!python/object/apply:os.mkdir [trace]"),
         "<file>:20: the tag !!python/object/apply:os.mkdir is not used in studies; write plain text"),
        (study_text("study: tiny", "study: !!python/name:os.system"),
         "<file>:1: the tag !!python/name:os.system is not used in studies; write plain text"),
        (study_text("study: tiny", "study: !mine tiny"), "<file>:1: the tag !mine is not used in studies; ..."),
        (study_text("study: tiny", "study: !!binary aGk="), "<file>:1: the tag !!binary is not used in studies; ..."),
        (study_text("seeds: 2", "seeds: !!set {1, 2}"), "<file>:20: the tag !!set is not used in studies; ..."),
        (BOMB + study_text(),
         f"<file>:1: more than {MOST_VALUES:,} values; aliases (*name) of aliases grow without end"),
        (study_text("seeds: 2", "seeds: &a [*a]"), "<file>: not a study: it is nested without end"),
        ("a: " + "[" * 100_000, "<file>: not a study: it is nested without end"),
        ("a: " + "{a: " * 100_000, "<file>: not a study: it is nested without end"),
        (study_text("seeds: 2", "<<: {seeds: 2}"), "<file>:20: << (merging) is not used in studies; ..."),
        (study_text("seeds: 2", "? [1, 2]\n: 3"), "<file>:20: a name was expected"),
        (BOMB + "? *a11\n: 1\n", "<file>:1: more than ..."),
        (study_text("study: tiny", 'study: "a\\0b"'), "<file>:1: 'a\\x00b' holds what is no character"),
        (study_text("study: tiny", 'study: "a\\ud800"'), "<file>:1: 'a\\ud800' holds what is no character"),
        (study_text("study: tiny", "study: tiny\x07"), "<file>: not YAML (unacceptable character #x0007: ..."),
        (study_text("seeds: 2", "seeds: 2\nseeds: 3"), '<file>:21: "seeds" is given twice'),
        (study_text("seeds: 2", "seeds: " + "9" * 5000), "<file>:20: '9999..."),
        ("# " + "x" * (5 << 20), "<file>: 5 MiB; a study has at most 4"),
    ],
)  # fmt: skip
def test_yaml_makes_no_objects_and_does_not_grow(tmp_path: Path, text: str, said: str) -> None:
    told = refusal(tmp_path, text)
    assert told.startswith(said.removesuffix("...")) if said.endswith("...") else told == said
    assert not Path("trace").exists()


# ---------------------------------------------------------------------------------------------------- names and paths

NAMES = ["..", "../x", "/etc/passwd", "a/b", "a\\b", ".hidden", "a\nb", "a\n", "a b", "", "x" * 65, "аdmin", "a\u202eb",
         "a\u200bb", "～", "con\x1b[31m", "a;b", "$(id)", "-rf", "a%2fb", "ａ"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_that_could_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    for old in ("study: tiny", "suite: held-out", "  verified:", "    sums: {generator"):
        key, _, rest = old.partition(":") if old.startswith(" ") else ("", "", "")
        quoted = json.dumps(name)
        new = old.replace(old.partition(": ")[2], quoted) if not key else f"{key[: -len(key.lstrip())]}{quoted}:{rest}"
        said = refusal(tmp_path, study_text(old, new))
        assert said.startswith("<file>:")
        assert "is not a name" in said
        assert not set(said) & set("\x1b\u202e\u200b")


@given(st.text(max_size=300), st.text(alphabet="0123456789abcdef", min_size=16, max_size=16))
def test_whatever_a_step_is_called_its_folder_is_in_the_store(name: str, key: str) -> None:
    folder = folder_name(name, key)
    assert Path(folder).name == folder
    assert folder.isascii()
    assert len(folder) <= 97
    assert folder[0] not in ".-"
    assert KEYED.match(folder)


@pytest.mark.parametrize("name", ["rows\x1b[31m.jsonl", "rows\n.jsonl", "\u202elnosj.jsonl"])
def test_names_of_data_files_do_not_steer_the_terminal(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.__main__ import main

    (tmp_path / name).write_text('{"a\x1b[31m\u202e": 1}\n')
    for arguments in (["data", "card", name], ["data", "show", name, "--field", "prompt=nothing"]):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert ended.value.code == 2
        assert not set(printed.err + printed.out) & set("\x1b\u202e")


# -------------------------------------------------------------------------------------------------------------- bombs


def bomb(path: Path, size: int) -> None:
    """Write a file that unpacks to ``size`` bytes or more."""
    line = b'{"prompt": "' + b"a" * 1_000_000 + b'", "completion": "b"}\n'
    if path.suffix == ".gz":
        with gzip.open(path, "wb", compresslevel=1) as stream:
            for _ in range(-(-size // len(line))):
                stream.write(line)
    elif path.suffix == ".zst":
        import pyarrow as pa

        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            for _ in range(-(-size // len(line))):
                stream.write(line)
    else:
        count = -(-size // 1_000_000)
        text = pl.Series(["a" * 1_000_000]).extend_constant(None, 0)
        pl.DataFrame({"prompt": pl.concat([text] * count), "completion": pl.Series(["b"] * count)}).write_parquet(
            path, compression="zstd", row_group_size=count
        )


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.jsonl.zst", "rows.parquet"])
def test_a_bomb_is_refused_and_the_limit_can_be_raised(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    bomb(path, 40 << 20)
    assert path.stat().st_size < 400_000
    assert sum(1 for _ in files.records(path)) > 30  # below a gibibyte nothing is said
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED", 1 << 20)
    monkeypatch.setattr(unpacking, "MOST_TIMES", 20)
    with pytest.raises(RequestError, match=r"unpacks to more than \d+ MiB, .* set HARNESS_MAX_UNPACKED_GIB to what"):
        list(files.records(path))
    monkeypatch.setenv("HARNESS_MAX_UNPACKED_GIB", "0.2")
    assert sum(1 for _ in files.records(path)) > 30
    for wrong in ("lots", "-1", "nan", "inf", "0"):
        monkeypatch.setenv("HARNESS_MAX_UNPACKED_GIB", wrong)
        with pytest.raises(RequestError, match="HARNESS_MAX_UNPACKED_GIB: expected a number of GiB above 0"):
            list(files.records(path))


def test_a_parquet_file_of_one_value_repeated_is_a_bomb_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its pages unpack to is small: the value is written once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "rows.parquet"
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int32()), pa.array(["a" * 2_000]))
    pq.write_table(pa.table({"text": column.cast(pa.string())}), path)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED", 10 << 20)
    with pytest.raises(RequestError, match="unpacks to more than 10 MiB"):
        list(files.records(path))


@pytest.mark.parametrize("name", ["quiz.jsonl.gz", "quiz.jsonl.zst", "quiz.parquet"])
def test_a_bomb_in_a_tasks_folder_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval would have it unpacked by another library, which knows no limit."""
    (tmp_path / "quiz").mkdir()
    (tmp_path / "quiz" / "quiz.yaml").write_text("task: quiz\n")
    bomb(tmp_path / "quiz" / name, 40 << 20)
    suite = Suite.model_validate({"suite": "mine", "tasks": {"quiz": {"task": "quiz", "path": "quiz"}}})
    suites.copy_local(suite, tmp_path, tmp_path / "fine")
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED", 1 << 20)
    monkeypatch.setattr(unpacking, "MOST_TIMES", 20)
    with pytest.raises(RequestError, match=rf"suite mine: tasks.quiz.path: {name}: unpacks to more than \d+ MiB"):
        suites.copy_local(suite, tmp_path, tmp_path / "refused")


# ---------------------------------------------------------------------------------------------------------- injection


def test_text_in_terminal_tables_is_only_text() -> None:
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=200)
    console.print(tables.table([("A", "left")], [[EVIL], ["[red]b[/red] :smile:"]]))
    shown = out.getvalue()
    assert "\\x1b[31mred\\x1b]0;title\\x07 \\u202etxt.exe\\u200b" in shown
    assert "[red]b[/red]" in shown
    assert not set(shown) & set("\x07\u202e\u200b")


def test_notes_in_mlflow_load_nothing_and_hide_nothing() -> None:
    view = SimpleNamespace(question=EVIL, hypothesis=EVIL, decisions=None, runs=[])
    note = notes.study_note(view)  # type: ignore[arg-type]
    assert "<img" not in note
    assert "![b]" not in note
    assert "[c](" not in note
    assert " | " not in note.replace("\\|", "")
    assert not set(note) & set("\x1b\x07\u202e\u200b")
    assert "!\\[b\\](http://x/b.png)" in note


def test_the_description_of_an_experiment_in_mlflow_is_escaped_as_notes_are(tmp_path: Path) -> None:
    told: dict[str, str] = {}

    def create(name: str, artifact_location: str | None, tags: dict[str, str]) -> str:
        told.update(tags)
        return "1"

    client = SimpleNamespace(get_experiment_by_name=lambda name: None, create_experiment=create)
    view = SimpleNamespace(study="tiny", question=EVIL)
    tracking._experiment(client, view, tmp_path, "sqlite:///x.db")  # type: ignore[arg-type]
    assert told["mlflow.note.content"] == notes.escaped(EVIL)
    assert "<img" not in told["mlflow.note.content"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_lists_for_people_hold_no_formulas(tmp_path: Path, suffix: str) -> None:
    texts = ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\tx", " =1", "plain", "a=b", "-0.5"]
    path = tmp_path / f"list{suffix}"
    files.write(({"text": text, "score": -0.5} for text in texts), path, to_look_at=True)
    read = [record.value for record in files.records(path)]
    assert [row["text"] for row in read if row] == [text if text in ("plain", "a=b") else f"'{text}" for text in texts]
    assert {row["score"] for row in read if row} == {"-0.5"}  # a number is a number
    files.write(({"text": text} for text in texts), path)  # data to train on stay what they are
    assert [record.value for record in files.records(path)] == [{"text": text} for text in texts]


def test_flags_of_contamination_hold_no_formulas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.__main__ import main

    text = "=HYPERLINK(one two three four five six seven eight nine ten eleven twelve thirteen fourteen)"
    (tmp_path / "train.jsonl").write_text(json.dumps({"id": "=1+1", "text": text}) + "\n")
    (tmp_path / "eval.jsonl").write_text(json.dumps({"id": "@x", "text": text}) + "\n")
    monkeypatch.chdir(tmp_path)
    arguments = ["data", "decontaminate", "--train", "train.jsonl", "--eval", "eval.jsonl", "--out", "flags.csv"]
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    rows = [record.value for record in files.records(tmp_path / "flags.csv")]
    assert rows
    for row in rows:
        assert row is not None
        assert not any(str(value).lstrip().startswith(("=", "+", "@")) for value in row.values())


# ------------------------------------------------------------------------------------------------------------ secrets


@pytest.mark.slow
def test_no_secret_is_written_anywhere(ran: Ran, tmp_path: Path) -> None:
    """Not in the store, not in MLflow's database and artifacts, not in a log, the report, or on the terminal."""
    secrets = [*SECRETS.values(), "planted-secret-in-uri", ran.folder.name]
    report = ("report", "study.yaml", "--store", ran.store, "--out")
    for name in ("report.html", "report.md", "report.json"):
        made = harness(*report, tmp_path / name, "--format", name.rpartition(".")[2], cwd=ran.folder, **SECRETS)
        assert made.code == 0, made.err
    written = [path for folder in (ran.store, tmp_path) for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "mlflow.db" for path in written)
    assert any(path.parent.name == "logs" for path in written)
    for path in written:
        content = path.read_bytes()
        for secret in secrets:
            if (path.name, secret) != ("mlflow.db", ran.folder.name):  # MLflow gives its default experiment the folder
                assert secret.encode() not in content, path
            assert secret not in path.as_posix()
    for secret in [*SECRETS.values(), "planted-secret-in-uri"]:
        assert secret not in ran.printed
    assert "127.0.0.1:9" in ran.printed  # it was tried, and the address is told without its password


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("cannot reach postgresql://me:pass-word@db/x", "cannot reach postgresql://***@db/x"),
        ("https://token@host/path and http://host/a@b", "https://***@host/path and http://host/a@b"),
        ("GET https://host/f?X-Amz-Signature=abcdef&x=1", "GET https://host/f?X-Amz-Signature=***&x=1"),
        ("{'Authorization': 'Bearer abcdefghijk'}", "{'Authorization': 'Bearer ***'}"),
        ("token hf_abcdefghijklmnopqrstuvwx is wrong", "token *** is wrong"),
        ("AKIAABCDEFGHIJKLMNOP and ghp_abcdefghijklmnopqrst1234", "*** and ***"),
        ("password=abc, api_key: 'def'", "password=***, api_key: '***'"),
        ("eos_token=None; the token ids of 3 rows", "eos_token=None; the token ids of 3 rows"),
        ("max_tokens=5 of study tiny at step 3", "max_tokens=5 of study tiny at step 3"),
    ],
)
def test_secrets_are_hidden(text: str, hidden: str) -> None:
    assert redacted(text) == hidden


def test_secrets_of_the_environment_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        *SECRETS.items(),
        ("DATABASE", "mysql://u:p%40ss-word@h/d"),
        ("TOKENIZERS_PARALLELISM", "false"),
    ):
        monkeypatch.setenv(name, value)
    for secret in (*SECRETS.values(), "planted-secret-in-uri", "p@ss-word", "p%40ss-word"):
        told = redacted(f"before {secret} after")
        assert secret not in told
        assert HIDDEN in told
    assert redacted("false") == "false"
    assert redacted(f"in {Path.cwd()}") == f"in {Path.cwd()}"


def test_a_failure_is_kept_without_its_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRETS["HF_TOKEN"])

    def fail(self: Worker, job: Job) -> None:
        raise OSError(f"401 for https://me:{SECRETS['MLFLOW_TRACKING_PASSWORD']}@host with {SECRETS['HF_TOKEN']}")

    monkeypatch.setattr(Worker, "_run", fail)
    out = io.StringIO()
    Worker(out).do(run_job("0123456789abcdef", "a/seed 1", tmp_path))
    kept = Store(tmp_path).failure("0123456789abcdef")
    assert kept is not None
    assert kept.message == "OSError: 401 for https://***@host with ***"
    assert "Traceback" in kept.detail
    written = out.getvalue() + kept.model_dump_json()
    assert not any(secret in written for secret in SECRETS.values())


# ------------------------------------------------------------------------------------------- servers, patterns, code


def test_servers_listen_on_this_machine_only(tmp_path: Path) -> None:
    command = ui_command(tmp_path)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    for path in (ROOT / "harness").rglob("*.py"):
        assert "0.0.0.0" not in path.read_text()


@pytest.mark.slow
def test_a_pattern_that_takes_for_ever_is_stopped_by_ctrl_c(study_folder: Path) -> None:
    """Patterns are the study's own, and a catastrophic one cannot be told before; but it does not hang the terminal."""
    text = study_text("operations: [verify]", "operations: [{filter: {pattern: '^(a+)+$'}}]")
    text = text.replace("mix: {scraped: 16}", "mix: {mine: all}").replace(
        "sources:\n", "sources:\n  mine: {path: rows.jsonl}\n"
    )
    (study_folder / "study.yaml").write_text(text)
    (study_folder / "rows.jsonl").write_text(json.dumps({"prompt": "a" * 60, "completion": "!"}) + "\n")
    child = subprocess.Popen(
        argv("plan", "study.yaml"), cwd=study_folder, env=environment(), text=True, stderr=subprocess.PIPE
    )
    started = time.monotonic()
    while _cpu(child.pid) < 4 and time.monotonic() - started < 60:
        time.sleep(0.2)
    assert child.poll() is None
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert "Traceback" not in err
    assert not (study_folder / ".harness").exists()


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("name", ["os:system", "../x:f", "/tmp/x:f", "a.b:c", "x:__import__('os')", "x", "x:f\n", ":f"])
def test_functions_come_from_a_file_beside_the_study(tmp_path: Path, name: str) -> None:
    from harness.data.operations import Context, apply_all
    from harness.data.rows import table

    rows = table({"source": "s", "text": ["a"]}, 1)
    try:
        rule = Filter(function=name)
    except ValueError:
        return  # not module:function
    with pytest.raises(RequestError, match=r"no file .*\.py"):
        apply_all(rows, (rule,), Context(place="here", seed=1, folder=tmp_path))


def test_what_cannot_be_seen_is_spelled_out() -> None:
    assert visible("a\x1b\u202e\u200b\ud800") == "a\\x1b\\u202e\\u200b\\ud800"
    assert Study.model_fields["trust_remote_code"].default is False
