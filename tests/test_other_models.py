"""Models of other kinds than the usual are trained, evaluated, decided on; what cannot be evaluated is not trained."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from harness import answer
from harness.engines.jobs import COMMON, jobs_to_do
from harness.engines.worker import REHEARSING, Worker
from harness.evaluation import tasks
from harness.loading import load_study
from harness.store import Store
from harness.study.plan import Plan, make_plan, publish, refreshed
from tests.command import harness
from tests.conftest import TINY_STUDY
from tests.evaluation.kinds import model_of
from tests.evaluation.local_suite import QUIZ

# Every arm once: what is trained, evaluated and decided on is not less of a kind at one seed.
STUDY = TINY_STUDY.replace("seeds: 2", "seeds: 1") + "controls: []\nwaive: ['controls: a test of models']\n"


def folder_with(folder: Path, tiny: Path, kind: str) -> Path:
    shutil.copytree(tiny, folder / "model", ignore=shutil.ignore_patterns("*.safetensors", "*config.json"))
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.save_pretrained(folder / "model")
    model_of(kind, len(tokenizer)).save_pretrained(folder / "model")
    (folder / "study.yaml").write_text(STUDY)
    return folder / "study.yaml"


def planned(study: Path) -> Plan:
    made = make_plan(load_study(study), Store(study.parent / ".harness"), tasks.materialize)
    publish(made)
    return made


@pytest.mark.parametrize("kind", ["qwen3_5_text", "mamba2", "falcon_h1", "lfm2", "granitemoehybrid", "mistral", "mpt"])
def test_other_kinds_of_models_end_in_a_verdict(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("HARNESS_DEVICE", "cpu")
    made, out = planned(folder_with(tmp_path, tiny, kind)), io.StringIO()
    worker = Worker(out)
    for job in jobs_to_do(made):
        worker.do(job)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [event for event in events if event["event"] == "failed"] == []
    made = refreshed(made)
    assert {run.state for run in made.runs} == {"done"}
    decisions = answer.view(made).decisions
    assert decisions is not None
    assert {decision.subject for decision in decisions.decisions} == {"verify(scraped)", "sums", "scraped"}


BROKEN = """
def process_results(doc, results):
    raise KeyError("of my own making")
"""


def broken(folder: Path, tiny: Path) -> Path:
    """A study whose suite can be listed, and never evaluated."""
    shutil.copytree(tiny, folder / "model")
    (folder / "suite").mkdir()
    (folder / "suite" / "docs.jsonl").write_text(
        "".join(json.dumps({"question": f"item {n}", "options": ["a", "b"], "label": 0}) + "\n" for n in range(8))
    )
    (folder / "suite" / "own.py").write_text(BROKEN)
    text = yaml.safe_dump({"task": "broken"} | QUIZ) + "process_results: !function own.process_results\n"
    (folder / "suite" / "broken.yaml").write_text(text)
    study = yaml.safe_load(TINY_STUDY)
    study["suite"] = {"suite": "held-out", "tasks": {"sums": {"task": "broken", "path": "suite"}}}
    study["decide"]["metric"] = "sums/acc"
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder / "study.yaml"


def test_what_cannot_be_evaluated_is_not_trained(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DEVICE", "cpu")
    made, out = planned(broken(tmp_path, tiny)), io.StringIO()
    Worker(out).do(next(job for job in jobs_to_do(made) if job.job == "run"))
    failed = json.loads(out.getvalue().splitlines()[-1])
    assert (failed["event"], failed["stage"]) == ("failed", REHEARSING)
    assert "of my own making" in failed["message"]
    assert failed["data"] == {COMMON: True}
    assert not (made.store.root / "adapter").exists()


def test_a_base_model_that_was_evaluated_needs_no_rehearsal(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DEVICE", "cpu")
    made, stages = planned(folder_with(tmp_path, tiny, "llama")), []
    for jobs in (jobs_to_do(made)[:2], jobs_to_do(made)[2:4]):  # the base model and a run; then two runs, elsewhere
        out = io.StringIO()
        worker = Worker(out)
        for job in jobs:
            worker.do(job)
        stages.append([json.loads(line)["stage"] for line in out.getvalue().splitlines()])
    assert all(REHEARSING not in told for told in stages)
    shutil.rmtree(next((made.store.root / "result").glob("base-*")))
    out = io.StringIO()
    worker = Worker(out)
    for job in [job for job in jobs_to_do(refreshed(made)) if job.job == "run"][:2]:
        worker.do(job)
    told = [json.loads(line)["stage"] for line in out.getvalue().splitlines()]
    assert told.count(REHEARSING) == 1


@pytest.mark.slow
def test_a_suite_that_fails_ends_the_sweep_before_anything_is_trained(tmp_path: Path, tiny: Path) -> None:
    done = harness("run", broken(tmp_path, tiny), "--workers", "2", "--no-track", cwd=tmp_path)
    assert done.code == 1
    assert f"failed while {REHEARSING}" in done.err
    assert "of my own making" in done.err
    assert "more were not started" in done.err
    assert not (tmp_path / ".harness" / "adapter").exists()
