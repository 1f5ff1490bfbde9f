"""The stock ``lm_eval`` command, in its own process, is the outside truth."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from harness import suites
from harness.spec import Suite

LIMIT = 40
TASKS = {"sciq": "local_sciq", "commonsense_qa": "local_commonsense_qa"}


def stock_command(model: Path, data: Path, folder: Path) -> dict[str, list[dict]]:
    """Run the command on copies of the tasks whose data files are absolute; return its samples by task."""
    for name in TASKS:
        config = yaml.safe_load((data / f"suites/{name}/{name}.yaml").read_text())
        config["dataset_kwargs"]["data_files"] = {"test": str(data / f"suites/{name}/{name}.jsonl")}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    command = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu", "--batch_size", "8"),
        *("--model_args", f"pretrained={model},dtype=float32", "--include_path", str(folder)),
        *("--tasks", *TASKS.values(), "--limit", str(LIMIT)),
        *("--log_samples", "--output_path", str(folder / "out")),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for name, task in TASKS.items():
        (file,) = (folder / "out").rglob(f"samples_{task}_*.jsonl")
        samples = [json.loads(line) for line in file.read_text().splitlines()]
        found[name] = sorted(samples, key=lambda sample: sample["doc_id"])
    return found


@pytest.mark.acceptance
@pytest.mark.slow
def test_equals_the_stock_command_on_real_data(smollm2: Path, acceptance_data: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from harness.evaluation import tasks
    from harness.evaluation.run import evaluate

    described = {name: {"task": task, "path": f"suites/{name}", "limit": LIMIT} for name, task in TASKS.items()}
    suite = Suite.model_validate({"suite": "real", "tasks": described})
    suites.copy_local(suite, acceptance_data, tmp_path / "suite")
    suites.finish(suite, tasks.materialize(suite, tmp_path / "suite"), tmp_path / "suite")
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    outcome = evaluate(model, AutoTokenizer.from_pretrained(smollm2), suite, tmp_path / "suite")

    (tmp_path / "stock").mkdir()
    for name, samples in stock_command(smollm2, acceptance_data, tmp_path / "stock").items():
        own = outcome.items.filter(pl.col("task") == name)
        options = [[float(answer[0][0]) for answer in sample["resps"]] for sample in samples]
        gold = [values[sample["doc"]["label"]] for values, sample in zip(options, samples, strict=True)]
        assert own["gold_logprob"].to_list() == pytest.approx(gold, abs=1e-3)
        for metric in ("acc", "acc_norm"):
            assert own[metric].to_list() == [sample[metric] for sample in samples]


ALL = ("sciq", "commonsense_qa", "qasc", "social_i_qa", "cosmos_qa", "blimp")


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.parametrize(("fewshot", "limit"), [(0, 5), (5, 2)])
def test_every_log_likelihood_of_every_local_suite_equals_stock(
    smollm2: Path, acceptance_data: Path, tmp_path: Path, fewshot: int, limit: int
) -> None:
    """Stock ``HFLM`` in this process, the same requests."""
    import lm_eval
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from harness.evaluation import tasks
    from harness.evaluation.run import evaluate

    described = {
        name: {"task": f"local_{name}", "path": f"suites/{name}", "limit": limit}
        | ({"fewshot": fewshot} if fewshot else {})
        for name in ALL
    }
    suite = Suite.model_validate({"suite": "real", "tasks": described})
    folder = tmp_path / "suite"
    suites.copy_local(suite, acceptance_data, folder)
    pinned = suites.finish(suite, tasks.materialize(suite, folder), folder)
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    ours = evaluate(model, tokenizer, suite, folder)
    assert ours.shared_context is True

    loaded = tasks.load(suite, folder, tokenizer.eos_token)
    with tasks.quiet():
        stock = lm_eval.simple_evaluate(
            HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4),
            tasks=[task for _, task in loaded.values()],
            task_manager=lm_eval.tasks.TaskManager(include_defaults=False),
            samples={subtask: list(range(limit)) for subtask in loaded},
            log_samples=True,
            bootstrap_iters=0,
        )["samples"]
    compared = 0
    for subtask, index, gold, acc in (
        ours.items.hstack(pinned.select("index")).select("subtask", "index", "gold_logprob", "acc").iter_rows()
    ):
        (sample,) = [s for s in stock[subtask] if s["doc_id"] == index]
        options = [float(answer[0][0]) for answer in sample["resps"]]
        label = tasks.gold_position(subtask, loaded[subtask][1], sample["doc"])
        assert gold == pytest.approx(options[label], abs=1e-3)
        assert acc == sample["acc"]
        compared += 1
    assert compared == limit * 10


@pytest.mark.acceptance
@pytest.mark.slow
def test_generated_answers_are_those_of_stock_one_by_one(smollm2: Path, acceptance_data: Path) -> None:
    """Greedy answers in batches of questions of many lengths, against stock ``HFLM`` question by question."""
    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from harness.evaluation.scorer import Scorer

    questions = pl.read_ndjson(acceptance_data / "suites/cosmos_qa/cosmos_qa.jsonl")["question"].head(8)
    contexts = [text[: len(text) // share] for text in questions for share in (1, 3)]
    kwargs = {"until": [".", "\n"], "max_gen_toks": 12, "do_sample": False}
    requests = [
        Instance("generate_until", {}, (f"{text}\nThat is why", kwargs), number, task_name="t", doc_id=number)
        for number, text in enumerate(contexts)
    ]
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1).generate_until(requests, disable_tqdm=True)
    ours = Scorer(model, tokenizer, 1024, None, len(requests)).generate_until(requests)
    assert ours == stock
    assert len({len(text) for text in contexts}) > 8
    assert len(set(stock)) > 8
